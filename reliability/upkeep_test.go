package reliability

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Case 31: ingest, compaction, expiry, orphan clean-up and readers at the same
// time, with kills of the ingest and of the compaction. No reader meets a file
// that is gone, and at the end all is there once. The compaction recounts the
// rules of closed dates: a difference would end it with 1.
func TestUpkeepBesideIngest(t *testing.T) {
	t.Parallel()
	seed := seed(t)
	rounds := 5
	if long() {
		rounds = 40
	}
	ctx := limited(t, time.Minute+time.Duration(rounds)*10*time.Second)
	random := rand.New(rand.NewPCG(seed, 6))
	w := newWorld(t, servers.Kafka(t), lake(t), seed, partitions)
	w.expired = long()          // more than the hundred snapshots that are kept anyway
	w.stream.step = time.Minute // several dates, so that some close
	ingest := w.follow()
	w.feed(ctx, 800)
	w.untilRows(ctx, 500)
	for round := range rounds {
		w.feed(ctx, 800)
		compacting := w.start(nil, "compact", "--expire", "--grace", "5s")
		scanning := w.start(nil, "tables", "scan", "--format", "jsonl")
		switch round % 3 {
		case 1:
			require.NoError(t, pause(ctx, time.Duration(random.IntN(600))*time.Millisecond))
			compacting.kill()
			w.stats.Kills++
		case 2:
			require.NoError(t, pause(ctx, time.Duration(random.IntN(600))*time.Millisecond))
			ingest.kill()
			w.stats.Kills++
		}
		w.ends(ctx, compacting, exit0, killed)
		w.ends(ctx, scanning, exit0)
		if !ingest.running() { // killed, or its files were older than the grace
			w.ends(ctx, ingest, killed, retry)
			ingest = w.follow()
		}
		if round%4 == 0 {
			w.readersSeeWhole(ctx)
		}
	}
	ingest.signal(syscall.SIGTERM)
	w.ends(ctx, ingest, exit0, killed)
	w.seal(ctx)
	w.finish(ctx)
	w.ends(ctx, w.start(nil, "compact", "--expire", "--grace", "0s"), exit0)
	w.clean(ctx)
	w.report()
}

// readersSeeWhole reads the table while it is written to.
func (w *world) readersSeeWhole(ctx context.Context) {
	w.t.Helper()
	r, err := w.readTable(ctx, "r.events", rowColumns)
	require.NoError(w.t, err)
	var f findings
	for _, path := range r.Missing {
		f.add("missing file: %s", path)
	}
	f.history(w.stream, r)
	require.Empty(w.t, f, "%s", f)
}

// Case 31: lake load beside ingest, compaction, expiry and readers, and killed in
// the middle of it. At the end the warehouse has each row once.
func TestLoadBesideIngest(t *testing.T) {
	onlyLong(t)
	t.Parallel()
	seed := seed(t)
	binary := build(t, withDuckDB, nil)
	ctx := limited(t, 5*time.Minute)
	random := rand.New(rand.NewPCG(seed, 7))
	w := newWorld(t, servers.Kafka(t), binary, seed, partitions)
	w.stream.step = time.Minute
	w.writeJob("", "load: [{duckdb: {table: events}}]\n")
	ingest := w.follow()
	w.feed(ctx, 800)
	w.untilRows(ctx, 500)
	for round := range 9 {
		w.feed(ctx, 600)
		loading := w.start(nil, "load")
		compacting := w.start(nil, "compact", "--expire", "--grace", "30s")
		scanning := w.start(nil, "tables", "scan", "--format", "jsonl")
		if round%3 == 1 {
			require.NoError(t, pause(ctx, time.Duration(100+random.IntN(900))*time.Millisecond))
			loading.kill()
			w.stats.Kills++
		}
		if round%3 == 2 {
			ingest.kill()
			w.stats.Kills++
			ingest = w.follow()
		}
		w.ends(ctx, loading, exit0, killed)
		w.ends(ctx, compacting, exit0)
		w.ends(ctx, scanning, exit0)
	}
	w.untilRows(ctx, int64(w.good()))
	ingest.signal(syscall.SIGTERM)
	w.ends(ctx, ingest, exit0)
	w.seal(ctx)
	w.finish(ctx)
	w.ends(ctx, w.start(nil, "load"), exit0)
	w.clean(ctx)
	w.report()

	out, err := exec.CommandContext(ctx, python(t), "-c", `import duckdb, json, sys
print(json.dumps(duckdb.connect(sys.argv[1], read_only=True).sql('SELECT part, "off", "user" FROM events').fetchall()))`,
		filepath.Join(w.dir, "warehouse", "warehouse.duckdb")).Output()
	require.NoError(t, err)
	var rows [][3]int64
	require.NoError(t, json.Unmarshal(out, &rows))
	left := newModel(w.stream, w.sealed).rows
	for _, row := range rows {
		at := place{int32(row[0]), row[1]}
		require.Contains(t, left, at, "no such row, or twice")
		require.Equal(t, left[at].User, row[2])
		delete(left, at)
	}
	require.Empty(t, left, "not in the warehouse")
}
