package rules

import (
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"lake/schemas"
)

// The values of testBatch: plain ones, ones at an edge, NULLs. A failure is
// written as row: reason behind the values, where the row has null.
var evaluations = []struct{ expr, want string }{
	// Columns, paths and elements.
	{`user_id`, `[7,-9223372036854775808,null]`},
	{`small`, `[3,-2147483648,null]`},
	{`f32`, `[0.5,-2.5,null]`},
	{`gps.lat`, `[12.5,null,null]`},
	{`gps.place.name`, `["Pune",null,null]`},
	{`tags[0]`, `["a",null,null] 1: tags[OFFSET(0)]: the array has 0 elements`},
	{`tags[SAFE_ORDINAL(2)]`, `["b",null,null]`},
	{`tags[SAFE_OFFSET(2)]`, `[null,null,null]`},
	{`items[SAFE_OFFSET(0)].qty`, `[2,null,null]`},
	{`items[SAFE_OFFSET(1)].qty`, `[null,null,null]`},
	{`props['plan']`, `["pro",null,null]`},
	{`props['n']`, `[null,null,null]`},
	{`ARRAY_LENGTH(tags)`, `[2,0,null]`},

	// Three values.
	{`b AND NULL`, `[null,false,null]`},
	{`NULL AND b`, `[null,false,null]`},
	{`b OR NULL`, `[true,null,null]`},
	{`b AND b`, `[true,false,null]`},
	{`b OR b`, `[true,false,null]`},
	{`NOT b`, `[false,true,null]`},
	{`b IS TRUE`, `[true,false,false]`},
	{`b IS NOT TRUE`, `[false,true,true]`},
	{`b IS FALSE`, `[false,true,false]`},
	{`gps IS NULL`, `[false,false,true]`},
	{`gps.place IS NULL`, `[false,true,true]`},
	{`tags IS NOT NULL`, `[true,true,false]`},
	{`tags[0] IS NULL`, `[false,null,true] 1: tags[OFFSET(0)]: the array has 0 elements`},
	{`doc IS NULL`, `[false,false,true]`},

	// Comparisons.
	{`event = 'Interaction'`, `[true,false,null]`},
	{`'Interaction' != event`, `[false,true,null]`},
	{`event = NULL`, `[null,null,null]`},
	{`event > 'J'`, `[false,true,null]`},
	{`user_id < 7.5`, `[true,true,null]`},
	{`price = 12.5`, `[true,false,null]`},
	{`CAST('NaN' AS FLOAT64) = f`, `[false,false,null]`},
	{`f != CAST('NaN' AS FLOAT64)`, `[true,true,null]`},
	{`f < CAST('NaN' AS FLOAT64)`, `[false,false,null]`},
	{`f = -0.0`, `[false,true,null]`},
	{`d = '2021-11-30'`, `[true,false,null]`},
	{`date >= '2021-11-30T23:45:30.123456+05:00'`, `[true,false,null]`},
	{`date = '2021-11-30 18:45:30.123456'`, `[true,false,null]`},
	{`date < '2021-11-30 13:45:30.2 America/New_York'`, `[true,true,null]`},
	{`dt > '2020-02-29 01:02:02.999'`, `[true,true,null]`},
	{`t = '12:34:56.5'`, `[true,false,null]`},
	{`b > FALSE`, `[true,false,null]`},
	{`raw = b'\x01\x02'`, `[true,false,null]`},
	{`id = '12345678-90ab-cdef-1234-567890abcdef'`, `[true,false,null]`},
	{`user_id BETWEEN 7 AND 8`, `[true,false,null]`},
	{`user_id NOT BETWEEN NULL AND 6`, `[true,null,null]`},
	{`user_id IN (1, 7)`, `[true,false,null]`},
	{`user_id IN (1, NULL)`, `[null,null,null]`},
	{`user_id NOT IN (7, NULL)`, `[false,null,null]`},
	{`event IN ('Interaction', CAST(user_id AS STRING))`, `[true,false,null]`},
	{`price IN (12.5, 1)`, `[true,false,null]`},

	// Conditions look only at what they need.
	{`IF(property_id = 0, -1, user_id / property_id)`, `[0.07,-1,null]`},
	{`property_id = 0 OR 1 / property_id > 0`, `[true,true,null]`},
	{`property_id != 0 AND 1 / property_id > 0`, `[true,false,null]`},
	{`1 / property_id > 0 OR TRUE`, `[true,null,true] 1: division by zero`},
	{`COALESCE(property_id, 1 / 0)`, `[100,0,null] 2: division by zero`},
	{`COALESCE(NULL, event, 'none')`, `["Interaction","ünïcödé ","none"]`},
	{`CASE WHEN b THEN 'yes' WHEN NOT b THEN 'no' ELSE 'unknown' END`, `["yes","no","unknown"]`},
	{`CASE user_id WHEN 7 THEN 1 END`, `[1,null,null]`},
	{`CASE WHEN 1 / property_id > 5 THEN 1 ELSE 2 END`, `[2,null,2] 1: division by zero`},
	{`NULLIF(property_id, 0)`, `[100,null,null]`},
	{`IFNULL(price, 1)`, `["12.5","-0.05","1"]`},
	{`IF(b, d, NULL)`, `["2021-11-30",null,null]`},

	// Numbers.
	{`user_id + 1`, `[8,-9223372036854775807,null]`},
	{`user_id - 1`, `[6,null,null] 1: -9223372036854775808 - 1: the result overflows`},
	{`-user_id`, `[-7,null,null] 1:  - -9223372036854775808: the result overflows`},
	{`user_id * 2`, `[14,null,null] 1: -9223372036854775808 * 2: the result overflows`},
	{`user_id * -1`, `[-7,null,null] 1: -9223372036854775808 * -1: the result overflows`},
	{`small * small`, `[9,4611686018427387904,null]`},
	{`user_id / 2`, `[3.5,-4611686018427388000,null]`},
	{`DIV(user_id, -2)`, `[-3,4611686018427387904,null]`},
	{`MOD(user_id, -4)`, `[3,0,null]`},
	{`MOD(-7, property_id)`, `[-7,null,null] 1: division by zero`},
	{`1 / property_id`, `[0.01,null,null] 1: division by zero`},
	{`SAFE_DIVIDE(1, property_id)`, `[0.01,null,null]`},
	{`f * 1e308 * 2`, `[null,0,null] 0: 1.5e+308 * 2: the result overflows`},
	{`ABS(f32)`, `[0.5,2.5,null]`},
	{`SIGN(small)`, `[1,-1,null]`},
	{`ROUND(f32)`, `[1,-3,null]`}, // half away from zero
	{`ROUND(f, 1)`, `[1.5,0,null]`},
	{`ROUND(property_id + 50, -2)`, `[200,100,null]`},
	{`FLOOR(f32)`, `[0,-3,null]`},
	{`CEIL(f32)`, `[1,-2,null]`},
	{`CEIL(small)`, `[3,-2147483648,null]`},
	{`GREATEST(small, 0, property_id)`, `[100,0,null]`},
	{`LEAST(f, CAST('nan' AS FLOAT64), -1)`, `["NaN","NaN",null]`},
	{`GREATEST(event, 'J')`, `["J","ünïcödé ",null]`},

	// NUMERIC.
	{`price`, `["12.5","-0.05",null]`},
	{`price + 0.1`, `["12.6","0.05",null]`},
	{`price * price`, `["156.25","0.0025",null]`},
	{`price * NUMERIC '0.000000001'`, `["1.3e-08","0",null]`}, // 12.5e-9, half away from zero
	{`price / 3`, `["4.166666667","-0.016666667",null]`},
	{`price / property_id`, `["0.125",null,null] 1: division by zero`},
	{`price * NUMERIC '99999999999999999999999999999'`, `[null,"-4999999999999999999999999999.95",null] 0: 12.5 * 99999999999999999999999999999: the result overflows`},
	{`MOD(price, 5)`, `["2.5","-0.05",null]`},
	{`DIV(price, 5)`, `["2","0",null]`},
	{`ROUND(price)`, `["13","0",null]`},
	{`ROUND(price, 1)`, `["12.5","-0.1",null]`},
	{`FLOOR(price)`, `["12","-1",null]`},
	{`CEIL(price)`, `["13","0",null]`},
	{`-price`, `["-12.5","0.05",null]`},
	{`SIGN(price)`, `["1","-1",null]`},
	{`price > f`, `[true,false,null]`},

	// Texts.
	{`UPPER(event)`, `["INTERACTION","ÜNÏCÖDÉ ",null]`},
	{`LENGTH(event)`, `[11,8,null]`},
	{`LENGTH(raw)`, `[2,0,null]`},
	{`SUBSTR(event, 2, 3)`, `["nte","nïc",null]`},
	{`SUBSTR(event, -3)`, `["ion","dé ",null]`},
	{`SUBSTR(event, 0, 2)`, `["In","ün",null]`},
	{`SUBSTR(event, -100, 2)`, `["In","ün",null]`},
	{`SUBSTR(event, 100)`, `["","",null]`},
	{`SUBSTR(event, 1, small)`, `["Int",null,null] 1: SUBSTR: the length is -2147483648`},
	{`TRIM(event) || '|'`, `["Interaction|","ünïcödé|",null]`},
	{`LTRIM(event, 'Iün')`, `["teraction","ïcödé ",null]`},
	{`CONCAT(event, '-', CAST(small AS STRING))`, `["Interaction-3","ünïcödé --2147483648",null]`},
	{`STARTS_WITH(event, 'Int')`, `[true,false,null]`},
	{`ENDS_WITH(event, '')`, `[true,true,null]`},
	{`STRPOS(event, 'c')`, `[7,4,null]`},
	{`STRPOS(event, '')`, `[1,1,null]`},
	{`REPLACE(event, 'n', '')`, `["Iteractio","üïcödé ",null]`},
	{`REPLACE(event, '', 'x')`, `["Interaction","ünïcödé ",null]`},
	{`event LIKE 'I%t__n'`, `[true,false,null]`},
	{`event LIKE '_n_c%'`, `[false,true,null]`},
	{`REPLACE(event, 'Inter', 'ac') LIKE '%a_tion'`, `[true,false,null]`}, // the first a is not the one
	{`event LIKE '%action'`, `[true,false,null]`},
	{`event NOT LIKE '%c%'`, `[false,false,null]`},
	{`'50%' LIKE CONCAT('50', IF(b, r'\%', '_'))`, `[true,true,true]`},
	{`'505' LIKE CONCAT('50', IF(b, r'\%', '_'))`, `[false,true,true]`},
	{`event LIKE CONCAT(event, '\\')`, `[null,null,null] 0: LIKE: the pattern ends with a backslash 1: LIKE: the pattern ends with a backslash`},
	{`REGEXP_CONTAINS(event, r'^[a-zA-Z]+$')`, `[true,false,null]`},
	{`REGEXP_CONTAINS(event, IF(b, 'r.c', '('))`, "[true,null,null] 1: REGEXP_CONTAINS: error parsing regexp: missing closing ): `(`"},

	// Dates and times.
	{`DATE(date)`, `["2021-11-30","2021-01-02",null]`},
	{`DATE(date, 'Asia/Kolkata')`, `["2021-12-01","2021-01-03",null]`},
	{`DATE(date, '-10:00')`, `["2021-11-30","2021-01-02",null]`},
	{`DATE(dt)`, `["2020-02-29","2021-12-31",null]`},
	{`DATE(2021, small - 1, 28 + small)`, `[null,null,null] 0: DATE(2021, 2, 31) is no date 1: DATE(2021, -2147483649, -2147483620) is no date`},
	{`EXTRACT(DATE FROM date AT TIME ZONE 'Asia/Kolkata')`, `["2021-12-01","2021-01-03",null]`},
	{`EXTRACT(HOUR FROM date AT TIME ZONE 'Asia/Kolkata')`, `[0,5,null]`},
	{`EXTRACT(MINUTE FROM date AT TIME ZONE 'Asia/Kolkata')`, `[15,29,null]`},
	{`EXTRACT(MICROSECOND FROM date)`, `[123456,0,null]`},
	{`EXTRACT(MILLISECOND FROM seen)`, `[500,0,null]`},
	{`EXTRACT(DAYOFWEEK FROM d)`, `[3,1,null]`},
	{`EXTRACT(DAYOFYEAR FROM d)`, `[334,3,null]`},
	{`EXTRACT(WEEK FROM d)`, `[48,1,null]`},
	{`EXTRACT(WEEK FROM date)`, `[48,0,null]`},
	{`EXTRACT(ISOWEEK FROM d)`, `[48,53,null]`},
	{`EXTRACT(ISOYEAR FROM d)`, `[2021,2020,null]`},
	{`EXTRACT(QUARTER FROM seen)`, `[4,1,null]`},
	{`EXTRACT(SECOND FROM t)`, `[56,0,null]`},
	{`EXTRACT(YEAR FROM dt)`, `[2020,2021,null]`},
	{`TIMESTAMP_TRUNC(date, MINUTE)`, `["2021-11-30T18:45:00Z","2021-01-02T23:59:00Z",null]`},
	{`TIMESTAMP_TRUNC(date, HOUR, 'Asia/Kolkata')`, `["2021-11-30T18:30:00Z","2021-01-02T23:30:00Z",null]`},
	{`TIMESTAMP_TRUNC(date, DAY, 'Asia/Kolkata')`, `["2021-11-30T18:30:00Z","2021-01-02T18:30:00Z",null]`},
	{`TIMESTAMP_TRUNC(date, WEEK)`, `["2021-11-28T00:00:00Z","2020-12-27T00:00:00Z",null]`},
	{`TIMESTAMP_TRUNC(date, ISOWEEK)`, `["2021-11-29T00:00:00Z","2020-12-28T00:00:00Z",null]`},
	{`TIMESTAMP_TRUNC(date, QUARTER)`, `["2021-10-01T00:00:00Z","2021-01-01T00:00:00Z",null]`},
	{`TIMESTAMP_TRUNC(seen, SECOND)`, `["1969-12-31T23:59:59Z","2021-03-14T10:00:00Z",null]`},
	{`TIMESTAMP_TRUNC(seen, DAY, 'America/New_York')`, `["1969-12-31T05:00:00Z","2021-03-14T05:00:00Z",null]`},
	// On this date clocks in São Paulo went from 00:00 to 01:00.
	{`TIMESTAMP_TRUNC(IF(b, TIMESTAMP '2018-11-04 12:00:00+00', NULL), DAY, 'America/Sao_Paulo')`, `["2018-11-04T03:00:00Z",null,null]`},
	{`TIMESTAMP_BUCKET(seen, INTERVAL 1 HOUR)`, `["1969-12-31T23:00:00Z","2021-03-14T10:00:00Z",null]`},
	{`TIMESTAMP_BUCKET(date, INTERVAL 7 DAY)`, `["2021-11-28T00:00:00Z","2020-12-27T00:00:00Z",null]`}, // 1950-01-01 was a Sunday
	{`TIMESTAMP_BUCKET(date, INTERVAL 1 DAY, '2021-01-01 00:00:00+05:30')`, `["2021-11-30T18:30:00Z","2021-01-02T18:30:00Z",null]`},
	{`UNIX_SECONDS(seen)`, `[-1,1615716000,null]`},
	{`UNIX_MILLIS(seen)`, `[-500,1615716000000,null]`},
	{`UNIX_MICROS(seen)`, `[-500000,1615716000000000,null]`},

	// Casts.
	{`CAST(b AS INT64)`, `[1,0,null]`},
	{`CAST(property_id AS BOOL)`, `[true,false,null]`},
	{`CAST(f32 AS INT64)`, `[1,-3,null]`},
	{`CAST(f * 1e300 AS INT64)`, `[null,0,null] 0: "1.5e+300" is no INT64`},
	{`SAFE_CAST(f * 1e300 AS INT64)`, `[null,0,null]`},
	{`CAST(price AS INT64)`, `[13,0,null]`},
	{`CAST(f AS NUMERIC)`, `["1.5","0",null]`},
	{`CAST(f AS STRING)`, `["1.5","0",null]`},
	{`CAST(f / 5 AS STRING)`, `["0.3","0",null]`},
	{`CAST(f / 4.9 AS STRING)`, `["0.30612244897959179","0",null]`},
	{`CAST(f * 1e20 AS STRING)`, `["1.5e+20","0",null]`},
	{`CAST(price AS STRING)`, `["12.5","-0.05",null]`},
	{`CAST(b AS STRING)`, `["true","false",null]`},
	{`CAST(date AS STRING)`, `["2021-11-30 18:45:30.123456+00","2021-01-02 23:59:59+00",null]`},
	{`CAST(seen AS STRING)`, `["1969-12-31 23:59:59.500+00","2021-03-14 10:00:00+00",null]`},
	{`CAST(d AS STRING)`, `["2021-11-30","2021-01-03",null]`},
	{`CAST(t AS STRING)`, `["12:34:56.500","00:00:00",null]`},
	{`CAST(dt AS STRING)`, `["2020-02-29 01:02:03","2021-12-31 23:59:59.250",null]`},
	{`CAST(id AS STRING)`, `["12345678-90ab-cdef-1234-567890abcdef","00000000-0000-0000-0000-000000000000",null]`},
	{`CAST(d AS TIMESTAMP)`, `["2021-11-30T00:00:00Z","2021-01-03T00:00:00Z",null]`},
	{`CAST(date AS DATE)`, `["2021-11-30","2021-01-02",null]`},
	{`CAST(event AS INT64)`, `[null,null,null] 0: "Interaction" is no INT64 1: "ünïcödé " is no INT64`},
	{`SAFE_CAST(event AS DATE)`, `[null,null,null]`},
	{`CAST(' 0x1f ' AS INT64) + small`, `[34,-2147483617,null]`},
	{`CAST(IF(b, '2021-1-2', ' 2021-01-02T03:04:05.6Z') AS TIMESTAMP)`, `["2021-01-02T00:00:00Z","2021-01-02T03:04:05.6Z","2021-01-02T03:04:05.6Z"]`},
	{`CAST(IF(b, '1e2', 'inf') AS FLOAT64)`, `[100,"+Inf","+Inf"]`},
	{`CAST(IF(b, 'TRUE', 'false') AS BOOL)`, `[true,false,false]`},
	{`CAST(IF(b, '1.0000000005', '-1e3') AS NUMERIC)`, `["1.000000001","-1000","-1000"]`},
}

