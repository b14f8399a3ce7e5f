package reliability

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the catalog, read behind lake's back
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	_ "modernc.org/sqlite" // as pgx
)

// broker is what the tests need of a Kafka: services.Kafka.
type broker interface{ Brokers() []string }

// world is a topic, a warehouse and the processes on them.
type world struct {
	t       testing.TB
	binary  string
	dir     string
	name    string // of the pipeline; ends the topics' names
	brokers []string
	client  *kgo.Client
	admin   *kadm.Client
	stream  *stream
	sealed  time.Time
	schema  string   // of the job
	env     []string // for every process
	nodes   []*node  // all that were started
	catalog string   // URL of a PostgreSQL; "" is the SQLite of the warehouse
	shared  bool     // processes share the partitions
	expired bool     // snapshots were: not all commits are known
	stats   stats
}

// stats is what a run went through.
type stats struct{ Kills, Stops, Broker, Catalog, Starts, TurnedAway int }

const partitions = 4

// jobText commits often, has a rule of each emit mode, and broken records among
// the good. What is between braces is filled in.
const jobText = `version: 1
name: {NAME}
source: {kafka: {brokers: [{BROKERS}], topics: [{EVENTS}], start: earliest, fetch: {max_partition_bytes: 9000}{SOURCE}}}
schema: {{SCHEMA}}
time: {field: ts, zone: Europe/Berlin, allowed_lateness: 10s, idle_after: 1h}
table: {name: r.events, partition_by: [dt]}
commit: {interval: 150ms, max_records: 400}
compact: {auto: false, snapshots: 1s, min_files: 2}
dead_letter: {max_ratio: 100%}
rules:
  crossed:
    sql: SELECT user, COUNT(*) AS c, MAX(off) AS latest FROM events WHERE kind = 'a' GROUP BY user HAVING c >= 20
    emit: on_cross
    to: [{kafka: {topic: {CROSSED}, create: {partitions: 3}}}]
  changed:
    sql: SELECT user, COUNT(*) AS c, SUM(off) AS total FROM events WHERE kind = 'a' GROUP BY user HAVING c >= 15
    emit: on_change
    to: [{kafka: {topic: {CHANGED}, create: {partitions: 3}}}]
  closed:
    sql: SELECT TIMESTAMP_BUCKET(ts, INTERVAL 1 MINUTE) AS w, user, COUNT(*) AS c FROM events GROUP BY 1, user HAVING c >= 3
    emit: on_close
    to: [{kafka: {topic: {CLOSED}, create: {partitions: 3}}}]
{MORE}`

// newWorld makes a topic and a job; nothing runs and nothing is in the topic.
func newWorld(t testing.TB, on broker, binary string, seed uint64, parts int) *world {
	w := &world{t: t, binary: binary, dir: t.TempDir(), brokers: on.Brokers(), stream: newStream(seed, parts),
		schema: "part: int32!, off: int64!, user: int64!, ts: timestamp!, kind: string"}
	w.name = strings.ToLower(fmt.Sprintf("w%x", time.Now().UnixNano()))
	var err error
	w.client, err = kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.UnknownTopicRetries(-1), kgo.ProducerBatchMaxBytes(8<<10), kgo.DisableClientMetrics()) // about a hundred records: commits fall anywhere
	require.NoError(t, err)
	w.admin = kadm.NewClient(w.client)
	_, err = w.admin.CreateTopic(t.Context(), int32(parts), 1, nil, w.topic("events"))
	require.NoError(t, err)
	w.writeJob("", "")
	t.Cleanup(func() {
		for _, n := range w.nodes {
			n.kill()
		}
		if t.Failed() {
			for _, n := range w.nodes[max(0, len(w.nodes)-3):] {
				t.Logf("%s said:\n%s", n.name, n.said)
			}
		}
		w.client.Close()
	})
	return w
}

func (w *world) topic(of string) string { return of + "-" + w.name }

// writeJob writes the job file; source and more are added to it.
func (w *world) writeJob(source, more string) {
	w.t.Helper()
	text := strings.NewReplacer("{NAME}", w.name, "{BROKERS}", `"`+strings.Join(w.brokers, `", "`)+`"`, "{SOURCE}", source, "{MORE}", more, "{SCHEMA}", w.schema,
		"{EVENTS}", w.topic("events"), "{CROSSED}", w.topic("crossed"), "{CHANGED}", w.topic("changed"), "{CLOSED}", w.topic("closed")).Replace(jobText)
	require.NoError(w.t, os.WriteFile(filepath.Join(w.dir, "job.yaml"), []byte(text), 0o644))
}

// feed grows the stream and writes it to the topic.
func (w *world) feed(ctx context.Context, n int) {
	w.t.Helper()
	w.stream.grow(n)
	require.NoError(w.t, w.stream.produce(ctx, w.client, w.topic("events")))
}

// seal writes the stream's last records.
func (w *world) seal(ctx context.Context) {
	w.t.Helper()
	w.sealed = w.stream.seal()
	require.NoError(w.t, w.stream.produce(ctx, w.client, w.topic("events")))
}

// start starts a process on the job.
func (w *world) start(env []string, args ...string) *node {
	w.t.Helper()
	w.stats.Starts++
	n, err := startNode(w.binary, w.dir, fmt.Sprintf("process %d (lake %s)", w.stats.Starts, strings.Join(args, " ")),
		slices.Concat(w.env, env), append(args, "job.yaml")...)
	require.NoError(w.t, err)
	w.nodes = append(w.nodes, n)
	return n
}

