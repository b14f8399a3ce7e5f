package schemas

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
)

// rowsOf makes a batch of the columns of a struct type; fill appends its rows.
func rowsOf(t *testing.T, columns string, fill func(b *array.RecordBuilder)) arrow.RecordBatch {
	t.Helper()
	typ, err := ParseType("struct<" + columns + ">")
	require.NoError(t, err)
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	b := array.NewRecordBuilder(mem, Schema{Fields: typ.Fields}.Arrow())
	fill(b)
	batch := b.NewRecordBatch()
	b.Release()
	t.Cleanup(func() {
		batch.Release()
		mem.AssertSize(t, 0)
	})
	return batch
}

func lines(t *testing.T, batch arrow.RecordBatch, zone *time.Location, rename map[string]string) []string {
	t.Helper()
	w, err := NewJSONWriter(batch.Schema(), zone, rename)
	require.NoError(t, err)
	var out []string
	for row := range int(batch.NumRows()) {
		line := w.AppendRow([]byte("> "), batch, row)
		require.True(t, json.Valid(line[2:]), string(line))
		out = append(out, string(line[2:]))
	}
	return out
}

func TestJSONScalars(t *testing.T) {
	kolkata := zoneNamed(t, "Asia/Kolkata")
	batch := rowsOf(t, "b: bool, i: int32, l: int64, f: float32, d: float64, n: decimal(20,2), s: string, y: bytes, da: date, ti: time, ts: timestamp, dt: datetime, u: uuid, j: json",
		func(b *array.RecordBuilder) {
			b.Field(0).(*array.BooleanBuilder).Append(true)
			b.Field(1).(*array.Int32Builder).Append(math.MinInt32)
			b.Field(2).(*array.Int64Builder).Append(math.MaxInt64)
			b.Field(3).(*array.Float32Builder).Append(0.1)
			b.Field(4).(*array.Float64Builder).Append(math.Inf(-1))
			b.Field(5).(*array.Decimal128Builder).Append(decimal128.FromI64(-5))
			b.Field(6).(*array.StringBuilder).Append("é\"\\\n\u0001\u2028</script>")
			b.Field(7).(*array.BinaryBuilder).Append([]byte{0xff, 0, 1, 2})
			b.Field(8).(*array.Date32Builder).Append(18961)
			b.Field(9).(*array.Time64Builder).Append(arrow.Time64(12 * hourMicros))
			b.Field(10).(*array.TimestampBuilder).Append(arrow.Timestamp(micros(t, "2021-11-29T18:30:00Z")))
			b.Field(11).(*array.TimestampBuilder).Append(arrow.Timestamp(micros(t, "1969-12-31T23:59:59.999999Z")))
			b.Field(12).(*array.FixedSizeBinaryBuilder).Append([]byte{0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x12, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40, 0})
			b.Field(13).(*array.StringBuilder).Append("{\"a\":\r\n[1, null]}")
			for i := range 14 {
				b.Field(i).AppendNull()
			}
		})
	require.Equal(t, []string{
		`{"b":true,"i":-2147483648,"l":9223372036854775807,"f":0.1,"d":"-Infinity","n":"-0.05","s":"é\"\\\n\u0001` + "\u2028" + `</script>","y":"/wABAg==",` +
			`"da":"2021-11-30","ti":"12:00:00.000","ts":"2021-11-30T00:00:00.000+05:30","dt":"1969-12-31T23:59:59.999999","u":"123e4567-e89b-12d3-a456-426614174000","j":{"a":  [1, null]}}`,
		`{"b":null,"i":null,"l":null,"f":null,"d":null,"n":null,"s":null,"y":null,"da":null,"ti":null,"ts":null,"dt":null,"u":null,"j":null}`,
	}, lines(t, batch, kolkata, nil))
}

func TestJSONNested(t *testing.T) {
	batch := rowsOf(t, "l: list<struct<a: int64, w: timestamp>>, m: map<string, float64>, k: map<int64, list<json>>", func(b *array.RecordBuilder) {
		require.NoError(t, b.UnmarshalJSON([]byte(`{"l": [{"a": 1, "w": "2021-11-30T00:00:00Z"}, null, {"a": null, "w": null}], "m": [{"key": "a\"b", "value": 1.5}, {"key": "n", "value": null}], "k": [{"key": -7, "value": ["[1]", null]}]}`)))
		require.NoError(t, b.UnmarshalJSON([]byte(`{"l": [], "m": [], "k": null}`)))
	})
	want := []string{
		`{"l":[{"a":1,"w":"2021-11-30T00:00:00.000Z"},null,{"a":null,"w":null}],"m":{"a\"b":1.5,"n":null},"k":{"-7":[[1],null]}}`,
		`{"l":[],"m":{},"k":null}`,
	}
	require.Equal(t, want, lines(t, batch, time.UTC, nil))

	sliced := batch.NewSlice(1, 2)
	defer sliced.Release()
	require.Equal(t, want[1:], lines(t, sliced, time.UTC, nil), "a slice's offset counts")
}

func TestJSONNames(t *testing.T) {
	batch := rowsOf(t, "window_start: timestamp, user_id: int64", func(b *array.RecordBuilder) {
		b.Field(0).(*array.TimestampBuilder).Append(0)
		b.Field(1).(*array.Int64Builder).Append(1)
	})
	require.Equal(t, []string{`{"window.start":"1970-01-01T00:00:00.000Z","user_id":1}`}, lines(t, batch, nil, map[string]string{"window_start": "window.start"}))
}

func TestJSONRefusesOtherTypes(t *testing.T) {
	_, err := NewJSONWriter(arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.ListOf(arrow.PrimitiveTypes.Uint8)}}, nil), nil, nil)
	require.EqualError(t, err, "column a: element: the type uint8 cannot be written as JSON")
}

