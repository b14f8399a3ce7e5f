package rules

import (
	"fmt"
	"slices"
	"strings"

	"lake/schemas"
)

// made is a form with its operands, which binds as tightly as a function's call.
func made(format string, args ...any) (string, int, bool) {
	return fmt.Sprintf(format, args...), levelPrimary, true
}

// form fills a form of the engine, or says that there is none for n.
func (p *printer) form(name string, n node, args ...any) string {
	format, ok := p.f.functions[name]
	if why := p.f.refuses[name]; why != "" {
		return p.refuse(n, why)
	}
	if !ok {
		return p.refuse(n, "has nothing like "+name)
	}
	return fmt.Sprintf(format, args...)
}

// refuse says that the engine has no form for n.
func (p *printer) refuse(n node, why string) string {
	return p.fail("%s %s: %s is not possible there", p.f.engine, why, short(googleSQL(n)))
}

// raise is an expression that fails; beside is a value of the row.
func (p *printer) raise(why string, beside string) string { return p.raiseIn("BIGINT", why, beside) }

// raiseIn is raise where a value of a type stands, an engine's name of one: not
// each engine converts a BIGINT to it.
func (p *printer) raiseIn(typ, why, beside string) string {
	return fmt.Sprintf(p.f.raise, p.dialect.Literal(why), beside, typ)
}

// compare keeps NaN, which engines take as equal to itself and as the greatest,
// unequal and unordered.
func (p *printer) compare(c *call) (string, int, bool) {
	l, r := c.args[0], c.args[1]
	op := c.op.name
	if c.op == opNotEqual {
		op = "<>"
	}
	plain := p.operand(l, levelArithmetic) + " " + op + " " + p.operand(r, levelArithmetic)
	lnan, rnan := mayBeNaN(l), mayBeNaN(r)
	guarded, other := l, r
	switch c.op {
	case opEqual, opNotEqual:
		if !lnan || !rnan {
			return plain, levelCompare, true
		}
	case opLess, opLessEqual:
		if guarded, other = r, l; !rnan {
			return plain, levelCompare, true
		}
	default:
		if !lnan {
			return plain, levelCompare, true
		}
	}
	result := "FALSE"
	if c.op == opNotEqual {
		result = "TRUE"
	}
	return made("(CASE WHEN %s%s THEN %s ELSE %s END)", p.isNaN(guarded), p.present(other), result, plain)
}

func (p *printer) isNaN(n node) string { return fmt.Sprintf(p.f.isNaN, p.bare(n)) }

// among leaves NaN out of the list: it is equal to nothing, but to itself in engines.
func (p *printer) among(c *call) (string, int, bool) {
	var list []node
	for _, n := range c.args[1:] {
		if lit, ok := n.(*literal); ok && !lit.isNull() && mayBeNaN(n) && lit.v.floats[0] != lit.v.floats[0] {
			continue
		}
		list = append(list, n)
	}
	if len(list) == 0 {
		return made("(CASE WHEN %s THEN FALSE END)", p.operand(c.args[0], levelArithmetic)+" IS NOT NULL")
	}
	return p.operand(c.args[0], levelArithmetic) + " IN (" + p.list(list) + ")", levelCompare, true
}

// unlessZero makes a division by zero an error, where what is divided is not NULL.
func (p *printer) unlessZero(what, by node, text string) (string, int, bool) {
	if lit, ok := by.(*literal); ok && !lit.isNull() && !isZero(lit) {
		return "(" + text + ")", levelPrimary, true
	}
	return made("(CASE WHEN %s = 0%s THEN %s ELSE %s END)", p.primary(by), p.present(what), p.raise("division by zero", p.bare(by)), text)
}

// present is the further condition that values are not NULL.
func (p *printer) present(values ...node) string {
	text := ""
	for _, n := range values {
		if lit, ok := n.(*literal); !ok || lit.isNull() {
			text += " AND " + p.operand(n, levelArithmetic) + " IS NOT NULL"
		}
	}
	return text
}

func isZero(l *literal) bool {
	switch l.typ.Kind {
	case schemas.Float64:
		return l.v.floats[0] == 0
	case schemas.Decimal:
		return l.v.nums[0] == zeroNum
	default:
		return l.v.ints[0] == 0
	}
}

