package tally

import (
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"lake/rules"
)

// part says which of a rule's groups a Tally has: where the windows are short,
// whole windows in turn; else the groups by the hash of their key, or those of the
// rows that it is given.
type part struct {
	number, of int
	by         division
}

type division uint8

const (
	byKey division = iota
	byWindow
	byRow
)

// shortWindow bounds the windows that are told apart by their number: of longer
// ones the rows at hand may be of a single one.
const shortWindow = time.Hour

func (p part) hasWindow(s span, w *rules.Window) bool {
	if s.null {
		return p.number == 0
	}
	n := floorDiv(s.start-w.Origin, w.Micros) % int64(p.of)
	return (n+int64(p.of))%int64(p.of) == int64(p.number)
}

// Parts is the state of one rule over rows that are all there: those of a table,
// not of a stream. Each part runs on a core of its own. It has its own groups and
// takes their rows in order, so that its answers are those of one Tally. Where the
// order does not matter and groups are few, each takes a piece of each batch
// instead, and they are merged before they answer. One goroutine uses it; those
// that it starts have ended when a method returns.
type Parts struct {
	rule  Rule
	opts  Options
	seeds seeds
	parts []*Tally
	by    division
	most  int // groups of all parts by row
	where Where
	tryAt int     // with so many rows aside it is seen whether they make many groups
	found []Where // of each part's piece of the batch
	dealt []dealt // the same

	failures []rules.Failure
}

// NewParts makes a Parts that has seen no row, of up to n parts: a rule that has a
// single group, or none, is one.
func NewParts(rule Rule, opts Options, n int) (*Parts, error) {
	p := &Parts{rule: rule, opts: opts, seeds: newSeeds(), most: groupsByRow, tryAt: rowsAside}
	if plan := rule.Plan; plan == nil || !plan.Grouped || len(plan.Keys) == 0 && plan.Window == nil {
		n = 1
	}
	w := (*rules.Window)(nil)
	if rule.Plan != nil {
		w = rule.Plan.Window
	}
	switch {
	case w != nil && w.Kind == rules.Tumble && w.Micros <= shortWindow.Microseconds():
		p.by = byWindow
	case n > 1 && len(rule.Plan.Keys) == 0:
		n = 1
	case n > 1 && rule.Emit == OnDemand && mergeable(rule.Plan):
		p.by = byRow
	}
	var err error
	if p.parts, err = p.make(min(max(n, 1), maxParts)); err != nil {
		return nil, err
	}
	if p.by == byWindow && rule.canWait() {
		for _, t := range p.parts {
			t.aside = &aside{}
		}
	}
	p.found, p.dealt = make([]Where, len(p.parts)), make([]dealt, len(p.parts))
	return p, nil
}

// make makes n empty parts.
func (p *Parts) make(n int) ([]*Tally, error) {
	var parts []*Tally
	for i := range n {
		t, err := newPart(p.rule, p.opts, p.seeds, part{number: i, of: n, by: p.by})
		if err != nil {
			release(parts)
			return nil, err
		}
		parts = append(parts, t)
	}
	return parts, nil
}

func release(parts []*Tally) {
	for _, t := range parts {
		t.Release()
	}
}

// Release gives up the answers that were not taken. The Parts is not used afterwards.
func (p *Parts) Release() { release(p.parts) }

// Add takes the rows of a batch in order; their watermarks and Where are not
// looked at. After an error the Parts is not used again.
func (p *Parts) Add(rows Rows) error {
	rows.Watermark, rows.Where = nil, nil
	if p.parts[0].aside != nil {
		if done, err := p.setAside(rows); err != nil {
			return fmt.Errorf("add rows to rule %s: %w", p.rule.Name, err)
		} else if done {
			return p.checkSize()
		}
	}
	if len(p.parts) == 1 {
		return p.parts[0].Add(rows)
	}
	t := p.parts[0]
	if err := p.add(rows); err != nil {
		return fmt.Errorf("add rows to rule %s: %w", t.rule.Name, err)
	}
	err := p.checkSize()
	if p.by == byRow && (err != nil || p.groups() > p.most) {
		if err := p.separate(); err != nil {
			return err
		}
		return p.checkSize()
	}
	return err
}

func (p *Parts) add(rows Rows) error {
	if p.by == byRow {
		return p.each(func(i int, t *Tally) error {
			piece := rows
			from, to := p.piece(i, rows)
			piece.Batch = rows.Batch.NewSlice(int64(from), int64(to))
			defer piece.Batch.Release()
			if len(rows.Date) == int(rows.Batch.NumRows()) {
				piece.Date = rows.Date[from:to]
			}
			err := t.add(piece)
			for i := range t.failures {
				t.failures[i].Row += from
			}
			return err
		})
	}
	if p.by == byWindow {
		return p.addWindows(rows)
	}
	if p.rule.Plan.Filter != nil {
		if err := p.filter(rows.Batch); err != nil {
			return err
		}
		rows.Where = &p.where
	}
	return p.each(func(_ int, t *Tally) error { return t.add(rows) })
}

// piece is the rows of a batch that part i takes, to exclusive.
func (p *Parts) piece(i int, rows Rows) (from, to int) {
	n := int(rows.Batch.NumRows())
	return n * i / len(p.parts), n * (i + 1) / len(p.parts)
}

// groupsByRow bounds the groups of all parts while each has those of its own rows, so
// that what several parts hold of one group is little memory.
const groupsByRow = 1 << 16

