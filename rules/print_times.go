package rules

import (
	"fmt"
	"strings"

	"lake/schemas"
)

// Engines disagree about their session's zone, windows' origins and weeks. So
// times are computed in integers, of which all have the same.

// timeCall is the functions of timestamps.
func (p *printer) timeCall(c *call) (string, int, bool) {
	x := c.args[0]
	switch c.op {
	case opDate:
		return made("%s", p.dateOfMicros(p.local(x, c.args[1])))
	case opMakeDate:
		return p.makeDate(c)
	case opExtract:
		return p.extracted(c)
	case opTrunc:
		return p.truncated(c)
	case opBucket:
		origin := c.args[1].(*literal).v.ints[0]
		if c.width%p.f.unit != 0 || origin%p.f.unit != 0 {
			return p.refuse(c, "has no arithmetic of microseconds"), levelPrimary, true
		}
		at := p.micros(x)
		since := at + " - " + p.unsigned(constant(simple(schemas.Int64), 0, origin))
		return made("%s", fmt.Sprintf(p.f.ofMicros, "("+at+" - "+p.modulo("("+since+")", c.width)+")"))
	case opUnixMicros:
		return made("%s", p.micros(x))
	case opUnixMillis:
		return made("%s", p.floored(p.micros(x), 1000))
	default:
		return made("%s", p.floored(p.micros(x), second))
	}
}

func (p *printer) micros(n node) string { return fmt.Sprintf(p.f.micros, p.bare(n)) }

// local is the wall clock's µs at a timestamp in a zone.
func (p *printer) local(at, zone node) string {
	name := zone.(*literal).v.texts[0]
	if name == "UTC" || name == "Z" || name == "z" {
		return p.micros(at)
	}
	if p.f.localMicros == "" {
		return p.refuse(at, "has no time zone "+name)
	}
	return fmt.Sprintf(p.f.localMicros, p.bare(at), p.zoneName(name))
}

// zoneName writes offsets with two digits each, as engines want them.
func (p *printer) zoneName(name string) string {
	if offset, rest, ok := readOffset(name); ok && rest == "" {
		sign := "+"
		if offset < 0 {
			sign, offset = "-", -offset
		}
		name = fmt.Sprintf("%s%02d:%02d", sign, offset/hour, offset%hour/minute)
	}
	return p.dialect.Literal(name)
}

func (p *printer) modulo(micros string, by int64) string {
	return fmt.Sprintf(p.f.modulo, micros, p.integer(by))
}

// part is the whole units in what a larger unit leaves of µs.
func (p *printer) part(micros string, of, unit int64) string {
	rest := p.modulo(micros, of)
	if unit == 1 {
		return rest
	}
	return fmt.Sprintf(p.f.quotient, "("+rest+" - "+p.modulo(rest, unit)+")", p.integer(unit))
}

// floored is µs in a unit, rounded down.
func (p *printer) floored(micros string, unit int64) string {
	return fmt.Sprintf(p.f.quotient, "("+micros+" - "+p.modulo(micros, unit)+")", p.integer(unit))
}

func (p *printer) dateOfMicros(micros string) string {
	return fmt.Sprintf(p.f.ofDays, p.floored(micros, day))
}

func (p *printer) makeDate(c *call) (string, int, bool) {
	p.strict = true
	year, month, dom := p.primary(c.args[0]), p.primary(c.args[1]), p.primary(c.args[2])
	valid := fmt.Sprintf("%s BETWEEN 1 AND 9999 AND %s BETWEEN 1 AND 12 AND %s BETWEEN 1 AND 31", year, month, dom)
	date := p.form("MAKE_DATE", c, year, month, dom)
	null := fmt.Sprintf("%s IS NULL OR %s IS NULL OR %s IS NULL", year, month, dom)
	made := "(CASE WHEN " + null + " THEN NULL WHEN " + valid + " THEN " + date + " ELSE " + p.raiseIn("DATE", "no date", year) + " END)"
	return made, levelPrimary, true
}

