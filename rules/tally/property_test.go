package tally

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"lake/rules"
	"lake/schemas"
)

var propertySource = source("k", intType, "s", textType, "f", floatType, "d", moneyType, "b", boolType,
	"u", uuidType, "y", bytesType, "day", dateType, "ts", timeType, "x", intType)

// generator makes rules and rows from a seed.
type generator struct {
	*rand.Rand
	rule Rule
	base time.Time
	step time.Duration
	last int64 // event time, for the watermark
}

func newGenerator(seed uint64) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 7))}
	zones := []string{"UTC", "Asia/Kolkata", "America/New_York"}
	zone, _ := time.LoadLocation(zones[g.IntN(3)])
	g.base, g.step = time.Date(2021, 3, 13, 20, 0, 0, 0, zone), 5*time.Second
	p := rules.Plan{Source: propertySource}
	p.Source.Zone = zone
	types := map[string]schemas.Type{}
	for _, f := range p.Source.Schema.Fields {
		types[f.Name] = f.Type
	}
	column := func(name string) rules.Expr { return columnExpr{name, types[name]} }

	names := []string{"k", "s", "f", "d", "b", "u", "y", "day", "ts"}
	g.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names[:[]int{0, 1, 1, 1, 2, 3}[g.IntN(6)]] {
		p.Keys = append(p.Keys, rules.Column{Name: name, Expr: column(name)})
	}
	g.rule = Rule{Name: "r", Emit: Emit(g.IntN(4)), Scope: Scope(g.IntN(4) / 3)}
	switch kind := g.IntN(3); {
	case kind == 0:
		p.Window = &rules.Window{Time: column("ts"), Micros: 60_000_000, Origin: at("1950-01-01T00:00:17Z")}
	case kind == 1:
		other, _ := time.LoadLocation(zones[g.IntN(3)])
		p.Window = &rules.Window{Kind: rules.Day, Time: column("ts"), Zone: other}
		g.step = 20 * time.Minute
	case g.rule.Scope == Partition:
		g.step = 20 * time.Minute
	case g.rule.Emit == OnClose:
		g.rule.Emit = OnCross
	}
	if g.IntN(2) == 0 {
		p.Filter = funcExpr{"x IS NULL OR x <> 5", boolType, func(get func(string) any) (any, error) {
			if get("x") == int64(6) {
				return nil, errDivision
			}
			return get("x") != int64(5), nil
		}}
	}
	p.Aggs = append(p.Aggs, []rules.Agg{{Func: rules.Count}, {Func: rules.Count, Arg: column("s")}, {Func: rules.Sum, Arg: column("x")}}[g.IntN(3)])
	for range g.IntN(4) {
		p.Aggs = append(p.Aggs, g.aggregate(column))
	}
	var least int64
	if p.Having, least = g.having(); least > 0 && bounding(p.Aggs) {
		p.Bound = &rules.Threshold{Agg: 0, Least: least}
	}
	g.rule.Plan = testPlan(p)
	if g.IntN(3) == 0 {
		g.rule.Plan.Select = append(g.rule.Plan.Select, rules.Column{Name: "e", Expr: funcExpr{"DIV(100, agg0 - 4)", intType, func(get func(string) any) (any, error) {
			n, ok := get("agg0").(int64)
			if !ok {
				return nil, nil
			}
			if n == 4 {
				return nil, errDivision
			}
			return 100 / (n - 4), nil
		}}})
	}
	return g
}

func (g *generator) aggregate(column func(string) rules.Expr) rules.Agg {
	pick := func(names ...string) rules.Expr { return column(names[g.IntN(len(names))]) }
	switch f := []rules.AggFunc{rules.CountIf, rules.Sum, rules.Min, rules.Max, rules.Avg, rules.CountDistinct}[g.IntN(6)]; f {
	case rules.CountIf:
		return rules.Agg{Func: f, Arg: column("b")}
	case rules.Sum, rules.Avg:
		if g.IntN(4) == 0 {
			return rules.Agg{Func: f, Arg: funcExpr{"DIV(60, x)", intType, func(get func(string) any) (any, error) {
				switch x := get("x").(type) {
				case int64:
					if x == 0 {
						return nil, errDivision
					}
					return 60 / x, nil
				}
				return nil, nil
			}}}
		}
		return rules.Agg{Func: f, Arg: pick("x", "f", "d")}
	default:
		return rules.Agg{Func: f, Arg: pick("k", "s", "f", "d", "b", "u", "y", "day", "ts", "x")}
	}
}

// bounding reports whether HAVING may bound the first of the aggregates, as
// rules.Compile has it: a count, where none of them can fail.
func bounding(aggs []rules.Agg) bool {
	return aggs[0].Func == rules.Count && !slices.ContainsFunc(aggs, func(a rules.Agg) bool { return a.Func == rules.Sum || a.Func == rules.Avg })
}

