package rules

import (
	"math"

	"lake/schemas"
)

// Range is what a column's value has to lie in for a condition to hold: between
// Low and High, both included, never NULL.
type Range struct {
	Column    string
	Low, High Bound
}

// Bound is an end of a Range: a number (of a date its days since 1970, of a
// timestamp its microseconds) or a text.
type Bound struct {
	Set  bool // false: no end
	Int  int64
	Text string
}

// Ranges are what a condition's parts that are joined by AND say of whole
// columns: each has to hold where the condition does. nil, too, where they say nothing.
func Ranges(filter Expr) []Range {
	c, ok := filter.(*call)
	switch {
	case !ok:
		return nil
	case c.op == opAnd:
		return append(Ranges(c.args[0]), Ranges(c.args[1])...)
	case c.op == opIn && len(c.args) > 1:
		return rangeOf(c.args[0], c.args[1:])
	case len(c.args) == 2:
		op, col, value := c.op, c.args[0], c.args[1]
		if _, turned := col.(*literal); turned {
			col, value = value, col
			switch op {
			case opLess:
				op = opGreater
			case opLessEqual:
				op = opGreaterEqual
			case opGreater:
				op = opLess
			case opGreaterEqual:
				op = opLessEqual
			}
		}
		out := rangeOf(col, []node{value})
		if out == nil {
			return nil
		}
		switch op {
		case opEqual:
		case opLess, opLessEqual:
			out[0].Low = Bound{}
		case opGreater, opGreaterEqual:
			out[0].High = Bound{}
		default:
			return nil
		}
		return out
	}
	return nil
}

// rangeOf spans the values that a column is compared with.
func rangeOf(of node, values []node) []Range {
	col, ok := of.(*column)
	if !ok || len(col.steps) > 0 {
		return nil
	}
	text := false
	switch col.stored.Kind {
	case schemas.String:
		text = true
	case schemas.Int32, schemas.Int64, schemas.Date, schemas.Timestamp, schemas.Datetime:
	default:
		return nil
	}
	out := Range{Column: col.name, Low: Bound{Set: true, Int: math.MaxInt64}, High: Bound{Set: true, Int: math.MinInt64}}
	for i, v := range values {
		lit, ok := v.(*literal)
		if !ok || lit.isNull() || lit.typ.Kind != col.typ.Kind {
			return nil
		}
		if text {
			x := lit.v.texts[0]
			if i == 0 {
				out.Low.Text, out.High.Text = x, x
			}
			out.Low.Text, out.High.Text = min(out.Low.Text, x), max(out.High.Text, x)
			continue
		}
		out.Low.Int, out.High.Int = min(out.Low.Int, lit.v.ints[0]), max(out.High.Int, lit.v.ints[0])
	}
	if text {
		out.Low.Int, out.High.Int = 0, 0
	}
	return []Range{out}
}
