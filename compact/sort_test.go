package compact_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/iceberg-go"
	"github.com/stretchr/testify/require"

	"lake/compact"
	"lake/schemas"
	"lake/table"
)

// purchases is a table of two dates with so many files each of so many rows; some
// users are null, and notes have so many bytes that do not compress.
func purchases(t *testing.T, files, rows, note int) *table.Table {
	t.Helper()
	c, err := table.OpenCatalog(t.Context(), table.CatalogConfig{Warehouse: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	s := schemas.Schema{Fields: []schemas.Field{
		{Name: "note", Type: schemas.Type{Kind: schemas.String}},
		{Name: "user", Type: schemas.Type{Kind: schemas.Int64}},
		{Name: "item", Type: schemas.Type{Kind: schemas.String}},
		{Name: "dt", Type: schemas.Type{Kind: schemas.Date}, Required: true},
	}}
	tbl, err := c.Create(t.Context(), "shop.purchases", table.Definition{Schema: s, PartitionBy: []table.Partition{{Source: "dt", Transform: "identity", Name: "dt"}}})
	require.NoError(t, err)
	for i := range files {
		appendPurchases(t, tbl, i, rows, note)
	}
	return tbl
}

func appendPurchases(t *testing.T, tbl *table.Table, seed, rows, note int) {
	r := rand.New(rand.NewPCG(uint64(seed), 2))
	w, err := tbl.NewWriter(table.WriterOptions{Name: fmt.Sprint("round-", seed)})
	require.NoError(t, err)
	b := array.NewRecordBuilder(memory.DefaultAllocator, tbl.Schema().Arrow())
	text := make([]byte, note)
	for i := range 2 * rows {
		for k := range text {
			text[k] = byte('0' + r.IntN(64))
		}
		b.Field(0).(*array.StringBuilder).Append(fmt.Sprintf("%d-%d-%s", seed, i, text))
		if user := r.Int64N(500) - 20; user < 0 {
			b.Field(1).AppendNull()
		} else {
			b.Field(1).(*array.Int64Builder).Append(user - 100)
		}
		b.Field(2).(*array.StringBuilder).Append([]string{"", "apple", "apple pie, large", "apple pie, small", "pear"}[r.IntN(5)])
		b.Field(3).(*array.Date32Builder).Append(arrow.Date32(18_000 + i%2))
	}
	require.NoError(t, w.Write(t.Context(), b.NewRecordBatch()))
	files, err := w.Flush(t.Context())
	require.NoError(t, err)
	require.NoError(t, tbl.Append(t.Context(), "k", int64(seed+1), files))
}

type purchase struct {
	note, item string
	user       int64 // math.MinInt64: null
}

// rowsOf are the rows of files, in their order.
func rowsOf(t *testing.T, tbl *table.Table, files []table.File) (out []purchase) {
	t.Helper()
	for batch, err := range tbl.Scan(t.Context(), table.ScanOptions{Files: files}) {
		require.NoError(t, err)
		for i := range int(batch.NumRows()) {
			p := purchase{note: strings.Clone(batch.Column(0).(*array.String).Value(i)), item: strings.Clone(batch.Column(2).(*array.String).Value(i)), user: math.MinInt64}
			if users := batch.Column(1).(*array.Int64); users.IsValid(i) {
				p.user = users.Value(i)
			}
			out = append(out, p)
		}
		batch.Release()
	}
	return out
}

func byUserAndItem(a, b purchase) int {
	if a.user != b.user {
		return int(max(-1, min(1, float64(a.user)-float64(b.user))))
	}
	return strings.Compare(a.item, b.item)
}

// sortTable compacts by user and item, and wants the rows of before in this order.
func sortTable(t *testing.T, tbl *table.Table, o compact.Options, policy compact.Policy) compact.Result {
	t.Helper()
	columns := []string{"user", "item"}
	id, err := tbl.SetSortOrder(t.Context(), columns)
	require.NoError(t, err)
	require.NotZero(t, id)
	o.Order, policy.SortOrder = table.Order{ID: id, Columns: columns}, id
	make := func() compact.Plan {
		require.NoError(t, tbl.Refresh(t.Context()))
		current, _ := tbl.Current()
		files, err := tbl.Files(t.Context(), table.FileFilter{Snapshot: current.ID})
		require.NoError(t, err)
		return compact.Make(current.ID, files, policy)
	}
	all, err := tbl.Files(t.Context(), table.FileFilter{})
	require.NoError(t, err)
	before := rowsOf(t, tbl, all)
	r, err := compact.Run(t.Context(), tbl, make(), o)
	require.NoError(t, err)
	require.Empty(t, make().Groups, "what is sorted is not sorted again")
	var after []purchase
	for date := int32(18_000); date < 18_002; date++ {
		files, err := tbl.Files(t.Context(), table.FileFilter{From: date, To: date + 1})
		require.NoError(t, err)
		for _, f := range files {
			require.Equal(t, id, f.SortOrder, f.Path)
		}
		slices.SortFunc(files, func(a, b table.File) int { return strings.Compare(a.Path, b.Path) }) // as they were written
		rows := rowsOf(t, tbl, files)
		require.True(t, slices.IsSortedFunc(rows, byUserAndItem), "date %d", date)
		after = append(after, rows...)
	}
	byNote := func(a, b purchase) int { return strings.Compare(a.note, b.note) }
	slices.SortFunc(before, byNote)
	slices.SortFunc(after, byNote)
	require.Equal(t, before, after)
	return r
}

func TestSortInMemory(t *testing.T) {
	tbl := purchases(t, 5, 3000, 8)
	r := sortTable(t, tbl, options(), compact.Policy{TargetBytes: 1 << 20, MinFiles: 2})
	require.Equal(t, 10, r.FilesIn)
	require.Equal(t, 2, r.FilesOut)
	id, ok := tbl.SortOrder([]string{"user", "item"})
	require.True(t, ok)
	require.NotZero(t, id)
	_, ok = tbl.SortOrder([]string{"item", "user"})
	require.False(t, ok)
}

// TestSortBeyondMemory sorts more than there is room for, in several files, and
// then what came later with what is sorted already, which is read as it lies there.
func TestSortBeyondMemory(t *testing.T) {
	tbl := purchases(t, 4, 12_000, 400)
	o := options()
	o.MemoryBytes, o.TargetBytes = 16<<20, 6<<20
	r := sortTable(t, tbl, o, compact.Policy{TargetBytes: o.TargetBytes, MinFiles: 2})
	require.GreaterOrEqual(t, r.FilesOut, 4)
	appendPurchases(t, tbl, 100, 12_000, 400)
	o.MemoryBytes = 128 << 20
	o.TargetBytes = 64 << 20
	r = sortTable(t, tbl, o, compact.Policy{TargetBytes: o.TargetBytes, MinFiles: 2})
	require.Equal(t, 2, r.FilesOut)
}

// TestSortOrderThatIsNone has files whose manifest says that they are sorted.
func TestSortOrderThatIsNone(t *testing.T) {
	tbl := purchases(t, 1, 10_000, 600)
	id, err := tbl.SetSortOrder(t.Context(), []string{"user", "item"})
	require.NoError(t, err)
	files, err := tbl.Files(t.Context(), table.FileFilter{})
	require.NoError(t, err)
	current, _ := tbl.Current()
	rewrite := table.Rewrite{Snapshot: current.ID, Old: files}
	for _, f := range files {
		d := f.DataFile()
		require.Greater(t, d.FileSizeBytes(), int64(4<<20), "it is a run by itself")
		uri := strings.Replace(d.FilePath(), "round-", "lying-", 1)
		in, err := tbl.FS().Open(t.Context(), d.FilePath())
		require.NoError(t, err)
		data := make([]byte, in.Size())
		_, err = in.ReadAt(data, 0)
		require.NoError(t, err)
		require.NoError(t, in.Close())
		out, err := tbl.FS().Create(t.Context(), uri)
		require.NoError(t, err)
		_, err = out.Write(data)
		require.NoError(t, err)
		require.NoError(t, out.Close())
		b, err := iceberg.NewDataFileBuilder(tbl.Spec(), iceberg.EntryContentData, uri, iceberg.ParquetFile, d.Partition(), nil, nil, d.Count(), d.FileSizeBytes())
		require.NoError(t, err)
		rewrite.New = append(rewrite.New, b.SortOrderID(id).SplitOffsets(d.SplitOffsets()).Build())
	}
	require.NoError(t, tbl.Rewrite(t.Context(), rewrite))
	appendPurchases(t, tbl, 1, 1000, 8)
	o := options()
	o.MemoryBytes = 128 << 20
	r := sortTable(t, tbl, o, compact.Policy{TargetBytes: 64 << 20, MinFiles: 1})
	require.Equal(t, 2, r.FilesOut)
}

// TestSortIsWorthIt plans for files of which one is large and not sorted.
func TestSortIsWorthIt(t *testing.T) {
	files := []table.File{{Path: "a", Partition: "dt=2021-11-30", Rows: 1, Bytes: 100, SortOrder: 0}}
	policy := compact.Policy{TargetBytes: 100, MinFiles: 5}
	require.Empty(t, compact.Make(1, files, policy).Groups)
	policy.SortOrder = 2
	require.Len(t, compact.Make(1, files, policy).Groups, 1)
	policy.BySize = true
	require.Empty(t, compact.Make(1, files, policy).Groups)
	policy.BySize, files[0].SortOrder = false, 2
	require.Empty(t, compact.Make(1, files, policy).Groups)
}
