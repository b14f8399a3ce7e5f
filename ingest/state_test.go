package ingest_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"lake/ingest"
	"lake/rules/tally"
)

// TestReadStateBesideAnOwner: a reader whose table is of before the owner's next
// commits finds its checkpoint gone, and reads the newest state.
func TestReadStateBesideAnOwner(t *testing.T) {
	r := newRig(t)
	first := []string{record(1, "00:00:00")}
	cfg := r.config(&lines{batches: first}, &recorder{}, counted)
	_, err := ingest.Run(t.Context(), cfg, nil)
	require.NoError(t, err)
	reader := r.table()
	was, _ := r.checkpoints()

	all := append(slices.Clone(first), record(1, "00:00:01"), record(2, "00:00:02"))
	next := r.config(&lines{batches: all}, &recorder{}, counted)
	next.MaxRecords = 1
	_, err = ingest.Run(t.Context(), next, nil)
	require.NoError(t, err)
	is, _ := r.checkpoints()
	require.NotContains(t, is, was[0], "what the old record names is swept")

	state, found, err := ingest.ReadState(t.Context(), reader, cfg.Blobs, "x", []tally.Rule{cfg.Rules[0].Rule})
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, int64(3), state.Records[0].Seq)
	require.Equal(t, int64(3), state.Totals.Records)
	require.Equal(t, 2, state.Rules[0].Groups)
	current, ok := reader.Current()
	require.True(t, ok)
	require.Contains(t, current.Summary["lake.note"], "seq 3", "the table is as the state is")
}
