package parquet

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	arrowparquet "github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/parquet-go/parquet-go/format"
	"github.com/stretchr/testify/require"

	"lake/schemas"
)

var arrowCodecs = []compress.Compression{compress.Codecs.Uncompressed, compress.Codecs.Snappy, compress.Codecs.Gzip, compress.Codecs.Brotli, compress.Codecs.Zstd, compress.Codecs.Lz4Raw}

// arrowFile writes random rows with pqarrow, whose encodings are chosen by chance.
func (g *generator) arrowFile(t *testing.T, s schemas.Schema) ([]byte, []picked) {
	props := []arrowparquet.WriterProperty{
		arrowparquet.WithCompression(arrowCodecs[g.IntN(len(arrowCodecs))]),
		arrowparquet.WithDataPageSize([]int64{100, 5000, 1 << 20}[g.IntN(3)]),
		arrowparquet.WithDataPageVersion([]arrowparquet.DataPageVersion{arrowparquet.DataPageV1, arrowparquet.DataPageV2}[g.IntN(2)]),
		arrowparquet.WithDictionaryDefault(g.IntN(2) == 0),
		arrowparquet.WithDictionaryPageSizeLimit([]int64{200, 1 << 20}[g.IntN(2)]),
		arrowparquet.WithVersion([]arrowparquet.Version{arrowparquet.V1_0, arrowparquet.V2_6}[g.IntN(2)]),
		arrowparquet.WithPageIndexEnabled(g.IntN(2) == 0),
	}
	if g.IntN(2) == 0 {
		f, err := NewFormat(s.Arrow(), Options{})
		require.NoError(t, err)
		for _, l := range f.leaves {
			if l.kind == decimalKind { // pqarrow has them as bytes, and encodes these one way only
				continue
			}
			choice := []arrowparquet.Encoding{arrowparquet.Encodings.Plain}
			switch l.physical {
			case format.Boolean:
				choice = append(choice, arrowparquet.Encodings.RLE)
			case format.Int32, format.Int64:
				choice = append(choice, arrowparquet.Encodings.DeltaBinaryPacked, arrowparquet.Encodings.ByteStreamSplit)
			case format.Float, format.Double:
				choice = append(choice, arrowparquet.Encodings.ByteStreamSplit)
			case format.ByteArray:
				choice = append(choice, arrowparquet.Encodings.DeltaByteArray, arrowparquet.Encodings.DeltaLengthByteArray)
			}
			path := dotted(l.path)
			props = append(props, arrowparquet.WithDictionaryFor(path, false), arrowparquet.WithEncodingFor(path, choice[g.IntN(len(choice))]))
		}
	}
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(s.Arrow(), &out, arrowparquet.NewWriterProperties(props...), pqarrow.DefaultWriterProps())
	require.NoError(t, err)
	var want []picked
	for range 1 + g.IntN(3) {
		batch := g.tidyBatch(t, s)
		require.NoError(t, w.WriteBuffered(batch))
		if g.IntN(2) == 0 {
			w.NewBufferedRowGroup()
		}
		for i := range int(batch.NumRows()) {
			want = append(want, picked{batch, i})
		}
	}
	require.NoError(t, w.Close())
	return out.Bytes(), want
}

// tidyBatch is a batch with nothing under its nulls: pqarrow does not write what
// lies there.
func (g *generator) tidyBatch(t *testing.T, s schemas.Schema) arrow.RecordBatch {
	batch, _ := g.batch(s)
	defer batch.Release()
	var out bytes.Buffer
	w, err := NewWriter(&out, s.Arrow(), Options{})
	require.NoError(t, err)
	require.NoError(t, w.Append(batch, nil))
	_, err = w.Close()
	require.NoError(t, err)
	cols, _ := readBack(t, memory.DefaultAllocator, out.Bytes())
	for i, c := range cols {
		data, err := relabel(c.Data(), s.Arrow().Field(i).Type)
		require.NoError(t, err)
		cols[i] = array.MakeFromData(data)
	}
	return array.NewRecordBatch(s.Arrow(), cols, batch.NumRows())
}