// having is a condition, and the bound that it sets to the first aggregate, if any.
func (g *generator) having() (condition rules.Expr, least int64) {
	n := int64(g.IntN(4)) + 1
	switch g.IntN(5) {
	case 0:
		return nil, 0
	case 1:
		return funcExpr{fmt.Sprintf("MOD(agg0, 3) = %d", n%3), boolType, func(get func(string) any) (any, error) {
			v, ok := get("agg0").(int64)
			if !ok {
				return nil, nil
			}
			return v%3 == n%3, nil
		}}, 0
	case 2:
		return funcExpr{fmt.Sprintf("1 / (agg0 - %d) > 0", n), boolType, func(get func(string) any) (any, error) {
			v, ok := get("agg0").(int64)
			if !ok {
				return nil, nil
			}
			if v == n {
				return nil, errDivision
			}
			return v > n, nil
		}}, 0
	}
	return atLeast("agg0", n), n
}

func (g *generator) row(i int) modelRow {
	maybe := func(v any) any {
		if g.IntN(8) == 0 {
			return nil
		}
		return v
	}
	x := []int64{0, 1, 2, 3, -4, 5, 6, 1 << 62, -1 << 62, 1<<62 + 1}[g.IntN(10)]
	f := []float64{0, math.Copysign(0, -1), 1.5, -2.25, math.NaN(), math.Inf(1), 1e-9, 1e22, 123456789}[g.IntN(9)]
	d := new(big.Int).Mul(big.NewInt(int64(g.IntN(5)-2)), big.NewInt(1_999_999_999_999_999_999))
	if g.IntN(2) == 0 {
		d = big.NewInt(int64(g.IntN(3)))
	}
	ts := g.base.Add(time.Duration(i)*g.step + time.Duration(g.IntN(int(4*g.step))))
	if g.IntN(10) == 0 {
		ts = ts.Add(-12 * g.step)
	}
	y, mon, day := ts.Date()
	row := modelRow{date: int32(time.Date(y, mon, day, 0, 0, 0, 0, time.UTC).Unix() / 86400), mark: math.MinInt64}
	if g.last > 0 {
		row.mark = g.last - (3 * g.step).Microseconds()
	}
	g.last = max(g.last, ts.UnixMicro())
	text := []string{"", "a", "a\x00", "a\x00b", "ü\"<", "longer text than the others"}
	row.values = []any{
		maybe(int64(g.IntN(4)) * 1_000_003), maybe(text[g.IntN(6)]), maybe(f), maybe(d), maybe(g.IntN(2) == 0),
		maybe("0123456789abcde" + string(rune('a'+g.IntN(3)))), maybe(text[g.IntN(6)]), maybe(int64(18000 + g.IntN(3))),
		maybe(ts.UnixMicro() / 1000 * 1000), maybe(x),
	}
	return row
}

func addRows(t *testing.T, mem memory.Allocator, tally *Tally, rows []modelRow, marks bool) {
	t.Helper()
	in := Rows{}
	var values [][]any
	for _, r := range rows {
		values = append(values, r.values)
		in.Date = append(in.Date, r.date)
		if marks {
			in.Watermark = append(in.Watermark, r.mark)
		}
	}
	in.Batch = batchOf(mem, tally.plan.Source.Schema, values)
	defer in.Batch.Release()
	require.NoError(t, tally.Add(in))
}

