package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestUpkeep: beside a run that follows, small files become few and snapshots
// that are old enough go; the rows stay what they are.
func TestUpkeep(t *testing.T) {
	dir := t.TempDir()
	job := strings.Replace(memoryJob, "{generate: {spec: spec.yaml, rows: 1500000, seed: 1}}", "{files: {paths: [\"in/*.jsonl\"]}}", 1) +
		"commit: {max_records: 10}\ncompact: {snapshots: 1ms, min_files: 3}\n"
	path := filepath.Join(dir, "job.yaml")
	require.NoError(t, os.WriteFile(path, []byte(job), 0o644))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "in"), 0o755))
	for file := range 120 { // a commit each
		var in strings.Builder
		for n := range 10 {
			fmt.Fprintf(&in, `{"id":%d,"ts":"2021-11-30T00:00:00Z","who":%d}`+"\n", 10*file+n, n)
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, "in", fmt.Sprintf("%03d.jsonl", file)), []byte(in.String()), 0o644))
	}
	a := &app{stdout: io.Discard, stderr: io.Discard, env: os.LookupEnv, log: slog.New(slog.DiscardHandler)}
	a.flags.memory = defaultMemory()
	r, err := a.loadJob(path)
	require.NoError(t, err)
	_, err = a.ingest(t.Context(), r, ingestOptions{})
	require.NoError(t, err)
	before, err := a.status(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, 120, before.Files)
	require.Equal(t, 121, before.Snapshots, "the takeover's, too")
	rows := sortedLines(lakeOutput(t, dir, "tables", "scan", "job.yaml", "--format", "jsonl"))
	require.Len(t, rows, 1200)

	turn, err := r.take(t.Context(), r.Name.Value+".upkeep", false)
	require.NoError(t, err)
	caring, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.upkeep(caring, r, newDebt(), 5*time.Millisecond)
	}()
	_, err = r.take(t.Context(), r.Name.Value+".upkeep", false)
	require.ErrorIs(t, err, errHeld, "one process of a job cares at a time")
	require.NoError(t, turn.Close())
	require.Eventually(t, func() bool {
		now, err := a.status(t.Context(), r)
		require.NoError(t, err)
		return now.Files == 1 && now.Snapshots <= minSnapshots+1
	}, time.Minute, 200*time.Millisecond) // each look takes the core that the upkeep needs
	stop()
	<-done
	require.Equal(t, rows, sortedLines(lakeOutput(t, dir, "tables", "scan", "job.yaml", "--format", "jsonl")))
	var status statusResult
	require.NoError(t, json.Unmarshal([]byte(lakeOutput(t, dir, "status", "job.yaml", "--output", "json")), &status))
	require.Equal(t, before.Totals, status.Totals, "offsets and state are untouched")
}

// TestUpkeepByDebt: a run that commits often is looked after sooner than each minute.
func TestUpkeepByDebt(t *testing.T) {
	owed := newDebt()
	for range upkeepCommits - 1 {
		owed.add()
	}
	require.Empty(t, owed.due)
	for range 3*upkeepCommits + 1 {
		owed.add()
	}
	<-owed.due
	require.Empty(t, owed.due, "one look is enough for all")
	for range upkeepCommits {
		owed.add()
	}
	require.Len(t, owed.due, 1)
}
