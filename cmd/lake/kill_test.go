package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// killJob commits often, has a rule of each emit mode, and broken records among the good.
const killJob = `version: 1
name: killed
source: {files: {paths: ["in/*.jsonl"]}}
schema: {n: int64!, user: int64!, ts: timestamp!, kind: string}
time: {field: ts, zone: Asia/Kolkata, allowed_lateness: 10s}
table: {name: k.events, partition_by: [dt]}
commit: {max_records: 700}
dead_letter: {max_ratio: 100%}
rules:
  crossed:
    sql: SELECT user, COUNT(*) AS c, MAX(n) AS latest FROM events WHERE kind = 'a' GROUP BY user HAVING c >= 20
    emit: on_cross
    to: [{files: {path: out/crossed}}]
  changed:
    sql: SELECT user, COUNT(*) AS c, SUM(n) AS total FROM events WHERE kind = 'a' GROUP BY user HAVING c >= 15
    emit: on_change
    to: [{files: {path: out/changed}}]
  closed:
    sql: SELECT TIMESTAMP_BUCKET(ts, INTERVAL 1 MINUTE) AS w, user, COUNT(*) AS c FROM events GROUP BY 1, user HAVING c >= 3
    emit: on_close
    to: [{files: {path: out/closed}}]
`

// killRecord is a record of the kill test; the model reads it, too.
type killRecord struct {
	N    int64  `json:"n"`
	User int64  `json:"user"`
	TS   string `json:"ts"`
	Kind string `json:"kind"`
}

const killFiles, killRecords = 24, 500

// writeKillInput makes the input; every 97th record is broken. It returns the
// good records in the order in which they are read.
func writeKillInput(t *testing.T, dir string) (good []killRecord) {
	random := rand.New(rand.NewPCG(3, 5))
	start := time.Date(2021, 11, 30, 18, 20, 0, 0, time.UTC) // midnight in the zone is ten minutes later
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "in"), 0o755))
	n := int64(0)
	for file := range killFiles {
		var text bytes.Buffer
		for range killRecords {
			n++
			if n%97 == 0 {
				fmt.Fprintf(&text, `{"n":%d,"user":"nobody"`+"\n", n)
				continue
			}
			at := start.Add(time.Duration(n)*100*time.Millisecond - time.Duration(random.IntN(9000))*time.Millisecond)
			r := killRecord{N: n, User: random.Int64N(40), TS: at.Format("2006-01-02T15:04:05.000Z"), Kind: []string{"a", "b"}[random.IntN(2)]}
			line, err := json.Marshal(r)
			require.NoError(t, err)
			text.Write(append(line, '\n'))
			good = append(good, r)
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, "in", fmt.Sprintf("%03d.jsonl", file)), text.Bytes(), 0o644))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "job.yaml"), []byte(killJob), 0o644))
	return good
}

// undisturbed is what the kill tests compare with: the good records, and what a run
// of killJob in a local folder makes of them. It is made once.
func undisturbed(t *testing.T) ([]killRecord, outcome) {
	t.Helper()
	calm.Do(func() {
		dir := t.TempDir()
		calm.good = writeKillInput(t, dir)
		lakeOutput(t, dir, "ingest", "job.yaml")
		calm.want = readOutcome(t, dir)
	})
	require.Equal(t, len(calm.good), len(calm.want.rows))
	require.NotEmpty(t, calm.good, "the run of another test failed")
	return calm.good, calm.want
}

var calm struct {
	sync.Once
	good []killRecord
	want outcome
}

// outcome is all that a job left behind, in a form that can be compared.
type outcome struct {
	rows, letters []string            // sorted
	answers       map[string][]string // by rule, sorted
}

// requireOutcome wants what an undisturbed run leaves.
func requireOutcome(t *testing.T, want, got outcome) {
	t.Helper()
	requireSame(t, want.rows, got.rows, "rows of the table")
	requireSame(t, want.letters, got.letters, "dead letters")
	for _, rule := range []string{"crossed", "closed"} {
		requireSame(t, want.answers[rule], got.answers[rule], "answers of "+rule)
	}
}

// requireSame compares texts of which there are thousands: what it shows are some of those
// that differ, and how many do.
func requireSame(t *testing.T, want, got []string, what string) {
	t.Helper()
	if slices.Equal(want, got) {
		return
	}
	left := map[string]int{}
	for _, text := range want {
		left[text]++
	}
	var missing, surplus []string
	for _, text := range got {
		if left[text]--; left[text] < 0 {
			surplus = append(surplus, text)
		}
	}
	for _, text := range want {
		if left[text] > 0 {
			left[text]--
			missing = append(missing, text)
		}
	}
	some := func(texts []string) string { return fmt.Sprintf("%d: %.200q", len(texts), texts[:min(len(texts), 5)]) }
	require.Failf(t, what, "%d and not %d, or in another order; missing are %s; too many are %s", len(got), len(want), some(missing), some(surplus))
}

