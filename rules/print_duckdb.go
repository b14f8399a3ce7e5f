package rules

import (
	"fmt"
	"strings"

	"lake/schemas"
)

// duckCall writes what DuckDB says, or means, differently; not ok: it is as in
// GoogleSQL. A row that lake reports as failed makes the query fail there.
func (p *printer) duckCall(c *call) (text string, level int, ok bool) {
	a := c.args
	switch c.op {
	case opEqual, opNotEqual, opLess, opLessEqual, opGreater, opGreaterEqual:
		return p.compare(c)
	case opIn:
		return p.among(c)
	case opLike:
		return p.like(c)
	case opCoerce: // of one type: what DuckDB finds for several may have no digits behind the point
		if c.typ.Kind == schemas.Decimal {
			return made("CAST(%s AS %s)", p.bare(a[0]), p.typeName(c.typ))
		}
	case opMul:
		if c.typ.Kind == schemas.Decimal {
			return made("CAST(%s AS %s)", p.duckProduct(a[0], a[1]), p.typeName(c.typ))
		}
	case opDiv, opSafeDivide:
		if c.typ.Kind == schemas.Decimal {
			return made("%s", p.fail("DuckDB divides NUMERIC as DOUBLE: write CAST(… AS FLOAT64) in %s", c))
		}
		quotient := p.double(a[0]) + " / " + p.double(a[1])
		if c.op == opSafeDivide {
			return made("(CASE WHEN %s = 0 THEN NULL ELSE %s END)", p.primary(a[1]), quotient)
		}
		return p.unlessZero(a[0], a[1], quotient)
	case opWholeDiv:
		if c.typ.Kind == schemas.Decimal {
			return made("%s", p.fail("DuckDB divides NUMERIC as DOUBLE: DIV of NUMERIC is not possible there"))
		}
		return p.unlessZero(a[0], a[1], p.primary(a[0])+" // "+p.primary(a[1]))
	case opMod:
		return p.unlessZero(a[0], a[1], p.primary(a[0])+" % "+p.primary(a[1]))
	case opRound, opFloor, opCeil:
		if c.typ.Kind == schemas.Decimal {
			return made("CAST(%s(%s) AS %s)", c.op.name, p.list(a), p.typeName(c.typ))
		}
		if len(a) > 1 && mayBeNaN(a[0]) { // which makes NULL of infinity
			return made("(CASE WHEN isfinite(%s) THEN ROUND(%s) ELSE %s END)", p.bare(a[0]), p.list(a), p.bare(a[0]))
		}
	case opSign:
		if mayBeNaN(a[0]) {
			return made("(CASE WHEN isnan(%s) THEN %s ELSE CAST(sign(%s) AS DOUBLE) END)", p.bare(a[0]), p.bare(a[0]), p.bare(a[0]))
		}
		return made("CAST(sign(%s) AS %s)", p.bare(a[0]), p.typeName(c.typ))
	case opGreatest, opLeast:
		return p.extreme(c)
	case opConcat:
		parts := make([]string, len(a))
		for i, x := range a {
			parts[i] = p.primary(x)
		}
		return made("(%s)", strings.Join(parts, " || "))
	case opLength:
		if a[0].Type().Kind == schemas.Bytes {
			return made("octet_length(%s)", p.bare(a[0]))
		}
		return made("length(%s)", p.bare(a[0]))
	case opSubstr:
		return p.duckSubstr(c)
	case opTrim, opLTrim, opRTrim:
		if len(a) == 1 { // all white space, not only blanks
			const spaces = `[\s\v\p{Z}\x{85}]+`
			at := map[*operation]string{opTrim: "^" + spaces + "|" + spaces + "$", opLTrim: "^" + spaces, opRTrim: spaces + "$"}[c.op]
			return made("regexp_replace(%s, '%s', '', 'g')", p.bare(a[0]), at)
		}
	case opRegexp:
		return made("regexp_matches(%s, %s)", p.bare(a[0]), p.bare(a[1]))
	case opDate:
		return made("CAST(%s AS DATE)", p.duckLocal(a[0], a[1]))
	case opMakeDate:
		return made("make_date(%s)", p.list(a))
	case opExtract:
		return p.duckExtract(c)
	case opTrunc:
		return p.duckTrunc(c)
	case opBucket:
		return made("time_bucket(to_microseconds(%d), %s, %s)", c.width, p.bare(a[0]), p.bare(a[1]))
	case opUnixMicros:
		return made("epoch_us(%s)", p.bare(a[0]))
	case opUnixMillis:
		return p.floorMicros(a[0], 1000)
	case opUnixSeconds:
		return p.floorMicros(a[0], second)
	case opCast, opSafeCast:
		return p.duckCast(c)
	}
	switch c.op.name {
	case "ARRAY_LENGTH":
		return made("len(%s)", p.bare(a[0]))
	case "STRPOS":
		return made("strpos(%s, %s)", p.bare(a[0]), p.bare(a[1]))
	}
	return "", 0, false
}

