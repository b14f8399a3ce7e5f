package parquet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/stretchr/testify/require"

	"lake/schemas"
)

// readBack reads a file with pqarrow, all rows in one array a column.
func readBack(t *testing.T, mem memory.Allocator, data []byte) (cols []arrow.Array, schema *arrow.Schema) {
	t.Helper()
	r, err := file.NewParquetReader(bytes.NewReader(data))
	require.NoError(t, err)
	defer r.Close()
	fr, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{}, mem)
	require.NoError(t, err)
	table, err := fr.ReadTable(context.Background())
	require.NoError(t, err)
	defer table.Release()
	for i := range int(table.NumCols()) {
		chunks := table.Column(i).Data().Chunks()
		if len(chunks) == 0 {
			cols = append(cols, array.MakeArrayOfNull(mem, table.Schema().Field(i).Type, 0))
			continue
		}
		c, err := array.Concatenate(chunks, mem)
		require.NoError(t, err)
		cols = append(cols, c)
	}
	return cols, table.Schema()
}

// picked is a row that a test appended.
type picked struct {
	batch arrow.RecordBatch
	row   int
}

func TestRandomFilesReadBackEqual(t *testing.T) {
	for seed := range uint64(80) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
			defer mem.AssertSize(t, 0)
			g := &generator{Rand: rand.New(rand.NewPCG(seed, 7))}
			var s schemas.Schema
			for i := range 1 + g.IntN(4) {
				s.Fields = append(s.Fields, g.field(fmt.Sprintf("c%d", i), 3))
			}
			var out bytes.Buffer
			w, err := NewWriter(&out, s.Arrow(), Options{Codec: []string{"zstd", "snappy", "none"}[g.IntN(3)], RowGroupBytes: int64(20_000 + g.IntN(3_000_000))})
			require.NoError(t, err)
			var want []picked
			for range 1 + g.IntN(4) {
				batch, rows := g.batch(s)
				require.NoError(t, w.Append(batch, rows))
				for i := range int(batch.NumRows()) {
					if rows == nil {
						want = append(want, picked{batch, i})
					}
				}
				for _, r := range rows {
					want = append(want, picked{batch, int(r)})
				}
				switch g.IntN(6) {
				case 0:
					require.NoError(t, w.FlushRowGroup())
				case 1:
					require.NoError(t, w.EndPages())
				}
			}
			require.EqualValues(t, len(want), w.Rows())
			metrics, err := w.Close()
			require.NoError(t, err)
			require.EqualValues(t, len(want), metrics.Rows)
			require.EqualValues(t, out.Len(), metrics.Bytes)

			cols, schema := readBack(t, mem, out.Bytes())
			require.Equal(t, s.Names(), fieldNames(schema))
			for c, col := range cols {
				require.Equal(t, len(want), col.Len())
				for i, p := range want {
					if d := differs(p.batch.Column(c), p.row, col, i); d != "" {
						t.Fatalf("row %d: column %d %s%s", i, c, s.Fields[c].Type, d)
					}
				}
				col.Release()
			}
			checkPages(t, out.Bytes())
			checkMetrics(t, s, metrics, want)
			for i := range want {
				if i == 0 || want[i].batch != want[i-1].batch {
					defer want[i].batch.Release()
				}
			}
		})
	}
}

// batch makes a batch, often a slice of a longer one, and a choice of its rows.
func (g *generator) batch(s schemas.Schema) (arrow.RecordBatch, []int32) {
	n := []int{0, 1, 10, 1000, 5000, 30000}[g.IntN(6)]
	cols := make([]arrow.Array, len(s.Fields))
	for i, f := range s.Fields {
		cols[i] = g.array(f, n)
	}
	batch := array.NewRecordBatch(s.Arrow(), cols, int64(n))
	for _, c := range cols {
		c.Release()
	}
	if n > 1 && g.IntN(2) == 0 {
		from := g.IntN(n)
		slice := batch.NewSlice(int64(from), int64(from+g.IntN(n-from)+1))
		batch.Release()
		batch = slice
	}
	if g.IntN(2) == 0 {
		return batch, nil
	}
	rows := []int32{}
	for i := range int32(batch.NumRows()) {
		if g.IntN(3) == 0 {
			rows = append(rows, i)
		}
	}
	return batch, rows
}

