package tally

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/zeebo/xxh3"

	"lake/rules"
)

// A checkpoint is a base, which has everything, and the deltas written after
// it, each with what changed since the one before. Base and delta have one form
// (wire.go says how values are written):
//
//	"LKTS", version, base (bool), serial: 1 for the first checkpoint, one more each
//	fingerprint of the plan, emit, scope; a hash of HAVING and SELECT
//	watermark, rows late and matched in all
//	dates before which statistics were dropped; statistics of changed dates
//	tables that changed, each:
//	    window start, whether it is the window of NULL, date
//	    groups that it had at the last checkpoint, number of new ones, keys of these
//	    older groups that changed; then of these and of the new ones
//	    flags, the hash of the last answer where there is one, and each aggregate
//
// Tables that the watermark closed are not named: who reads it closes them again.
const (
	magic         = "LKTS"
	formatVersion = 1
)

// ErrOtherRule says that a checkpoint is of another rule: its plan, emit or
// scope changed. The state has to be made anew from the table.
var ErrOtherRule = errors.New("the checkpoint is of another rule")

// Delta appends to dst what changed since the last Delta or Base. Its cost is
// that of the groups touched since. Answers not taken are not part of it, so
// take them first and keep them beside it.
func (t *Tally) Delta(dst []byte) []byte { return t.save(dst, false) }

// Base appends everything to dst. What Delta says of answers holds here, too.
func (t *Tally) Base(dst []byte) []byte { return t.save(dst, true) }

