package rules

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/cloudspannerecosystem/memefish/token"

	"lake/schemas"
)

// printer writes nodes in a dialect. What the dialect cannot say is kept in err.
type printer struct {
	dialect schemas.Dialect
	f       *forms // nil: GoogleSQL's
	engine  bool   // for the engine to run, not only to read: maps are arrays of key and value in BigQuery
	strict  bool   // the answer depends on the engine's failing where a number does not fit
	err     error
}

func newPrinter(d schemas.Dialect) (*printer, error) {
	p := &printer{dialect: d, engine: true}
	switch d {
	case schemas.BigQuery:
	case schemas.DuckDB:
		p.f = duckForms()
	case schemas.Spark:
		p.f = sparkForms()
	case schemas.Hive:
		p.f = hiveForms()
	case schemas.Flink:
		p.f = flinkForms()
	default:
		return nil, fmt.Errorf("no SQL is written for %q", d)
	}
	return p, nil
}

// maxPrinted bounds what is printed: engines that have no form for a condition but
// with its operands twice double the text at each level.
const maxPrinted = 1 << 20

var (
	nanFloat = math.NaN()
	infFloat = math.Inf(1)
)

func googleSQL(n node) string {
	return (&printer{dialect: schemas.BigQuery}).bare(n)
}

func (p *printer) duck() bool { return p.dialect == schemas.DuckDB }

// java tells the engines that are written by the forms alone.
func (p *printer) java() bool { return p.f != nil && !p.duck() }

// bare writes n where commas or brackets surround it.
func (p *printer) bare(n node) string {
	text, _ := p.written(n)
	return text
}

func (p *printer) written(n node) (string, int) {
	if p.err != nil {
		return "NULL", levelPrimary
	}
	text, level := n.write(p)
	if len(text) > maxPrinted {
		return p.fail("the query has more than %d bytes there: write it with fewer expressions inside one another", maxPrinted), levelPrimary
	}
	return text, level
}

// wide is n as a BIGINT also where the engine takes a number for less.
func (p *printer) wide(n node) string {
	if l, ok := n.(*literal); ok && p.duck() && l.typ.Kind == schemas.Int64 && !l.isNull() {
		return "CAST(" + p.bare(n) + " AS BIGINT)"
	}
	return p.bare(n)
}

// operand writes n so that it can stand beside an operator of a level.
func (p *printer) operand(n node, level int) string {
	text, own := p.written(n)
	if own < level {
		return "(" + text + ")"
	}
	return text
}

func (p *printer) primary(n node) string { return p.operand(n, levelPrimary) }

func (p *printer) fail(format string, args ...any) string {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
	return "NULL"
}

func (p *printer) name(name string) string {
	if p.f != nil {
		return p.dialect.Quote(name)
	}
	return token.QuoteSQLIdent(name)
}

func (s *slotRef) write(p *printer) (string, int) { return s.origin.write(p) }

func (l *literal) write(p *printer) (string, int) {
	if l.isNull() {
		if l.typ.Kind == schemas.Int64 && p.f == nil {
			return "NULL", levelPrimary
		}
		return "CAST(NULL AS " + p.typeName(l.typ) + ")", levelPrimary
	}
	if p.java() {
		return p.constant(l), levelPrimary
	}
	switch l.typ.Kind {
	case schemas.Bool:
		return strings.ToUpper(strconv.FormatBool(l.v.bools[0])), levelPrimary
	case schemas.Int64:
		if n := l.v.ints[0]; n != math.MinInt64 || !p.duck() {
			return strconv.FormatInt(n, 10), levelPrimary
		}
		return "CAST('-9223372036854775808' AS BIGINT)", levelPrimary
	case schemas.Float64:
		return p.float(l.v.floats[0]), levelPrimary
	case schemas.Decimal:
		text := trimNumeric(l.v.nums[0].ToString(int32(l.typ.Scale)))
		if p.duck() {
			if !strings.Contains(text, ".") {
				text += ".0"
			}
			return text, levelPrimary // a DECIMAL of just these digits
		}
		return "NUMERIC '" + text + "'", levelPrimary
	case schemas.Bytes:
		if p.duck() {
			var b strings.Builder
			for _, c := range []byte(l.v.texts[0]) {
				fmt.Fprintf(&b, `\x%02X`, c)
			}
			return "CAST('" + b.String() + "' AS BLOB)", levelPrimary
		}
		return token.QuoteSQLBytes([]byte(l.v.texts[0])), levelPrimary
	case schemas.Date:
		return "DATE '" + dateText(l.v.ints[0]) + "'", levelPrimary
	case schemas.Timestamp:
		if p.duck() {
			return "TIMESTAMPTZ '" + timestampText(l.v.ints[0]) + "'", levelPrimary
		}
		return "TIMESTAMP '" + timestampText(l.v.ints[0]) + "'", levelPrimary
	case schemas.Datetime:
		return "CAST('" + datetimeText(l.v.ints[0]) + "' AS " + p.typeName(l.typ) + ")", levelPrimary
	case schemas.Time:
		return "CAST('" + timeText(l.v.ints[0]) + "' AS TIME)", levelPrimary
	default:
		return p.dialect.Literal(l.v.texts[0]), levelPrimary
	}
}

