package table

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/iceberg-go"
	"github.com/stretchr/testify/require"

	"lake/storage"
)

// eventRows is a batch of eventSchema: ids counted up from first, dates by day.
func eventRows(t *testing.T, first int64, n int, day func(int) int32) arrow.RecordBatch {
	t.Helper()
	b := array.NewRecordBuilder(memory.DefaultAllocator, eventSchema.Arrow())
	defer b.Release()
	for i := range n {
		id := first + int64(i)
		b.Field(0).(*array.Int64Builder).Append(id)
		b.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("t%d", id))
		b.Field(2).(*array.Date32Builder).Append(arrow.Date32(day(i)))
	}
	return b.NewRecordBatch()
}

func newWriter(t *testing.T, tbl *Table, o WriterOptions) *Writer {
	t.Helper()
	if o.Name == "" {
		o.Name = "w"
	}
	w, err := tbl.NewWriter(o)
	require.NoError(t, err)
	return w
}

func TestWriteRoutesRowsToDates(t *testing.T) {
	c, tbl := newEvents(t)
	w := newWriter(t, tbl, WriterOptions{})
	const n = 20_000
	for k := range 3 {
		batch := eventRows(t, int64(k*n), n, func(i int) int32 { return int32(18_000 + i%7) })
		require.NoError(t, w.Write(t.Context(), batch))
		batch.Release()
	}
	require.EqualValues(t, 3*n, w.Rows())
	require.Positive(t, w.Buffered())
	require.Empty(t, parquetFiles(t, tbl), "nothing is visible before the flush")
	files, err := w.Flush(t.Context())
	require.NoError(t, err)
	require.Len(t, files, 7)
	require.Zero(t, w.Rows())
	require.Zero(t, w.Buffered())
	require.NoError(t, tbl.Append(t.Context(), "k", 1, files))

	tbl = load(t, c, tbl.Name())
	for day := range int32(7) {
		got := ids(t, tbl, ScanOptions{From: 18_000 + day, To: 18_001 + day})
		require.InDelta(t, 3*n/7, len(got), 3, "date %d", day)
		for _, id := range got {
			require.EqualValues(t, day, id%n%7)
		}
	}
	again, err := w.Flush(t.Context())
	require.NoError(t, err)
	require.Empty(t, again)
	one := eventRows(t, 0, 10, func(int) int32 { return 18_000 })
	require.NoError(t, w.Write(t.Context(), one))
	files, err = w.Flush(t.Context())
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.True(t, strings.HasSuffix(files[0].FilePath(), "/data/dt=2019-04-14/w-00007.parquet"), files[0].FilePath())
	f := files[0]
	require.EqualValues(t, 10, f.Count())
	require.Equal(t, map[int]any{1000: iceberg.Date(18_000)}, f.Partition())
	require.EqualValues(t, 10, f.ValueCounts()[2])
	require.EqualValues(t, 0, f.NullValueCounts()[2])
	require.Equal(t, "t0", string(f.LowerBoundValues()[2]))
	require.Equal(t, "t9", string(f.UpperBoundValues()[2]))
	require.Equal(t, []int64{4}, f.SplitOffsets())
	info, err := tbl.FS().Stat(t.Context(), f.FilePath())
	require.NoError(t, err)
	require.Equal(t, info.Bytes, f.FileSizeBytes())
}

func TestManyDatesAreOneFileEach(t *testing.T) {
	_, tbl := newEvents(t)
	w := newWriter(t, tbl, WriterOptions{MemoryBytes: 64 << 20})
	opened := &counting{FS: w.fs}
	w.fs = opened
	for k := range 3 {
		batch := eventRows(t, int64(k)*10_000, 10_000, func(i int) int32 { return int32(i % 500) })
		require.NoError(t, w.Write(t.Context(), batch))
		batch.Release()
	}
	require.Zero(t, opened.created.Load(), "what fits the budget has no file open")
	files, err := w.Flush(t.Context())
	require.NoError(t, err)
	require.Len(t, files, 500)
	for _, f := range files {
		require.EqualValues(t, 60, f.Count())
		require.Len(t, f.SplitOffsets(), 1)
	}
}

