package table

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// writeDates writes rows of one date a call, and returns the writer's next id.
func writeDates(t *testing.T, w *Writer, first int64, date int32, rows int) int64 {
	t.Helper()
	for rows > 0 {
		n := min(rows, 50_000)
		batch := eventRows(t, first, n, func(int) int32 { return date })
		require.NoError(t, w.Write(t.Context(), batch))
		batch.Release()
		first, rows = first+int64(n), rows-n
	}
	return first
}

// TestIdlePartitionsAreCompleted writes dates one after the other, with late rows
// for the first: its file is durable before the flush, and there is one more for
// what came late, not one each time that it falls idle.
func TestIdlePartitionsAreCompleted(t *testing.T) {
	c, tbl := newEvents(t)
	w := newWriter(t, tbl, WriterOptions{})
	next := writeDates(t, w, 0, 18_000, 400_000)
	next = writeDates(t, w, next, 18_001, 20_000) // too small to be worth it
	require.Nil(t, w.ending)
	held := w.Buffered()
	next = writeDates(t, w, next, 18_002, 400_000)
	require.NotNil(t, w.ending)
	require.NoError(t, w.wait())
	require.Len(t, parquetFiles(t, tbl), 1)
	require.Less(t, w.Buffered(), held*5/4, "its memory is given back: the third date holds about as much")

	next = writeDates(t, w, next, 18_000, 400_000)
	next = writeDates(t, w, next, 18_003, 2*idleRows)
	require.NoError(t, w.wait())
	require.Len(t, parquetFiles(t, tbl), 2, "the third date is idle, and the first was taken for that once")

	files, err := w.Flush(t.Context())
	require.NoError(t, err)
	rows := map[int64]int{}
	for _, f := range files {
		rows[f.Count()]++
	}
	require.Equal(t, map[int64]int{400_000: 3, 20_000: 1, 2 * idleRows: 1}, rows)
	require.NoError(t, tbl.Append(t.Context(), "k", 1, files))
	tbl = load(t, c, tbl.Name())
	got := ids(t, tbl, ScanOptions{})
	require.Len(t, got, int(next))
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(got))), int(next), "each row once")

	// The next flush's files begin anew.
	writeDates(t, w, next, 18_000, 400_000)
	writeDates(t, w, next, 18_001, idleRows)
	require.NotNil(t, w.ending)
	require.NoError(t, w.Abort(t.Context()))
	require.Len(t, parquetFiles(t, tbl), len(files), "an abort removes what was completed early")
}
