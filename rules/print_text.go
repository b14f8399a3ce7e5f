package rules

import (
	"fmt"
	"strings"

	"lake/schemas"
)

// like escapes just what has to be: engines fail, or differ, at a backslash
// before any other character.
func (p *printer) like(c *call) (string, int, bool) {
	pattern := p.operand(c.args[1], levelArithmetic)
	if lit, ok := c.args[1].(*literal); ok && !lit.isNull() {
		parts, _ := compileLike(lit.v.texts[0])
		var b strings.Builder
		for _, r := range parts {
			switch r {
			case anyText:
				b.WriteByte('%')
			case anyOne:
				b.WriteByte('_')
			case '%', '_', '\\':
				b.WriteString(`\` + string(r))
			default:
				b.WriteRune(r)
			}
		}
		pattern = p.dialect.Literal(b.String())
	}
	escape := " ESCAPE " + p.dialect.Literal(`\`)
	if p.dialect == schemas.Hive { // has no ESCAPE, and takes the backslash
		escape = ""
	}
	return p.operand(c.args[0], levelArithmetic) + " LIKE " + pattern + escape, levelCompare, true
}

// substr counts positions before the first and from the end as GoogleSQL does.
func (p *printer) substr(c *call) (string, int, bool) {
	const maxInt = 1<<31 - 1
	text := p.bare(c.args[0])
	from := ""
	if lit, ok := c.args[1].(*literal); ok && !lit.isNull() && lit.v.ints[0] >= 0 {
		from = p.integer(min(max(1, lit.v.ints[0]), maxInt))
	} else {
		at := p.primary(c.args[1])
		from = fmt.Sprintf("(CASE WHEN %[1]s < -%[3]d THEN 1 WHEN %[1]s < 0 THEN greatest(%[2]s + %[1]s + 1, %[4]s) WHEN %[1]s = 0 THEN 1 WHEN %[1]s > %[3]d THEN %[3]d ELSE %[1]s END)",
			at, p.form("LENGTH", c, text), maxInt, p.integer(1))
	}
	if len(c.args) == 2 {
		return made("%s", p.form("SUBSTR", c, text, from))
	}
	length := ""
	if lit, ok := c.args[2].(*literal); ok && !lit.isNull() && lit.v.ints[0] >= 0 {
		length = p.integer(min(lit.v.ints[0], maxInt))
	} else {
		length = fmt.Sprintf("(CASE WHEN %[1]s < 0%[2]s THEN %[3]s WHEN %[1]s > %[4]d THEN %[4]d ELSE %[1]s END)",
			p.primary(c.args[2]), p.present(c.args[0], c.args[1]), p.raise("SUBSTR: negative length", p.bare(c.args[2])), maxInt)
	}
	return made("%s", p.form("SUBSTR3", c, text, from, length))
}

func (p *printer) integer(n int64) string { return fmt.Sprintf(p.f.bigint, n) }

// whiteSpace is Unicode's, as a class of Java's patterns: theirs is ASCII's.
const whiteSpace = `[\t\n\x0B\f\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}]`

func (p *printer) trim(c *call) (string, int, bool) {
	class := whiteSpace
	if len(c.args) > 1 {
		lit, ok := c.args[1].(*literal)
		if !ok || lit.isNull() {
			return p.refuse(c, "trims characters that are a literal"), levelPrimary, true
		}
		if lit.v.texts[0] == "" {
			return p.bare(c.args[0]), levelOr, true
		}
		class = javaClass([]rune(lit.v.texts[0]))
	}
	pattern := map[*operation]string{opTrim: "^" + class + "+|" + class + `+\z`, opLTrim: "^" + class + "+", opRTrim: class + `+\z`}[c.op]
	return made("%s", p.form("REPLACE_PATTERN", c, p.bare(c.args[0]), p.dialect.Literal(pattern)))
}

func (p *printer) matches(c *call) (string, int, bool) {
	lit, ok := c.args[1].(*literal)
	if !ok || lit.isNull() {
		return p.refuse(c, "has Java's patterns, into which only a literal is translated"), levelPrimary, true
	}
	pattern, err := javaPattern(lit.v.texts[0])
	if err != nil {
		return p.refuse(c, err.Error()), levelPrimary, true
	}
	return made("%s", p.form("MATCHES", c, p.operand(c.args[0], levelArithmetic), p.dialect.Literal(pattern)))
}