// double is a FLOAT64 operand: integers divide as integers there unless they are cast.
func (p *printer) double(n node) string {
	if c, ok := n.(*call); ok && c.op == opCoerce {
		return "CAST(" + p.bare(n) + " AS DOUBLE)"
	}
	return p.primary(n)
}

// duckProduct multiplies DECIMALs: the product has the digits of both behind the
// point, and may have 38 in all. So each factor keeps the scale that it is stored with.
func (p *printer) duckProduct(l, r node) string {
	factor := func(n node) string {
		c, ok := n.(*call)
		if !ok || c.op != opCoerce {
			return "CAST(" + p.bare(n) + " AS " + p.typeName(numericType) + ")"
		}
		scale := 0
		if from := c.args[0].Type(); from.Kind == schemas.Decimal {
			scale = from.Scale
		}
		return fmt.Sprintf("CAST(%s AS DECIMAL(38, %d))", p.bare(c.args[0]), scale)
	}
	return factor(l) + " * " + factor(r)
}

// duckSubstr counts positions before the first and from the end as GoogleSQL does.
func (p *printer) duckSubstr(c *call) (string, int, bool) {
	const maxOffset = 1<<32 - 1 // DuckDB's
	text := p.bare(c.args[0])
	from := ""
	if lit, ok := c.args[1].(*literal); ok && !lit.isNull() && lit.v.ints[0] >= 0 {
		from = fmt.Sprint(min(max(1, lit.v.ints[0]), maxOffset))
	} else {
		at := p.primary(c.args[1])
		from = fmt.Sprintf("(CASE WHEN %s < 0 THEN greatest(length(%s) + %s + 1, 1) WHEN %s = 0 THEN 1 WHEN %s > %d THEN %d ELSE %s END)", at, text, at, at, at, maxOffset, maxOffset, at)
	}
	if len(c.args) == 2 {
		return fmt.Sprintf("substr(%s, %s)", text, from), levelPrimary, true
	}
	length := p.bare(c.args[2])
	if lit, ok := c.args[2].(*literal); !ok || lit.isNull() || lit.v.ints[0] < 0 {
		length = fmt.Sprintf("CASE WHEN %s < 0%s THEN error('SUBSTR: negative length') WHEN %s > %d THEN %d ELSE %s END",
			p.primary(c.args[2]), p.present(c.args[0], c.args[1]), p.primary(c.args[2]), maxOffset, maxOffset, length)
	}
	return fmt.Sprintf("substr(%s, %s, %s)", text, from, length), levelPrimary, true
}

// duckLocal is the wall clock's reading of a timestamp in a zone.
func (p *printer) duckLocal(at, zone node) string {
	return "timezone(" + p.duckZone(zone) + ", " + p.bare(at) + ")"
}

func (p *printer) duckZone(zone node) string {
	name := zone.(*literal).v.texts[0]
	if strings.HasPrefix(name, "+") || strings.HasPrefix(name, "-") {
		return p.fail("DuckDB knows no time zones by offset, as %q: write a name", name)
	}
	if name == "Z" || name == "z" {
		name = "UTC"
	}
	return p.dialect.Literal(name)
}

func (p *printer) floorMicros(at node, unit int64) (string, int, bool) {
	micros := "epoch_us(" + p.bare(at) + ")"
	return fmt.Sprintf("((%s - ((%s %% %d) + %d) %% %d) // %d)", micros, micros, unit, unit, unit, unit), levelPrimary, true
}

