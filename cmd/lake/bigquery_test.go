//go:build cgo

package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"lake/faults"
	"lake/load/bigquery/bqtest"
)

// bigQuery is a BigQuery that reads a bucket of the emulator of Google Cloud Storage.
type bigQuery struct {
	*bqtest.Server
	bucket string // gs://…
	folder string // where it lies
}

func newBigQuery(t *testing.T) *bigQuery {
	gcs := servers.GCS(t)
	for key, value := range gcs.Env() {
		t.Setenv(key, value)
	}
	name := "test-" + uuid.NewString()
	require.NoError(t, gcs.MakeBucket(t.Context(), name))
	s, err := bqtest.New(bqtest.Options{Buckets: gcs.Data()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return &bigQuery{s, "gs://" + name, filepath.Join(gcs.Data(), name)}
}

// job writes the load test's job with other targets, and ingests it.
func (b *bigQuery) job(t *testing.T, table, more, targets string) (dir string) {
	dir = newLoadJob(t)
	job := strings.Replace(loadJob, "load: [{duckdb: {table: events}}]", more+"load:\n"+strings.NewReplacer("TABLE", b.Project()+".shop", "HERE", "location: EU, endpoint: "+`"`+b.Endpoint()+`"`, "BUCKET", b.bucket).Replace(targets), 1)
	job = strings.Replace(job, "table: {", "table: {"+table, 1)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "job.yaml"), []byte(job), 0o644))
	return dir
}

func (b *bigQuery) ask(t *testing.T, query string) string {
	rows, err := b.Texts(query)
	require.NoError(t, err)
	return fmt.Sprint(rows)
}

// files are those of the bucket.
func (b *bigQuery) files(t *testing.T) (names []string) {
	require.NoError(t, filepath.WalkDir(b.folder, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, path)
		}
		return err
	}))
	return names
}

const bigQuerySums = "SELECT count(*), count(DISTINCT dt), CAST(sum(n) AS BIGINT) FROM shop."

func sums(n int) string { return fmt.Sprintf("[[%d %d %d]]", n, n, n*(n-1)/2) }

// A table that lies on this machine goes through staging, as Parquet, as JSON, and a
// rule's answers, too. The loader is killed, ended by lost replies, and run again: each
// date is one job that BigQuery did. An audit says so, and finds a row that is gone.
func TestLoadBigQuery(t *testing.T) {
	b := newBigQuery(t)
	dir := b.job(t, "", "rules:\n  odd:\n    sql: SELECT n, ts FROM events WHERE MOD(n, 2) = 1\n    to: [{files: {path: out}}]\n", `
  - bigquery: {table: TABLE.events, staging: "BUCKET/tmp", HERE, cluster_by: [n], labels: {team: growth}}
  - bigquery: {table: TABLE.lines, staging: "BUCKET/tmp", format: json, HERE}
  - bigquery: {table: TABLE.odd, rule: odd, staging: "BUCKET/tmp", HERE}
`)
	lakeOutput(t, dir, "lint", "job.yaml")
	require.Contains(t, lakeOutput(t, dir, "load", "job.yaml", "--dry-run"), fmt.Sprint(loadDates))
	require.Empty(t, b.Loads())
	for _, point := range []string{faults.Claimed, faults.Replaced + ":7"} {
		cmd := lakeCommand(dir, "load", "job.yaml")
		cmd.Env = append(os.Environ(), "LAKE_CRASH_AT="+point)
		var killed *exec.ExitError
		require.ErrorAs(t, cmd.Run(), &killed)
		require.Equal(t, syscall.SIGKILL, killed.Sys().(syscall.WaitStatus).Signal())
	}
	b.Fail(bqtest.Fault{Call: "jobs.insert", Skip: 3, Lost: true})
	b.Fail(bqtest.Fault{Call: "jobs.get", Skip: 20, Code: 503, Reason: "backendError"})
	lakeOutput(t, dir, "load", "job.yaml")
	require.Equal(t, sums(loadDates), b.ask(t, bigQuerySums+"events"))
	require.Equal(t, sums(loadDates), b.ask(t, bigQuerySums+"lines"))
	require.Equal(t, "[[12 144]]", b.ask(t, "SELECT count(*), CAST(sum(n) AS BIGINT) FROM shop.odd"))
	require.Equal(t, b.ask(t, "FROM shop.events ORDER BY n"), b.ask(t, "FROM shop.lines ORDER BY n"))
	loads := b.Loads()
	require.Len(t, loads, 2*loadDates+1, "a job a partition, whatever was repeated")
	for _, l := range loads {
		require.Equal(t, "DONE", l.State)
		require.Empty(t, l.Reason)
		require.True(t, strings.HasSuffix(l.ID, "_1"), l.ID)
	}
	require.Equal(t, "growth", loads[0].Labels["team"])
	require.Empty(t, b.files(t), "staging is clean")

	again := lakeOutput(t, dir, "load", "job.yaml")
	require.Equal(t, 2, strings.Count(again, fmt.Sprintf("loaded 0 rows in 0 partitions, %d there already", loadDates)), again)
	require.Len(t, b.Loads(), len(loads))
	require.Contains(t, lakeOutput(t, dir, "audit", "job.yaml"), "all agrees")
	require.Contains(t, lakeOutput(t, dir, "doctor", "job.yaml"), "jobs may run")
	require.Regexp(t, `same +odd +12 +12 +0 +0`, lakeOutput(t, dir, "rules", "verify", "job.yaml"))

	require.NoError(t, b.Write("shop", "events", "2021-11-07", "DELETE FROM shop.events WHERE n = 6"))
	var failed *exec.ExitError
	out, err := lakeCommand(dir, "audit", "job.yaml").Output()
	require.ErrorAs(t, err, &failed)
	require.Equal(t, exitDifference, failed.ExitCode())
	require.Contains(t, string(out), "2021-11-07")
	out, err = lakeCommand(dir, "load", "job.yaml").CombinedOutput()
	require.ErrorAs(t, err, &failed, "%s", out)
	require.Equal(t, exitPerson, failed.ExitCode(), "%s", out)
	require.Contains(t, string(out), "2021-11-07")
	lakeOutput(t, dir, "load", "job.yaml", "--force", "--from", "2021-11-07", "--to", "2021-11-08")
	require.Contains(t, lakeOutput(t, dir, "audit", "job.yaml"), "all agrees")
}

