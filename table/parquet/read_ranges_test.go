package parquet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	arrowparquet "github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/parquet-go/parquet-go/format"
	"github.com/stretchr/testify/require"

	"lake/schemas"
)

// rangedLeaf is a column of which ranges can be asked, or a member of a struct.
type rangedLeaf struct {
	id    int
	dtype arrow.DataType
	path  []int
}

func rangedLeaves(fields []schemas.Field, path []int) (out []rangedLeaf) {
	for i, f := range fields {
		at := append(path[:len(path):len(path)], i)
		switch f.Type.Kind {
		case schemas.Struct:
			out = append(out, rangedLeaves(f.Type.Fields, at)...)
		case schemas.Int32, schemas.Int64, schemas.Float32, schemas.Float64, schemas.Decimal, schemas.Date, schemas.Timestamp, schemas.Datetime, schemas.String, schemas.Bytes:
			out = append(out, rangedLeaf{f.ID, f.Type.Arrow(), at})
		}
	}
	return out
}

// value is a row's; false: null.
func (l rangedLeaf) value(row picked) (Limit, bool) {
	a := row.batch.Column(l.path[0])
	for _, member := range l.path[1:] {
		if a.IsNull(row.row) {
			return Limit{}, false
		}
		a = a.(*array.Struct).Field(member)
	}
	if a.IsNull(row.row) {
		return Limit{}, false
	}
	v := Limit{Set: true}
	switch a := a.(type) {
	case *array.Int32:
		v.Int = int64(a.Value(row.row))
	case *array.Int64:
		v.Int = a.Value(row.row)
	case *array.Date32:
		v.Int = int64(a.Value(row.row))
	case *array.Timestamp:
		v.Int = int64(a.Value(row.row))
	case *array.Float32:
		v.Float = float64(a.Value(row.row))
	case *array.Float64:
		v.Float = a.Value(row.row)
	case *array.Decimal128:
		v.Decimal = a.Value(row.row)
	case *array.String:
		v.Text = []byte(a.Value(row.row))
	case *array.Binary:
		v.Text = a.Value(row.row)
	}
	return v, true
}

// has tells whether a row is in a range: NaN and null are in none.
func (l rangedLeaf) has(row picked, r Range) bool {
	v, ok := l.value(row)
	if !ok {
		return false
	}
	atMost := func(a, b Limit) bool {
		switch l.dtype.ID() {
		case arrow.FLOAT32, arrow.FLOAT64:
			return a.Float <= b.Float
		case arrow.DECIMAL128:
			return a.Decimal.BigInt().Cmp(b.Decimal.BigInt()) <= 0
		case arrow.STRING, arrow.BINARY:
			return string(a.Text) <= string(b.Text)
		}
		return a.Int <= b.Int
	}
	return (!r.Low.Set || atMost(r.Low, v)) && (!r.High.Set || atMost(v, r.High)) && (l.dtype.ID() != arrow.FLOAT32 && l.dtype.ID() != arrow.FLOAT64 || !math.IsNaN(v.Float))
}

// randomRange is one about values that are there.
func (l rangedLeaf) randomRange(g *rand.Rand, rows []picked) Range {
	r := Range{ID: l.id, Type: l.dtype}
	pick := func() Limit {
		v, ok := l.value(rows[g.IntN(len(rows))])
		v.Set = ok && !math.IsNaN(v.Float)
		return v
	}
	switch r.Low, r.High = pick(), pick(); g.IntN(4) {
	case 0:
		r.High = r.Low
	case 1:
		r.Low.Set = false
	case 2:
		r.High.Set = false
	}
	return r
}

// requirePruned reads some of a file, by ranges about values that it has: each row
// that is in them comes, in the file's order.
func requirePruned(t *testing.T, g *rand.Rand, f *File, s schemas.Schema, rows []picked) {
	t.Helper()
	leaves := rangedLeaves(s.Fields, nil)
	if len(leaves) == 0 || len(rows) == 0 {
		return
	}
	var where [][]Range
	in := make([]bool, len(rows))
	for range 1 + g.IntN(3) {
		l, m := leaves[g.IntN(len(leaves))], leaves[g.IntN(len(leaves))]
		a, b := l.randomRange(g, rows), m.randomRange(g, rows)
		where = append(where, []Range{a, b})
		for i, row := range rows {
			in[i] = in[i] || l.has(row, a) && m.has(row, b)
		}
	}
	next := 0 // of the rows that have to come
	pass := func() {
		for next < len(rows) && !in[next] {
			next++
		}
	}
	pass()
	for _, batch := range readRows(t, memory.DefaultAllocator, f, s, RowsOptions{Batch: 1000, Where: where}) {
		for i := range int(batch.NumRows()) {
			same := next < len(rows)
			for c := 0; same && c < len(s.Fields); c++ {
				same = differs(rows[next].batch.Column(c), rows[next].row, batch.Column(c), i) == ""
			}
			if same {
				next++
				pass()
			}
		}
		batch.Release()
	}
	require.Equal(t, len(rows), next, "a row that is in %+v did not come", where)
}

