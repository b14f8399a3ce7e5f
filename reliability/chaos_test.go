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
	"lake/services/servicetest"
)

// TestChaos kills, suspends and restarts what there is at random moments, while
// records come in: processes, and from time to time the broker. Afterwards
// nothing is lost, nothing doubled. Once the processes share the partitions, once
// one owns all of them and the others are turned away, and in make chaos once
// they share and the catalog is a PostgreSQL that is killed, too.
//
// CHAOS_KILLS is how many kills (8, or 200 in make chaos), CHAOS_RUNS how often
// with a seed one higher, CHAOS_PROCESSES how many processes (2).
func TestChaos(t *testing.T) {
	kills := 8
	if long() {
		kills = 200
	}
	kills = number(t, "CHAOS_KILLS", kills)
	first := seed(t)
	for run := range uint64(number(t, "CHAOS_RUNS", 1)) {
		seed := first + run
		for _, name := range []string{"shared partitions", "one owner", "shared partitions, PostgreSQL"} {
			t.Run(fmt.Sprintf("%s, seed %d", name, seed), func(t *testing.T) {
				if name == "shared partitions, PostgreSQL" {
					onlyLong(t)
				}
				kafka := quickKafka(t)
				ctx := limited(t, 2*time.Minute+time.Duration(kills)*6*time.Second)
				c := &chaos{world: newWorld(t, kafka, lake(t), seed, partitions), kafka: kafka, random: rand.New(rand.NewPCG(seed, 3)),
					crew: make([]*node, number(t, "CHAOS_PROCESSES", 2))}
				switch name {
				case "shared partitions, PostgreSQL":
					c.postgres = servicetest.Postgres(t, services.Options{})
					c.catalog = c.postgres.URL()
					fallthrough
				case "shared partitions":
					c.share()
				}
				c.run(ctx, kills)
			})
		}
	}
}

// quickKafka is a broker of a test's own, which may be killed, and which misses
// a silent process after a second and a half.
func quickKafka(t *testing.T) *services.Kafka {
	return servicetest.Kafka(t, services.Options{Settings: map[string]string{"group.min.session.timeout.ms": "1000"}})
}

// share lets processes share the partitions: each is a shard.
func (w *world) share() {
	w.shared = true
	more := ""
	if w.catalog != "" {
		more = fmt.Sprintf("catalog: {postgres: %q}\n", w.catalog)
	}
	w.writeJob(sharedSource, more)
}

const sharedSource = ", partitioned_by: [user], session_timeout: 1500ms"

// chaos is a world whose processes are restarted as they end, as a scheduler does.
type chaos struct {
	*world
	kafka    *services.Kafka
	random   *rand.Rand
	postgres *services.Postgres // nil: the catalog is SQLite's
	crew     []*node
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
			if !c.shared {
				c.otherHost()
			}
			c.tend(ctx, "")
			c.feed(ctx, batch)
			c.wait(ctx, 300, 2500)
			c.crew[victim].signal(syscall.SIGCONT)
		case draw < 91 && c.postgres != nil:
			c.stats.Catalog++
			require.NoError(c.t, c.postgres.Kill())
			c.wait(ctx, 100, 1000)
			require.NoError(c.t, c.postgres.Restart(ctx))
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
