package reliability

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lake/faults"
	"lake/services"
)

// TestChaos kills, suspends and restarts what there is at random moments, while
// records come in: processes, and from time to time the broker. Afterwards
// nothing is lost, nothing doubled.
//
// CHAOS_KILLS is how many kills (12, or 200 in make chaos), CHAOS_RUNS how often
// with a seed one higher, CHAOS_PROCESSES how many processes (2).
func TestChaos(t *testing.T) { testChaos(t, "", partitions) }

// TestChaosShared is the same for processes that share the partitions: each kill,
// suspension or end moves some of them.
func TestChaosShared(t *testing.T) {
	testChaos(t, ", partitioned_by: [user], session_timeout: 6s", partitions)
}

func testChaos(t *testing.T, source string, partitions int) {
	kills := 12
	if long() {
		kills = 200
	}
	kills = number(t, "CHAOS_KILLS", kills)
	first := seed(t)
	for run := range uint64(number(t, "CHAOS_RUNS", 1)) {
		seed := first + run
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			// A broker of its own: it is killed, too.
			kafka, err := services.StartKafka(t.Context(), services.Options{})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, kafka.Close()) })
			ctx := limited(t, time.Minute+time.Duration(kills)*4*time.Second)
			w := newWorld(t, kafka, lake(t), seed, partitions)
			w.writeJob(source, "")
			c := &chaos{world: w, kafka: kafka, random: rand.New(rand.NewPCG(seed, 3)),
				crew: make([]*node, number(t, "CHAOS_PROCESSES", 2))}
			c.run(ctx, kills)
		})
	}
}

// chaos is a world whose processes are restarted as they end, as a scheduler does.
type chaos struct {
	*world
	kafka  *services.Kafka
	random *rand.Rand
	crew   []*node
}

// batch is how many records come in between two faults.
const batch = 400

func (c *chaos) run(ctx context.Context, kills int) {
	for c.stats.Kills < kills {
		c.tend(ctx, "")
		c.feed(ctx, batch)
		c.wait(ctx, 100, 1100)
		victim := c.random.IntN(len(c.crew))
		switch draw := c.random.IntN(100); {
		case draw < 55:
			c.crew[victim].kill()
			c.stats.Kills++
		case draw < 75: // at a point that the next process comes to, if it does
			names := faults.Names()
			at := fmt.Sprintf("%s:%d", names[c.random.IntN(len(names))], 1+c.random.IntN(6))
			c.crew[victim].kill()
			c.stats.Kills++
			c.tend(ctx, "LAKE_CRASH_AT="+at)
		case draw < 88: // another machine takes over, and this one wakes up
			c.stats.Stops++
			c.crew[victim].signal(syscall.SIGSTOP)
			c.otherHost()
			c.tend(ctx, "")
			c.feed(ctx, batch)
			c.wait(ctx, 300, 2500)
			c.crew[victim].signal(syscall.SIGCONT)
		case draw < 96 || !long(): // SIGTERM: a last commit, then the end
			c.crew[victim].signal(syscall.SIGTERM)
		case draw < 98:
			c.stats.Broker++
			require.NoError(c.t, c.kafka.Suspend())
			c.wait(ctx, 500, 3000)
			require.NoError(c.t, c.kafka.Resume())
		default:
			c.stats.Broker++
			require.NoError(c.t, c.kafka.Kill())
			c.wait(ctx, 100, 1000)
			require.NoError(c.t, c.kafka.Restart(ctx))
		}
	}
	c.seal(ctx)
	c.tend(ctx, "")
	good := newModel(c.stream, c.sealed)
	c.untilWhile(ctx, int64(len(good.rows)))
	for _, n := range c.crew {
		n.signal(syscall.SIGTERM)
		c.ended(ctx, n)
	}
	c.finish(ctx)
	c.clean(ctx)
	c.report()
}

// tend starts processes where there are none.
func (c *chaos) tend(ctx context.Context, env string) {
	for i, n := range c.crew {
		if n != nil && n.running() {
			continue
		}
		if n != nil {
			c.ended(ctx, n)
		}
		if env == "" {
			c.crew[i] = c.follow()
		} else {
			c.crew[i] = c.follow(env)
		}
		env = ""
	}
}

// ended wants that a process ended in one of the ways that are no failure of
// its own: killed, asked to, the job held by another one, or the broker away.
func (c *chaos) ended(ctx context.Context, n *node) {
	if c.ends(ctx, n, killed, exit0, held, retry) == held {
		c.stats.TurnedAway++
	}
}

// untilWhile restarts who ends until the table has so many rows.
func (c *chaos) untilWhile(ctx context.Context, rows int64) {
	for {
		h, err := c.head(ctx)
		if err == nil && h.rows() >= rows {
			return
		}
		c.tend(ctx, "")
		require.NoError(c.t, pause(ctx, 100*time.Millisecond), "%d of %d rows", h.rows(), rows)
	}
}

// wait lets the processes work for a time drawn at random, in milliseconds.
func (c *chaos) wait(ctx context.Context, least, most int) {
	require.NoError(c.t, pause(ctx, time.Duration(least+c.random.IntN(most-least))*time.Millisecond))
}
