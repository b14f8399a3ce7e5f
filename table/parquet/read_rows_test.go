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
func readRows(t *testing.T, mem memory.Allocator, f *File, s schemas.Schema, o RowsOptions) (out []arrow.RecordBatch) {
	t.Helper()
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
	f, err := Open(bytes.NewReader(data), int64(len(data)), nil)
	require.NoError(t, err)
	require.True(t, f.HasIDs())
	requireFile(t, g, f, s, want)
}

func requireFile(t *testing.T, g *rand.Rand, f *File, s schemas.Schema, want []picked) {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	at := 0
	for _, batch := range readRows(t, mem, f, s, RowsOptions{Batch: []int{1 + g.IntN(50), 1000, 32 << 10}[g.IntN(3)]}) {
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
	requirePruned(t, g, f, s, want)
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
	for seed := range uint64(90) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			g := &generator{Rand: rand.New(rand.NewPCG(seed, 8))}
			s := g.schema()
			data, want := g.arrowFile(t, s)
			requireRows(t, g.Rand, data, s, want)
		})
	}
}

func TestRowsOfOurFiles(t *testing.T) {
	for seed := range uint64(50) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			g := &generator{Rand: rand.New(rand.NewPCG(seed, 10))}
			s := g.schema()
			data, want := g.ownFile(t, s)
			requireRows(t, g.Rand, data, s, want)
		})
	}
}

// TestInt96 reads timestamps as Spark and Hive wrote them for years.
func TestInt96(t *testing.T) {
	s := schemas.Schema{Fields: []schemas.Field{{ID: 1, Name: "at", Type: schemas.Type{Kind: schemas.Timestamp}}}}
	b := array.NewRecordBuilder(memory.DefaultAllocator, s.Arrow())
	defer b.Release()
	nanos := s.Arrow().Field(0)
	nanos.Type = arrow.FixedWidthTypes.Timestamp_ns
	n := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{nanos}, nil))
	defer n.Release()
	at := b.Field(0).(*array.TimestampBuilder)
	for _, x := range []int64{0, -1, 1, 1_638_230_400_000_000, -86_400_000_000, 9_000_000_000_000_000, -9_000_000_000_000_000} {
		at.Append(arrow.Timestamp(x))
		at.AppendNull()
		n.Field(0).(*array.TimestampBuilder).Append(arrow.Timestamp(x * 1000))
		n.Field(0).AppendNull()
	}
	batch, written := b.NewRecordBatch(), n.NewRecordBatch()
	defer batch.Release()
	defer written.Release()
	var want []picked
	for i := range int(batch.NumRows()) {
		want = append(want, picked{batch, i})
	}
	for _, dictionary := range []bool{true, false} {
		var out bytes.Buffer
		w, err := pqarrow.NewFileWriter(written.Schema(), &out, arrowparquet.NewWriterProperties(arrowparquet.WithDictionaryDefault(dictionary)), pqarrow.NewArrowWriterProperties(pqarrow.WithDeprecatedInt96Timestamps(true)))
		require.NoError(t, err)
		require.NoError(t, w.Write(written))
		require.NoError(t, w.Close())
		f, err := Open(bytes.NewReader(out.Bytes()), int64(out.Len()), nil)
		require.NoError(t, err)
		require.Equal(t, format.Int96, f.Leaves()[0].Physical)
		requireRows(t, rand.New(rand.NewPCG(1, 1)), out.Bytes(), s, want)
	}
	require.ErrorIs(t, int96s(make([]byte, 8), []byte{0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f}), errRange)
}

