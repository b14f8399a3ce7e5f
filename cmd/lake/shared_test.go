package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"lake/services/servicetest"
)

const sharedJob = `version: 1
name: ${TOPIC}
source: {kafka: {brokers: ["${BROKERS}"], topics: ["${TOPIC}"], partitioned_by: [user], session_timeout: 6s}}
schema: {n: int64!, user: int64!}
table: {name: s.events}
commit: {interval: 200ms}
compact: {auto: false}
rules:
  crossed:
    sql: SELECT user, COUNT(*) AS c, MAX(n) AS latest FROM events GROUP BY user HAVING c >= 20
    to: [{kafka: {topic: "${TOPIC}-crossed"}}]
`

// follower is a lake that runs beside the test, and most often follows its source.
type follower struct {
	cmd *exec.Cmd
	log string // a file
}

func (f *follower) said() string {
	text, err := os.ReadFile(f.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// String is the end of it, for a message: without what is for debugging, which is pages.
func (f *follower) String() string {
	var lines strings.Builder
	for line := range strings.Lines(f.said()) {
		if !strings.Contains(line, " level=DEBUG ") {
			lines.WriteString(line)
		}
	}
	return servicetest.Tail(lines.String())
}

func follow(t *testing.T, dir string) *follower {
	return begin(t, dir, "ingest", "--follow", "--log-level", "debug", "job.yaml")
}

// begin starts a lake that ends with the test.
func begin(t *testing.T, dir string, args ...string) *follower {
	f := &follower{cmd: lakeCommand(dir, args...)}
	log, err := os.CreateTemp(t.TempDir(), "log")
	require.NoError(t, err)
	defer log.Close()
	f.log = log.Name()
	f.cmd.Stderr = log
	require.NoError(t, f.cmd.Start())
	t.Cleanup(func() {
		_ = f.cmd.Process.Kill()
		_ = f.cmd.Wait()
		if t.Failed() {
			t.Logf("lake %s said:\n%s", args[0], f)
		}
	})
	return f
}

func (f *follower) end(t *testing.T, how syscall.Signal) {
	require.NoError(t, f.cmd.Process.Signal(how))
	err := f.cmd.Wait()
	if how == syscall.SIGTERM {
		require.NoError(t, err, "%s", f)
	}
}

// sharedRig is a topic of four partitions and a model of what the job makes of it.
type sharedRig struct {
	t        *testing.T
	dir      string
	brokers  []string
	topic    string
	producer *kgo.Client
	sent     int64
	counts   map[int64]int
	crossed  []string // answers to come
}

func newSharedRig(t *testing.T, brokers []string, topic string) *sharedRig {
	createTopics(t, brokers, 4, topic)
	createTopics(t, brokers, 2, topic+"-crossed")
	r := &sharedRig{t: t, dir: t.TempDir(), brokers: brokers, topic: topic, counts: map[int64]int{}}
	var err error
	r.producer, err = kgo.NewClient(kgo.SeedBrokers(r.brokers...), kgo.DefaultProduceTopic(topic))
	require.NoError(t, err)
	t.Cleanup(r.producer.Close)
	t.Setenv("TOPIC", topic)
	t.Setenv("BROKERS", r.brokers[0])
	require.NoError(t, os.WriteFile(filepath.Join(r.dir, "job.yaml"), []byte(sharedJob), 0o644))
	return r
}

// send produces records of users that take turns.
func (r *sharedRig) send(n int) {
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	for range n {
		r.sent++
		user := r.sent * 7 % 61
		if r.counts[user]++; r.counts[user] == 20 {
			r.crossed = append(r.crossed, fmt.Sprintf(`{"user":%d,"c":20,"latest":%d}`, user, r.sent))
		}
		record := &kgo.Record{Key: strconv.AppendInt(nil, user, 10), Value: fmt.Appendf(nil, `{"n":%d,"user":%d}`, r.sent, user)}
		r.producer.Produce(ctx, record, func(_ *kgo.Record, err error) {
			if err != nil {
				r.t.Error(err)
			}
		})
	}
	require.NoError(r.t, r.producer.Flush(ctx))
}

// landed waits until all that was sent is in the table.
func (r *sharedRig) landed() {
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	for {
		// Not a process of its own: the followers need the cores.
		var said bytes.Buffer
		if run(ctx, []string{"status", filepath.Join(r.dir, "job.yaml"), "--output", "json"}, nil, &said, &said) == exitDone {
			var status struct{ Totals struct{ Records int64 } }
			require.NoError(r.t, json.Unmarshal(said.Bytes(), &status), "%s", &said)
			if status.Totals.Records == r.sent {
				return
			}
		} // or there is no table yet
		select {
		case <-ctx.Done():
			require.Failf(r.t, "not all records landed", "%s", &said)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// settled waits until the group is in no rebalance and its members have the same number of
// partitions each. Kills within a rebalance are for the real broker of package reliability: the
// fake one forgets a member whose session ends while it waits for a dead leader's assignment.
func (r *sharedRig) settled(members int) {
	client := kadm.NewClient(r.producer)
	require.Eventually(r.t, func() bool {
		groups, err := client.DescribeGroups(r.t.Context(), "lake-"+r.topic)
		group := groups["lake-"+r.topic]
		if err != nil || group.State != "Stable" || len(group.Members) != members {
			return false
		}
		for _, m := range group.Members {
			part, _ := m.Assigned.AsConsumer()
			if part == nil || len(part.Topics) != 1 || len(part.Topics[0].Partitions) != 4/members {
				return false
			}
		}
		return true
	}, time.Minute, 20*time.Millisecond, "the group did not settle")
}

func (r *sharedRig) check() {
	var got, want []string
	for line := range strings.Lines(lakeOutput(r.t, r.dir, "tables", "scan", "job.yaml", "--columns", "n", "--format", "jsonl")) {
		got = append(got, line)
	}
	for n := range r.sent {
		want = append(want, fmt.Sprintf("{\"n\":%d}\n", n+1))
	}
	slices.Sort(got)
	slices.Sort(want)
	requireSame(r.t, want, got, "each record is one row")
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	_, answers := committed(ctx, r.t, r.brokers, r.topic+"-crossed", len(r.crossed))
	slices.Sort(answers)
	slices.Sort(r.crossed)
	requireSame(r.t, r.crossed, answers, "each answer is there once")
}

// TestSeveralProcesses: processes come, go and are killed; each record lands
// once and each group answers once, wherever its partition is at the time.
func TestSeveralProcesses(t *testing.T) { onKafka(t, testSeveralProcesses) }

func testSeveralProcesses(t *testing.T, brokers []string) {
	r := newSharedRig(t, brokers, "several")
	first, second := follow(t, r.dir), follow(t, r.dir) // both find an empty warehouse
	r.send(500)
	r.landed()
	r.send(500)
	r.landed()
	r.settled(2)
	first.end(t, syscall.SIGKILL)
	r.send(500)
	third := follow(t, r.dir)
	r.landed()
	r.settled(2)
	second.end(t, syscall.SIGTERM)
	r.send(500)
	r.landed()
	third.end(t, syscall.SIGTERM)
	require.True(t, strings.Contains(second.said(), "took over"), "the second process had a part")
	require.Contains(t, lakeOutput(t, r.dir, "ingest", "job.yaml"), "0 records in", "nothing is read twice")
	r.check()
}

// TestFixedShares: tasks of a job that runs as several have each their part.
func TestFixedShares(t *testing.T) { onKafka(t, testFixedShares) }

func testFixedShares(t *testing.T, brokers []string) {
	r := newSharedRig(t, brokers, "fixed")
	r.send(800)
	for _, index := range []string{"1", "0"} {
		cmd := exec.Command("lake", "ingest", "job.yaml")
		cmd.Dir, cmd.Env = r.dir, append(os.Environ(), "CLOUD_RUN_TASK_COUNT=2", "CLOUD_RUN_TASK_INDEX="+index)
		said, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", said)
		require.NotContains(t, string(said), "800 records in")
		require.NotContains(t, string(said), " 0 records in")
	}
	r.landed()
	r.check()
}

// TestTopicMadeAnew: a topic that was deleted and made again stops the job, until
// somebody says where to go on.
func TestTopicMadeAnew(t *testing.T) { onKafka(t, testTopicMadeAnew) }

func testTopicMadeAnew(t *testing.T, brokers []string) {
	r := newSharedRig(t, brokers, "anew")
	r.send(40)
	require.Contains(t, lakeOutput(t, r.dir, "ingest", "job.yaml"), "40 records in = 40 rows landed")
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	require.NoError(t, err)
	defer client.Close()
	_, err = kadm.NewClient(client).DeleteTopic(t.Context(), "anew")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := kadm.NewClient(client).CreateTopic(t.Context(), 4, 1, nil, "anew")
		return err == nil
	}, 30*time.Second, 50*time.Millisecond)
	again, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic("anew"), kgo.UnknownTopicRetries(-1))
	require.NoError(t, err)
	defer again.Close()
	r.producer = again
	r.send(30)

	cmd := exec.Command("lake", "ingest", "job.yaml")
	cmd.Dir = r.dir
	said, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, exitConfig, exit.ExitCode(), "%s", said)
	require.Contains(t, string(said), "a topic that was made anew is read on with --reset-offsets")
	require.Contains(t, lakeOutput(t, r.dir, "ingest", "--reset-offsets", "earliest", "job.yaml"), "30 records in = 30 rows landed")
	require.Contains(t, lakeOutput(t, r.dir, "ingest", "job.yaml"), "0 records in")
	r.check()
}
