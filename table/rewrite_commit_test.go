package table

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/apache/iceberg-go"
	icebergio "github.com/apache/iceberg-go/io"
	icebergtable "github.com/apache/iceberg-go/table"
	"github.com/stretchr/testify/require"

	"lake/storage"
)

// entryLine is what a manifest says of a file, but for what is another at each commit.
func entryLine(e iceberg.ManifestEntry, ids map[int64]string) string {
	f := e.DataFile()
	file := int64(-1)
	if n := e.FileSequenceNum(); n != nil {
		file = *n
	}
	return fmt.Sprint(e.Status(), ids[e.SnapshotID()], e.SequenceNum(), file, f.FilePath(), f.Partition(), f.Count(), f.FileSizeBytes(), f.ValueCounts(), f.LowerBoundValues(), f.SplitOffsets(), f.SortOrderID())
}

// manifestLines is what the newest snapshot's manifests say, sorted: a line an entry with
// the counts of its manifest.
func manifestLines(t *testing.T, ice *icebergtable.Table) []string {
	t.Helper()
	files, err := ice.FS(t.Context())
	require.NoError(t, err)
	head := ice.CurrentSnapshot()
	ids := map[int64]string{}
	for i, s := range ice.Metadata().Snapshots() {
		ids[s.SnapshotID] = fmt.Sprint("snapshot ", i)
	}
	list, err := head.Manifests(files)
	require.NoError(t, err)
	var out []string
	for _, m := range list {
		size := 0
		f, err := files.Open(m.FilePath())
		require.NoError(t, err)
		data, err := io.ReadAll(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		size = len(data)
		require.EqualValues(t, size, m.Length())
		counts := fmt.Sprint(m.ManifestContent(), m.PartitionSpecID(), ids[m.SnapshotID()], m.SequenceNum(), m.MinSequenceNum(), m.AddedDataFiles(), m.ExistingDataFiles(), m.DeletedDataFiles(),
			m.AddedRows(), m.ExistingRows(), m.DeletedRows())
		for _, p := range m.Partitions() {
			counts += fmt.Sprintf("%v %x %x", p.ContainsNull, *p.LowerBound, *p.UpperBound)
		}
		entries, err := iceberg.ReadManifest(m, bytes.NewReader(data), false)
		require.NoError(t, err)
		for _, e := range entries {
			out = append(out, counts+" "+entryLine(e, ids))
		}
	}
	slices.Sort(out)
	return out
}

// Iceberg-go's own rewrite is the oracle: the same files replaced in the same table, the
// manifests and the summary say the same, whatever part of a manifest is replaced.
func TestRewriteIsThatOfTheLibrary(t *testing.T) {
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 1))
		c, tbl := newEvents(t)
		o := takeOver(t, c, "shop.events")
		id := int64(0)
		for range 4 {
			var files []dataFile
			for day := range int32(1 + r.IntN(3)) {
				id += 2
				files = append(files, writeEvents(t, tbl, day-1, id, id+1))
			}
			o.mustCommit(files...)
		}
		require.NoError(t, tbl.Refresh(t.Context()))
		before := tbl.now.Load()
		plan, _ := tbl.Current()
		o.mustCommit(writeEvents(t, tbl, 9, 100)) // after the plan: rows stay as old as it
		all := filesOf(t, tbl, FileFilter{Snapshot: plan.ID})
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		old := all[:1+r.IntN(len(all))]
		merged := []dataFile{writeEvents(t, tbl, 0, 50), writeEvents(t, tbl, 1, 51, 52)}

		require.NoError(t, tbl.Refresh(t.Context()))
		base := tbl.now.Load().ice
		tx := base.NewTransaction()
		rewrite := tx.NewRewrite(iceberg.Properties{"x": "y"}).DataSequenceNumber(plan.Sequence)
		for _, f := range old {
			rewrite.DeleteFile(f.DataFile())
		}
		for _, f := range merged {
			rewrite.AddDataFile(f)
		}
		require.NoError(t, rewrite.Commit(t.Context()))
		want, err := tx.StagedTable()
		require.NoError(t, err)

		made, ok, err := tbl.stageReplace(t.Context(), tbl.now.Load(), Rewrite{Snapshot: plan.ID, Old: old, New: merged}, plan.Sequence, iceberg.Properties{"x": "y"})
		require.NoError(t, err)
		require.True(t, ok)
		after, err := made.Commit(t.Context())
		require.NoError(t, err)
		require.Equal(t, manifestLines(t, want.Table), manifestLines(t, after))
		mine, library := *after.CurrentSnapshot(), *want.CurrentSnapshot()
		require.Equal(t, library.Summary, mine.Summary)
		require.Equal(t, []any{library.SequenceNumber, *library.ParentSnapshotID, *library.SchemaID}, []any{mine.SequenceNumber, *mine.ParentSnapshotID, *mine.SchemaID})
		require.Equal(t, base.CurrentSnapshot().SnapshotID, *mine.ParentSnapshotID)
		require.Equal(t, len(before.ice.Metadata().Snapshots())+2, len(after.Metadata().Snapshots()))

		_, err = made.Commit(t.Context()) // the head is another one now
		require.Error(t, err)
		require.NoError(t, tbl.Refresh(t.Context()))
		_, _, err = tbl.stageReplace(t.Context(), tbl.now.Load(), Rewrite{Old: old}, plan.Sequence, nil)
		require.ErrorIs(t, err, ErrReplan)
	}
}

