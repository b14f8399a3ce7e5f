package rules

import (
	"fmt"

	"lake/schemas"
)

// What texts are read as. GoogleSQL takes white space around them.
const (
	spacesText = `[ \t\n\x0B\f\r]*`
	wholeText  = `\A` + spacesText + `[-+]?[0-9]+` + spacesText + `\z`
	hexText    = `\A` + spacesText + `0[xX][0-9a-fA-F]{1,15}` + spacesText + `\z`
	anyHexText = `\A` + spacesText + `[-+]?0[xX][0-9a-fA-F]+` + spacesText + `\z`
	numberText = `\A` + spacesText + `[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,4})?` + spacesText + `\z`
	dateForm   = `\A` + spacesText + `[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}` + spacesText + `\z`
)

// cast is CAST and SAFE_CAST.
func (p *printer) cast(c *call) (string, int, bool) {
	x := c.args[0]
	from, to := x.Type().Kind, c.typ.Kind
	text := p.bare(x)
	wrong := "NULL"
	if c.op == opCast {
		wrong = p.raiseIn(p.typeName(c.typ), "bad cast", text)
	}
	switch {
	case from == schemas.Float64 && to == schemas.String:
		return p.refuse(c, "writes FLOAT64 in another form than BigQuery"), levelPrimary, true
	case from == schemas.String:
		return p.castText(c, text, wrong)
	case to == schemas.Time || from == schemas.Time:
		return p.refuse(c, "has no TIME"), levelPrimary, true
	case from == schemas.UUID:
		return text, levelOr, true
	case from == schemas.Bool && to == schemas.String:
		return made("(CASE WHEN %[1]s THEN 'true' WHEN NOT (%[1]s) THEN 'false' END)", text)
	case from == schemas.Bool && to == schemas.Int64:
		return made("(CASE WHEN %[1]s THEN %[2]s WHEN NOT (%[1]s) THEN %[3]s END)", text, p.integer(1), p.integer(0))
	case from == schemas.Int64 && to == schemas.Bool:
		return made("(%s <> 0)", p.primary(x))
	case from == schemas.Float64 && to == schemas.Int64:
		whole := p.whole(c, text)
		return made("(CASE WHEN %[1]s >= %[2]s AND %[1]s < %[3]s THEN CAST(%[1]s AS BIGINT) WHEN %[4]s IS NOT NULL THEN %[5]s END)",
			whole, p.float(-1<<63), p.float(1<<63), p.primary(x), wrong)
	case from == schemas.Decimal && to == schemas.Int64:
		whole := p.form("ROUND", c, text)
		return made("(CASE WHEN %[1]s BETWEEN %[2]s AND %[3]s THEN CAST(%[1]s AS BIGINT) WHEN %[4]s IS NOT NULL THEN %[5]s END)",
			whole, fmt.Sprintf(p.f.exact, "-9223372036854775808"), fmt.Sprintf(p.f.exact, "9223372036854775807"), p.primary(x), wrong)
	case from == schemas.Float64 && to == schemas.Decimal:
		return made("(CASE WHEN abs(%[1]s) < %[2]s THEN %[3]s WHEN %[4]s IS NOT NULL THEN %[5]s END)", text, p.float(1e29), p.numeric(text), p.primary(x), wrong)
	case from == schemas.Decimal && to == schemas.String:
		return made("%s", p.form("NUMERIC_TEXT", c, p.numeric(text)))
	case from == schemas.Timestamp && to == schemas.String:
		return made("%s", p.timeText(c, p.micros(x), "+00"))
	case from == schemas.Datetime && to == schemas.String:
		return made("%s", p.timeText(c, p.microsOf(x), ""))
	case to == schemas.Timestamp:
		return made("%s", fmt.Sprintf(p.f.ofMicros, p.microsOf(x)))
	case to == schemas.Datetime:
		if p.f.datetime == "" {
			return p.refuse(c, "makes no DATETIME of µs"), levelPrimary, true
		}
		return made("%s", fmt.Sprintf(p.f.datetime, p.microsOf(x)))
	case to == schemas.Date:
		return made("%s", p.dateOfMicros(p.microsOf(x)))
	default:
		return made("CAST(%s AS %s)", text, p.typeName(c.typ))
	}
}

// microsOf is a date, timestamp or datetime in µs since 1970, in UTC.
func (p *printer) microsOf(x node) string {
	switch x.Type().Kind {
	case schemas.Date:
		return "(" + fmt.Sprintf(p.f.days, p.bare(x)) + " * " + p.integer(day) + ")"
	case schemas.Datetime:
		return fmt.Sprintf(p.f.ofDatetime, p.primary(x))
	default:
		return p.micros(x)
	}
}

// castText reads a text. Engines take other forms than GoogleSQL, so the form is
// looked at first.
func (p *printer) castText(c *call, text, wrong string) (string, int, bool) {
	like := func(form string) string { return p.form("MATCHES", c, text, p.dialect.Literal(form)) }
	read := func(when, value string) (string, int, bool) {
		return made("(CASE WHEN %s AND %s IS NOT NULL THEN %s WHEN %s IS NOT NULL THEN %s END)", when, value, value, text, wrong)
	}
	bare := p.form("REPLACE_PATTERN", c, text, p.dialect.Literal(`\A`+spacesText+`|`+spacesText+`\z`))
	switch c.typ.Kind {
	case schemas.Bool:
		return made("(CASE lower(%s) WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE ELSE CASE WHEN %s IS NOT NULL THEN %s END END)", text, text, wrong)
	case schemas.Int64: // what hexadecimal digits are not read, are not read wrongly
		value := p.form("TRY_CAST", c, bare, "BIGINT")
		hex := ""
		if form, ok := p.f.functions["HEX"]; ok {
			hex = "WHEN " + like(hexText) + " THEN " + fmt.Sprintf(form, bare) + " "
		}
		return made("(CASE WHEN %s AND %s IS NOT NULL THEN %s %sWHEN %s THEN %s WHEN %s IS NOT NULL THEN %s END)", like(wholeText), value, value, hex,
			like(anyHexText), p.raise("a text of hexadecimal digits", text), text, wrong)
	case schemas.Float64:
		special := fmt.Sprintf("CASE lower(%s) WHEN 'nan' THEN %s WHEN 'inf' THEN %s WHEN '+inf' THEN %s WHEN 'infinity' THEN %s WHEN '+infinity' THEN %s WHEN '-inf' THEN %s WHEN '-infinity' THEN %s END",
			bare, p.float(nanFloat), p.float(infFloat), p.float(infFloat), p.float(infFloat), p.float(infFloat), p.float(-infFloat), p.float(-infFloat))
		value := p.form("TRY_CAST", c, bare, "DOUBLE")
		return made("(CASE WHEN %[1]s AND abs(%[2]s) < %[3]s THEN %[2]s WHEN %[4]s IS NOT NULL THEN %[4]s WHEN %[5]s IS NOT NULL THEN %[6]s END)",
			like(numberText), value, p.float(infFloat), "("+special+")", text, wrong)
	case schemas.Decimal:
		return read(like(numberText), p.form("TRY_CAST", c, bare, p.typeName(numericType)))
	case schemas.Date:
		return read(like(dateForm), p.form("TRY_CAST", c, bare, "DATE"))
	default:
		return p.refuse(c, "reads other texts as "+sqlName(c.typ)+" than BigQuery"), levelPrimary, true
	}
}
