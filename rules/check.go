package rules

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cloudspannerecosystem/memefish/ast"

	"lake/schemas"
)

// maxChain bounds how deep expressions nest, chains of operators included.
const maxChain = 1000

// checker turns the parser's expressions into nodes. What is wrong is recorded
// in errs and gives a nil node, of which nothing more is said.
type checker struct {
	sql    string
	src    Source
	tables []string        // what may stand before a column's name
	alias  map[string]node // the SELECT list's names in lower case, where they may be used; a nil node had an error
	hidden map[string]bool // the SELECT list's names, where they may not
	clause string          // in which the expression stands, for messages
	aggs   bool            // aggregates may stand here
	inAgg  bool
	depth  int
	errs   Errors
}

func (c *checker) fail(at int, hint, format string, args ...any) node {
	c.errs.add(c.sql, at, hint, fmt.Sprintf(format, args...))
	return nil
}

func (c *checker) expr(e ast.Expr) node {
	if c.depth++; c.depth > maxChain {
		c.depth--
		return c.fail(int(e.Pos()), "", "the expression is nested more than %d deep", maxChain)
	}
	defer func() { c.depth-- }()
	at := int(e.Pos())
	switch e := e.(type) {
	case *ast.ParenExpr:
		return c.expr(e.Expr)
	case *ast.NullLiteral:
		n := nullOf(simple(schemas.Int64), at)
		n.untyped = true
		return n
	case *ast.BoolLiteral:
		return constant(simple(schemas.Bool), at, e.Value)
	case *ast.IntLiteral:
		n, err := strconv.ParseInt(e.Value, 0, 64)
		if e.Base == 10 {
			n, err = strconv.ParseInt(strings.TrimPrefix(strings.ReplaceAll(e.Value, " ", ""), "+"), 10, 64)
		}
		if err != nil {
			return c.fail(at, "write NUMERIC '…'", "the number %s does not fit INT64", e.Value)
		}
		return constant(simple(schemas.Int64), at, n)
	case *ast.FloatLiteral:
		f, err := strconv.ParseFloat(e.Value, 64)
		if err != nil {
			return c.fail(at, "", "the number %s does not fit FLOAT64", e.Value)
		}
		return constant(simple(schemas.Float64), at, f)
	case *ast.StringLiteral:
		return constant(simple(schemas.String), at, e.Value)
	case *ast.BytesLiteral:
		return constant(simple(schemas.Bytes), at, string(e.Value))
	case *ast.NumericLiteral:
		n, ok := exactNumeric(e.Value.Value)
		if !ok {
			return c.fail(at, "it has at most 29 digits before the point and 9 behind it", "%q is no NUMERIC", e.Value.Value)
		}
		return constant(numericType, at, n)
	case *ast.DateLiteral:
		return c.temporal(simple(schemas.Date), at, e.Value.Value)
	case *ast.TimestampLiteral:
		return c.temporal(simple(schemas.Timestamp), at, e.Value.Value)
	case *ast.Ident:
		return c.name([]*ast.Ident{e})
	case *ast.Path:
		return c.name(e.Idents)
	case *ast.SelectorExpr:
		return c.field(c.expr(e.Expr), e.Ident)
	case *ast.IndexExpr:
		return c.element(e)
	case *ast.UnaryExpr:
		return c.unary(e)
	case *ast.BinaryExpr:
		return c.binary(e)
	case *ast.IsNullExpr:
		return c.not(e.Not, c.isNull(at, c.expr(e.Left)))
	case *ast.IsBoolExpr:
		n := c.wanted(c.expr(e.Left), schemas.Bool, "IS TRUE")
		if n == nil {
			return nil
		}
		op := opIsTrue
		if !e.Right {
			op = opIsFalse
		}
		return c.not(e.Not, c.call(op, simple(schemas.Bool), at, isBool(e.Right), n))
	case *ast.InExpr:
		return c.in(e)
	case *ast.BetweenExpr:
		n, lo, hi := c.expr(e.Left), c.expr(e.RightStart), c.expr(e.RightEnd)
		if n == nil || lo == nil || hi == nil {
			return nil
		}
		return c.not(e.Not, c.both(at, c.compare(opGreaterEqual, at, n, lo), c.compare(opLessEqual, at, n, hi)))
	case *ast.CaseExpr:
		return c.caseExpr(e)
	case *ast.IfExpr:
		return c.caseOf(at, []node{c.wanted(c.expr(e.Expr), schemas.Bool, "IF"), c.expr(e.TrueResult), c.expr(e.ElseResult)})
	case *ast.CastExpr:
		return c.cast(e)
	case *ast.CountStarExpr:
		return c.aggregate(Count, at, "COUNT", nil)
	case *ast.CallExpr:
		return c.callExpr(e)
	case *ast.ExtractExpr:
		return c.extract(e)
	case *ast.ScalarSubQuery, *ast.ArraySubQuery, *ast.ExistsSubQuery:
		return c.fail(at, "a rule reads one table once; a join with a small table comes later", "subqueries are not supported")
	case *ast.Param:
		return c.fail(at, "write the value; the job file's ${NAME} comes from the environment", "query parameters are not supported")
	case *ast.IntervalLiteralSingle, *ast.IntervalLiteralRange:
		return c.fail(at, "INTERVAL stands in TIMESTAMP_BUCKET(ts, INTERVAL 1 MINUTE) only", "an interval is not supported here")
	default:
		return c.fail(at, "", "%s is not supported", short(e.SQL()))
	}
}

