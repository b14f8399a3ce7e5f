package tally

import (
	"encoding/binary"
	"errors"
	"maps"
	"math"
	"slices"

	"github.com/zeebo/xxh3"
)

// The form of a checkpoint (slice.go says what it has of the state, wire.go how
// values are written):
//
//	"LKTS", version, whole (bool), serial: 1 for the first checkpoint, one more each
//	fingerprint of the plan, emit, scope; a hash of HAVING and SELECT
//	watermark, rows late and matched in all
//	where the slice begins and ends
//	dates before which statistics were dropped; statistics of dates that changed or are in the slice
//	tables that changed, each:
//	    window start, whether it is the window of NULL, date
//	    groups that it had at the last checkpoint, number of new ones, keys of these
//	    older groups that changed, as gaps; then of these and of the new ones
//	    flags, the hash of the last answer where there is one, and each aggregate
//	    of each COUNT(DISTINCT): values that it had, number of new ones, these
//	chunks of the slice, each:
//	    the table's span, part (0: groups; i: values of the i-th COUNT(DISTINCT)), length of the
//	    part, range; keys, flags, hashes and aggregates of its groups, or its values
//
// A whole checkpoint takes everything as changed and has no slice. Keys and
// values stand in sections, each behind its length (8 bytes). Tables that the
// watermark closed are not named: who reads it closes them again.
const (
	magic         = "LKTS"
	formatVersion = 2
)

// ErrOtherRule says that a checkpoint is of another rule: its plan, emit or
// scope changed. The state has to be made anew from the table.
var ErrOtherRule = errors.New("the checkpoint is of another rule")

// Checkpoint appends to dst what changed since the last checkpoint, and a slice
// of the rest that is about as large. needs is the number of the newest
// checkpoints, this one included, that Restore needs from now on; older ones may
// be deleted. Answers not taken are not part of it, so take them first and keep
// them beside it.
func (t *Tally) Checkpoint(dst []byte) (out []byte, needs int) {
	return t.save(dst, t.nextShare()), len(t.extents)
}

func (t *Tally) save(dst []byte, part share) []byte {
	t.serial++
	part.whole = part.whole || t.serial == 1
	tables, s := t.changed, slice{extent: extent{walkStart, walkEnd}}
	if part.whole {
		tables = t.ordered()
		t.extents = t.extents[:0]
	} else {
		s = t.next(part.units)
	}
	t.extents = append(t.extents, s.extent)
	t.extents = slices.Clone(t.extents[len(t.extents)-needed(t.extents):])

	dst = append(dst, magic...)
	dst = appendUint(dst, formatVersion)
	dst = appendBool(dst, part.whole)
	dst = appendUint(dst, t.serial)
	dst = appendBytes(dst, []byte(t.plan.Fingerprint()))
	dst = append(dst, byte(t.rule.Emit), byte(t.rule.Scope))
	dst = appendFixed(dst, t.terms())
	dst = appendInt(dst, t.clock)
	dst = appendInt(appendInt(dst, t.late), t.matched)
	dst = appendPlace(appendPlace(dst, s.from), s.to)
	dst = t.stats.encode(dst, part.whole, s.dates)

	tables = slices.DeleteFunc(slices.Clone(tables), func(tb *table) bool { return tb.closed })
	dst = appendUint(dst, uint64(len(tables)))
	for _, tb := range tables {
		dst = tb.encode(dst, part.whole)
		t.measure(tb)
	}
	clear(t.changed) // lets go of tables that close later
	t.changed = t.changed[:0]
	dst = appendUint(dst, uint64(len(s.chunks)))
	for _, c := range s.chunks {
		dst = c.encode(dst)
	}
	return dst
}

// terms is a hash of what decides and makes answers but is not part of the
// plan's fingerprint.
func (t *Tally) terms() uint64 {
	text := "having "
	if t.plan.Having != nil {
		text += t.plan.Having.String()
	}
	for _, s := range t.plan.Select {
		text += "\x00" + s.Name + "\x00" + s.Expr.String()
	}
	return xxh3.HashString(text)
}

func appendPlace(dst []byte, p place) []byte {
	dst = appendSpan(append(dst, byte(p.stage)), p.span)
	return appendInt(appendUint(dst, uint64(p.part)), int64(p.number))
}

func appendSpan(dst []byte, s span) []byte {
	return appendInt(appendBool(appendInt(dst, s.start), s.null), int64(s.date))
}

// appendSection writes what write appends behind its length.
func appendSection(dst []byte, write func(dst []byte) []byte) []byte {
	at := len(dst)
	dst = write(appendFixed(dst, 0))
	binary.LittleEndian.PutUint64(dst[at:], uint64(len(dst)-at-8))
	return dst
}

