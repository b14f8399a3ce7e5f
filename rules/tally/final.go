package tally

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Final is an answer for every group that satisfies HAVING now, by window and
// then by key, NULL and NaN first: what the query answers over all rows given.
// It leaves the state as it is. With on_demand all keys are null: nobody is
// addressed. Of a rule that does not group it is Answers.
func (t *Tally) Final() (Answers, error) {
	return final([]*Tally{t}, t.rule.Emit == OnDemand)
}

// EachFinal hands out what Final answers some groups at a time, in order, so that
// the answers of many are not held at once. The batch is answer's to release.
func (t *Tally) EachFinal(answer func(arrow.RecordBatch, []GroupFailure) error) error {
	return eachFinal([]*Tally{t}, true, func(f finished) error { return answer(f.rows, f.failures) })
}

func final(parts []*Tally, keyless bool) (Answers, error) {
	t := parts[0]
	if !t.plan.Grouped {
		return t.Answers()
	}
	box := newOutbox(t)
	defer box.release()
	var keys []arrow.Array
	defer func() {
		for _, k := range keys {
			k.Release()
		}
	}()
	if err := eachFinal(parts, keyless, func(f finished) error {
		defer f.rows.Release()
		for _, each := range f.failures {
			box.fail(each.Key, each.Reason)
		}
		if err := box.add(f.rows, nil, nil); err != nil || f.keys == nil {
			return err
		}
		keys = append(keys, f.keys)
		return nil
	}); err != nil {
		return Answers{}, err
	}
	a, err := box.take()
	if err != nil {
		return Answers{}, fmt.Errorf("answer rule %s: %w", t.rule.Name, err)
	}
	if len(keys) > 0 {
		joined, err := array.Concatenate(keys, t.opts.Mem)
		if err != nil {
			a.Release()
			return Answers{}, fmt.Errorf("answer rule %s: join the keys: %w", t.rule.Name, err)
		}
		a.Keys.Release()
		a.Keys, _ = joined.(*array.String)
	}
	return a, nil
}

// section is what one window's answers come from: its tables in the parts of a rule, or
// its rows that wait.
type section struct {
	tables []*table
	aside  []bundle
}

// groups is how many groups there are, or, of rows that wait, how many there may be.
func (s section) groups() int {
	n := 0
	for _, tb := range s.tables {
		n += tb.index.len()
	}
	for _, b := range s.aside {
		n += len(b.keys)
	}
	return n
}

// eachFinal is EachFinal of a rule whose groups are in several parts. As many
// goroutines as there are parts make the answers; all have ended when it returns.
func eachFinal(parts []*Tally, keyless bool, answer func(finished) error) error {
	t := parts[0]
	if !t.plan.Grouped {
		a, err := t.Answers()
		if err != nil {
			return err
		}
		a.Keys.Release()
		return answer(finished{rows: a.Rows, failures: a.Failures})
	}
	sections := sectionsOf(parts)
	workers := make([]finisher, len(parts))
	for len(sections) > 0 {
		var wait sync.WaitGroup
		for i := range workers {
			n, groups := 0, 0
			for n < len(sections) && groups < groupsAtOnce {
				groups += sections[n].groups()
				n++
			}
			w, mine := &workers[i], sections[:n]
			w.Tally, w.keyless, sections = t, keyless, sections[n:]
			wait.Go(func() { w.err = w.answer(mine) })
		}
		wait.Wait()
		var err error
		for i := range workers {
			w := &workers[i]
			err = errors.Join(err, w.err)
			for _, each := range w.out {
				if err == nil {
					err = answer(each)
					continue
				}
				each.rows.Release()
				if each.keys != nil {
					each.keys.Release()
				}
			}
			w.out = w.out[:0]
		}
		if err != nil {
			return fmt.Errorf("answer rule %s: %w", t.rule.Name, err)
		}
	}
	return nil
}

