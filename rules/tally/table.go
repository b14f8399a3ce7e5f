package tally

import (
	"slices"

	"github.com/zeebo/xxh3"
)

// table holds the groups of one span.
type table struct {
	span  span
	end   int64 // the watermark that closes it
	index index
	aggs  []aggregate
	sets  []*distinct // those of aggs that are one
	// counted is the one of aggs that HAVING bounds; nil: none is.
	counted *counts
	flags   chunked[flag]
	// emitted is the hash of each group's last answer, as far as any has answered;
	// only for on_change.
	emitted chunked[xxh3.Uint128]
	touched []touch // on_change: groups touched since the last Answers, in order
	// decided and failing count groups that have flagCrossed and flagFailed.
	decided, failing int

	saved  int     // groups that the last checkpoint has
	dirty  []int32 // of these, the ones that changed since
	listed bool    // in state.changed
	closed bool
	date   int32 // once closed: the one date that it is of
	dated  bool  // there is one

	size    int64 // as last measured
	members int

	// The batch at hand: rows that belong here and their groups.
	rows, groups []int32
	given, turn  int32 // of split: rows so far, and the place in active
}

// touch is a group, and the place of the row that touched it.
type touch struct {
	seq   int64
	group int32
}

// flag is what is known of a group.
type flag uint8

const (
	flagChanged flag = 1 << iota // since the last checkpoint
	flagTouched                  // since the last Answers
	flagCrossed                  // on_cross: it has answered
	flagLive                     // on_change: it has answered and no tombstone has followed
	flagFailed                   // the last attempt to answer failed, which was reported

	flagsKept = flagCrossed | flagLive | flagFailed // in a checkpoint
)

func (t *Tally) newTable(s span) *table {
	if n := len(t.spare); n > 0 {
		tb := t.spare[n-1]
		t.spare, t.spared = t.spare[:n-1], t.spared-tb.size
		tb.span, tb.end, tb.closed = s, t.spanEnd(s), false
		return tb
	}
	tb := &table{span: s, end: t.spanEnd(s), index: t.codec.newIndex(t.seeds)}
	for i, agg := range t.plan.Aggs {
		a, err := newAggregate(agg, t.seeds.bytes)
		if err != nil {
			continue // New has made each of them once
		}
		tb.aggs = append(tb.aggs, a)
		if set, ok := a.(*distinct); ok {
			tb.sets = append(tb.sets, set)
		}
		if c, ok := a.(*counts); ok && t.plan.Bound != nil && t.plan.Bound.Agg == i {
			tb.counted = c
		}
	}
	return tb
}

// table finds or makes the table of a span.
func (t *Tally) table(s span) *table {
	tb := t.tables[s]
	if tb == nil {
		tb = t.newTable(s)
		t.keep(tb)
	}
	return tb
}

// keep makes a new table part of the state.
func (t *Tally) keep(tb *table) {
	t.tables[tb.span] = tb
	n := len(t.order)
	t.sorted = n == 0 || t.sorted && t.order[n-1].span.compare(tb.span) < 0
	t.order = append(t.order, tb)
	t.nextEnd = min(t.nextEnd, tb.end)
}

// grow makes room for the groups that the index has added.
func (tb *table) grow() { tb.room(tb.index.len()) }

// room makes room for n groups.
func (tb *table) room(n int) {
	before := tb.flags.len()
	if n <= before {
		return
	}
	tb.flags.grow(n)
	for g := before; g < n; g++ {
		*tb.flags.at(int32(g)) = flagChanged // it is written as new
	}
	for _, a := range tb.aggs {
		a.grow(n)
	}
}

// remember keeps the hash of a group's answer.
func (tb *table) remember(g int32, hash xxh3.Uint128) {
	if int(g) >= tb.emitted.len() {
		tb.emitted.grow(tb.flags.len())
	}
	*tb.emitted.at(g) = hash
}

// touch notes which groups the batch at hand changes.
func (t *Tally) touch(tb *table) {
	need := flagChanged
	if t.rule.Emit == OnChange {
		need |= flagTouched
	}
	t.list(tb)
	if tb.saved == 0 && need == flagChanged {
		return // new groups are marked already
	}
	few := tb.flags.single()
	for i, g := range tb.groups {
		if few != nil && few[g]&need == need {
			continue
		}
		at := tb.flags.at(g)
		f := *at
		if f&need == need {
			continue
		}
		if f&flagChanged == 0 {
			tb.dirty = append(tb.dirty, g)
		}
		if need&^f&flagTouched != 0 {
			tb.touched = append(tb.touched, touch{group: g, seq: t.seq + int64(tb.rows[i])})
		}
		*at = f | need
	}
}

