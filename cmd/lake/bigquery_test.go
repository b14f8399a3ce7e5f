//go:build cgo

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"lake/faults"
	"lake/load/bigquery/bqtest"
	"lake/services"
	"lake/services/servicetest"
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

// The portal's whole way: from a Kafka topic into a table on Google Cloud Storage, and from
// there into BigQuery and, as far as that goes, another stand-in for it, which has no
// partitions. The loader is killed at each step. What BigQuery has is compared with what
// pyiceberg finds in the bucket; a late event reloads just its date, an audit finds
// rows that are gone, and exit codes and words are those that a person or a scheduler
// has to know.
func TestPortalIntoBigQuery(t *testing.T) {
	b := newBigQuery(t)
	gcs := servers.GCS(t)
	emulator := servicetest.BigQuery(t, services.Options{Settings: map[string]string{"BQEMU_GCS_LOCAL_ROOT": gcs.Data()}})
	const days = 24
	p := newPortalLoad(t, b.bucket+"/events", fmt.Sprintf(`catalog: {sqlite: {}}
load:
  - bigquery: {table: %[1]s.shop.events, location: EU, endpoint: %[2]q}
  - bigquery: {table: %[1]s.shop.paid_user, rule: paid_user, staging: "%[3]s/tmp", location: EU, endpoint: %[2]q}
  - bigquery: {table: %[4]s.copy.paid_user, rule: paid_user, staging: "%[3]s/tmp", location: US, endpoint: %[5]q}
`, b.Project(), b.Endpoint(), b.bucket, emulator.Project(), emulator.Endpoint()), days)
	p.killed(
		faults.Built, faults.Swapped, faults.Claimed, // of the claim
		faults.Replaced, faults.Replaced+":3",
		faults.ParquetBegun, // of the lines, once twenty are due; each run after it loads one more
		faults.Built+":2", faults.Staged+":2", faults.Swapped+":2",
		faults.Noted, faults.Noted+":2") // of the dates, and of the rule's answers
	lakeOutput(t, p.dir, "load", "job.yaml")
	loads := b.Loads()
	require.Len(t, loads, days+1, "a job a date, and one of the answers, whatever was repeated")
	require.True(t, strings.HasPrefix(loads[0].URIs[0], b.bucket+"/events/data/dt=2021-11-07/"), "%v", loads[0].URIs)
	compare := func() []string {
		files, err := filepath.Glob(filepath.Join(b.folder, "events", "metadata", "*.metadata.json"))
		require.NoError(t, err)
		properties, err := json.Marshal(map[string]string{"py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO", "gcs.service.host": gcs.Endpoint(), "gcs.oauth2.token": "none", "gcs.oauth2.token-expires-at": "4102444800000"})
		require.NoError(t, err)
		sums, paid := sumsOf(t, b.bucket+"/events/metadata/"+filepath.Base(slices.Max(files)), string(properties))
		require.Len(t, sums, days)
		require.Equal(t, sums, b.lines(t, strings.ReplaceAll(portalSums, "$T", "shop.events")))
		require.Equal(t, paid, b.lines(t, "SELECT \"user\" || ' ' || interactions_count FROM shop.paid_user ORDER BY 1"))
		require.Equal(t, paid, answersOf(t, emulator, "SELECT CONCAT(CAST(user AS STRING), ' ', CAST(interactions_count AS STRING)) FROM copy.paid_user ORDER BY 1"))
		return sums
	}
	audit := p.agrees(compare())
	require.Len(t, audit.Targets, 3)
	require.Len(t, audit.Targets[0].Partitions, days)
	again := lakeOutput(t, p.dir, "load", "job.yaml")
	require.Contains(t, again, fmt.Sprintf("loaded 0 rows in 0 partitions, %d there already", days))
	require.Equal(t, 3, strings.Count(again, "loaded 0 rows in 0 partitions"), again)

	p.send(portalEvent(1, 1, 20, "00:01:00", "Interaction"))
	lakeOutput(t, p.dir, "ingest", "job.yaml")
	require.Contains(t, lakeOutput(t, p.dir, "load", "job.yaml"), fmt.Sprintf("loaded 13 rows in 1 partition, %d there already", days-1))
	p.agrees(compare())

	for _, day := range []int{19, 11} {
		require.NoError(t, b.Write("shop", "events", fmt.Sprintf("2021-11-%02d", day), fmt.Sprintf("DELETE FROM shop.events WHERE user_id = %d", 1000*day+5)))
	}
	p.red("2021-11-11")
	code, said := exitOf(t, p.dir, "load", "job.yaml")
	require.Equal(t, exitPerson, code, said)
	require.Contains(t, said, "2021-11-11: the target has 11 rows and lake loaded 12")
	lakeOutput(t, p.dir, "load", "job.yaml", "--force", "--from", "2021-11-11", "--to", "2021-11-20")
	p.agrees(compare())

	p.send(portalEvent(1, 1, 20, "00:02:00", "View"))
	lakeOutput(t, p.dir, "ingest", "job.yaml")
	thirteen := "SELECT count(*) FROM shop.events WHERE dt = DATE '2021-11-20'"
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
		code, said := exitOf(t, p.dir, "load", "job.yaml")
		require.Equal(t, c.code, code, said)
		require.Contains(t, said, c.says)
		require.Contains(t, said, "shop.events$20211120")
		require.Equal(t, "[[13]]", b.ask(t, thirteen))
	}
	require.NoError(t, b.DropTable("shop", "events"))
	require.Contains(t, lakeOutput(t, p.dir, "load", "job.yaml"), fmt.Sprintf("in %d partitions", days), "a target made anew gets all")
	compare()
	require.Empty(t, objectsOf(t, filepath.Join(b.folder, "tmp")), "staging is clean")
}

// lines are a query's first cells.
func (b *bigQuery) lines(t *testing.T, query string) (lines []string) {
	rows, err := b.Texts(query)
	require.NoError(t, err)
	for _, row := range rows {
		lines = append(lines, row[0])
	}
	return lines
}

// answersOf are the first cells of a query's rows, of the emulator's REST API.
func answersOf(t *testing.T, s *services.BigQuery, query string) (lines []string) {
	body, err := json.Marshal(map[string]any{"query": query, "useLegacySql": false})
	require.NoError(t, err)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Endpoint()+"projects/"+s.Project()+"/queries", bytes.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	var answer struct {
		Rows []struct {
			F []struct {
				V string `json:"v"`
			} `json:"f"`
		} `json:"rows"`
	}
	require.NoError(t, json.Unmarshal(text, &answer), "%s", text)
	for _, row := range answer.Rows {
		lines = append(lines, row.F[0].V)
	}
	require.NotEmpty(t, lines, "%s", text)
	return lines
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