// counting counts the files that are made, and fails them when the disk is full.
type counting struct {
	storage.FS
	created atomic.Int64
	full    func(written int64) bool
	written atomic.Int64
}

func (c *counting) Create(ctx context.Context, uri string) (storage.Writer, error) {
	c.created.Add(1)
	w, err := c.FS.Create(ctx, uri)
	return &countingFile{Writer: w, fs: c}, err
}

type countingFile struct {
	storage.Writer
	fs *counting
}

func (f *countingFile) Write(p []byte) (int, error) {
	if n := f.fs.written.Add(int64(len(p))); f.fs.full != nil && f.fs.full(n) {
		return 0, &fs.PathError{Op: "write", Path: "disk", Err: syscall.ENOSPC}
	}
	return f.Writer.Write(p)
}

func TestBudgetBoundsMemory(t *testing.T) {
	c, tbl := newEvents(t)
	const budget = 2 << 20
	w := newWriter(t, tbl, WriterOptions{MemoryBytes: budget})
	most := int64(0)
	for k := range 20 {
		batch := eventRows(t, int64(k)*20_000, 20_000, func(i int) int32 { return int32(i % 40) })
		require.NoError(t, w.Write(t.Context(), batch))
		batch.Release()
		most = max(most, w.Buffered())
	}
	require.LessOrEqual(t, most, int64(budget))
	files, err := w.Flush(t.Context())
	require.NoError(t, err)
	require.Len(t, files, 40, "row groups were written early, files were not multiplied")
	require.NoError(t, tbl.Append(t.Context(), "k", 1, files))
	got := ids(t, load(t, c, tbl.Name()), ScanOptions{})
	slices.Sort(got)
	require.Len(t, got, 400_000)
	for i, id := range got {
		if int64(i) != id {
			t.Fatalf("id %d is at place %d", id, i)
		}
	}
}

// TestLongCommitsHoldLittle writes far more than may wait for the end of a row group: what
// is held stops to grow, and there is a file a date all the same.
func TestLongCommitsHoldLittle(t *testing.T) {
	_, tbl := newEvents(t)
	w := newWriter(t, tbl, WriterOptions{Codec: "none"})
	random := rand.New(rand.NewPCG(7, 7))
	const rows, wide = 2000, 600
	most, batches := int64(0), 2*easyBytes/(rows*wide)
	for k := range batches {
		b := array.NewRecordBuilder(memory.DefaultAllocator, eventSchema.Arrow())
		for i := range rows {
			text := make([]byte, wide)
			for j := range text {
				text[j] = 'a' + byte(random.Uint32()%26)
			}
			b.Field(0).(*array.Int64Builder).Append(int64(k*rows + i))
			b.Field(1).(*array.StringBuilder).Append(string(text))
			b.Field(2).(*array.Date32Builder).Append(arrow.Date32(18_000 + i%2))
		}
		require.NoError(t, w.Write(t.Context(), b.NewRecordBatch()))
		b.Release()
		most = max(most, w.Buffered())
	}
	require.Less(t, most, int64(easyBytes+2*easyEach+8<<20), "that, and the pages being filled")
	require.Equal(t, 2, w.opened)
	files, err := w.Flush(t.Context())
	require.NoError(t, err)
	require.Len(t, files, 2)
	for _, f := range files {
		require.EqualValues(t, batches*rows/2, f.Count())
		require.Greater(t, len(f.SplitOffsets()), 1)
		require.Less(t, len(f.SplitOffsets()), 5, "row groups stay large")
	}
}

