package tally

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/zeebo/xxh3"

	"lake/rules"
)

// Restore replaces the state with that of checkpoints: as many of the newest as
// Checkpoint said, or more, in order. It refuses checkpoints of another rule
// (ErrOtherRule), of another version, and what is damaged or not enough; the
// state is then what it was. Where only HAVING or SELECT changed, groups count as
// having answered what they would answer now, so that the change answers nothing
// for the past.
func (t *Tally) Restore(parts ...[]byte) error {
	before := t.state
	t.state = newState()
	clear(t.splitter.spots) // which are of the state before
	if err := t.restore(parts); err != nil {
		t.state = before
		return fmt.Errorf("restore rule %s: %w", t.rule.Name, err)
	}
	t.outbox.release()
	t.outbox = newOutbox(t)
	return nil
}

// ReadStats reads the statistics by date, as Tally.Stats has them, out of
// checkpoints that would do for a Restore; the groups are passed over.
func ReadStats(rule Rule, parts ...[]byte) (map[int32]DateStats, error) {
	t, err := New(rule, Options{})
	if err != nil {
		return nil, err
	}
	defer t.Release()
	heads, err := t.heads(parts)
	if err != nil {
		return nil, fmt.Errorf("read the statistics of rule %s: %w", rule.Name, err)
	}
	for i := range heads {
		if t.stats.decode(&heads[i].rest); heads[i].rest.err != nil {
			return nil, fmt.Errorf("read the statistics of rule %s: %w", rule.Name, heads[i].rest.err)
		}
	}
	return t.Stats(), nil
}

// head is the beginning of a checkpoint.
type head struct {
	whole         bool
	serial, terms uint64
	clock         int64
	late, matched int64
	extent        extent
	rest          reader
}

// heads reads the beginnings of the checkpoints that are needed: from the last
// whole one on.
func (t *Tally) heads(parts [][]byte) ([]head, error) {
	var heads []head
	for i, part := range parts {
		h, err := t.readHead(part)
		if err == nil && h.whole {
			heads = heads[:0]
		} else if n := len(heads); err == nil && n > 0 {
			err = h.follow(&heads[n-1])
		}
		if err != nil {
			return nil, partError(i, err)
		}
		heads = append(heads, h)
	}
	extents := make([]extent, len(heads))
	for i, h := range heads {
		extents[i] = h.extent
	}
	n := needed(extents)
	if n == 0 && len(heads) > 0 {
		return nil, fmt.Errorf("the checkpoints from %d to %d do not hold the whole state", heads[0].serial, heads[len(heads)-1].serial)
	}
	return heads[len(heads)-n:], nil
}

func partError(i int, err error) error {
	return fmt.Errorf("read part %d of the checkpoint: %w", i+1, err)
}

func (t *Tally) readHead(part []byte) (h head, err error) {
	r := &reader{data: part}
	if string(r.take(len(magic))) != magic {
		return h, errors.New("it is not a rule's state")
	}
	switch v := r.uint(); {
	case r.err == nil && v > formatVersion:
		return h, fmt.Errorf("it has version %d and this program reads %d; use the program that wrote it, or a newer one", v, formatVersion)
	case r.err == nil && v < formatVersion:
		return h, fmt.Errorf("it has version %d, of a program before the first release, and this one reads %d; ingest into a new table", v, formatVersion)
	}
	h.whole, h.serial = r.bool(), r.uint()
	fingerprint := string(r.bytes())
	emit, scope := Emit(r.byte()), Scope(r.byte())
	if r.err != nil {
		return h, r.err
	}
	if fingerprint != t.plan.Fingerprint() || emit != t.rule.Emit || scope != t.rule.Scope {
		return h, ErrOtherRule
	}
	h.terms, h.clock, h.late, h.matched = r.fixed(), r.int(), r.int(), r.int()
	h.extent = extent{from: r.place(), to: r.place()}
	if r.err == nil && (h.extent.to.compare(h.extent.from) < 0 || h.whole && h.extent != extent{walkStart, walkEnd}) {
		r.fail("a slice that is none")
	}
	h.rest = *r
	return h, r.err
}

func (h *head) follow(before *head) error {
	switch {
	case h.serial != before.serial+1:
		return fmt.Errorf("it is checkpoint %d, which does not follow %d", h.serial, before.serial)
	case h.clock < before.clock:
		return errors.New("it holds a watermark that goes back")
	case !h.extent.follows(before.extent):
		return errors.New("it holds a slice that does not follow the one before")
	}
	return nil
}

func (r *reader) place() (p place) {
	p.stage, p.span = stage(r.byte()), r.span()
	part, number := r.uint(), r.int()
	p.part, p.number = int(part), int(number)
	if p.stage > atEnd || part > 1<<20 {
		r.fail("a place that is none")
	}
	return p
}

