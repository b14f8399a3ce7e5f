package rules

import (
	"github.com/cloudspannerecosystem/memefish/ast"

	"lake/schemas"
)

func (c *checker) not(negated bool, n node) node {
	if n == nil || !negated {
		return n
	}
	return c.call(opNot, simple(schemas.Bool), n.at(), runNot, n)
}

func (c *checker) both(at int, l, r node) node {
	if l == nil || r == nil {
		return nil
	}
	return c.call(opAnd, simple(schemas.Bool), at, runAnd, l, r)
}

func (c *checker) either(at int, l, r node) node {
	if l == nil || r == nil {
		return nil
	}
	return c.call(opOr, simple(schemas.Bool), at, runOr, l, r)
}

func (c *checker) isNull(at int, n node) node {
	if n == nil {
		return nil
	}
	out := c.call(opIsNull, simple(schemas.Bool), at, runIsNull, n)
	if col, ok := n.(*column); ok {
		out.(*call).direct = func(e *evaluation) (vector, bool, error) {
			null, fails, err := col.presence(e)
			v := vectorOf(null, nil)
			for _, f := range fails {
				v.fail(len(null), f.Row, f.Reason)
			}
			return v, true, err
		}
	}
	return out
}

func (c *checker) in(e *ast.InExpr) node {
	at := int(e.Pos())
	list, ok := e.Right.(*ast.ValuesInCondition)
	if !ok {
		return c.fail(int(e.Right.Pos()), "write the values: x IN (1, 2)", "IN takes a list of values here")
	}
	args := []node{c.expr(e.Left)}
	for _, x := range list.Exprs {
		args = append(args, c.expr(x))
	}
	t, args := c.unify("IN", at, args)
	if args == nil || !c.comparable("IN", at, t) {
		return nil
	}
	if list := literalsOf(args[1:]); list != nil {
		return c.not(e.Not, c.call(opIn, simple(schemas.Bool), at, amongOf(t, list), args...))
	}
	var n node
	for _, x := range args[1:] {
		if one := c.compare(opEqual, at, args[0], x); n == nil {
			n = one
		} else {
			n = c.either(at, n, one)
		}
	}
	return c.not(e.Not, n)
}

// literalsOf is what all of the nodes hold, or nil where one is no literal.
func literalsOf(nodes []node) []vector {
	var out []vector
	for _, n := range nodes {
		lit, ok := n.(*literal)
		if !ok {
			return nil
		}
		out = append(out, lit.v)
	}
	return out
}

func amongOf(t schemas.Type, list []vector) kernel {
	switch t.Kind {
	case schemas.Bool:
		return among[bool](list)
	case schemas.Float64:
		return among[float64](list)
	case schemas.Decimal:
		return among[num](list)
	case schemas.String, schemas.Bytes, schemas.UUID:
		return among[string](list)
	default:
		return among[int64](list)
	}
}

func (c *checker) like(at int, l, r node) node {
	l, r = c.wanted(l, schemas.String, "LIKE"), c.wanted(r, schemas.String, "LIKE")
	if l == nil || r == nil {
		return nil
	}
	run := try2(like)
	if lit, ok := r.(*literal); ok && !lit.isNull() {
		p, why := compileLike(lit.v.texts[0])
		if why != fine {
			return c.fail(lit.at(), "", "%s", string(why))
		}
		match := p.matcher()
		run = func(n int, args []vector) vector { return map1(match)(n, args[:1]) }
	}
	return c.call(opLike, simple(schemas.Bool), at, run, l, r)
}

func (c *checker) caseExpr(e *ast.CaseExpr) node {
	var subject node
	if e.Expr != nil {
		if subject = c.expr(e.Expr); subject == nil {
			return nil
		}
	}
	var args []node
	for _, w := range e.Whens {
		when := c.expr(w.Cond)
		if subject != nil && when != nil {
			when = c.compare(opEqual, int(w.Cond.Pos()), subject, when)
		} else {
			when = c.wanted(when, schemas.Bool, "WHEN")
		}
		args = append(args, when, c.expr(w.Then))
	}
	if e.Else != nil {
		args = append(args, c.expr(e.Else.Expr))
	} else {
		null := nullOf(simple(schemas.Int64), int(e.EndPos))
		null.untyped = true
		args = append(args, null)
	}
	return c.caseOf(int(e.Pos()), args)
}

// caseOf takes conditions and results in turn, then the result of ELSE.
func (c *checker) caseOf(at int, args []node) node {
	var results []node
	for i := range args {
		if i%2 == 1 || i == len(args)-1 {
			results = append(results, args[i])
		}
		if args[i] == nil {
			return nil
		}
	}
	t, results := c.unify("CASE", at, results)
	if results == nil || !c.computable("CASE", at, t) {
		return nil
	}
	all := make([]node, 0, len(args))
	for i := 0; i+1 < len(args); i += 2 {
		all = append(all, args[i], results[i/2])
	}
	all = append(all, results[len(results)-1])
	return c.call(opCase, t, at, byStorage(t, runCase[bool], runCase[int64], runCase[float64], runCase[num], runCase[string]), all...)
}

func (c *checker) coalesce(at int, args []node) node {
	t, args := c.unify("COALESCE", at, args)
	if args == nil || !c.computable("COALESCE", at, t) {
		return nil
	}
	return c.call(opCoalesce, t, at, byStorage(t, runCoalesce[bool], runCoalesce[int64], runCoalesce[float64], runCoalesce[num], runCoalesce[string]), args...)
}