func fieldNames(s *arrow.Schema) []string {
	var names []string
	for _, f := range s.Fields() {
		names = append(names, f.Name)
	}
	return names
}

func TestFieldIDsAndTypesSurvive(t *testing.T) {
	typ, id := schemas.Type{Kind: schemas.Int64}, 0
	next := func(name string, t schemas.Type) schemas.Field {
		id++
		return schemas.Field{Name: name, Type: t, ID: id}
	}
	elem := next("element", typ)
	key, value := next("key", schemas.Type{Kind: schemas.String}), next("value", typ)
	key.Required = true
	s := schemas.Schema{Fields: []schemas.Field{
		next("at", schemas.Type{Kind: schemas.Timestamp}), next("wall", schemas.Type{Kind: schemas.Datetime}),
		next("day", schemas.Type{Kind: schemas.Date}), next("clock", schemas.Type{Kind: schemas.Time}),
		next("list", schemas.Type{Kind: schemas.List, Elem: &elem}), next("map", schemas.Type{Kind: schemas.Map, Key: &key, Elem: &value}),
		next("small", schemas.Type{Kind: schemas.Decimal, Precision: 9, Scale: 2}), next("big", schemas.Type{Kind: schemas.Decimal, Precision: 30, Scale: 4}),
	}}
	var out bytes.Buffer
	w, err := NewWriter(&out, s.Arrow(), Options{})
	require.NoError(t, err)
	m, err := w.Close()
	require.NoError(t, err)
	require.Zero(t, m.Rows)
	cols, schema := readBack(t, memory.DefaultAllocator, out.Bytes())
	got, err := schemas.FromArrow(schema)
	require.NoError(t, err)
	for i, f := range s.Fields {
		require.Zero(t, cols[i].Len())
		require.Equal(t, f.Type.String(), got.Fields[i].Type.String())
		require.Equal(t, f.ID, got.Fields[i].ID)
	}
	require.Equal(t, elem.ID, got.Fields[4].Type.Elem.ID)
	require.Equal(t, key.ID, got.Fields[5].Type.Key.ID)
	require.Equal(t, value.ID, got.Fields[5].Type.Elem.ID)
}

func TestRefusals(t *testing.T) {
	_, err := NewWriter(&bytes.Buffer{}, arrow.NewSchema(nil, nil), Options{})
	require.ErrorContains(t, err, "no columns")
	_, err = NewWriter(&bytes.Buffer{}, arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.StructOf()}}, nil), Options{})
	require.ErrorContains(t, err, "column a: a struct without fields")
	one := schemas.Schema{Fields: []schemas.Field{{Name: "a", Type: schemas.Type{Kind: schemas.Int64}, Required: true}}}
	_, err = NewWriter(&bytes.Buffer{}, one.Arrow(), Options{Codec: "lzo"})
	require.ErrorContains(t, err, `unknown codec "lzo"`)

	b := array.NewInt64Builder(memory.DefaultAllocator)
	b.AppendValues([]int64{1, 2, 3}, []bool{true, false, true})
	col := b.NewInt64Array()
	batch := array.NewRecordBatch(arrow.NewSchema([]arrow.Field{{Name: "a", Type: col.DataType(), Nullable: true}}, nil), []arrow.Array{col}, 3)
	w, err := NewWriter(&bytes.Buffer{}, one.Arrow(), Options{})
	require.NoError(t, err)
	require.NoError(t, w.Append(batch, []int32{0, 2}), "the null is not among these")
	require.ErrorContains(t, w.Append(batch, []int32{1}), "column a is required and has a null")
	_, err = w.Close()
	require.ErrorContains(t, err, "required", "the file cannot be completed")

	w, err = NewWriter(&bytes.Buffer{}, one.Arrow(), Options{})
	require.NoError(t, err)
	require.ErrorContains(t, w.Append(batch, []int32{3}), "row 3 of a batch of 3")
	w, err = NewWriter(&bytes.Buffer{}, arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.BinaryTypes.String}}, nil), Options{})
	require.NoError(t, err)
	require.ErrorContains(t, w.Append(batch, nil), "column a is utf8 in the file and int64 (a) in the batch")
}

