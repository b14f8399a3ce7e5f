package rules

import (
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"lake/schemas"
)

// node is a checked expression. Nodes are immutable.
type node interface {
	Expr
	at() int // the byte of the query at which the expression stands
	eval(e *evaluation) (vector, error)
	write(p *printer) (text string, level int)
}

// evaluation is one batch being evaluated.
type evaluation struct {
	batch arrow.RecordBatch
	rows  int
}

// finish is a node's Expr.Eval.
func finish(n node, ctx *Eval, batch arrow.RecordBatch) (arrow.Array, error) {
	e := &evaluation{batch: batch, rows: int(batch.NumRows())}
	v, err := n.eval(e)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(v.fails, func(a, b Failure) int { return a.Row - b.Row })
	for row, reason := range v.failures(e.rows) {
		ctx.Fail(row, reason)
	}
	return v.arrow(n.Type(), e.rows)
}

// literal is a constant.
type literal struct {
	typ     schemas.Type
	v       vector // one value
	place   int
	untyped bool // NULL, that takes any type
}

func (l *literal) Type() schemas.Type { return l.typ }
func (l *literal) at() int            { return l.place }
func (l *literal) String() string     { return googleSQL(l) }
func (l *literal) isNull() bool       { return l.v.null != nil }
func (l *literal) Eval(ctx *Eval, batch arrow.RecordBatch) (arrow.Array, error) {
	return finish(l, ctx, batch)
}
func (l *literal) eval(*evaluation) (vector, error) { return l.v, nil }

func constant[T value](typ schemas.Type, place int, x T) *literal {
	v := vectorOf([]T{x}, nil)
	v.one = true
	return &literal{typ: typ, v: v, place: place}
}

func nullOf(typ schemas.Type, place int) *literal {
	v := vector{one: true, null: []bool{true}, bools: make([]bool, 1), ints: make([]int64, 1), floats: make([]float64, 1),
		texts: make([]string, 1)}
	v.nums = append(v.nums, zeroNum)
	return &literal{typ: typ, v: v, place: place}
}

// slotRef is a column of the group batch: a key, the window's start or an aggregate.
type slotRef struct {
	name   string
	typ    schemas.Type
	origin node // what the query has there
}

func (s *slotRef) Type() schemas.Type { return s.typ }
func (s *slotRef) at() int            { return s.origin.at() }
func (s *slotRef) String() string     { return googleSQL(s) }
func (s *slotRef) column() *column    { return &column{name: s.name, typ: s.typ, stored: s.typ} }
func (s *slotRef) Eval(ctx *Eval, batch arrow.RecordBatch) (arrow.Array, error) {
	return s.column().Eval(ctx, batch)
}
func (s *slotRef) eval(e *evaluation) (vector, error) { return s.column().eval(e) }

// aggregate stands in a query's expressions until the query is split at its groups.
type aggregate struct {
	fn    AggFunc
	arg   node // nil for COUNT(*)
	typ   schemas.Type
	place int
}

func (a *aggregate) Type() schemas.Type { return a.typ }
func (a *aggregate) at() int            { return a.place }
func (a *aggregate) String() string     { return googleSQL(a) }
func (a *aggregate) Eval(*Eval, arrow.RecordBatch) (arrow.Array, error) {
	return nil, fmt.Errorf("evaluate %s: an aggregate has no value by row", a)
}
func (a *aggregate) eval(*evaluation) (vector, error) {
	return vector{}, fmt.Errorf("evaluate %s: an aggregate has no value by row", a)
}

// call is a function or an operator applied to its arguments.
type call struct {
	op    *operation
	args  []node
	typ   schemas.Type
	place int
	part  string // EXTRACT's and TIMESTAMP_TRUNC's; a bucket's width in words; "" elsewhere
	width int64  // a bucket's, in µs
	run   kernel
	// direct replaces args and run where it is ok: forms that need not read all of a column.
	direct func(e *evaluation) (v vector, ok bool, err error)
	texts  *textEquals // where it is one
}

// kernel computes n values from its arguments, which have n values each or one.
type kernel func(n int, args []vector) vector

// operation is what all calls of a function or operator share.
type operation struct {
	name  string
	level int  // of an operator: how tightly it binds; 0: a function
	lazy  bool // takes the failures of its arguments by itself
}

func (c *call) Type() schemas.Type { return c.typ }
func (c *call) at() int            { return c.place }
func (c *call) String() string     { return googleSQL(c) }
func (c *call) Eval(ctx *Eval, batch arrow.RecordBatch) (arrow.Array, error) {
	return finish(c, ctx, batch)
}

func (c *call) eval(e *evaluation) (vector, error) {
	if c.direct != nil {
		if v, ok, err := c.direct(e); ok || err != nil {
			return v, err
		}
	}
	args, one := make([]vector, len(c.args)), true
	for i, arg := range c.args {
		v, err := arg.eval(e)
		if err != nil {
			return vector{}, err
		}
		args[i], one = v, one && v.one
	}
	n := e.rows
	if one {
		n = 1
	}
	out := c.run(n, args)
	if !c.op.lazy {
		out.inherit(n, args)
	}
	out.one = one
	return out, nil
}
