package tally

import (
	"cmp"
	"math"
	"slices"
	"time"

	"lake/rules"
)

const microsPerDay = 24 * 60 * 60 * 1_000_000

// The instants that GoogleSQL's TIMESTAMP holds, in µs since 1970.
const (
	minTimestamp = -62135596800_000000 // 0001-01-01
	maxTimestamp = 253402300799_999999 // 9999-12-31
)

const (
	minClock = math.MinInt64 // no watermark yet
	never    = math.MaxInt64 // the end of what does not close
)

// span tells the tables of a rule apart: the window and, where the scope is a
// partition, the date.
type span struct {
	start int64 // of the window: µs since 1970 (Tumble), days since 1970 (Day)
	null  bool  // the window of a NULL time
	date  int32 // days since 1970 in the source's zone
}

// firstSpan is before or equal to every span.
var firstSpan = span{start: math.MinInt64, null: true, date: math.MinInt32}

// compare orders spans by window, the NULL window first, then date.
func (s span) compare(o span) int {
	if s.null != o.null {
		return nullsFirst(s.null, o.null)
	}
	return cmp.Or(cmp.Compare(s.start, o.start), cmp.Compare(s.date, o.date))
}

// stretch is instants, from inclusive and to exclusive, that lie in one window.
// A window may have several: a day on which clocks are put back over midnight.
type stretch struct {
	from, to int64
	start    int64 // of the window, as in span
	end      int64 // of the window: the watermark that closes it
}

// stretchAt finds the window of an instant.
func stretchAt(w *rules.Window, at int64) stretch {
	if w.Kind == rules.Tumble {
		start := floorDiv(at-w.Origin, w.Micros)*w.Micros + w.Origin
		return stretch{from: start, to: start + w.Micros, start: start, end: start + w.Micros}
	}
	from, to, offset := zonePeriod(w.Zone, at)
	day := floorDiv(at+offset, microsPerDay)
	return stretch{
		from:  max(from, day*microsPerDay-offset),
		to:    min(to, (day+1)*microsPerDay-offset),
		start: day,
		end:   dayEnd(w.Zone, day),
	}
}

// dayCache holds the days met of late, so that rows of many days in turn do not
// ask the zone each time.
type dayCache []stretch // by from; they do not overlap

const daysCached = 512

// stretchOf is stretchAt of the plan's window.
func (t *Tally) stretchOf(at int64) stretch {
	if t.plan.Window.Kind == rules.Tumble {
		return stretchAt(t.plan.Window, at)
	}
	i, _ := slices.BinarySearchFunc(t.days, at, func(s stretch, at int64) int {
		if s.to <= at {
			return -1
		}
		return 1
	})
	if i < len(t.days) && t.days[i].from <= at {
		return t.days[i]
	}
	s := stretchAt(t.plan.Window, at)
	if len(t.days) == daysCached {
		t.days, i = t.days[:0], 0
	}
	t.days = slices.Insert(t.days, i, s)
	return s
}

// endOf is spanEnd for a span whose window, if it has one, is at.
func (t *Tally) endOf(s span, at stretch) int64 {
	if t.rule.Scope == Partition {
		return t.spanEnd(s)
	}
	if t.plan.Window == nil || s.null {
		return never
	}
	return at.end
}

// zonePeriod is the time around an instant during which the zone's offset (µs) stays.
func zonePeriod(zone *time.Location, at int64) (from, to, offset int64) {
	t := time.UnixMicro(at).In(zone)
	_, seconds := t.Zone()
	from, to = math.MinInt64, math.MaxInt64
	start, end := t.ZoneBounds()
	if !start.IsZero() {
		from = start.UnixMicro()
	}
	if !end.IsZero() {
		to = end.UnixMicro()
	}
	return from, to, int64(seconds) * 1_000_000
}

// dayEnd is the first instant from which on the zone's date is later than day.
func dayEnd(zone *time.Location, day int64) int64 {
	midnight := (day + 1) * microsPerDay // as the zone's clocks read it
	at := midnight - 2*microsPerDay
	last := int64(math.MinInt64)
	for at <= midnight+2*microsPerDay {
		from, to, offset := zonePeriod(zone, at)
		if end := min(to, midnight-offset); end > from {
			last = max(last, end)
		}
		if to == math.MaxInt64 {
			break
		}
		at = to
	}
	return last
}

// dateOf is the zone's date, in days since 1970, at an instant.
func dateOf(zone *time.Location, at int64) int32 {
	_, seconds := time.UnixMicro(at).In(zone).Zone()
	return int32(floorDiv(at+int64(seconds)*1_000_000, microsPerDay))
}

// spanEnd is the watermark that closes a span: its window's end or, where the
// scope is a partition and that comes first, the end of its date.
func (t *Tally) spanEnd(s span) int64 {
	end := int64(never)
	if w := t.plan.Window; w != nil && !s.null {
		if w.Kind == rules.Tumble {
			end = s.start + w.Micros
		} else {
			end = dayEnd(w.Zone, s.start)
		}
	}
	if t.rule.Scope == Partition {
		end = min(end, t.dateEnd(s.date))
	}
	return end
}

// dateEnd is dayEnd in the source's zone.
func (t *Tally) dateEnd(date int32) int64 {
	end, known := t.dateEnds[date]
	if !known {
		if t.dateEnds == nil || len(t.dateEnds) == daysCached {
			t.dateEnds = map[int32]int64{}
		}
		end = dayEnd(t.zone, int64(date))
		t.dateEnds[date] = end
	}
	return end
}

// spanDate is the one date, in the source's zone, that all rows of a span have.
// A window that reaches into two dates has none, and neither has what never closes.
func (t *Tally) spanDate(s span) (int32, bool) {
	if t.rule.Scope == Partition {
		return s.date, true
	}
	w := t.plan.Window
	if w == nil || s.null {
		return 0, false
	}
	if w.Kind == rules.Tumble {
		date := dateOf(t.zone, s.start)
		return date, dateOf(t.zone, s.start+w.Micros-1) == date
	}
	if w.Zone.String() == t.zone.String() {
		return int32(s.start), true
	}
	date := dateOf(t.zone, dayEnd(w.Zone, s.start-1))
	return date, dateOf(t.zone, dayEnd(w.Zone, s.start)-1) == date
}

func floorDiv(x, y int64) int64 {
	q := x / y
	if x%y < 0 {
		q--
	}
	return q
}
