package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A job whose table cannot be opened ends with the cause, and what was opened
// before is closed.
func TestIngestOfAChangedTable(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "job.yaml")
	const job = `version: 1
name: changed
source: {generate: {spec: clicks, rows: 10, seed: 1}}
schema: {event_id: uuid!, ts: timestamp!}
time: {field: ts}
`
	ingest := func(table string) (int, string) {
		require.NoError(t, os.WriteFile(path, []byte(job+table), 0o644))
		var out, errs bytes.Buffer
		code := run(context.Background(), []string{"ingest", path}, nil, &out, &errs)
		return code, errs.String()
	}
	code, said := ingest("table: {name: c.clicks, partition_by: [dt]}\n")
	require.Equal(t, exitDone, code, said)
	code, said = ingest("table: {name: c.clicks, partition_by: [event_id]}\n")
	require.Equal(t, exitConfig, code, said)
	require.Contains(t, said, "table.partition_by was dt and is now event_id")
}