var floatsSchema = schemas.Schema{Fields: []schemas.Field{
	{ID: 1, Name: "n", Type: schemas.Type{Kind: schemas.Int64}, Required: true},
	{ID: 2, Name: "f", Type: schemas.Type{Kind: schemas.Float64}},
	{ID: 3, Name: "g", Type: schemas.Type{Kind: schemas.Float32}},
	{ID: 4, Name: "d9", Type: schemas.Type{Kind: schemas.Decimal, Precision: 9, Scale: 2}},
	{ID: 5, Name: "d18", Type: schemas.Type{Kind: schemas.Decimal, Precision: 18, Scale: 4}},
	{ID: 6, Name: "d38", Type: schemas.Type{Kind: schemas.Decimal, Precision: 38, Scale: 9}},
	{ID: 7, Name: "s", Type: schemas.Type{Kind: schemas.Struct, Fields: []schemas.Field{{ID: 8, Name: "f", Type: schemas.Type{Kind: schemas.Float64}}}}},
}}

// floatsBatch has numbers that rise from below zero, slowly, with NaN, nulls and zeros
// of both signs in between: whole pages of them, too.
func floatsBatch(g *rand.Rand, rows int) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, floatsSchema.Arrow())
	defer b.Release()
	decimal := func(i int, x decimal128.Num) { b.Field(i).(*array.Decimal128Builder).Append(x) }
	s := b.Field(6).(*array.StructBuilder)
	for i := range rows {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		x := float64(i-rows/2) / 8
		part := 20 * i / rows
		switch {
		case part == 3 || g.IntN(40) == 0:
			x = math.NaN()
		case part == 10:
			x = math.Copysign(0, float64(g.IntN(2))-0.5)
		case part == 11:
			x = math.Copysign(0, -1)
		case part == 12:
			x = 0
		}
		b.Field(1).(*array.Float64Builder).Append(x)
		b.Field(2).(*array.Float32Builder).Append(float32(x))
		n := decimal128.FromI64(int64(i - rows/2))
		decimal(3, n)
		decimal(4, n.Mul(decimal128.FromI64(1_000_000_007)))
		decimal(5, n.Mul(decimal128.New(1<<40, 77)))
		s.Append(part%7 != 5)
		s.FieldBuilder(0).(*array.Float64Builder).Append(x)
		if part == 15 || g.IntN(60) == 0 {
			for c := 1; c < 6; c++ {
				b.Field(c).(interface{ SetNull(int) }).SetNull(i)
			}
		}
	}
	return b.NewRecordBatch()
}

