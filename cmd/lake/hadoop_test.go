package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"lake/services"
	"lake/services/servicetest"
)

// sparkHome is a virtual environment with pyspark, and its jars.
func sparkHome(t *testing.T) string {
	t.Helper()
	home := os.Getenv("LAKE_TEST_SPARK")
	if home == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("LAKE_TEST_SPARK is not set: run make test")
		}
		t.Skip("LAKE_TEST_SPARK is not set: make test makes a Python with pyspark where Maven is")
	}
	return home
}

// startSpark starts Spark SQL on a metastore's tables, which are hv.<name>. The
// function that it returns runs statements and returns their rows.
func startSpark(t *testing.T, metastore string) func(statements ...string) [][][]any {
	t.Helper()
	home := sparkHome(t)
	jars, err := filepath.Glob(filepath.Join(home, "jars", "iceberg-spark-runtime-*.jar"))
	require.NoError(t, err)
	require.Len(t, jars, 1)
	script, err := filepath.Abs("testdata/spark_hive.py")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Minute)
	cmd := exec.CommandContext(ctx, filepath.Join(home, "bin", "python"), script, metastore, jars[0])
	cmd.WaitDelay = 10 * time.Second
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "HADOOP_USER_NAME=spark")
	var said bytes.Buffer
	cmd.Stderr = &said
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = stdin.Close() // it ends with its input
		_ = cmd.Wait()
		cancel()
	})
	answers := bufio.NewReader(stdout)
	ask := func(statement string) (rows [][]any) {
		_, err := fmt.Fprintln(stdin, statement)
		for err == nil { // past what Java prints
			var line string
			line, err = answers.ReadString('\n')
			if text, ok := strings.CutPrefix(line, "ROWS "); ok {
				require.NoError(t, json.Unmarshal([]byte(text), &rows))
				return rows
			}
		}
		_ = cmd.Wait() // all that it said is there then
		require.NoError(t, err, "Spark ended at %s: %s", statement, &said)
		return nil
	}
	return func(statements ...string) (out [][][]any) {
		for _, statement := range statements {
			out = append(out, ask(statement))
		}
		return out
	}
}

// hadoopJob is killJob with its table on HDFS and its catalog in a metastore.
func hadoopJob(h *services.HDFS, m *services.Metastore) string {
	return strings.Replace(killJob, "table: {name: k.events, ", "table: {name: k.events, location: \"hdfs:///"+uuid.NewString()+"/events\", ", 1) +
		"catalog: {hive: {uri: \"" + m.URI() + "\"}}\ncompact: {min_files: 2}\n"
}

// onHDFS leads lake to an HDFS.
func onHDFS(t *testing.T, h *services.HDFS) {
	t.Helper()
	t.Setenv("HADOOP_CONF_DIR", h.ConfDir())
	t.Setenv("HADOOP_USER_NAME", "etl")
}

// requireUndisturbed wants of a job in dir what a run that nobody disturbed leaves.
func requireUndisturbed(t *testing.T, dir string) {
	t.Helper()
	good, want := undisturbed(t)
	requireSame(t, want.rows, sortedLines(lakeOutput(t, dir, "tables", "scan", "job.yaml", "--format", "jsonl")), "rows of the table")
	for _, rule := range []string{"crossed", "closed"} {
		requireSame(t, want.answers[rule], sortedLines(answersBySeq(t, dir, rule)...), "answers of "+rule)
	}
	requireSame(t, modelChanged(good, commitRows(t, dir)), answersBySeq(t, dir, "changed"), "answers of changed")
}