// constant is a literal as an engine's forms have it.
func (p *printer) constant(l *literal) string {
	switch l.typ.Kind {
	case schemas.Bool:
		return strings.ToUpper(strconv.FormatBool(l.v.bools[0]))
	case schemas.Int64:
		if l.v.ints[0] == math.MinInt64 { // its digits alone are none
			return "CAST('-9223372036854775808' AS BIGINT)"
		}
		return p.integer(l.v.ints[0])
	case schemas.Float64:
		return p.float(l.v.floats[0])
	case schemas.Decimal:
		return fmt.Sprintf(p.f.exact, trimNumeric(l.v.nums[0].ToString(int32(l.typ.Scale))))
	case schemas.Bytes:
		return fmt.Sprintf(p.f.blob, fmt.Sprintf("%X", l.v.texts[0]))
	case schemas.Date:
		return "DATE '" + dateText(l.v.ints[0]) + "'"
	case schemas.Timestamp:
		return fmt.Sprintf(p.f.timestamp, datetimeText(l.v.ints[0]))
	case schemas.Datetime:
		return fmt.Sprintf(p.f.wall, datetimeText(l.v.ints[0]))
	case schemas.Time:
		return p.refuse(l, "has no TIME")
	default:
		return p.dialect.Literal(l.v.texts[0])
	}
}

func (p *printer) float(f float64) string {
	if p.java() {
		switch text := strconv.FormatFloat(f, 'e', -1, 64); {
		case math.IsNaN(f):
			return "CAST('" + p.f.nan + "' AS DOUBLE)"
		case math.IsInf(f, 0):
			return "CAST('" + strings.TrimSuffix(fmt.Sprintf("%c", text[0]), "+") + p.f.inf + "' AS DOUBLE)"
		case f == 0 && math.Signbit(f):
			return "CAST('-0.0' AS DOUBLE)"
		default:
			return fmt.Sprintf(p.f.double, text)
		}
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return "CAST('" + floatText(f) + "' AS " + p.typeName(simple(schemas.Float64)) + ")"
	}
	if p.duck() {
		return strconv.FormatFloat(f, 'e', -1, 64) // without an exponent it is a DECIMAL there
	}
	text := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return text
}

func (p *printer) typeName(t schemas.Type) string {
	if t.Kind == schemas.Decimal && p.f == nil {
		return sqlName(t)
	}
	return t.SQL(p.dialect)
}

func (c *column) write(p *printer) (string, int) {
	text := p.name(c.name)
	for _, s := range c.steps {
		switch {
		case s.field != "":
			text += "." + p.name(s.field)
		case s.isMap && p.java():
			text = p.form("ENTRY", c, text, p.dialect.Literal(s.key))
		case s.field == "" && p.java(): // NULL beyond the end
			text = p.form("ELEMENT", c, text, s.index)
		case s.isMap && p.duck():
			text = fmt.Sprintf("map_extract_value(%s, %s)", text, p.dialect.Literal(s.key))
		case s.isMap && p.engine:
			text = fmt.Sprintf("(SELECT value FROM UNNEST(%s) WHERE key = %s)", text, p.dialect.Literal(s.key))
		case s.isMap:
			text = fmt.Sprintf("%s[%s]", text, p.dialect.Literal(s.key))
		case p.duck(): // from 1, NULL beyond the end; a row that fails in lake has NULL there
			text = fmt.Sprintf("%s[%d]", text, s.index+1)
		case strings.HasSuffix(s.word, "ORDINAL"):
			text = fmt.Sprintf("%s[%s(%d)]", text, s.word, s.index+1)
		default:
			text = fmt.Sprintf("%s[%s(%d)]", text, s.word, s.index)
		}
	}
	// Narrow columns are widened, as in BigQuery: sums and products do not overflow at 32 bits.
	if p.java() && c.typ.Kind == schemas.Time {
		return p.refuse(c, "has no TIME"), levelPrimary
	}
	if p.f != nil && c.stored.Kind != c.typ.Kind {
		text = fmt.Sprintf("CAST(%s AS %s)", text, p.typeName(c.typ))
	}
	return text, levelPrimary
}

