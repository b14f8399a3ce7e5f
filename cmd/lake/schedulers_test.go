//go:build cgo

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
)

// deployed is a folder of deploy/.
func deployed(t *testing.T, path string) string {
	full, err := filepath.Abs(filepath.Join("..", "..", "deploy", path))
	require.NoError(t, err)
	return full
}

// nightly is a job with a row on each of some dates in Delhi, and an ingest of it.
func nightly(t *testing.T, dates ...string) (job string) {
	dir := t.TempDir()
	var rows strings.Builder
	for i, date := range dates {
		fmt.Fprintf(&rows, `{"n": %d, "ts": "%sT01:00:00+05:30"}`+"\n", i, date)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "in.jsonl"), []byte(rows.String()), 0o644))
	job = filepath.Join(dir, "nobroker.yaml")
	require.NoError(t, os.WriteFile(job, []byte(`version: 1
name: nightly
source: {files: {paths: ["*.jsonl"]}}
schema: {n: int64!, ts: timestamp!}
time: {field: ts, zone: Asia/Kolkata, max_future: 100000h}
table: {name: k.events, partition_by: [dt]}
rules: {odd: {sql: "SELECT n, ts FROM events WHERE MOD(n, 2) = 1", to: [{files: {path: out}}]}}
load: [{duckdb: {table: events}}]
`), 0o644))
	lakeOutput(t, dir, "ingest", job)
	return job
}

// loads are the lines of the ledger.
func loads(t *testing.T, job string) []string {
	return sortedLines(lakeOutput(t, filepath.Dir(job), "tables", "scan", "k.events_loads", "--warehouse", filepath.Join(filepath.Dir(job), "warehouse"), "--columns", "partition,rows", "--format", "jsonl"))
}

// The DAG as Airflow runs it: the tasks work on the run's data interval, a repeated
// run changes nothing, and what needs a person fails without a retry.
func TestAirflow(t *testing.T) {
	venv := os.Getenv("LAKE_TEST_AIRFLOW")
	if venv == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("LAKE_TEST_AIRFLOW is not set: run make test")
		}
		t.Skip("LAKE_TEST_AIRFLOW is not set: make test installs Airflow")
	}
	job := nightly(t, "2021-11-29", "2021-11-30", "2021-12-01")
	lake, err := exec.LookPath("lake")
	require.NoError(t, err)
	home := t.TempDir()
	airflow := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), filepath.Join(venv, "bin", "python"), args...)
		cmd.Env = append(os.Environ(), "AIRFLOW_HOME="+home, "AIRFLOW__CORE__LOAD_EXAMPLES=False", "AIRFLOW__CORE__DAGS_FOLDER="+deployed(t, "airflow"),
			"PYTHONDONTWRITEBYTECODE=1", "LAKE="+lake, "LAKE_JOB="+job)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := airflow(deployed(t, "airflow/lake_operator_test.py"))
	require.NoError(t, err, out)
	out, err = airflow("-m", "airflow", "db", "migrate")
	require.NoError(t, err, out)
	// The last whole interval before this time is 30 November in Delhi.
	night := []string{"-m", "airflow", "dags", "test", "lake_nobroker", "2021-12-01"}
	for range 2 {
		out, err = airflow(night...)
		require.NoError(t, err, out)
		require.Contains(t, out, "--from 2021-11-29T18:30:00+00:00 --to 2021-11-30T18:30:00+00:00")
		require.Equal(t, []string{`{"partition":"2021-11-30","rows":1}`}, loads(t, job))
	}
	ask(t, filepath.Dir(job), "DELETE FROM events")
	out, err = airflow(night...)
	require.Error(t, err, out)
	require.Contains(t, out, "lake ended with 7: failed and needs a person")
	require.Contains(t, out, "2021-11-30: the target has 0 rows and lake loaded 1")
	require.NotContains(t, out, "lake audit", "what depends on it does not run")
}

