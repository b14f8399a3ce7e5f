package parquet

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	pq "github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
	"github.com/stretchr/testify/require"

	"lake/schemas"
)

// older is a schema that s may have evolved from.
func (g *generator) older(s schemas.Schema) schemas.Schema {
	var out schemas.Schema
	for _, f := range s.Fields {
		if !f.Required && g.IntN(4) == 0 && len(s.Fields) > 1 {
			continue // added later
		}
		switch {
		case f.Type.Kind == schemas.Int64 && g.IntN(2) == 0:
			f.Type.Kind = schemas.Int32
		case f.Type.Kind == schemas.Float64 && g.IntN(2) == 0:
			f.Type.Kind = schemas.Float32
		}
		f = g.stricter(f)
		out.Fields = append(out.Fields, f)
	}
	if len(out.Fields) == 0 {
		return s
	}
	g.Shuffle(len(out.Fields), func(i, j int) { out.Fields[i], out.Fields[j] = out.Fields[j], out.Fields[i] })
	return out
}

// stricter requires some of what may be null.
func (g *generator) stricter(f schemas.Field) schemas.Field {
	if g.IntN(4) == 0 {
		f.Required = true
	}
	if f.Type.Elem != nil {
		e := g.stricter(*f.Type.Elem)
		f.Type.Elem = &e
	}
	members := f.Type.Fields
	f.Type.Fields = nil
	for _, m := range members {
		f.Type.Fields = append(f.Type.Fields, g.stricter(m))
	}
	return f
}

// evolved is a batch of an older schema as a reader of s sees it.
func evolved(t *testing.T, batch arrow.RecordBatch, s schemas.Schema) arrow.RecordBatch {
	var cols []arrow.Array
	want := s.Arrow()
	for i, f := range want.Fields() {
		at := batch.Schema().FieldIndices(f.Name)
		switch {
		case len(at) == 0:
			cols = append(cols, array.MakeArrayOfNull(memory.DefaultAllocator, f.Type, int(batch.NumRows())))
		case s.Fields[i].Type.Kind < schemas.List && !arrow.TypeEqual(f.Type, batch.Column(at[0]).DataType()):
			cast, err := compute.CastArray(context.Background(), batch.Column(at[0]), compute.SafeCastOptions(f.Type))
			require.NoError(t, err)
			cols = append(cols, cast)
		default:
			cols = append(cols, batch.Column(at[0]))
		}
	}
	fields := make([]arrow.Field, len(cols))
	for i, c := range cols {
		fields[i] = arrow.Field{Name: want.Field(i).Name, Type: c.DataType(), Nullable: true}
	}
	return array.NewRecordBatch(arrow.NewSchema(fields, nil), cols, batch.NumRows())
}

// sourceFile writes batches with a writer of ours, or with pqarrow's.
func (g *generator) sourceFile(t *testing.T, s schemas.Schema, batches []arrow.RecordBatch, codec string) []byte {
	var out bytes.Buffer
	if g.IntN(4) == 0 {
		props := parquet.NewWriterProperties(parquet.WithDataPageSize(int64(1000+g.IntN(100_000))), parquet.WithDictionaryDefault(g.IntN(2) == 0),
			parquet.WithDataPageVersion([]parquet.DataPageVersion{parquet.DataPageV1, parquet.DataPageV2}[g.IntN(2)]))
		w, err := pqarrow.NewFileWriter(s.Arrow(), &out, props, pqarrow.NewArrowWriterProperties())
		require.NoError(t, err)
		failed := false // it refuses values below a null
		for _, b := range batches {
			failed = failed || w.Write(b) != nil
		}
		if !failed {
			require.NoError(t, w.Close())
			return out.Bytes()
		}
		out.Reset()
	}
	w, err := NewWriter(&out, s.Arrow(), Options{Codec: codec, RowGroupBytes: int64(20_000 + g.IntN(6_000_000))})
	require.NoError(t, err)
	for _, b := range batches {
		require.NoError(t, w.Append(b, nil))
	}
	_, err = w.Close()
	require.NoError(t, err)
	return out.Bytes()
}

