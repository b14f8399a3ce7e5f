package table

import (
	"context"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/apache/iceberg-go"
	"github.com/stretchr/testify/require"

	"lake/storage"
)

// announced is a storage that keeps what it is told of, and what was opened untold.
type announced struct {
	storage.FS
	mu       sync.Mutex
	expected map[string]int // openings to come
	told     []int          // files at a time
	untold   []string
}

// Expect implements storage.Expecter.
func (a *announced) Expect(_ context.Context, uris []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.told = append(a.told, len(uris))
	for _, uri := range uris {
		a.expected[uri]++
	}
}

// Open implements storage.FS.
func (a *announced) Open(ctx context.Context, uri string) (storage.File, error) {
	a.mu.Lock()
	if a.expected[uri]--; a.expected[uri] < 0 {
		a.untold = append(a.untold, uri)
		a.expected[uri] = 0
	}
	a.mu.Unlock()
	return a.FS.Open(ctx, uri)
}

// opened are the files that were opened untold, and how many were told of at a time, since the last time; all
// that was told of has to be opened.
func (a *announced) opened(t *testing.T) (untold []string, told []int) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for uri, n := range a.expected {
		require.Zero(t, n, uri)
	}
	untold, told = a.untold, a.told
	a.untold, a.told = nil, nil
	return untold, told
}

// The storage is told of each manifest and each data file before it is opened, and of
// nothing else.
func TestExpect(t *testing.T) {
	files := &announced{FS: storage.Local{}, expected: map[string]int{}}
	c, _ := warehouse{config: CatalogConfig{Warehouse: t.TempDir(), Files: files}}.events(t)
	o := takeOver(t, c, "shop.events")
	const n = expectedFiles + 3
	var want []int64
	for i := range int64(2) {
		o.mustCommit(writeEvents(t, o.table, 1, i))
		want = append(want, i)
	}
	for i := int64(2); i < n; {
		var some []iceberg.DataFile
		for ; i < n && len(some) < 100; i++ {
			some = append(some, writeEvents(t, o.table, 1, i))
			want = append(want, i)
		}
		o.mustCommit(some...)
	}
	tbl := load(t, c, "shop.events")
	files.opened(t)

	all, err := tbl.Files(t.Context(), FileFilter{})
	require.NoError(t, err)
	require.Len(t, all, n)
	untold, told := files.opened(t)
	require.Equal(t, []int{5}, told, "the manifests")
	require.False(t, slices.ContainsFunc(untold, func(uri string) bool { return !strings.Contains(uri, "/snap-") && strings.HasSuffix(uri, ".avro") }), untold)

	require.Equal(t, want, sorted(ids(t, tbl, ScanOptions{Files: all})))
	untold, told = files.opened(t)
	require.Empty(t, untold)
	require.Equal(t, []int{expectedFiles, 3}, told)

	merger, ok, err := tbl.NewMerging(tbl.now.Load().ice.CurrentSnapshot().SnapshotID, WriterOptions{}).Open(all, "merged", math.MaxInt32)
	require.NoError(t, err)
	require.True(t, ok)
	rows, err := merger.Copy(t.Context(), all, 1<<20)
	require.NoError(t, err)
	require.EqualValues(t, n, rows)
	require.NoError(t, merger.Abort(t.Context()))
	untold, told = files.opened(t)
	require.Empty(t, untold)
	require.Equal(t, []int{expectedFiles, 3}, told)
}

// A merge reads files whose manifest says a wrong size all the same.
func TestMergeWrongSize(t *testing.T) {
	c, _ := warehouse{config: CatalogConfig{Warehouse: t.TempDir()}}.events(t)
	o := takeOver(t, c, "shop.events")
	o.mustCommit(writeEvents(t, o.table, 1, 0), writeEvents(t, o.table, 1, 1, 2), writeEvents(t, o.table, 1, 3, 4, 5), writeEvents(t, o.table, 1, 6, 7, 8, 9))
	tbl := load(t, c, "shop.events")
	all, err := tbl.Files(t.Context(), FileFilter{})
	require.NoError(t, err)
	require.Len(t, all, 4)
	all[0].Bytes++
	all[1].Bytes--
	all[2].Bytes = 0
	all[3].Bytes += 10 << 20
	merger, ok, err := tbl.NewMerging(tbl.now.Load().ice.CurrentSnapshot().SnapshotID, WriterOptions{}).Open(all, "merged", math.MaxInt32)
	require.NoError(t, err)
	require.True(t, ok)
	rows, err := merger.Copy(t.Context(), all, 1<<20)
	require.NoError(t, err)
	require.EqualValues(t, 10, rows)
	require.NoError(t, merger.Abort(t.Context()))
}