func TestDecimalBeyondItsColumnIsRefused(t *testing.T) {
	for _, precision := range []int{9, 18, 20} {
		dt := &arrow.Decimal128Type{Precision: int32(precision)}
		b := array.NewDecimal128Builder(memory.DefaultAllocator, &arrow.Decimal128Type{Precision: 38})
		require.NoError(t, b.AppendValueFromString("99999999999999999999999999"))
		d := b.NewDecimal128Array().Data()
		col := array.MakeFromData(array.NewData(dt, 1, d.Buffers(), nil, 0, 0))
		schema := arrow.NewSchema([]arrow.Field{{Name: "d", Type: dt}}, nil)
		w, err := NewWriter(&bytes.Buffer{}, schema, Options{})
		require.NoError(t, err)
		require.NoError(t, w.Append(array.NewRecordBatch(schema, []arrow.Array{col}, 1), nil))
		_, err = w.Close()
		require.ErrorContains(t, err, "column d: encode a page: the decimal 99999999999999999999999999 has more digits")
	}
}

// failing is a disk that is full after some bytes.
type failing struct{ left int }

var errFull = errors.New("no space left on device")

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestWriteErrorsStay(t *testing.T) {
	g := &generator{Rand: rand.New(rand.NewPCG(1, 1))}
	s := schemas.Schema{Fields: []schemas.Field{{Name: "s", Type: schemas.Type{Kind: schemas.UUID}, Required: true}}}
	col := g.array(s.Fields[0], 100_000)
	batch := array.NewRecordBatch(s.Arrow(), []arrow.Array{col}, 100_000)
	for _, left := range []int{0, 1 << 20, 1_600_000} {
		w, err := NewWriter(&failing{left}, s.Arrow(), Options{})
		require.NoError(t, err)
		require.NoError(t, w.Append(batch, nil))
		_, err = w.Close()
		require.ErrorIs(t, err, errFull)
		require.ErrorIs(t, w.Append(batch, nil), errFull)
	}
	w, err := NewWriter(&bytes.Buffer{}, s.Arrow(), Options{})
	require.NoError(t, err)
	_, err = w.Close()
	require.NoError(t, err)
	require.ErrorIs(t, w.Append(batch, nil), errClosed)
}

func TestBufferedFollowsTheMemory(t *testing.T) {
	s := schemas.Schema{Fields: []schemas.Field{{Name: "s", Type: schemas.Type{Kind: schemas.String}}}}
	b := array.NewStringBuilder(memory.DefaultAllocator)
	for i := range 40_000 {
		b.Append(strings.Repeat("x", 40) + fmt.Sprint(i*7919%10_000)) // with a dictionary
	}
	col := b.NewStringArray()
	batch := array.NewRecordBatch(s.Arrow(), []arrow.Array{col}, 40_000)
	w, err := NewWriter(&bytes.Buffer{}, s.Arrow(), Options{Codec: "none"})
	require.NoError(t, err)
	require.Less(t, w.Buffered(), int64(1000), "an open writer alone costs little")
	require.NoError(t, w.Append(batch, nil))
	require.Greater(t, w.Buffered(), int64(10_000*43))
	require.Less(t, w.Buffered(), int64(3*(10_000+16_384)*43))
	require.NoError(t, w.FlushRowGroup())
	require.Less(t, w.Buffered(), int64(1000), "a row group that is written is not held")
	require.Greater(t, w.Written(), int64(10_000*43))
}

