package tally

import (
	"bufio"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lake/rules"
)

// counting counts rows by user, with HAVING COUNT(*) >= n.
func counting(emit Emit, n int64) Rule {
	return Rule{Name: "counting", Emit: emit, Plan: testPlan(rules.Plan{
		Source: source("user", intType, "ts", timeType),
		Keys:   []rules.Column{col("user", intType)},
		Aggs:   []rules.Agg{{Func: rules.Count}},
		Having: atLeast("agg0", n),
	})}
}

// byMinute is counting in tumbling minutes.
func byMinute(emit Emit, n int64) Rule {
	r := counting(emit, n)
	p := *r.Plan
	p.Select, p.Window = nil, &rules.Window{Time: columnExpr{"ts", timeType}, Micros: 60_000_000}
	r.Plan = testPlan(p)
	return r
}

func repeat(n int, row ...any) [][]any {
	rows := make([][]any, n)
	for i := range rows {
		rows[i] = row
	}
	return rows
}

func TestOnCrossAnswersOnceWithTheValuesOfThatRecord(t *testing.T) {
	tally := newTally(t, counting(OnCross, 3), Options{})
	give(t, tally, []any{7, nil}, []any{8, nil}, []any{7, nil}, []any{8, nil}, []any{8, nil}, []any{7, nil}, []any{7, nil})
	require.Equal(t, []string{"8 8 3", "7 7 3"}, taken(t, tally))
	give(t, tally, repeat(5, 7, nil)...)
	require.Empty(t, taken(t, tally))
	require.Equal(t, []string{"7 7 9", "8 8 3"}, finals(t, tally))
}

func TestOnChangeAnswersChangesAndBuriesWhatNoLongerHolds(t *testing.T) {
	rule := Rule{Name: "sums", Emit: OnChange, Plan: testPlan(rules.Plan{
		Source: source("user", textType, "x", intType),
		Keys:   []rules.Column{col("user", textType)},
		Aggs:   []rules.Agg{{Func: rules.Sum, Arg: columnExpr{"x", intType}}},
		Having: atLeast("agg0", 10),
	})}
	tally := newTally(t, rule, Options{})
	give(t, tally, []any{"b", 9}, []any{"a", 12}, []any{"b", 1}, []any{nil, 11})
	require.Equal(t, []string{`b "b" 10`, `a "a" 12`, `- NULL 11`}, taken(t, tally), "in the order first touched")
	give(t, tally, []any{"a", 3}, []any{"a", -3}, []any{"b", -1})
	require.Equal(t, []string{`b † "b" 9`}, taken(t, tally), "a's answer is what it was")
	give(t, tally, []any{"b", -1})
	require.Empty(t, taken(t, tally), "one tombstone is enough")
	give(t, tally, []any{"b", 2})
	require.Equal(t, []string{`b "b" 10`}, taken(t, tally), "the same answer again, after a tombstone")
	require.Empty(t, taken(t, tally))
}

func TestOnChangeAnswersWindowsThatCloseBeforeTheCommit(t *testing.T) {
	tally := newTally(t, byMinute(OnChange, 2), Options{})
	give(t, tally, repeat(3, 7, at("2021-11-30T00:00:30Z"))...)
	require.NoError(t, tally.Advance(at("2021-11-30T00:05:00Z")))
	require.Zero(t, tally.Groups())
	require.Equal(t, []string{"7 7 1638230400000000 3"}, taken(t, tally))
	require.Empty(t, taken(t, tally))
	require.Less(t, tally.Bytes(), int64(200), "the window's memory has gone")
}