func TestEvaluate(t *testing.T) {
	mem := checked(t)
	batch := testBatch(t, mem)
	defer batch.Release()
	for _, test := range evaluations {
		t.Run(test.expr, func(t *testing.T) {
			e := expression(t, test.expr)
			got, failures := evaluated(t, e, batch, mem)
			for _, f := range failures {
				got += fmt.Sprintf(" %d: %s", f.Row, f.Reason)
			}
			require.Equal(t, test.want, got)

			// Its own text means the same.
			again, _ := evaluated(t, expression(t, e.String()), batch, mem)
			require.Equal(t, strings.SplitAfter(test.want, "]")[0], strings.SplitAfter(again, "]")[0], e.String())

			// A slice of the batch gives the slice of the values: offsets are minded.
			slice := batch.NewSlice(1, 3)
			defer slice.Release()
			whole, err := e.Eval(&Eval{Mem: mem}, batch)
			require.NoError(t, err)
			defer whole.Release()
			part, err := e.Eval(&Eval{Mem: mem}, slice)
			require.NoError(t, err)
			defer part.Release()
			require.Equal(t, whole.ValueStr(1)+"|"+whole.ValueStr(2), part.ValueStr(0)+"|"+part.ValueStr(1))

			// No rows give no values.
			none := batch.NewSlice(0, 0)
			defer none.Release()
			empty, failures := evaluated(t, e, none, mem)
			require.Equal(t, "[]", empty)
			require.Empty(t, failures)
		})
	}
}