// What the reader of ours lists is what iceberg-go plans, by dates, too, and with a
// manifest that is not read here.
func TestFilesAreThoseOfTheLibrary(t *testing.T) {
	c, tbl := newEvents(t)
	o := takeOver(t, c, "shop.events")
	for i := range int64(5) {
		o.mustCommit(writeEvents(t, tbl, int32(i), i), writeEvents(t, tbl, int32(i)-2, 10+i, 20+i))
	}
	require.NoError(t, tbl.Refresh(t.Context()))
	s := tbl.now.Load()
	for _, filter := range []FileFilter{{}, {From: 1, To: 3}, {From: -2, To: 0}, {From: 70, To: 80}, {From: 2, To: 3}} {
		got, ok, err := tbl.plainFiles(t.Context(), s, filter)
		require.NoError(t, err)
		require.True(t, ok)
		var opts []icebergtable.ScanOption
		if !filter.all() {
			dt := iceberg.Reference("dt")
			opts = append(opts, icebergtable.WithRowFilter(iceberg.NewAnd(iceberg.GreaterThanEqual(dt, iceberg.Date(filter.From)), iceberg.LessThan(dt, iceberg.Date(filter.To)))))
		}
		scan := s.ice.Scan(opts...)
		tasks, err := scan.PlanFiles(t.Context())
		require.NoError(t, err)
		require.NoError(t, scan.Close())
		want := map[string]string{}
		for _, task := range tasks {
			want[task.File.FilePath()] = fmt.Sprint(task.File.Partition(), *task.DataSequenceNumber, task.File.Count(), task.Start, task.Length, task.FirstRowID)
		}
		have := map[string]string{}
		for _, f := range got {
			have[f.DataFile().FilePath()] = fmt.Sprint(f.DataFile().Partition(), f.Sequence, f.Rows, f.scanTask().Start, f.scanTask().Length, f.scanTask().FirstRowID)
		}
		require.Equal(t, want, have, fmt.Sprint(filter))
		require.Len(t, got, len(want))
	}
	require.Len(t, filesOf(t, tbl, FileFilter{From: -2, To: 0}), 2)

	// A list that is broken is the library's to refuse, in its words.
	files, err := s.ice.FS(t.Context())
	require.NoError(t, err)
	list := s.ice.CurrentSnapshot()
	w, err := files.(icebergio.WriteFileIO).Create(list.ManifestList + ".broken")
	require.NoError(t, err)
	_, err = w.Write([]byte("Obj\x01 and no more"))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	broken := *list
	broken.ManifestList += ".broken"
	_, err = tbl.listManifests(files, broken)
	_, want := broken.Manifests(files)
	require.ErrorContains(t, err, want.Error())
}