func (w *world) follow(env ...string) *node { return w.start(env, "ingest", "--follow") }

// ends waits for a process and wants one of the exit codes.
func (w *world) ends(ctx context.Context, n *node, codes ...int) int {
	w.t.Helper()
	code, err := n.exit(ctx)
	require.NoError(w.t, err)
	require.Contains(w.t, codes, code, "%s ended with %d: %s", n.name, code, n.said)
	return code
}

// finish reads the rest of the topic in an undisturbed run.
func (w *world) finish(ctx context.Context) {
	w.t.Helper()
	w.ends(ctx, w.start(nil, "ingest"), exit0)
}

// otherHost lets the next process run as on another machine, where the lock
// file of this one is not seen: what protects the table is its record.
func (w *world) otherHost() {
	w.t.Helper()
	err := os.RemoveAll(filepath.Join(w.dir, "warehouse", "locks"))
	require.NoError(w.t, err)
}

func (w *world) catalogFile() string { return filepath.Join(w.dir, "warehouse", "catalog.db") }

var errNoTable = errors.New("the catalog does not have the table yet")

// metadata is where the catalog says that the table's metadata lies, by plain SQL.
func (w *world) metadata(ctx context.Context, name string) (string, error) {
	namespace, table, _ := strings.Cut(name, ".")
	driver, source := "sqlite", "file:"+w.catalogFile()+"?mode=ro&_pragma=busy_timeout(10000)"
	if w.catalog != "" {
		driver, source = "pgx", w.catalog
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		return "", err
	}
	defer db.Close()
	var at string
	err = db.QueryRowContext(ctx, "SELECT metadata_location FROM iceberg_tables WHERE table_namespace = $1 AND table_name = $2", namespace, table).Scan(&at)
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w", errNoTable, name, err)
	}
	return at, nil
}

// head is what of the table's metadata tells how far it is.
type head struct {
	Properties map[string]string `json:"properties"`
	Current    int64             `json:"current-snapshot-id"`
	Snapshots  []struct {
		ID      int64             `json:"snapshot-id"`
		Summary map[string]string `json:"summary"`
	} `json:"snapshots"`
}

func (w *world) head(ctx context.Context) (h head, err error) {
	at, err := w.metadata(ctx, "r.events")
	if err != nil {
		return h, err
	}
	data, err := os.ReadFile(strings.TrimPrefix(at, "file://"))
	if err != nil {
		return h, err
	}
	return h, json.Unmarshal(data, &h)
}

// rows is the table's count of rows, by its newest snapshot; 0 where there is none.
func (h head) rows() (n int64) {
	for _, s := range h.Snapshots {
		if s.ID == h.Current {
			_, _ = fmt.Sscan(s.Summary["total-records"], &n)
		}
	}
	return n
}

// record is a shard's record as the table's property has it.
type record struct {
	Shard    string `json:"shard"`
	Epoch    int64  `json:"epoch"`
	Seq      int64  `json:"seq"`
	Ordinal  int64  `json:"ordinal"`
	CommitID string `json:"commit_id"`
	Blob     string `json:"blob"`
}

// record is the one record of a job whose process owns all partitions.
func (h head) record() (r record, err error) {
	for name, text := range h.Properties {
		if strings.HasPrefix(name, "lake.shard.") {
			return r, json.Unmarshal([]byte(text), &r)
		}
	}
	return r, errors.New("the table has no record")
}

// until waits for the table to be as wanted.
func (w *world) until(ctx context.Context, what string, want func(head) bool) {
	w.t.Helper()
	for {
		h, err := w.head(ctx)
		if err == nil && want(h) {
			return
		}
		stop := pause(ctx, 20*time.Millisecond)
		if !slices.ContainsFunc(w.nodes, (*node).running) {
			if h, err = w.head(ctx); err == nil && want(h) {
				return
			}
			stop = errors.New("every process has ended")
		}
		if stop != nil {
			said := ""
			for _, n := range w.nodes[max(0, len(w.nodes)-2):] {
				said += n.name + " said: " + n.said.String() + "\n"
			}
			require.NoError(w.t, stop, "waiting for %s; the table has %d rows (%v)\n%s", what, h.rows(), err, said)
		}
	}
}

// untilRows waits for so many rows.
func (w *world) untilRows(ctx context.Context, n int64) {
	w.t.Helper()
	w.until(ctx, fmt.Sprintf("%d rows", n), func(h head) bool { return h.rows() >= n })
}

// report logs what the world went through.
func (w *world) report() {
	ctx := limited(w.t, 10*time.Second)
	h, err := w.head(ctx)
	require.NoError(w.t, err)
	epoch := int64(0)
	for name, text := range h.Properties {
		var r record
		if strings.HasPrefix(name, "lake.shard.") && json.Unmarshal([]byte(text), &r) == nil {
			epoch += r.Epoch
		}
	}
	w.t.Logf("records %d, rows %d, lost 0, doubled 0; kills %d, suspensions %d, broker faults %d, catalog faults %d, processes %d (%d turned away), takeovers %d",
		w.stream.records(), h.rows(), w.stats.Kills, w.stats.Stops, w.stats.Broker, w.stats.Catalog, w.stats.Starts, w.stats.TurnedAway, epoch)
}

// largeBatches lets the producer write records of up to a megabyte.
func (w *world) largeBatches() {
	w.t.Helper()
	w.client.Close()
	var err error
	w.client, err = kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.UnknownTopicRetries(-1), kgo.DisableClientMetrics())
	require.NoError(w.t, err)
	w.admin = kadm.NewClient(w.client)
}
