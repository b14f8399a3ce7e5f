package ingest

import (
	"math"
	"slices"
	"time"
)

// noTime stands for an event time or a watermark that is not there.
const noTime = math.MinInt64

// watermark is the event-time progress of a shard, in µs since 1970: the
// smallest, over its source partitions that are not idle or at their end, of
// (largest event time − allowed lateness); where none is left, the largest.
// It never goes back.
type watermark struct {
	lateness int64
	idle     time.Duration
	parts    map[string]*progress
	current  int64 // never goes back
	largest  int64 // largest event time of any partition
}

// progress is what a source partition adds to the watermark.
type progress struct {
	largest  int64 // event time; noTime until the first record
	idle     bool  // steps aside until its next record
	caughtUp time.Time
}

// Mark is the part of a watermark that a checkpoint keeps.
type Mark struct {
	Current int64            `json:"current"`
	Largest int64            `json:"largest"`
	Parts   map[string]int64 `json:"parts,omitempty"` // largest event time of each open partition
	Idle    []string         `json:"idle,omitempty"`  // partitions that stepped aside
}

func newWatermark(lateness, idle time.Duration) *watermark {
	return &watermark{lateness: lateness.Microseconds(), idle: idle, parts: map[string]*progress{}, current: noTime, largest: noTime}
}

func (w *watermark) restore(m Mark) {
	w.current, w.largest = m.Current, m.Largest
	for name, largest := range m.Parts {
		w.parts[name] = &progress{largest: largest}
	}
	for _, name := range m.Idle {
		if p := w.parts[name]; p != nil {
			p.idle = true
		}
	}
}

func (w *watermark) mark() Mark {
	m := Mark{Current: w.current, Largest: w.largest, Parts: make(map[string]int64, len(w.parts))}
	for name, p := range w.parts {
		if p.largest == noTime && !p.idle {
			continue // announced and not read: the source announces it again
		}
		m.Parts[name] = p.largest
		if p.idle {
			m.Idle = append(m.Idle, name)
		}
	}
	return m
}

// announce makes partitions hold the watermark back until they have a record.
func (w *watermark) announce(names []string) {
	for _, name := range names {
		if w.parts[name] == nil {
			w.parts[name] = &progress{largest: noTime}
		}
	}
}

// rows appends to dst the watermark before each row of one partition is taken,
// and takes the rows. times may hold noTime.
func (w *watermark) rows(partition string, times []int64, dst []int64) []int64 {
	p := w.parts[partition]
	if p == nil {
		p = &progress{largest: noTime}
		w.parts[partition] = p
	}
	p.idle, p.caughtUp = false, time.Time{}
	others := w.least(p)
	largest, current := p.largest, w.current
	from := len(dst)
	dst = slices.Grow(dst, len(times))[:from+len(times)]
	for i, t := range times {
		dst[from+i] = current
		if t <= largest {
			continue
		}
		largest = t
		current = max(current, min(others, largest-w.lateness))
	}
	p.largest, w.current = largest, current
	w.largest = max(w.largest, largest)
	return dst
}

// least is the smallest mark over the open partitions but one.
func (w *watermark) least(but *progress) int64 {
	least := int64(math.MaxInt64)
	for _, p := range w.parts {
		switch {
		case p == but || p.idle:
		case p.largest == noTime:
			return noTime
		default:
			least = min(least, p.largest-w.lateness)
		}
	}
	return least
}

// caughtUp notes that a partition has no more records at present.
func (w *watermark) caughtUp(partition string, now time.Time) {
	if p := w.parts[partition]; p != nil && p.caughtUp.IsZero() {
		p.caughtUp = now
	}
}

// end lets a partition step aside for good.
func (w *watermark) end(partition string) {
	delete(w.parts, partition)
	w.settle()
}

// stepAside makes partitions idle that had nothing to read for the idle time.
// It reports whether the watermark moved: a decision by the wall clock, which
// the next checkpoint records.
func (w *watermark) stepAside(now time.Time) bool {
	before := w.current
	changed := false
	for _, p := range w.parts {
		if !p.idle && !p.caughtUp.IsZero() && now.Sub(p.caughtUp) >= w.idle {
			p.idle, changed = true, true
		}
	}
	if changed {
		w.settle()
	}
	return w.current != before
}

// settle moves the watermark after a partition stepped aside.
func (w *watermark) settle() {
	least := w.least(nil)
	if least == math.MaxInt64 { // none is left
		if w.largest == noTime {
			return
		}
		least = w.largest - w.lateness
	}
	w.current = max(w.current, least)
}