func TestOpenFilesAreBounded(t *testing.T) {
	_, tbl := newEvents(t)
	w := newWriter(t, tbl, WriterOptions{MemoryBytes: 1})
	batch := eventRows(t, 0, 3000, func(i int) int32 { return int32(i % 300) })
	for range 2 {
		require.NoError(t, w.Write(t.Context(), batch))
		require.LessOrEqual(t, w.opened, maxOpenFiles)
	}
	files, err := w.Flush(t.Context())
	require.NoError(t, err)
	var rows int64
	for _, f := range files {
		rows += f.Count()
	}
	require.EqualValues(t, 6000, rows)
}

func TestFilesRollAtTheTarget(t *testing.T) {
	_, tbl := newEvents(t)
	w := newWriter(t, tbl, WriterOptions{TargetBytes: 300_000, Codec: "none"})
	for k := range 20 {
		batch := eventRows(t, int64(k)*10_000, 10_000, func(int) int32 { return 1 })
		require.NoError(t, w.Write(t.Context(), batch))
	}
	files, err := w.Flush(t.Context())
	require.NoError(t, err)
	require.Greater(t, len(files), 3)
	for i, f := range files {
		require.True(t, strings.HasSuffix(f.FilePath(), fmt.Sprintf("/w-%05d.parquet", i)))
		if i < len(files)-1 {
			require.InEpsilon(t, 300_000, f.FileSizeBytes(), 0.5)
		}
	}
}

func TestFullDiskLeavesNothing(t *testing.T) {
	_, tbl := newEvents(t)
	folder, err := storage.Path(tbl.catalog.fs, tbl.Location())
	require.NoError(t, err)
	for _, limit := range []int64{0, 30_000, 80_000} {
		w := newWriter(t, tbl, WriterOptions{TargetBytes: 20_000, Parallel: 1})
		disk := &counting{FS: w.fs, full: func(n int64) bool { return n > limit }}
		w.fs = disk
		batch := eventRows(t, 0, 30_000, func(i int) int32 { return int32(i % 3) })
		err := w.Write(t.Context(), batch)
		for range 5 {
			if err == nil {
				err = w.Write(t.Context(), batch)
			}
		}
		if err == nil {
			_, err = w.Flush(t.Context())
		}
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.ErrorContains(t, err, ".parquet")
		require.ErrorContains(t, err, "hint: make room on the disk")
		require.ErrorIs(t, w.Write(t.Context(), batch), syscall.ENOSPC, "the error stays until Abort")
		require.NoError(t, w.Abort(t.Context()))
		require.NoError(t, filepath.WalkDir(folder, func(name string, d fs.DirEntry, err error) error {
			require.False(t, err == nil && strings.Contains(name, "/data/") && d.Type().IsRegular(), name)
			return err
		}))
		w.fs = disk.FS
		require.NoError(t, w.Write(t.Context(), batch), "it is fit for use again")
		files, err := w.Flush(t.Context())
		require.NoError(t, err)
		for _, f := range files {
			require.NoError(t, tbl.FS().Remove(t.Context(), f.FilePath()))
		}
	}
}

func TestCancelledFlushIsAborted(t *testing.T) {
	_, tbl := newEvents(t)
	w := newWriter(t, tbl, WriterOptions{})
	batch := eventRows(t, 0, 1000, func(i int) int32 { return int32(i % 50) })
	require.NoError(t, w.Write(t.Context(), batch))
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the operator stopped it"))
	_, err := w.Flush(ctx)
	require.ErrorContains(t, err, "the operator stopped it")
	require.NoError(t, w.Abort(t.Context()))
	require.Empty(t, parquetFiles(t, tbl))
	require.ErrorContains(t, w.Write(ctx, batch), "the operator stopped it")
}

