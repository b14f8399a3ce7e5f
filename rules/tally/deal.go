package tally

import (
	"fmt"
	"slices"

	"lake/rules"
)

// maxParts bounds the parts of a rule.
const maxParts = 64

// dealt is what a part found of its piece of a batch: the rows that satisfy WHERE, by
// the part that has their window.
type dealt struct {
	rows     [][]int32
	failures []rules.Failure // of WHERE
}

// addWindows has each part look for the windows of a piece of the batch, and then take
// the rows of its own windows.
func (p *Parts) addWindows(rows Rows) error {
	if err := p.parts[0].check(rows); err != nil {
		return err
	}
	if err := p.each(func(i int, t *Tally) error {
		from, to := p.piece(i, rows)
		return t.deal(rows, from, to, &p.dealt[i])
	}); err != nil {
		return err
	}
	return p.each(func(i int, t *Tally) error {
		t.failures, t.own = t.failures[:0], t.own[:0]
		for k := range p.dealt {
			t.own = append(t.own, p.dealt[k].rows[i]...)
			if i == 0 {
				t.failures = append(t.failures, p.dealt[k].failures...)
			}
		}
		return t.addSelected(rows, t.own)
	})
}

// deal finds for the rows from one on, to exclusive, that satisfy WHERE the parts that
// have their windows.
func (t *Tally) deal(rows Rows, from, to int, d *dealt) error {
	piece := rows.Batch.NewSlice(int64(from), int64(to))
	defer piece.Release()
	t.failures, d.failures = t.failures[:0], d.failures[:0]
	selected, err := t.where(Rows{Batch: piece})
	if err != nil {
		return err
	}
	for _, f := range t.failures {
		d.failures = append(d.failures, rules.Failure{Row: f.Row + from, Reason: f.Reason})
	}
	w := t.plan.Window
	eval := rules.Eval{Mem: t.opts.Mem}
	a, err := w.Time.Eval(&eval, piece)
	if err != nil {
		return fmt.Errorf("evaluate window %s: %w", w.Time, err)
	}
	defer a.Release()
	times, err := read(w.Time.Type(), a)
	if err != nil {
		return fmt.Errorf("evaluate window %s: %w", w.Time, err)
	}
	d.rows = slices.Grow(d.rows[:0], t.part.of)[:t.part.of]
	for i := range d.rows {
		d.rows[i] = slices.Grow(d.rows[i][:0], len(selected))[:len(selected)]
	}
	var next [maxParts]int
	of, rate := int64(t.part.of), 1/float64(w.Micros)
	for _, row := range selected {
		owner := int64(0) // of the window of NULL; of times without a window any
		if ts := times.ints[row]; !times.null(row) && ts >= minTimestamp && ts <= maxTimestamp {
			ts -= w.Origin
			n := int64(float64(ts) * rate) // about the window's number
			for rest := ts - n*w.Micros; rest < 0; rest += w.Micros {
				n--
			}
			for rest := ts - n*w.Micros; rest >= w.Micros; rest -= w.Micros {
				n++
			}
			if owner = n & (of - 1); of&(of-1) != 0 { // mostly there are two or four
				owner = (n%of + of) % of
			}
		}
		d.rows[owner][next[owner]] = row + int32(from)
		next[owner]++
	}
	for i := range d.rows {
		d.rows[i] = d.rows[i][:next[i]]
	}
	return nil
}
