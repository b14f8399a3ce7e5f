package table

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/apache/iceberg-go"
	icebergtable "github.com/apache/iceberg-go/table"
	"github.com/stretchr/testify/require"

	"lake/storage"
)

func filesOf(t *testing.T, tbl *Table, f FileFilter) []File {
	t.Helper()
	files, err := tbl.Files(t.Context(), f)
	require.NoError(t, err)
	return files
}

func TestRewriteBesideAppends(t *testing.T) {
	c, _ := newEvents(t)
	o := takeOver(t, c, "shop.events")
	for id := range int64(4) {
		o.mustCommit(writeEvents(t, o.table, day, id))
	}
	compactor := load(t, c, "shop.events")
	plan, _ := compactor.Current()
	old := filesOf(t, compactor, FileFilter{Snapshot: plan.ID})
	require.Len(t, old, 4)
	merged := writeEvents(t, compactor, day, 0, 1, 2, 3)

	o.mustCommit(writeEvents(t, o.table, day, 100)) // the race
	before, _, err := load(t, c, "shop.events").Record("p", "all")
	require.NoError(t, err)

	require.NoError(t, compactor.Rewrite(t.Context(), Rewrite{Snapshot: plan.ID, Old: old, New: []dataFile{merged}}))
	o.mustCommit(writeEvents(t, o.table, day, 101)) // and the owner goes on

	tbl := load(t, c, "shop.events")
	require.Equal(t, []int64{0, 1, 2, 3, 100, 101}, ids(t, tbl, ScanOptions{}))
	files := filesOf(t, tbl, FileFilter{})
	require.Len(t, files, 3)
	require.Equal(t, plan.Sequence, files[0].Sequence, "the rewritten rows stay as old as the plan")
	var operations []string
	for _, s := range tbl.Snapshots() {
		operations = append(operations, s.Operation)
	}
	require.Equal(t, "replace", operations[6])
	after, _, err := compactor.Record("p", "all")
	require.NoError(t, err)
	require.Equal(t, before, after, "compaction never sets a record")
	require.NoError(t, tbl.CheckLineage("p", "all"))

	// The same plan again: its files are gone.
	err = compactor.Rewrite(t.Context(), Rewrite{Snapshot: plan.ID, Old: old, New: []dataFile{writeEvents(t, compactor, day, 0, 1, 2, 3)}})
	require.ErrorIs(t, err, ErrReplan)
	require.Len(t, ids(t, load(t, c, "shop.events"), ScanOptions{}), 6)
}

func TestRewriteLostReply(t *testing.T) {
	c, _ := newEvents(t)
	o := takeOver(t, c, "shop.events")
	o.mustCommit(writeEvents(t, o.table, day, 1))
	o.mustCommit(writeEvents(t, o.table, day, 2))
	for _, mode := range [][]string{{"lost"}, {"late"}, {"refused", "lost"}} {
		unreliable := &Catalog{ice: &ambiguous{icebergCatalog: c.ice, mode: mode}, fs: c.fs, root: c.root, turn: NewTurn()}
		tbl := load(t, unreliable, "shop.events")
		plan, _ := tbl.Current()
		require.NoError(t, tbl.Rewrite(t.Context(), Rewrite{Snapshot: plan.ID, Old: filesOf(t, tbl, FileFilter{}), New: []dataFile{writeEvents(t, tbl, day, 1, 2)}}), join(mode))
		require.Equal(t, []int64{1, 2}, ids(t, load(t, c, "shop.events"), ScanOptions{}))
	}
}

// Rows deleted by another engine since the plan: the rewrite would bring them back.
func TestRewriteSeesDeletes(t *testing.T) {
	c, _ := newEvents(t)
	o := takeOver(t, c, "shop.events")
	o.mustCommit(writeEvents(t, o.table, day, 1, 2, 3), writeEvents(t, o.table, day+1, 7))
	compactor := load(t, c, "shop.events")
	plan, _ := compactor.Current()
	old := filesOf(t, compactor, FileFilter{})

	tx := load(t, c, "shop.events").now.Load().ice.NewTransaction()
	require.NoError(t, tx.SetProperties(iceberg.Properties{icebergtable.WriteDeleteModeKey: icebergtable.WriteModeMergeOnRead}))
	require.NoError(t, tx.Delete(t.Context(), iceberg.EqualTo(iceberg.Reference("id"), int64(2)), nil))
	_, err := tx.Commit(t.Context())
	require.NoError(t, err)

	err = compactor.Rewrite(t.Context(), Rewrite{Snapshot: plan.ID, Old: old, New: []dataFile{writeEvents(t, compactor, day, 1, 2, 3), writeEvents(t, compactor, day+1, 7)}})
	require.ErrorIs(t, err, ErrReplan)
	require.ErrorContains(t, err, "were deleted")

	tbl := load(t, c, "shop.events")
	require.Equal(t, []int64{1, 3, 7}, sorted(ids(t, tbl, ScanOptions{})), "a scan applies delete files")
	deletes := 0
	for _, f := range filesOf(t, tbl, FileFilter{}) {
		deletes += f.Deletes
	}
	require.Equal(t, 1, deletes)

	// Planned anew, what is rewritten is what is left, and it stays deleted.
	plan, _ = tbl.Current()
	require.NoError(t, tbl.Rewrite(t.Context(), Rewrite{Snapshot: plan.ID, Old: filesOf(t, tbl, FileFilter{}), New: []dataFile{writeEvents(t, tbl, day, 1, 3), writeEvents(t, tbl, day+1, 7)}}))
	tbl = load(t, c, "shop.events")
	require.Equal(t, []int64{1, 3, 7}, sorted(ids(t, tbl, ScanOptions{})))
	for _, f := range filesOf(t, tbl, FileFilter{}) {
		require.Zero(t, f.Deletes)
	}
}