func readOutcome(t *testing.T, dir string) outcome {
	o := outcome{answers: map[string][]string{}}
	o.rows = sortedLines(lakeOutput(t, dir, "tables", "scan", "job.yaml", "--format", "jsonl"))
	o.letters = sortedLines(lakeOutput(t, dir, "tables", "scan", "k.events_dead_letter", "--columns", "partition,offset,stage,reason,payload", "--format", "jsonl"))
	for _, rule := range []string{"crossed", "closed"} {
		o.answers[rule] = sortedLines(answersBySeq(t, dir, rule)...)
	}
	return o
}

// answersBySeq are the lines of a rule's output files, a text a file, in the order of the commits.
func answersBySeq(t *testing.T, dir, rule string) (texts []string) {
	files, err := filepath.Glob(filepath.Join(dir, "out", rule, "*.jsonl"))
	require.NoError(t, err)
	slices.Sort(files)
	for _, f := range files {
		data, err := os.ReadFile(f)
		require.NoError(t, err)
		texts = append(texts, string(data))
	}
	return texts
}

func sortedLines(texts ...string) (lines []string) {
	for _, text := range texts {
		for line := range strings.Lines(text) {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	slices.Sort(lines)
	return lines
}

func lakeCommand(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command("lake", args...)
	cmd.Dir = dir
	return cmd
}

func lakeOutput(t *testing.T, dir string, args ...string) string {
	cmd := lakeCommand(dir, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run(), "%v: %s", args, &stderr)
	return stdout.String()
}

// TestKill kills an ingest at twenty random moments and starts it again. The
// table, the dead letters and the answers of on_cross and on_close are those of
// an undisturbed run; those of on_change are the model's for the commits that
// the table recorded, and no commit answers twice.
func TestKill(t *testing.T) {
	calm, killed := t.TempDir(), t.TempDir()
	good := writeKillInput(t, calm)
	writeKillInput(t, killed)

	started := time.Now()
	lakeOutput(t, calm, "ingest", "job.yaml")
	whole := time.Since(started)
	want := readOutcome(t, calm)
	require.Equal(t, len(good), len(want.rows))
	require.Len(t, want.letters, killFiles*killRecords/97)
	require.NotEmpty(t, want.answers["crossed"])
	require.NotEmpty(t, want.answers["closed"])

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d; an undisturbed run takes %v", seed, whole)
	random := rand.New(rand.NewPCG(seed, 0))
	kills := 0
	for kills < 20 {
		cmd := lakeCommand(killed, "ingest", "job.yaml")
		var said bytes.Buffer
		cmd.Stderr = &said
		require.NoError(t, cmd.Start())
		// Early in the run most often, so that twenty runs do not come to the end.
		wait := time.Duration(random.Float64() * random.Float64() * float64(whole))
		timer := time.AfterFunc(wait, func() { _ = cmd.Process.Kill() })
		err := cmd.Wait()
		timer.Stop()
		var exit *exec.ExitError
		if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != -1) {
			t.Fatalf("the run failed of itself: %v: %s", err, &said)
		}
		kills++
	}
	lakeOutput(t, killed, "ingest", "job.yaml")
	got := readOutcome(t, killed)
	requireOutcome(t, want, got)
	for _, dir := range []string{calm, killed} {
		requireSame(t, modelChanged(good, commitRows(t, dir)), answersBySeq(t, dir, "changed"), "answers of changed")
	}
}

// commitRows is how many rows each commit of the table added, in order.
func commitRows(t *testing.T, dir string) (rows []int) {
	var history []struct {
		Added int `json:"added_rows"`
	}
	require.NoError(t, json.Unmarshal([]byte(lakeOutput(t, dir, "tables", "history", "job.yaml", "--output", "json")), &history))
	for _, h := range history {
		if h.Added > 0 {
			rows = append(rows, h.Added)
		}
	}
	return rows
}

// modelChanged is what on_change must say: at each commit, in the order in
// which the commit touched them, the users whose answer holds and changed.
func modelChanged(good []killRecord, commits []int) (texts []string) {
	type group struct{ count, total int64 }
	groups := map[int64]*group{}
	for _, n := range commits {
		var touched []int64
		for _, r := range good[:n] {
			if r.Kind != "a" {
				continue
			}
			if groups[r.User] == nil {
				groups[r.User] = &group{}
			}
			if !slices.Contains(touched, r.User) {
				touched = append(touched, r.User)
			}
			groups[r.User].count++
			groups[r.User].total += r.N
		}
		good = good[n:]
		var text bytes.Buffer
		w := bufio.NewWriter(&text)
		for _, user := range touched {
			if g := groups[user]; g.count >= 15 {
				fmt.Fprintf(w, `{"user":%d,"c":%d,"total":%d}`+"\n", user, g.count, g.total)
			}
		}
		_ = w.Flush()
		if text.Len() > 0 {
			texts = append(texts, text.String())
		}
	}
	return texts
}
