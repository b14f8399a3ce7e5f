package agree

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lake/rules"
	"lake/schemas"
)

func field(name, text string) schemas.Field {
	t, err := schemas.ParseType(text)
	if err != nil {
		panic(err)
	}
	return schemas.Field{Name: name, Type: t}
}

// source is the table of all tests: k numbers the rows.
func source() rules.Source {
	return rules.Source{
		Names: []string{"events"}, TimeField: "ts", Zone: time.UTC,
		Schema: schemas.Schema{Fields: []schemas.Field{
			field("k", "int64"), field("i", "int64"), field("j", "int64"), field("small", "int32"), field("f", "float64"), field("f32", "float32"),
			field("n", "decimal(10,2)"), field("m", "decimal(20,9)"), field("s", "string"), field("u", "string"), field("raw", "bytes"),
			field("b", "bool"), field("d", "date"), field("ts", "timestamp"), field("seen", "timestamp"), field("dt", "datetime"),
			field("gps", "struct<lat: float64, place: string>"), field("tags", "list<string>"), field("props", "map<string, string>"),
		}},
	}
}

var (
	ints   = []int64{0, 1, -1, 2, 7, 10, -5, 1000, math.MaxInt32, math.MinInt32, 1 << 53, 1<<53 + 1}
	large  = []int64{math.MaxInt64, math.MinInt64, math.MaxInt64 - 1, -math.MaxInt64, 1 << 62}
	floats = []float64{0, math.Copysign(0, -1), 1, -1, 0.5, 2.5, -2.5, 0.1, 1e15, -1e15, 1e-7, 3.141592653589793, 123456.789, 1.005, 2.675}
	odd    = []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e300, -1e300, 5e-324, math.MaxFloat64}
	texts  = []string{"", "a", "A", "abc", "aBc", "Interaction", " a b ", "12", "-7", "+5", " 42 ", "0x1f", "1e3", "1.5", "NaN", "inf", "true", "False", "2021-3-4", "2021-02-30",
		"50%", "a_b", `a\b`, "it's", `"q"`, "ünïcödé", "日本語", "é", "🙂🙃", "a\nb", "\ttab", "\u00a0nbsp\u2003", "a.b*c", "${x}", "; --", "99999999999999999999", strings.Repeat("lang ", 200)}
	instants = []string{
		"2021-11-30T18:45:30.123456Z", "2021-11-30T00:00:00Z", "2021-11-29T23:59:59.999999Z", "1969-12-31T23:59:59.5Z", "1970-01-01T00:00:00Z", "1949-12-31T23:59:59Z",
		"1950-01-01T00:00:00Z", "2021-03-14T09:59:59Z", "2021-03-14T10:00:00Z", "2021-11-07T05:30:00Z", "2021-11-07T06:30:00Z", "2018-11-04T02:59:59Z", "2018-11-04T03:00:00Z",
		"2000-02-29T12:00:00Z", "2016-12-31T23:59:59Z", "2021-01-03T00:00:00Z", "2020-12-28T00:00:00Z", "1912-01-01T00:00:00Z", "2038-01-19T03:14:08Z", "2262-04-11T23:47:16Z",
		"2021-10-31T00:59:59.999Z", "2021-10-31T01:00:00Z", "2024-01-01T00:00:00.001Z",
	}
	days = []int32{0, -1, 18962, 18961, -7305, 11016, 18628, 18629, 18630, -25567, 19723, 47482}
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// randomRows are rows with ties, edges and NULLs. Wild ones have values that
// overflow, too.
func randomRows(r *rand.Rand, mem memory.Allocator, rows int, wild bool) arrow.RecordBatch {
	b := array.NewRecordBuilder(mem, source().Schema.Arrow())
	defer b.Release()
	integer := func() int64 {
		switch x := r.IntN(12); {
		case x == 0 && wild:
			return pick(r, large)
		case x < 4:
			return pick(r, ints)
		default:
			return r.Int64N(21) - 10
		}
	}
	float := func() float64 {
		switch x := r.IntN(12); {
		case x == 0 && wild:
			return pick(r, odd)
		case x < 2:
			return pick(r, odd[:3])
		case x < 7:
			return pick(r, floats)
		default:
			return math.Round(r.NormFloat64()*1e4) / 16
		}
	}
	instant := func() arrow.Timestamp {
		if r.IntN(3) == 0 {
			return arrow.Timestamp(r.Int64N(4e15) - 2e15)
		}
		at, err := time.Parse(time.RFC3339Nano, pick(r, instants))
		if err != nil {
			panic(err)
		}
		return arrow.Timestamp(at.UnixMicro())
	}
	text := func() string {
		if r.IntN(4) == 0 {
			return pick(r, texts) + pick(r, texts[:20])
		}
		return pick(r, texts)
	}
	for row := range rows {
		for at, f := range b.Fields() {
			if at > 0 && r.IntN(7) == 0 {
				f.AppendNull()
				continue
			}
			switch f := f.(type) {
			case *array.Int64Builder:
				if at == 0 {
					f.Append(int64(row))
				} else {
					f.Append(integer())
				}
			case *array.Int32Builder:
				f.Append(int32(integer()))
			case *array.Float64Builder:
				f.Append(float())
			case *array.Float32Builder:
				f.Append(float32(pick(r, []float64{0, 0.5, -2.5, 1e10, math.NaN(), 3})))
			case *array.Decimal128Builder:
				f.Append(decimal128.FromI64(pick(r, []int64{0, 1, -5, 1250, 99999, -99999, 1_500_000_000, 333_333_333, -2_000_000_001, 123456789})))
			case *array.StringBuilder:
				f.Append(text())
			case *array.BinaryBuilder:
				f.Append([]byte(pick(r, []string{"", "\x00", "\x01\x02", "abc", "\xff\xfe", "\x7f"})))
			case *array.BooleanBuilder:
				f.Append(r.IntN(2) == 0)
			case *array.Date32Builder:
				f.Append(arrow.Date32(pick(r, days)))
			case *array.TimestampBuilder:
				f.Append(instant())
			case *array.StructBuilder:
				f.Append(true)
				f.FieldBuilder(0).(*array.Float64Builder).Append(float())
				f.FieldBuilder(1).(*array.StringBuilder).Append(text())
			case *array.MapBuilder: // before the list, which it is as well
				f.Append(true)
				for i := range r.IntN(3) {
					f.KeyBuilder().(*array.StringBuilder).Append([]string{"plan", "n"}[i])
					f.ItemBuilder().(*array.StringBuilder).Append(text())
				}
			case *array.ListBuilder:
				f.Append(true)
				for range r.IntN(4) {
					f.ValueBuilder().(*array.StringBuilder).Append(text())
				}
			default:
				panic(fmt.Sprintf("%T", f))
			}
		}
	}
	return b.NewRecordBatch()
}