// extreme keeps NULL and NaN, which engines leave out or take as the greatest.
func (p *printer) extreme(c *call) (string, int, bool) {
	if len(c.args) == 1 {
		return p.bare(c.args[0]), levelOr, true
	}
	var null, nan []string
	for _, x := range c.args {
		if lit, ok := x.(*literal); p.f.skipsNull && (!ok || lit.isNull()) {
			null = append(null, p.operand(x, levelArithmetic)+" IS NULL")
		}
		if mayBeNaN(x) {
			nan = append(nan, p.isNaN(x))
		}
	}
	parts := make([]string, len(c.args))
	for i, x := range c.args {
		parts[i] = p.wide(x)
	}
	plain := fmt.Sprintf("%s(%s)", strings.ToLower(c.op.name), strings.Join(parts, ", "))
	if len(null)+len(nan) == 0 {
		return plain, levelPrimary, true
	}
	text := "(CASE"
	if len(null) > 0 {
		text += " WHEN " + strings.Join(null, " OR ") + " THEN NULL"
	}
	if len(nan) > 0 {
		text += " WHEN " + strings.Join(nan, " OR ") + " THEN " + p.bare(constant(simple(schemas.Float64), 0, nanFloat))
	}
	return text + " ELSE " + plain + " END)", levelPrimary, true
}

// engineCall writes what engines say, or mean, differently from GoogleSQL; not ok:
// it is as there. A row that lake reports as failed makes the query fail.
func (p *printer) engineCall(c *call) (text string, level int, ok bool) {
	a := c.args
	switch c.op {
	case opEqual, opNotEqual, opLess, opLessEqual, opGreater, opGreaterEqual:
		return p.compare(c)
	case opIn:
		return p.among(c)
	case opLike:
		return p.like(c)
	case opCoerce:
		return p.converted(c)
	case opAdd, opSub, opMul, opNegative:
		return p.arithmetic(c)
	case opDiv, opSafeDivide:
		if c.typ.Kind == schemas.Decimal {
			return p.refuse(c, "divides NUMERIC with other digits: write CAST(… AS FLOAT64)"), levelPrimary, true
		}
		quotient := p.primary(a[0]) + " / " + p.primary(a[1])
		if c.op == opSafeDivide {
			return made("(CASE WHEN %s = 0 THEN NULL ELSE %s END)", p.primary(a[1]), quotient)
		}
		return p.unlessZero(a[0], a[1], quotient)
	case opWholeDiv:
		return p.wholeDiv(c)
	case opMod:
		if c.typ.Kind == schemas.Decimal {
			return p.unlessZero(a[0], a[1], p.numeric(p.form("MOD", c, p.primary(a[0]), p.primary(a[1]))))
		}
		return p.unlessZero(a[0], a[1], p.form("MOD", c, p.primary(a[0]), p.primary(a[1])))
	case opRound, opFloor, opCeil:
		return p.rounded(c)
	case opSign:
		return made("CAST(%s AS %s)", p.form("SIGN", c, p.bare(a[0])), p.typeName(c.typ))
	case opGreatest, opLeast:
		return p.extreme(c)
	case opConcat:
		return made("%s", p.form("CONCAT", c, p.list(a)))
	case opLength:
		if a[0].Type().Kind == schemas.Bytes {
			return made("%s", p.form("BYTE_LENGTH", c, p.bare(a[0])))
		}
		return made("%s", p.form("LENGTH", c, p.bare(a[0])))
	case opSubstr:
		return p.substr(c)
	case opTrim, opLTrim, opRTrim:
		return p.trim(c)
	case opRegexp:
		return p.matches(c)
	case opCast, opSafeCast:
		return p.cast(c)
	case opDate, opMakeDate, opExtract, opTrunc, opBucket, opUnixMicros, opUnixMillis, opUnixSeconds:
		return p.timeCall(c)
	case opCase, opCoalesce, opAnd, opOr, opNot, opIsNull, opIsTrue, opIsFalse:
		return "", 0, false
	}
	if c.op.name == "ABS" {
		return p.abs(c)
	}
	args := make([]any, len(a))
	for i, x := range a {
		args[i] = p.bare(x)
	}
	return made("%s", p.form(c.op.name, c, args...))
}

// converted is a value that became one of another type by itself.
func (p *printer) converted(c *call) (string, int, bool) {
	return made("CAST(%s AS %s)", p.bare(c.args[0]), p.typeName(c.typ))
}

// numeric is a number as a NUMERIC.
func (p *printer) numeric(text string) string {
	p.strict = true
	return "CAST(" + text + " AS " + p.typeName(numericType) + ")"
}

