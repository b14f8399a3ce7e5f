package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFullDisk ingests into a warehouse on a disk of three megabytes: the run
// stops with what to do, what was committed before stays, and with room again
// the next run goes on from there.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	lake, err := exec.LookPath("lake")
	require.NoError(t, err)
	job := `version: 1
name: full
source: {generate: {spec: clicks, rows: 60000, seed: 1}}
schema: {event_id: uuid!, ts: timestamp!, session_id: string, props: json, page: json}
time: {field: ts}
table: {name: f.clicks, partition_by: [dt]}
commit: {max_records: 6000}
`
	require.NoError(t, os.WriteFile(filepath.Join(dir, "job.yaml"), []byte(job), 0o644))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "warehouse"), 0o755))
	script := `set -u
mount -t tmpfs -o size=3m tmpfs warehouse || exit 99
"$LAKE" ingest job.yaml > first.txt 2>&1; echo "exit $?" >> first.txt
"$LAKE" tables list job.yaml --output json > between.txt 2>&1
mount -o remount,size=400m warehouse || exit 99
"$LAKE" ingest job.yaml > second.txt 2>&1; echo "exit $?" >> second.txt
"$LAKE" tables list job.yaml --output json > after.txt 2>&1
`
	cmd := exec.Command("unshare", "--mount", "--map-root-user", "sh", "-c", script)
	if os.Geteuid() == 0 {
		cmd = exec.Command("unshare", "--mount", "sh", "-c", script)
	}
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LAKE="+lake)
	out, err := cmd.CombinedOutput()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("a small disk cannot be mounted here: %v: %s", err, out)
		}
		t.Skipf("a small disk cannot be mounted here: %v: %s", err, out)
	}
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return string(data)
	}
	require.Contains(t, read("first.txt"), "the disk is full")
	require.Contains(t, read("first.txt"), "exit 7")
	var tables []struct {
		Rows int `json:"rows"`
	}
	require.NoError(t, json.Unmarshal([]byte(read("between.txt")), &tables))
	require.Greater(t, tables[0].Rows, 0, "what was committed before the disk was full stays")
	require.Less(t, tables[0].Rows, 60_000)
	require.Contains(t, read("second.txt"), "exit 0")
	require.Contains(t, read("after.txt"), `"name":"f.clicks","rows":60000,`)
}
