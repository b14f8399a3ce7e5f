package tally

import (
	"math"
	"slices"

	"lake/rules"
)

// splitter is what split uses again from batch to batch. Events out of order are
// of some sixty windows in turn, so a row finds its window by a look at a spot,
// and the rows of a table are brought together by a counting sort.
type splitter struct {
	spots  []spot // by the number of the window; cleared where tables leave
	rate   float64
	kept   []int32 // rows that are not late
	turns  []int32 // of these: the place of the table in active
	next   []int32 // of a table: the place in sorted of its next row
	sorted []int32
	late   []int32

	foreign table // stands for those of other parts, which take their rows
}

// spot remembers a window, and what of the tally belongs to it.
type spot struct {
	from, to int64 // instants of the window, to exclusive; all of them where there is none
	span     span
	end      int64  // the watermark that closes the span
	table    *table // nil: no row came that is not late
	own      int    // 1; 0: another part of the rule has the window
}

const spotsKept = 1024

// split gives each selected row to the table of its window and date, and counts
// those that are late.
func (t *Tally) split(selected []int32, times *column, rows Rows) {
	byDate := t.rule.Scope == Partition
	if times == nil && !byDate {
		if len(selected) > 0 {
			tb := t.table(span{})
			t.active = append(t.active, tb)
			tb.rows = selected
			t.countMatched(selected, rows)
		}
		return
	}
	sp := &t.splitter
	if sp.spots == nil {
		sp.spots, sp.rate = make([]spot, spotsKept), 1.0/microsPerDay
		if w := t.plan.Window; w != nil && w.Kind == rules.Tumble {
			sp.rate = 1 / float64(w.Micros)
		}
	}
	sp.kept, sp.turns, sp.late = grown(sp.kept, len(selected)), grown(sp.turns, len(selected)), sp.late[:0]
	kept, turns, n := sp.kept, sp.turns, 0
	for _, row := range selected {
		var date int32
		if byDate {
			date = rows.Date[row]
		}
		ts, null := int64(0), false
		if times != nil {
			if null = times.null(row); !null {
				ts = times.ints[row]
			}
		}
		// The number is only where to look: that it is rounded does no harm.
		at := &sp.spots[(uint64(int64(float64(ts)*sp.rate))+uint64(uint32(date)))%spotsKept]
		if ts < at.from || ts >= at.to || at.span.date != date || at.span.null != null {
			if !t.locate(at, ts, times != nil, null, date) {
				t.failures = append(t.failures, rules.Failure{Row: int(row), Reason: "the window's time is outside the years 1 to 9999"})
				continue
			}
		}
		clock := t.clock
		if rows.Watermark != nil {
			clock = max(clock, rows.Watermark[row])
		}
		if at.end <= clock && at.end != never {
			t.countLate(row, rows, at.span)
			continue
		}
		if at.table == nil {
			at.table = t.table(at.span)
		}
		tb := at.table
		if tb.given == 0 {
			tb.turn = int32(len(t.active))
			t.active = append(t.active, tb)
		}
		tb.given++
		kept[n], turns[n] = row, tb.turn // stays where the window is this part's: no branch to guess
		n += at.own
	}
	sp.kept, sp.turns = kept[:n], turns[:n]
	t.sort()
	t.countMatched(sp.kept, rows)
	if len(sp.late) > 0 {
		t.stats.countLate(rows.Date, sp.late)
	}
}

// locate makes a spot that of an instant and date; false: no window has the instant.
func (t *Tally) locate(at *spot, ts int64, windowed, null bool, date int32) bool {
	s, window := span{null: null, date: date}, stretch{from: math.MinInt64, to: math.MaxInt64}
	if windowed && !null {
		if ts < minTimestamp || ts > maxTimestamp {
			return false
		}
		window = t.stretchOf(ts)
		s.start = window.start
	}
	*at = spot{from: window.from, to: window.to, span: s, own: 1, end: never}
	if t.part.of > 1 && t.part.by == byWindow && !t.part.hasWindow(s, t.plan.Window) {
		at.own, at.table = 0, &t.splitter.foreign
		at.table.given = 1 // it is never active
		return true
	}
	at.end, at.table = t.endOf(s, window), t.tables[s]
	return true
}

// sort gives each active table its rows, in order.
func (t *Tally) sort() {
	sp := &t.splitter
	if len(t.active) == 1 {
		t.active[0].rows, t.active[0].given = sp.kept, 0
		return
	}
	sp.sorted = slices.Grow(sp.sorted[:0], len(sp.kept))[:len(sp.kept)]
	sp.next = sp.next[:0]
	from := int32(0)
	for _, tb := range t.active {
		to := from + tb.given
		sp.next = append(sp.next, from)
		tb.rows, tb.given = sp.sorted[from:to:to], 0
		from = to
	}
	next := sp.next
	for i, row := range sp.kept {
		turn := sp.turns[i]
		sp.sorted[next[turn]] = row
		next[turn]++
	}
}

// countMatched counts the rows that are added.
func (t *Tally) countMatched(kept []int32, rows Rows) {
	t.matched += int64(len(kept))
	if rows.Date != nil {
		t.stats.countMatched(rows.Date, kept)
		return
	}
	for _, tb := range t.active {
		if date, ok := t.windowDate(tb.span); ok {
			t.stats.of(date).Matched += int64(len(tb.rows))
		}
	}
}

func (t *Tally) countLate(row int32, rows Rows, s span) {
	t.late++
	if rows.Date != nil {
		t.splitter.late = append(t.splitter.late, row)
	} else if date, ok := t.windowDate(s); ok {
		t.stats.of(date).Late++
	}
}

// windowDate is the UTC date on which a window starts.
func (t *Tally) windowDate(s span) (int32, bool) {
	if t.plan.Window == nil || s.null {
		return 0, false
	}
	if t.plan.Window.Kind == rules.Day {
		return int32(s.start), true
	}
	return int32(floorDiv(s.start, microsPerDay)), true
}
