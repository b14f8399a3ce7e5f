package reliability

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lake/faults"
)

// A scene is a fault that one broken promise would turn into loss or doubles:
// the catalogue plays it with lake as it is, the mutations with that promise
// broken. It ends with everything read; what is wrong then is the checker's to say.
type scene func(ctx context.Context, w *world)

// play makes a world, plays the scene and returns what the checker found.
func play(t *testing.T, seed uint64, binary string, env []string, s scene) findings {
	ctx := limited(t, 3*time.Minute)
	w := newWorld(t, servers.Kafka(t), binary, seed, partitions)
	w.env = env
	s(ctx, w)
	return w.check(ctx)
}

// deadAt dies at a point of some commit, and goes on after that.
func deadAt(point string, nth int) scene {
	return func(ctx context.Context, w *world) {
		w.feed(ctx, 3000)
		w.ends(ctx, w.follow(fmt.Sprintf("LAKE_CRASH_AT=%s:%d", point, nth)), killed)
		w.feed(ctx, 1000)
		w.seal(ctx)
		w.complete(ctx)
	}
}

// complete reads to the end. A broken lake may refuse to: then the checker sees
// what there is.
func (w *world) complete(ctx context.Context) {
	w.t.Helper()
	w.ends(ctx, w.start(nil, "ingest"), exit0, retry, person, held)
}

// lateOwner is case 9 and 10: a process is suspended with a commit built and not
// sent, another one takes over and goes on, then the first wakes up.
func lateOwner(ctx context.Context, w *world) {
	w.feed(ctx, 3000)
	first := w.follow("LAKE_STOP_AT=" + faults.Built + ":2")
	require.NoError(w.t, first.suspended(ctx))
	w.otherHost()
	second := w.follow()
	w.untilRows(ctx, 2500)
	first.signal(syscall.SIGCONT)
	w.woken(ctx, first)
	second.signal(syscall.SIGTERM)
	w.ends(ctx, second, exit0, held)
	w.feed(ctx, 1000)
	w.seal(ctx)
	w.complete(ctx)
}

// woken lets a suspended process come to its end: turned away where it finds
// out, asked to stop where it does not.
func (w *world) woken(ctx context.Context, n *node) {
	w.t.Helper()
	patient, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	select {
	case <-n.done:
	case <-patient.Done():
		n.signal(syscall.SIGTERM)
	}
	w.ends(ctx, n, held, retry, exit0, person)
}

// wakesAtTakeover is case 10 at its narrowest: the first process wakes up when
// the second has taken over and committed nothing yet.
func wakesAtTakeover(ctx context.Context, w *world) {
	w.feed(ctx, 1000)
	before := w.follow()
	w.untilRows(ctx, 900)
	before.signal(syscall.SIGTERM)
	w.ends(ctx, before, exit0)
	w.feed(ctx, 2000)
	first := w.follow("LAKE_STOP_AT=" + faults.Built + ":2")
	require.NoError(w.t, first.suspended(ctx))
	w.otherHost()
	second := w.follow("LAKE_STOP_AT=" + faults.Polled)
	require.NoError(w.t, second.suspended(ctx))
	first.signal(syscall.SIGCONT)
	w.woken(ctx, first)
	second.signal(syscall.SIGTERM)
	second.signal(syscall.SIGCONT)
	w.ends(ctx, second, exit0, held)
	w.feed(ctx, 1000)
	w.seal(ctx)
	w.complete(ctx)
}

// cleanedMeanwhile is protocol point 8: the owner sleeps with files that no
// snapshot has, and a clean-up without grace deletes them.
func cleanedMeanwhile(ctx context.Context, w *world) {
	w.feed(ctx, 3000)
	first := w.follow("LAKE_STOP_AT=" + faults.Built + ":2")
	require.NoError(w.t, first.suspended(ctx))
	w.ends(ctx, w.start(nil, "compact", "--no-rules", "--expire", "--grace", "0s"), exit0)
	first.signal(syscall.SIGCONT)
	w.woken(ctx, first)
	w.feed(ctx, 1000)
	w.seal(ctx)
	w.complete(ctx)
}

// Case 9 and 10: the old owner finishes late. One process a time advances R.
func TestZombies(t *testing.T) {
	t.Parallel()
	seed := seed(t)
	binary := lake(t)
	for name, s := range map[string]scene{
		"wakes behind the new owner's commits": lateOwner,
		"wakes at the takeover":                wakesAtTakeover,
		"its files were cleaned up":            cleanedMeanwhile,
	} {
		t.Run(name, func(t *testing.T) {
			found := play(t, seed, binary, nil, s)
			require.Empty(t, found, "%s", found)
		})
	}
}

