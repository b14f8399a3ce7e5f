package tally

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"lake/rules"
	"lake/schemas"
)

func TestDeltaIsAsLargeAsWhatChanged(t *testing.T) {
	tally := newTally(t, counting(OnCross, 3), Options{})
	var rows [][]any
	for user := range 10_000 {
		rows = append(rows, []any{user, nil})
	}
	give(t, tally, rows...)
	first := tally.save(nil, share{})
	require.Greater(t, len(first), 30_000)
	none := tally.save(nil, share{})
	require.Less(t, len(none), 140)
	give(t, tally, []any{17, nil}, []any{9_000, nil}, []any{17, nil})
	some := tally.save(nil, share{})
	require.Less(t, len(some), len(none)+25)

	// The first delta reaches back to the beginning: no base is needed.
	again := newTally(t, counting(OnCross, 3), Options{})
	require.NoError(t, again.Restore(first, none, some))
	require.Equal(t, finals(t, tally), finals(t, again))
	give(t, again, repeat(2, 17, nil)...)
	give(t, again, repeat(1, 9_000, nil)...)
	require.Equal(t, []string{"9000 9000 3"}, taken(t, again), "17 had answered before")
	require.Greater(t, len(again.save(nil, share{whole: true})), 40_000)
	require.Less(t, len(again.save(nil, share{})), 140, "the base has everything")
}

func TestRestoreRefuses(t *testing.T) {
	rule := counting(OnCross, 3)
	tally := newTally(t, rule, Options{})
	give(t, tally, repeat(2, 1, nil)...)
	base := tally.save(nil, share{whole: true})
	give(t, tally, repeat(1, 1, nil)...)
	delta2 := tally.save(nil, share{})
	give(t, tally, repeat(1, 2, nil)...)
	delta3 := tally.save(nil, share{})

	fresh := newTally(t, rule, Options{})
	give(t, fresh, repeat(4, 5, nil)...)
	before := finals(t, fresh)
	newer := append([]byte(nil), base...)
	newer[len(magic)] = formatVersion + 1
	older := append([]byte(nil), base...)
	older[len(magic)] = formatVersion - 1
	for want, parts := range map[string][][]byte{
		"checkpoint 3, which does not follow 1":   {base, delta3},
		"checkpoint 2, which does not follow 2":   {base, delta2, delta2},
		"from 2 to 2 do not hold the whole state": {delta2},
		"has version 3":       {newer},
		"has version 1":       {older},
		"not a rule's state":  {[]byte("PAR1")},
		"ends too early":      {base[:len(base)-1]},
		"more than it should": {append(append([]byte(nil), base...), 0)},
	} {
		require.ErrorContains(t, fresh.Restore(parts...), want)
		require.Equal(t, before, finals(t, fresh), "the state stays")
	}
	require.NoError(t, fresh.Restore(base, delta2, delta3))
	require.Equal(t, []string{"1 1 3"}, finals(t, fresh))
	require.NoError(t, fresh.Restore(base))
	require.Empty(t, finals(t, fresh))

	other := counting(OnCross, 3)
	other.Plan.Filter = atLeast("user", 1)
	require.ErrorIs(t, newTally(t, other, Options{}).Restore(base), ErrOtherRule)
	require.ErrorIs(t, newTally(t, counting(OnChange, 3), Options{}).Restore(base), ErrOtherRule)
	byDate := counting(OnCross, 3)
	byDate.Scope = Partition
	require.ErrorIs(t, newTally(t, byDate, Options{}).Restore(base), ErrOtherRule)
}