func TestWindowsCloseAtTheirEndAndNotBefore(t *testing.T) {
	tally := newTally(t, byMinute(OnClose, 1), Options{})
	minute := at("2021-11-30T00:00:00Z")
	give(t, tally, []any{2, minute + 59_999_999}, []any{1, minute}, []any{1, minute + 60_000_000}, []any{1, nil})
	require.NoError(t, tally.Advance(minute+59_999_999))
	require.Empty(t, taken(t, tally))
	require.NoError(t, tally.Advance(minute+60_000_000))
	require.Equal(t, []string{"2 2 1638230400000000 1", "1 1 1638230400000000 1"}, taken(t, tally), "as first seen")

	give(t, tally, []any{5, minute + 59_999_999}, []any{5, minute + 60_000_000})
	require.EqualValues(t, 1, tally.Late())
	require.EqualValues(t, 5, tally.Matched())
	require.Equal(t, []string{"1 1 NULL 1", "1 1 1638230460000000 1", "5 5 1638230460000000 1"}, finals(t, tally))
	require.NoError(t, tally.CloseAll())
	require.Equal(t, []string{"1 1 1638230460000000 1", "5 5 1638230460000000 1"}, taken(t, tally), "the window of NULL never closes")
	require.Equal(t, map[int32]DateStats{18961: {Matched: 4, Late: 1, Closed: 2, Answers: 4, Sum: tally.Stats()[18961].Sum}}, tally.Stats())
	require.NotZero(t, tally.Stats()[18961].Sum)
	tally.DropStats(18962)
	require.Empty(t, tally.Stats())
}

func TestRowsAreLateByTheWatermarkBeforeThem(t *testing.T) {
	tally := newTally(t, byMinute(OnClose, 1), Options{})
	minute := at("2021-11-30T00:00:00Z")
	batch := batchOf(tally.opts.Mem, tally.plan.Source.Schema, [][]any{{1, minute}, {2, minute}, {3, minute}})
	defer batch.Release()
	end := minute + 60_000_000
	require.NoError(t, tally.Add(Rows{Batch: batch, Date: []int32{5, 6, 6}, Watermark: []int64{math.MinInt64, end - 1, end}}))
	require.Equal(t, []string{"1 1 1638230400000000 1", "2 2 1638230400000000 1"}, finals(t, tally))
	require.Equal(t, map[int32]DateStats{5: {Matched: 1}, 6: {Matched: 1, Late: 1}}, tally.Stats())
}

func TestWindowsOverMidnightAreOfNoDate(t *testing.T) {
	kolkata, err := time.LoadLocation("Asia/Kolkata")
	require.NoError(t, err)
	rule := byMinute(OnCross, 1)
	rule.Plan.Source.Zone = kolkata
	rule.Plan.Window.Micros = 3600 * 1_000_000 // by UTC's hours, which cross Kolkata's midnight at 18:30
	tally := newTally(t, rule, Options{})
	give(t, tally, []any{1, at("2021-11-30T17:59:00Z")}, []any{1, at("2021-11-30T18:10:00Z")}, []any{1, at("2021-11-30T19:10:00Z")})
	require.NoError(t, tally.CloseAll())
	stats := tally.Stats()
	require.Len(t, stats, 2)
	require.EqualValues(t, 1, stats[18961].Closed, "17:00")
	require.EqualValues(t, 1, stats[18962].Closed, "19:00, the next day in Kolkata")
}

func TestScopePartitionRestartsEachDate(t *testing.T) {
	rule := counting(OnCross, 2)
	rule.Scope = Partition
	rule.Plan.Source.Zone, _ = time.LoadLocation("Asia/Kolkata")
	tally := newTally(t, rule, Options{})
	batch := batchOf(tally.opts.Mem, tally.plan.Source.Schema, [][]any{{1, nil}, {1, nil}, {1, nil}, {1, nil}, {1, nil}})
	defer batch.Release()
	require.ErrorContains(t, newTally(t, rule, Options{}).Add(Rows{Batch: batch}), "dates")
	require.NoError(t, tally.Add(Rows{Batch: batch, Date: []int32{18961, 18962, 18961, 18962, 18961}}))
	require.Equal(t, []string{"1 1 2", "1 1 2"}, taken(t, tally))
	require.Equal(t, []string{"1 1 3", "1 1 2"}, finals(t, tally))

	midnight := at("2021-11-30T18:30:00Z") // in Kolkata
	require.NoError(t, tally.Advance(midnight-1))
	require.Equal(t, 2, tally.Groups())
	require.NoError(t, tally.Advance(midnight))
	require.Equal(t, 1, tally.Groups())
	require.NoError(t, tally.Add(Rows{Batch: batch, Date: []int32{18961, 18961, 18962, 18962, 18962}}))
	require.EqualValues(t, 2, tally.Stats()[18961].Late)
	require.EqualValues(t, 3, tally.Stats()[18961].Matched)
}