// TestFloatsAndDecimalsPassOverPages: rows in ranges of floats and decimals come, whoever wrote
// the file, and of a file with a page index little is read for them.
func TestFloatsAndDecimalsPassOverPages(t *testing.T) {
	const rows = 16_000
	g := rand.New(rand.NewPCG(3, 4))
	batch := floatsBatch(g, rows)
	defer batch.Release()
	all := make([]picked, rows)
	for i := range all {
		all[i] = picked{batch, i}
	}
	var own bytes.Buffer
	w, err := NewWriter(&own, batch.Schema(), Options{Codec: "snappy", RowGroupBytes: 256 << 10})
	require.NoError(t, err)
	for i := int64(0); i < rows; i += 500 {
		part := batch.NewSlice(i, i+500)
		require.NoError(t, w.Append(part, nil))
		part.Release()
	}
	_, err = w.Close()
	require.NoError(t, err)
	files := map[string][]byte{"own": own.Bytes()}
	for _, index := range []bool{true, false} {
		var out bytes.Buffer
		w, err := pqarrow.NewFileWriter(batch.Schema(), &out, arrowparquet.NewWriterProperties(arrowparquet.WithPageIndexEnabled(index), arrowparquet.WithMaxRowGroupLength(6_000),
			arrowparquet.WithDataPageSize(2<<10), arrowparquet.WithBatchSize(100), arrowparquet.WithDictionaryDefault(false)), pqarrow.DefaultWriterProps())
		require.NoError(t, err)
		require.NoError(t, w.Write(batch))
		require.NoError(t, w.Close())
		files[fmt.Sprintf("arrow, index %t", index)] = out.Bytes()
	}
	for writer, data := range files {
		t.Run(writer, func(t *testing.T) {
			g := rand.New(rand.NewPCG(5, 6))
			in := &counted{Reader: bytes.NewReader(data)}
			f, err := Open(in, int64(len(data)), nil)
			require.NoError(t, err)
			for range 16 {
				requirePruned(t, g, f, floatsSchema, all)
			}
			zero := Limit{Set: true}
			for _, sign := range []float64{1, -1} {
				for _, r := range []Range{{Low: zero, High: zero}, {High: zero}, {Low: zero}} {
					r.ID, r.Type = 2, arrow.PrimitiveTypes.Float64
					r.Low.Float, r.High.Float = math.Copysign(0, sign), math.Copysign(0, sign)
					seen := map[int64]bool{}
					for _, got := range readRows(t, memory.DefaultAllocator, f, floatsSchema, RowsOptions{Batch: 1000, Where: [][]Range{{r}}}) {
						for i := range int(got.NumRows()) {
							seen[got.Column(0).(*array.Int64).Value(i)] = true
						}
						got.Release()
					}
					l := rangedLeaf{id: 2, dtype: r.Type, path: []int{1}}
					for i, row := range all {
						if l.has(row, r) && !seen[int64(i)] {
							t.Fatalf("row %d, %s, is missing in %+v", i, batch.Column(1).ValueStr(i), r)
						}
					}
				}
			}
			for _, l := range rangedLeaves(floatsSchema.Fields, nil)[1:] {
				at := rows * 9 / 20 // in a row group of which no page is all NaN: pqarrow has no index of one that has such
				some := func() Limit {
					for v, ok := l.value(all[at]); ; v, ok = l.value(all[at]) {
						if at++; ok && !math.IsNaN(v.Float) {
							return v
						}
					}
				}
				low := some()
				at += 20
				high := some()
				in.bytes = 0
				n := 0
				for _, got := range readRows(t, memory.DefaultAllocator, f, floatsSchema, RowsOptions{Batch: 1000, Where: [][]Range{{{ID: l.id, Type: l.dtype, Low: low, High: high}}}}) {
					n += int(got.NumRows())
					got.Release()
				}
				require.GreaterOrEqual(t, n, 15, "column %d", l.id)
				require.Less(t, n, rows/2, "column %d", l.id)
				require.Less(t, in.bytes, len(data)/2, "column %d", l.id)
				if writer == "arrow, index true" {
					require.Less(t, n, rows/10, "column %d: pages are passed over", l.id)
					require.Less(t, in.bytes, len(data)/4, "column %d", l.id)
				}
			}
		})
	}
}

// Bounds that say nothing, and zeros, of which a bound may have either.
func TestRangeOutside(t *testing.T) {
	float := func(bits uint64) []byte { return binary.LittleEndian.AppendUint64(nil, bits) }
	of := func(x float64) []byte { return float(math.Float64bits(x)) }
	f := &Column{Physical: format.Double, Width: 8}
	limit := func(x float64) Limit { return Limit{Set: true, Float: x} }
	minus := math.Copysign(0, -1)
	for _, each := range []struct {
		r         Range
		low, high []byte
		outside   bool
	}{
		{Range{Low: limit(2)}, of(0), of(1), true},
		{Range{Low: limit(1)}, of(0), of(1), false},
		{Range{High: limit(-1)}, of(0), of(1), true},
		{Range{Low: limit(0)}, of(-1), of(minus), false},
		{Range{High: limit(minus)}, of(0), of(1), false},
		{Range{Low: limit(2)}, of(0), of(math.NaN()), false},
		{Range{High: limit(-2)}, of(math.NaN()), of(1), false},
		{Range{High: limit(-2)}, float(0xfff8 << 48), of(1), false},
		{Range{Low: limit(2)}, nil, nil, false},
		{Range{Low: limit(math.Inf(1))}, of(0), of(1), true},
		{Range{}, of(0), of(1), false},
	} {
		each.r.Type = arrow.PrimitiveTypes.Float64
		require.Equal(t, each.outside, each.r.Outside(f.limit(each.low), f.limit(each.high)), "%+v", each)
	}
	d := &Column{Physical: format.FixedLenByteArray, Width: 3, logical: format.LogicalType{Value: &format.DecimalType{Scale: 2, Precision: 6}}}
	require.Equal(t, Limit{Set: true, Decimal: decimal128.FromI64(-2)}, d.limit([]byte{0xff, 0xff, 0xfe}))
	require.Equal(t, Limit{Set: true, Decimal: decimal128.FromI64(65536)}, d.limit([]byte{1, 0, 0}))
	require.Equal(t, Limit{}, d.limit([]byte{1, 0}))
}