// A whole job on HDFS with the Hive Metastore as catalog: ingested, killed at
// random moments, ingested to its end; it has what an undisturbed run in a local
// folder has. Spark counts the same, appends, rewrites the files, and lake goes on.
func TestHadoop(t *testing.T) {
	sparkHome(t)
	h, m := servers.HDFS(t), servers.Metastore(t)
	onHDFS(t, h)
	spark := startSpark(t, m.URI()) // it comes up beside the kills
	good, want := undisturbed(t)
	dir := t.TempDir()
	writeKillInput(t, dir)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "job.yaml"), []byte(hadoopJob(h, m)), 0o644))
	kill(t, dir, 8, 6*time.Second)
	lakeOutput(t, dir, "ingest", "job.yaml")
	requireUndisturbed(t, dir)
	require.NoFileExists(t, filepath.Join(dir, "warehouse", "catalog.db"))
	require.NoDirExists(t, filepath.Join(dir, "warehouse", "checkpoints"))

	sum := int64(0)
	for _, r := range good {
		sum += r.N
	}
	count := func(rows int, sum int64) [][]any { return [][]any{{float64(rows), float64(rows), float64(sum)}} }
	const ask = "SELECT count(*), count(DISTINCT n), sum(n) FROM hv.k.events"
	got := spark(ask, "SELECT count(*) FROM hv.k.events_dead_letter",
		"INSERT INTO hv.k.events SELECT -n, user, ts, 'spark', dt FROM hv.k.events WHERE n <= 10",
		"CALL hv.system.rewrite_data_files(table => 'k.events', options => map('min-input-files', '2'))", ask)
	require.Equal(t, count(len(good), sum), got[0])
	require.Equal(t, [][]any{{float64(len(want.letters))}}, got[1])
	require.Greater(t, got[3][0][0].(float64), 1.0, "it rewrote some files")
	require.Equal(t, count(len(good)+10, sum-55), got[4])

	// A new file comes in; lake goes on from where it was.
	last := good[len(good)-1]
	var more bytes.Buffer
	for i := range 500 {
		line, err := json.Marshal(killRecord{N: int64(1_000_000 + i), User: last.User, TS: last.TS, Kind: "a"})
		require.NoError(t, err)
		fmt.Fprintf(&more, "%s\n", line)
		sum += int64(1_000_000 + i)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "in", "zz.jsonl"), more.Bytes(), 0o644))
	lakeOutput(t, dir, "ingest", "job.yaml")
	rows := func() []string {
		return sortedLines(lakeOutput(t, dir, "tables", "scan", "job.yaml", "--format", "jsonl"))
	}
	before := rows()
	require.Equal(t, len(good)+10+500, len(before))
	lakeOutput(t, dir, "compact", "job.yaml")
	requireSame(t, before, rows(), "rows of the table")
	lakeOutput(t, dir, "compact", "job.yaml", "--expire", "--grace", "0s")
	requireSame(t, before, rows(), "rows of the table")
	require.Equal(t, count(len(good)+10+500, sum-55), spark(ask)[0])
}

// Case 14 of the catalogue, on a whole job: the namenode restarts and the
// datanode is killed while it ingests. Runs that fail are worth a retry, and in
// the end nothing is lost and nothing is there twice.
func TestHadoopRestarts(t *testing.T) {
	h, m := servicetest.HDFS(t, services.Options{}), servicetest.Metastore(t, services.Options{})
	onHDFS(t, h)
	dir := t.TempDir()
	writeKillInput(t, dir)
	job := strings.Replace(hadoopJob(h, m), "max_records: 700", "max_records: 250", 1) // a disturbance has sixteen commits to come into
	require.NoError(t, os.WriteFile(filepath.Join(dir, "job.yaml"), []byte(job), 0o644))

	inputs, err := filepath.Glob(filepath.Join(dir, "in", "*"))
	require.NoError(t, err)
	third := len(inputs) / 3
	for _, name := range inputs { // a third for each disturbance
		require.NoError(t, os.Rename(name, filepath.Join(dir, filepath.Base(name))))
	}
	disturbed := 0
	disturb := func(hurt, mend func() error) {
		for _, name := range inputs[disturbed*third : (disturbed+1)*third] {
			require.NoError(t, os.Rename(filepath.Join(dir, filepath.Base(name)), name))
		}
		f := begin(t, dir, "ingest", "job.yaml")
		// Answers are delivered after commits: it is between two of them, and in no
		// certain place of what it does there.
		answers := func() int {
			files, err := filepath.Glob(filepath.Join(dir, "out", "*", "*.jsonl"))
			require.NoError(t, err)
			return len(files)
		}
		before := answers()
		require.Eventually(t, func() bool { return answers() > before+3 }, time.Minute, 5*time.Millisecond)
		require.NoError(t, hurt())
		disturbed++
		require.NoError(t, mend())
		if err := f.cmd.Wait(); err != nil {
			require.Equal(t, exitRetry, f.cmd.ProcessState.ExitCode(), "%s", f)
			t.Logf("it ended: %s", f)
		} else {
			t.Log("it went on to its end")
		}
	}
	disturb(h.KillNamenode, func() error { return h.RestartNamenode(t.Context()) })
	disturb(h.KillDatanode, func() error { return h.RestartDatanode(t.Context()) })
	disturb(m.Kill, func() error { return m.Restart(t.Context()) })
	require.Equal(t, 3, disturbed)
	lakeOutput(t, dir, "ingest", "job.yaml")
	requireUndisturbed(t, dir)
}