// Rewrites and appends by several writers at once: nothing is lost or doubled.
func TestRewriteRacesWithAppends(t *testing.T) {
	c, _ := newEvents(t)
	o := takeOver(t, c, "shop.events")
	for id := range int64(6) {
		o.mustCommit(writeEvents(t, o.table, day+int32(id%2), id))
	}
	compactor := load(t, c, "shop.events")
	plan, _ := compactor.Current()
	var groups []Rewrite
	for i := range int32(2) {
		old := filesOf(t, compactor, FileFilter{From: day + i, To: day + i + 1})
		require.Len(t, old, 3)
		n := int64(i)
		groups = append(groups, Rewrite{Snapshot: plan.ID, Old: old, New: []dataFile{writeEvents(t, compactor, day+i, n, n+2, n+4)}})
	}
	var batches []dataFile
	for id := int64(10); id < 18; id++ {
		batches = append(batches, writeEvents(t, o.table, day, id))
	}
	var wg sync.WaitGroup
	errs := make([]error, 3)
	wg.Go(func() {
		for _, f := range batches {
			if errs[0] = o.commit(t.Context(), f); errs[0] != nil {
				return
			}
		}
	})
	for i, g := range groups {
		handle := load(t, c, "shop.events")
		wg.Go(func() { errs[i+1] = handle.Rewrite(t.Context(), g) })
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	tbl := load(t, c, "shop.events")
	require.Equal(t, []int64{0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 16, 17}, sorted(ids(t, tbl, ScanOptions{})))
	require.Len(t, filesOf(t, tbl, FileFilter{}), 10)
}

func TestExpire(t *testing.T) {
	c, _ := newEvents(t)
	o := takeOver(t, c, "shop.events")
	for id := range int64(5) {
		o.mustCommit(writeEvents(t, o.table, day, id))
	}
	n, err := o.table.Expire(t.Context(), Keep{Age: time.Hour})
	require.NoError(t, err)
	require.Zero(t, n, "all are young")
	tbl := load(t, c, "shop.events")
	plan, _ := tbl.Current()
	require.NoError(t, tbl.Rewrite(t.Context(), Rewrite{Snapshot: plan.ID, Old: filesOf(t, tbl, FileFilter{}), New: []dataFile{writeEvents(t, tbl, day, 0, 1, 2, 3, 4)}}))
	n, err = tbl.Expire(t.Context(), Keep{})
	require.NoError(t, err)
	require.Equal(t, 6, n)
	require.Len(t, tbl.Snapshots(), 1)
	require.Len(t, parquetFiles(t, tbl), 6, "files stay until the clean-up")
	o.mustCommit(writeEvents(t, o.table, day, 9)) // with the old handle, whose snapshots are gone
	require.Len(t, ids(t, load(t, c, "shop.events"), ScanOptions{}), 6)
	_, err = load(t, c, "shop.events").Files(t.Context(), FileFilter{Snapshot: tbl.Snapshots()[0].ID + 1})
	require.ErrorContains(t, err, "there is no snapshot")
}

// TestExpireByNumber: a job that commits often does not keep them all for a day.
func TestExpireByNumber(t *testing.T) {
	c, _ := newEvents(t)
	o := takeOver(t, c, "shop.events")
	for range 12 {
		o.mustCommit()
	}
	before := o.table.Snapshots()
	require.Len(t, before, 13)
	n, err := o.table.Expire(t.Context(), Keep{Age: 24 * time.Hour, Least: 2, Most: 20})
	require.NoError(t, err)
	require.Zero(t, n)
	_, err = o.table.Expire(t.Context(), Keep{Age: 24 * time.Hour, Least: 2, Most: 6})
	require.NoError(t, err)
	after := load(t, c, "shop.events").Snapshots()
	require.LessOrEqual(t, len(after), 6)
	require.GreaterOrEqual(t, len(after), 5, "the one at the bound is of the same age")
	require.Equal(t, before[len(before)-len(after):], after, "the newest stay")
	o.mustCommit()
	require.NoError(t, o.table.CheckLineage("p", "all"))
}

// TestCommitsAreForgotten: iceberg-go's metadata holds that of the commits before
// it; a run of a day must not. 120 commits took 35 MiB.
func TestCommitsAreForgotten(t *testing.T) {
	c, _ := newEvents(t)
	o := takeOver(t, c, "shop.events")
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for range 120 {
		o.mustCommit()
	}
	after := heap()
	require.Less(t, after, before+4<<20)
	runtime.KeepAlive(o)
}

func age(t *testing.T, path string, by time.Duration) {
	t.Helper()
	then := time.Now().Add(-by)
	require.NoError(t, os.Chtimes(path, then, then))
}

// ageAll makes every file of the table old.
func ageAll(t *testing.T, tbl *Table, by time.Duration) {
	t.Helper()
	folder, err := tbl.Folder()
	require.NoError(t, err)
	require.NoError(t, filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			age(t, path, by)
		}
		return err
	}))
}

