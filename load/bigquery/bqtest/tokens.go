//go:build cgo

package bqtest

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// tokenKind tells tokens of GoogleSQL apart.
type tokenKind uint8

const (
	word   tokenKind = iota // an identifier or keyword, as it stands
	quoted                  // an identifier in backticks, without them
	text                    // a string's value
	blob                    // bytes, their value
	other                   // a number, an operator
)

type token struct {
	kind tokenKind
	text string
}

// is tells a keyword or an operator.
func (t token) is(s string) bool {
	return (t.kind == word || t.kind == other) && strings.EqualFold(t.text, s)
}

func letter(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= utf8.RuneSelf
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// tokens takes a query apart; comments are dropped.
func tokens(sql string) ([]token, error) {
	var out []token
	for i := 0; i < len(sql); {
		c := sql[i]
		switch {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			i++
		case strings.HasPrefix(sql[i:], "--") || c == '#':
			for i < len(sql) && sql[i] != '\n' {
				i++
			}
		case strings.HasPrefix(sql[i:], "/*"):
			end := strings.Index(sql[i+2:], "*/")
			if end < 0 {
				return nil, fmt.Errorf("unclosed comment")
			}
			i += end + 4
		case c == '`', c == '\'', c == '"':
			value, n, err := quotation(sql[i:], false)
			if err != nil {
				return nil, err
			}
			kind := text
			if c == '`' {
				kind = quoted
			}
			out = append(out, token{kind, value})
			i += n
		case letter(c):
			j := i
			for j < len(sql) && (letter(sql[j]) || digit(sql[j])) {
				j++
			}
			prefix := strings.ToLower(sql[i:j])
			if j < len(sql) && (sql[j] == '\'' || sql[j] == '"') && (prefix == "r" || prefix == "b" || prefix == "rb" || prefix == "br") {
				value, n, err := quotation(sql[j:], strings.Contains(prefix, "r"))
				if err != nil {
					return nil, err
				}
				kind := text
				if strings.Contains(prefix, "b") {
					kind = blob
				}
				out = append(out, token{kind, value})
				i = j + n
				continue
			}
			out = append(out, token{word, sql[i:j]})
			i = j
		case digit(c) || c == '.' && i+1 < len(sql) && digit(sql[i+1]):
			j := i
			for j < len(sql) && (letter(sql[j]) || digit(sql[j]) || sql[j] == '.' || (sql[j] == '-' || sql[j] == '+') && (sql[j-1] == 'e' || sql[j-1] == 'E')) {
				j++
			}
			out = append(out, token{other, sql[i:j]})
			i = j
		default:
			n := 1
			for _, op := range []string{"<=", ">=", "<>", "!=", "||", "<<", ">>", "=>"} {
				if strings.HasPrefix(sql[i:], op) {
					n = 2
				}
			}
			out = append(out, token{other, sql[i : i+n]})
			i += n
		}
	}
	return out, nil
}

// quotation is the value of a literal or quoted name at the beginning of sql, and its length there.
func quotation(sql string, raw bool) (value string, length int, err error) {
	q := sql[0]
	if len(sql) > 2 && q != '`' && sql[1] == q && sql[2] == q {
		return "", 0, fmt.Errorf("bqtest reads no triple-quoted strings")
	}
	var b strings.Builder
	for i := 1; i < len(sql); i++ {
		switch c := sql[i]; {
		case c == q:
			return b.String(), i + 1, nil
		case c == '\\' && raw && i+1 < len(sql):
			b.WriteString(sql[i : i+2])
			i++
		case c == '\\' && i+1 < len(sql):
			n, err := escape(&b, sql[i+1:])
			if err != nil {
				return "", 0, err
			}
			i += n
		default:
			b.WriteByte(c)
		}
	}
	return "", 0, fmt.Errorf("unclosed string literal")
}

// escape writes what stands behind a backslash and returns its length.
func escape(b *strings.Builder, s string) (int, error) {
	simple := map[byte]byte{'a': 7, 'b': 8, 'f': 12, 'n': 10, 'r': 13, 't': 9, 'v': 11, '\\': '\\', '?': '?', '"': '"', '\'': '\'', '`': '`'}
	if c, ok := simple[s[0]]; ok {
		b.WriteByte(c)
		return 1, nil
	}
	digits := map[byte]int{'x': 2, 'X': 2, 'u': 4, 'U': 8}[s[0]]
	if digits == 0 || len(s) < digits+1 {
		return 0, fmt.Errorf("illegal escape sequence: \\%c", s[0])
	}
	n, err := strconv.ParseUint(s[1:1+digits], 16, 32)
	if err != nil {
		return 0, fmt.Errorf("illegal escape sequence: \\%s", s[:1+digits])
	}
	if digits == 2 {
		b.WriteByte(byte(n))
	} else {
		b.WriteRune(rune(n))
	}
	return 1 + digits, nil
}
