package parquet

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/iceberg-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/stretchr/testify/require"

	"lake/schemas"
)

// column writes one column from its values in JSON and returns its metrics.
func column(t *testing.T, typ schemas.Type, values string) ColumnMetrics {
	t.Helper()
	s := schemas.Schema{Fields: []schemas.Field{{Name: "c", Type: typ, ID: 1}}}
	col, _, err := array.FromJSON(memory.DefaultAllocator, typ.Arrow(), strings.NewReader(values))
	require.NoError(t, err)
	return write(t, s, col)
}

func write(t *testing.T, s schemas.Schema, col arrow.Array) ColumnMetrics {
	t.Helper()
	w, err := NewWriter(&bytes.Buffer{}, s.Arrow(), Options{})
	require.NoError(t, err)
	require.NoError(t, w.Append(array.NewRecordBatch(s.Arrow(), []arrow.Array{col}, int64(col.Len())), nil))
	m, err := w.Close()
	require.NoError(t, err)
	return m.Columns[1]
}

// TestBoundsInIcebergsForm reads the bounds with iceberg-go's own decoder.
func TestBoundsInIcebergsForm(t *testing.T) {
	k := func(kind schemas.Kind) schemas.Type { return schemas.Type{Kind: kind} }
	dec := func(p, s int) schemas.Type { return schemas.Type{Kind: schemas.Decimal, Precision: p, Scale: s} }
	for _, c := range []struct {
		typ        schemas.Type
		as         iceberg.Type
		values     string
		low, upper string
	}{
		{k(schemas.Int64), iceberg.PrimitiveTypes.Int64, `[3, null, -7, 9]`, "-7", "9"},
		{k(schemas.Int32), iceberg.PrimitiveTypes.Int32, `[3, -2147483648]`, "-2147483648", "3"},
		{k(schemas.Bool), iceberg.PrimitiveTypes.Bool, `[true, null]`, "true", "true"},
		{k(schemas.Bool), iceberg.PrimitiveTypes.Bool, `[true, false]`, "false", "true"},
		{k(schemas.Date), iceberg.PrimitiveTypes.Date, `["2021-11-30", "1969-12-31"]`, "1969-12-31", "2021-11-30"},
		{k(schemas.String), iceberg.PrimitiveTypes.String, `["b", "", "aa"]`, "", "b"},
		{k(schemas.String), iceberg.PrimitiveTypes.String, `["日本語日本語日本語日本語日本語日本語"]`, "日本語日本語日本語日本語日本語日", "日本語日本語日本語日本語日本語旦"[:45] + "旦"},
		{dec(9, 2), iceberg.DecimalTypeOf(9, 2), `["1.27", "-1.28"]`, "-1.28", "1.27"},
		{dec(18, 0), iceberg.DecimalTypeOf(18, 0), `["999999999999999999", "-200"]`, "-200", "999999999999999999"},
		{dec(38, 1), iceberg.DecimalTypeOf(38, 1), `["-9999999999999999999999999999999999999.9", "0.1"]`, "-9999999999999999999999999999999999999.9", "0.1"},
	} {
		m := column(t, c.typ, c.values)
		if c.typ.Kind == schemas.String && len(c.low) > 40 {
			require.Equal(t, c.low, string(m.Lower))
			require.Equal(t, "日本語日本語日本語日本語日本語旦"[:45], string(m.Upper)[:45])
			require.Greater(t, string(m.Upper), "日本語日本語日本語日本語日本語日本語")
			require.Len(t, []rune(string(m.Upper)), 16)
			continue
		}
		low, err := iceberg.LiteralFromBytes(c.as, m.Lower)
		require.NoError(t, err)
		high, err := iceberg.LiteralFromBytes(c.as, m.Upper)
		require.NoError(t, err)
		require.Equal(t, c.low, low.String(), c.typ)
		require.Equal(t, c.upper, high.String(), c.typ)
	}
	require.Equal(t, "80", hex.EncodeToString(column(t, dec(9, 2), `["-1.28"]`).Lower), "the least number of bytes")
	require.Equal(t, "0080", hex.EncodeToString(column(t, dec(9, 2), `["1.28"]`).Lower))
	require.Equal(t, "00", hex.EncodeToString(column(t, dec(38, 0), `["0"]`).Lower))
}