// Other engines leave what they deleted in the manifest that had it, beside what stays:
// that is neither a file of the table nor one that a rewrite carries on.
func TestDeletedEntriesStayDeleted(t *testing.T) {
	c, tbl := newEvents(t)
	o := takeOver(t, c, "shop.events")
	lives, gone := writeEvents(t, tbl, 1, 1), writeEvents(t, tbl, 1, 2)
	o.mustCommit(lives)
	require.NoError(t, tbl.Refresh(t.Context()))
	s := tbl.now.Load()
	files, err := s.ice.FS(t.Context())
	require.NoError(t, err)
	head := *s.ice.CurrentSnapshot()
	n := &replacement{table: tbl, base: s.ice, files: files.(icebergio.WriteFileIO), id: 7}
	n.places, err = s.ice.LocationProvider()
	require.NoError(t, err)
	sequence := int64(1)
	entry := func(status iceberg.ManifestEntryStatus, f dataFile) iceberg.ManifestEntry {
		return iceberg.NewManifestEntry(status, &n.id, &sequence, &sequence, f)
	}
	require.NoError(t, n.draftOne(0, func(w *iceberg.ManifestWriter) error {
		return errors.Join(w.Delete(entry(iceberg.EntryStatusDELETED, gone)), w.Existing(entry(iceberg.EntryStatusEXISTING, lives)))
	}))
	head.ManifestList, err = n.write(head, 9)
	require.NoError(t, err)

	n.drafts = nil
	out, stays, err := n.part(t.Context(), head, filesOf(t, tbl, FileFilter{}))
	require.NoError(t, err)
	require.Len(t, out, 1)
	require.Equal(t, lives.FilePath(), out[0].File.FilePath())
	require.Empty(t, stays)
	require.Empty(t, n.manifest)
}

// What the plan has read of a manifest is not read again: neither of one whose files are
// all replaced, nor, where all are found so, of one that has none of them.
func TestRewriteReadsWhatThePlanDidNot(t *testing.T) {
	c, tbl := newEvents(t)
	o := takeOver(t, c, "shop.events")
	for day := range int32(3) {
		o.mustCommit(writeEvents(t, tbl, day, int64(2*day)), writeEvents(t, tbl, day, int64(2*day+1)))
	}
	require.NoError(t, tbl.Refresh(t.Context()))
	plan, _ := tbl.Current()
	all := filesOf(t, tbl, FileFilter{})
	require.Len(t, all, 6)
	replace := func(old ...File) error {
		_, ok, err := tbl.stageReplace(t.Context(), tbl.now.Load(), Rewrite{Snapshot: plan.ID, Old: old}, plan.Sequence, nil)
		require.True(t, ok || err != nil)
		return err
	}
	away := func(f File) (back func()) {
		path, err := storage.Path(tbl.catalog.fs, f.manifest)
		require.NoError(t, err)
		require.NoError(t, os.Rename(path, path+".away"))
		return func() { require.NoError(t, os.Rename(path+".away", path)) }
	}
	for _, f := range []File{all[0], all[2], all[4]} { // a day's two files have one manifest
		defer away(f)()
	}
	require.NoError(t, replace(all[0], all[1], all[4], all[5]))
	require.Error(t, replace(all[0]), "what stays has to be read")
	stranger := all[2]
	task := stranger.scanTask()
	stranger.task, stranger.entry = &task, nil // as iceberg-go plans it
	require.Error(t, replace(all[0], all[1], stranger))
}