// sectionsOf lists the windows in order.
func sectionsOf(parts []*Tally) []section {
	t := parts[0]
	if t.aside != nil {
		return asideSections(parts)
	}
	left, tables := make([][]*table, len(parts)), 0
	for i, part := range parts {
		left[i] = part.ordered()
		tables += len(left[i])
	}
	if tables == 0 && len(t.plan.Keys) == 0 && t.plan.Window == nil && t.rule.Scope == All {
		// Without GROUP BY there is one answer even over no rows.
		tb := t.newTable(span{})
		tb.index.resolve(nil, nil, nil)
		tb.grow()
		return []section{{tables: []*table{tb}}}
	}
	var out []section
	room := make([]*table, 0, tables)
	for {
		first := -1
		for i, list := range left {
			if len(list) > 0 && (first < 0 || list[0].span.compare(left[first][0].span) < 0) {
				first = i
			}
		}
		if first < 0 {
			return out
		}
		from, at := len(room), left[first][0].span
		for i, list := range left {
			if len(list) > 0 && list[0].span == at {
				room, left[i] = append(room, list[0]), list[1:]
			}
		}
		out = append(out, section{tables: room[from:len(room):len(room)]})
	}
}

// finisher answers windows, with what it uses again from one to the next. It
// changes nothing of the Tally.
type finisher struct {
	*Tally
	keyless bool
	err     error
	out     []finished
	refs    []ref
	groups  []int32
	packed  []uint64
	other   []uint64
	counted []int64  // of rows that wait: the counts of a window
	seen    []uint64 // keys that a window has; zeros in between
	direct  []int32  // the rows of each; zeros in between
}

// finished are the answers of some groups.
type finished struct {
	rows     arrow.RecordBatch
	keys     *array.String // nil: none are wanted
	failures []GroupFailure
}

func (f *finisher) answer(sections []section) error {
	if f.aside != nil {
		return f.answerAside(sections)
	}
	if f.plan.Having == nil && f.keys.mode == intKey {
		if done, err := f.answerInts(sections); done || err != nil {
			return err
		}
	}
	refs := f.refs[:0]
	for _, s := range sections {
		for _, tb := range s.tables {
			n := tb.index.len()
			refs = grown(refs, len(refs)+n)
			more, kept := refs[len(refs)-n:], 0
			for g := range int32(n) {
				more[kept] = ref{table: tb, group: g}
				if !f.below(tb, g) {
					kept++
				}
			}
			refs = refs[:len(refs)-n+kept]
		}
	}
	f.refs = refs
	if f.plan.Having != nil { // of few that remain, fewer have to be sorted
		var err error
		if refs, err = f.holding(refs); err != nil {
			return err
		}
	}
	for from, to := 0, 0; from < len(refs); from = to {
		for to < len(refs) && refs[to].table.span == refs[from].table.span {
			to++
		}
		f.sort(refs[from:to])
	}
	for chunk := range slices.Chunk(refs, groupsAtOnce) {
		j, err := f.judgeWith(chunk, &f.groups)
		if err != nil {
			return err
		}
		if err := f.answerJudged(j); err != nil {
			return err
		}
	}
	return nil
}

// answerInts is answer where all groups of a window are of one table and their
// keys are integers; done is false, and nothing is, where they are not.
func (f *finisher) answerInts(sections []section) (done bool, err error) {
	total := 0
	for _, s := range sections {
		if total += s.groups(); len(s.tables) > 1 || s.groups() > chunkLen || total > 2*groupsAtOnce {
			return false, nil
		}
	}
	vectors := f.newVectors(total)
	for _, s := range sections {
		x, ok := s.tables[0].index.(*intGroups)
		if !ok || !f.pack(x) {
			return false, nil
		}
		f.emitGroups(s.tables[0], f.groups, vectors)
	}
	j, err := f.judge(vectors, total)
	if err != nil {
		return false, err
	}
	return true, f.answerJudged(j)
}

