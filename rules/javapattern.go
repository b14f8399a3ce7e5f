package rules

import (
	"fmt"
	"regexp/syntax"
	"strings"
	"unicode"
)

// javaPattern is a pattern of RE2 in Java's words, with the same matches:
// there $ also stands before a last line break, \s has another set, a dot leaves
// out more line breaks, and case is folded for ASCII alone.
func javaPattern(text string) (string, error) {
	re, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if err := writeJava(&b, re); err != nil {
		return "", err
	}
	return b.String(), nil
}

func writeJava(b *strings.Builder, re *syntax.Regexp) error {
	switch re.Op {
	case syntax.OpNoMatch:
		b.WriteString(`[^\x{0}-\x{10FFFF}]`)
	case syntax.OpEmptyMatch:
		b.WriteString("(?:)")
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			set := []rune{r}
			for f := unicode.SimpleFold(r); re.Flags&syntax.FoldCase != 0 && f != r; f = unicode.SimpleFold(f) {
				set = append(set, f)
			}
			b.WriteString(javaClass(set))
		}
	case syntax.OpCharClass:
		b.WriteByte('[')
		for i := 0; i < len(re.Rune); i += 2 {
			fmt.Fprintf(b, `\x{%X}-\x{%X}`, re.Rune[i], re.Rune[i+1])
		}
		b.WriteByte(']')
	case syntax.OpAnyCharNotNL:
		b.WriteString(`[^\n]`)
	case syntax.OpAnyChar:
		b.WriteString(`[\x{0}-\x{10FFFF}]`)
	case syntax.OpBeginLine:
		b.WriteString(`(?<![^\n])`)
	case syntax.OpEndLine:
		b.WriteString(`(?![^\n])`)
	case syntax.OpBeginText:
		b.WriteString(`\A`)
	case syntax.OpEndText:
		b.WriteString(`\z`)
	case syntax.OpWordBoundary:
		b.WriteString(`(?:(?<=[0-9A-Za-z_])(?![0-9A-Za-z_])|(?<![0-9A-Za-z_])(?=[0-9A-Za-z_]))`)
	case syntax.OpNoWordBoundary:
		b.WriteString(`(?:(?<=[0-9A-Za-z_])(?=[0-9A-Za-z_])|(?<![0-9A-Za-z_])(?![0-9A-Za-z_]))`)
	case syntax.OpCapture, syntax.OpConcat, syntax.OpAlternate:
		b.WriteString("(?:")
		for i, sub := range re.Sub {
			if i > 0 && re.Op == syntax.OpAlternate {
				b.WriteByte('|')
			}
			if err := writeJava(b, sub); err != nil {
				return err
			}
		}
		b.WriteByte(')')
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest, syntax.OpRepeat:
		b.WriteString("(?:")
		if err := writeJava(b, re.Sub[0]); err != nil {
			return err
		}
		b.WriteByte(')')
		switch {
		case re.Op == syntax.OpStar:
			b.WriteByte('*')
		case re.Op == syntax.OpPlus:
			b.WriteByte('+')
		case re.Op == syntax.OpQuest:
			b.WriteByte('?')
		case re.Max < 0:
			fmt.Fprintf(b, "{%d,}", re.Min)
		default:
			fmt.Fprintf(b, "{%d,%d}", re.Min, re.Max)
		}
	default:
		return fmt.Errorf("has no pattern like %s", re)
	}
	return nil
}

// javaClass is a pattern of one character of a set; the plain ones stay readable.
func javaClass(set []rune) string {
	one := func(r rune) string {
		if r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune(" _,;:=@/'\"<>!~%", r)) {
			return string(r)
		}
		return fmt.Sprintf(`\x{%X}`, r)
	}
	if len(set) == 1 {
		return one(set[0])
	}
	var b strings.Builder
	for _, r := range set {
		b.WriteString(one(r))
	}
	return "[" + b.String() + "]"
}