// encode writes the statistics of all dates, or of those that changed and of
// some more.
func (l *ledger) encode(dst []byte, whole bool, more []int32) []byte {
	dates := l.changed
	if whole {
		l.dropped = math.MinInt32 // what is not written is not there
		dates = make(map[int32]bool, len(l.dates))
		for date := range l.dates {
			dates[date] = true
		}
	}
	for _, date := range more {
		dates[date] = true
	}
	dst = appendInt(dst, int64(l.dropped))
	dst = appendUint(dst, uint64(len(dates)))
	for _, date := range slices.Sorted(maps.Keys(dates)) {
		s := l.dates[date]
		for _, x := range []int64{int64(date), s.Matched, s.Late, s.Closed, s.Answers} {
			dst = appendInt(dst, x)
		}
		dst = appendFixed(dst, s.Sum)
	}
	l.saved()
	return dst
}

func (tb *table) encode(dst []byte, whole bool) []byte {
	if whole {
		tb.saved, tb.dirty = 0, tb.dirty[:0]
		for _, set := range tb.sets {
			set.saved = 0
		}
	}
	tb.sortDirty()
	n := tb.index.len()
	dst = appendSpan(dst, tb.span)
	dst = appendUint(dst, uint64(tb.saved))
	dst = appendUint(dst, uint64(n-tb.saved))
	dst = appendSection(dst, func(dst []byte) []byte { return tb.index.encode(dst, tb.saved, n) })
	dst = appendUint(dst, uint64(len(tb.dirty)))
	next := int32(0)
	for _, g := range tb.dirty {
		dst = appendUint(dst, uint64(g-next))
		next = g + 1
	}
	dst = tb.encodeGroups(dst, tb.dirty)
	dst = tb.encodeRange(dst, tb.saved, n)
	for _, set := range tb.sets {
		values := set.len()
		dst = appendUint(dst, uint64(set.saved))
		dst = appendUint(dst, uint64(values-set.saved))
		dst = appendSection(dst, func(dst []byte) []byte { return set.encodeValues(dst, set.saved, values) })
		set.saved = values
	}
	for _, g := range tb.dirty {
		*tb.flags.at(g) &^= flagChanged
	}
	for g := tb.saved; g < n; g++ {
		*tb.flags.at(int32(g)) &^= flagChanged
	}
	tb.saved, tb.dirty, tb.listed = n, nil, false
	return dst
}

// sortDirty puts the changed groups in order; of many, a look at all flags is
// cheaper than a sort.
func (tb *table) sortDirty() {
	if len(tb.dirty) < tb.saved/16 {
		slices.Sort(tb.dirty)
		return
	}
	tb.dirty = tb.dirty[:0]
	for g := range int32(tb.saved) {
		if *tb.flags.at(g)&flagChanged != 0 {
			tb.dirty = append(tb.dirty, g)
		}
	}
}

// encodeGroups writes what the groups hold but their keys and distinct values.
func (tb *table) encodeGroups(dst []byte, groups []int32) []byte {
	for _, g := range groups {
		kept := *tb.flags.at(g) & flagsKept
		dst = append(dst, byte(kept))
		if kept&flagLive != 0 {
			emitted := tb.emitted.at(g)
			dst = appendFixed(appendFixed(dst, emitted.Hi), emitted.Lo)
		}
	}
	for _, a := range tb.aggs {
		dst = a.encode(dst, groups)
	}
	return dst
}

// rangeAtOnce bounds the numbers that are listed to write a range of groups.
const rangeAtOnce = 1 << 12

// encodeRange is encodeGroups of the groups numbered from on, to exclusive, some
// at a time.
func (tb *table) encodeRange(dst []byte, from, to int) []byte {
	groups := make([]int32, 0, min(rangeAtOnce, to-from))
	for from < to {
		groups = numbers(groups[:0], from, min(to, from+rangeAtOnce))
		dst = tb.encodeGroups(dst, groups)
		from += len(groups)
	}
	return dst
}

func numbers(dst []int32, from, to int) []int32 {
	for g := from; g < to; g++ {
		dst = append(dst, int32(g))
	}
	return dst
}

func (c chunk) encode(dst []byte) []byte {
	tb := c.table
	dst = appendSpan(dst, tb.span)
	for _, x := range []int{c.part, tb.count(c.part), c.from, c.to} {
		dst = appendUint(dst, uint64(x))
	}
	if c.part > 0 {
		return appendSection(dst, func(dst []byte) []byte { return tb.sets[c.part-1].encodeValues(dst, c.from, c.to) })
	}
	dst = appendSection(dst, func(dst []byte) []byte { return tb.index.encode(dst, c.from, c.to) })
	return tb.encodeRange(dst, c.from, c.to)
}
