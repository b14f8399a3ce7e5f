package parquet

import (
	"bytes"
	"io"
	"math"
	"math/big"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	pq "github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
	"github.com/stretchr/testify/require"

	"lake/schemas"
)

// checkPages reads a file with parquet-go, which verifies the checksums, and
// compares the page index and the statistics with the values that are there.
func checkPages(t *testing.T, data []byte) {
	t.Helper()
	f, err := pq.OpenFile(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	for g, group := range f.RowGroups() {
		for c, chunk := range group.ColumnChunks() {
			meta := f.Metadata().RowGroups[g].Columns[c].MetaData
			offsets, err := chunk.OffsetIndex()
			require.NoError(t, err)
			index, _ := chunk.ColumnIndex()
			typ := chunk.Type()
			pages := chunk.Pages()
			var nulls, rows int64
			k := 0
			for ; ; k++ {
				p, err := pages.ReadPage()
				if err == io.EOF {
					break
				}
				require.NoError(t, err)
				require.Equal(t, rows, offsets.FirstRowIndex(k), "first row of page %d", k)
				rows += p.NumRows()
				low, high, n := extremes(t, typ, p)
				nulls += p.NumValues() - n
				if index != nil {
					require.Equal(t, p.NumValues()-n, index.NullCount(k))
					require.Equal(t, n == 0, index.NullPage(k))
				}
				if n > 0 && !low.IsNull() {
					if index != nil {
						requireBound(t, typ, index.MinValue(k), low, -1)
						requireBound(t, typ, index.MaxValue(k), high, 1)
					}
					requireBound(t, typ, typ.Kind().Value(meta.Statistics.MinValue), low, -1)
					requireBound(t, typ, typ.Kind().Value(meta.Statistics.MaxValue), high, 1)
				}
				pq.Release(p)
			}
			require.NoError(t, pages.Close())
			require.Equal(t, k, offsets.NumPages())
			require.Equal(t, group.NumRows(), rows)
			require.Equal(t, nulls, meta.Statistics.NullCount)
			last := f.OffsetIndexes()[g*len(group.ColumnChunks())+c].PageLocations
			end := last[len(last)-1].Offset + int64(last[len(last)-1].CompressedPageSize)
			begin := meta.DataPageOffset
			if meta.DictionaryPageOffset > 0 {
				begin = meta.DictionaryPageOffset
			}
			require.Equal(t, meta.TotalCompressedSize, end-begin, "the chunk is its pages")
		}
	}
}

// requireBound wants a bound on the side of value, and equal to it where it is short.
func requireBound(t *testing.T, typ pq.Type, bound, value pq.Value, side int) {
	t.Helper()
	k := compareValues(typ, bound, value)
	require.True(t, k == 0 || k == side, "%v is no bound of %v", bound, value)
	if typ.Kind() == pq.ByteArray && bytes.TrimLeft(bound.ByteArray(), "\xff") != nil { // above 0xff… nothing short lies
		require.LessOrEqual(t, len(bound.ByteArray()), max(boundBytes, len(value.ByteArray())))
	}
}

// compareValues compares as the format says: parquet-go takes a decimal's bytes
// for unsigned.
func compareValues(typ pq.Type, a, b pq.Value) int {
	if l := typ.LogicalType(); typ.Kind() == pq.FixedLenByteArray && l != nil {
		if _, ok := l.Value.(*format.DecimalType); ok {
			signed := func(v pq.Value) *big.Int {
				x := new(big.Int).SetBytes(v.ByteArray())
				if v.ByteArray()[0] >= 0x80 {
					x.Sub(x, new(big.Int).Lsh(big.NewInt(1), uint(8*len(v.ByteArray()))))
				}
				return x
			}
			return signed(a).Cmp(signed(b))
		}
	}
	return typ.Compare(a, b)
}

func extremes(t *testing.T, typ pq.Type, p pq.Page) (low, high pq.Value, n int64) {
	t.Helper()
	values := make([]pq.Value, 1000)
	r := p.Values()
	for {
		k, err := r.ReadValues(values)
		for _, v := range values[:k] {
			if v.IsNull() {
				continue
			}
			n++
			if typ.Kind() == pq.Float && math.IsNaN(float64(v.Float())) || typ.Kind() == pq.Double && math.IsNaN(v.Double()) {
				continue
			}
			if low.IsNull() || compareValues(typ, v, low) < 0 {
				low = v.Clone()
			}
			if high.IsNull() || compareValues(typ, v, high) > 0 {
				high = v.Clone()
			}
		}
		if err == io.EOF {
			return low, high, n
		}
		require.NoError(t, err)
	}
}

// checkMetrics counts the top-level leaf columns again, row by row.
func checkMetrics(t *testing.T, s schemas.Schema, m Metrics, want []picked) {
	t.Helper()
	for c, f := range s.Fields {
		if f.Type.Kind >= schemas.List {
			require.NotContains(t, m.Columns, f.ID, "only leaves have metrics")
			continue
		}
		var nulls, nans int64
		for _, p := range want {
			col := p.batch.Column(c)
			switch {
			case col.IsNull(p.row):
				nulls++
			case isNaN(col, p.row):
				nans++
			}
		}
		got := m.Columns[f.ID]
		require.EqualValues(t, len(want), got.Values)
		require.Equal(t, nulls, got.Nulls)
		require.Equal(t, nans, got.NaNs)
		require.Equal(t, f.Type.Kind == schemas.Float32 || f.Type.Kind == schemas.Float64, got.Float)
		bounded := int64(len(want)) > nulls+nans && f.Type.Kind != schemas.UUID
		require.Equal(t, bounded, got.Lower != nil, f.Type)
	}
}

func isNaN(col arrow.Array, i int) bool {
	switch col := col.(type) {
	case *array.Float32:
		return col.Value(i) != col.Value(i)
	case *array.Float64:
		return col.Value(i) != col.Value(i)
	}
	return false
}

// TestChecksumsAreThere turns a bit of each page and wants parquet-go to see it.
func TestChecksumsAreThere(t *testing.T) {
	data := flatFile(t, 50_000)
	f, err := pq.OpenFile(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	chunk := f.Metadata().RowGroups[0].Columns[0].MetaData
	require.Equal(t, format.Zstd, chunk.Codec)
	for _, place := range f.OffsetIndexes()[0].PageLocations {
		broken := bytes.Clone(data)
		broken[place.Offset+int64(place.CompressedPageSize)-1] ^= 1
		f, err := pq.OpenFile(bytes.NewReader(broken), int64(len(broken)))
		require.NoError(t, err)
		pages := f.RowGroups()[0].ColumnChunks()[0].Pages()
		for err == nil {
			_, err = pages.ReadPage()
		}
		require.ErrorContains(t, err, "crc32 checksum mismatch")
	}
}