func TestNaNAndZeroBounds(t *testing.T) {
	s := schemas.Schema{Fields: []schemas.Field{{Name: "c", Type: schemas.Type{Kind: schemas.Float64}, ID: 1}}}
	floats := func(values ...float64) ColumnMetrics {
		b := array.NewFloat64Builder(memory.DefaultAllocator)
		b.AppendValues(values, nil)
		return write(t, s, b.NewArray())
	}
	bits := func(x float64) string { return hex.EncodeToString(appendFloat(nil, x)) }
	m := floats(math.NaN(), 0, math.NaN())
	require.EqualValues(t, 2, m.NaNs)
	require.Equal(t, bits(math.Copysign(0, -1)), hex.EncodeToString(m.Lower), "zero as a lower bound is -0.0")
	require.Equal(t, bits(0), hex.EncodeToString(m.Upper))
	m = floats(math.Copysign(0, -1))
	require.Equal(t, bits(0), hex.EncodeToString(m.Upper), "zero as an upper bound is +0.0")
	m = floats(math.NaN())
	require.Nil(t, m.Lower)
	require.Nil(t, m.Upper)
	var out bytes.Buffer
	w, err := NewWriter(&out, s.Arrow(), Options{})
	require.NoError(t, err)
	b := array.NewFloat64Builder(memory.DefaultAllocator)
	b.AppendValues([]float64{math.NaN(), math.NaN()}, nil)
	require.NoError(t, w.Append(array.NewRecordBatch(s.Arrow(), []arrow.Array{b.NewArray()}, 2), nil))
	_, err = w.Close()
	require.NoError(t, err)
	require.Zero(t, footerOf(t, out.Bytes()).RowGroups[0].Columns[0].ColumnIndexLength, "a page of NaN has no bounds, so the chunk has no column index")
	m = floats(math.Inf(1), math.Inf(-1))
	require.Equal(t, bits(math.Inf(-1)), hex.EncodeToString(m.Lower))
	require.Equal(t, bits(math.Inf(1)), hex.EncodeToString(m.Upper))
}

func TestCutBounds(t *testing.T) {
	require.Equal(t, []byte{1, 3}, next([]byte{1, 2, 0xff, 0xff}, false))
	require.Nil(t, next([]byte{0xff, 0xff}, false))
	require.Equal(t, "b", string(next([]byte("a\U0010ffff"), true)))
	require.Equal(t, "\ue000", string(next([]byte("\ud7ff"), true)), "surrogates are jumped over")
	require.Nil(t, next([]byte("\U0010ffff\U0010ffff"), true))
	long := strings.Repeat("\U0010ffff", 40)
	s := schemas.Schema{Fields: []schemas.Field{{Name: "c", Type: schemas.Type{Kind: schemas.String}, ID: 1}}}
	b := array.NewStringBuilder(memory.DefaultAllocator)
	b.Append(long)
	m := write(t, s, b.NewArray())
	require.Equal(t, long[:64], string(m.Lower), "16 code points")
	require.Nil(t, m.Upper, "no short text lies above")
}

// TestExactFlags reads the statistics as the footer has them: a long text's
// bounds are cut and say so, a short one's are itself.
func TestExactFlags(t *testing.T) {
	s := schemas.Schema{Fields: []schemas.Field{{Name: "c", Type: schemas.Type{Kind: schemas.String}, ID: 1}}}
	footer := func(values ...string) statistics {
		b := array.NewStringBuilder(memory.DefaultAllocator)
		b.AppendValues(values, nil)
		col := b.NewArray()
		var out bytes.Buffer
		w, err := NewWriter(&out, s.Arrow(), Options{})
		require.NoError(t, err)
		require.NoError(t, w.Append(array.NewRecordBatch(s.Arrow(), []arrow.Array{col}, int64(len(values))), nil))
		_, err = w.Close()
		require.NoError(t, err)
		return footerOf(t, out.Bytes()).RowGroups[0].Columns[0].MetaData.Statistics
	}
	got := footer("a", strings.Repeat("z", 100))
	require.Equal(t, "a", string(got.Min))
	require.Equal(t, thrift.New(true), got.IsMinExact)
	require.Equal(t, strings.Repeat("z", 63)+"{", string(got.Max))
	require.Equal(t, thrift.New(false), got.IsMaxExact)
	got = footer(strings.Repeat("日", 30), "\U0010ffff")
	require.Equal(t, strings.Repeat("日", 21), string(got.Min), "cut between code points")
	require.Equal(t, thrift.New(false), got.IsMinExact)
	require.Equal(t, thrift.New(true), got.IsMaxExact)
}

func footerOf(t *testing.T, data []byte) (meta fileMetaData) {
	t.Helper()
	size := binary.LittleEndian.Uint32(data[len(data)-8:])
	require.NoError(t, thrift.Unmarshal(&thrift.CompactProtocol{}, data[len(data)-8-int(size):len(data)-8], &meta))
	return meta
}