func short(text string) string {
	if r := []rune(text); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return text
}

// temporal is a literal of a date or time given as text.
func (c *checker) temporal(t schemas.Type, at int, text string) node {
	parse := map[schemas.Kind]func(string) (int64, bool){
		schemas.Date: parseDate, schemas.Timestamp: parseTimestamp, schemas.Datetime: parseDatetime, schemas.Time: parseTime,
	}[t.Kind]
	x, ok := parse(text)
	if !ok {
		form := map[schemas.Kind]string{schemas.Date: "2021-11-30", schemas.Timestamp: "2021-11-30 12:00:00+05:30",
			schemas.Datetime: "2021-11-30 12:00:00", schemas.Time: "12:00:00"}[t.Kind]
		return c.fail(at, "write it as '"+form+"'", "%q is no %s", short(text), sqlName(t))
	}
	return constant(t, at, x)
}

// name is a column or, where that is allowed, a name of the SELECT list; names
// behind it are fields.
func (c *checker) name(idents []*ast.Ident) node {
	first, at := idents[0], int(idents[0].Pos())
	key := strings.ToLower(first.Name)
	index := c.src.Schema.Index(first.Name)
	if alias, ok := c.alias[key]; ok && !c.inAgg {
		if index >= 0 && alias != nil {
			if col, ok := alias.(*column); !ok || len(col.steps) > 0 || !strings.EqualFold(col.name, c.src.Schema.Fields[index].Name) {
				return c.fail(at, "give the expression another name", "%q is a column and a name in the SELECT list", first.Name)
			}
		}
		n := alias
		for _, id := range idents[1:] {
			n = c.field(n, id)
		}
		return n
	}
	if index < 0 && len(idents) > 1 && containsFold(c.tables, first.Name) {
		return c.name(idents[1:])
	}
	if index < 0 {
		hint := nearest(first.Name, c.src.Schema.Names())
		switch _, named := c.alias[key]; {
		case named:
			hint = "an aggregate reads the table's columns, not the SELECT list's names"
		case c.hidden[key]:
			hint = c.clause + " is evaluated before the SELECT list: write the expression itself"
		}
		return c.fail(at, hint, "unknown column %q", first.Name)
	}
	f := c.src.Schema.Fields[index]
	var n node = newColumn(f.Name, nil, f.Type, at)
	for _, id := range idents[1:] {
		n = c.field(n, id)
	}
	return n
}