// pack lists an index's groups in the order of keys; false: the keys are too far
// apart for it.
func (f *finisher) pack(x *intGroups) bool {
	keys := x.keys.single()
	n := len(keys)
	f.groups = f.groups[:0]
	if n == 0 {
		return true
	}
	least, most := keys[0], keys[0]
	for _, key := range keys {
		least, most = min(least, key), max(most, key)
	}
	shift, width := bits.Len(uint(n-1)), bits.Len64(uint64(most)-uint64(least))
	if width+shift > 64 {
		return false
	}
	f.packed = grown(f.packed, n)
	packed := f.packed
	for g, key := range keys {
		packed[g] = (uint64(key)-uint64(least))<<shift | uint64(g)
	}
	f.sortPacked(shift, width)
	f.groups = grown(f.groups, n)
	at := 0
	if x.null != noGroup {
		f.groups[0], at = x.null, 1
	}
	for _, key := range f.packed {
		if g := int32(key & (1<<shift - 1)); g != x.null {
			f.groups[at] = g
			at++
		}
	}
	return true
}

// sortPacked sorts f.packed by the bits from shift on, of which there are width;
// the lower ones ascend where these are equal.
func (f *finisher) sortPacked(shift, width int) {
	n, passes := len(f.packed), (width+7)/8
	if n >= 16 && n <= 256 {
		f.sortFew(shift, width)
		return
	}
	if n < 64 || passes*(3*n+200) > 3*n*bits.Len(uint(n)) {
		slices.Sort(f.packed)
		return
	}
	f.other = grown(f.other, n)
	for pass := range passes {
		byDigit[int32](f, shift+8*pass)
	}
}

// sortFew is sortPacked of so few that the highest eight bits tell most of them
// apart: one pass brings them near to their places, and each goes the rest of the way
// by itself.
func (f *finisher) sortFew(shift, width int) {
	f.other = grown(f.other, len(f.packed))
	byDigit[uint16](f, shift+max(width-8, 0))
	sorted := f.packed
	for i := 1; i < len(sorted); i++ {
		x, k := sorted[i], i
		for ; k > 0 && sorted[k-1] > x; k-- {
			sorted[k] = sorted[k-1]
		}
		sorted[k] = x
	}
}

// holding keeps the groups that satisfy HAVING, or fail to.
func (f *finisher) holding(refs []ref) ([]ref, error) {
	kept := refs[:0]
	for chunk := range slices.Chunk(refs, groupsAtOnce) {
		j, err := f.judgeWith(chunk, &f.groups)
		if err != nil {
			return nil, err
		}
		for i, r := range chunk {
			if j.holds[i] {
				kept = append(kept, r)
			} else if _, failed := j.failed[i]; failed {
				kept = append(kept, r)
			}
		}
		j.release()
	}
	return kept, nil
}

// answerJudged makes the answers of groups that satisfy HAVING, and releases j.
func (f *finisher) answerJudged(j *judged) error {
	defer j.release()
	box := newOutbox(f.Tally)
	box.bare = f.keyless
	defer box.release()
	if err := f.answerHolding(j, box, func(arrow.RecordBatch, []int32) error { return nil }); err != nil {
		return err
	}
	rows, err := box.concatenated()
	if err != nil {
		return err
	}
	out := finished{rows: rows, failures: box.failures}
	if !f.keyless {
		out.keys = box.keys.NewStringArray()
	}
	f.out = append(f.out, out)
	return nil
}

// sort puts groups of one window in the order of their keys.
func (f *finisher) sort(refs []ref) {
	slices.SortFunc(refs, func(a, b ref) int { return a.table.index.compare(a.group, b.table.index, b.group) })
}

// byDigit brings f.packed, and f.other of its length in its place, into the order of the
// eight bits from by on; equal ones stay as they are. place counts them all.
func byDigit[place uint16 | int32](f *finisher, by int) {
	var places [256]place
	for _, x := range f.packed {
		places[uint8(x>>by)]++
	}
	at := place(0)
	for i, count := range places {
		places[i] = at
		at += count
	}
	for _, x := range f.packed {
		digit := uint8(x >> by)
		f.other[places[digit]] = x
		places[digit]++
	}
	f.packed, f.other = f.other, f.packed
}
