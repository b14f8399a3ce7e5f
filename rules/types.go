package rules

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"lake/schemas"
)

type num = decimal128.Num

// sqlName is a type in GoogleSQL's words, as messages name it.
func sqlName(t schemas.Type) string {
	switch t.Kind {
	case schemas.Decimal:
		if !fitsNumeric(t) {
			return "BIGNUMERIC"
		}
		return "NUMERIC"
	case schemas.List:
		return "ARRAY"
	case schemas.Int32, schemas.Int64:
		return "INT64"
	case schemas.Float32, schemas.Float64:
		return "FLOAT64"
	default:
		return strings.ToUpper(t.Kind.String())
	}
}

// byStorage chooses the kernel for how vectors hold a type.
func byStorage(t schemas.Type, bools, ints, floats, nums, texts kernel) kernel {
	switch t.Kind {
	case schemas.Bool:
		return bools
	case schemas.Float64:
		return floats
	case schemas.Decimal:
		return nums
	case schemas.String, schemas.Bytes, schemas.UUID, schemas.JSON:
		return texts
	default:
		return ints
	}
}

// call applies an operation; where all arguments are literals and none fails,
// the result is a literal.
func (c *checker) call(op *operation, t schemas.Type, at int, run kernel, args ...node) node {
	n := &call{op: op, args: args, typ: t, place: at, run: run}
	for _, a := range args {
		if _, ok := a.(*literal); !ok {
			return n
		}
	}
	return folded(n)
}

func folded(n *call) node {
	v, err := n.eval(&evaluation{rows: 1})
	if err != nil || len(v.fails) > 0 || len(v.texts) > 0 && len(v.texts[0]) > maxSQL {
		return n
	}
	v.one = true
	if v.isNull(0) {
		return nullOf(n.typ, n.place)
	}
	return &literal{typ: n.typ, v: v, place: n.place}
}

// coerce makes n a value of type t where GoogleSQL does so by itself; nil where it does not.
func (c *checker) coerce(n node, t schemas.Type) node {
	from := n.Type()
	lit, isLiteral := n.(*literal)
	switch {
	case from.Equal(t):
		return n
	case isLiteral && lit.untyped:
		return nullOf(t, lit.place)
	case from.Kind == schemas.Int64 && (t.Kind == schemas.Float64 || t.Kind == schemas.Decimal),
		from.Kind == schemas.Decimal && t.Kind == schemas.Float64,
		from.Kind == schemas.Decimal && t.Kind == schemas.Decimal && fitsNumeric(from):
		return c.call(opCoerce, t, n.at(), castKernel(from, t), n)
	case from.Kind == schemas.UUID && t.Kind == schemas.String:
		return c.call(opCast, t, n.at(), castKernel(from, t), n)
	case isLiteral && from.Kind == schemas.Float64 && t.Kind == schemas.Decimal && !lit.isNull():
		if x, ok := exactNumeric(floatText(lit.v.floats[0])); ok {
			return constant(t, lit.place, x)
		}
	case isLiteral && from.Kind == schemas.String && t.Kind.Temporal() && !lit.isNull():
		return c.temporal(t, lit.place, lit.v.texts[0])
	}
	return nil
}

// unify finds the type that all of nodes become; nil nodes where there is none.
func (c *checker) unify(what string, at int, nodes []node) (schemas.Type, []node) {
	var t schemas.Type
	for _, n := range nodes {
		if n == nil {
			return t, nil
		}
		if lit, ok := n.(*literal); ok && lit.untyped {
			continue
		}
		u := n.Type()
		_, isLiteral := n.(*literal)
		switch {
		case t.Kind == schemas.Invalid, t.Kind == schemas.String && u.Kind.Temporal():
			t = u
		case t.Kind.Temporal() && u.Kind == schemas.String && isLiteral,
			t.Kind == schemas.String && u.Kind == schemas.UUID:
		case t.Kind == schemas.UUID && u.Kind == schemas.String:
			t = u
		}
	}
	switch {
	case t.Kind == schemas.Invalid:
		t = simple(schemas.Int64)
	case t.Kind.Numeric() && !sameDecimals(nodes) && numbersOf(nodes):
		t = numericOf(nodes)
	}
	out := make([]node, len(nodes))
	errors := len(c.errs)
	for i, n := range nodes {
		if out[i] = c.coerce(n, t); out[i] != nil {
			continue
		}
		if len(c.errs) == errors {
			c.mismatch(what, at, nodes, n, t)
		}
		return t, nil
	}
	return t, out
}

func (c *checker) mismatch(what string, at int, nodes []node, n node, t schemas.Type) {
	var kinds []string
	for _, x := range nodes {
		if name := sqlName(x.Type()); len(kinds) == 0 || kinds[len(kinds)-1] != name {
			kinds = append(kinds, name)
		}
	}
	hint := ""
	switch {
	case n.Type().Kind == schemas.Decimal && !fitsNumeric(n.Type()):
		hint = fmt.Sprintf("%s is %s, more than NUMERIC holds: CAST(%s AS FLOAT64)", short(n.String()), n.Type(), short(n.String()))
	case castKernel(n.Type(), t) != nil:
		hint = fmt.Sprintf("CAST(%s AS %s)", short(n.String()), sqlName(t))
	}
	c.fail(at, hint, "%s does not go with values of types %s", what, strings.Join(kinds, " and "))
}

// sameDecimals tells columns of one decimal type, which need no common one.
func sameDecimals(nodes []node) bool {
	var t schemas.Type
	for _, n := range nodes {
		if lit, ok := n.(*literal); ok && lit.untyped {
			continue
		}
		if t.Kind != schemas.Invalid && !t.Equal(n.Type()) || n.Type().Kind != schemas.Decimal {
			return false
		}
		t = n.Type()
	}
	return true
}