// TestMergeIsConcatenation merges random files of random schemas, some of an
// older schema and some of another writer, and reads the result back.
func TestMergeIsConcatenation(t *testing.T) {
	merged, scanned := 0, 0
	for seed := range uint64(120) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			g := &generator{Rand: rand.New(rand.NewPCG(seed, 8))}
			var s schemas.Schema
			for i := range 1 + g.IntN(4) {
				s.Fields = append(s.Fields, g.field(fmt.Sprintf("c%d", i), 3))
			}
			codec := []string{"zstd", "snappy", "none"}[g.IntN(3)]
			format, err := NewFormat(s.Arrow(), Options{Codec: codec, RowGroupBytes: int64(50_000 + g.IntN(20_000_000)), Parallel: 2})
			require.NoError(t, err)
			var out bytes.Buffer
			w := format.NewMerger(&out)
			var want []picked
			for range 1 + g.IntN(6) {
				from := s
				if g.IntN(3) == 0 {
					from = g.older(s)
				}
				var batches []arrow.RecordBatch
				for range 1 + g.IntN(2) {
					batch, _ := g.batch(from)
					batches = append(batches, batch)
				}
				data := g.sourceFile(t, from, batches, codec)
				var in io.ReaderAt = bytes.NewReader(data)
				if seed%2 == 0 {
					in = Memory(data)
				}
				file, err := Open(in, int64(len(data)), nil)
				require.NoError(t, err)
				source, err := format.NewSource(file)
				asArrow := err != nil || g.IntN(8) == 0
				if err != nil {
					require.ErrorIs(t, err, ErrForm)
				}
				for _, b := range batches {
					seen := evolved(t, b, s)
					for i := range int(b.NumRows()) {
						want = append(want, picked{seen, i})
					}
					if asArrow {
						cols := make([]arrow.Array, seen.NumCols())
						for i, c := range seen.Columns() {
							data := array.NewData(s.Arrow().Field(i).Type, c.Len(), c.Data().Buffers(), c.Data().Children(), c.NullN(), c.Data().Offset())
							cols[i] = array.MakeFromData(data)
						}
						require.NoError(t, w.Append(array.NewRecordBatch(s.Arrow(), cols, seen.NumRows()), nil))
						scanned++
					}
				}
				if !asArrow {
					merged++
					for k := range source.Groups() {
						require.NoError(t, w.AppendGroup(source, k))
					}
				}
				for i := range data { // the buffer is another file's now
					data[i] = 0xff
				}
				if g.IntN(6) == 0 {
					require.NoError(t, w.EndPages())
				}
				require.EqualValues(t, len(want), w.Rows())
			}
			metrics, err := w.Close()
			require.NoError(t, err)
			require.EqualValues(t, len(want), metrics.Rows)
			require.EqualValues(t, out.Len(), metrics.Bytes)
			cols, schema := readBack(t, memory.DefaultAllocator, out.Bytes())
			require.Equal(t, s.Names(), fieldNames(schema))
			for c, col := range cols {
				require.Equal(t, len(want), col.Len())
				for i, p := range want {
					if d := differs(p.batch.Column(c), p.row, col, i); d != "" {
						t.Fatalf("row %d: column %d %s%s", i, c, s.Fields[c].Type, d)
					}
				}
			}
			checkPages(t, out.Bytes())
			checkMetrics(t, s, metrics, want)
		})
	}
	require.Greater(t, merged, 3*scanned, "most files are merged as they are")
}

// TestMergedAsWritten compares what is kept of the same rows, merged from many
// files and written at once: the bounds, and about the size.
func TestMergedAsWritten(t *testing.T) {
	s, err := schemas.FromArrow(flat(1, 1).Schema())
	require.NoError(t, err)
	for i := range s.Fields {
		s.Fields[i].ID = i + 1
	}
	f, err := NewFormat(s.Arrow(), Options{Parallel: 2})
	require.NoError(t, err)
	var atOnce, merged bytes.Buffer
	whole, merger := f.NewWriter(&atOnce), f.NewMerger(&merged)
	for i := range uint64(40) {
		batch := flat(10_000, i)
		require.NoError(t, whole.Append(batch, nil))
		var small bytes.Buffer
		w := f.NewWriter(&small)
		require.NoError(t, w.Append(batch, nil))
		_, err := w.Close()
		require.NoError(t, err)
		file, err := Open(bytes.NewReader(small.Bytes()), int64(small.Len()), nil)
		require.NoError(t, err)
		src, err := f.NewSource(file)
		require.NoError(t, err)
		require.NoError(t, merger.AppendGroup(src, 0))
	}
	a, err := whole.Close()
	require.NoError(t, err)
	b, err := merger.Close()
	require.NoError(t, err)
	require.Len(t, b.SplitOffsets, 1)
	require.InEpsilon(t, a.Bytes, b.Bytes, 0.03)
	for id, m := range a.Columns {
		n := b.Columns[id]
		require.InEpsilon(t, m.Size, n.Size, 0.1, "column %d", id)
		m.Size, n.Size = 0, 0
		require.Equal(t, m, n)
	}
}