// encoding/json and time.Format are the oracles.
func TestJSONAgainstLibrary(t *testing.T) {
	for _, f := range []float64{0, math.Copysign(0, -1), 1, -1.5, 0.1, 1e20, 1e21, 123456789012345680000, 1e-6, 9.99e-7, 5e-324, math.MaxFloat64, 1.0 / 3} {
		got := appendFloat(nil, f, 64)
		var back float64
		require.NoError(t, json.Unmarshal(got, &back))
		require.Equal(t, math.Float64bits(f), math.Float64bits(back), string(got))
	}
	require.Equal(t, `"NaN"`, string(appendFloat(nil, math.NaN(), 64)))
	for _, s := range []string{"", "plain", "\x00\x1f\x7f", "ä\u00a0\U0001F600", "a\xffb\xc3", "\t\r\n\b\f", strings.Repeat("x\"", 50)} {
		var back string
		require.NoError(t, json.Unmarshal(appendString(nil, s), &back))
		require.Equal(t, strings.ToValidUTF8(s, "\uFFFD"), back)
	}
	for _, name := range []string{"UTC", "Asia/Kolkata", "America/St_Johns", "Australia/Lord_Howe", "America/New_York"} {
		zone := zoneNamed(t, name)
		w, err := NewJSONWriter(arrow.NewSchema(nil, nil), zone, nil)
		require.NoError(t, err)
		for _, at := range []string{"2021-11-30T12:34:56.789Z", "1969-12-31T23:59:59.5Z", "2024-03-10T07:00:00Z", "2024-11-03T05:59:59.999Z", "9999-12-31T10:00:00Z", "0001-01-02T00:00:00Z", "2400-02-29T00:00:00Z"} {
			parsed, err := time.Parse(time.RFC3339Nano, at)
			require.NoError(t, err)
			if _, offset := parsed.In(zone).Zone(); offset%60 != 0 {
				continue // before 1900: RFC 3339 cannot say it
			}
			require.Equal(t, `"`+parsed.In(zone).Format("2006-01-02T15:04:05.000Z07:00")+`"`, string(w.appendInstant(nil, parsed.UnixMicro())), "%s in %s", at, name)
		}
	}
	// an offset with seconds: the same instant under the nearest offset of whole minutes
	w, err := NewJSONWriter(arrow.NewSchema(nil, nil), zoneNamed(t, "Asia/Kolkata"), nil)
	require.NoError(t, err)
	old := time.Date(1850, 1, 1, 0, 0, 0, 123456000, time.UTC)
	back, err := time.Parse(time.RFC3339Nano, strings.Trim(string(w.appendInstant(nil, old.UnixMicro())), `"`))
	require.NoError(t, err)
	require.True(t, back.Equal(old), "%v", back)
}

func TestJSONDecimals(t *testing.T) {
	for _, scale := range []int32{0, 1, 2, 9, 18, 19, 38} {
		for _, n := range []decimal128.Num{decimal128.FromI64(0), decimal128.FromI64(-1), decimal128.FromI64(12345), decimal128.FromI64(math.MaxInt64), decimal128.FromI64(math.MinInt64),
			decimal128.New(1, 0), decimal128.New(-1, 0), decimal128.GetMaxValue(38), decimal128.GetMaxValue(38).Negate()} {
			require.Equal(t, n.ToString(scale), string(appendDecimal(nil, n, scale)))
		}
	}
}

func TestJSONAllocatesNothing(t *testing.T) {
	batch := rowsOf(t, "a: int64, s: string, t: timestamp, n: decimal(10,2), l: list<float64>", func(b *array.RecordBuilder) {
		require.NoError(t, b.UnmarshalJSON([]byte(`{"a": 5, "s": "text", "t": "2021-11-30T00:00:00Z", "n": "12.50", "l": [1.5, 2.5]}`)))
	})
	w, err := NewJSONWriter(batch.Schema(), zoneNamed(t, "Asia/Kolkata"), nil)
	require.NoError(t, err)
	dst := make([]byte, 0, 1024)
	require.Zero(t, testing.AllocsPerRun(100, func() { dst = w.AppendRow(dst[:0], batch, 0) }))
	require.Equal(t, `{"a":5,"s":"text","t":"2021-11-30T05:30:00.000+05:30","n":"12.50","l":[1.5,2.5]}`, string(dst))
}

func BenchmarkJSONWriter(b *testing.B) {
	typ, _ := ParseType("struct<user: int64, count: int64, at: timestamp, name: string>")
	rb := array.NewRecordBuilder(memory.DefaultAllocator, Schema{Fields: typ.Fields}.Arrow())
	defer rb.Release()
	for i := range 1000 {
		rb.Field(0).(*array.Int64Builder).Append(int64(i))
		rb.Field(1).(*array.Int64Builder).Append(int64(i * 7))
		rb.Field(2).(*array.TimestampBuilder).Append(arrow.Timestamp(1638210600000000 + int64(i)*1e6))
		rb.Field(3).(*array.StringBuilder).Append(fmt.Sprintf("name %d", i))
	}
	batch := rb.NewRecordBatch()
	defer batch.Release()
	zone, _ := time.LoadLocation("Asia/Kolkata")
	w, _ := NewJSONWriter(batch.Schema(), zone, nil)
	var dst []byte
	b.ReportAllocs()
	for i := range b.N {
		dst = w.AppendRow(dst[:0], batch, i%1000)
		b.SetBytes(int64(len(dst)))
	}
}

func zoneNamed(t *testing.T, name string) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(name)
	require.NoError(t, err)
	return zone
}