func containsFold(names []string, name string) bool {
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

func newColumn(name string, steps []step, stored schemas.Type, at int) *column {
	typ := stored
	switch stored.Kind {
	case schemas.Int32:
		typ = simple(schemas.Int64)
	case schemas.Float32:
		typ = simple(schemas.Float64)
	}
	return &column{name: name, steps: steps, typ: typ, stored: stored, place: at}
}

func (c *column) then(s step, t schemas.Type) *column {
	steps := append(append([]step{}, c.steps...), s)
	return newColumn(c.name, steps, t, c.place)
}

func (c *checker) field(n node, id *ast.Ident) node {
	if n == nil {
		return nil
	}
	col, ok := n.(*column)
	if !ok || col.typ.Kind != schemas.Struct {
		return c.fail(int(id.Pos()), "", "%s is %s and has no field %q", short(n.String()), sqlName(n.Type()), id.Name)
	}
	var names []string
	for _, f := range col.typ.Fields {
		if strings.EqualFold(f.Name, id.Name) {
			return col.then(step{field: f.Name}, f.Type)
		}
		names = append(names, f.Name)
	}
	return c.fail(int(id.Pos()), nearest(id.Name, names), "%s has no field %q", short(col.String()), id.Name)
}

// element is list[n], list[OFFSET(n)] and the like, and map['key'].
func (c *checker) element(e *ast.IndexExpr) node {
	n := c.expr(e.Expr)
	if n == nil {
		return nil
	}
	col, ok := n.(*column)
	if !ok || col.typ.Kind != schemas.List && col.typ.Kind != schemas.Map {
		return c.fail(int(e.Pos()), "", "%s is %s and has no elements", short(n.String()), sqlName(n.Type()))
	}
	s := step{word: "OFFSET"}
	var index node
	place := 0
	switch x := e.Index.(type) {
	case *ast.SubscriptSpecifierKeyword:
		s.word, index, place = string(x.Keyword), c.expr(x.Expr), int(x.Expr.Pos())
	case *ast.ExprArg:
		index, place = c.expr(x.Expr), int(x.Expr.Pos())
	default:
		return c.fail(int(e.Pos()), "", "%s is not supported", short(e.SQL()))
	}
	if index == nil {
		return nil
	}
	lit, ok := index.(*literal)
	if !ok || lit.isNull() {
		return c.fail(place, "", "the element's place has to be a literal")
	}
	if col.typ.Kind == schemas.Map {
		if lit.typ.Kind != schemas.String || col.typ.Key.Type.Kind != schemas.String {
			return c.fail(place, "", "a map's element is found by a string: %s['key']", short(col.String()))
		}
		s.isMap, s.key = true, lit.v.texts[0]
		return col.then(s, col.typ.Elem.Type)
	}
	if lit.typ.Kind != schemas.Int64 {
		return c.fail(place, "", "the element's place has to be an INT64, not %s", sqlName(lit.typ))
	}
	s.index, s.safe = lit.v.ints[0], strings.HasPrefix(s.word, "SAFE_")
	if strings.HasSuffix(s.word, "ORDINAL") {
		s.index--
	}
	if s.index < 0 && !s.safe {
		return c.fail(place, "", "an array has no element %d", lit.v.ints[0])
	}
	return col.then(s, col.typ.Elem.Type)
}

func (c *checker) unary(e *ast.UnaryExpr) node {
	n, at := c.expr(e.Expr), int(e.Pos())
	if n == nil {
		return nil
	}
	switch e.Op {
	case ast.OpNot:
		if n = c.wanted(n, schemas.Bool, "NOT"); n == nil {
			return nil
		}
		return c.not(true, n)
	case ast.OpMinus:
		return c.numeric(opNegative, at, numericKernels{ints: try1(negInt), nums: map1(negNum), floats: map1(negFloat)}, n)
	case ast.OpPlus:
		return c.numeric(opNegative, at, numericKernels{}, n)
	default:
		return c.fail(at, "", "the operator %s is not supported", e.Op)
	}
}

func (c *checker) binary(e *ast.BinaryExpr) node {
	l, r, at := c.expr(e.Left), c.expr(e.Right), int(e.Pos())
	if l == nil || r == nil {
		return nil
	}
	switch e.Op {
	case ast.OpAnd:
		return c.both(at, c.wanted(l, schemas.Bool, "AND"), c.wanted(r, schemas.Bool, "AND"))
	case ast.OpOr:
		return c.either(at, c.wanted(l, schemas.Bool, "OR"), c.wanted(r, schemas.Bool, "OR"))
	case ast.OpEqual:
		return c.compare(opEqual, at, l, r)
	case ast.OpNotEqual:
		return c.compare(opNotEqual, at, l, r)
	case ast.OpLess:
		return c.compare(opLess, at, l, r)
	case ast.OpLessEqual:
		return c.compare(opLessEqual, at, l, r)
	case ast.OpGreater:
		return c.compare(opGreater, at, l, r)
	case ast.OpGreaterEqual:
		return c.compare(opGreaterEqual, at, l, r)
	case ast.OpLike, ast.OpNotLike:
		return c.not(e.Op == ast.OpNotLike, c.like(at, l, r))
	case ast.OpConcat:
		return c.concat(at, []node{l, r})
	case ast.OpAdd:
		return c.numeric(opAdd, at, numericKernels{try2(addInts), try2(addNums), try2(addFloats)}, l, r)
	case ast.OpSub:
		return c.numeric(opSub, at, numericKernels{try2(subInts), try2(subNums), try2(subFloats)}, l, r)
	case ast.OpMul:
		return c.numeric(opMul, at, numericKernels{try2(mulInts), try2(mulNums), try2(mulFloats)}, l, r)
	case ast.OpDiv:
		return c.numeric(opDiv, at, numericKernels{nil, try2(divNums), try2(divFloats)}, l, r)
	default:
		return c.fail(at, "", "the operator %s is not supported", e.Op)
	}
}

func (c *checker) aggregate(fn AggFunc, at int, name string, arg node) node {
	switch {
	case c.inAgg:
		return c.fail(at, "", "%s stands inside another aggregate", name)
	case !c.aggs:
		return c.fail(at, "conditions on aggregates stand in HAVING", "the aggregate %s may not stand in %s", name, c.clause)
	}
	t := simple(schemas.Int64)
	switch fn {
	case Sum:
		t = arg.Type()
	case Avg:
		if t = arg.Type(); t.Kind == schemas.Int64 {
			t = simple(schemas.Float64)
		}
	case Min, Max:
		t = arg.Type()
	}
	return &aggregate{fn: fn, arg: arg, typ: t, place: at}
}