// extracted is EXTRACT from a date, a timestamp or a datetime.
func (p *printer) extracted(c *call) (string, int, bool) {
	x, date, micros := c.args[0], "", ""
	switch x.Type().Kind {
	case schemas.Date:
		date = p.bare(x)
	case schemas.Datetime:
		micros = fmt.Sprintf(p.f.ofDatetime, p.primary(x))
	case schemas.Time:
		return p.refuse(x, "has no TIME"), levelPrimary, true
	default:
		micros = p.local(x, c.args[1])
	}
	units := map[string][2]int64{"HOUR": {day, hour}, "MINUTE": {hour, minute}, "SECOND": {minute, second}, "MILLISECOND": {second, 1000}, "MICROSECOND": {second, 1}}
	if u, ok := units[c.part]; ok {
		return made("%s", p.part(micros, u[0], u[1]))
	}
	if date == "" {
		date = p.dateOfMicros(micros)
	}
	format, ok := p.f.parts[c.part]
	if !ok {
		return p.refuse(c, "has no part "+c.part), levelPrimary, true
	}
	return made("CAST(%s AS BIGINT)", fmt.Sprintf(format, date))
}

// truncated is TIMESTAMP_TRUNC. Parts up to the hour are taken off the instant:
// the hour may occur twice.
func (p *printer) truncated(c *call) (string, int, bool) {
	if unit := partMicros[c.part]; unit == 1 {
		return p.bare(c.args[0]), levelOr, true
	} else if unit > 0 && unit < day {
		if unit%p.f.unit != 0 {
			return p.refuse(c, "has no arithmetic of microseconds"), levelPrimary, true
		}
		at, local := p.micros(c.args[0]), p.local(c.args[0], c.args[1])
		return made("%s", fmt.Sprintf(p.f.ofMicros, "("+at+" - "+p.modulo(local, unit)+")"))
	}
	format, ok := p.f.starts[c.part]
	if !ok {
		return p.refuse(c, "has no part "+c.part), levelPrimary, true
	}
	days := fmt.Sprintf(format, p.dateOfMicros(p.local(c.args[0], c.args[1])))
	micros := "(" + days + " * " + p.integer(day) + ")"
	name := c.args[1].(*literal).v.texts[0]
	if name == "UTC" || name == "Z" || name == "z" {
		return made("%s", fmt.Sprintf(p.f.ofMicros, micros))
	}
	if p.f.ofLocal == "" {
		return p.refuse(c, "has no way from a zone's midnight to the instant"), levelPrimary, true
	}
	return made("%s", fmt.Sprintf(p.f.ofLocal, micros, p.zoneName(name)))
}

// timeText is CAST of a timestamp or datetime AS STRING: with no fraction, three
// digits or six.
func (p *printer) timeText(c *call, micros, end string) string {
	two := func(of, unit int64) string {
		return p.form("PAD", c, "CAST("+p.part(micros, of, unit)+" AS STRING)", 2)
	}
	parts := []string{
		"CAST(" + p.dateOfMicros(micros) + " AS STRING)", "' '", two(day, hour), "':'", two(hour, minute), "':'", two(minute, second),
		fmt.Sprintf("CASE WHEN %s = 0 THEN '' WHEN %s = 0 THEN %s ELSE %s END", p.modulo(micros, second), p.modulo(micros, 1000),
			p.form("CONCAT", c, "'.', "+p.form("PAD", c, "CAST("+p.part(micros, second, 1000)+" AS STRING)", 3)),
			p.form("CONCAT", c, "'.', "+p.form("PAD", c, "CAST("+p.part(micros, second, 1)+" AS STRING)", 6))),
	}
	if end != "" {
		parts = append(parts, "'"+end+"'")
	}
	return p.form("CONCAT", c, strings.Join(parts, ", "))
}
