package tally

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lake/rules"
)

// TestDaysOfOddZones compares days with the clock's own dates, hour by hour and
// minute by minute around the changes that are hard: a midnight that does not
// exist, one that comes twice, a date that was left out.
func TestDaysOfOddZones(t *testing.T) {
	for zone, about := range map[string]string{
		"America/Sao_Paulo": "2018-11-04T03:00:00Z", // 00:00 does not exist
		"America/Havana":    "2018-11-04T05:00:00Z", // 01:00 back to 00:00
		"America/St_Johns":  "2010-11-07T02:31:00Z", // 00:01 back to 23:01 of the day before
		"Pacific/Apia":      "2011-12-30T10:00:00Z", // 2011-12-30 was left out
		"America/New_York":  "2021-03-14T07:00:00Z",
		"Asia/Kolkata":      "2021-11-30T18:30:00Z",
		"UTC":               "2021-11-30T00:00:00Z",
	} {
		loc, err := time.LoadLocation(zone)
		require.NoError(t, err)
		w := &rules.Window{Kind: rules.Day, Zone: loc}
		from := at(about) - 50*3600*1_000_000
		date := func(ts int64) int64 {
			y, m, d := time.UnixMicro(ts).In(loc).Date()
			return time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86400
		}
		last := map[int64]int64{} // the last minute of each date
		const step = 60_000_000
		for ts := from; ts < from+100*3600*1_000_000; ts += step {
			s := stretchAt(w, ts)
			require.Equal(t, date(ts), s.start, "%s %d", zone, ts)
			require.True(t, s.from <= ts && ts < s.to, zone)
			require.Equal(t, s.start, date(s.from), zone)
			require.Equal(t, s.start, date(s.to-1), zone)
			require.EqualValues(t, s.start, dateOf(loc, ts), zone)
			last[s.start] = ts + step
		}
		for day, end := range last {
			if end < from+100*3600*1_000_000 {
				require.Equal(t, end, dayEnd(loc, day), "%s %d", zone, day)
			}
		}
	}
}

func TestTumblingWindows(t *testing.T) {
	w := &rules.Window{Micros: 7, Origin: 3}
	for ts := int64(-30); ts < 30; ts++ {
		s := stretchAt(w, ts)
		require.True(t, s.from <= ts && ts < s.to && s.to-s.from == 7 && s.end == s.to && s.start == s.from)
		require.Zero(t, (s.from-3)%7)
	}
}

func TestRoundingOfDecimalAverages(t *testing.T) {
	plan := testPlan(rules.Plan{Source: source("d", moneyType), Aggs: []rules.Agg{{Func: rules.Avg, Arg: columnExpr{"d", moneyType}}}})
	tally := newTally(t, Rule{Plan: plan, Emit: OnChange}, Options{})
	give(t, tally, []any{money(200)}, []any{money(0)}, []any{money(0)})
	require.Equal(t, []string{"- d666666667"}, taken(t, tally), "2.00 / 3 = 0.666666667")
	give(t, tally, []any{money(-400)}, []any{money(0)}, []any{money(0)})
	require.Equal(t, []string{"- d-333333333"}, taken(t, tally), "-2.00 / 6 = -0.333333333")
	wide := &decimalSums{avg: true, from: moneyType, to: moneyType}
	wide.grow(1)
	for _, want := range []struct{ x, n, avg int64 }{{5, 2, 3}, {-5, 2, -3}, {4, 3, 1}, {-5, 3, -2}} {
		*wide.state.at(0) = decimalSum{lo: uint64(want.x), mid: uint64(want.x >> 63), hi: want.x >> 63, n: want.n}
		out := vector{typ: moneyType}
		wide.values([]int32{0}, &out)
		require.Equal(t, want.avg, int64(out.decimals[0].LowBits()), "half away from zero")
	}
}

func TestKeysAsText(t *testing.T) {
	kolkata, err := time.LoadLocation("Asia/Kolkata")
	require.NoError(t, err)
	src := source("ts", timeType, "f", floatType, "s", textType)
	src.Zone = kolkata
	of := func(row []any, columns ...string) string {
		p := rules.Plan{Source: src, Aggs: []rules.Agg{{Func: rules.Count}}}
		for _, c := range columns {
			p.Keys = append(p.Keys, col(c, src.Schema.Fields[src.Schema.Index(c)].Type))
		}
		tally := newTally(t, Rule{Plan: testPlan(p)}, Options{})
		give(t, tally, row)
		a, err := tally.Answers()
		require.NoError(t, err)
		defer a.Release()
		if a.Keys.IsNull(0) {
			return "none"
		}
		return a.Keys.Value(0)
	}
	row := []any{at("2021-11-30T00:00:00Z"), 1e-9, "a\"<ü"}
	require.Equal(t, "2021-11-30T05:30:00.000+05:30", of(row, "ts"))
	require.Equal(t, "2021-11-30T05:30:00.000001+05:30", of([]any{at("2021-11-30T00:00:00.000001Z"), nil, nil}, "ts"))
	require.Equal(t, `a"<ü`, of(row, "s"))
	require.Equal(t, "1e-9", of(row, "f"))
	require.Equal(t, "1e+22", of([]any{nil, 1e22, nil}, "f"))
	require.Equal(t, "1000000", of([]any{nil, 1e6, nil}, "f"))
	require.Equal(t, `["a\"<ü",1e-9,"2021-11-30T05:30:00.000+05:30"]`, of(row, "s", "f", "ts"))
	require.Equal(t, "none", of([]any{nil, nil, nil}, "s"))
	require.Equal(t, "[null,null]", of([]any{nil, nil, nil}, "s", "f"))
}