func (p *printer) duckExtract(c *call) (string, int, bool) {
	from := p.bare(c.args[0])
	if len(c.args) > 1 {
		from = p.duckLocal(c.args[0], c.args[1])
	}
	text := ""
	switch c.part {
	case "DAYOFWEEK":
		text = fmt.Sprintf("(dayofweek(%s) + 1)", from)
	case "DAYOFYEAR":
		text = fmt.Sprintf("dayofyear(%s)", from)
	case "WEEK":
		text = fmt.Sprintf("CAST(strftime(%s, '%%U') AS BIGINT)", from)
	case "ISOWEEK":
		text = fmt.Sprintf("weekofyear(%s)", from)
	case "MILLISECOND":
		text = fmt.Sprintf("(millisecond(%s) %% 1000)", from)
	case "MICROSECOND":
		text = fmt.Sprintf("(microsecond(%s) %% 1000000)", from)
	default:
		text = fmt.Sprintf("%s(%s)", strings.ToLower(c.part), from)
	}
	return text, levelPrimary, true
}

func (p *printer) duckTrunc(c *call) (string, int, bool) {
	at, zone := p.bare(c.args[0]), p.duckZone(c.args[1])
	local := p.duckLocal(c.args[0], c.args[1])
	switch c.part {
	case "MICROSECOND":
		return at, levelPrimary, true
	case "MILLISECOND", "SECOND", "MINUTE", "HOUR": // taken off the instant: the hour may occur twice
		return fmt.Sprintf("(%s - (%s - date_trunc('%s', %s)))", at, local, strings.ToLower(c.part), local), levelPrimary, true
	case "WEEK":
		local = fmt.Sprintf("date_trunc('week', %s + INTERVAL 1 DAY) - INTERVAL 1 DAY", local)
	case "ISOWEEK":
		local = fmt.Sprintf("date_trunc('week', %s)", local)
	default:
		local = fmt.Sprintf("date_trunc('%s', %s)", strings.ToLower(c.part), local)
	}
	return fmt.Sprintf("timezone(%s, CAST(%s AS TIMESTAMP))", zone, local), levelPrimary, true
}

func (p *printer) duckCast(c *call) (string, int, bool) {
	x := c.args[0]
	from, to := x.Type().Kind, c.typ.Kind
	cast, wrong := "CAST", "NULL"
	if c.op == opSafeCast {
		cast = "TRY_CAST"
	}
	text := p.bare(x)
	switch {
	case from == schemas.Float64 && to == schemas.Int64:
		return made("%s(round(%s) AS BIGINT)", cast, text)
	case from == schemas.Float64 && to == schemas.String:
		return made("%s", p.fail("DuckDB writes FLOAT64 in another form than BigQuery: %s is not possible there", c))
	case from == schemas.Decimal && to == schemas.String:
		return made("rtrim(rtrim(CAST(CAST(%s AS DECIMAL(38, 9)) AS VARCHAR), '0'), '.')", text)
	case from == schemas.String && to == schemas.Timestamp:
		return made("%s", p.fail("DuckDB reads a text without a zone in the session's: %s is not possible there", c))
	case from == schemas.String && (to == schemas.Bool || to == schemas.Int64 || to == schemas.Float64 || to == schemas.Decimal || to == schemas.Date):
		if cast == "CAST" {
			wrong = p.raise("bad cast", text)
		}
		return p.castText(c, text, wrong)
	case from == schemas.Timestamp && to == schemas.String, from == schemas.Datetime && to == schemas.String:
		zone := ""
		if from == schemas.Timestamp {
			text, zone = "timezone('UTC', "+text+")", " || '+00'"
		}
		form := func(fraction string) string { return "strftime(" + text + ", '%Y-%m-%d %H:%M:%S" + fraction + "')" }
		return made("(CASE WHEN microsecond(%s) %% 1000000 = 0 THEN %s WHEN microsecond(%s) %% 1000 = 0 THEN %s ELSE %s END%s)",
			text, form(""), text, form(".%g"), form(".%f"), zone)
	case (from == schemas.Date || from == schemas.Datetime) && to == schemas.Timestamp:
		return made("timezone('UTC', CAST(%s AS TIMESTAMP))", text)
	case from == schemas.Timestamp && to == schemas.Datetime:
		return made("timezone('UTC', %s)", text)
	default:
		return made("%s(%s AS %s)", cast, text, p.typeName(c.typ))
	}
}
