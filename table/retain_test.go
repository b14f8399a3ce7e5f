package table

import (
	"math"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/iceberg-go"
	icebergtable "github.com/apache/iceberg-go/table"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// measured writes a file of events of one date as lake does, with metrics.
func measured(t *testing.T, tbl *Table, day int32, ids ...int64) dataFile {
	t.Helper()
	w, err := tbl.NewWriter(WriterOptions{Name: uuid.NewString()})
	require.NoError(t, err)
	b := newRows(tbl)
	defer b.Release()
	for _, id := range ids {
		appendID(b, id)
		appendText(b, 1, "x")
		b.Field(2).(*array.Date32Builder).Append(arrow.Date32(day))
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	require.NoError(t, w.Write(t.Context(), batch))
	files, err := w.Flush(t.Context())
	require.NoError(t, err)
	require.Len(t, files, 1)
	return files[0]
}

// Whole dates go in one delete; the owner's record stays and the owner goes on.
func TestDropDates(t *testing.T) {
	for name, write := range map[string]func(*testing.T, *Table, int32, ...int64) dataFile{"by metrics": measured, "by name": writeEvents} {
		t.Run(name, func(t *testing.T) {
			c, _ := newEvents(t)
			o := takeOver(t, c, "shop.events")
			for i := range int32(5) {
				n := int64(i)
				o.mustCommit(write(t, o.table, day+i, n, n+10), write(t, o.table, day+i, n+20))
			}
			keeper := load(t, c, "shop.events")
			before, err := keeper.DroppedBefore()
			require.NoError(t, err)
			require.EqualValues(t, math.MinInt32, before)
			record, _, err := keeper.Record("p", "all")
			require.NoError(t, err)
			snapshots, onDisk := len(keeper.Snapshots()), parquetFiles(t, keeper)
			then, _ := keeper.Current()

			o.mustCommit(write(t, o.table, day+1, 100), write(t, o.table, day+2, 200)) // a late one, behind the keeper's back

			dropped, err := keeper.DropDates(t.Context(), day+2)
			require.NoError(t, err)
			require.Equal(t, 2, dropped.Dates)
			require.Equal(t, 5, dropped.Files)
			require.EqualValues(t, 7, dropped.Rows)
			after := load(t, c, "shop.events")
			require.Len(t, after.Snapshots(), snapshots+2, "the late commit and one drop")
			require.Equal(t, []int64{2, 3, 4, 12, 13, 14, 22, 23, 24, 200}, sorted(ids(t, after, ScanOptions{})))
			require.Len(t, parquetFiles(t, after), len(onDisk)+2, "no file is written anew, none is deleted")
			require.Len(t, ids(t, after, ScanOptions{Snapshot: then.ID}), 15, "older snapshots stay")
			current, _ := after.Current()
			require.Equal(t, map[string]string{"by metrics": "delete", "by name": "overwrite"}[name], current.Operation)
			require.Equal(t, "5", current.Summary["deleted-data-files"])
			require.Empty(t, current.Summary["added-data-files"])
			before, err = after.DroppedBefore()
			require.NoError(t, err)
			require.Equal(t, day+2, before)

			now, _, err := after.Record("p", "all")
			require.NoError(t, err)
			require.Equal(t, record.Seq+1, now.Seq, "a drop never sets a record")
			require.NoError(t, after.CheckLineage("p", "all"))
			o.mustCommit(write(t, o.table, day+4, 300))
			require.NoError(t, load(t, c, "shop.events").CheckLineage("p", "all"))

			// Again: nothing is committed. With an earlier date the mark stays.
			again := load(t, c, "shop.events")
			dropped, err = again.DropDates(t.Context(), day+2)
			require.NoError(t, err)
			require.Zero(t, dropped)
			o.mustCommit(write(t, o.table, day-9, 400))
			_, err = again.DropDates(t.Context(), day)
			require.NoError(t, err)
			before, err = load(t, c, "shop.events").DroppedBefore()
			require.NoError(t, err)
			require.Equal(t, day+2, before)
			require.NotContains(t, ids(t, load(t, c, "shop.events"), ScanOptions{}), int64(400))

			// Expiry and the clean-up then free the files.
			last := load(t, c, "shop.events")
			_, err = last.Expire(t.Context(), Keep{})
			require.NoError(t, err)
			_, err = last.Clean(t.Context(), -time.Hour)
			require.NoError(t, err)
			for _, path := range parquetFiles(t, last) {
				require.NotContains(t, []string{"dt=" + arrow.Date32(day).FormattedString(), "dt=" + arrow.Date32(day+1).FormattedString()}, filepath.Base(filepath.Dir(path)))
			}
			require.Len(t, ids(t, load(t, c, "shop.events"), ScanOptions{}), 11)
		})
	}
}

// Replies that are lost, or come late, and races: dropped once, nothing else.
func TestDropDatesLostReply(t *testing.T) {
	for _, mode := range [][]string{{"lost"}, {"late"}, {"refused", "lost"}} {
		c, _ := newEvents(t)
		o := takeOver(t, c, "shop.events")
		o.mustCommit(measured(t, o.table, day, 1), measured(t, o.table, day+1, 2))
		tbl := load(t, &Catalog{ice: &ambiguous{icebergCatalog: c.ice, mode: mode}, fs: c.fs, root: c.root, turn: NewTurn()}, "shop.events")
		dropped, err := tbl.DropDates(t.Context(), day+1)
		require.NoError(t, err, join(mode))
		require.EqualValues(t, 1, dropped.Rows, join(mode))
		after := load(t, c, "shop.events")
		require.Equal(t, []int64{2}, ids(t, after, ScanOptions{}))
		drops := 0
		for _, s := range after.Snapshots() {
			if s.Summary[dropKey] != "" {
				drops++
			}
		}
		require.Equal(t, 1, drops, join(mode))
	}
}

// Drops beside an owner that goes on committing: no row of a kept date is lost.
func TestDropDatesBesideCommits(t *testing.T) {
	c, _ := newEvents(t)
	o := takeOver(t, c, "shop.events")
	o.mustCommit(measured(t, o.table, day, 0), measured(t, o.table, day+9, 1))
	var batches [][]dataFile
	for i := range int64(8) {
		batches = append(batches, []dataFile{measured(t, o.table, day+int32(i), 10+i), measured(t, o.table, day+9, 20+i)})
	}
	keeper := load(t, c, "shop.events")
	var wg sync.WaitGroup
	var committing, dropping error
	wg.Go(func() {
		for _, files := range batches {
			if committing = o.commit(t.Context(), files...); committing != nil {
				return
			}
		}
	})
	wg.Go(func() {
		for i := range int32(4) {
			if _, dropping = keeper.DropDates(t.Context(), day+2+i); dropping != nil {
				return
			}
		}
	})
	wg.Wait()
	require.NoError(t, committing)
	require.NoError(t, dropping)
	_, err := keeper.DropDates(t.Context(), day+5)
	require.NoError(t, err)
	require.Equal(t, []int64{1, 15, 16, 17, 20, 21, 22, 23, 24, 25, 26, 27}, sorted(ids(t, load(t, c, "shop.events"), ScanOptions{})))
}

// Rows that another engine deleted from a file: their delete file goes with it,
// and what it deletes elsewhere stays deleted.
func TestDropDatesWithDeleteFiles(t *testing.T) {
	c, _ := newEvents(t)
	o := takeOver(t, c, "shop.events")
	o.mustCommit(measured(t, o.table, day, 1, 2, 3), measured(t, o.table, day+1, 1, 4))
	tx := load(t, c, "shop.events").now.Load().ice.NewTransaction()
	require.NoError(t, tx.SetProperties(iceberg.Properties{icebergtable.WriteDeleteModeKey: icebergtable.WriteModeMergeOnRead}))
	require.NoError(t, tx.Delete(t.Context(), iceberg.EqualTo(iceberg.Reference("id"), int64(1)), nil))
	_, err := tx.Commit(t.Context())
	require.NoError(t, err)
	tbl := load(t, c, "shop.events")
	require.Equal(t, []int64{2, 3, 4}, sorted(ids(t, tbl, ScanOptions{})))

	_, err = tbl.DropDates(t.Context(), day+1)
	require.NoError(t, err)
	after := load(t, c, "shop.events")
	require.Equal(t, []int64{4}, ids(t, after, ScanOptions{}))
	current, _ := after.Current()
	require.Equal(t, "1", current.Summary["deleted-data-files"])
	require.Equal(t, "1", current.Summary["removed-delete-files"])
}
