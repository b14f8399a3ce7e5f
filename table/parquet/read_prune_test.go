package parquet

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	arrowparquet "github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/stretchr/testify/require"

	"lake/schemas"
)

var prunedSchema = schemas.Schema{Fields: []schemas.Field{
	{ID: 1, Name: "n", Type: schemas.Type{Kind: schemas.Int64}},
	{ID: 2, Name: "t", Type: schemas.Type{Kind: schemas.String}},
	{ID: 3, Name: "l", Type: schemas.Type{Kind: schemas.List, Elem: &schemas.Field{ID: 4, Name: "element", Type: schemas.Type{Kind: schemas.Int32}}}},
	{ID: 5, Name: "day", Type: schemas.Type{Kind: schemas.Date}},
}}

// prunedBatch has n from 3·i on, sorted but for nulls, the text of it in five
// digits, and lists of up to three elements.
func prunedBatch(g *rand.Rand, from, rows int) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, prunedSchema.Arrow())
	defer b.Release()
	for i := from; i < from+rows; i++ {
		if g.IntN(50) == 0 {
			b.Field(0).AppendNull()
		} else {
			b.Field(0).(*array.Int64Builder).Append(int64(3*i - 1000))
		}
		b.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("%07d", i))
		l := b.Field(2).(*array.ListBuilder)
		if i%5 == 0 {
			l.AppendNull()
		} else {
			l.Append(true)
			for k := range i % 4 {
				l.ValueBuilder().(*array.Int32Builder).Append(int32(i + k))
			}
		}
		b.Field(3).(*array.Date32Builder).Append(arrow.Date32(i / 10_000))
	}
	return b.NewRecordBatch()
}

// counted counts the bytes that are read.
type counted struct {
	*bytes.Reader
	bytes int
}

func (c *counted) ReadAt(p []byte, at int64) (int, error) {
	c.bytes += len(p)
	return c.Reader.ReadAt(p, at)
}

func TestRangesPassOverPages(t *testing.T) {
	const rows = 200_000
	g := rand.New(rand.NewPCG(1, 2))
	batch := prunedBatch(g, 0, rows)
	defer batch.Release()
	var own, index, plain bytes.Buffer
	w, err := NewWriter(&own, batch.Schema(), Options{Codec: "snappy", RowGroupBytes: 3 << 20})
	require.NoError(t, err)
	require.NoError(t, w.Append(batch, nil))
	_, err = w.Close()
	require.NoError(t, err)
	for out, indexed := range map[*bytes.Buffer]bool{&index: true, &plain: false} {
		w, err := pqarrow.NewFileWriter(batch.Schema(), out, arrowparquet.NewWriterProperties(arrowparquet.WithPageIndexEnabled(indexed), arrowparquet.WithMaxRowGroupLength(70_000),
			arrowparquet.WithDataPageSize(8<<10), arrowparquet.WithDictionaryDefault(false)), pqarrow.DefaultWriterProps())
		require.NoError(t, err)
		require.NoError(t, w.Write(batch))
		require.NoError(t, w.Close())
	}
	number := func(id int, low, high Limit) Range {
		kind := map[int]schemas.Kind{1: schemas.Int64, 4: schemas.Int32, 5: schemas.Date, 77: schemas.Int64}[id]
		return Range{ID: id, Type: schemas.Type{Kind: kind}.Arrow(), Low: low, High: high}
	}
	is := func(x int64) Limit { return Limit{Set: true, Int: x} }
	num := func(id int, low, high int64) Range { return number(id, is(low), is(high)) }
	text := func(low, high string) Range {
		return Range{ID: 2, Type: arrow.BinaryTypes.String, Low: Limit{Set: true, Text: []byte(low)}, High: Limit{Set: true, Text: []byte(high)}}
	}
	for name, each := range map[string]struct {
		where [][]Range
		want  func(i int) bool // of rows whose n is not null
		nulls bool             // n may be
		few   bool             // a small part of the file is read
	}{
		"all":       {nil, func(int) bool { return true }, true, false},
		"number":    {[][]Range{{num(1, 3*70_100-1000, 3*70_400-1000)}}, func(i int) bool { return i >= 70_100 && i <= 70_400 }, false, true},
		"above":     {[][]Range{{number(1, is(3*199_900-1000), Limit{})}}, func(i int) bool { return i >= 199_900 }, false, true},
		"below":     {[][]Range{{number(1, Limit{}, is(-1000))}}, func(i int) bool { return i == 0 }, false, true},
		"text":      {[][]Range{{text("0123456", "0123556")}}, func(i int) bool { return i >= 123_456 && i <= 123_556 }, true, true},
		"first":     {[][]Range{{text("0000000", "0000000")}}, func(i int) bool { return i == 0 }, true, true},
		"last":      {[][]Range{{text("0199999", "0199999")}}, func(i int) bool { return i == rows-1 }, true, true},
		"date":      {[][]Range{{num(5, 7, 7)}}, func(i int) bool { return i/10_000 == 7 }, true, false},
		"both":      {[][]Range{{num(1, 0, 3*100_000), text("0050000", "0050100")}}, func(i int) bool { return i >= 50_000 && i <= 50_100 }, false, true},
		"apart":     {[][]Range{{num(5, 2, 2), text("0150000", "0150100")}}, func(int) bool { return false }, true, true},
		"either":    {[][]Range{{num(1, 3*70_100-1000, 3*70_400-1000)}, {text("0000000", "0000001")}}, func(i int) bool { return i < 2 || i >= 70_100 && i <= 70_400 }, false, true},
		"or all":    {[][]Range{{num(1, 1<<40, 1<<41)}, {}}, func(int) bool { return true }, true, false},
		"none":      {[][]Range{{num(1, 1<<40, 1<<41)}}, func(int) bool { return false }, true, true},
		"in a list": {[][]Range{{num(4, 1<<20, 1<<21)}}, func(int) bool { return true }, true, false},
		"no column": {[][]Range{{num(77, 0, 1)}}, func(int) bool { return false }, true, true},
	} {
		for writer, data := range map[string][]byte{"own": own.Bytes(), "index": index.Bytes(), "plain": plain.Bytes()} {
			t.Run(name+"/"+writer, func(t *testing.T) {
				in := &counted{Reader: bytes.NewReader(data)}
				f, err := Open(in, int64(len(data)), nil)
				require.NoError(t, err)
				in.bytes = 0
				r, err := f.Rows(prunedSchema.Arrow(), RowsOptions{Mem: memory.DefaultAllocator, Batch: 777, Where: each.where})
				require.NoError(t, err)
				seen := make([]bool, rows)
				last := -1
				for {
					got, err := r.Next()
					if err == io.EOF {
						break
					}
					require.NoError(t, err)
					for j := range int(got.NumRows()) {
						i, err := strconv.Atoi(got.Column(1).(*array.String).Value(j))
						if err != nil || i <= last {
							t.Fatalf("row %d comes after %d: %v", i, last, err)
						}
						last = i
						seen[i] = true
						for c := range prunedSchema.Fields {
							if d := differs(batch.Column(c), i, got.Column(c), j); d != "" {
								t.Fatalf("row %d: column %d%s", i, c, d)
							}
						}
					}
					got.Release()
				}
				for i, s := range seen {
					if !s && each.want(i) && (each.nulls || !batch.Column(0).IsNull(i)) {
						t.Fatalf("row %d is missing", i)
					}
				}
				if each.few && writer != "plain" {
					require.Less(t, in.bytes, len(data)/4)
				}
				if name == "none" || name == "no column" {
					require.Equal(t, -1, last)
				}
			})
		}
	}
}
