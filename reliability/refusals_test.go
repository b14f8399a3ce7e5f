package reliability

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"lake/services"
)

// begun is a world whose topic has 2,000 records that were read, and nothing runs.
func begun(ctx context.Context, t *testing.T, on broker) *world {
	w := newWorld(t, on, lake(t), seed(t), partitions)
	w.feed(ctx, 2000)
	w.pass(ctx, 1900)
	return w
}

// pass lets a process follow until the table has so many rows, and ends it.
func (w *world) pass(ctx context.Context, rows int64) {
	w.t.Helper()
	n := w.follow()
	w.untilRows(ctx, rows)
	n.signal(syscall.SIGTERM)
	w.ends(ctx, n, exit0)
}

// refuses wants a run to stop with one of the codes, to say why, and to leave
// the rows as they are.
func (w *world) refuses(ctx context.Context, why string, codes ...int) {
	w.t.Helper()
	before, err := w.head(ctx)
	require.NoError(w.t, err)
	n := w.start(nil, "ingest")
	w.ends(ctx, n, codes...)
	n.mentions(w.t, why)
	after, err := w.head(ctx)
	require.NoError(w.t, err)
	require.Equal(w.t, before.rows(), after.rows(), "nothing was written")
}

// Case 13: the topic was made anew.
func TestTopicRecreated(t *testing.T) {
	t.Parallel()
	ctx := limited(t, 2*time.Minute)
	w := begun(ctx, t, servers.Kafka(t))
	_, err := w.admin.DeleteTopic(ctx, w.topic("events"))
	require.NoError(t, err)
	for { // the broker deletes by and by
		if _, err = w.admin.CreateTopic(ctx, partitions, 1, nil, w.topic("events")); err == nil {
			break
		}
		require.NoError(t, pause(ctx, 50*time.Millisecond), err)
	}
	w.stream.sent = make([]int, partitions)
	w.client.PurgeTopicsFromClient(w.topic("events"))
	require.NoError(t, w.stream.produce(ctx, w.client, w.topic("events")), "even where the records are the same")
	w.refuses(ctx, "the source was", config)
}

// Case 13: another cluster stands at the address, with a topic of the same name.
func TestClusterRecreated(t *testing.T) {
	onlyLong(t)
	t.Parallel()
	ctx := limited(t, 2*time.Minute)
	w := begun(ctx, t, servers.Kafka(t))
	other, err := services.StartKafka(ctx, services.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, other.Close()) })
	again := newWorld(t, other, w.binary, 1, partitions)
	_, err = again.admin.CreateTopic(ctx, partitions, 1, nil, w.topic("events"))
	require.NoError(t, err)
	w.brokers = other.Brokers()
	w.writeJob("", "")
	w.refuses(ctx, "the source was", config)
}

// Case 13: retention has passed R.
func TestRetentionPassed(t *testing.T) {
	t.Parallel()
	ctx := limited(t, 2*time.Minute)
	w := begun(ctx, t, servers.Kafka(t))
	w.feed(ctx, 2000)
	deleted := kadm.Offsets{}
	for p := range w.stream.parts {
		deleted.AddOffset(w.topic("events"), int32(p), int64(len(w.stream.parts[p])-10), -1)
	}
	gone, err := w.admin.DeleteRecords(ctx, deleted)
	require.NoError(t, err)
	require.NoError(t, gone.Error())
	w.refuses(ctx, "by retention or deletion", person)
}

// Case 18: a file that the commit rests on is cut short. The run stops; with the
// file whole again it goes on.
func TestTruncatedFiles(t *testing.T) {
	t.Parallel()
	ctx := limited(t, 3*time.Minute)
	w := begun(ctx, t, servers.Kafka(t))
	w.feed(ctx, 1000)
	w.seal(ctx)
	h, err := w.head(ctx)
	require.NoError(t, err)
	r, err := h.record()
	require.NoError(t, err)

	blob := w.find(r.Blob)
	whole := truncate(t, blob)
	w.refuses(ctx, "checksum", person)
	require.NoError(t, os.WriteFile(blob, whole, 0o644))

	for _, s := range h.Snapshots {
		if s.ID == h.Current {
			list := w.findSnapshot(s.ID)
			whole = truncate(t, list)
			w.refuses(ctx, "", person, retry)
			require.NoError(t, os.WriteFile(list, whole, 0o644))
		}
	}

	data := w.find(".parquet")
	whole = truncate(t, data)
	compacting := w.start(nil, "compact", "--no-rules")
	w.ends(ctx, compacting, person, retry)
	after, err := w.head(ctx)
	require.NoError(t, err)
	require.Equal(t, h.rows(), after.rows(), "a compaction of a broken file commits nothing of it")
	require.NoError(t, os.WriteFile(data, whole, 0o644))

	w.finish(ctx)
	w.clean(ctx)
}

// truncate cuts a file in half and returns what it was.
func truncate(t *testing.T, path string) []byte {
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, whole[:len(whole)/2], 0o644))
	return whole
}

// find is a file of the warehouse whose name ends so; of the events' table where several do.
func (w *world) find(suffix string) (found string) {
	w.t.Helper()
	err := filepath.WalkDir(filepath.Join(w.dir, "warehouse"), func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, suffix) && !strings.Contains(path, "dead_letter") {
			found = path
		}
		return err
	})
	require.NoError(w.t, err)
	require.NotEmpty(w.t, found, suffix)
	return found
}

func (w *world) findSnapshot(id int64) string {
	w.t.Helper()
	found, err := filepath.Glob(filepath.Join(w.dir, "warehouse", "r", "events", "metadata", fmt.Sprintf("snap-%d-*.avro", id)))
	require.NoError(w.t, err)
	require.NotEmpty(w.t, found)
	return found[0]
}

// Case 32: another engine expires every snapshot but the newest, the orphans are
// cleaned up, and lake goes on; then the table is rolled back, and lake stops.
func TestExpiredAndRolledBack(t *testing.T) {
	t.Parallel()
	ctx := limited(t, 3*time.Minute)
	w := begun(ctx, t, servers.Kafka(t))
	w.expired = true
	w.change(ctx, "expire-all")
	w.ends(ctx, w.start(nil, "compact", "--no-rules", "--expire", "--grace", "0s"), exit0)
	w.change(ctx, "expire-all")
	h, err := w.head(ctx)
	require.NoError(t, err)
	require.Len(t, h.Snapshots, 1)
	old := h.Current
	w.feed(ctx, 1000)
	w.pass(ctx, int64(w.good()))
	h, err = w.head(ctx)
	require.NoError(t, err)

	w.feed(ctx, 500)
	w.change(ctx, "rollback-to", fmt.Sprint(old))
	w.refuses(ctx, "the table was rolled back", person)
	w.change(ctx, "set-current", fmt.Sprint(h.Current))
	w.seal(ctx)
	w.finish(ctx)
	w.clean(ctx)
}

// good counts the records that become rows.
func (w *world) good() (n int) {
	for _, part := range w.stream.parts {
		for _, e := range part {
			if !e.broken {
				n++
			}
		}
	}
	return n
}

// change changes the table's snapshots by pyiceberg.
func (w *world) change(ctx context.Context, what ...string) {
	w.t.Helper()
	script, err := filepath.Abs("testdata/change_table.py")
	require.NoError(w.t, err)
	out, err := exec.CommandContext(ctx, python(w.t), slices.Concat([]string{script, w.catalogFile(), "r.events"}, what)...).CombinedOutput()
	require.NoError(w.t, err, string(out))
}