// TestPagesTakenAsTheyAre looks for the source's pages in the merged file, byte by byte.
func TestPagesTakenAsTheyAre(t *testing.T) {
	s := schemas.Schema{Fields: []schemas.Field{
		{Name: "a", Type: schemas.Type{Kind: schemas.Float64}, ID: 1}, {Name: "b", Type: schemas.Type{Kind: schemas.Float32}, Required: true, ID: 2},
		{Name: "c", Type: schemas.Type{Kind: schemas.String}, ID: 3}}}
	f, err := NewFormat(s.Arrow(), Options{})
	require.NoError(t, err)
	r := rand.New(rand.NewPCG(1, 1))
	build := func(rows int) []byte {
		b := array.NewRecordBuilder(memory.DefaultAllocator, s.Arrow())
		for i := range rows {
			if i%7 == 0 {
				b.Field(0).AppendNull()
			} else {
				b.Field(0).(*array.Float64Builder).Append([]float64{r.Float64(), math.NaN()}[min(1, i%5/4)])
			}
			b.Field(1).(*array.Float32Builder).Append(r.Float32())
			b.Field(2).(*array.StringBuilder).Append(fmt.Sprintf("%x", r.Uint64()))
		}
		var out bytes.Buffer
		w := f.NewWriter(&out)
		require.NoError(t, w.Append(b.NewRecordBatch(), nil))
		_, err := w.Close()
		require.NoError(t, err)
		return out.Bytes()
	}
	var out bytes.Buffer
	w := f.NewMerger(&out)
	var want []format.PageLocation
	var sources [][]byte
	nans := int64(0)
	for _, rows := range []int{100_000, 500, 80_000} {
		data := build(rows)
		file, err := Open(bytes.NewReader(data), int64(len(data)), nil)
		require.NoError(t, err)
		src, err := f.NewSource(file)
		require.NoError(t, err)
		for k := range src.Groups() {
			require.NoError(t, w.AppendGroup(src, k))
		}
		sources = append(sources, data)
		for i := range rows {
			if i%7 != 0 && i%5 == 4 {
				nans++
			}
		}
	}
	m, err := w.Close()
	require.NoError(t, err)
	require.Equal(t, nans, m.Columns[1].NaNs)
	for _, k := range []int{0, 2} {
		source, err := pq.OpenFile(bytes.NewReader(sources[k]), int64(len(sources[k])))
		require.NoError(t, err)
		for c, column := range source.OffsetIndexes() {
			found, next := 0, int64(-1)
			for i, p := range column.PageLocations {
				page := sources[k][p.Offset : p.Offset+int64(p.CompressedPageSize)]
				at := bytes.Index(out.Bytes(), page)
				if at < 0 {
					continue
				}
				found++
				require.True(t, next < 0 || int64(at) == next, "column %d, page %d of %d lies behind that before it", c, i, len(column.PageLocations))
				next = int64(at + len(page))
			}
			want = append(want, column.PageLocations...)
			require.GreaterOrEqual(t, found, len(column.PageLocations)-2, "column %d of file %d", c, k)
		}
	}
	require.NotEmpty(t, want)
	checkPages(t, out.Bytes())
}

// TestDamagedSource turns bytes of a file: it is refused, or the rows are as they were.
func TestDamagedSource(t *testing.T) {
	s, err := schemas.FromArrow(flat(1, 1).Schema())
	require.NoError(t, err)
	for i := range s.Fields {
		s.Fields[i].ID = i + 1
	}
	f, err := NewFormat(s.Arrow(), Options{})
	require.NoError(t, err)
	var small bytes.Buffer
	w := f.NewWriter(&small)
	require.NoError(t, w.Append(flat(70_000, 1), nil))
	m, err := w.Close()
	require.NoError(t, err)
	pages := m.SplitOffsets[0]
	for _, c := range m.Columns {
		pages += c.Size
	}
	r := rand.New(rand.NewPCG(1, 1))
	refused := 0
	for range 300 {
		data := bytes.Clone(small.Bytes())
		at := 4 + r.Int64N(pages-4)
		data[at] ^= 1 << r.IntN(8)
		file, err := Open(bytes.NewReader(data), int64(len(data)), nil)
		require.NoError(t, err)
		src, err := f.NewSource(file)
		require.NoError(t, err)
		var out bytes.Buffer
		w := f.NewMerger(&out)
		if err := w.AppendGroup(src, 0); err != nil {
			refused++
			_, err = w.Close()
			require.Error(t, err, "the file cannot be completed")
			continue
		}
	}
	require.Greater(t, refused, 270, "all but what is in headers and does not matter")
}
