package jobs

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Text is a value of a job file that remembers where it stands. The zero Text
// is a value that the file does not have.
type Text struct {
	Value string
	// Written is the value before the environment was filled in: what messages
	// show, since a variable may hold a secret.
	Written string
	Pos     Pos
	anchors []anchor
}

// anchor says that the byte at offset of a value stands at pos. Characters
// behind it follow in its line up to the next anchor, or, where fixed, stand at
// pos as well: a variable's value stands where the variable is written.
type anchor struct {
	offset int
	pos    Pos
	fixed  bool
}

// Given reports whether the file has the value.
func (t Text) Given() bool { return t.Pos != Pos{} }

// At is where the byte at offset of Value stands in the file. It is exact in
// block scalars (|), quoted and plain scalars; in folded ones (>) it is near.
func (t Text) At(offset int) Pos {
	offset = min(max(offset, 0), len(t.Value))
	i, found := slices.BinarySearchFunc(t.anchors, offset, func(a anchor, o int) int { return a.offset - o })
	if !found {
		i--
	}
	if i < 0 || i >= len(t.anchors) {
		return t.Pos
	}
	a := t.anchors[i]
	if a.fixed {
		return a.pos
	}
	return Pos{a.pos.Line, a.pos.Col + utf8.RuneCountInString(t.Value[a.offset:offset])}
}

// slice is the part of t from one byte of Value to another.
func (t Text) slice(from, to int) Text {
	out := Text{Value: t.Value[from:to], Written: t.Written, Pos: t.At(from)}
	out.anchors = append(out.anchors, anchor{pos: out.Pos, fixed: t.fixedAt(from)})
	for _, a := range t.anchors {
		if a.offset > from && a.offset < to {
			out.anchors = append(out.anchors, anchor{a.offset - from, a.pos, a.fixed})
		}
	}
	if t.Written == t.Value {
		out.Written = out.Value
	}
	return out
}

func (t Text) fixedAt(offset int) bool {
	fixed := len(t.anchors) == 0
	for _, a := range t.anchors {
		if a.offset > offset {
			break
		}
		fixed = a.fixed
	}
	return fixed
}

// trim is t without white space around it.
func (t Text) trim() Text {
	const space = " \t\n"
	to := len(strings.TrimRight(t.Value, space))
	from := to - len(strings.TrimLeft(t.Value[:to], space))
	if from == 0 && to == len(t.Value) {
		return t
	}
	return t.slice(from, to)
}

// composed builds a Text of pieces of the file and words between them.
type composed struct {
	value, written strings.Builder
	anchors        []anchor
	pos            Pos
}

func (c *composed) word(text string) {
	c.anchors = append(c.anchors, anchor{c.value.Len(), c.pos, true})
	c.value.WriteString(text)
	c.written.WriteString(text)
}

func (c *composed) text(t Text) {
	at := c.value.Len()
	if len(t.anchors) == 0 {
		c.anchors = append(c.anchors, anchor{at, t.Pos, true})
	}
	for _, a := range t.anchors {
		c.anchors = append(c.anchors, anchor{at + a.offset, a.pos, a.fixed})
	}
	c.value.WriteString(t.Value)
	c.written.WriteString(t.Written)
}

func (c *composed) done() Text {
	return Text{Value: c.value.String(), Written: c.written.String(), Pos: c.pos, anchors: c.anchors}
}

// style is how a scalar is written.
type style uint8

const (
	plain style = iota
	singleQuoted
	doubleQuoted
	literalBlock // |
	foldedBlock  // >
)

// source is the file's lines.
type source struct {
	lines []string
	// wide is the last line asked for that is not ASCII, and starts the byte at
	// which each of its characters begins.
	wide   int
	starts []int32
}

// from is what a line holds from a column on.
func (s *source) from(line, col int) string {
	text := s.lines[line-1]
	if s.wide != line {
		ascii := true
		for i := 0; i < len(text) && ascii; i++ {
			ascii = text[i] < utf8.RuneSelf
		}
		if ascii {
			return text[min(col-1, len(text)):]
		}
		s.wide, s.starts = line, s.starts[:0]
		for i := range text {
			s.starts = append(s.starts, int32(i))
		}
	}
	if col > len(s.starts) {
		return ""
	}
	return text[s.starts[col-1]:]
}

