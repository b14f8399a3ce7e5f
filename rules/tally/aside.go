package tally

import (
	"math"
	"math/bits"
	"slices"

	"lake/rules"
)

// aside are rows of a part that are in no table yet: the keys of COUNT(*) by an
// integer and a short window, brought together by window, batch by batch. Where most
// rows make a group of their own, 8 bytes a row are less than the tables of
// ten thousands of windows, and a window's keys are counted once, in their order, when it
// answers. Where few do, or a row is of another kind, all of them go into tables, for good.
type aside struct {
	bundles []bundle
	rows    int
	mark    int // of bundles: those of the batches before the one at hand

	places []uint16 // of the rows at hand: the window, from the first on
	next   []int32  // of a window: the place of its next key
}

// bundle are the keys that one piece of a batch has of a window.
type bundle struct {
	window int64 // its number: it starts at Origin and so many widths
	keys   []int64
}

const (
	// windowsAside bounds the windows of a piece of a batch, and rowsOfBundle says how many
	// rows a window has there at least, in the mean, but for windowsTried of them.
	windowsAside = 1 << 16
	rowsOfBundle = 8
	// rowsAside are the rows after which it is seen whether they make many groups;
	// then, at four times as many, again. At two rows a group they take no more by then
	// than the groups would in tables.
	rowsAside    = 1 << 20
	rowsOfGroup  = 2
	windowsTried = 64
)

// canWait reports whether the rows of a rule may be set aside.
func (r *Rule) canWait() bool {
	p := r.Plan
	if r.Emit != OnDemand || r.Scope != All || len(p.Keys) != 1 || storageOf(p.Keys[0].Expr.Type().Kind) != asInt {
		return false
	}
	return !slices.ContainsFunc(p.Aggs, func(a rules.Agg) bool { return a.Func != rules.Count || a.Arg != nil })
}

// setAside takes a batch; false: its rows are not to wait, and neither do those before
// any more.
func (p *Parts) setAside(rows Rows) (bool, error) {
	if err := p.parts[0].check(rows); err != nil {
		return false, err
	}
	fit := make([]bool, len(p.parts))
	err := p.each(func(i int, t *Tally) (err error) {
		from, to := p.piece(i, rows)
		fit[i], err = t.setAside(rows, from, to)
		return err
	})
	if err != nil {
		return false, err
	}
	if slices.Contains(fit, false) {
		for _, t := range p.parts {
			t.aside.bundles = t.aside.bundles[:t.aside.mark]
		}
		return false, p.bringIn()
	}
	all := 0
	for _, t := range p.parts {
		all += t.aside.rows
	}
	if p.asideBytes() > p.opts.MaxBytes && p.opts.MaxBytes > 0 {
		return true, p.bringIn()
	}
	if all >= p.tryAt {
		p.tryAt = 4 * all
		if !fewRowsOfGroup(p.parts) {
			return true, p.bringIn()
		}
	}
	return true, nil
}

// setAside is that of a part and its piece of the batch, to exclusive.
func (t *Tally) setAside(rows Rows, from, to int) (bool, error) {
	a := t.aside
	a.mark = len(a.bundles)
	piece := rows.Batch.NewSlice(int64(from), int64(to))
	defer piece.Release()
	t.failures = t.failures[:0]
	selected, err := t.where(Rows{Batch: piece})
	if err != nil {
		return false, err
	}
	for i := range t.failures {
		t.failures[i].Row += from
	}
	in, err := t.evaluate(piece)
	if err != nil {
		return false, err
	}
	defer in.release()
	if len(in.failures) > 0 || in.keys[0].valid != nil || in.time.valid != nil {
		return false, nil
	}
	return a.take(t.plan.Window, in.keys[0].ints, in.time.ints, selected), nil
}

