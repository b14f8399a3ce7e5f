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
// whole windows in turn; else the groups by the hash of their key.
type part struct {
	number, of int
	windows    bool
}

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
// not of a stream. Each part has its own groups, takes their rows in order, and
// runs on a core of its own, so that its answers are those of one Tally. One
// goroutine uses it; those that it starts have ended when a method returns.
type Parts struct {
	parts []*Tally
	where Where
	found []Where // of each part's piece of the batch

	failures []rules.Failure
}

// NewParts makes a Parts that has seen no row, of up to n parts: a rule that has a
// single group, or none, is one.
func NewParts(rule Rule, opts Options, n int) (*Parts, error) {
	p, seeds := &Parts{}, newSeeds()
	if plan := rule.Plan; plan == nil || !plan.Grouped || len(plan.Keys) == 0 && plan.Window == nil {
		n = 1
	}
	w := (*rules.Window)(nil)
	if rule.Plan != nil {
		w = rule.Plan.Window
	}
	windows := w != nil && w.Kind == rules.Tumble && w.Micros <= shortWindow.Microseconds()
	if !windows && n > 1 && len(rule.Plan.Keys) == 0 {
		n = 1
	}
	for i := range max(n, 1) {
		t, err := newPart(rule, opts, seeds, part{number: i, of: max(n, 1), windows: windows})
		if err != nil {
			p.Release()
			return nil, err
		}
		p.parts = append(p.parts, t)
	}
	p.found = make([]Where, len(p.parts))
	return p, nil
}

// Release gives up the answers that were not taken. The Parts is not used afterwards.
func (p *Parts) Release() {
	for _, t := range p.parts {
		t.Release()
	}
}

// Add takes the rows of a batch in order; their watermarks and Where are not
// looked at. After an error the Parts is not used again.
func (p *Parts) Add(rows Rows) error {
	rows.Watermark, rows.Where = nil, nil
	if len(p.parts) == 1 {
		return p.parts[0].Add(rows)
	}
	t := p.parts[0]
	if t.plan.Filter != nil {
		if err := p.filter(rows.Batch); err != nil {
			return fmt.Errorf("add rows to rule %s: %w", t.rule.Name, err)
		}
		rows.Where = &p.where
	}
	if err := p.each(func(_ int, t *Tally) error { return t.add(rows) }); err != nil {
		return fmt.Errorf("add rows to rule %s: %w", t.rule.Name, err)
	}
	bytes, members := int64(0), 0
	for _, t := range p.parts {
		bytes, members = bytes+t.Bytes(), members+t.members
	}
	return t.tooLarge(p.groups, bytes, members)
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
	return final(p.parts, p.parts[0].rule.Emit == OnDemand)
}

// EachFinal is Tally.EachFinal over all parts.
func (p *Parts) EachFinal(answer func(arrow.RecordBatch, []GroupFailure) error) error {
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
