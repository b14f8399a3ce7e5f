package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/beltran/gohive"
	"github.com/stretchr/testify/require"

	"lake/faults"
	"lake/services"
	"lake/services/servicetest"
)

// inHive runs statements by gohive's own client and returns the cells of the last one, as text.
func inHive(t *testing.T, address string, statements ...string) (cells []string) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	conf := gohive.NewConnectConfiguration()
	conf.Username, conf.Password, conf.PollIntervalInMillis = "someone", "x", 50
	conn, err := gohive.Connect(host, number, "NONE", conf)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	for _, statement := range statements {
		cursor := conn.Cursor()
		cursor.Exec(t.Context(), statement)
		require.NoError(t, cursor.Err, statement)
		if strings.HasPrefix(statement, "SELECT") {
			for cursor.HasMore(t.Context()) {
				row := cursor.RowMap(t.Context())
				require.NoError(t, cursor.Err)
				cells = append(cells, fmt.Sprint(row["x"]))
			}
		}
		cursor.Close()
	}
	return cells
}

// A whole job: its table on HDFS, loaded into Hive. A killed load is gone on with, a
// second one does nothing, a late row loads its own date again, and the audit sees
// a row that somebody removed.
func TestLoadHive(t *testing.T) {
	h, hive := servicetest.HDFS(t, services.Options{}), servicetest.HiveServer(t, services.Options{})
	t.Setenv("HADOOP_CONF_DIR", h.ConfDir())
	t.Setenv("HADOOP_USER_NAME", "etl")
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "in"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	row := func(n int, day int) string {
		return fmt.Sprintf(`{"n": %d, "user": %d, "ts": "2021-11-%02dT10:00:00.5Z", "tags": ["a", "%d"]}`+"\n", n, n%2, day, n)
	}
	write("in/a.jsonl", row(1, 28)+row(2, 28)+row(3, 29)+row(4, 30))
	write("job.yaml", `version: 1
name: portal
source: {files: {paths: ["in/*.jsonl"]}}
schema: {n: int64!, user: int64!, ts: timestamp!, tags: list<string>}
time: {field: ts}
catalog: {sqlite: {}}
table: {name: k.events, location: "`+h.URI()+`/lake/events", partition_by: [dt]}
rules:
  busy: {sql: "SELECT user, COUNT(*) AS c FROM events GROUP BY user HAVING c >= 2", emit: on_cross}
load:
  - hive: {hiveserver: "`+hive.Address()+`", table: portal.events, location: "`+h.URI()+`/hive/events"}
  - hive: {hiveserver: "`+hive.Address()+`", table: portal.busy, location: "`+h.URI()+`/hive/busy", rule: busy}
`)
	lakeOutput(t, dir, "lint", "job.yaml")
	lakeOutput(t, dir, "ingest", "job.yaml")
	killed := lakeCommand(dir, "load", "job.yaml")
	killed.Env = append(os.Environ(), "LAKE_CRASH_AT="+faults.Pointed+":2")
	var exit *exec.ExitError
	require.ErrorAs(t, killed.Run(), &exit)
	require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal())
	lakeOutput(t, dir, "load", "job.yaml")
	const all = "SELECT CONCAT_WS(' ', CAST(dt AS STRING), CAST(COUNT(*) AS STRING), CAST(SUM(n) AS STRING), CAST(SUM(size(tags)) AS STRING)) AS x FROM portal.events GROUP BY dt ORDER BY x"
	require.Equal(t, []string{"2021-11-28 2 3 4", "2021-11-29 1 3 2", "2021-11-30 1 4 2"}, inHive(t, hive.Address(), all))
	require.Equal(t, []string{"0 2", "1 2"}, inHive(t, hive.Address(), "SELECT CONCAT_WS(' ', CAST(`user` AS STRING), CAST(c AS STRING)) AS x FROM (SELECT `user`, c FROM portal.busy) b ORDER BY x"))
	require.Contains(t, lakeOutput(t, dir, "load", "job.yaml"), "loaded 0 rows in 0 partitions, 3 there already")
	require.Contains(t, lakeOutput(t, dir, "audit", "job.yaml"), "all agrees")
	require.Regexp(t, `same +busy +2 +2 +0 +0`, lakeOutput(t, dir, "rules", "verify", "job.yaml"))
	require.JSONEq(t, `[{"user": 0, "c": 2}, {"user": 1, "c": 2}]`,
		"["+strings.Join(sortedLines(lakeOutput(t, dir, "rules", "run", "job.yaml", "--engine", "hive")), ",")+"]")

	write("in/b.jsonl", row(5, 29))
	lakeOutput(t, dir, "ingest", "job.yaml")
	require.Contains(t, lakeOutput(t, dir, "load", "job.yaml"), "loaded 2 rows in 1 partition, 2 there already")
	require.Equal(t, []string{"2021-11-28 2 3 4", "2021-11-29 2 8 4", "2021-11-30 1 4 2"}, inHive(t, hive.Address(), all))

	inHive(t, hive.Address(), "CREATE TABLE portal.kept STORED AS PARQUET AS SELECT n, `user`, ts, tags FROM portal.events WHERE dt = DATE '2021-11-28' AND n <> 2",
		"INSERT OVERWRITE TABLE portal.events PARTITION (dt = '2021-11-28') SELECT * FROM portal.kept")
	audit := lakeCommand(dir, "audit", "job.yaml")
	out, err := audit.Output()
	require.ErrorAs(t, err, &exit)
	require.Equal(t, exitDifference, exit.ExitCode(), "%s", out)
	require.Contains(t, string(out)+string(exit.Stderr), "2021-11-28")
	out, err = lakeCommand(dir, "rules", "verify", "job.yaml").Output()
	require.ErrorAs(t, err, &exit)
	require.Equal(t, exitDifference, exit.ExitCode(), "%s", out)
	require.Contains(t, string(out), `only here: {"user":0,"c":2}`)
	changed := lakeCommand(dir, "load", "job.yaml")
	_, err = changed.Output()
	require.ErrorAs(t, err, &exit)
	require.Equal(t, exitPerson, exit.ExitCode(), "changed past lake: %s", exit.Stderr)
	require.Contains(t, string(exit.Stderr), "2021-11-28")
	lakeOutput(t, dir, "load", "job.yaml", "--force", "--from", "2021-11-28", "--to", "2021-11-29")
	require.Contains(t, lakeOutput(t, dir, "audit", "job.yaml"), "all agrees")

	require.NoError(t, hive.Kill())
	_, err = lakeCommand(dir, "load", "job.yaml").Output()
	require.ErrorAs(t, err, &exit)
	require.Equal(t, exitRetry, exit.ExitCode(), "%s", exit.Stderr)
	require.True(t, strings.Contains(string(exit.Stderr), "away"), "%s", exit.Stderr)
	require.NoError(t, hive.Restart(t.Context()))
	require.Contains(t, lakeOutput(t, dir, "load", "job.yaml"), "3 there already")
}