// Each line of the crontab as cron runs it: an environment of almost nothing, and a
// mail of what it prints.
func TestCron(t *testing.T) {
	job := nightly(t, "2021-11-29", "2021-11-30")
	// Its date is 1 December: that of the clock could change between two lines.
	date, err := exec.LookPath("date")
	require.NoError(t, err)
	programs := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(programs, "date"), []byte(`#!/bin/sh
if [ "$1" = -d ]; then when=$2; shift 2; fi
exec `+date+` -d "2021-12-01 $when" "$@"
`), 0o755))
	text, err := os.ReadFile(deployed(t, "cron/lake"))
	require.NoError(t, err)
	lake, err := exec.LookPath("lake")
	require.NoError(t, err)
	env := []string{"HOME=/", "LAKE_WAREHOUSE=" + filepath.Join(filepath.Dir(job), "warehouse")}
	setting := regexp.MustCompile(`^([A-Z_]+)=(.*)$`)
	line := regexp.MustCompile(`^(?:\S+\s+){5}lake\s+(.*)$`)
	ran := 0
	for text := range strings.Lines(string(text)) {
		text = strings.TrimSpace(text)
		if m := setting.FindStringSubmatch(text); m != nil && m[1] != "LAKE_WAREHOUSE" {
			if m[1] == "PATH" {
				m[2] = programs + ":" + filepath.Dir(lake) + ":" + m[2]
			}
			env = append(env, m[1]+"="+m[2])
		}
		m := line.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		ran++
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", strings.ReplaceAll(strings.ReplaceAll(m[1], `\%`, "%"), "/etc/lake/nobroker.yaml", job))
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s\n%s", m[1], out)
		require.Empty(t, string(out), m[1])
	}
	require.Equal(t, 4, ran)
	require.Equal(t, []string{`{"partition":"2021-11-30","rows":1}`}, loads(t, job))
}

// cloudRunJob is what of a Cloud Run job's file a container gets.
type cloudRunJob struct {
	Spec struct {
		Template struct {
			Spec struct {
				TaskCount int `yaml:"taskCount"`
				Template  struct {
					Spec struct {
						Containers []struct {
							Args []string `yaml:"args"`
						} `yaml:"containers"`
					} `yaml:"spec"`
				} `yaml:"template"`
			} `yaml:"spec"`
		} `yaml:"template"`
	} `yaml:"spec"`
}

// The jobs as Cloud Run runs them: log lines of JSON with a severity, a result file, and
// SIGTERM ten seconds before the end.
func TestCloudRun(t *testing.T) {
	job := nightly(t, "2021-11-29", "2021-11-30")
	run := func(file string) (cmd *exec.Cmd, log *bytes.Buffer, result string) {
		text, err := os.ReadFile(deployed(t, "cloudrun/"+file))
		require.NoError(t, err)
		var j cloudRunJob
		require.NoError(t, yaml.Unmarshal(text, &j))
		args := j.Spec.Template.Spec.Template.Spec.Containers[0].Args
		at := slices.Index(args, "/etc/lake/nobroker-kafka.yaml")
		require.Positive(t, at)
		args[at] = job
		result = filepath.Join(t.TempDir(), "result.json")
		cmd = lakeCommand(filepath.Dir(job), append(args, "--result-file", result)...)
		cmd.Env = append(os.Environ(), "CLOUD_RUN_JOB=lake", "CLOUD_RUN_TASK_INDEX=0", "CLOUD_RUN_TASK_COUNT=1", "CLOUD_RUN_TASK_ATTEMPT=0")
		log = &bytes.Buffer{}
		cmd.Stderr = log
		return cmd, log, result
	}
	structured := func(log []byte) (messages []string) {
		for lines := bufio.NewScanner(bytes.NewReader(log)); lines.Scan(); {
			var line struct{ Severity, Message, Time string }
			require.NoError(t, json.Unmarshal(lines.Bytes(), &line), "%s", lines.Text())
			require.Contains(t, []string{"DEBUG", "INFO", "WARNING", "ERROR"}, line.Severity)
			_, err := time.Parse(time.RFC3339Nano, line.Time)
			require.NoError(t, err)
			messages = append(messages, line.Message)
		}
		return messages
	}

	cmd, log, result := run("nightly.yaml")
	require.NoError(t, cmd.Run(), "%s", log)
	structured(log.Bytes())
	text, err := os.ReadFile(result)
	require.NoError(t, err)
	require.Contains(t, string(text), `"loaded":2,"current":0`)

	cmd, log, result = run("ingest.yaml")
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(job), "more.jsonl"), []byte(`{"n": 7, "ts": "2021-11-30T01:00:00+05:30"}`+"\n"), 0o644))
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	seven := func() string {
		return lakeOutput(t, filepath.Dir(job), "tables", "scan", job, "--where", "n = 7", "--columns", "n", "--format", "jsonl")
	}
	require.Eventually(t, func() bool { return seven() != "" }, time.Minute, 200*time.Millisecond)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-ended:
		require.NoError(t, err, "%s", log)
	case <-time.After(10 * time.Second):
		t.Fatal("SIGTERM did not end it within ten seconds")
	}
	structured(log.Bytes())
	text, err = os.ReadFile(result)
	require.NoError(t, err)
	require.Contains(t, string(text), `"command":"ingest"`)
	require.Equal(t, "{\"n\":7}\n", seven())
}
