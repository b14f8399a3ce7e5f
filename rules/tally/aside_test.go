package tally

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"lake/rules"
)

// TestRowsWait compares counts by key and minute of rows that wait with those of one
// Tally, which never has rows wait: keys close together and far apart, windows in and
// out of order, HAVING, rows that WHERE cannot decide, and each kind of row for which
// all of them have to go into tables.
func TestRowsWait(t *testing.T) {
	minute := int64(60_000_000)
	near := func(r *rand.Rand) any { return r.Int64N(200) - 100 }
	inOrder := func(r *rand.Rand, i int) any { return int64(i)*minute/40 + r.Int64N(3*minute) - 5*minute }
	cases := []struct {
		name  string
		key   func(r *rand.Rand) any
		time  func(r *rand.Rand, i int) any
		width int64 // of windows; 0: a minute
		max   int64
		tryAt int
		waits bool
	}{
		{name: "near", key: near, time: inOrder, waits: true},
		{name: "far apart", waits: true, time: inOrder, key: func(r *rand.Rand) any {
			return []int64{math.MinInt64, math.MaxInt64, 0, -1, 7 << 40, r.Int64N(1 << 50)}[r.IntN(6)]
		}},
		{name: "before 1970", key: near, waits: true, time: func(r *rand.Rand, i int) any { return -int64(i)*minute/90 - 40*minute }},
		{name: "on the edges of windows", key: near, waits: true, time: func(r *rand.Rand, i int) any {
			return int64(i/50)*minute + r.Int64N(3) - 1 + 17
		}},
		{name: "a width whose inverse is rounded down", width: 49, key: near, waits: true, time: func(_ *rand.Rand, i int) any { return int64(i + 17) }},
		{name: "the first year", key: near, waits: true, time: func(_ *rand.Rand, i int) any { return int64(minTimestamp) + int64(i) }},
		{name: "the last year", key: near, waits: true, time: func(_ *rand.Rand, i int) any { return int64(maxTimestamp) - int64(i)*minute/60 }},
		{name: "a key of NULL", time: inOrder, key: func(r *rand.Rand) any {
			if r.IntN(1000) == 0 {
				return nil
			}
			return near(r)
		}},
		{name: "a time of NULL", key: near, time: func(r *rand.Rand, i int) any {
			if i == 2500 {
				return nil
			}
			return inOrder(r, i)
		}},
		{name: "a time of no window", key: near, time: func(r *rand.Rand, i int) any {
			if i == 2500 {
				return int64(maxTimestamp + 1)
			}
			return inOrder(r, i)
		}},
		{name: "few rows of a window", key: near, time: func(r *rand.Rand, _ int) any { return r.Int64N(20_000 * minute) }},
		{name: "windows far apart", key: near, time: func(_ *rand.Rand, i int) any { return int64(i%2) * minute << 20 }},
		{name: "few groups", time: inOrder, tryAt: 2000, key: func(r *rand.Rand) any { return r.Int64N(3) }},
		{name: "many groups", key: near, time: inOrder, tryAt: 2000, waits: true},
		{name: "more than the bound", key: near, time: inOrder, max: 1},
	}
	quotient := funcExpr{"7 / key < 8", boolType, func(get func(string) any) (any, error) {
		if user, ok := get("user").(int64); ok && user == 1 {
			return nil, errDivision
		}
		return true, nil
	}}
	for _, c := range cases {
		for seed := range uint64(6) {
			describe := fmt.Sprintf("%s, seed %d", c.name, seed)
			r := rand.New(rand.NewPCG(seed, 1))
			rule := byMinute(OnDemand, int64(seed%3))
			p := *rule.Plan
			p.Select = nil
			p.Window.Origin = 17
			if c.width > 0 {
				p.Window.Micros = c.width
			}
			p.Aggs = []rules.Agg{{Func: rules.Count}, {Func: rules.Count}}
			if p.Bound = nil; seed%3 == 0 {
				p.Having = nil
			} else if seed%3 == 2 {
				p.Bound = &rules.Threshold{Least: 2}
			}
			if seed > 3 {
				p.Filter = quotient
			}
			rule.Plan = testPlan(p)
			mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
			whole, err := New(rule, Options{Mem: mem})
			require.NoError(t, err)
			parts, err := NewParts(rule, Options{Mem: mem, MaxBytes: c.max}, 1+int(seed%3))
			require.NoError(t, err)
			if c.tryAt > 0 {
				parts.tryAt = c.tryAt
			}
			for from := 0; from < 5000; {
				to := min(5000, from+1+r.IntN(3000))
				var values [][]any
				for i := from; i < to; i++ {
					values = append(values, []any{c.key(r), c.time(r, i)})
				}
				in := Rows{Batch: batchOf(mem, p.Source.Schema, values)}
				require.NoError(t, whole.Add(in), describe)
				err := parts.Add(in)
				if in.Batch.Release(); c.max > 0 {
					require.ErrorIs(t, err, ErrStateTooLarge, describe)
					require.NotContains(t, err.Error(), " 0 groups", describe)
				} else {
					require.NoError(t, err, describe)
				}
				require.Equal(t, append([]rules.Failure{}, whole.RowFailures()...), append([]rules.Failure{}, parts.RowFailures()...), describe)
				from = to
			}
			require.Equal(t, c.waits, parts.parts[0].aside != nil, describe)
			want, err := whole.Final()
			require.NoError(t, err, describe)
			for range 2 { // answers leave the state as it is
				got, err := parts.Final()
				require.NoError(t, err, describe)
				require.Equal(t, lines(want), lines(got), describe)
				got.Release()
			}
			require.Positive(t, want.Rows.NumRows(), describe)
			want.Release()
			whole.Release()
			parts.Release()
			mem.AssertSize(t, 0)
		}
	}
}

// TestRowsOfLargeWindow has more rows of a window than are answered at once: the answers
// come in several batches.
func TestRowsOfLargeWindow(t *testing.T) {
	const users = 3 * groupsAtOnce
	parts, err := NewParts(byMinute(OnDemand, 1), Options{Mem: checked(t)}, 2)
	require.NoError(t, err)
	defer parts.Release()
	var values [][]any
	for user := range users {
		values = append(values, []any{user, 5})
	}
	batch := batchOf(memory.DefaultAllocator, parts.rule.Plan.Source.Schema, values)
	defer batch.Release()
	require.NoError(t, parts.Add(Rows{Batch: batch}))
	n := int64(0)
	require.NoError(t, parts.EachFinal(func(rows arrow.RecordBatch, _ []GroupFailure) error {
		defer rows.Release()
		for _, user := range rows.Column(0).(*array.Int64).Int64Values() {
			require.Equal(t, n, user)
			n++
		}
		require.LessOrEqual(t, rows.NumRows(), int64(groupsAtOnce))
		return nil
	}))
	require.Equal(t, int64(users), n)
}
