package rules

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

func lengthOf(s string) int64 { return int64(utf8.RuneCountInString(s)) }

func sizeOf(s string) int64 { return int64(len(s)) }

func trimSpace(s string) string { return strings.TrimFunc(s, unicode.IsSpace) }
func ltrimSpace(s string) string {
	return strings.TrimLeftFunc(s, unicode.IsSpace)
}
func rtrimSpace(s string) string {
	return strings.TrimRightFunc(s, unicode.IsSpace)
}

// position is STRPOS: in characters from 1, 0 where there is none.
func position(s, part string) int64 {
	at := strings.Index(s, part)
	if at < 0 {
		return 0
	}
	return int64(utf8.RuneCountInString(s[:at])) + 1
}

func replaceAll(s, from, to string) (string, fault) {
	if from == "" {
		return s, fine
	}
	if len(s) > 1<<20 && len(to) > len(from) {
		if grown := len(s) + strings.Count(s, from)*(len(to)-len(from)); grown > maxText {
			return "", fault(fmt.Sprintf("REPLACE: the result has %d bytes, more than %d", grown, maxText))
		}
	}
	return strings.ReplaceAll(s, from, to), fine
}

// maxText bounds what a function may make of its arguments.
const maxText = 64 << 20

func concat(a, b string) (string, fault) {
	if len(a)+len(b) > maxText {
		return "", fault(fmt.Sprintf("CONCAT: the result has more than %d bytes", maxText))
	}
	return a + b, fine
}

func substrFrom(s string, from int64) (string, fault) { return s[startOf(s, from):], fine }

func substr(s string, from, length int64) (string, fault) {
	if length < 0 {
		return "", fault(fmt.Sprintf("SUBSTR: the length is %d", length))
	}
	s = s[startOf(s, from):]
	for i := range s {
		if length == 0 {
			return s[:i], fine
		}
		length--
	}
	return s, fine
}

// startOf is the byte of a position: from 1, from the end where it is negative,
// the first where it is 0 or before the first.
func startOf(s string, from int64) int {
	if from < 0 {
		from = max(0, int64(utf8.RuneCountInString(s))+from)
	} else if from > 0 {
		from--
	}
	for i := range s {
		if from == 0 {
			return i
		}
		from--
	}
	return len(s)
}

// pattern is a LIKE pattern: its characters, with the wildcards told apart.
type pattern []rune

const (
	anyText rune = -1 // %
	anyOne  rune = -2 // _
)

func compileLike(text string) (pattern, fault) {
	var p pattern
	escaped := false
	for _, r := range text {
		switch {
		case escaped:
			escaped = false
			p = append(p, r)
		case r == '\\':
			escaped = true
		case r == '%':
			p = append(p, anyText)
		case r == '_':
			p = append(p, anyOne)
		default:
			p = append(p, r)
		}
	}
	if escaped {
		return nil, "LIKE: the pattern ends with a backslash"
	}
	return p, fine
}

// simple tells patterns with % at their ends only, which need no search by character.
func (p pattern) simple() (text string, before, after, ok bool) {
	if len(p) > 0 && p[0] == anyText {
		before, p = true, p[1:]
	}
	if len(p) > 0 && p[len(p)-1] == anyText {
		after, p = true, p[:len(p)-1]
	}
	for _, r := range p {
		if r < 0 {
			return "", false, false, false
		}
	}
	return string(p), before, after, true
}

// matcher is the pattern as a function.
func (p pattern) matcher() func(string) bool {
	text, before, after, ok := p.simple()
	switch {
	case !ok:
		return p.match
	case before && after:
		return func(s string) bool { return strings.Contains(s, text) }
	case before:
		return func(s string) bool { return strings.HasSuffix(s, text) }
	case after:
		return func(s string) bool { return strings.HasPrefix(s, text) }
	default:
		return func(s string) bool { return s == text }
	}
}

// match goes back to the last % alone, so that its time is bounded by the
// product of both lengths.
func (p pattern) match(s string) bool {
	at, i := 0, 0
	star, resume := -1, 0
	for i < len(s) {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case at < len(p) && p[at] == anyText:
			star, resume = at, i
			at++
		case at < len(p) && (p[at] == anyOne || p[at] == r):
			at++
			i += size
		case star >= 0:
			_, size = utf8.DecodeRuneInString(s[resume:])
			resume += size
			at, i = star+1, resume
		default:
			return false
		}
	}
	for at < len(p) && p[at] == anyText {
		at++
	}
	return at == len(p)
}

func like(s, text string) (bool, fault) {
	p, why := compileLike(text)
	if why != fine {
		return false, why
	}
	return p.match(s), fine
}

// regexpContains compiles a pattern that is not a literal once while it stays the same.
func regexpContains(n int, args []vector) vector {
	var last string
	var re *regexp.Regexp
	return try2(func(s, text string) (bool, fault) {
		if re == nil || text != last {
			var err error
			if re, err = compileRegexp(text); err != nil {
				return false, fault("REGEXP_CONTAINS: " + err.Error())
			}
			last = text
		}
		return re.MatchString(s), fine
	})(n, args)
}

const maxRegexp = 4 << 10

func compileRegexp(text string) (*regexp.Regexp, error) {
	if len(text) > maxRegexp {
		return nil, fmt.Errorf("the pattern has %d bytes, more than %d", len(text), maxRegexp)
	}
	return regexp.Compile(text)
}
