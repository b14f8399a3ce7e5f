package schemas

import (
	"math"
	"time"
)

const secondMicros = 1e6

// The bounds of an offset that holds since ever or for ever: far enough out
// that adding an offset does not overflow.
const (
	sinceEver = math.MinInt64 / 2
	forEver   = math.MaxInt64 / 2
)

// ZoneClock converts between instants and the wall clock of one zone. It
// remembers the stretch between two changes of the zone's offset, so that the
// times of a stream cost an addition each. One goroutine uses it.
type ZoneClock struct {
	loc      *time.Location
	from, to int64 // the instants, to exclusive, at which offset holds
	offset   int64 // µs east of UTC

	// The wall clock's readings, localTo exclusive, that surely have offset.
	localFrom, localTo int64

	// The last date asked for: the instants, dayTo exclusive, that surely are of it.
	dayFrom, dayTo int64
	day            int32
}

// NewZoneClock makes a clock of loc; nil is UTC.
func NewZoneClock(loc *time.Location) *ZoneClock {
	if loc == nil {
		loc = time.UTC
	}
	c := &ZoneClock{loc: loc}
	c.turn(0)
	return c
}

// Date is the local date, in days since 1970-01-01, of an instant in µs since 1970.
func (c *ZoneClock) Date(micros int64) int32 {
	if micros >= c.dayFrom && micros < c.dayTo {
		return c.day
	}
	if micros < c.from || micros >= c.to {
		c.turn(micros)
	}
	day := floorDiv(micros+c.offset, dayMicros)
	c.day = int32(day)
	c.dayFrom = max(c.from, day*dayMicros-c.offset)
	c.dayTo = min(c.to, (day+1)*dayMicros-c.offset)
	return c.day
}

// Dates sets dst to the local date of each instant, as Date gives it.
func (c *ZoneClock) Dates(micros []int64, dst []int32) {
	dst = dst[:len(micros)]
	from, to, day := c.dayFrom, c.dayTo, c.day
	for i, at := range micros {
		if at < from || at >= to {
			day = c.Date(at)
			from, to = c.dayFrom, c.dayTo
		}
		dst[i] = day
	}
}

// Local is what the wall clock reads at an instant: µs since 1970-01-01 00:00:00 local.
func (c *ZoneClock) Local(micros int64) int64 {
	if micros < c.from || micros >= c.to {
		c.turn(micros)
	}
	return micros + c.offset
}

// Instant is when the wall clock reads local. A reading that a change of the
// offset leaves out or repeats is taken as time.Date takes it.
func (c *ZoneClock) Instant(local int64) int64 {
	if local >= c.localFrom && local < c.localTo {
		return local - c.offset
	}
	return c.search(local)
}

// search is time.Date's way: the offset at local taken as UTC first, then the
// one at the instant which that gives.
func (c *ZoneClock) search(local int64) int64 {
	if local < c.from || local >= c.to {
		c.turn(local)
	}
	if at := local - c.offset; at < c.from || at >= c.to {
		c.turn(at)
	}
	return local - c.offset
}

// turn remembers the offset at an instant.
func (c *ZoneClock) turn(micros int64) {
	t := time.UnixMicro(micros).In(c.loc)
	_, seconds := t.Zone()
	start, end := t.ZoneBounds()
	c.from, c.to, c.offset = sinceEver, forEver, int64(seconds)*secondMicros
	if !start.IsZero() {
		c.from = start.UnixMicro()
	}
	if !end.IsZero() {
		c.to = end.UnixMicro()
	}
	c.localFrom = max(c.from, c.from+c.offset)
	c.localTo = min(c.to, c.to+c.offset)
}
