package reliability

import (
	"context"
	"math/rand/v2"
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