// TestPromotions reads files from before a column's type was widened.
func TestPromotions(t *testing.T) {
	field := func(kind schemas.Kind, precision int) schemas.Schema {
		return schemas.Schema{Fields: []schemas.Field{{ID: 1, Name: "c", Type: schemas.Type{Kind: kind, Precision: precision, Scale: min(precision, 2)}}}}
	}
	for _, each := range []struct{ from, to schemas.Schema }{
		{field(schemas.Int32, 0), field(schemas.Int64, 0)},
		{field(schemas.Float32, 0), field(schemas.Float64, 0)},
		{field(schemas.Decimal, 9), field(schemas.Decimal, 18)},
		{field(schemas.Decimal, 18), field(schemas.Decimal, 38)},
		{field(schemas.Decimal, 20), field(schemas.Decimal, 30)},
		{field(schemas.String, 0), field(schemas.Bytes, 0)},
	} {
		g := &generator{Rand: rand.New(rand.NewPCG(3, 17))}
		data, want := g.ownFile(t, each.from)
		for len(want) == 0 {
			data, want = g.ownFile(t, each.from)
		}
		f, err := Open(bytes.NewReader(data), int64(len(data)), nil)
		require.NoError(t, err)
		at := 0
		for _, batch := range readRows(t, memory.DefaultAllocator, f, each.to, RowsOptions{Batch: 1000}) {
			for i := range int(batch.NumRows()) {
				w := want[at]
				require.Equal(t, w.batch.Column(0).ValueStr(w.row), batch.Column(0).ValueStr(i), "%s as %s", each.from.Fields[0].Type, each.to.Fields[0].Type)
				at++
			}
		}
		require.Len(t, want, at)
		back := field(schemas.Bool, 0)
		_, err = f.Rows(back.Arrow(), RowsOptions{})
		require.ErrorIs(t, err, ErrForm)
	}
}

// TestColumnsThatAreNotThere reads columns that a file lacks, whole ones and
// members, with all members of a struct among them.
func TestColumnsThatAreNotThere(t *testing.T) {
	for seed := range uint64(40) {
		g := &generator{Rand: rand.New(rand.NewPCG(seed, 18))}
		s := g.schema()
		data, want := g.ownFile(t, s)
		asked := schemas.Schema{}
		for _, f := range s.Fields {
			asked.Fields = append(asked.Fields, schemas.Field{ID: 1000 + f.ID, Name: "new" + f.Name, Type: f.Type}, f)
			if f.Type.Kind == schemas.Struct { // of other members only
				f.Type.Fields = []schemas.Field{{ID: 2000 + f.ID, Name: "other", Type: schemas.Type{Kind: schemas.String}}}
				f.Name += "_"
				asked.Fields = append(asked.Fields, f)
			}
		}
		f, err := Open(bytes.NewReader(data), int64(len(data)), nil)
		require.NoError(t, err)
		at := 0
		for _, batch := range readRows(t, memory.DefaultAllocator, f, asked, RowsOptions{Batch: 500}) {
			for i := range int(batch.NumRows()) {
				c := 0
				for k, f := range s.Fields {
					is := want[at].batch.Column(k)
					require.True(t, batch.Column(c).IsNull(i))
					if d := differs(is, want[at].row, batch.Column(c+1), i); d != "" {
						t.Fatalf("row %d: column %d%s", at, k, d)
					}
					c += 2
					if f.Type.Kind == schemas.Struct {
						require.Equal(t, is.IsNull(want[at].row), batch.Column(c).IsNull(i))
						require.True(t, batch.Column(c).(*array.Struct).Field(0).IsNull(i))
						c++
					}
				}
				at++
			}
			for _, col := range batch.Columns() {
				require.NoError(t, validate(col))
			}
			batch.Release()
		}
		require.Len(t, want, at)
	}
}

// Batches are shorter where rows are long.
func TestBatchesAreBounded(t *testing.T) {
	s := schemas.Schema{Fields: []schemas.Field{{ID: 1, Name: "c", Type: schemas.Type{Kind: schemas.Bytes}}}}
	b := array.NewRecordBuilder(memory.DefaultAllocator, s.Arrow())
	defer b.Release()
	g := rand.New(rand.NewPCG(1, 1))
	for range 160 {
		long := make([]byte, 1<<20)
		for i := 0; i < len(long); i += 1000 {
			long[i] = byte(g.IntN(256))
		}
		b.Field(0).(*array.BinaryBuilder).Append(long)
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	var out bytes.Buffer
	w, err := NewWriter(&out, s.Arrow(), Options{Codec: "snappy", RowGroupBytes: 1 << 30})
	require.NoError(t, err)
	require.NoError(t, w.Append(batch, nil))
	_, err = w.Close()
	require.NoError(t, err)
	f, err := Open(bytes.NewReader(out.Bytes()), int64(out.Len()), nil)
	require.NoError(t, err)
	require.Equal(t, 1, f.RowGroups())
	rows := int64(0)
	for _, got := range readRows(t, memory.DefaultAllocator, f, s, RowsOptions{Batch: 32 << 10}) {
		require.LessOrEqual(t, got.NumRows(), int64(64))
		rows += got.NumRows()
		got.Release()
	}
	require.Equal(t, batch.NumRows(), rows)
}