func numbersOf(nodes []node) bool {
	for _, n := range nodes {
		if lit, ok := n.(*literal); !n.Type().Kind.Numeric() && (!ok || !lit.untyped) {
			return false
		}
	}
	return true
}

// numericOf is the type in which numbers are computed: FLOAT64 where one of them
// is, else NUMERIC where one is, else INT64. A FLOAT64 literal gives way to a
// NUMERIC that is none where it has its value exactly.
func numericOf(nodes []node) schemas.Type {
	var floats, literals, nums, columns bool
	for _, n := range nodes {
		lit, isLiteral := n.(*literal)
		switch n.Type().Kind {
		case schemas.Float64:
			if !isLiteral || lit.isNull() {
				floats = true
			} else if _, ok := exactNumeric(floatText(lit.v.floats[0])); !ok {
				floats = true
			}
			literals = true
		case schemas.Decimal:
			nums = true
			columns = columns || !isLiteral
		}
	}
	switch {
	case floats || literals && !columns:
		return simple(schemas.Float64)
	case nums:
		return numericType
	default:
		return simple(schemas.Int64)
	}
}

// numericKernels are a function's for each type of numbers; a nil one is not
// there and the next wider type is taken.
type numericKernels struct{ ints, nums, floats kernel }

// numeric applies a function of numbers, all of one type.
func (c *checker) numeric(op *operation, at int, k numericKernels, args ...node) node {
	for _, n := range args {
		if n == nil {
			return nil
		}
	}
	if !numbersOf(args) {
		hint := ""
		for _, n := range args {
			if n.Type().Kind.Temporal() {
				hint = "compare dates and times, or use UNIX_SECONDS, DATE and EXTRACT"
			} else if n.Type().Kind == schemas.String {
				hint = fmt.Sprintf("CAST(%s AS INT64), or || to join texts", short(n.String()))
			}
		}
		return c.fail(at, hint, "%s takes numbers, not %s", op.name, typesOf(args))
	}
	t := numericOf(args)
	if t.Kind == schemas.Int64 && k.ints == nil && k.floats != nil {
		t = simple(schemas.Float64)
	}
	if t.Kind == schemas.Float64 && k.floats == nil && (k.ints != nil || k.nums != nil) {
		return c.fail(at, "", "%s takes INT64 and NUMERIC, not FLOAT64", op.name)
	}
	out := make([]node, len(args))
	for i, n := range args {
		if out[i] = c.coerce(n, t); out[i] == nil {
			c.mismatch(op.name, at, args, n, t)
			return nil
		}
	}
	run := byStorage(t, nil, k.ints, k.floats, k.nums, nil)
	if run == nil { // unary plus
		return out[0]
	}
	return c.call(op, t, at, run, out...)
}

func typesOf(nodes []node) string {
	var kinds []string
	for _, n := range nodes {
		kinds = append(kinds, sqlName(n.Type()))
	}
	return strings.Join(kinds, " and ")
}

// wanted coerces n to a kind, or says that what does not take it.
func (c *checker) wanted(n node, kind schemas.Kind, what string) node {
	if n == nil {
		return nil
	}
	errors := len(c.errs)
	t := simple(kind)
	if kind == schemas.Decimal {
		t = numericType
	}
	out := c.coerce(n, t)
	if out == nil && len(c.errs) == errors {
		hint := ""
		if castKernel(n.Type(), t) != nil && kind != schemas.Bool {
			hint = fmt.Sprintf("CAST(%s AS %s)", short(n.String()), sqlName(t))
		}
		c.fail(n.at(), hint, "%s takes %s here, and %s is %s", what, sqlName(t), short(n.String()), sqlName(n.Type()))
	}
	return out
}

// comparable refuses types whose values are neither equal nor in order.
func (c *checker) comparable(what string, at int, t schemas.Type) bool {
	switch t.Kind {
	case schemas.JSON, schemas.List, schemas.Struct, schemas.Map:
		c.fail(at, "take a part of it", "%s does not take %s", what, sqlName(t))
		return false
	}
	return true
}

// computable refuses types that expressions can pass on, but not make.
func (c *checker) computable(what string, at int, t schemas.Type) bool {
	switch t.Kind {
	case schemas.List, schemas.Struct, schemas.Map:
		c.fail(at, "take a part of it", "%s does not take %s", what, sqlName(t))
		return false
	}
	return true
}

func (c *checker) compare(op *operation, at int, l, r node) node {
	t, args := c.unify(op.name, at, []node{l, r})
	if args == nil || !c.comparable(op.name, at, t) {
		return nil
	}
	if _, ok := args[0].(*literal); ok && (op == opEqual || op == opNotEqual) {
		args[0], args[1] = args[1], args[0]
	}
	run := byStorage(t, compareBy(op, orderBools), compareOrdered[int64](op), compareOrdered[float64](op), compareBy(op, orderNums), compareOrdered[string](op))
	n := c.call(op, simple(schemas.Bool), at, run, args...)
	col, isColumn := args[0].(*column)
	lit, isLiteral := args[1].(*literal)
	if isColumn && isLiteral && !lit.isNull() && len(col.steps) == 0 && t.Kind == schemas.String && (op == opEqual || op == opNotEqual) {
		texts := &textEquals{col: col, want: []byte(lit.v.texts[0]), negated: op == opNotEqual}
		n.(*call).direct, n.(*call).texts = texts.eval, texts
	}
	return n
}