func TestNothingIsGroupedWithoutGroupBy(t *testing.T) {
	p := rules.Plan{Source: source("user", intType, "name", textType),
		Filter: atLeast("user", 3),
		Select: []rules.Column{col("name", textType), {Name: "d", Expr: funcExpr{"DIV(60, user - 4)", intType, func(get func(string) any) (any, error) {
			if get("user") == int64(4) {
				return nil, errDivision
			}
			return 60 / (get("user").(int64) - 4), nil
		}}}}}
	tally := newTally(t, Rule{Name: "rows", Plan: &p}, Options{})
	give(t, tally, []any{1, "a"}, []any{4, "b"}, []any{5, nil}, []any{nil, "c"}, []any{6, "d"})
	require.Equal(t, []rules.Failure{{Row: 1, Reason: "division by zero"}}, tally.RowFailures())
	give(t, tally, []any{3, "e"})
	require.Equal(t, []string{"- NULL 60", `- "d" 30`, `- "e" -60`}, taken(t, tally))
	require.Empty(t, tally.RowFailures())
	require.EqualValues(t, 4, tally.Matched())
}

func TestOneGroupWithoutKeys(t *testing.T) {
	p := rules.Plan{Source: source("x", intType), Aggs: []rules.Agg{{Func: rules.Count}, {Func: rules.Sum, Arg: columnExpr{"x", intType}}}}
	tally := newTally(t, Rule{Name: "all", Plan: testPlan(p), Emit: OnChange}, Options{})
	require.Equal(t, []string{"- 0 NULL"}, finals(t, tally), "as the query does over no rows")
	require.Empty(t, taken(t, tally))
	give(t, tally, []any{nil}, []any{5})
	require.Equal(t, []string{"- 2 5"}, taken(t, tally))
}

func TestSumsAnswerWhatFitsAndReportWhatDoesNot(t *testing.T) {
	sum := Rule{Name: "sums", Emit: OnChange, Plan: testPlan(rules.Plan{
		Source: source("user", intType, "x", intType),
		Keys:   []rules.Column{col("user", intType)},
		Aggs:   []rules.Agg{{Func: rules.Sum, Arg: columnExpr{"x", intType}}},
	})}
	tally := newTally(t, sum, Options{})
	answer := func() ([]string, []GroupFailure) {
		a, err := tally.Answers()
		require.NoError(t, err)
		defer a.Release()
		return lines(a), a.Failures
	}
	give(t, tally, []any{1, math.MaxInt64}, []any{1, 1}, []any{2, math.MinInt64}, []any{2, -1}, []any{3, 1})
	rows, failures := answer()
	require.Equal(t, []string{"3 3 1"}, rows)
	require.Equal(t, []GroupFailure{{"1", "SUM overflows INT64"}, {"2", "SUM overflows INT64"}}, failures)
	give(t, tally, []any{1, 5}, []any{2, 1})
	rows, failures = answer()
	require.Equal(t, []string{"2 2 -9223372036854775808"}, rows, "it fits again")
	require.Empty(t, failures, "1 was reported")
	give(t, tally, []any{2, -1})
	_, failures = answer()
	require.Len(t, failures, 1, "2 fails anew")
}