func (t *Tally) save(dst []byte, base bool) []byte {
	t.serial++
	dst = append(dst, magic...)
	dst = appendUint(dst, formatVersion)
	dst = appendBool(dst, base)
	dst = appendUint(dst, t.serial)
	dst = appendBytes(dst, []byte(t.plan.Fingerprint()))
	dst = append(dst, byte(t.rule.Emit), byte(t.rule.Scope))
	dst = appendFixed(dst, t.terms())
	dst = appendInt(dst, t.clock)
	dst = appendInt(appendInt(dst, t.late), t.matched)
	dst = t.stats.encode(dst, base)

	tables := t.changed
	if base {
		tables = t.ordered()
	}
	tables = slices.DeleteFunc(tables, func(tb *table) bool { return tb.closed })
	dst = appendUint(dst, uint64(len(tables)))
	for _, tb := range tables {
		dst = tb.encode(dst, base)
		t.measure(tb)
	}
	clear(t.changed) // lets go of tables that close later
	t.changed = t.changed[:0]
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

func (l *ledger) encode(dst []byte, base bool) []byte {
	dst = appendInt(dst, int64(l.dropped))
	changed := slices.Sorted(maps.Keys(l.changed))
	if base {
		changed = slices.Sorted(maps.Keys(l.dates))
	}
	dst = appendUint(dst, uint64(len(changed)))
	for _, date := range changed {
		s := l.dates[date]
		for _, x := range []int64{int64(date), s.Matched, s.Late, s.Closed, s.Answers} {
			dst = appendInt(dst, x)
		}
		dst = appendFixed(dst, s.Sum)
	}
	l.saved()
	return dst
}

func (l *ledger) decode(r *reader) {
	l.drop(int32(r.int()))
	for range r.count(13) {
		date := int32(r.int())
		s := DateStats{Matched: r.int(), Late: r.int(), Closed: r.int(), Answers: r.int()}
		s.Sum = r.fixed()
		*l.of(date) = s
	}
	l.saved()
}

func (tb *table) encode(dst []byte, base bool) []byte {
	if base {
		tb.saved, tb.dirty = 0, tb.dirty[:0]
	}
	n := tb.index.len()
	dst = appendInt(dst, tb.span.start)
	dst = appendBool(dst, tb.span.null)
	dst = appendInt(dst, int64(tb.span.date))
	dst = appendUint(dst, uint64(tb.saved))
	dst = appendUint(dst, uint64(n-tb.saved))
	dst = tb.index.encode(dst, tb.saved)
	dst = appendUint(dst, uint64(len(tb.dirty)))
	for _, g := range tb.dirty {
		dst = appendUint(dst, uint64(g))
	}
	groups := tb.dirty
	for g := tb.saved; g < n; g++ {
		groups = append(groups, int32(g))
	}
	for _, g := range groups {
		kept := tb.flags[g] & flagsKept
		dst = append(dst, byte(kept))
		if kept&flagLive != 0 {
			dst = appendFixed(appendFixed(dst, tb.emitted[g].Hi), tb.emitted[g].Lo)
		}
	}
	for _, a := range tb.aggs {
		dst = a.encode(dst, groups, base)
	}
	tb.written(groups)
	return dst
}

// written notes that the checkpoint has the groups.
func (tb *table) written(groups []int32) {
	for _, g := range groups {
		tb.flags[g] &^= flagChanged
	}
	tb.saved, tb.dirty, tb.listed = tb.index.len(), nil, false
}

// Restore replaces the state with that of a checkpoint: a base, then the deltas
// after it, in order. (The deltas alone will do where they reach back to the
// beginning.) It refuses a checkpoint of another rule (ErrOtherRule), of a newer
// version, and one that is damaged; the state is then what it was. Where only
// HAVING or SELECT changed, groups count as having answered what they would
// answer now, so that the change answers nothing for the past.
func (t *Tally) Restore(parts ...[]byte) error {
	before := t.state
	t.state = newState()
	if err := t.restore(parts); err != nil {
		t.state = before
		return fmt.Errorf("restore rule %s: %w", t.rule.Name, err)
	}
	t.outbox.release()
	t.outbox = newOutbox(t)
	return nil
}

func (t *Tally) restore(parts [][]byte) error {
	sameTerms := true
	for i, part := range parts {
		r := &reader{data: part}
		terms, err := t.readPart(r)
		if err != nil {
			return fmt.Errorf("read part %d of the checkpoint: %w", i+1, err)
		}
		sameTerms = terms == t.terms()
	}
	for _, tb := range t.tables {
		t.nextEnd = min(t.nextEnd, tb.end)
		t.measure(tb)
	}
	if sameTerms {
		return nil
	}
	return t.settle()
}

func (t *Tally) readPart(r *reader) (terms uint64, err error) {
	if string(r.take(len(magic))) != magic {
		return 0, errors.New("it is not a rule's state")
	}
	if v := r.uint(); r.err == nil && v != formatVersion {
		return 0, fmt.Errorf("it has version %d and this program reads %d; use the program that wrote it, or a newer one", v, formatVersion)
	}
	base, serial, fingerprint := r.bool(), r.uint(), string(r.bytes())
	emit, scope := Emit(r.byte()), Scope(r.byte())
	if r.err != nil {
		return 0, r.err
	}
	if fingerprint != t.plan.Fingerprint() || emit != t.rule.Emit || scope != t.rule.Scope {
		return 0, ErrOtherRule
	}
	if base {
		t.state = newState()
	} else if serial != t.serial+1 {
		return 0, fmt.Errorf("it is delta %d, which does not follow %d", serial, t.serial)
	}
	t.serial = serial
	terms = r.fixed()
	clock := r.int()
	late, matched := r.int(), r.int()
	if r.err == nil && clock < t.clock {
		r.fail("a watermark that goes back")
	}
	t.clock, t.late, t.matched = clock, late, matched
	t.stats.decode(r)
	for s, tb := range t.tables {
		if tb.end <= t.clock {
			delete(t.tables, s)
		}
	}
	for range r.count(6) {
		t.decodeTable(r)
		if r.err != nil {
			break
		}
	}
	if r.err == nil && len(r.data) > 0 {
		r.fail("more than it should")
	}
	return terms, r.err
}

func (t *Tally) decodeTable(r *reader) {
	s := span{start: r.int(), null: r.bool()}
	date := r.int()
	s.date = int32(date)
	if int64(s.date) != date || !t.plausible(s) {
		r.fail("a window that the rule does not have")
	}
	from, fresh := r.uint(), r.uint()
	if r.err != nil {
		return
	}
	tb := t.tables[s]
	if tb == nil {
		tb = t.newTable(s)
		t.tables[s] = tb
	}
	if tb.end <= t.clock {
		r.fail("a window that is closed")
		return
	}
	// A table has a group, and a key takes a byte but for the one group of a rule
	// without keys.
	if from+fresh == 0 || from != uint64(tb.index.len()) || fresh > uint64(len(r.data)) {
		r.fail("groups that do not follow those before them")
		return
	}
	tb.index.decode(r, int(fresh))
	if r.err != nil {
		return
	}
	tb.grow(t.rule.Emit)
	groups := make([]int32, 0, tb.index.len()-int(from))
	for range r.count(1) {
		g := r.uint()
		if g >= from || tb.flags[g]&flagChanged != 0 {
			r.fail("a changed group that was not there, or twice")
			return
		}
		tb.flags[g] |= flagChanged
		groups = append(groups, int32(g))
	}
	for g := int(from); g < tb.index.len(); g++ {
		groups = append(groups, int32(g))
	}
	for _, g := range groups {
		tb.decodeFlags(r, g, t.rule.Emit)
	}
	for _, a := range tb.aggs {
		a.decode(r, groups)
	}
	if r.err == nil {
		tb.written(groups)
	}
}

func (tb *table) decodeFlags(r *reader, g int32, emit Emit) {
	kept := flag(r.byte())
	if kept&^flagsKept != 0 || kept&flagLive != 0 && emit != OnChange || kept&flagCrossed != 0 && emit != OnCross {
		r.fail("flags that the rule does not have")
		return
	}
	if kept&flagLive != 0 {
		tb.emitted[g] = xxh3.Uint128{Hi: r.fixed(), Lo: r.fixed()}
	}
	before := tb.flags[g]
	tb.failing += has(kept, flagFailed) - has(before, flagFailed)
	tb.decided += has(kept, flagCrossed) - has(before, flagCrossed)
	tb.flags[g] = kept | flagChanged
}

// plausible reports whether the rule could have made the span.
func (t *Tally) plausible(s span) bool {
	if t.rule.Scope == All && s.date != 0 {
		return false
	}
	if t.plan.Window == nil || s.null {
		return s.start == 0 && (t.plan.Window != nil || !s.null)
	}
	if w := t.plan.Window; w.Kind == rules.Tumble {
		return s.start >= minTimestamp-w.Micros && s.start <= maxTimestamp && floorDiv(s.start-w.Origin, w.Micros)*w.Micros+w.Origin == s.start
	}
	return s.start >= minTimestamp/microsPerDay-1 && s.start <= maxTimestamp/microsPerDay+1
}
