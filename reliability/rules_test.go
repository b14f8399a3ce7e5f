package reliability

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const addedAt = 30 // records of a user, of the rule that is added

// TestRuleAdded: a rule is added to a job whose partitions two processes share.
// Each counts its partitions' past from the table; what crosses afterwards is
// answered once, what crossed before is not, and processes that come and go
// change nothing about it.
func TestRuleAdded(t *testing.T) {
	t.Parallel()
	ctx := limited(t, 3*time.Minute)
	w := newWorld(t, quickKafka(t), lake(t), seed(t), partitions)
	w.share()
	w.feed(ctx, 2000)
	w.both(ctx, false)
	before := append([]int(nil), w.stream.sent...)

	w.writeJob(sharedSource, `  added:
    sql: SELECT user, COUNT(*) AS c, SUM(off) AS total FROM events GROUP BY user HAVING c >= `+fmt.Sprint(addedAt)+`
    to: [{kafka: {topic: `+w.topic("added")+`, create: {partitions: 3}}}]
`)
	w.feed(ctx, 1000)
	w.both(ctx, true)
	w.seal(ctx)
	w.both(ctx, false)
	w.finish(ctx)
	w.clean(ctx)

	past, after := w.stream.added(before)
	require.NotEmpty(t, past, "some crossed in the past")
	got, err := readTopic(ctx, w.brokers, w.topic("added"))
	require.NoError(t, err)
	var f findings
	f.answers("added", after, got)
	require.Empty(t, f.String())
}

// both lets two processes read what there is; with a kill a third one takes the
// place of the first in the middle of it.
func (w *world) both(ctx context.Context, kill bool) {
	w.t.Helper()
	crew := []*node{w.follow(), w.follow()}
	if kill {
		h, err := w.head(ctx)
		require.NoError(w.t, err)
		w.untilRows(ctx, h.rows()+100)
		crew[0].kill()
		w.stats.Kills++
		crew[0] = w.follow()
	}
	w.untilRows(ctx, int64(w.good()))
	for _, n := range crew {
		n.signal(syscall.SIGTERM)
		w.ends(ctx, n, exit0, killed) // before it listens, where it has just begun
	}
}

// added are the answers of the added rule to the records before and after a cut.
func (s *stream) added(cut []int) (before, after []answer) {
	type group struct{ count, total int64 }
	groups := map[int64]group{}
	for p, part := range s.parts {
		for i, e := range part {
			if e.broken {
				continue
			}
			g := groups[e.User]
			g = group{g.count + 1, g.total + e.Off}
			groups[e.User] = g
			if g.count != addedAt {
				continue
			}
			a := answer{fmt.Sprint(e.User), fmt.Sprintf(`{"user":%d,"c":%d,"total":%d}`, e.User, g.count, g.total)}
			if i < cut[p] {
				before = append(before, a)
			} else {
				after = append(after, a)
			}
		}
	}
	sortAnswers(before)
	sortAnswers(after)
	return before, after
}

// TestRuleAddedAndRowsAstray: where a producer puts keys elsewhere than Kafka's
// usual partitioner does, the table does not tell partitions apart: a new rule is
// refused, and the old job goes on.
func TestRuleAddedAndRowsAstray(t *testing.T) {
	t.Parallel()
	ctx := limited(t, 2*time.Minute)
	w := newWorld(t, quickKafka(t), lake(t), seed(t), partitions)
	w.stream.users[0], w.stream.users[1] = w.stream.users[1], w.stream.users[0]
	w.share()
	w.feed(ctx, 500)
	w.both(ctx, false)
	w.writeJob(sharedSource, "  added:\n    sql: SELECT user, COUNT(*) AS c FROM events GROUP BY user\n    to: [{kafka: {topic: "+w.topic("changed")+"}}]\n")
	w.refuses(ctx, "Kafka's usual partitioner (murmur2) has for its user", config)
	w.share()
	w.seal(ctx)
	w.both(ctx, false)
	w.finish(ctx)
	w.clean(ctx)
	require.False(t, strings.Contains(w.nodes[len(w.nodes)-1].said.all(), "rebuilding"))
}
