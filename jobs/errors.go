package jobs

import (
	"fmt"
	"slices"
	"strings"
)

// Pos is a place in a job file: line and column from 1, the column in characters.
// The zero Pos is no place: what it belongs to is not in the file.
type Pos struct{ Line, Col int }

// Error is one thing that is wrong with a job file.
type Error struct {
	File      string
	Line, Col int
	Msg       string
	Hint      string // how to mend it; "" where Msg says it
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Col, e.Msg)
	if e.Hint != "" {
		s += "; hint: " + e.Hint
	}
	return s
}

// Errors is all that is wrong with a job file, in the file's order.
type Errors []*Error

// Error has one line an error.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, each := range e {
		lines[i] = each.Error()
	}
	return strings.Join(lines, "\n")
}

// maxErrors bounds what one file can report: a wrong file has thousands.
const maxErrors = 100

// findings collects the errors of one file.
type findings struct {
	file string
	list Errors
	rest int // errors beyond maxErrors
}

func (f *findings) add(at Pos, hint, format string, args ...any) {
	if len(f.list) == maxErrors {
		f.rest++
		return
	}
	f.list = append(f.list, &Error{File: f.file, Line: max(at.Line, 1), Col: max(at.Col, 1), Msg: fmt.Sprintf(format, args...), Hint: hint})
}

// err is what was found in the file's order, nil where there is nothing.
func (f *findings) err() error {
	if len(f.list) == 0 {
		return nil
	}
	slices.SortStableFunc(f.list, func(a, b *Error) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Col - b.Col
	})
	if f.rest > 0 {
		last := f.list[len(f.list)-1]
		f.list = append(f.list, &Error{File: f.file, Line: last.Line, Col: last.Col, Msg: fmt.Sprintf("and %d more errors", f.rest)})
		f.rest = 0
	}
	return f.list
}

// suggest is a hint that names the known word nearest to word, or all of them.
func suggest(word string, known []string) string {
	best, least := "", len(word)/3+2
	for _, k := range known {
		if d := editDistance(strings.ToLower(word), k); d < least {
			best, least = k, d
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("did you mean %q?", best)
	case len(known) == 0:
		return ""
	default:
		return "there are: " + strings.Join(known, ", ")
	}
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := corner
			if a[i] != b[j] {
				cost++
			}
			corner = row[j+1]
			row[j+1] = min(cost, row[j]+1, corner+1)
		}
	}
	return row[len(b)]
}

// clip shortens text for a message.
func clip(text string) string {
	const most = 60
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