// place finds where the bytes of a scalar stand. value is the parser's; at is
// where the scalar (its quote, its | or >) begins; Where
// text and value part, what follows stands at the last place known.
func (s *source) place(value string, as style, at Pos) []anchor {
	switch as {
	case literalBlock:
		return s.literal(value, at)
	case foldedBlock:
		return s.flow(value, plain, Pos{at.Line + 1, 1})
	case singleQuoted, doubleQuoted:
		return s.flow(value, as, Pos{at.Line, at.Col + 1})
	default:
		return s.flow(value, as, at)
	}
}

// literal: a line of the value ends a line of the file.
func (s *source) literal(value string, at Pos) []anchor {
	var anchors []anchor
	offset := 0
	for i, text := range strings.SplitAfter(value, "\n") {
		line := at.Line + 1 + i
		if text == "" || line > len(s.lines) {
			break
		}
		text, written := strings.TrimSuffix(text, "\n"), s.lines[line-1]
		if !strings.HasSuffix(written, text) {
			break // trailing line breaks kept by |+ in a file that ends
		}
		col := utf8.RuneCountInString(written[:len(written)-len(text)]) + 1
		anchors = append(anchors, anchor{offset: offset, pos: Pos{line, col}})
		offset += len(text) + 1
	}
	return anchors
}

// flow walks the value and the file side by side. White space in one
// answers to any white space in the other: line folding.
func (s *source) flow(value string, as style, at Pos) []anchor {
	w := walker{source: s}
	if at.Line < 1 || at.Line > len(s.lines) {
		return []anchor{{pos: at, fixed: true}}
	}
	w.seek(at)
	var anchors []anchor
	expected := Pos{}
	for i := 0; i < len(value); {
		r, size := utf8.DecodeRuneInString(value[i:])
		space := r == ' ' || r == '\n' || r == '\t'
		if !space {
			w.skipSpace()
		}
		pos, ok := w.take(r, as)
		if !ok && space && w.atSpace() { // a folded line break
			pos, ok = w.pos(), true
			w.skipSpace()
		}
		if !ok {
			return append(anchors, anchor{i, w.pos(), true})
		}
		if pos != expected {
			anchors = append(anchors, anchor{offset: i, pos: pos})
		}
		expected = Pos{pos.Line, pos.Col + 1}
		i += size
	}
	return anchors
}

// walker reads a scalar's characters from the file.
type walker struct {
	*source
	line, col int
	rest      string // of the line, from col
}

func (w *walker) pos() Pos { return Pos{w.line, w.col} }

func (w *walker) seek(to Pos) {
	w.line, w.col, w.rest = to.Line, to.Col, w.from(to.Line, to.Col)
}

func (w *walker) step() {
	_, size := utf8.DecodeRuneInString(w.rest)
	w.rest = w.rest[size:]
	w.col++
}

// space reports whether a blank (not a line's end) is next.
func (w *walker) space() bool { return w.rest != "" && (w.rest[0] == ' ' || w.rest[0] == '\t') }

func (w *walker) atSpace() bool { return w.rest == "" || w.space() }

// skipSpace goes to the next character that is no white space.
func (w *walker) skipSpace() {
	for w.space() || w.rest == "" && w.line < len(w.lines) {
		if w.rest == "" {
			w.seek(Pos{w.line + 1, 1})
			continue
		}
		w.step()
	}
}

// take reads the character r, as the style writes it, and says where it stood.
func (w *walker) take(r rune, s style) (Pos, bool) {
	pos := w.pos()
	got, size := utf8.DecodeRuneInString(w.rest)
	switch {
	case w.rest == "":
		return pos, false
	case s == singleQuoted && strings.HasPrefix(w.rest, "''"):
		size, got = 2, '\''
	case s == doubleQuoted && got == '\\':
		got, size = escaped(w.rest)
	}
	if got != r {
		return pos, false
	}
	for end := len(w.rest) - size; len(w.rest) > end; {
		w.step()
	}
	return pos, true
}

// escaped reads an escape of a double-quoted scalar; size 1 where it is none.
func escaped(text string) (rune, int) {
	if len(text) < 2 {
		return '\\', 1
	}
	digits := 0
	switch text[1] {
	case 'x':
		digits = 2
	case 'u':
		digits = 4
	case 'U':
		digits = 8
	case 'n':
		return '\n', 2
	case 't':
		return '\t', 2
	case 'r':
		return '\r', 2
	case '0':
		return 0, 2
	default:
		return rune(text[1]), 2
	}
	if len(text) < 2+digits {
		return '\\', 1
	}
	var r rune
	for _, c := range text[2 : 2+digits] {
		d := strings.IndexRune("0123456789abcdef", c|0x20)
		if d < 0 {
			return '\\', 1
		}
		r = r<<4 | rune(d)
	}
	return r, 2 + digits
}