func TestStateIsBounded(t *testing.T) {
	tally := newTally(t, counting(OnCross, 1000), Options{MaxBytes: 100_000})
	var err error
	user := int64(0)
	for ; err == nil && user < 100_000; user += 100 {
		var rows [][]any
		for i := range int64(100) {
			rows = append(rows, []any{user + i, nil})
		}
		batch := batchOf(tally.opts.Mem, tally.plan.Source.Schema, rows)
		err = tally.Add(Rows{Batch: batch})
		batch.Release()
	}
	require.ErrorIs(t, err, ErrStateTooLarge)
	require.ErrorContains(t, err, "rule counting")
	require.ErrorContains(t, err, "--memory")
	require.InDelta(t, 4000, user, 100, "a group takes some 25 bytes")

	plan := testPlan(rules.Plan{Source: source("x", intType), Aggs: []rules.Agg{{Func: rules.CountDistinct, Arg: columnExpr{"x", intType}}}})
	tally = newTally(t, Rule{Name: "distinct", Plan: plan}, Options{DistinctMax: 3})
	give(t, tally, []any{1}, []any{2}, []any{3}, []any{1}, []any{nil})
	batch := batchOf(tally.opts.Mem, plan.Source.Schema, [][]any{{4}})
	defer batch.Release()
	err = tally.Add(Rows{Batch: batch})
	require.ErrorIs(t, err, ErrStateTooLarge)
	require.ErrorContains(t, err, "holds 4 values")
}

func TestImpossibleRulesAreRefused(t *testing.T) {
	_, err := New(counting(OnClose, 1), Options{})
	require.ErrorContains(t, err, "on_close needs a window")
	plan := testPlan(rules.Plan{Source: source("s", textType), Aggs: []rules.Agg{{Func: rules.Sum, Arg: columnExpr{"s", textType}, Type: textType}}})
	_, err = New(Rule{Plan: plan}, Options{})
	require.ErrorContains(t, err, "does not take string")
}

// TestPortal feeds the portal's four batches, one commit each.
func TestPortal(t *testing.T) {
	kolkata, err := time.LoadLocation("Asia/Kolkata")
	require.NoError(t, err)
	src := source("user_id", intType, "property_id", intType, "date", timeType, "event", textType)
	src.Zone = kolkata
	interaction := funcExpr{"event = 'Interaction'", boolType, func(get func(string) any) (any, error) { return get("event") == "Interaction", nil }}
	plan := func(key string, window *rules.Window, n int64) *rules.Plan {
		return testPlan(rules.Plan{Source: src, Filter: interaction, Keys: []rules.Column{col(key, intType)}, Window: window,
			Aggs: []rules.Agg{{Func: rules.Count}}, Having: atLeast("agg0", n)})
	}
	for name, want := range map[string]struct {
		plan  *rules.Plan
		lines []string
	}{
		"paid_user":       {plan("user_id", nil, 9), []string{"1 1 9", "1 1 10", "1 1 11", "1 1 22"}},
		"property_status": {plan("property_id", nil, 6), []string{"1 1 10", "1 1 11", "1 1 12", "1 1 24"}},
		"possible_broker": {plan("user_id", &rules.Window{Time: columnExpr{"date", timeType}, Micros: 60_000_000, Origin: at("1950-01-01T00:00:00Z")}, 11),
			[]string{"1 1 1638210600000000 11", "1 1 1638210600000000 22"}},
	} {
		tally := newTally(t, Rule{Name: name, Plan: want.plan, Emit: OnChange}, Options{})
		var got []string
		for batch := 1; batch <= 4; batch++ {
			give(t, tally, portalBatch(t, batch, kolkata)...)
			got = append(got, taken(t, tally)...)
		}
		require.Equal(t, want.lines, got, name)
	}
}

func portalBatch(t *testing.T, n int, zone *time.Location) [][]any {
	file, err := os.Open(filepath.Join("testdata", "nobroker", "batch-"+string(rune('0'+n))+".jsonl"))
	require.NoError(t, err)
	defer file.Close()
	var rows [][]any
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var event struct {
			User     int64  `json:"user_id"`
			Property int64  `json:"property_id"`
			Date     string `json:"date"`
			Event    string `json:"event"`
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &event))
		date, err := time.ParseInLocation(time.DateTime, event.Date, zone)
		require.NoError(t, err)
		rows = append(rows, []any{event.User, event.Property, date.UnixMicro(), event.Event})
	}
	require.NotEmpty(t, rows)
	return rows
}