// TestEvaluateOutlivesBatch sees that values are the array's own, or held.
func TestEvaluateOutlivesBatch(t *testing.T) {
	mem := checked(t)
	for _, expr := range []string{"event", "user_id", "date", "IF(b, event, 'x')", "IF(b, user_id, 1)", "gps.place.name"} {
		batch := testBatch(t, mem)
		a, err := expression(t, expr).Eval(&Eval{Mem: mem}, batch)
		require.NoError(t, err)
		want, err := a.MarshalJSON()
		require.NoError(t, err)
		batch.Release()
		other := testBatch(t, mem) // may take the memory that was released
		got, err := a.MarshalJSON()
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
		other.Release()
		a.Release()
	}
}

func TestFilter(t *testing.T) {
	mem := checked(t)
	batch := testBatch(t, mem)
	defer batch.Release()
	filter, errs := CompileFilter("events.event LIKE 'I%' OR user_id IS NULL", testSource())
	require.Empty(t, errs)
	mask, err := filter.Eval(&Eval{Mem: mem}, batch)
	require.NoError(t, err)
	defer mask.Release()
	kept, err := Keep(batch, mask.(*array.Boolean), mem)
	require.NoError(t, err)
	defer kept.Release()
	require.EqualValues(t, 2, kept.NumRows())
	text, err := kept.Column(0).MarshalJSON()
	require.NoError(t, err)
	require.Equal(t, `[7,null]`, string(text))
	tags, err := kept.Column(testSource().Schema.Index("tags")).MarshalJSON()
	require.NoError(t, err)
	require.JSONEq(t, `[["a","b"],null]`, string(tags))

	for _, bad := range []string{"user_id", "COUNT(*) > 1", "nope = 1", "user_id = 1 GROUP BY user_id", ""} {
		filter, errs = CompileFilter(bad, testSource())
		require.NotEmpty(t, errs, bad)
		require.Nil(t, filter, bad)
	}
}