// take brings the keys of rows together by window; false: it has left them.
func (a *aside) take(w *rules.Window, keys, times []int64, selected []int32) bool {
	if len(selected) == 0 {
		return true
	}
	least, most := int64(math.MaxInt64), int64(math.MinInt64)
	for _, row := range selected {
		least, most = min(least, times[row]), max(most, times[row])
	}
	if least < minTimestamp || most > maxTimestamp {
		return false
	}
	first := floorDiv(least-w.Origin, w.Micros)
	start := first*w.Micros + w.Origin
	windows := (most-start)/w.Micros + 1
	if windows > windowsAside {
		return false
	}
	a.places, a.next = slices.Grow(a.places[:0], len(selected))[:len(selected)], slices.Grow(a.next[:0], int(windows))[:windows]
	places, next := a.places, a.next
	clear(next)
	rate := 1 / float64(w.Micros)
	for i, row := range selected {
		at := times[row] - start
		n := int64(float64(at) * rate) // or one less at a window's start: at has 48 bits
		if at-n*w.Micros >= w.Micros {
			n++
		}
		places[i] = uint16(n)
		next[n]++
	}
	taken := 0
	for _, n := range next {
		taken += min(int(n), 1)
	}
	if taken > len(selected)/rowsOfBundle+windowsTried {
		return false
	}
	together, from := make([]int64, len(selected)), int32(0)
	a.bundles = slices.Grow(a.bundles, taken)
	for i, n := range next {
		if n > 0 {
			a.bundles = append(a.bundles, bundle{window: first + int64(i), keys: together[from : from+n : from+n]})
		}
		next[i] = from
		from += n
	}
	for i, row := range selected {
		at := &next[places[i]]
		together[*at] = keys[row]
		*at++
	}
	a.rows += len(selected)
	return true
}

// asideBytes is the memory of all rows that wait.
func (p *Parts) asideBytes() int64 {
	bytes := int64(0)
	for _, t := range p.parts {
		if t.aside != nil {
			bytes += int64(t.aside.rows)*8 + int64(cap(t.aside.bundles))*32
		}
	}
	return bytes
}