// relabel is data under another type of the same layout.
func relabel(data arrow.ArrayData, want arrow.DataType) (arrow.ArrayData, error) {
	var kids []arrow.ArrayData
	var types []arrow.DataType
	switch w := want.(type) {
	case *arrow.MapType:
		types = []arrow.DataType{w.Elem()}
	case *arrow.ListType:
		types = []arrow.DataType{w.Elem()}
	case *arrow.StructType:
		for _, f := range w.Fields() {
			types = append(types, f.Type)
		}
	}
	if len(types) != len(data.Children()) {
		return nil, fmt.Errorf("%s is not %s", data.DataType(), want)
	}
	for i, child := range data.Children() {
		kid, err := relabel(child, types[i])
		if err != nil {
			return nil, err
		}
		kids = append(kids, kid)
	}
	return array.NewData(want, data.Len(), data.Buffers(), kids, data.NullN(), data.Offset()), nil
}

// readRows reads all of a file, as s has it.
func readRows(t *testing.T, mem memory.Allocator, data []byte, s schemas.Schema, o RowsOptions) (out []arrow.RecordBatch) {
	t.Helper()
	f, err := Open(bytes.NewReader(data), int64(len(data)), nil)
	require.NoError(t, err)
	o.Mem = mem
	r, err := f.Rows(s.Arrow(), o)
	require.NoError(t, err)
	defer r.Close()
	for {
		batch, err := r.Next()
		if err == io.EOF {
			return out
		}
		require.NoError(t, err)
		require.Positive(t, batch.NumRows())
		require.LessOrEqual(t, batch.NumRows(), int64(o.Batch))
		require.True(t, batch.Schema().Equal(s.Arrow()))
		out = append(out, batch)
	}
}

// requireRows reads a file and compares it with the rows that were written.
func requireRows(t *testing.T, g *rand.Rand, data []byte, s schemas.Schema, want []picked) {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	at := 0
	for _, batch := range readRows(t, mem, data, s, RowsOptions{Batch: []int{1 + g.IntN(50), 1000, 32 << 10}[g.IntN(3)]}) {
		for i := range int(batch.NumRows()) {
			for c := range s.Fields {
				if d := differs(want[at].batch.Column(c), want[at].row, batch.Column(c), i); d != "" {
					t.Fatalf("row %d: column %d %s%s", at, c, s.Fields[c].Type, d)
				}
			}
			at++
		}
		for c, col := range batch.Columns() {
			require.NoError(t, validate(col), "column %d", c)
		}
		batch.Release()
	}
	require.Len(t, want, at)
}

// validate checks what Arrow's readers rely on.
func validate(a arrow.Array) error {
	nulls := 0
	for i := range a.Len() {
		if a.IsNull(i) {
			nulls++
		}
	}
	if nulls != a.NullN() {
		return fmt.Errorf("%d nulls, and %d are said", nulls, a.NullN())
	}
	switch a := a.(type) {
	case *array.Struct:
		for i := range a.NumField() {
			if a.Field(i).Len() != a.Len() {
				return fmt.Errorf("member %d of %d has %d", i, a.Len(), a.Field(i).Len())
			}
			if err := validate(a.Field(i)); err != nil {
				return err
			}
		}
	case array.ListLike:
		if a.Len() > 0 {
			if _, end := a.ValueOffsets(a.Len() - 1); int(end) != a.ListValues().Len() {
				return fmt.Errorf("a list ends at %d of %d", end, a.ListValues().Len())
			}
		}
		return validate(a.ListValues())
	}
	return nil
}

func TestRowsOfArrowFiles(t *testing.T) {
	for seed := range uint64(150) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			g := &generator{Rand: rand.New(rand.NewPCG(seed, 8))}
			s := g.schema()
			data, want := g.arrowFile(t, s)
			requireRows(t, g.Rand, data, s, want)
		})
	}
}

func TestRowsOfOurFiles(t *testing.T) {
	for seed := range uint64(100) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			g := &generator{Rand: rand.New(rand.NewPCG(seed, 10))}
			s := g.schema()
			data, want := g.ownFile(t, s)
			requireRows(t, g.Rand, data, s, want)
		})
	}
}