// TestGroupBatch evaluates HAVING and SELECT over the columns of GroupSchema.
func TestGroupBatch(t *testing.T) {
	mem := checked(t)
	p, errs := Compile(`SELECT user_id / 2 AS half, TIMESTAMP_BUCKET(date, INTERVAL 1 MINUTE) AS w, COUNT(*) + MAX(small) AS n, DATE(TIMESTAMP_BUCKET(date, INTERVAL 1 MINUTE), 'Asia/Kolkata') AS day
		FROM events WHERE b GROUP BY user_id, w, UPPER(event) HAVING n > 3 AND MAX(price) > 1.5 AND UPPER(event) != 'X'`, testSource())
	require.Empty(t, errs)
	require.Equal(t, []string{"user_id", "date", "event", "b", "small", "price"}, p.Columns())
	require.Equal(t, []string{"user_id", "key1", "w", "agg0", "agg1", "agg2"}, names(p.GroupSchema()))
	require.Equal(t, []string{"half", "w", "n", "day"}, names(p.Output()))
	require.Equal(t, Window{Name: "w", Kind: Tumble, Time: p.Window.Time, Micros: 60_000_000, Origin: -631152000_000000}, *p.Window)
	require.Equal(t, []AggFunc{Count, Max, Max}, []AggFunc{p.Aggs[0].Func, p.Aggs[1].Func, p.Aggs[2].Func})
	require.Equal(t, "price", p.Aggs[1].Arg.(*column).name)
	require.Equal(t, schemas.Type{Kind: schemas.Decimal, Precision: 10, Scale: 2}, p.Aggs[1].Type)
	require.Nil(t, p.Aggs[0].Arg)

	groups, _, err := array.RecordFromJSON(mem, p.GroupSchema(), strings.NewReader(`[
		{"user_id": 7, "w": "2021-11-30T18:45:00Z", "key1": "A", "agg0": 2, "agg1": "12.50", "agg2": 3},
		{"user_id": 8, "w": "2021-11-30T18:45:00Z", "key1": "A", "agg0": 2, "agg1": "12.50", "agg2": 1},
		{"user_id": null, "w": null, "key1": null, "agg0": 9, "agg1": null, "agg2": null},
		{"user_id": 9, "w": "2021-11-30T18:45:00Z", "key1": "B", "agg0": 9223372036854775807, "agg1": "2", "agg2": 1}]`))
	require.NoError(t, err)
	defer groups.Release()
	having, failures := evaluated(t, p.Having, groups, mem)
	require.Equal(t, `[true,false,null,null]`, having)
	require.Equal(t, []Failure{{Row: 3, Reason: "9223372036854775807 + 1: the result overflows"}}, failures)
	for i, want := range []string{`[3.5,4,null,4.5]`, `["2021-11-30T18:45:00Z","2021-11-30T18:45:00Z",null,"2021-11-30T18:45:00Z"]`,
		`[5,3,null,null]`, `["2021-12-01","2021-12-01",null,"2021-12-01"]`} {
		got, _ := evaluated(t, p.Select[i].Expr, groups, mem)
		require.Equal(t, want, got)
	}
}

