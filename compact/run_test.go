package compact_test

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"lake/compact"
	"lake/schemas"
	"lake/storage"
	"lake/table"
)

const dates, rounds, perFile = 5, 4, 100

// smallFiles is a table of five dates with four files each, whose ids are all different.
func smallFiles(t *testing.T, on storage.FS) *table.Table {
	t.Helper()
	c, err := table.OpenCatalog(t.Context(), table.CatalogConfig{Warehouse: t.TempDir(), Files: on})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	s := schemas.Schema{Fields: []schemas.Field{
		{Name: "id", Type: schemas.Type{Kind: schemas.Int64}, Required: true},
		{Name: "dt", Type: schemas.Type{Kind: schemas.Date}, Required: true},
	}}
	tbl, err := c.Create(t.Context(), "shop.events", table.Definition{Schema: s, PartitionBy: []table.Partition{{Source: "dt", Transform: "identity", Name: "dt"}}})
	require.NoError(t, err)
	id := int64(0)
	for round := range rounds {
		w, err := tbl.NewWriter(table.WriterOptions{Name: fmt.Sprint("round-", round)})
		require.NoError(t, err)
		b := array.NewRecordBuilder(memory.DefaultAllocator, tbl.Schema().Arrow())
		for i := range dates * perFile {
			b.Field(0).(*array.Int64Builder).Append(id)
			b.Field(1).(*array.Date32Builder).Append(arrow.Date32(18_000 + i%dates))
			id++
		}
		require.NoError(t, w.Write(t.Context(), b.NewRecordBatch()))
		files, err := w.Flush(t.Context())
		require.NoError(t, err)
		require.NoError(t, tbl.Append(t.Context(), "k", int64(round+1), files))
	}
	return tbl
}

func plan(t *testing.T, tbl *table.Table, filter table.FileFilter) compact.Plan {
	t.Helper()
	current, ok := tbl.Current()
	require.True(t, ok)
	filter.Snapshot = current.ID
	files, err := tbl.Files(t.Context(), filter)
	require.NoError(t, err)
	return compact.Make(current.ID, files, compact.Policy{TargetBytes: 1 << 20, MinFiles: 2})
}

func requireEachRowOnce(t *testing.T, tbl *table.Table) {
	t.Helper()
	var ids []int64
	for batch, err := range tbl.Scan(t.Context(), table.ScanOptions{Columns: []string{"id"}}) {
		require.NoError(t, err)
		ids = append(ids, batch.Column(0).(*array.Int64).Int64Values()...)
		batch.Release()
	}
	slices.Sort(ids)
	require.Len(t, ids, dates*rounds*perFile)
	for i, id := range ids {
		require.EqualValues(t, i, id)
	}
}

func options() compact.Options {
	return compact.Options{Mem: memory.DefaultAllocator, MemoryBytes: 64 << 20, TargetBytes: 1 << 20, Dropped: math.MinInt32, Log: slog.New(slog.DiscardHandler)}
}

// TestSmallGroupsShareACommit compacts five dates in one snapshot.
func TestSmallGroupsShareACommit(t *testing.T) {
	tbl := smallFiles(t, nil)
	before := len(tbl.Snapshots())
	r, err := compact.Run(t.Context(), tbl, plan(t, tbl, table.FileFilter{}), options())
	require.NoError(t, err)
	require.NoError(t, tbl.Refresh(t.Context()))
	require.Len(t, tbl.Snapshots(), before+1)
	require.Equal(t, dates, r.Groups)
	require.Equal(t, dates*rounds, r.FilesIn)
	require.Equal(t, dates, r.FilesOut)
	require.EqualValues(t, dates*rounds*perFile, r.Rows)
	requireEachRowOnce(t, tbl)
	require.Empty(t, plan(t, tbl, table.FileFilter{}).Groups)
}

// TestGroupsThatOthersChangedAreLeft executes a plan of which another writer has
// compacted two dates meanwhile.
func TestGroupsThatOthersChangedAreLeft(t *testing.T) {
	tbl := smallFiles(t, nil)
	old := plan(t, tbl, table.FileFilter{})
	r, err := compact.Run(t.Context(), tbl, plan(t, tbl, table.FileFilter{From: 18_001, To: 18_003}), options())
	require.NoError(t, err)
	require.Equal(t, 2, r.Groups)
	r, err = compact.Run(t.Context(), tbl, old, options())
	require.NoError(t, err)
	require.Equal(t, 2, r.Skipped)
	require.Equal(t, dates-2, r.Groups)
	require.EqualValues(t, (dates-2)*rounds*perFile, r.Rows)
	require.NoError(t, tbl.Refresh(t.Context()))
	requireEachRowOnce(t, tbl)
	files, err := tbl.Files(t.Context(), table.FileFilter{})
	require.NoError(t, err)
	require.Len(t, files, dates)
}

// TestGroupsBeforeAFailureStayDone breaks the last group of a plan.
func TestGroupsBeforeAFailureStayDone(t *testing.T) {
	tbl := smallFiles(t, nil)
	p := plan(t, tbl, table.FileFilter{})
	p.Groups[dates-1].Rows++ // as if its manifest told of a row that the files do not have
	r, err := compact.Run(t.Context(), tbl, p, options())
	require.ErrorContains(t, err, "dt=2019-04-18: its files hold 400 rows and the manifest says 401")
	require.Equal(t, dates-1, r.Groups)
	require.NoError(t, tbl.Refresh(t.Context()))
	requireEachRowOnce(t, tbl)
	files, err := tbl.Files(t.Context(), table.FileFilter{})
	require.NoError(t, err)
	require.Len(t, files, dates-1+rounds)
}