// TestModel compares random rules over random rows with the model, whatever the
// batches, the commits and the restarts between them.
func TestModel(t *testing.T) {
	const seeds = 200
	answers, bounded := 0, map[Emit]int{}
	for seed := range seeds {
		answers += runProperty(t, uint64(seed))
		if rule := newGenerator(uint64(seed)).rule; rule.Plan.Bound != nil {
			bounded[rule.Emit]++
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	require.Greater(t, answers, seeds*10, "the rules have to answer for the comparison to mean something")
	for emit := OnCross; emit <= OnDemand; emit++ {
		require.Greater(t, bounded[emit], 4, "rules %s whose HAVING bounds a count", emit)
	}
}

func runProperty(t *testing.T, seed uint64) (answers int) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	g := newGenerator(seed)
	describe := fmt.Sprintf("seed %d: %+v window %+v aggs %+v having %v", seed, g.rule.Emit, g.rule.Plan.Window, g.rule.Plan.Aggs, g.rule.Plan.Having)
	m := newModel(g.rule)
	tally, err := New(g.rule, Options{Mem: mem})
	require.NoError(t, err)
	defer func() { tally.Release() }()
	rows := make([]modelRow, g.IntN(300))
	for i := range rows {
		rows[i] = g.row(i)
	}
	undisturbed, err := New(g.rule, Options{Mem: mem}) // it is never restored
	require.NoError(t, err)
	defer undisturbed.Release()
	commit := func() {
		same, err := undisturbed.Answers()
		require.NoError(t, err, describe)
		same.Release()
		got, err := tally.Answers()
		require.NoError(t, err, describe)
		wantLines, wantFailures := m.commit()
		require.Equal(t, append([]string{}, wantLines...), lines(got), describe)
		var failures []string
		for _, f := range got.Failures {
			failures = append(failures, f.Key+": "+f.Reason)
		}
		slices.Sort(failures)
		slices.Sort(wantFailures)
		require.Equal(t, wantFailures, failures, describe)
		answers += len(wantLines)
		got.Release()
	}
	var parts [][]byte
	dropped := false
	most := []int{60, 6}[seed%2] // rows of a batch: few, for several walks of the slices
	for rest := rows; len(rest) > 0; {
		next := rest[0]
		n := min(len(rest), g.IntN(most)+1)
		addRows(t, mem, tally, rest[:n], true)
		addRows(t, mem, undisturbed, rest[:n], true)
		for _, r := range rest[:n] {
			m.add(r)
		}
		if mark := rest[n-1].mark; g.IntN(3) > 0 {
			require.NoError(t, tally.Advance(mark))
			require.NoError(t, undisturbed.Advance(mark))
			m.advance(mark)
		}
		rest = rest[n:]
		if g.IntN(2) == 0 {
			continue
		}
		commit()
		part := share{units: g.IntN(12), whole: g.IntN(12) == 0}
		if g.IntN(40) == 0 {
			dropped = true
			date := next.date - int32(g.IntN(3))
			tally.DropStats(date)
			undisturbed.DropStats(date)
			m.dropStats(date)
		}
		parts = append(parts, tally.save(nil, part))
		parts = parts[len(parts)-len(tally.extents):] // what is not needed is gone
		whole := undisturbed.save(nil, share{whole: true})
		if g.IntN(3) == 0 {
			requireNeeded(t, mem, g.rule, parts, describe)
			restored, err := New(g.rule, Options{Mem: mem})
			require.NoError(t, err)
			require.NoError(t, restored.Restore(parts...), describe)
			require.Equal(t, tally.Groups(), restored.Groups(), describe)
			require.Equal(t, tally.Stats(), restored.Stats(), describe)
			require.Equal(t, tally.extents, restored.extents, describe)
			restored.serial--
			require.Equal(t, whole, restored.save(nil, share{whole: true}), describe)
			require.NoError(t, restored.Restore(parts...), describe)
			tally.Release()
			tally = restored
		}
	}
	commit()
	got, err := final([]*Tally{tally}, false)
	require.NoError(t, err, describe)
	require.Equal(t, m.final(), lines(got), describe)
	answers += int(got.Rows.NumRows())
	got.Release()
	require.NoError(t, tally.CloseAll())
	m.closeAll()
	commit()
	require.Equal(t, m.late, tally.Late(), describe)
	requireStats(t, m.stats, tally.Stats(), describe)
	if !dropped { // else it has dates in part
		recount(t, mem, g.rule, rows, tally.Stats(), describe)
	}
	return answers
}

// requireNeeded restores from all parts but the oldest, which has to be refused,
// and reads the statistics alone.
func requireNeeded(t *testing.T, mem memory.Allocator, rule Rule, parts [][]byte, describe string) {
	t.Helper()
	less, err := New(rule, Options{Mem: mem})
	require.NoError(t, err)
	defer less.Release()
	if len(parts) > 1 {
		require.ErrorContains(t, less.Restore(parts[1:]...), "do not hold the whole state", describe)
	}
	require.NoError(t, less.Restore(parts...), describe)
	stats, err := ReadStats(rule, parts...)
	require.NoError(t, err, describe)
	require.Equal(t, less.Stats(), stats, describe)
}

// requireStats compares all but the checksum, which recount does.
func requireStats(t *testing.T, want, got map[int32]DateStats, describe string) {
	t.Helper()
	for date, s := range got {
		s.Sum = 0
		got[date] = s
	}
	require.Equal(t, want, got, describe)
}

// recount gives each date's rows to a new Tally: where none was late, the
// statistics come out the same.
func recount(t *testing.T, mem memory.Allocator, rule Rule, rows []modelRow, stats map[int32]DateStats, describe string) {
	t.Helper()
	for date, want := range stats {
		if want.Late > 0 {
			continue
		}
		again, err := New(rule, Options{Mem: mem})
		require.NoError(t, err)
		var of []modelRow
		for _, r := range rows {
			if r.date == date {
				of = append(of, r)
			}
		}
		addRows(t, mem, again, of, false)
		require.NoError(t, again.CloseAll())
		require.Equal(t, want, again.Stats()[date], "%s date %d", describe, date)
		again.Release()
	}
}