// TestKeysByAnotherName sees that conditions on keys read the group batch, whose names are its own.
func TestKeysByAnotherName(t *testing.T) {
	mem := checked(t)
	p, errs := Compile(`SELECT event AS kind, gps.lat AS lat, COUNT(*) AS n FROM events GROUP BY kind, lat HAVING event = 'a' OR gps.lat IS NULL`, testSource())
	require.Empty(t, errs)
	require.Equal(t, []string{"kind", "lat", "agg0"}, names(p.GroupSchema()))
	groups, _, err := array.RecordFromJSON(mem, p.GroupSchema(), strings.NewReader(`[{"kind": "a", "lat": 1}, {"kind": "b", "lat": 1}, {"kind": "b"}]`))
	require.NoError(t, err)
	defer groups.Release()
	having, _ := evaluated(t, p.Having, groups, mem)
	require.Equal(t, `[true,false,true]`, having)
}

func names(s *arrow.Schema) []string {
	var out []string
	for _, f := range s.Fields() {
		out = append(out, f.Name)
	}
	return out
}

// TestFingerprint changes with what groups mean, and with nothing else.
func TestFingerprint(t *testing.T) {
	of := func(sql string, src Source) string {
		p, errs := Compile(sql, src)
		require.Empty(t, errs, sql)
		return p.Fingerprint()
	}
	src := testSource()
	base := of(`SELECT user_id, COUNT(*) AS n, MAX(f) AS top FROM events WHERE event = 'a' GROUP BY user_id HAVING n > 1`, src)
	require.Len(t, base, 64)
	for _, same := range []string{
		`SELECT MAX(f) + 1 AS t, user_id AS u, COUNT(*) AS n FROM nobroker.events AS e WHERE ('a' = e.event) GROUP BY user_id HAVING n > 2`,
		"-- a remark\nselect count(*) * 2 as n2, max(f) as m from events where event = \"a\" group by USER_ID",
	} {
		require.Equal(t, base, of(same, src), same)
	}
	for _, other := range []string{
		`SELECT user_id, COUNT(*) AS n, MAX(f) AS top FROM events WHERE event = 'b' GROUP BY user_id`,
		`SELECT user_id, COUNT(*) AS n, MAX(f32) AS top FROM events WHERE event = 'a' GROUP BY user_id`,
		`SELECT user_id, COUNT(*) AS n FROM events WHERE event = 'a' GROUP BY user_id`,
		`SELECT property_id, COUNT(*) AS n, MAX(f) AS top FROM events WHERE event = 'a' GROUP BY property_id`,
		`SELECT user_id, COUNT(*) AS n, MAX(f) AS top FROM events WHERE event = 'a' GROUP BY user_id, DATE(date)`,
		`SELECT user_id, COUNT(*) AS n, MAX(f) AS top FROM events WHERE event = 'a' GROUP BY user_id, DATE(date, 'Asia/Kolkata')`,
		`SELECT user_id, COUNT(*) AS n, MAX(f) AS top FROM events WHERE event = 'a' GROUP BY user_id, TIMESTAMP_BUCKET(date, INTERVAL 1 DAY)`,
	} {
		require.NotEqual(t, base, of(other, src), other)
	}
	narrow := testSource()
	narrow.Schema.Fields[0].Type = schemas.Type{Kind: schemas.Int32}
	require.NotEqual(t, base, of(`SELECT user_id, COUNT(*) AS n, MAX(f) AS top FROM events WHERE event = 'a' GROUP BY user_id`, narrow))
	wider := testSource()
	wider.Schema.Fields = append(wider.Schema.Fields, required("added", "string"))
	require.Equal(t, base, of(`SELECT user_id, COUNT(*) AS n, MAX(f) AS top FROM events WHERE event = 'a' GROUP BY user_id`, wider))
}