// arithmetic is + - * and the sign of INT64, which has to fail where it
// overflows, of FLOAT64, and of NUMERIC, which has its digits.
func (p *printer) arithmetic(c *call) (string, int, bool) {
	a := c.args
	p.strict = true
	if c.typ.Kind == schemas.Decimal {
		text, _, scale := p.exactly(c)
		if scale == numericScale {
			return text, levelArithmetic, true
		}
		return p.numeric(text), levelPrimary, true
	}
	plain := ""
	if c.op == opNegative {
		plain = "-" + p.unsigned(a[0])
	} else {
		plain = p.primary(a[0]) + " " + c.op.name + " " + p.unsigned(a[1])
	}
	if c.typ.Kind == schemas.Float64 || p.f.checks || !slices.ContainsFunc(a, isWide) {
		return plain, levelArithmetic, true
	}
	wide := make([]string, len(a))
	for i, x := range a {
		wide[i] = "CAST(" + p.bare(x) + " AS DECIMAL(19, 0))"
	}
	if c.op == opNegative {
		return p.fitted("-"+wide[0], p.bare(a[0]))
	}
	return p.fitted(strings.Join(wide, " "+c.op.name+" "), p.bare(a[0]))
}

// fitted is a DECIMAL as a BIGINT; the query fails where it is none.
func (p *printer) fitted(number, beside string) (string, int, bool) {
	limit := func(text string) string { return fmt.Sprintf(p.f.exact, text) }
	return made("(CASE WHEN %[1]s BETWEEN %[2]s AND %[3]s THEN CAST(%[1]s AS BIGINT) WHEN %[1]s IS NOT NULL THEN %[4]s END)",
		number, limit("-9223372036854775808"), limit("9223372036854775807"), p.raise("the result overflows", beside))
}

// isWide tells INT64 values that may be beyond 31 bits.
func isWide(n node) bool {
	switch n := n.(type) {
	case *literal:
		return n.isNull() || n.v.ints[0] != int64(int32(n.v.ints[0]))
	case *column:
		return n.stored.Kind != schemas.Int32
	case *slotRef:
		return isWide(n.origin)
	case *call:
		return n.op != opExtract && n.op != opLength
	default:
		return true
	}
}

func (p *printer) abs(c *call) (string, int, bool) {
	if c.typ.Kind == schemas.Int64 && !p.f.checks {
		negated := &call{op: opNegative, args: c.args, typ: c.typ}
		return made("(CASE WHEN %s < 0 THEN %s ELSE %s END)", p.primary(c.args[0]), p.bare(negated), p.bare(c.args[0]))
	}
	p.strict = true
	return made("%s", p.form("ABS", c, p.bare(c.args[0])))
}

func (p *printer) wholeDiv(c *call) (string, int, bool) {
	if c.typ.Kind == schemas.Decimal {
		return p.refuse(c, "divides NUMERIC with other digits"), levelPrimary, true
	}
	p.strict = true
	text := p.form("DIV", c, p.primary(c.args[0]), p.primary(c.args[1]))
	if lit, ok := c.args[1].(*literal); !p.f.checks && (!ok || lit.isNull() || lit.v.ints[0] == -1) {
		negated := &call{op: opNegative, args: c.args[:1], typ: c.typ}
		text = fmt.Sprintf("CASE WHEN %s = -1 THEN %s ELSE %s END", p.primary(c.args[1]), p.bare(negated), text)
	}
	return p.unlessZero(c.args[0], c.args[1], text)
}

// exactly is a NUMERIC as the engine's DECIMAL with the digits that it needs: an
// engine that has none left for a result takes them off behind the point.
func (p *printer) exactly(n node) (text string, precision, scale int) {
	switch n := n.(type) {
	case *column:
		if n.typ.Kind == schemas.Decimal {
			return p.bare(n), n.typ.Precision, n.typ.Scale
		}
	case *literal:
		if !n.isNull() {
			digits := trimNumeric(n.v.nums[0].ToString(int32(n.typ.Scale)))
			whole, fraction, _ := strings.Cut(strings.TrimPrefix(digits, "-"), ".")
			return p.bare(n), max(len(strings.TrimLeft(whole, "0"))+len(fraction), 1), len(fraction)
		}
	case *slotRef:
		return p.exactly(n.origin)
	case *aggregate:
		if n.arg != nil && (n.fn == Min || n.fn == Max) {
			_, precision, scale = p.exactly(uncoerced(n.arg))
			return p.bare(n), precision, scale
		}
	case *call:
		switch {
		case n.op == opCoerce && n.args[0].Type().Kind == schemas.Int64:
			return "CAST(" + p.bare(n.args[0]) + " AS DECIMAL(19, 0))", 19, 0
		case n.op == opCoerce && n.args[0].Type().Kind == schemas.Decimal:
			return p.exactly(n.args[0])
		case n.op == opNegative:
			text, precision, scale = p.exactly(n.args[0])
			return "-(" + text + ")", precision, scale
		case n.op == opAdd || n.op == opSub || n.op == opMul:
			return p.exactPair(n)
		}
	}
	return p.numeric(p.bare(n)), numericPrecision, numericScale
}

