package tally

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"lake/rules"
)

// counted is COUNT(*) by user and window as a plain map has it, with what closes.
type counted struct {
	windows map[int64]map[any]int64 // by start; of the NULL time under math.MinInt64
	late    int64
	stats   map[int32]DateStats
}

func (c *counted) add(user any, ts any, date int32, mark, width int64) {
	start, end := int64(math.MinInt64), int64(never)
	if ts, ok := ts.(int64); ok {
		start = ts - ((ts%width)+width)%width
		end = start + width
	}
	s := c.stats[date]
	if end <= mark {
		c.late++
		s.Late++
	} else {
		if c.windows[start] == nil {
			c.windows[start] = map[any]int64{}
		}
		c.windows[start][user]++
		s.Matched++
	}
	c.stats[date] = s
}

// close takes out the windows that end by the watermark, as lines of answers.
func (c *counted) close(mark, width int64) []string {
	var out []string
	for start, users := range c.windows {
		if start == math.MinInt64 || start+width > mark {
			continue
		}
		out = append(out, c.lines(start, users)...)
		delete(c.windows, start)
	}
	return out
}

func (c *counted) lines(start int64, users map[any]int64) []string {
	window := fmt.Sprint(start)
	if start == math.MinInt64 {
		window = "NULL"
	}
	var out []string
	for user, n := range users {
		if user == nil {
			user = "NULL"
		}
		out = append(out, fmt.Sprint(user, " ", window, " ", n))
	}
	return out
}

// TestManyWindowsInTurn gives batches whose rows are of many more windows than
// are remembered at a time, far out of order, with NULL users and times and a
// watermark a row; now and then the state moves to another Tally.
func TestManyWindowsInTurn(t *testing.T) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 11))
		width := []int64{1, 7_000, 60_000_000}[seed%3]
		spread := []int64{40, 3 * spotsKept}[seed/3%2] * width // how far out of order events are
		lateness := spread * int64(r.IntN(4)) / 2
		rule := byMinute([]Emit{OnClose, OnChange, OnCross}[seed/2%3], 1)
		rule.Plan.Window = &rules.Window{Time: columnExpr{"ts", timeType}, Micros: width}
		rule.Plan = testPlan(*rule.Plan)
		mem := checked(t)
		tally := newTally(t, rule, Options{Mem: mem})
		model := counted{windows: map[int64]map[any]int64{}, stats: map[int32]DateStats{}}
		now, mark := at("2021-11-30T00:00:00Z")-spread/2, int64(math.MinInt64)
		var parts [][]byte
		var closed, answered []string
		for range 25 {
			var rows [][]any
			given := Rows{}
			for range r.IntN(3000) {
				var user, ts any = int64(r.IntN(30)), now - r.Int64N(spread)
				now += r.Int64N(spread/500 + 2)
				if r.IntN(50) == 0 {
					user = nil
				}
				if r.IntN(200) == 0 {
					ts = nil
				}
				date := int32(18961 + r.IntN(2))
				rows = append(rows, []any{user, ts})
				given.Date, given.Watermark = append(given.Date, date), append(given.Watermark, mark)
				model.add(user, ts, date, mark, width)
				if ts, ok := ts.(int64); ok {
					mark = max(mark, ts-lateness)
				}
			}
			given.Batch = batchOf(mem, rule.Plan.Source.Schema, rows)
			require.NoError(t, tally.Add(given))
			given.Batch.Release()
			if r.IntN(4) > 0 {
				require.NoError(t, tally.Advance(mark))
				closed = append(closed, model.close(mark, width)...)
			}
			open := 0
			for _, users := range model.windows {
				open += len(users)
			}
			require.Equal(t, open, tally.Groups(), "seed %d", seed)
			if r.IntN(3) > 0 {
				continue
			}
			answered = append(answered, taken(t, tally)...)
			part, needs := tally.Checkpoint(nil)
			parts = append(parts, part)
			parts = parts[len(parts)-needs:]
			if r.IntN(2) == 0 {
				tally = newTally(t, rule, Options{Mem: mem})
				require.NoError(t, tally.Restore(parts...))
			}
		}
		var final []string
		for start, users := range model.windows {
			final = append(final, model.lines(start, users)...)
		}
		require.Equal(t, slices.Sorted(slices.Values(final)), slices.Sorted(slices.Values(withoutKeys(finals(t, tally)))), "seed %d", seed)
		require.Equal(t, model.late, tally.Late(), "seed %d", seed)
		for date, want := range model.stats {
			got := tally.Stats()[date]
			require.Equal(t, [2]int64{want.Matched, want.Late}, [2]int64{got.Matched, got.Late}, "seed %d", seed)
		}
		if rule.Emit == OnClose {
			answered = append(answered, taken(t, tally)...)
			require.Equal(t, slices.Sorted(slices.Values(closed)), slices.Sorted(slices.Values(withoutKeys(answered))), "seed %d", seed)
			require.NotEmpty(t, closed)
		}
	}
}

// withoutKeys are answers as lines less the text of their key.
func withoutKeys(answers []string) []string {
	var out []string
	for _, line := range answers {
		_, values, _ := strings.Cut(line, " ")
		out = append(out, values)
	}
	return out
}

// TestRestoreForgetsTheTablesBefore goes on after Restore in a window that the
// Tally has just had rows of.
func TestRestoreForgetsTheTablesBefore(t *testing.T) {
	tally := newTally(t, byMinute(OnClose, 1), Options{})
	ts := at("2021-11-30T00:00:30Z")
	give(t, tally, repeat(3, 7, ts)...)
	part, _ := tally.Checkpoint(nil)
	give(t, tally, repeat(5, 7, ts)...)
	require.NoError(t, tally.Restore(part))
	give(t, tally, repeat(1, 7, ts)...)
	require.Equal(t, []string{"7 7 1638230400000000 4"}, finals(t, tally))
}