func TestChangedHavingAnswersNothingForThePast(t *testing.T) {
	for _, emit := range []Emit{OnCross, OnChange} {
		tally := newTally(t, counting(emit, 3), Options{})
		give(t, tally, append(repeat(5, 1, nil), append(repeat(3, 2, nil), repeat(1, 3, nil)...)...)...)
		require.Len(t, taken(t, tally), 2)
		base := tally.save(nil, share{whole: true})

		lower := newTally(t, counting(emit, 1), Options{})
		require.NoError(t, lower.Restore(base))
		require.Empty(t, taken(t, lower))
		give(t, lower, []any{4, nil})
		require.Equal(t, []string{"4 4 1"}, taken(t, lower))

		higher := newTally(t, counting(emit, 4), Options{})
		require.NoError(t, higher.Restore(base))
		give(t, higher, []any{1, nil}, []any{2, nil}, []any{3, nil})
		want := map[Emit][]string{OnCross: {"2 2 4"}, OnChange: {"1 1 6", "2 2 4"}}[emit]
		require.Equal(t, want, taken(t, higher))

		// The change itself is in the next checkpoint.
		again := newTally(t, counting(emit, 4), Options{})
		require.NoError(t, again.Restore(base, higher.save(nil, share{})))
		require.Equal(t, finals(t, higher), finals(t, again))
		require.Empty(t, taken(t, again))
	}
}

func TestDroppedStatisticsStayDropped(t *testing.T) {
	tally := newTally(t, counting(OnCross, 3), Options{})
	batch := batchOf(tally.opts.Mem, tally.plan.Source.Schema, [][]any{{1, nil}, {1, nil}})
	defer batch.Release()
	require.NoError(t, tally.Add(Rows{Batch: batch, Date: []int32{5, 9}}))
	base := tally.save(nil, share{whole: true})
	tally.DropStats(8)
	require.NoError(t, tally.Add(Rows{Batch: batch, Date: []int32{6, 9}}))
	parts := [][]byte{base, tally.save(nil, share{})}
	require.NoError(t, tally.Add(Rows{Batch: batch, Date: []int32{9, 9}}))
	parts = append(parts, tally.save(nil, share{}))
	again := newTally(t, counting(OnCross, 3), Options{})
	require.NoError(t, again.Restore(parts...))
	require.Equal(t, map[int32]DateStats{6: {Matched: 1}, 9: {Matched: 4}}, again.Stats())
	require.EqualValues(t, 6, again.Matched())
}

// fuzzRule has every kind of aggregate, and a window.
func fuzzRule() Rule {
	src := propertySource
	column := func(name string) rules.Expr { return columnExpr{name, src.Schema.Fields[src.Schema.Index(name)].Type} }
	p := rules.Plan{Source: src, Window: &rules.Window{Time: column("ts"), Micros: 60_000_000},
		Keys: []rules.Column{{Name: "s", Expr: column("s")}, {Name: "d", Expr: column("d")}, {Name: "f", Expr: column("f")}}}
	for _, name := range []string{"x", "s", "f", "d", "b", "u"} {
		p.Aggs = append(p.Aggs, rules.Agg{Func: rules.Min, Arg: column(name)}, rules.Agg{Func: rules.CountDistinct, Arg: column(name)})
	}
	for _, name := range []string{"x", "f", "d"} {
		p.Aggs = append(p.Aggs, rules.Agg{Func: rules.Sum, Arg: column(name)}, rules.Agg{Func: rules.Avg, Arg: column(name)})
	}
	return Rule{Name: "fuzz", Plan: testPlan(p), Emit: OnChange}
}

// checkpointOf makes a whole checkpoint of some rows and one with what changed
// and a slice.
func checkpointOf(t testing.TB, rule Rule, seed uint64) (base, delta []byte) {
	tally := newTally(t, rule, Options{})
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1)), step: 5_000_000_000}
	for i, out := range []*[]byte{&base, &delta} {
		var rows [][]any
		for j := range 30 {
			rows = append(rows, g.row(i*30+j).values)
		}
		give(t, tally, rows...)
		taken(t, tally)
		*out = tally.save(nil, share{units: 40 * i}) // the first is whole
	}
	return base, delta
}

// restoreDamaged restores and uses whatever it got.
func restoreDamaged(t testing.TB, rule Rule, base, delta []byte) {
	tally, err := New(rule, Options{Mem: memory.DefaultAllocator})
	require.NoError(t, err)
	defer tally.Release()
	if tally.Restore(base, delta) != nil {
		return
	}
	require.NoError(t, tally.CloseAll())
	a, err := tally.Answers()
	require.NoError(t, err)
	a.Release()
	a, err = tally.Final()
	require.NoError(t, err)
	a.Release()
	require.NoError(t, tally.Restore(tally.save(nil, share{whole: true})), "what was read can be written and read")
}