func (p *printer) exactPair(n *call) (text string, precision, scale int) {
	l, lp, ls := p.exactly(n.args[0])
	r, rp, rs := p.exactly(n.args[1])
	text = "(" + l + ") " + n.op.name + " (" + r + ")"
	if n.op == opMul {
		precision, scale = lp+rp+1, ls+rs
	} else {
		scale = max(ls, rs)
		precision = max(lp-ls, rp-rs) + 1 + scale
	}
	if precision > 38 || precision-scale > numericPrecision-numericScale {
		return p.refuse(n, "has no DECIMAL of so many digits, write CAST(… AS FLOAT64)"), numericPrecision, numericScale
	}
	if scale > numericScale { // GoogleSQL rounds each product
		precision, scale = min(38, precision-scale+numericScale), numericScale
		text = fmt.Sprintf("CAST(%s AS DECIMAL(%d, %d))", text, precision, scale)
	}
	return text, precision, scale
}

// rounded is ROUND, FLOOR and CEIL.
func (p *printer) rounded(c *call) (string, int, bool) {
	a := c.args
	x := p.bare(a[0])
	name := c.op.name
	if c.typ.Kind == schemas.Decimal {
		if len(a) == 1 {
			return p.numeric(p.form(name, c, x)), levelPrimary, true
		}
		lit, ok := a[1].(*literal)
		if !ok || lit.isNull() {
			return p.refuse(c, "rounds to a number of digits that is a literal"), levelPrimary, true
		}
		if lit.v.ints[0] >= numericScale {
			return p.numeric(x), levelPrimary, true
		}
		return p.numeric(p.form("ROUND2", c, x, max(lit.v.ints[0], -38))), levelPrimary, true
	}
	if len(a) > 1 {
		return p.roundedFloat(c)
	}
	if name != "ROUND" && p.f.roundsFloor { // beyond 53 bits a number is whole
		return made("(CASE WHEN abs(%[1]s) < %[3]s THEN CAST(%[2]s AS DOUBLE) ELSE %[1]s END)", p.primary(a[0]), p.form(name, c, x), p.float(1<<53))
	}
	if name == "ROUND" {
		return made("%s", p.whole(c, x))
	}
	return made("%s", p.form(name, c, x))
}

// whole is ROUND of a FLOAT64 to no digits.
func (p *printer) whole(n node, text string) string {
	if form, ok := p.f.functions["ROUND of FLOAT64"]; ok {
		return fmt.Sprintf(form, text)
	}
	return p.form("ROUND", n, text)
}

// roundedFloat is ROUND of a FLOAT64 by way of a power of ten, as lake computes it.
func (p *printer) roundedFloat(c *call) (string, int, bool) {
	lit, ok := c.args[1].(*literal)
	if !ok || lit.isNull() {
		return p.refuse(c, "rounds to a number of digits that is a literal"), levelPrimary, true
	}
	x, digits := p.primary(c.args[0]), lit.v.ints[0]
	switch {
	case digits == 0:
		return made("%s", p.whole(c, x))
	case digits > 300:
		return x, levelPrimary, true
	case digits < -22 || digits > 22:
		return p.refuse(c, "rounds to 22 digits at most"), levelPrimary, true
	}
	power := p.float(powersOfTen[max(digits, -digits)])
	if digits < 0 {
		return made("(%s * %s)", p.whole(c, x+" / "+power), power)
	}
	return made("(CASE WHEN abs(%[1]s * %[2]s) < %[4]s THEN %[3]s / %[2]s ELSE %[1]s END)", x, power, p.whole(c, x+" * "+power), p.float(1<<52))
}