func (a *aggregate) write(p *printer) (string, int) {
	arg := "*"
	if a.arg != nil {
		arg = p.bare(uncoerced(a.arg))
	}
	if p.f == nil {
		name := map[AggFunc]string{Count: "COUNT", CountIf: "COUNTIF", Sum: "SUM", Min: "MIN", Max: "MAX", Avg: "AVG", CountDistinct: "COUNT"}[a.fn]
		if a.fn == CountDistinct {
			arg = "DISTINCT " + arg
		}
		return name + "(" + arg + ")", levelPrimary
	}
	kind := a.typ.Kind
	switch a.fn {
	case Count:
		return "COUNT(" + arg + ")", levelPrimary
	case CountDistinct:
		return "COUNT(DISTINCT " + arg + ")", levelPrimary
	case CountIf:
		if p.f.filters {
			return "COUNT(*) FILTER (WHERE " + arg + ")", levelPrimary
		}
		return "COUNT(CASE WHEN " + arg + " THEN 1 END)", levelPrimary
	case Sum:
		return p.sum(a, arg), levelPrimary
	case Avg:
		return p.average(a, arg), levelPrimary
	default:
		if kind == schemas.Bytes && p.f.refuses["MAX of BYTES"] != "" {
			return p.refuse(a, p.f.refuses["MAX of BYTES"]), levelPrimary
		}
		name := map[AggFunc]string{Min: "MIN", Max: "MAX"}[a.fn]
		if kind == schemas.Float64 && mayBeNaN(a.arg) && (a.fn == Min || p.f.minNaN) {
			return fmt.Sprintf("(CASE WHEN %s THEN %s ELSE %s(%s) END)", p.form("BOOL_OR", a, fmt.Sprintf(p.f.isNaN, arg)), p.float(nanFloat), name, arg), levelPrimary
		}
		return name + "(" + arg + ")", levelPrimary
	}
}

// sum is kept in more digits than the answer has, as lake's is, and the query
// fails where the answer overflows.
func (p *printer) sum(a *aggregate, arg string) string {
	text := "SUM(" + arg + ")"
	switch {
	case a.typ.Kind == schemas.Float64:
		return text
	case p.duck(): // it has 128 bits there
		return "CAST(" + text + " AS " + p.typeName(a.typ) + ")"
	case a.typ.Kind == schemas.Decimal && p.f.checks:
		return p.numeric(text)
	case a.typ.Kind == schemas.Decimal:
		return fmt.Sprintf("(CASE WHEN %[1]s IS NULL AND COUNT(%[2]s) > 0 THEN %[3]s ELSE %[1]s END)", p.numeric(text), arg, p.raise("SUM overflows", "COUNT("+arg+")"))
	}
	text = "SUM(CAST(" + arg + " AS DECIMAL(19, 0)))"
	p.strict = true
	if p.f.checks {
		return "CAST(" + text + " AS BIGINT)"
	}
	fitted, _, _ := p.fitted(text, "COUNT("+arg+")")
	return fitted
}

func (p *printer) average(a *aggregate, arg string) string {
	switch kind := a.arg.Type().Kind; {
	case p.duck() && a.typ.Kind == schemas.Decimal:
		return "CAST(AVG(" + arg + ") AS " + p.typeName(a.typ) + ")"
	case p.duck() || kind == schemas.Float64:
		return "AVG(" + arg + ")"
	case kind == schemas.Decimal:
		return p.numeric("AVG(CAST(" + arg + " AS DOUBLE))")
	default:
		return "(CAST(SUM(CAST(" + arg + " AS DECIMAL(19, 0))) AS DOUBLE) / COUNT(" + arg + "))"
	}
}