// TestDamagedCheckpoints turns bytes of checkpoints: each is read or refused.
func TestDamagedCheckpoints(t *testing.T) {
	base, delta := checkpointOf(t, fuzzRule(), 1)
	r := rand.New(rand.NewPCG(3, 4))
	refused := 0
	for range 400 {
		b, d := append([]byte(nil), base...), append([]byte(nil), delta...)
		part := b
		if r.IntN(2) == 0 {
			part = d
		}
		for range r.IntN(3) + 1 {
			part[r.IntN(len(part))] = byte(r.IntN(256))
		}
		tally, err := New(fuzzRule(), Options{})
		require.NoError(t, err)
		if err := tally.Restore(b, d); err != nil {
			refused++
		}
		tally.Release()
		restoreDamaged(t, fuzzRule(), b, d)
	}
	require.Greater(t, refused, 100)
	for n := 0; n < len(delta); n += 7 {
		tally, err := New(fuzzRule(), Options{})
		require.NoError(t, err)
		require.Error(t, tally.Restore(base, delta[:n]), fmt.Sprint(n))
		tally.Release()
	}
}

func FuzzRestore(f *testing.F) {
	rule := fuzzRule()
	for seed := range uint64(4) {
		base, delta := checkpointOf(f, rule, seed)
		f.Add(base, delta)
	}
	f.Fuzz(func(t *testing.T, base, delta []byte) { restoreDamaged(t, rule, base, delta) })
}

// TestManyGroups has more groups than a chunk holds: they come in the middle of
// batches, are written in slices, and read back.
func TestManyGroups(t *testing.T) {
	const users = 150_000
	for _, text := range []bool{false, true} {
		typ := map[bool]schemas.Type{false: intType, true: textType}[text]
		arg := columnExpr{"user", typ}
		rule := Rule{Name: "r", Emit: OnChange, Plan: testPlan(rules.Plan{Source: source("user", typ), Keys: []rules.Column{col("user", typ)},
			Aggs: []rules.Agg{{Func: rules.Count}, {Func: rules.Max, Arg: arg, Type: typ}, {Func: rules.CountDistinct, Arg: arg}}, Having: int64AtLeast{"agg0", 3}})}
		tally := newTally(t, rule, Options{})
		parts, err := NewParts(rule, Options{Mem: checked(t)}, 2)
		require.NoError(t, err)
		defer parts.Release()
		r := rand.New(rand.NewPCG(11, 12))
		want := map[int]int64{}
		var saved [][]byte
		for commit := range 8 {
			some := make([]int, 50_000)
			for i := range some {
				some[i] = r.IntN(users * (commit + 1) / 8)
				want[some[i]]++
			}
			rows := keyed(rule.Plan, text, some)
			require.NoError(t, tally.Add(rows))
			require.NoError(t, parts.Add(rows))
			rows.Batch.Release()
			a, err := tally.Answers()
			require.NoError(t, err)
			a.Release()
			part, needs := tally.Checkpoint(nil)
			saved = append(saved, part)
			saved = saved[len(saved)-needs:]
			if commit%3 == 2 {
				again := newTally(t, rule, Options{})
				require.NoError(t, again.Restore(saved...))
				tally = again
			}
		}
		require.Equal(t, len(want), tally.Groups())
		holding, rowsOf := 0, map[string]int64{}
		for user, n := range want {
			if n >= 3 {
				holding++
				key := fmt.Sprint(int64(user) * 7919)
				if text {
					key = fmt.Sprintf("user-%011d", user*7919)
				}
				rowsOf[key] = n
			}
		}
		require.Greater(t, holding, 30_000)
		for _, final := range []func() (Answers, error){tally.Final, parts.Final} {
			a, err := final()
			require.NoError(t, err)
			require.EqualValues(t, holding, a.Rows.NumRows())
			wrong := 0
			for row, line := range lines(a) {
				key := a.Keys.Value(row)
				shown := key
				if text {
					shown = strconv.Quote(key)
				}
				if line != fmt.Sprintf("%s %s %d %s 1", key, shown, rowsOf[key], shown) {
					wrong++
				}
			}
			require.Zero(t, wrong)
			a.Release()
		}
	}
}