func TestCleanRemovesOnlyOrphans(t *testing.T) {
	c, _ := newEvents(t)
	o := takeOver(t, c, "shop.events")
	for id := range int64(4) {
		o.mustCommit(writeEvents(t, o.table, day, id))
	}
	tbl := load(t, c, "shop.events")
	plan, _ := tbl.Current()
	require.NoError(t, tbl.Rewrite(t.Context(), Rewrite{Snapshot: plan.ID, Old: filesOf(t, tbl, FileFilter{}), New: []dataFile{writeEvents(t, tbl, day, 0, 1, 2, 3)}}))
	orphan, young := writeEvents(t, tbl, day, 66), writeEvents(t, tbl, day, 77)
	folder, err := tbl.Folder()
	require.NoError(t, err)
	temp := filepath.Join(folder, "data", ".tmp-left-behind")
	require.NoError(t, os.WriteFile(temp, []byte("x"), 0o644))
	ageAll(t, tbl, time.Hour)
	path := func(f dataFile) string {
		p, err := storage.Path(c.fs, f.FilePath())
		require.NoError(t, err)
		return p
	}
	age(t, path(young), time.Second)

	found, err := tbl.Orphans(t.Context(), time.Minute)
	require.NoError(t, err)
	var names []string
	for _, f := range found {
		names = append(names, f.Path)
	}
	require.ElementsMatch(t, []string{path(orphan), temp}, names)
	require.FileExists(t, path(orphan), "looking deletes nothing")

	deleted, err := tbl.Clean(t.Context(), time.Minute)
	require.NoError(t, err)
	require.Len(t, deleted, 2)
	require.NoFileExists(t, path(orphan))
	require.NoFileExists(t, temp)
	require.FileExists(t, path(young))
	for _, s := range load(t, c, "shop.events").Snapshots() { // every snapshot can still be read
		if s.Summary["total-records"] != "" && s.Summary["total-records"] != "0" {
			require.NotEmpty(t, ids(t, tbl, ScanOptions{Snapshot: s.ID}))
		}
	}

	// Expired, the old files go, too: the four that were replaced.
	n, err := tbl.Expire(t.Context(), Keep{})
	require.NoError(t, err)
	require.Positive(t, n)
	ageAll(t, tbl, time.Hour)
	_, err = tbl.Clean(t.Context(), time.Minute)
	require.NoError(t, err)
	require.Len(t, parquetFiles(t, tbl), 1)
	require.Equal(t, []int64{0, 1, 2, 3}, ids(t, load(t, c, "shop.events"), ScanOptions{}))
	again := takeOver(t, c, "shop.events")
	again.mustCommit(writeEvents(t, again.table, day, 9))
	require.Len(t, ids(t, load(t, c, "shop.events"), ScanOptions{}), 5)
}