// uncoerced is what an aggregate reads, which engines widen by themselves.
func uncoerced(n node) node {
	if c, ok := n.(*call); ok && c.op == opCoerce {
		return c.args[0]
	}
	return n
}

// mayBeNaN leaves out floats that cannot be.
func mayBeNaN(n node) bool {
	if n.Type().Kind != schemas.Float64 {
		return false
	}
	switch n := n.(type) {
	case *literal:
		return !n.isNull() && (math.IsNaN(n.v.floats[0]) || math.IsInf(n.v.floats[0], 0))
	case *aggregate:
		return n.arg == nil || mayBeNaN(n.arg)
	case *slotRef:
		return mayBeNaN(n.origin)
	case *call:
		if n.op == opCast || n.op == opSafeCast {
			return n.args[0].Type().Kind == schemas.String
		}
		return slices.ContainsFunc(n.args, mayBeNaN) // of finite numbers, what is computed is finite or fails
	default:
		return true
	}
}

func (c *call) write(p *printer) (string, int) {
	if p.duck() {
		if text, level, ok := p.duckCall(c); ok {
			return text, level
		}
	}
	if p.java() {
		if text, level, ok := p.engineCall(c); ok {
			return text, level
		}
	}
	a := c.args
	switch c.op {
	case opCoerce:
		return p.written(a[0])
	case opNot:
		return "NOT " + p.operand(a[0], levelNot), levelNot
	case opAnd, opOr:
		return p.operand(a[0], c.op.level) + " " + c.op.name + " " + p.operand(a[1], c.op.level+1), c.op.level
	case opNegative:
		return "-" + p.unsigned(a[0]), levelArithmetic
	case opIsNull, opIsTrue, opIsFalse:
		return p.operand(a[0], levelArithmetic) + " " + c.op.name, c.op.level
	case opCoalesce:
		parts := make([]string, len(a))
		for i, x := range a {
			parts[i] = p.wide(x)
		}
		return "COALESCE(" + strings.Join(parts, ", ") + ")", levelPrimary
	case opIn:
		return p.operand(a[0], levelArithmetic) + " IN (" + p.list(a[1:]) + ")", c.op.level
	case opCase:
		var b strings.Builder
		b.WriteString("CASE")
		for i := 0; i+1 < len(a); i += 2 {
			b.WriteString(" WHEN " + p.bare(a[i]) + " THEN " + p.wide(a[i+1]))
		}
		if lit, ok := a[len(a)-1].(*literal); !ok || !lit.isNull() {
			b.WriteString(" ELSE " + p.wide(a[len(a)-1]))
		}
		return b.String() + " END", levelPrimary
	case opCast, opSafeCast:
		return c.op.name + "(" + p.bare(a[0]) + " AS " + p.typeName(c.typ) + ")", levelPrimary
	case opExtract:
		zone := ""
		if len(a) > 1 {
			zone = " AT TIME ZONE " + p.bare(a[1])
		}
		return "EXTRACT(" + c.part + " FROM " + p.bare(a[0]) + zone + ")", levelPrimary
	case opTrunc:
		return "TIMESTAMP_TRUNC(" + p.bare(a[0]) + ", " + c.part + ", " + p.bare(a[1]) + ")", levelPrimary
	case opBucket:
		text := "TIMESTAMP_BUCKET(" + p.bare(a[0]) + ", " + c.part
		if a[1].(*literal).v.ints[0] != bucketOrigin {
			text += ", " + p.bare(a[1])
		}
		return text + ")", levelPrimary
	}
	switch c.op.level {
	case levelCompare:
		return p.operand(a[0], levelArithmetic) + " " + c.op.name + " " + p.operand(a[1], levelArithmetic), c.op.level
	case levelArithmetic:
		return p.primary(a[0]) + " " + c.op.name + " " + p.unsigned(a[1]), c.op.level
	default:
		return c.op.name + "(" + p.list(a) + ")", levelPrimary
	}
}

// unsigned keeps a minus from meeting another, which would begin a comment.
func (p *printer) unsigned(n node) string {
	if text := p.primary(n); !strings.HasPrefix(text, "-") {
		return text
	}
	return "(" + p.bare(n) + ")"
}

func (p *printer) list(nodes []node) string {
	parts := make([]string, len(nodes))
	for i, n := range nodes {
		parts[i] = p.bare(n)
	}
	return strings.Join(parts, ", ")
}
