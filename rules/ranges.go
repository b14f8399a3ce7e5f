package rules

import (
	"math"
	"math/big"

	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"lake/schemas"
)

// Range is what a column's value has to lie in for a condition to hold: between
// Low and High, both included, never NULL or NaN.
type Range struct {
	Path      []string // a column, or the path from it to a struct's member
	Low, High Bound
}

// Bound is an end of a Range. Which field has it follows from the column's type.
type Bound struct {
	Set     bool           // false: no end
	Int     int64          // an integer, a date's days since 1970, a timestamp's microseconds
	Float   float64        // a float
	Decimal decimal128.Num // a decimal, in units of the column's last digit
	Text    string         // a text, or bytes
}

// Bounds on what is said of a condition: what says more is looked at row by row only.
const (
	maxLists  = 64 // of ranges
	maxValues = 16 // of IN that are told apart
)

// AnyRanges are the Ranges of conditions of which any may hold: of several rules over
// one scan. nil where one of them is nil, which holds for all rows.
func AnyRanges(filters ...Expr) [][]Range {
	var out [][]Range
	for _, f := range filters {
		lists := Ranges(f)
		if out = append(out, lists...); lists == nil || len(out) > maxLists {
			return nil
		}
	}
	return out
}

// Ranges are what a condition asks of columns that it compares with constants: it holds for
// no row but those that are in all ranges of one of the lists. nil where it says
// nothing. Where another part of the condition fails for a row that is in none, as by a
// division by zero, nobody hears of it: SQL says no order in which parts are looked at.
func Ranges(filter Expr) [][]Range {
	c, ok := filter.(*call)
	switch {
	case !ok:
		return nil
	case c.op == opAnd:
		return both(Ranges(c.args[0]), Ranges(c.args[1]))
	case c.op == opOr:
		a, b := Ranges(c.args[0]), Ranges(c.args[1])
		if a == nil || b == nil || len(a)+len(b) > maxLists {
			return nil
		}
		return append(a, b...)
	case c.op == opNot:
		if null, is := c.args[0].(*call); is && null.op == opIsNull {
			if col, ok := rangedColumn(null.args[0]); ok {
				return [][]Range{{{Path: col.path()}}}
			}
		}
	case c.op == opIn && len(c.args) > 1:
		return rangesAmong(c.args[0], c.args[1:])
	case len(c.args) == 2:
		return rangeBeside(c.op, c.args[0], c.args[1])
	}
	return nil
}

// both are the lists of two conditions that have to hold, each of one with each of the other.
func both(a, b [][]Range) [][]Range {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case len(a)*len(b) > maxLists:
		return a // either says no more than is true
	}
	out := make([][]Range, 0, len(a)*len(b))
	for _, x := range a {
		for _, y := range b {
			out = append(out, append(x[:len(x):len(x)], y...))
		}
	}
	return out
}

// rangeBeside is the range of a comparison.
func rangeBeside(op *operation, of, with node) [][]Range {
	if _, turned := of.(*literal); turned {
		of, with = with, of
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
	col, ok := rangedColumn(of)
	if !ok {
		return nil
	}
	low, high, ok := col.bounds(with)
	if !ok {
		return nil
	}
	switch op {
	case opEqual:
	case opLess, opLessEqual:
		low = Bound{}
	case opGreater, opGreaterEqual:
		high = Bound{}
	default:
		return nil
	}
	return [][]Range{{{Path: col.path(), Low: low, High: high}}}
}

// rangesAmong are the values of IN, or where they are many what they span.
func rangesAmong(of node, values []node) [][]Range {
	col, ok := rangedColumn(of)
	if !ok {
		return nil
	}
	var out [][]Range
	for _, v := range values {
		low, high, ok := col.bounds(v)
		if !ok {
			return nil
		}
		r := Range{Path: col.path(), Low: low, High: high}
		if len(values) <= maxValues || out == nil {
			out = append(out, []Range{r})
			continue
		}
		all := &out[0][0]
		if col.less(r.Low, all.Low) {
			all.Low = r.Low
		}
		if col.less(all.High, r.High) {
			all.High = r.High
		}
	}
	return out
}

// rangedColumn is the column that n is, or that is widened to the type of what it is
// compared with, where the statistics of files tell about its values.
func rangedColumn(n node) (*column, bool) {
	if c, ok := n.(*call); ok && c.op == opCoerce && c.typ.Kind == schemas.Decimal {
		if n = c.args[0]; n.Type().Kind != schemas.Decimal {
			return nil, false
		}
	}
	col, ok := n.(*column)
	if !ok {
		return nil, false
	}
	for _, s := range col.steps {
		if s.field == "" {
			return nil, false
		}
	}
	return col, true
}

func (c *column) path() []string {
	out := []string{c.name}
	for _, s := range c.steps {
		out = append(out, s.field)
	}
	return out
}

// bounds are the least and the greatest value of the column that are equal to a constant, or
// the ones next to it where none is: high is then below low. false: not known.
func (c *column) bounds(n node) (low, high Bound, ok bool) {
	lit, is := n.(*literal)
	if !is || lit.isNull() || lit.typ.Kind != c.typ.Kind {
		return low, high, false
	}
	b := Bound{Set: true}
	switch c.stored.Kind {
	case schemas.String, schemas.Bytes:
		b.Text = lit.v.texts[0]
	case schemas.Int32, schemas.Int64, schemas.Date, schemas.Timestamp, schemas.Datetime:
		b.Int = lit.v.ints[0]
	case schemas.Float32, schemas.Float64:
		b.Float = lit.v.floats[0]
		if math.IsNaN(b.Float) {
			return low, high, false
		}
	case schemas.Decimal:
		return c.decimalBounds(lit)
	default:
		return low, high, false
	}
	return b, b, true
}

// decimalBounds bring a constant to the column's scale, rounded up and down.
func (c *column) decimalBounds(lit *literal) (low, high Bound, ok bool) {
	by := lit.typ.Scale - c.stored.Scale
	if by < 0 || by > lit.typ.Precision {
		return low, high, false
	}
	unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(by)), nil)
	floor, rest := new(big.Int).DivMod(lit.v.nums[0].BigInt(), unit, new(big.Int)) // Euclid's: the rest is not negative
	ceil := new(big.Int).Set(floor)
	if rest.Sign() > 0 {
		ceil.Add(ceil, big.NewInt(1))
	}
	return Bound{Set: true, Decimal: decimal128.FromBigInt(ceil)}, Bound{Set: true, Decimal: decimal128.FromBigInt(floor)}, true
}

// less orders bounds of the column.
func (c *column) less(a, b Bound) bool {
	switch c.stored.Kind {
	case schemas.String, schemas.Bytes:
		return a.Text < b.Text
	case schemas.Float32, schemas.Float64:
		return a.Float < b.Float
	case schemas.Decimal:
		return a.Decimal.Less(b.Decimal)
	default:
		return a.Int < b.Int
	}
}
