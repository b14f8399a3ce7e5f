package ingest_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"lake/ingest"
	"lake/rules/tally"
)

var third = ruleText{"third", "SELECT user, COUNT(*) AS n FROM events GROUP BY user HAVING n >= 3", tally.OnCross}

// living are users whose key belongs to a partition of two, as a Kafka client says.
func living(partition int) (users []int) {
	by := kgo.StickyKeyPartitioner(nil).ForTopic("any")
	for user := 1; len(users) < 3; user++ {
		if by.Partition(&kgo.Record{Key: strconv.AppendInt(nil, int64(user), 10)}, 2) == partition {
			users = append(users, user)
		}
	}
	return users
}

// TestNewRuleOfASharedSource: where every row lies where its key's hash says, a
// new rule's groups are counted from the table, each in the shard that it belongs
// to, by whoever has the shard.
func TestNewRuleOfASharedSource(t *testing.T) {
	r := newRigOf(t, false)
	a, b := living(0), living(1)
	null := some("e/0", 3, 0)
	null.Records[0] = []byte(`{"ts":"2021-11-30T00:00:00Z"}`)
	null.Keys[0] = nil
	_, err := ingest.Run(t.Context(), r.sharing(&recorder{}, &played{t: t, count: 2, steps: []any{
		assign("e/0", "e/1"), some("e/0", 0, a[0], a[0], a[1]), null, some("e/1", 0, b[0], b[1], b[1], b[1])}}), nil)
	require.NoError(t, err)

	run := func(sink *recorder, backfill bool, steps ...any) {
		cfg := r.sharing(sink, &played{t: t, count: 2, steps: steps})
		cfg.Rules = r.config(nil, sink, third).Rules // in place of the one there was
		cfg.Backfill = backfill
		_, err := ingest.Run(t.Context(), cfg, nil)
		require.NoError(t, err)
	}
	one, other := &recorder{}, &recorder{}
	run(one, false, assign("e/0"), some("e/0", 4, a[1], a[0], a[1], a[0]))
	require.Equal(t, []string{fmt.Sprintf(`2 third {"user":%d,"n":3}`, a[0]), fmt.Sprintf(`2 third {"user":%d,"n":3}`, a[1])}, one.got, "in the order of their crossing")
	run(other, false, assign("e/1"), some("e/1", 4, b[1], b[0], b[2]))
	require.Empty(t, other.got, "%d crossed in the past, %d has two", b[1], b[0])
	run(other, false, assign("e/1", "e/0"), some("e/1", 7, b[0]), some("e/0", 8, a[1]))
	require.Equal(t, []string{fmt.Sprintf(`3 third {"user":%d,"n":3}`, b[0])}, seq(other.got, 3))

	// The next new rule answers for the past, with no record to come.
	late := &recorder{}
	cfg := r.sharing(late, &played{t: t, count: 2, steps: []any{assign("e/0", "e/1")}})
	cfg.Backfill = true
	_, err = ingest.Run(t.Context(), cfg, nil)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{
		fmt.Sprintf(`4 counted {"user":%d,"n":4}`, a[0]), fmt.Sprintf(`4 counted {"user":%d,"n":4}`, a[1]),
		fmt.Sprintf(`4 counted {"user":%d,"n":3}`, b[0]), fmt.Sprintf(`4 counted {"user":%d,"n":4}`, b[1])}, seq(late.got, 4), "no group of the NULL")
}

// seq are the answers of one commit: a recorder cannot tell what is delivered again.
func seq(got []string, n int) (of []string) {
	for _, line := range got {
		if strings.HasPrefix(line, fmt.Sprint(n, " ")) {
			of = append(of, line)
		}
	}
	return of
}

// TestAstrayRowsForbidANewRule: once a row lies elsewhere than its key's hash says,
// in whatever shard, the table cannot tell partitions apart, now or later.
func TestAstrayRowsForbidANewRule(t *testing.T) {
	a, b := living(0), living(1)
	for name, astray := range map[string]ingest.Batch{"in this shard": some("e/0", 1, b[0]), "in another one": some("e/1", 0, a[0])} {
		for _, unchecked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, unchecked %v", name, unchecked), func(t *testing.T) {
				r := newRig(t)
				run := func(rule ruleText, steps ...any) error {
					cfg := r.sharing(&recorder{}, &played{t: t, count: 2, steps: steps})
					cfg.Keys.Unchecked = unchecked
					cfg.Rules = r.config(nil, nil, rule).Rules
					cfg.Rules[0].Sinks = nil
					_, err := ingest.Run(t.Context(), cfg, nil)
					return err
				}
				require.NoError(t, run(counted, assign("e/0", "e/1"), some("e/0", 0, a[0]), astray))
				require.NoError(t, run(counted, assign("e/0", "e/1"), some("e/0", 2, a[0]), some("e/1", 1, b[0])))
				var changed *ingest.Changed
				err := run(third, assign("e/0"))
				require.ErrorAs(t, err, &changed)
				require.ErrorContains(t, err, "rule third was another, or not there")
				require.ErrorContains(t, err, "of source partition "+astray.Partition)
				require.ErrorContains(t, err, "give the job another name and table")
				require.NoError(t, run(counted, assign("e/0")), "the old one goes on")
			})
		}
	}
}

// TestRefusedRowsAreNotAstray: a record that does not become a row is in nobody's way.
func TestRefusedRowsAreNotAstray(t *testing.T) {
	r := newRig(t)
	a, b := living(0), living(1)
	wrong := some("e/0", 1, b[0])
	wrong.Keys[0] = []byte("another")
	_, err := ingest.Run(t.Context(), r.sharing(&recorder{}, &played{t: t, count: 2, steps: []any{assign("e/0"), some("e/0", 0, a[0], a[0]), wrong}}), nil)
	require.NoError(t, err)
	sink := &recorder{}
	cfg := r.sharing(sink, &played{t: t, count: 2, steps: []any{assign("e/0"), some("e/0", 3, a[0])}})
	cfg.Rules = r.config(nil, sink, third).Rules
	_, err = ingest.Run(t.Context(), cfg, nil)
	require.NoError(t, err)
	require.Equal(t, []string{fmt.Sprintf(`2 third {"user":%d,"n":3}`, a[0])}, sink.got)
}