func (r *reader) span() span {
	s := span{start: r.int(), null: r.bool()}
	date := r.int()
	if s.date = int32(date); int64(s.date) != date {
		r.fail("a date that is none")
	}
	return s
}

// section is a view of the checkpoint.
func (r *reader) section() []byte {
	n := r.fixed()
	if n > uint64(len(r.data)) {
		r.short()
		return nil
	}
	return r.take(int(n))
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

// restorer reads checkpoints in order. What it reads of a group replaces what
// was read before; keys and distinct values, which have to be added in the order
// of their numbers, are joined at the end.
type restorer struct {
	*Tally
	clock int64 // of the last checkpoint: what it closes is passed over
	room  int   // groups and values that the checkpoints can hold
	tiles map[*table][]tiles
}

func (t *Tally) restore(parts [][]byte) error {
	heads, err := t.heads(parts)
	if err != nil || len(heads) == 0 {
		return err
	}
	last := &heads[len(heads)-1]
	rs := &restorer{Tally: t, clock: last.clock, tiles: map[*table][]tiles{}}
	for _, h := range heads {
		rs.room += len(h.rest.data)
		t.extents = append(t.extents, h.extent)
	}
	for i := range heads {
		r := &heads[i].rest
		if rs.readPart(r, heads[i].clock); r.err != nil {
			return partError(len(parts)-len(heads)+i, r.err)
		}
	}
	t.serial, t.clock, t.late, t.matched = last.serial, last.clock, last.late, last.matched
	for _, tb := range t.order {
		if err := rs.join(tb); err != nil {
			return err
		}
		t.measure(tb)
	}
	if last.terms == t.terms() {
		return nil
	}
	return t.settle()
}

func (rs *restorer) readPart(r *reader, clock int64) {
	rs.stats.decode(r)
	for range r.count(14) {
		if rs.readTable(r, clock); r.err != nil {
			return
		}
	}
	for range r.count(15) {
		if rs.readChunk(r, clock); r.err != nil {
			return
		}
	}
	if len(r.data) > 0 {
		r.fail("more than it should")
	}
}

// tableOf finds or makes the table that the checkpoint speaks of; kept is false
// where a later checkpoint closes it: it is read into a table that nobody keeps.
func (rs *restorer) tableOf(r *reader, clock int64) (tb *table, kept bool) {
	s := r.span()
	if r.err == nil && !rs.plausible(s) {
		r.fail("a window that the rule does not have")
	}
	if r.err != nil {
		return nil, false
	}
	if tb = rs.tables[s]; tb != nil {
		return tb, true
	}
	tb = rs.newTable(s)
	switch {
	case tb.end <= clock:
		r.fail("a window that is closed")
		return nil, false
	case tb.end <= rs.clock:
		return tb, false
	}
	rs.keep(tb)
	rs.tiles[tb] = make([]tiles, 1+len(tb.sets))
	return tb, true
}

func (rs *restorer) readTable(r *reader, clock int64) {
	tb, kept := rs.tableOf(r, clock)
	from, n := rs.grown(r, tb, 0, kept)
	keys := r.section()
	if r.err == nil && n == 0 {
		r.fail("a window without groups")
	}
	var dirty []int32
	next := 0
	for range r.count(1) {
		gap := r.uint()
		if gap >= uint64(from-next) || r.err != nil {
			r.fail("a changed group that was not there")
			return
		}
		next += int(gap) + 1
		dirty = append(dirty, int32(next-1))
	}
	if n-from > len(r.data) {
		r.short()
	}
	if r.err != nil {
		return
	}
	rs.readGroups(r, tb, kept, dirty)
	rs.readRange(r, tb, kept, from, n)
	rs.tile(tb, 0, kept, run{from, n, keys})
	for i := range tb.sets {
		from, n := rs.grown(r, tb, i+1, kept)
		rs.tile(tb, i+1, kept, run{from, n, r.section()})
	}
}

func (rs *restorer) readChunk(r *reader, clock int64) {
	tb, kept := rs.tableOf(r, clock)
	part, n, from, to := r.uint(), r.uint(), r.uint(), r.uint()
	if r.err == nil && (part > uint64(len(tb.sets)) || from >= to || to > n || n > maxNumber) {
		r.fail("a slice of what is not there")
	}
	if r.err != nil {
		return
	}
	if kept {
		rs.resize(r, tb, int(part), int(n), false)
	}
	section := r.section()
	if part == 0 && to-from > uint64(len(r.data)) {
		r.short()
	}
	if r.err != nil {
		return
	}
	if part == 0 {
		rs.readRange(r, tb, kept, int(from), int(to))
	}
	rs.tile(tb, int(part), kept, run{int(from), int(to), section})
}

// maxNumber bounds the numbers of groups and values.
const maxNumber = 1<<31 - 1

// grown reads how many groups or values a table had and has.
func (rs *restorer) grown(r *reader, tb *table, part int, kept bool) (from, n int) {
	had, fresh := r.uint(), r.uint()
	if had > maxNumber || fresh > maxNumber || had+fresh > maxNumber {
		r.fail("more groups than a window can have")
	}
	if r.err != nil {
		return 0, 0
	}
	if kept {
		if known := &rs.tiles[tb][part]; known.known && known.n != int(had) {
			r.fail("groups that do not follow those before them")
			return 0, 0
		}
		rs.resize(r, tb, part, int(had+fresh), true)
	}
	return int(had), int(had + fresh)
}

// resize notes how many groups or values the table has now.
func (rs *restorer) resize(r *reader, tb *table, part, n int, more bool) {
	known := &rs.tiles[tb][part]
	if known.known && known.n != n && !more {
		r.fail("a slice of another number of groups")
		return
	}
	// All of them have to come, and each takes a byte.
	if rs.room -= n - known.n; rs.room < 0 {
		r.fail("more groups than it has bytes")
		return
	}
	known.known, known.n = true, n
	if part == 0 {
		tb.room(n)
	}
}

// readRange is readGroups of the groups numbered from on, some at a time.
func (rs *restorer) readRange(r *reader, tb *table, kept bool, from, to int) {
	groups := make([]int32, 0, min(rangeAtOnce, to-from))
	for from < to && r.err == nil {
		groups = numbers(groups[:0], from, min(to, from+rangeAtOnce))
		rs.readGroups(r, tb, kept, groups)
		from += len(groups)
	}
}

// readGroups reads what encodeGroups wrote.
func (rs *restorer) readGroups(r *reader, tb *table, kept bool, groups []int32) {
	if !kept {
		tb = rs.newTable(tb.span)
		groups = numbers(nil, 0, len(groups))
		tb.room(len(groups))
	}
	for _, g := range groups {
		tb.decodeFlags(r, g, rs.rule.Emit)
	}
	for _, a := range tb.aggs {
		a.decode(r, groups)
	}
}

func (tb *table) decodeFlags(r *reader, g int32, emit Emit) {
	kept := flag(r.byte())
	if kept&^flagsKept != 0 || kept&flagLive != 0 && emit != OnChange || kept&flagCrossed != 0 && emit != OnCross {
		r.fail("flags that the rule does not have")
		return
	}
	if kept&flagLive != 0 {
		tb.remember(g, xxh3.Uint128{Hi: r.fixed(), Lo: r.fixed()})
	}
	before := *tb.flags.at(g)
	tb.failing += has(kept, flagFailed) - has(before, flagFailed)
	tb.decided += has(kept, flagCrossed) - has(before, flagCrossed)
	*tb.flags.at(g) = kept | flagChanged
}

// run are the keys or values numbered from on, to exclusive.
type run struct {
	from, to int
	data     []byte
}

// tiles are the runs read of a table's keys, or of the values of a set.
type tiles struct {
	known bool // n is
	n     int
	runs  []run
}

func (rs *restorer) tile(tb *table, part int, kept bool, next run) {
	if kept && next.from < next.to {
		known := &rs.tiles[tb][part]
		known.runs = append(known.runs, next)
	}
}

// join adds the table's keys and distinct values, in order.
func (rs *restorer) join(tb *table) error {
	parts := rs.tiles[tb]
	tb.index.reserve(parts[0].n)
	err := parts[0].join(tb.index.decode)
	for i, set := range tb.sets {
		if err != nil {
			break
		}
		set.set.reserve(parts[i+1].n)
		err = parts[i+1].join(set.decodeValues)
		set.saved = set.len()
	}
	if err != nil {
		return fmt.Errorf("join the slices of the checkpoint: %w", err)
	}
	for g := range int32(tb.flags.len()) {
		*tb.flags.at(g) &^= flagChanged
	}
	tb.saved = tb.index.len()
	return nil
}

func (ts *tiles) join(decode func(r *reader, n, skip int)) error {
	slices.SortStableFunc(ts.runs, func(a, b run) int { return cmp.Compare(a.from, b.from) })
	have := 0
	for _, next := range ts.runs {
		if next.to <= have {
			continue
		}
		if next.from > have {
			break
		}
		r := &reader{data: next.data}
		if decode(r, next.to-next.from, have-next.from); r.err == nil && len(r.data) > 0 {
			r.fail("more keys than it should")
		}
		if r.err != nil {
			return r.err
		}
		have = next.to
	}
	if have != ts.n {
		return fmt.Errorf("of %d groups or values it has the first %d", ts.n, have)
	}
	return nil
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
