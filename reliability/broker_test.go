package reliability

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lake/faults"
	"lake/services"
	"lake/services/servicetest"
)

// Case 12: the broker is killed under load and comes back: a following process
// survives it, or ends with 5 and the next one goes on.
func TestBrokerRestarts(t *testing.T) {
	t.Parallel()
	ctx := limited(t, 4*time.Minute)
	kafka := servicetest.Kafka(t, services.Options{})
	w := newWorld(t, kafka, lake(t), seed(t), partitions)
	times := 1
	if long() {
		times = 4
	}
	n := w.follow()
	for range times {
		w.feed(ctx, 1500)
		w.untilRows(ctx, int64(w.good()-1000)) // in the middle of it
		require.NoError(t, kafka.Kill())
		require.NoError(t, pause(ctx, time.Second))
		require.NoError(t, kafka.Restart(ctx))
		w.stats.Broker++
		if !n.running() {
			w.ends(ctx, n, retry)
			n = w.follow()
		}
	}
	w.seal(ctx)
	n.signal(syscall.SIGTERM)
	w.ends(ctx, n, exit0, retry)
	w.finish(ctx)
	w.clean(ctx)
	w.report()
}

// Case 12: the broker is away when the process starts: it says so and ends with 5.
func TestBrokerAway(t *testing.T) {
	onlyLong(t)
	t.Parallel()
	ctx := limited(t, 3*time.Minute)
	kafka := servicetest.Kafka(t, services.Options{})
	w := newWorld(t, kafka, lake(t), seed(t), partitions)
	w.feed(ctx, 500)
	require.NoError(t, kafka.Kill())
	n := w.start(nil, "ingest")
	w.ends(ctx, n, retry)
	n.mentions(t, kafka.Brokers()[0])
	require.NoError(t, kafka.Restart(ctx))
	w.seal(ctx)
	w.finish(ctx)
	w.clean(ctx)
}

// Case 12: an output transaction times out. The owner sleeps with it open for
// longer than the transaction may last, the broker aborts it, the owner wakes up:
// it cannot commit it any more, and what it owes comes after the next start.
func TestTransactionTimesOut(t *testing.T) {
	onlyLong(t)
	t.Parallel()
	ctx := limited(t, 4*time.Minute)
	w := newWorld(t, servers.Kafka(t), lake(t), seed(t), partitions)
	w.feed(ctx, 2000)
	n := w.follow("LAKE_STOP_AT=" + faults.Sent + ":3")
	require.NoError(t, n.suspended(ctx))
	require.NoError(t, pause(ctx, 80*time.Second)) // a minute, and the broker's next look
	n.signal(syscall.SIGCONT)
	w.feed(ctx, 500)
	w.woken(ctx, n)
	w.seal(ctx)
	w.finish(ctx)
	w.clean(ctx)
}