// A table on Google Cloud Storage is loaded from where it lies; a late row reloads
// just its date. Exit codes and words of what a person or a scheduler has to know.
func TestLoadBigQueryFromStore(t *testing.T) {
	b := newBigQuery(t)
	dir := b.job(t, `location: "`+b.bucket+`/events", `, "catalog: {sqlite: {}}\n", `
  - bigquery: {table: TABLE.events, HERE}
`)
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "warehouse"))) // it was ingested before it lay there
	lakeOutput(t, dir, "ingest", "job.yaml")
	lakeOutput(t, dir, "load", "job.yaml")
	require.Equal(t, sums(loadDates), b.ask(t, bigQuerySums+"events"))
	require.True(t, strings.HasPrefix(b.Loads()[0].URIs[0], b.bucket+"/events/data/dt=2021-11-01/"), "%v", b.Loads()[0].URIs)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "in", "late.jsonl"), []byte(`{"n": 100, "ts": "2021-11-05T01:00:00Z"}`+"\n"), 0o644))
	lakeOutput(t, dir, "ingest", "job.yaml")
	require.Contains(t, lakeOutput(t, dir, "load", "job.yaml"), "loaded 2 rows in 1 partition")
	require.Equal(t, "[[2]]", b.ask(t, "SELECT count(*) FROM shop.events WHERE dt = DATE '2021-11-05'"))
	require.Contains(t, lakeOutput(t, dir, "audit", "job.yaml"), "all agrees")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "in", "later.jsonl"), []byte(`{"n": 101, "ts": "2021-11-05T01:00:00Z"}`+"\n"), 0o644))
	lakeOutput(t, dir, "ingest", "job.yaml")
	for _, c := range []struct {
		fault bqtest.Fault
		code  int
		says  string
	}{
		{bqtest.Fault{Call: "job", Code: 403, Reason: "quotaExceeded", Message: "Quota exceeded: imports"}, exitRetry, "Quota exceeded: imports"},
		{bqtest.Fault{Call: "jobs.insert", Code: 401, Reason: "authError", Message: "Invalid Credentials"}, exitConfig, "gcloud auth"},
		{bqtest.Fault{Call: "job", Code: 400, Reason: "invalid", Message: "Error while reading data, row 5 File: gs://b/x"}, exitPerson, "row 5 File: gs://b/x"},
	} {
		b.Fail(c.fault)
		var failed *exec.ExitError
		out, err := lakeCommand(dir, "load", "job.yaml").CombinedOutput()
		require.ErrorAs(t, err, &failed, "%s", out)
		require.Equal(t, c.code, failed.ExitCode(), "%s", out)
		require.Contains(t, string(out), c.says)
		require.Contains(t, string(out), "shop.events$20211105")
		require.Equal(t, "[[2]]", b.ask(t, "SELECT count(*) FROM shop.events WHERE dt = DATE '2021-11-05'"))
	}
	require.NoError(t, b.DropTable("shop", "events"))
	require.Contains(t, lakeOutput(t, dir, "load", "job.yaml"), fmt.Sprintf("in %d partitions", loadDates), "a target made anew gets all")
	require.Equal(t, "[[3]]", b.ask(t, "SELECT count(*) FROM shop.events WHERE dt = DATE '2021-11-05'"))
}

// Lint says what BigQuery would refuse, with line and column.
func TestLintBigQuery(t *testing.T) {
	dir := newLoadJob(t)
	for target, says := range map[string]string{
		"{table: my-project.shop.events}":                                  "staging: is missing: the table lies on this machine",
		`{table: my-project.shop.events, staging: "gs://caseStudy/tmp"}`:   "names of buckets are lower-case",
		`{table: shop.events, staging: "gs://case-study/tmp"}`:             "project.dataset.table",
		`{table: my-project.shop.events, stagin: "gs://case-study/tmp"}`:   "stagin",
		`{table: my-project.shop.events, staging: "gs://b-b/t", rule: no}`: "there is no rule",
	} {
		job := strings.Replace(loadJob, "{duckdb: {table: events}}", "{bigquery: "+target+"}", 1)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "job.yaml"), []byte(job), 0o644))
		var failed *exec.ExitError
		out, err := lakeCommand(dir, "lint", "job.yaml").CombinedOutput()
		require.ErrorAs(t, err, &failed, "%s: %s", target, out)
		require.Equal(t, exitConfig, failed.ExitCode())
		require.Contains(t, string(out), says)
		require.Contains(t, string(out), "job.yaml:7:")
	}
}