// bringIn counts the rows that wait in the tables of their windows.
func (p *Parts) bringIn() error {
	var all []bundle
	for _, t := range p.parts {
		all = append(all, t.aside.bundles...)
		t.aside = nil
	}
	return p.each(func(_ int, t *Tally) error {
		w := t.plan.Window
		for _, b := range all {
			s := span{start: b.window*w.Micros + w.Origin}
			if !t.part.hasWindow(s, w) {
				continue
			}
			tb := t.table(s)
			t.own = numbers(t.own[:0], 0, len(b.keys))
			tb.rows, t.active = t.own, append(t.active, tb)
			t.keys.columns = []column{{typ: t.codec[0], ints: b.keys}}
			err := t.fold(make([]*column, len(tb.aggs)))
			t.measure(tb)
			tb.rows, tb.groups, t.active = nil, nil, t.active[:0]
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// asideSections lists the windows of rows that wait, in order.
func asideSections(parts []*Tally) []section {
	var all []bundle
	for _, t := range parts {
		all = append(all, t.aside.bundles...)
	}
	if len(all) == 0 {
		return nil
	}
	first, last := all[0].window, all[0].window
	for _, b := range all {
		first, last = min(first, b.window), max(last, b.window)
	}
	// Numbers of windows since year 1 have 59 bits at most: of µs. Of those there are
	// not so many that the place would not find room beside them.
	shift, width := bits.Len(uint(len(all))), bits.Len64(uint64(last-first))
	sorted, room := make([]bundle, len(all)), []section(nil)
	if shift+width > 64 {
		copy(sorted, all)
		slices.SortStableFunc(sorted, func(a, b bundle) int { return int(min(max(a.window-b.window, -1), 1)) })
	} else {
		f := finisher{packed: make([]uint64, len(all))}
		for i, b := range all {
			f.packed[i] = uint64(b.window-first)<<shift | uint64(i)
		}
		f.sortPacked(shift, width)
		for i, x := range f.packed {
			sorted[i] = all[x&(1<<shift-1)]
		}
	}
	for from, to := 0, 0; from < len(sorted); from = to {
		for to < len(sorted) && sorted[to].window == sorted[from].window {
			to++
		}
		room = append(room, section{aside: sorted[from:to:to]})
	}
	return room
}

// fewRowsOfGroup looks at some windows: do their rows make many groups?
func fewRowsOfGroup(parts []*Tally) bool {
	sections := asideSections(parts)
	rows, groups := 0, 0
	f := finisher{Tally: parts[0]}
	for i, s := range sections {
		if n := s.groups(); i%(len(sections)/windowsTried+1) == 0 {
			rows += n
			groups += f.count(s.aside, f.newVectors(n), 0)
		}
	}
	return groups*rowsOfGroup >= rows
}

// answerAside is answer of windows whose rows wait.
func (f *finisher) answerAside(sections []section) error {
	rows, groups := 0, 0
	for _, s := range sections {
		rows += s.groups()
	}
	least := int64(0)
	if f.plan.Bound != nil {
		least = f.plan.Bound.Least
	}
	vectors := f.newVectors(rows)
	for _, s := range sections {
		groups += f.count(s.aside, vectors, least)
	}
	size := groupsAtOnce
	if groups <= 2*groupsAtOnce {
		size = groups
	}
	for from := 0; from < groups; from += size { // a large window is answered in several batches
		some, to := make([]vector, len(vectors)), min(from+size, groups)
		for i, v := range vectors { // counts neither are NULL nor fail
			some[i] = vector{typ: v.typ, ints: v.ints[from:to]}
		}
		j, err := f.judge(some, to-from)
		if err != nil {
			return err
		}
		if err := f.answerJudged(j); err != nil {
			return err
		}
	}
	return nil
}

// count appends the groups of one window that have so many rows at least, by key. It
// returns how many they are.
func (f *finisher) count(window []bundle, vectors []vector, least int64) int {
	n, low, high := 0, int64(math.MaxInt64), int64(math.MinInt64)
	for _, b := range window {
		n += len(b.keys)
		for _, key := range b.keys {
			low, high = min(low, key), max(high, key)
		}
	}
	from := len(vectors[0].ints)
	vectors[0].ints, f.counted = grown(vectors[0].ints, from+n), grown(f.counted, n)
	keys, counts, made := vectors[0].ints[from:], f.counted, 0
	if width := uint64(high) - uint64(low); width < uint64(n)*keysOfRow && width < mostDirect {
		made = f.countDirect(window, low, width, keys, counts)
	} else {
		made = f.countSorted(window, low, width, keys, counts)
	}
	if least > 1 {
		kept := 0
		for i, count := range counts[:made] {
			keys[kept], counts[kept] = keys[i], count
			if count >= least {
				kept++
			}
		}
		made = kept
	}
	vectors[0].ints = vectors[0].ints[:from+made]
	w := f.plan.Window
	starts := grown(vectors[1].ints, from+made)
	vectors[1].ints = starts
	for i := range starts[from:] {
		starts[from+i] = window[0].window*w.Micros + w.Origin
	}
	for i := range vectors[2:] {
		v := &vectors[2+i]
		v.ints = append(v.ints, counts[:made]...)
	}
	return made
}

const (
	// keysOfRow bounds the range of the keys that are counted by the key itself: so
	// many for each row, so that to look for those that are there is less than to sort.
	keysOfRow  = 256
	mostDirect = 1 << 18 // the same, absolutely: the caches hold it
)

// countDirect counts keys by the key itself. counts and keys have room for all rows.
func (f *finisher) countDirect(window []bundle, low int64, width uint64, keys, counts []int64) int {
	words := int(width/64) + 1
	f.seen, f.direct = grown(f.seen, words), grown(f.direct, words*64) // zeros
	seen, direct := f.seen, f.direct
	for _, b := range window {
		for _, key := range b.keys {
			at := uint64(key) - uint64(low)
			seen[at/64] |= 1 << (at % 64)
			direct[at]++
		}
	}
	made := 0
	for i, word := range seen {
		for ; word != 0; word &= word - 1 {
			at := i*64 + bits.TrailingZeros64(word)
			keys[made], counts[made] = int64(uint64(low)+uint64(at)), int64(direct[at])
			direct[at] = 0
			made++
		}
		seen[i] = 0
	}
	return made
}

// countSorted counts keys after sorting them.
func (f *finisher) countSorted(window []bundle, low int64, width uint64, keys, counts []int64) int {
	f.packed = f.packed[:0]
	for _, b := range window {
		for _, key := range b.keys {
			f.packed = append(f.packed, uint64(key)-uint64(low))
		}
	}
	f.sortPacked(0, bits.Len64(width))
	made := 0
	for i, x := range f.packed {
		if i > 0 && x == f.packed[i-1] {
			counts[made-1]++
			continue
		}
		keys[made], counts[made] = int64(uint64(low)+x), 1
		made++
	}
	return made
}
