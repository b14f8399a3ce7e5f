package rules

import (
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"
)

// Error is one fault of a query.
type Error struct {
	Offset int // byte in the query
	Line   int // 1-based, in the query
	Col    int // 1-based, in characters
	Msg    string
	Hint   string // "" where there is none
}

// Error is line:column: message; hint: …
func (e *Error) Error() string {
	text := fmt.Sprintf("%d:%d: %s", e.Line, e.Col, e.Msg)
	if e.Hint != "" {
		text += "; hint: " + e.Hint
	}
	return text
}

// Errors are all faults of a query, in the order of their places.
type Errors []*Error

// Error is all of them, one a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// add records a fault at a byte of sql, once.
func (e *Errors) add(sql string, offset int, hint, msg string) {
	offset = max(0, min(offset, len(sql)))
	before := sql[:offset]
	start := strings.LastIndexByte(before, '\n') + 1
	one := &Error{Offset: offset, Line: strings.Count(before, "\n") + 1, Col: utf8.RuneCountInString(before[start:]) + 1, Msg: msg, Hint: hint}
	for _, old := range *e {
		if *old == *one {
			return
		}
	}
	*e = append(*e, one)
}

func (e Errors) sort() {
	sort.SliceStable(e, func(i, j int) bool { return e[i].Offset < e[j].Offset })
}

// nearest is the hint for a name that is not among names: the one that is
// closest, or all of them where none is close and they are few.
func nearest(name string, names []string) string {
	best, distance := "", max(1, (len(name)+1)/3)
	for _, candidate := range names {
		if d := edits(strings.ToLower(name), strings.ToLower(candidate)); d <= distance && (best == "" || d < distance) {
			best, distance = candidate, d
		}
	}
	for _, candidate := range names {
		if best == "" && len(name) >= 3 && strings.HasPrefix(strings.ToLower(candidate), strings.ToLower(name)) {
			best = candidate
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("did you mean %q?", best)
	case len(names) > 0 && len(names) <= 20:
		return "there are " + strings.Join(names, ", ")
	default:
		return ""
	}
}

// edits is the number of letters to insert, delete, replace or swap with their neighbour.
func edits(a, b string) int {
	if len(a) > 100 || len(b) > 100 {
		return max(len(a), len(b))
	}
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
