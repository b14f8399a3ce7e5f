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
	engine  bool // for the engine to run, not only to read: maps are arrays of key and value in BigQuery
	err     error
}

func googleSQL(n node) string {
	return (&printer{dialect: schemas.BigQuery}).bare(n)
}

func (p *printer) duck() bool { return p.dialect == schemas.DuckDB }

// bare writes n where commas or brackets surround it.
func (p *printer) bare(n node) string {
	text, _ := n.write(p)
	return text
}

// operand writes n so that it can stand beside an operator of a level.
func (p *printer) operand(n node, level int) string {
	text, own := n.write(p)
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
	if p.duck() {
		return p.dialect.Quote(name)
	}
	return token.QuoteSQLIdent(name)
}

func (s *slotRef) write(p *printer) (string, int) { return s.origin.write(p) }

func (l *literal) write(p *printer) (string, int) {
	if l.isNull() {
		if l.typ.Kind == schemas.Int64 && !p.duck() {
			return "NULL", levelPrimary
		}
		return "CAST(NULL AS " + p.typeName(l.typ) + ")", levelPrimary
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

func (p *printer) float(f float64) string {
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
	if t.Kind == schemas.Decimal && !p.duck() {
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
	if p.duck() && c.stored.Kind != c.typ.Kind {
		text = fmt.Sprintf("CAST(%s AS %s)", text, p.typeName(c.typ))
	}
	return text, levelPrimary
}

func (a *aggregate) write(p *printer) (string, int) {
	arg := "*"
	if a.arg != nil {
		arg = p.bare(uncoerced(a.arg))
	}
	text := ""
	switch a.fn {
	case Count:
		text = "COUNT(" + arg + ")"
	case CountDistinct:
		text = "COUNT(DISTINCT " + arg + ")"
	case CountIf:
		text = "COUNTIF(" + arg + ")"
		if p.duck() {
			text = "COUNT(*) FILTER (WHERE " + arg + ")"
		}
	case Sum:
		text = "SUM(" + arg + ")"
		if p.duck() && a.typ.Kind != schemas.Float64 {
			text = "CAST(" + text + " AS " + p.typeName(a.typ) + ")" // it has 128 bits there
		}
	case Avg:
		text = "AVG(" + arg + ")"
		if p.duck() && a.typ.Kind == schemas.Decimal {
			text = "CAST(" + text + " AS " + p.typeName(a.typ) + ")"
		}
	case Max:
		text = "MAX(" + arg + ")" // NaN is the greatest in DuckDB
	case Min:
		text = "MIN(" + arg + ")"
		if p.duck() && mayBeNaN(a.arg) {
			text = fmt.Sprintf("(CASE WHEN BOOL_OR(isnan(%s)) THEN CAST('NaN' AS DOUBLE) ELSE MIN(%s) END)", arg, arg)
		}
	}
	return text, levelPrimary
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
	a := c.args
	switch c.op {
	case opCoerce:
		return a[0].write(p)
	case opNot:
		return "NOT " + p.operand(a[0], levelNot), levelNot
	case opAnd, opOr:
		return p.operand(a[0], c.op.level) + " " + c.op.name + " " + p.operand(a[1], c.op.level+1), c.op.level
	case opNegative:
		return "-" + p.unsigned(a[0]), levelArithmetic
	case opIsNull, opIsTrue, opIsFalse:
		return p.operand(a[0], levelArithmetic) + " " + c.op.name, c.op.level
	case opIn:
		return p.operand(a[0], levelArithmetic) + " IN (" + p.list(a[1:]) + ")", c.op.level
	case opCase:
		var b strings.Builder
		b.WriteString("CASE")
		for i := 0; i+1 < len(a); i += 2 {
			b.WriteString(" WHEN " + p.bare(a[i]) + " THEN " + p.bare(a[i+1]))
		}
		if lit, ok := a[len(a)-1].(*literal); !ok || !lit.isNull() {
			b.WriteString(" ELSE " + p.bare(a[len(a)-1]))
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
