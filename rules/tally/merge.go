package tally

import (
	"fmt"
	"math/bits"

	"lake/rules"
)

// merger is an aggregate that another one of the same rule, over other rows, can be
// folded into, with the same outcome whatever rows each of them has.
type merger interface {
	// merge folds the groups of from into those of this one, by place. from is of the
	// same type.
	merge(into []int32, from aggregate, groups []int32)
}

// mergeable reports whether all aggregates of a plan are mergers that hold no more
// for a group than a fixed number of bytes. Of floats a sum depends on the order of
// its rows, and so does which of -0.0 and 0.0 is the least.
func mergeable(p *rules.Plan) bool {
	for _, agg := range p.Aggs {
		switch agg.Func {
		case rules.Count, rules.CountIf:
			continue
		case rules.Sum, rules.Avg, rules.Min, rules.Max:
			if s := storageOf(agg.Arg.Type().Kind); s == asInt || s == asDecimal {
				continue
			}
		}
		return false
	}
	return true
}

// absorb folds groups of another part of the rule into those of this one: all of
// them or, where own is set, those that belong to this part.
func (t *Tally) absorb(other *Tally, own bool) error {
	for _, from := range other.order {
		for first := 0; first < from.index.len(); first += groupsAtOnce {
			if err := t.absorbGroups(from, first, min(from.index.len(), first+groupsAtOnce), own); err != nil {
				return fmt.Errorf("merge the parts of rule %s: %w", t.rule.Name, err)
			}
		}
	}
	return nil
}

// absorbGroups is absorb of a table's groups numbered from first on, to exclusive.
func (t *Tally) absorbGroups(from *table, first, end int, own bool) error {
	groups := numbers(nil, first, end)
	vectors := make([]vector, len(t.codec))
	for i, typ := range t.codec {
		vectors[i].typ = typ
		vectors[i].reserve(len(groups))
	}
	from.index.emit(groups, vectors)
	t.keys.columns = make([]column, len(vectors))
	for i := range vectors {
		a, err := vectors[i].finish()
		if err != nil {
			return err
		}
		defer a.Release()
		if t.keys.columns[i], err = read(t.codec[i], a); err != nil {
			return err
		}
	}
	rows := numbers(nil, 0, len(groups))
	if own {
		rows = t.owned(rows)
	}
	if len(rows) == 0 {
		return nil
	}
	for i, row := range rows {
		groups[i] = groups[row] // row is never before i
	}
	groups = groups[:len(rows)]
	tb, into := t.table(from.span), make([]int32, len(rows))
	tb.index.resolve(&t.keys, rows, into)
	tb.grow()
	for i, a := range tb.aggs {
		m, ok := a.(merger)
		if !ok {
			return fmt.Errorf("%s cannot be merged", t.plan.Aggs[i].Name)
		}
		m.merge(into, from.aggs[i], groups)
	}
	t.measure(tb)
	return nil
}

func (c *counts) merge(into []int32, from aggregate, groups []int32) {
	other, ok := from.(*counts)
	if !ok {
		return
	}
	for i, g := range into {
		*c.n.at(g) += *other.n.at(groups[i])
	}
}

func (s *intSums) merge(into []int32, from aggregate, groups []int32) {
	other, ok := from.(*intSums)
	if !ok {
		return
	}
	for i, g := range into {
		sum, more := s.state.at(g), other.state.at(groups[i])
		lo, carry := bits.Add64(sum.lo, more.lo, 0)
		sum.lo, sum.hi, sum.n = lo, sum.hi+more.hi+int64(carry), sum.n+more.n
	}
}

func (s *decimalSums) merge(into []int32, from aggregate, groups []int32) {
	other, ok := from.(*decimalSums)
	if !ok {
		return
	}
	for i, g := range into {
		sum, more := s.state.at(g), other.state.at(groups[i])
		var carry uint64
		sum.lo, carry = bits.Add64(sum.lo, more.lo, 0)
		sum.mid, carry = bits.Add64(sum.mid, more.mid, carry)
		sum.hi, sum.n = sum.hi+more.hi+int64(carry), sum.n+more.n
	}
}

func (e *extremes[T]) merge(into []int32, from aggregate, groups []int32) {
	other, ok := from.(*extremes[T])
	if !ok {
		return
	}
	for i, g := range into {
		if more := groups[i]; *other.seen.at(more) {
			if x := *other.best.at(more); !*e.seen.at(g) || e.better(x, *e.best.at(g)) {
				e.set(g, e.keep(*e.best.at(g), x))
			}
		}
	}
}