// list notes that the next checkpoint has to look at the table.
func (t *Tally) list(tb *table) {
	if !tb.listed && !tb.closed {
		tb.listed = true
		t.changed = append(t.changed, tb)
	}
}

// mark sets and clears flags of a group, which the next checkpoint then writes.
func (t *Tally) mark(tb *table, g int32, set, unset flag) {
	at := tb.flags.at(g)
	f := *at
	if f&flagChanged == 0 {
		tb.dirty = append(tb.dirty, g)
		t.list(tb)
	}
	now := f&^unset | set | flagChanged
	tb.failing += has(now, flagFailed) - has(f, flagFailed)
	tb.decided += has(now, flagCrossed) - has(f, flagCrossed)
	*at = now
}

// mute reports, without evaluating HAVING, that it is not true of a group and that
// nothing was said of the group which would have to be taken back.
func (t *Tally) mute(tb *table, g int32) bool {
	return t.below(tb, g) && *tb.flags.at(g)&(flagLive|flagFailed) == 0
}

// below reports that a group has not reached the bound of HAVING, if there is one.
func (t *Tally) below(tb *table, g int32) bool {
	return tb.counted != nil && *tb.counted.n.at(g) < t.plan.Bound.Least
}

func has(f, bit flag) int {
	if f&bit != 0 {
		return 1
	}
	return 0
}

// measure brings the tally's count of bytes up to date with the table.
func (t *Tally) measure(tb *table) {
	const fixed = 400 // the structs themselves and their place in the map
	size, members := int64(fixed)+tb.index.bytes(), 0
	size += tb.flags.bytes() + tb.emitted.bytes() + int64(cap(tb.dirty))*4 + int64(cap(tb.touched))*16
	for _, a := range tb.aggs {
		size += a.bytes() + 64
	}
	for _, set := range tb.sets {
		members += set.len()
	}
	t.bytes += size - tb.size
	t.members += members - tb.members
	tb.size, tb.members = size, members
}

// drop takes a table out of the state. What on_change still has to answer of
// it stays until Answers.
func (t *Tally) drop(tb *table, most int64) {
	delete(t.tables, tb.span)
	t.members -= tb.members
	tb.touched = slices.DeleteFunc(tb.touched, func(touched touch) bool { return *tb.flags.at(touched.group)&flagTouched == 0 })
	if len(tb.touched) > 0 {
		t.retired = append(t.retired, tb)
		return
	}
	t.recycle(tb, most)
}

// spareSize bounds the tables that are used again: to fill a large one takes
// longer than to make it.
const spareSize = 64 << 10

// recycle lets go of a table, or empties it for a window to come; of spare ones
// there are at most so many bytes.
func (t *Tally) recycle(tb *table, most int64) {
	t.bytes -= tb.size
	if tb.size > spareSize || t.spared+tb.size > most {
		return
	}
	tb.index.reset()
	for _, a := range tb.aggs {
		a.reset()
	}
	tb.flags.reset()
	tb.emitted.reset()
	tb.dirty, tb.touched = tb.dirty[:0], tb.touched[:0]
	tb.decided, tb.failing, tb.saved, tb.members, tb.listed = 0, 0, 0, 0, false
	t.spare = append(t.spare, tb)
	t.spared += tb.size
	t.bytes += tb.size
}

// dropSpare lets go of the tables that no window uses.
func (t *Tally) dropSpare() {
	t.bytes -= t.spared
	t.spare, t.spared = nil, 0
}

// ordered lists the tables by span; the list stays the state's.
func (t *Tally) ordered() []*table {
	if !t.sorted {
		slices.SortFunc(t.order, func(a, b *table) int { return a.span.compare(b.span) })
		t.sorted = true
	}
	return slices.Clip(t.order)
}

// refs lists all groups of a table in the order first seen.
func (tb *table) refs() []ref {
	refs := make([]ref, tb.index.len())
	for g := range refs {
		refs[g] = ref{table: tb, group: int32(g)}
	}
	return refs
}
