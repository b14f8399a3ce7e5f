package reliability

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"lake/faults"
)

// Cases 1 to 8: killed at each named point. In make test one pipeline meets all
// of them, in an order drawn at random; in make chaos each point has a pipeline
// that meets it six times.
func TestCrashPoints(t *testing.T) {
	t.Parallel()
	seed := seed(t)
	random := rand.New(rand.NewPCG(seed, 2))
	if !long() {
		points := faults.Names()
		random.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
		crashes(t, seed, random, points)
		return
	}
	for i, point := range faults.Names() {
		t.Run(point, func(t *testing.T) {
			crashes(t, seed+uint64(i), random, []string{point, point, point, point, point, point})
		})
	}
}

// crashes starts lake once for each point, to die there, and then undisturbed.
func crashes(t *testing.T, seed uint64, random *rand.Rand, points []string) {
	ctx := limited(t, 5*time.Minute)
	w := newWorld(t, servers.Kafka(t), lake(t), seed, partitions)
	for _, point := range points {
		w.feed(ctx, 1500)
		// Opening an output is a transaction, too, and a takeover a commit: the
		// third time is the first batch, or behind it.
		at := fmt.Sprintf("%s:%d", point, 1+random.IntN(3))
		w.ends(ctx, w.follow("LAKE_CRASH_AT="+at), killed)
		w.stats.Kills++
	}
	w.seal(ctx)
	w.finish(ctx)
	w.clean(ctx)
	w.report()
}
