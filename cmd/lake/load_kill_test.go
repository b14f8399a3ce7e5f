package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apache/iceberg-go"
	icebergsql "github.com/apache/iceberg-go/catalog/sql"
	icebergtable "github.com/apache/iceberg-go/table"
	"github.com/stretchr/testify/require"

	"lake/faults"
	"lake/load/duckdb"
	"lake/storage"
)

const loadJob = `version: 1
name: loads
source: {files: {paths: ["in/*.jsonl"]}}
schema: {n: int64!, ts: timestamp!}
time: {field: ts}
table: {name: k.events, partition_by: [dt]}
load: [{duckdb: {table: events}}]
`

// loadDates are in the table of the load tests, a row each.
const loadDates = 25

func newLoadJob(t *testing.T) (dir string) {
	dir = t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "in"), 0o755))
	var rows strings.Builder
	for i := range loadDates {
		fmt.Fprintf(&rows, `{"n": %d, "ts": "%s"}`+"\n", i, time.Date(2021, 11, 1+i, 12, 0, 0, 0, time.UTC).Format(time.RFC3339))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "in", "a.jsonl"), []byte(rows.String()), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "job.yaml"), []byte(loadJob), 0o644))
	lakeOutput(t, dir, "ingest", "job.yaml")
	return dir
}

// ask is a query's answer of the job's DuckDB, a line a row; nothing where there is no database.
func ask(t *testing.T, dir, query string) []string {
	path := filepath.Join(dir, "warehouse", "warehouse.duckdb")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	w, err := duckdb.Open(t.Context(), duckdb.Config{Path: path}, duckdb.Options{TempDir: t.TempDir()})
	require.NoError(t, err)
	_, cells, err := w.Query(t.Context(), query)
	require.NoError(t, errors.Join(err, w.Close()))
	var lines []string
	for _, row := range cells {
		lines = append(lines, strings.Join(row, " "))
	}
	return lines
}

// A loader is killed at each step and started again: each date is loaded exactly
// once, the ledger has exactly one line of it, and a third run has nothing to do.
func TestKilledLoader(t *testing.T) {
	if !duckdb.Available {
		t.Log("without DuckDB (CGO_ENABLED=0): the same on the other warehouses is in their own tests")
		return
	}
	const loads = `SELECT "partition", load_id, loaded_at FROM lake_loads ORDER BY 1`
	for _, point := range []string{
		faults.Built, faults.Swapped, // of the claim
		faults.Claimed, faults.Replaced, faults.Replaced + ":7",
		faults.ParquetBegun, faults.Built + ":2", faults.Staged + ":3", faults.Swapped + ":2", // of the first lines; the table's making is staged, too
		faults.Noted, faults.Replaced + ":23", faults.Noted + ":2",
	} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			dir := newLoadJob(t)
			cmd := lakeCommand(dir, "load", "job.yaml")
			cmd.Env = append(os.Environ(), "LAKE_CRASH_AT="+point)
			var killed *exec.ExitError
			require.ErrorAs(t, cmd.Run(), &killed)
			require.Equal(t, syscall.SIGKILL, killed.Sys().(syscall.WaitStatus).Signal())
			var before []string
			if point != faults.Built && point != faults.Swapped && point != faults.Claimed {
				before = ask(t, dir, loads)
				require.NotEmpty(t, before)
			}
			out := lakeOutput(t, dir, "load", "job.yaml")
			require.Contains(t, out, fmt.Sprintf("loaded %d rows", loadDates-len(before)), "exactly the rest")
			after := ask(t, dir, loads)
			require.Len(t, after, loadDates)
			require.Subset(t, after, before, "what was there was not loaded again")
			require.Equal(t, []string{fmt.Sprintf("%d %d %d", loadDates, loadDates, loadDates*(loadDates-1)/2)}, ask(t, dir, "SELECT count(*), count(DISTINCT dt), CAST(sum(n) AS BIGINT) FROM events"))
			require.Equal(t, loadDates, strings.Count(lakeOutput(t, dir, "tables", "scan", "k.events_loads", "--columns", "partition", "--format", "jsonl"), "partition"))
			require.Contains(t, lakeOutput(t, dir, "load", "job.yaml"), fmt.Sprintf("loaded 0 rows in 0 partitions, %d there already", loadDates))
			require.Contains(t, lakeOutput(t, dir, "audit", "job.yaml"), "all agrees")
		})
	}
}

