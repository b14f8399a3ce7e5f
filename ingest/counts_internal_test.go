package ingest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What is counted is there after a checkpoint, by both, and by each where the oldest
// dates are no longer kept by both.
func TestRowCounts(t *testing.T) {
	c := newRowCounts()
	c.add("Events/0", 4, []int32{10, 10, 11, 10})
	c.add("Events/1", 2, []int32{11, 12})
	c.add("Events/1", 1, []int32{-3})
	c.add("in/a.jsonl", 7, nil)
	read := func() RowCounts {
		got, err := readRowCounts(c.appendTo(nil))
		require.NoError(t, err)
		return got
	}
	got := read()
	require.Equal(t, map[string]map[int32]int64{"Events/0": {10: 3, 11: 1}, "Events/1": {11: 1, 12: 1, -3: 1}, "in/a.jsonl": {noDate: 7}}, got.Both)
	days := map[int32]int64{noDate: 7, -3: 1, 10: 3, 11: 2, 12: 1}
	require.Equal(t, days, got.Days())

	c.fold(6) // as many as there are
	require.Equal(t, got, read())
	c.fold(5)
	got = read()
	require.Equal(t, map[string]map[int32]int64{"Events/0": {}, "Events/1": {12: 1}, "in/a.jsonl": {}}, got.Both, "two at most; a date is kept by both or not")
	require.Equal(t, days, got.Days())
	require.EqualValues(t, 14, got.Total())
	for partition, rows := range map[string]int64{"Events/0": 4, "Events/1": 3, "in/a.jsonl": 7, "other": 0} {
		require.Equal(t, rows, got.Of(partition), partition)
	}
	c.add("Events/0", 1, []int32{10}) // late: it is of a date that was folded
	sum := newRowCounts()
	sum.merge(got)
	sum.merge(read())
	require.EqualValues(t, 29, sum.Total())
	require.EqualValues(t, 9, sum.Of("Events/0"))
	require.EqualValues(t, 7, sum.Days()[10])

	data := c.appendTo(nil)
	for n := 1; n < len(data); n++ {
		_, err := readRowCounts(data[:n])
		require.ErrorIs(t, err, errCounts, "cut at %d", n)
	}
	empty, err := readRowCounts(nil)
	require.NoError(t, err)
	require.Zero(t, empty.Total(), "a checkpoint of before")
}