// TestBatchDoesNotFit is an error, not a panic: a column that is missing or of
// another type.
func TestBatchDoesNotFit(t *testing.T) {
	mem := checked(t)
	batch := testBatch(t, mem)
	defer batch.Release()
	few := array.NewRecordBatch(arrow.NewSchema(batch.Schema().Fields()[:1], nil), batch.Columns()[:1], 3)
	defer few.Release()
	_, err := expression(t, "event = 'a'").Eval(&Eval{Mem: mem}, few)
	require.ErrorContains(t, err, `the batch has no column "event"`)

	fields := []arrow.Field{{Name: "user_id", Type: batch.Schema().Field(3).Type, Nullable: true}}
	wrong := array.NewRecordBatch(arrow.NewSchema(fields, nil), batch.Columns()[3:4], 3)
	defer wrong.Release()
	_, err = expression(t, "user_id + 1").Eval(&Eval{Mem: mem}, wrong)
	require.EqualError(t, err, "evaluate user_id: the batch has utf8 where the plan has int64")
}

// TestPlanIsShared evaluates one plan from several goroutines: the race detector watches.
func TestPlanIsShared(t *testing.T) {
	mem := checked(t)
	batch := testBatch(t, mem)
	defer batch.Release()
	e := expression(t, `IF(REGEXP_CONTAINS(event, '^I'), CONCAT(event, CAST(DATE(date, 'Asia/Kolkata') AS STRING)), NULLIF(event, 'x')) IN ('Interaction2021-12-01', NULL)`)
	done := make(chan string)
	for range 4 {
		go func() {
			a, err := e.Eval(&Eval{Mem: memory.DefaultAllocator}, batch)
			if err != nil {
				done <- err.Error()
				return
			}
			defer a.Release()
			text, err := a.MarshalJSON()
			done <- string(text) + fmt.Sprint(err)
		}()
	}
	for range 4 {
		require.Equal(t, "[true,null,null]<nil>", <-done)
	}
}