// Two loaders at once: one works, the other ends with 75.
func TestTwoLoaders(t *testing.T) {
	if !duckdb.Available {
		t.Log("without DuckDB (CGO_ENABLED=0) there is nothing to load into here")
		return
	}
	dir := newLoadJob(t)
	first := lakeCommand(dir, "load", "job.yaml")
	first.Env = append(os.Environ(), "LAKE_STOP_AT="+faults.Replaced+":3")
	var stderr bytes.Buffer
	first.Stderr = &stderr
	require.NoError(t, first.Start())
	var status syscall.WaitStatus
	_, err := syscall.Wait4(first.Process.Pid, &status, syscall.WUNTRACED, nil)
	require.NoError(t, err)
	require.True(t, status.Stopped(), "%s", &stderr)
	var second *exec.ExitError
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "lake", "load", "job.yaml")
	cmd.Dir = dir
	require.ErrorAs(t, cmd.Run(), &second)
	require.Equal(t, exitHeld, second.ExitCode())
	require.NoError(t, first.Process.Signal(syscall.SIGTERM)) // while it stands still: it ends at the next date
	require.NoError(t, first.Process.Signal(syscall.SIGCONT))
	var ended *exec.ExitError
	require.ErrorAs(t, first.Wait(), &ended)
	require.Equal(t, exitRetry, ended.ExitCode(), "cut, the rest is left: %s", &stderr)
	noted := strings.Count(lakeOutput(t, dir, "tables", "scan", "k.events_loads", "--columns", "partition", "--format", "jsonl"), "partition")
	require.Less(t, noted, loadDates)
	require.GreaterOrEqual(t, noted, 3, "what is done is in the ledger")
	require.Contains(t, lakeOutput(t, dir, "load", "job.yaml"), fmt.Sprintf("loaded %d rows in %d partitions, %d there already", loadDates-noted, loadDates-noted, noted))
}

// Another engine deletes a row and leaves a delete file: what is loaded is what a
// reader of the table sees.
func TestLoadWithoutDeletedRows(t *testing.T) {
	if !duckdb.Available {
		t.Log("without DuckDB (CGO_ENABLED=0) there is nothing to load into here")
		return
	}
	dir := newLoadJob(t)
	two := `{"n": 107, "ts": "2021-11-08T01:00:00Z"}` + "\n" + `{"n": 108, "ts": "2021-11-08T02:00:00Z"}` + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "in", "b.jsonl"), []byte(two), 0o644))
	lakeOutput(t, dir, "ingest", "job.yaml")
	require.Contains(t, lakeOutput(t, dir, "load", "job.yaml"), "loaded 27 rows in 25 partitions")
	deleteRow(t, filepath.Join(dir, "warehouse"), 107, icebergtable.WriteModeMergeOnRead) // the file has another row, too
	require.Contains(t, lakeOutput(t, dir, "load", "job.yaml"), "loaded 2 rows in 1 partition, 24 there already")
	require.Equal(t, []string{"7", "108"}, ask(t, dir, "SELECT n FROM events WHERE dt = DATE '2021-11-08' ORDER BY n"))
	require.Contains(t, lakeOutput(t, dir, "load", "job.yaml"), "loaded 0 rows in 0 partitions, 25 there already")
	out := lakeOutput(t, dir, "audit", "job.yaml")
	require.Contains(t, out, "another engine has deleted some")
	require.Contains(t, out, "all agrees")
}

// Somebody deletes rows of the table past lake and no file tells of it: the audit
// knows how many the source's records became, and names the first date that lacks some.
func TestAuditDates(t *testing.T) {
	dir := newLoadJob(t)
	audit := func() (out auditResult, code int) {
		cmd := lakeCommand(dir, "audit", "job.yaml", "--output", "json")
		text, _ := cmd.Output()
		require.NoError(t, json.Unmarshal(text, &out), "%s", text)
		return out, cmd.ProcessState.ExitCode()
	}
	out, code := audit()
	require.Equal(t, exitDone, code)
	require.Len(t, out.Source.Dates, loadDates)
	require.Len(t, out.Source.Partitions[0].Dates, loadDates)
	require.EqualValues(t, 1, out.Source.Partitions[0].Dates["2021-11-25"])
	deleteRow(t, filepath.Join(dir, "warehouse"), 9, icebergtable.WriteModeCopyOnWrite)
	deleteRow(t, filepath.Join(dir, "warehouse"), 7, icebergtable.WriteModeCopyOnWrite)
	out, code = audit()
	require.Equal(t, exitDifference, code)
	require.Equal(t, "2021-11-08", out.First)
	require.Equal(t, 2, out.Differences)
	require.Equal(t, auditDate{Date: "2021-11-08", Rows: 1, TableRows: 0, Differs: true}, out.Source.Dates[7])
	require.Empty(t, out.Source.Differs, "of the partition's records all became rows")
	code, said := exitOf(t, dir, "audit", "job.yaml")
	require.Equal(t, exitDifference, code)
	require.Regexp(t, `2021-11-10 +1 +0`, said)
}

// deleteRow deletes a row as an engine does that merges on read, or copies on write.
func deleteRow(t *testing.T, warehouse string, n int64, mode string) {
	db, err := sql.Open("sqlite", filepath.Join(warehouse, "catalog.db")+"?_pragma=busy_timeout(10000)")
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	mount, unmount := storage.Mount(storage.Local{Root: warehouse})
	defer unmount()
	catalog, err := icebergsql.NewCatalog("lake", db, icebergsql.SQLite, iceberg.Properties{"warehouse": storage.LocalURI(warehouse), storage.MountProperty: mount})
	require.NoError(t, err)
	ice, err := catalog.LoadTable(t.Context(), []string{"k", "events"})
	require.NoError(t, err)
	tx := ice.NewTransaction()
	require.NoError(t, tx.SetProperties(iceberg.Properties{icebergtable.WriteDeleteModeKey: mode}))
	require.NoError(t, tx.Delete(t.Context(), iceberg.EqualTo(iceberg.Reference("n"), n), nil))
	_, err = tx.Commit(t.Context())
	require.NoError(t, err)
}