func TestColumnsAreMatchedByName(t *testing.T) {
	c, tbl := newEvents(t)
	batch := eventRows(t, 0, 10, func(int) int32 { return 5 })
	f := batch.Schema().Fields()
	turned := array.NewRecordBatch(arrow.NewSchema([]arrow.Field{f[2], f[0], f[1]}, nil), []arrow.Array{batch.Column(2), batch.Column(0), batch.Column(1)}, 10)
	w := newWriter(t, tbl, WriterOptions{})
	require.NoError(t, w.Write(t.Context(), turned))
	files, err := w.Flush(t.Context())
	require.NoError(t, err)
	require.NoError(t, tbl.Append(t.Context(), "k", 1, files))
	require.Equal(t, []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, ids(t, load(t, c, tbl.Name()), ScanOptions{}))

	other := arrow.NewSchema([]arrow.Field{f[0], {Name: "dt", Type: arrow.BinaryTypes.String}, {Name: "extra", Type: arrow.BinaryTypes.String}}, nil)
	wrong := array.NewRecordBatch(other, []arrow.Array{batch.Column(0), batch.Column(1), batch.Column(1)}, 10)
	err = w.Write(t.Context(), wrong)
	require.ErrorContains(t, err, `the batch has no column "text"`)
	require.ErrorContains(t, err, `column "dt" is date32 in the table and utf8 in the batch`)
	require.ErrorContains(t, err, `the table has no column "extra"`)
	_, err = tbl.NewWriter(WriterOptions{})
	require.ErrorContains(t, err, "the files have no name")
}

// TestSliceWithUnknownNulls runs partitions in parallel over arrays that have not
// counted their nulls; the race detector watches.
func TestSliceWithUnknownNulls(t *testing.T) {
	_, tbl := newEvents(t)
	b := array.NewRecordBuilder(memory.DefaultAllocator, eventSchema.Arrow())
	for i := range 5000 {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		if i%3 == 0 {
			b.Field(1).AppendNull()
		} else {
			b.Field(1).(*array.StringBuilder).Append("x")
		}
		b.Field(2).(*array.Date32Builder).Append(arrow.Date32(i % 10))
	}
	whole := b.NewRecordBatch()
	w := newWriter(t, tbl, WriterOptions{Parallel: 4})
	for range 30 {
		require.NoError(t, w.Write(t.Context(), whole.NewSlice(100, 4100)))
	}
	files, err := w.Flush(t.Context())
	require.NoError(t, err)
	var nulls int64
	for _, f := range files {
		nulls += f.NullValueCounts()[2]
	}
	require.EqualValues(t, 30*1333, nulls)
}

func BenchmarkWriteDates(b *testing.B) {
	for _, dates := range []int{1, 30, 2000} {
		b.Run(fmt.Sprint(dates), func(b *testing.B) {
			c, err := OpenCatalog(b.Context(), CatalogConfig{Warehouse: b.TempDir()})
			require.NoError(b, err)
			defer c.Close()
			tbl, err := c.Create(b.Context(), "shop.events", Definition{Schema: eventSchema, PartitionBy: []Partition{{Source: "dt", Transform: "identity", Name: "dt"}}})
			require.NoError(b, err)
			builder := array.NewRecordBuilder(memory.DefaultAllocator, eventSchema.Arrow())
			for i := range 65536 {
				builder.Field(0).(*array.Int64Builder).Append(int64(i * 7919 % 100_003))
				builder.Field(1).(*array.StringBuilder).Append([]string{"Interaction", "Impression"}[i%2])
				builder.Field(2).(*array.Date32Builder).Append(arrow.Date32(i * 31 % dates))
			}
			batch := builder.NewRecordBatch()
			const batches = 16
			n := 0
			for b.Loop() {
				w, err := tbl.NewWriter(WriterOptions{Name: fmt.Sprint("b", n)})
				n++
				require.NoError(b, err)
				for range batches {
					require.NoError(b, w.Write(b.Context(), batch))
				}
				files, err := w.Flush(b.Context())
				require.NoError(b, err)
				require.Len(b, files, dates)
			}
			b.ReportMetric(batches*65536*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
			require.NoError(b, os.RemoveAll(strings.TrimPrefix(tbl.Location(), "file://")))
		})
	}
}