// Case 10, with an open transaction: the owner sleeps before it commits its
// answers, the next one delivers them.
func TestZombieInATransaction(t *testing.T) {
	t.Parallel()
	ctx := limited(t, 2*time.Minute)
	w := newWorld(t, servers.Kafka(t), lake(t), seed(t), partitions)
	w.feed(ctx, 2000)
	first := w.follow("LAKE_STOP_AT=" + faults.Sent + ":3")
	require.NoError(t, first.suspended(ctx))
	w.otherHost()
	w.feed(ctx, 1000)
	w.seal(ctx)
	w.finish(ctx)
	before := w.check(ctx)
	require.Empty(t, before, "with the first owner still asleep: %s", before)
	first.signal(syscall.SIGCONT)
	require.Equal(t, held, w.ends(ctx, first, held), "the transactional id is the new owner's")
	w.clean(ctx)
}

// Case 11: two processes at once on one pipeline that nothing divides, as two
// machines: each takeover ends the other's, and exactly one advances R.
func TestTwoOwners(t *testing.T) {
	t.Parallel()
	seed := seed(t)
	random := rand.New(rand.NewPCG(seed, 4))
	ctx := limited(t, 2*time.Minute)
	w := newWorld(t, servers.Kafka(t), lake(t), seed, partitions)
	w.feed(ctx, 500)
	owner := w.follow()
	w.untilRows(ctx, 400)
	for range 4 {
		w.otherHost()
		next := w.follow()
		for owner.running() { // it finds out at its next commit
			if !next.running() { // a commit of the owner came before its takeover
				w.ends(ctx, next, held)
				w.otherHost()
				next = w.follow()
			}
			w.feed(ctx, 100+random.IntN(300))
			require.NoError(t, pause(ctx, 50*time.Millisecond))
		}
		w.ends(ctx, owner, held)
		owner = next
	}
	w.seal(ctx)
	owner.signal(syscall.SIGTERM)
	w.ends(ctx, owner, exit0)
	w.finish(ctx)
	w.clean(ctx)
	w.report()
}

// Case 9: a rebalance in mid-commit. Two processes share the partitions; one is
// suspended with a commit built, for longer than the group waits for it; the
// other one takes its partitions over and goes on; the first wakes up and
// finishes late. It is fenced, begins anew and shares again.
func TestRebalanceInMidCommit(t *testing.T) {
	t.Parallel()
	seed := seed(t)
	ctx := limited(t, 3*time.Minute)
	w := newWorld(t, quickKafka(t), lake(t), seed, partitions)
	w.share()
	w.feed(ctx, 1500)
	times := 1
	if long() {
		times = 6
	}
	for round := range times {
		first := w.follow(fmt.Sprintf("LAKE_STOP_AT=%s:%d", faults.Built, 2+round%4))
		require.NoError(t, first.suspended(ctx))
		second := w.follow()
		w.feed(ctx, 500)
		w.untilRows(ctx, int64(w.good())) // the first one's partitions, too
		first.signal(syscall.SIGCONT)
		w.feed(ctx, 500)
		w.untilRows(ctx, int64(w.good()))
		require.True(t, first.running() && second.running(), "both go on: %s %s", first.said, second.said)
		first.mentions(t, "beginning anew") // it found out that it was late
		first.signal(syscall.SIGTERM)
		second.signal(syscall.SIGTERM)
		w.ends(ctx, first, exit0)
		w.ends(ctx, second, exit0)
		w.feed(ctx, 1000)
	}
	w.seal(ctx)
	w.finish(ctx)
	w.clean(ctx)
	w.report()
}

// Case 11: a run that loses the race of a takeover ends with 75, or with
// --standby waits until the other one is gone, and goes on.
func TestLostRaceOfATakeover(t *testing.T) {
	t.Parallel()
	for name, standby := range map[string]bool{"without standby": false, "with standby": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := limited(t, 3*time.Minute)
			w := begun(ctx, t, servers.Kafka(t))
			args := []string{"ingest", "--follow"}
			if standby {
				args = append(args, "--standby")
			}
			loser := w.start([]string{"LAKE_STOP_AT=" + faults.Built + ":1"}, args...)
			require.NoError(t, loser.suspended(ctx)) // with its takeover built
			w.otherHost()
			w.feed(ctx, 1000)
			winner := w.follow()
			w.untilRows(ctx, int64(w.good()))
			loser.signal(syscall.SIGCONT)
			if !standby {
				w.ends(ctx, loser, held)
			} else {
				for !strings.Contains(loser.said.all(), "another run took the job over; standing by") {
					require.NoError(t, pause(ctx, 10*time.Millisecond), loser.said)
				}
			}
			w.feed(ctx, 500)
			w.untilRows(ctx, int64(w.good())) // the winner is not disturbed
			require.True(t, winner.running())
			winner.kill()
			w.seal(ctx)
			if standby {
				w.untilRows(ctx, int64(w.good()))
				loser.signal(syscall.SIGTERM)
				w.ends(ctx, loser, exit0)
			}
			w.finish(ctx)
			w.clean(ctx)
		})
	}
}