// separate gives each group to the part that has it by its key, for good.
func (p *Parts) separate() error {
	p.by = byKey
	old := p.parts
	parts, err := p.make(len(old))
	if err != nil {
		return err
	}
	p.parts = parts
	defer release(old)
	return p.each(func(i int, t *Tally) error {
		t.failures = append(t.failures, old[i].failures...)
		for _, other := range old {
			if err := t.absorb(other, true); err != nil {
				return err
			}
		}
		return nil
	})
}

// gather merges the groups of parts that have those of their rows into the first one.
func (p *Parts) gather() error {
	if p.by != byRow {
		return nil
	}
	fresh, err := p.make(len(p.parts))
	if err != nil {
		return err
	}
	for i, t := range p.parts[1:] {
		if err := p.parts[0].absorb(t, false); err != nil {
			release(fresh)
			return err
		}
		fresh[i+1].failures = append(fresh[i+1].failures, t.failures...)
	}
	old := p.parts[1:]
	defer release(old)
	defer fresh[0].Release()
	p.parts = append([]*Tally{p.parts[0]}, fresh[1:]...)
	return nil
}

func (p *Parts) checkSize() error {
	bytes, members := p.asideBytes(), 0
	for _, t := range p.parts {
		bytes, members = bytes+t.Bytes(), members+t.members
	}
	return p.parts[0].tooLarge(p.groups, bytes, members)
}

func (p *Parts) groups() int {
	n := 0
	for _, t := range p.parts {
		n += t.Groups()
	}
	return n
}

// each runs f for each part, at once.
func (p *Parts) each(f func(i int, t *Tally) error) error {
	errs := make([]error, len(p.parts))
	var wait sync.WaitGroup
	for i, t := range p.parts {
		wait.Go(func() { errs[i] = f(i, t) })
	}
	wait.Wait()
	return errors.Join(errs...)
}

// filter evaluates WHERE, a piece of the batch a part.
func (p *Parts) filter(batch arrow.RecordBatch) error {
	n := int(batch.NumRows())
	if err := p.each(func(i int, t *Tally) error {
		from, to := n*i/len(p.parts), n*(i+1)/len(p.parts)
		piece := batch.NewSlice(int64(from), int64(to))
		defer piece.Release()
		t.failures = t.failures[:0]
		p.found[i].Reset()
		_, err := t.where(Rows{Batch: piece, Where: &p.found[i]})
		return err
	}); err != nil {
		return err
	}
	p.where.Reset()
	all, _ := p.where.of(p.parts[0].condition)
	for i := range p.parts {
		from := n * i / len(p.parts)
		found, _ := p.found[i].of(p.parts[0].condition)
		for _, row := range found.rows {
			all.rows = append(all.rows, row+int32(from))
		}
		for _, f := range found.failures {
			all.failures = append(all.failures, rules.Failure{Row: f.Row + from, Reason: f.Reason})
		}
	}
	return nil
}

// RowFailures are those of the last Add, as Tally.RowFailures has them.
func (p *Parts) RowFailures() []rules.Failure {
	if len(p.parts) == 1 {
		return p.parts[0].failures
	}
	p.failures = p.failures[:0]
	for _, t := range p.parts {
		p.failures = append(p.failures, t.failures...)
	}
	slices.SortStableFunc(p.failures, func(a, b rules.Failure) int { return a.Row - b.Row })
	p.failures = slices.CompactFunc(p.failures, func(a, b rules.Failure) bool { return a.Row == b.Row }) // what several parts met
	return p.failures
}

// Final is Tally.Final over all parts.
func (p *Parts) Final() (Answers, error) {
	if err := p.gather(); err != nil {
		return Answers{}, err
	}
	return final(p.parts, p.parts[0].rule.Emit == OnDemand)
}

// EachFinal is Tally.EachFinal over all parts.
func (p *Parts) EachFinal(answer func(arrow.RecordBatch, []GroupFailure) error) error {
	if err := p.gather(); err != nil {
		return err
	}
	return eachFinal(p.parts, true, func(f finished) error { return answer(f.rows, f.failures) })
}

// owned keeps the rows whose groups this part has. The bits of the hash that
// decide are none that a hash table goes by.
func (t *Tally) owned(selected []int32) []int32 {
	t.own = grown(t.own[:0], len(selected))
	own, at := t.own, 0
	of, number := uint64(t.part.of), uint64(t.part.number)
	switch c := t.keys.columns; {
	case t.keys.mode == intKey && c[0].valid == nil && of == 2:
		ints := c[0].ints
		for _, row := range selected {
			own[at] = row
			at += int(hashInt(ints[row], t.seeds.ints)>>32&1 ^ number ^ 1)
		}
	case t.keys.mode == intKey:
		for _, row := range selected {
			if hash := uint64(0); !c[0].null(row) {
				hash = hashInt(c[0].ints[row], t.seeds.ints)
				if hash>>32%of != number {
					continue
				}
			} else if number != 0 {
				continue
			}
			own[at] = row
			at++
		}
	default:
		scratch := t.keys.scratch
		for _, row := range selected {
			scratch = t.keys.append(scratch[:0], row)
			if maphash.Bytes(t.seeds.bytes, scratch)>>32%of == number {
				own[at] = row
				at++
			}
		}
		t.keys.scratch = scratch
	}
	return own[:at]
}
