package rules

import (
	"math"

	"lake/schemas"
)

// Threshold is a bound that a count has to reach before HAVING can be true of its
// group. Until then HAVING is false or NULL, and no aggregate of the group fails.
type Threshold struct {
	Agg   int   // of Plan.Aggs: a COUNT(*), COUNT(x) or COUNTIF(x), which never falls
	Least int64 // at least 1
}

// threshold finds the bound in HAVING: a comparison of a count with a constant,
// alone or one of several comparisons with constants that all have to hold. It is
// nil where HAVING has another form, or where an aggregate may fail.
func (p *Plan) threshold() *Threshold {
	for _, agg := range p.Aggs {
		switch agg.Func {
		case Count, CountIf, CountDistinct, Min, Max:
		default: // sums overflow, and the average of NUMERIC does
			return nil
		}
	}
	having, ok := p.Having.(node)
	best := &Threshold{}
	if !ok || !p.bounds(having, best) || best.Least < 1 {
		return nil
	}
	return best
}

// bounds looks for the highest bound in a condition; false: the condition is of no
// form that cannot fail.
func (p *Plan) bounds(n node, best *Threshold) bool {
	c, ok := n.(*call)
	if !ok {
		return false
	}
	if c.op == opAnd {
		return p.bounds(c.args[0], best) && p.bounds(c.args[1], best)
	}
	op := c.op
	switch op {
	case opEqual, opNotEqual, opLess, opLessEqual, opGreater, opGreaterEqual:
	default:
		return false
	}
	slot, isSlot := c.args[0].(*slotRef)
	constant, isConstant := c.args[1].(*literal)
	if !isSlot || !isConstant {
		slot, isSlot = c.args[1].(*slotRef)
		constant, isConstant = c.args[0].(*literal)
		switch op { // as it reads from the other side
		case opLess:
			op = opGreater
		case opLessEqual:
			op = opGreaterEqual
		case opGreater, opGreaterEqual:
			op = opLess
		}
	}
	if !isSlot || !isConstant {
		return false
	}
	if constant.typ.Kind != schemas.Int64 || constant.isNull() {
		return true
	}
	least := constant.v.ints[0]
	switch {
	case op == opGreater && least < math.MaxInt64:
		least++
	case op == opEqual, op == opGreaterEqual:
	default:
		return true
	}
	for i, agg := range p.Aggs {
		if agg.Name == slot.name && (agg.Func == Count || agg.Func == CountIf) && least > best.Least {
			*best = Threshold{Agg: i, Least: least}
		}
	}
	return true
}
