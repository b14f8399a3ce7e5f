package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// plainLake is a lake without the race detector, whose memory is what users
// see. `make test` builds it.
func plainLake(t *testing.T) string {
	path := os.Getenv("LAKE_TEST_BINARY")
	if path == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("LAKE_TEST_BINARY is not set: run make test")
		}
		t.Skip("LAKE_TEST_BINARY is not set: make test builds a lake without the race detector")
	}
	return path
}

// weigh runs a command, writes its peak resident memory in KiB to a file and
// ends as it ends. The test itself must not be the command's parent: Linux counts
// what the parent held at the fork as the child's, and a parent under the race
// detector is larger than any bound here.
const weigh = `import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)`

// peak runs plain lake and returns its exit code, what it said, and its peak
// resident memory as the system counts it.
func peak(t *testing.T, dir string, args ...string) (code int, said string, used int64) {
	weight := filepath.Join(t.TempDir(), "peak")
	cmd := exec.Command("python3", append([]string{"-c", weigh, weight, plainLake(t)}, args...)...)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	require.NotNil(t, cmd.ProcessState, "%v", err)
	text, err := os.ReadFile(weight)
	require.NoError(t, err, out.String())
	used, err = strconv.ParseInt(string(text), 10, 64)
	require.NoError(t, err)
	return cmd.ProcessState.ExitCode(), out.String(), used << 10
}

const memoryJob = `version: 1
name: memory
source: {generate: {spec: spec.yaml, rows: 1500000, seed: 1}}
schema: {id: int64!, ts: timestamp!, who: int64, text: string}
time: {field: ts}
table: {name: m.events, partition_by: [dt]}
`

// memorySpec spreads rows over some four hundred dates, out of order.
const memorySpec = `version: 1
fields:
  id: {sequence: {start: 1}}
  ts: {time: {start: "2021-01-01T00:00:00Z", rate: 2.6/m, disorder: 720h}}
  who: {uniform: {min: 1, max: 1000000000}}
  text: {fake: sentence}
`

// TestMemoryBound ingests more than the bound, over hundreds of dates.
func TestMemoryBound(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "job.yaml"), []byte(memoryJob), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "spec.yaml"), []byte(memorySpec), 0o644))
	const bound = 256 << 20
	code, said, used := peak(t, dir, "ingest", "--memory", "256MiB", "job.yaml")
	require.Zero(t, code, said)
	require.Contains(t, said, "1,500,000 records in = 1,500,000 rows landed + 0 dead letters")
	require.LessOrEqual(t, used, int64(bound), "peak resident memory")
	t.Logf("peak %d MiB", used>>20)
}

// TestLongLine reads a line of 100 MB in bounded memory: it becomes a dead
// letter, and the lines around it land.
func TestLongLine(t *testing.T) {
	dir := t.TempDir()
	job := strings.NewReplacer("{generate: {spec: spec.yaml, rows: 1500000, seed: 1}}", "{files: {paths: [in.jsonl]}}").Replace(memoryJob) + "dead_letter: {max_ratio: 100%}\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "job.yaml"), []byte(job), 0o644))
	f, err := os.Create(filepath.Join(dir, "in.jsonl"))
	require.NoError(t, err)
	good := `{"id":1,"ts":"2021-11-30T00:00:00Z"}` + "\n"
	_, err = f.WriteString(good + `{"id":2,"ts":"2021-11-30T00:00:00Z","text":"`)
	require.NoError(t, err)
	for range 100 {
		_, err = f.Write(bytes.Repeat([]byte("x"), 1<<20))
		require.NoError(t, err)
	}
	_, err = f.WriteString(`"}` + "\n" + strings.Repeat("[", 100_000) + "\n" + good)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	code, said, used := peak(t, dir, "ingest", "--memory", "256MiB", "job.yaml")
	require.Zero(t, code, said)
	require.Contains(t, said, "4 records in = 2 rows landed + 2 dead letters")
	require.LessOrEqual(t, used, int64(256<<20), "peak resident memory")
	t.Logf("peak %d MiB", used>>20)
}

// TestStateTooLarge ends with exit code 7 and what to do.
func TestStateTooLarge(t *testing.T) {
	dir := t.TempDir()
	job := memoryJob + "rules:\n  each:\n    sql: SELECT id, COUNT(*) AS n FROM events GROUP BY id HAVING n > 5\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "job.yaml"), []byte(job), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "spec.yaml"), []byte(memorySpec), 0o644))
	code, said, _ := peak(t, dir, "ingest", "--memory", "128MiB", "job.yaml")
	require.Equal(t, exitPerson, code, said)
	require.Contains(t, said, "rule each")
	require.Contains(t, said, "--memory")
}
