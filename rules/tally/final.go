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

// section is what one window's answers come from: its tables in the parts of a rule.
type section []*table

func (s section) groups() int {
	n := 0
	for _, tb := range s {
		n += tb.index.len()
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
		return []section{{tb}}
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
		out = append(out, section(room[from:len(room):len(room)]))
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
	sorted  []ref
}

// finished are the answers of some groups.
type finished struct {
	rows     arrow.RecordBatch
	keys     *array.String // nil: none are wanted
	failures []GroupFailure
}

func (f *finisher) answer(sections []section) error {
	refs := f.refs[:0]
	for _, s := range sections {
		from := len(refs)
		for _, tb := range s {
			n := tb.index.len()
			refs = grown(refs, len(refs)+n)
			for g, more := 0, refs[len(refs)-n:]; g < len(more); g++ {
				more[g] = ref{table: tb, group: int32(g)}
			}
		}
		if f.plan.Having != nil {
			continue // of few that remain, fewer have to be sorted
		}
		f.sort(refs[from:])
	}
	f.refs = refs
	if f.plan.Having != nil {
		var err error
		if refs, err = f.holding(refs); err != nil {
			return err
		}
		for from, to := 0, 0; from < len(refs); from = to {
			for to < len(refs) && refs[to].table.span == refs[from].table.span {
				to++
			}
			f.sort(refs[from:to])
		}
	}
	for chunk := range slices.Chunk(refs, groupsAtOnce) {
		if err := f.answerGroups(chunk); err != nil {
			return err
		}
	}
	return nil
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

func (f *finisher) answerGroups(refs []ref) error {
	j, err := f.judgeWith(refs, &f.groups)
	if err != nil {
		return err
	}
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

// sort puts groups of one window in the order of their keys. Integers are packed
// with their places into one word where they fit, which sorts several times faster.
func (f *finisher) sort(refs []ref) {
	if f.keys.mode == intKey && len(refs) > 0 && f.sortInts(refs) {
		return
	}
	slices.SortFunc(refs, func(a, b ref) int { return a.table.index.compare(a.group, b.table.index, b.group) })
}

func (f *finisher) sortInts(refs []ref) bool {
	at := 0
	for i, r := range refs { // NULL goes to the front
		if x, ok := r.table.index.(*intGroups); !ok {
			return false
		} else if x.null == r.group {
			refs[at], refs[i] = r, refs[at]
			at++
		}
	}
	if refs = refs[at:]; len(refs) == 0 {
		return true
	}
	f.packed = slices.Grow(f.packed[:0], len(refs))[:len(refs)]
	least, most := int64(0), int64(0)
	var x *intGroups
	var of *table
	for i, r := range refs {
		if r.table != of {
			of = r.table
			x, _ = of.index.(*intGroups)
		}
		key := x.keys[r.group]
		if i == 0 {
			least, most = key, key
		}
		least, most = min(least, key), max(most, key)
		f.packed[i] = uint64(key)
	}
	shift := bits.Len(uint(len(refs) - 1))
	if bits.Len64(uint64(most)-uint64(least))+shift > 64 {
		return false
	}
	for i, key := range f.packed {
		f.packed[i] = (key-uint64(least))<<shift | uint64(i)
	}
	slices.Sort(f.packed)
	f.sorted = append(f.sorted[:0], refs...)
	for i, key := range f.packed {
		refs[i] = f.sorted[key&(1<<shift-1)]
	}
	return true
}