// Step 8: an owner sleeps with files that are not committed while a clean-up
// runs. It must not commit them.
func TestCleanBesideSuspendedOwner(t *testing.T) {
	c, _ := newEvents(t)
	o := takeOver(t, c, "shop.events")
	o.mustCommit(writeEvents(t, o.table, day, 1))

	slept := writeEvents(t, o.table, day, 2)
	ageAll(t, o.table, time.Hour)
	cleaner := load(t, c, "shop.events")
	deleted, err := cleaner.Clean(t.Context(), time.Minute)
	require.NoError(t, err)
	require.Len(t, deleted, 1)
	require.ErrorIs(t, o.commit(t.Context(), slept), ErrCleaned)
	require.Equal(t, []int64{1}, ids(t, load(t, c, "shop.events"), ScanOptions{}))
	o.mustCommit(writeEvents(t, o.table, day, 2)) // prepared again
	require.Equal(t, []int64{1, 2}, ids(t, load(t, c, "shop.events"), ScanOptions{}))

	// The clean-up has told so and not yet deleted: old files are refused as well.
	old, young := writeEvents(t, o.table, day, 3), writeEvents(t, o.table, day, 3)
	p, err := storage.Path(c.fs, old.FilePath())
	require.NoError(t, err)
	_, err = cleaner.Clean(t.Context(), time.Minute)
	require.NoError(t, err)
	age(t, p, time.Hour)
	require.ErrorIs(t, o.commit(t.Context(), old), ErrCleaned)
	o.mustCommit(young) // a clean-up does not disturb a batch that it spares
	require.Equal(t, []int64{1, 2, 3}, ids(t, load(t, c, "shop.events"), ScanOptions{}))

	// A refreshed handle does not forget what its batch may have missed.
	old = writeEvents(t, o.table, day, 4)
	p, err = storage.Path(c.fs, old.FilePath())
	require.NoError(t, err)
	age(t, p, time.Hour)
	_, err = cleaner.Clean(t.Context(), time.Minute)
	require.NoError(t, err)
	require.NoError(t, o.table.Refresh(t.Context()))
	require.ErrorIs(t, o.commit(t.Context(), old), ErrCleaned)
}

// Case 31 in small: ingest, compaction, expiry, clean-up and scans together.
func TestEverythingTogether(t *testing.T) {
	c, _ := newEvents(t)
	o := takeOver(t, c, "shop.events")
	const batches = 10
	var wg sync.WaitGroup
	var errs [4]error
	var ticks [3]chan struct{}
	// Each of the others takes a step while the owner makes a commit.
	loop := func(i int, step func() error) {
		ticks[i] = make(chan struct{}, batches)
		wg.Go(func() {
			for range ticks[i] {
				if errs[i] == nil {
					errs[i] = step()
				}
			}
		})
	}
	maintainer, reader := load(t, c, "shop.events"), load(t, c, "shop.events")
	loop(0, func() error {
		if err := maintainer.Refresh(t.Context()); err != nil {
			return err
		}
		plan, _ := maintainer.Current()
		old := filesOf(t, maintainer, FileFilter{Snapshot: plan.ID})
		if len(old) < 2 {
			return nil
		}
		rows := ids(t, maintainer, ScanOptions{Files: old})
		return maintainer.Rewrite(t.Context(), Rewrite{Snapshot: plan.ID, Old: old, New: []dataFile{writeEvents(t, maintainer, day, rows...)}})
	})
	cleaner := load(t, c, "shop.events")
	loop(1, func() error {
		if _, err := cleaner.Expire(t.Context(), Keep{Least: 5}); err != nil {
			return err
		}
		_, err := cleaner.Clean(t.Context(), 30*time.Second)
		return err
	})
	loop(2, func() error {
		if err := reader.Refresh(t.Context()); err != nil {
			return err
		}
		seen := map[int64]bool{}
		for _, id := range ids(t, reader, ScanOptions{}) {
			require.False(t, seen[id], "a row is there twice")
			seen[id] = true
		}
		for id := range int64(len(seen)) {
			require.True(t, seen[id], "a reader sees a prefix of the commits")
		}
		return nil
	})
	for id := range int64(batches) {
		for _, tick := range ticks {
			tick <- struct{}{}
		}
		if errs[3] = o.commit(t.Context(), writeEvents(t, o.table, day, id)); errs[3] != nil {
			break
		}
	}
	for _, tick := range ticks {
		close(tick)
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	tbl := load(t, c, "shop.events")
	require.Len(t, ids(t, tbl, ScanOptions{}), batches)
	r, _, err := tbl.Record("p", "all")
	require.NoError(t, err)
	require.Equal(t, int64(batches), r.Seq)
}

func TestClockBehindTheTable(t *testing.T) {
	c, _ := newEvents(t)
	o := takeOver(t, c, "shop.events")
	path, err := storage.Path(c.fs, o.table.now.Load().ice.MetadataLocation())
	require.NoError(t, err)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	ahead := strconv.FormatInt(time.Now().Add(2*time.Minute).UnixMilli(), 10)
	text = regexp.MustCompile(`"last-updated-ms":\d+`).ReplaceAll(text, []byte(`"last-updated-ms":`+ahead))
	require.NoError(t, os.WriteFile(path, text, 0o644))
	require.NoError(t, o.table.Refresh(t.Context()))
	require.ErrorContains(t, o.commit(t.Context()), "clock is")
	require.ErrorContains(t, o.table.Append(t.Context(), "k", 1, nil), "clock is")
}