func TestLongValuesKeepPagesSmall(t *testing.T) {
	s := schemas.Schema{Fields: []schemas.Field{{Name: "s", Type: schemas.Type{Kind: schemas.Bytes}}}}
	b := array.NewBinaryBuilder(memory.DefaultAllocator, arrow.BinaryTypes.Binary)
	random := rand.New(rand.NewPCG(5, 5))
	for range 500 {
		x := make([]byte, 20_000)
		for i := range x {
			x[i] = byte(random.Uint32())
		}
		b.Append(x)
	}
	batch := array.NewRecordBatch(s.Arrow(), []arrow.Array{b.NewBinaryArray()}, 500)
	w, err := NewWriter(&bytes.Buffer{}, s.Arrow(), Options{})
	require.NoError(t, err)
	require.NoError(t, w.Append(batch, nil))
	require.GreaterOrEqual(t, len(w.leaves[0].pages), 4)
	for _, p := range w.leaves[0].pages {
		require.Less(t, p.plain, 2*pageBytes+100)
	}
}

// TestDictionaryFallsBack begins with values that repeat and goes on with ones
// that do not: the first pages keep their dictionary, the last have none.
func TestDictionaryFallsBack(t *testing.T) {
	s := schemas.Schema{Fields: []schemas.Field{{Name: "n", Type: schemas.Type{Kind: schemas.Int64}}, {Name: "s", Type: schemas.Type{Kind: schemas.String}},
		{Name: "late", Type: schemas.Type{Kind: schemas.String}}, {Name: "unique", Type: schemas.Type{Kind: schemas.Int64}}, {Name: "again", Type: schemas.Type{Kind: schemas.Int64}}, {Name: "time", Type: schemas.Type{Kind: schemas.Timestamp}}}}
	const rows = 350_000
	random := rand.New(rand.NewPCG(1, 2))
	b := array.NewRecordBuilder(memory.DefaultAllocator, s.Arrow())
	for i := range rows {
		n := i % 10
		if i > 100_000 {
			n = i
		}
		b.Field(0).(*array.Int64Builder).Append(int64(n))
		b.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("value %d", n))
		if i < 50_000 {
			b.Field(2).AppendNull() // whole pages without a value
		} else {
			b.Field(2).(*array.StringBuilder).Append([]string{"x", "y"}[i%2])
		}
		b.Field(3).(*array.Int64Builder).Append(int64(i) * 7919)
		again := i
		if i%2 == 1 {
			again = 2 * random.IntN((i+1)/2)
		}
		b.Field(4).(*array.Int64Builder).Append(int64(uint64(again) * 0x9e3779b97f4a7c15)) // nothing to compress
		b.Field(5).(*array.TimestampBuilder).Append(arrow.Timestamp((1_637_000_000 + i/2 + int(random.Uint32()%3600)) * 1_000_000))
	}
	batch := b.NewRecordBatch()
	var out bytes.Buffer
	w, err := NewWriter(&out, s.Arrow(), Options{})
	require.NoError(t, err)
	require.NoError(t, w.Append(batch, nil))
	pages := map[string]int{}
	for _, l := range w.leaves {
		for _, p := range l.pages {
			pages[fmt.Sprint(l.path[0], " ", p.coding)]++
		}
	}
	require.Greater(t, pages["n RLE_DICTIONARY"], 5)
	require.Greater(t, pages["n PLAIN"], 5)
	require.Greater(t, pages["s RLE_DICTIONARY"], 5)
	require.Greater(t, pages["s PLAIN"], 5)
	require.Greater(t, pages["late RLE_DICTIONARY"], 10, "a page of nulls decides nothing")
	require.Zero(t, pages["unique RLE_DICTIONARY"])
	require.Less(t, pages["time RLE_DICTIONARY"], 4, "the next pages show that few values come again, and that they compress")
	require.Greater(t, pages["time PLAIN"], 10)
	_, n := w.leaves[4].values.dictionary(nil)
	require.InDelta(t, maxDictionary/8, n, pageRows, "a dictionary is bounded")
	_, err = w.Close()
	require.NoError(t, err)
	checkPages(t, out.Bytes())
	cols, _ := readBack(t, memory.DefaultAllocator, out.Bytes())
	for c, col := range cols {
		require.True(t, array.Equal(batch.Column(c), col), "column %d", c)
	}
}
