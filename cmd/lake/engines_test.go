//go:build cgo

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"lake/faults"
	"lake/services"
	"lake/services/servicetest"
)

// One table on DuckDB, a Spark Thrift Server and an emulator of BigQuery: each answers
// the rules in its own SQL, and all answers are those that lake gives. Another table is
// not copied: the metastore that Spark reads gets it registered as it is.
func TestEngines(t *testing.T) {
	gcs := servers.GCS(t)
	for key, value := range gcs.Env() {
		t.Setenv(key, value)
	}
	bucket := "test-" + uuid.NewString()
	require.NoError(t, gcs.MakeBucket(t.Context(), bucket))
	emulator := servicetest.BigQuery(t, services.Options{Settings: map[string]string{"BQEMU_GCS_LOCAL_ROOT": gcs.Data()}})
	spark := servicetest.SparkThrift(t, services.Options{})
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "in"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	row := func(n, day int) string {
		return fmt.Sprintf(`{"n": %d, "user": "u%d", "score": %g, "id": "00112233-4455-6677-8899-aabbccddee%02x", "ts": "2021-11-%02dT%02d:10:00.5Z"}`+"\n", n, n%3, float64(n)/4, n, day, n%24)
	}
	var rows strings.Builder
	for n := 1; n <= 30; n++ {
		rows.WriteString(row(n, 28+n%3))
	}
	write("in/a.jsonl", rows.String())
	const job = `version: 1
name: NAME
source: {files: {paths: ["in/*.jsonl"]}}
schema: {n: int64!, user: string, score: float64, id: uuid, ts: timestamp!}
time: {field: ts}
table: {name: k.NAME, location: "DIR/NAME"PARTS}
catalog: {sqlite: {}}
rules:
  busy: {sql: "SELECT user, COUNT(*) AS c, MAX(n) AS most FROM NAME GROUP BY user HAVING c >= 3", emit: on_cross}
  days: {sql: "SELECT TIMESTAMP_BUCKET(ts, INTERVAL 1 DAY) AS day, COUNTIF(n > 5) AS c, AVG(score) AS mean FROM NAME GROUP BY 1 HAVING c > 0", emit: on_change}
  dates: {sql: "SELECT DATE(ts, 'Asia/Kolkata') AS day, COUNTIF(n > 5) AS c, AVG(score) AS mean FROM NAME GROUP BY 1 HAVING c > 0", emit: on_change}
  high: {sql: "SELECT n, user, ts FROM NAME WHERE score >= 5.5 AND user <> 'u0'"}
load:
`
	newJob := func(name, parts, targets string) {
		write(name+".yaml", strings.NewReplacer("NAME", name, "DIR", dir, "PARTS", parts).Replace(job)+targets)
		lakeOutput(t, dir, "lint", name+".yaml")
		lakeOutput(t, dir, "ingest", name+".yaml")
	}
	const rules = 4

	t.Run("copies", func(t *testing.T) {
		newJob("flat", `, partition_by: ["bucket(2, n)"]`, fmt.Sprintf(`  - duckdb: {table: flat}
  - bigquery: {table: %s.k.flat, staging: "gs://%s/tmp", location: US, endpoint: %q}
  - hive: {hiveserver: %q, table: k.flat, location: "file://%s/spark/flat"}
`, emulator.Project(), bucket, emulator.Endpoint(), spark.Address(), dir))
		lakeOutput(t, dir, "load", "flat.yaml")
		// TIMESTAMP_BUCKET, in days, is what the emulator does not have.
		code, out := exitOf(t, dir, "rules", "verify", "flat.yaml", "busy", "dates", "high")
		require.Equal(t, exitDone, code, out)
		require.Equal(t, 3*(rules-1), strings.Count(out, "  same "), out)
		for _, engine := range []string{"duckdb (duckdb flat)", "bigquery (bigquery lake-test.k.flat)", "spark (hive k.flat "} {
			require.Contains(t, out, engine)
		}
		code, out = exitOf(t, dir, "rules", "verify", "flat.yaml", "--engine", "duckdb,spark")
		require.Equal(t, exitDone, code, out)
		require.Equal(t, 2*rules, strings.Count(out, "  same "), out)
		here := sortedLines(lakeOutput(t, dir, "rules", "run", "flat.yaml", "busy"))
		require.Len(t, here, 3)
		require.Equal(t, here, sortedLines(lakeOutput(t, dir, "rules", "run", "flat.yaml", "busy", "--engine", "spark")))
		code, said := exitOf(t, dir, "rules", "run", "flat.yaml", "busy", "--engine", "hive")
		require.Equal(t, exitConfig, code, said)
		require.Contains(t, said, "--engine spark")

		inHive(t, spark.Address(), "CREATE TABLE k.less STORED AS PARQUET AS SELECT * FROM k.flat WHERE n <> 30", "INSERT OVERWRITE TABLE k.flat SELECT * FROM k.less")
		code, said = exitOf(t, dir, "rules", "verify", "flat.yaml", "busy", "--engine", "spark")
		require.Equal(t, exitDifference, code, said)
		require.Contains(t, said, `busy, only here: {"user":"u0","c":10,"most":30}`)
		require.Contains(t, said, `busy, only there: {"user":"u0","c":9,"most":27}`)
	})

	t.Run("registered", func(t *testing.T) {
		uri := spark.Metastore().URI()
		place := "file://" + dir + "/registered"
		newJob("events", ", partition_by: [dt]", fmt.Sprintf(`  - hive: {hiveserver: %q, table: k.events, format: iceberg, metastore: %q, catalog: lake, location: %q, grace: 1h}
compact: {min_files: 2}
`, spark.Address(), uri, place))
		for _, point := range []string{faults.Claimed, faults.Placed, faults.Pointed, faults.Replaced} {
			cmd := lakeCommand(dir, "load", "events.yaml")
			cmd.Env = append(os.Environ(), "LAKE_CRASH_AT="+point)
			var killed *exec.ExitError
			out, err := cmd.CombinedOutput()
			if point == faults.Replaced { // it is there since Pointed
				require.NoError(t, err, "%s", out)
				require.Contains(t, string(out), "1 found again")
				continue
			}
			require.ErrorAs(t, err, &killed, "%s: %s", point, out)
			require.Equal(t, syscall.SIGKILL, killed.Sys().(syscall.WaitStatus).Signal())
		}
		const ask = "SELECT CONCAT_WS(' ', CAST(dt AS STRING), CAST(COUNT(*) AS STRING), CAST(SUM(n) AS STRING)) AS x FROM lake.k.events GROUP BY dt ORDER BY x"
		has := func(want ...string) {
			t.Helper()
			require.Equal(t, want, inHive(t, spark.Address(), "REFRESH TABLE lake.k.events", ask))
		}
		agrees := func(dates int) {
			t.Helper()
			var out auditResult
			require.NoError(t, json.Unmarshal([]byte(lakeOutput(t, dir, "audit", "events.yaml", "--output", "json")), &out))
			require.Len(t, out.Targets[0].Partitions, dates)
			require.Empty(t, out.First)
		}
		has("2021-11-28 10 165", "2021-11-29 10 145", "2021-11-30 10 155")
		agrees(3)
		for _, path := range objectsOf(t, filepath.Join(dir, "registered")) {
			require.True(t, strings.HasSuffix(path, ".metadata.json"), "metadata, and no row: %s", path)
		}
		require.Contains(t, lakeOutput(t, dir, "load", "events.yaml"), "loaded 0 rows in 0 partitions, 1 there already")
		require.Equal(t, rules, strings.Count(lakeOutput(t, dir, "rules", "verify", "events.yaml"), "  same "))
		require.Equal(t, sortedLines(lakeOutput(t, dir, "rules", "run", "events.yaml", "busy", "--from", "2021-11-29")),
			sortedLines(lakeOutput(t, dir, "rules", "run", "events.yaml", "busy", "--from", "2021-11-29", "--engine", "spark")))

		// Late rows; then other files with the same rows, and the old ones are removed.
		write("in/b.jsonl", row(31, 30)+row(32, 30))
		lakeOutput(t, dir, "ingest", "events.yaml")
		has("2021-11-28 10 165", "2021-11-29 10 145", "2021-11-30 10 155")
		code, said := exitOf(t, dir, "audit", "events.yaml")
		require.Equal(t, exitDone, code, said)
		require.Contains(t, said, "2 ok with 20 rows, 1 not loaded yet")
		require.Contains(t, lakeOutput(t, dir, "load", "events.yaml"), "loaded 32 rows in 1 partition")
		all := []string{"2021-11-28 10 165", "2021-11-29 10 145", "2021-11-30 12 218"}
		has(all...)
		lakeOutput(t, dir, "compact", "events.yaml")
		require.Contains(t, lakeOutput(t, dir, "load", "events.yaml"), "loaded 32 rows in 1 partition")
		lakeOutput(t, dir, "compact", "events.yaml", "--expire", "--grace", "0s")
		has(all...)
		agrees(3)

		// Another engine changes what is registered: that is not the lake's table any more.
		inHive(t, spark.Address(), "DELETE FROM lake.k.events WHERE n = 4 OR n = 5")
		code, said = exitOf(t, dir, "audit", "events.yaml")
		require.Equal(t, exitDifference, code, said)
		require.Contains(t, said, "the first: 2021-11-29")
		code, said = exitOf(t, dir, "load", "events.yaml")
		require.Equal(t, exitPerson, code, said)
		require.Contains(t, said, "the target was changed past lake")
		lakeOutput(t, dir, "load", "events.yaml", "--force")
		has(all...)
		agrees(3)

		// The name is dropped, the files are the lake's; then somebody else has the name.
		inHive(t, spark.Address(), "DROP TABLE lake.k.events")
		require.Contains(t, lakeOutput(t, dir, "load", "events.yaml"), "loaded 32 rows in 1 partition")
		has(all...)
		inHive(t, spark.Address(), "DROP TABLE lake.k.events", "CREATE TABLE lake.k.events (n BIGINT) USING iceberg")
		code, said = exitOf(t, dir, "load", "events.yaml")
		require.Equal(t, exitPerson, code, said)
		require.Contains(t, said, "somebody else registered it")
	})
}
