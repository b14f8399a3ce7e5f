package json

import (
	"fmt"
	"strconv"
	"unicode/utf8"

	"lake/ingest/decode"
)

// skipSpace returns the place of the next byte that is not white space.
func skipSpace(s []byte, i int) int {
	if i < len(s) && s[i] > ' ' {
		return i
	}
	for i < len(s) && (s[i] == ' ' || s[i] == '\n' || s[i] == '\t' || s[i] == '\r') {
		i++
	}
	return i
}

// skip reads the value at i, any value, and returns the place behind it.
func (d *Decoder) skip(s []byte, i int) int {
	if i >= len(s) {
		return d.syntax(s, i, "a value")
	}
	switch c := s[i]; {
	case c == '"':
		return d.skipText(s, i)
	case c == '{':
		return d.skipObject(s, i)
	case c == '[':
		return d.skipList(s, i)
	case c == 't':
		return d.literal(s, i, "true")
	case c == 'f':
		return d.literal(s, i, "false")
	case c == 'n':
		return d.literal(s, i, "null")
	case c == '-' || c-'0' <= 9:
		n, end := scanNumber(s, i)
		if end < 0 {
			return d.syntax(s, n.end, "a digit")
		}
		return end
	}
	return d.syntax(s, i, "a value")
}

func (d *Decoder) skipText(s []byte, i int) int {
	end, traits := stringEnd(s, i+1)
	if end >= 0 && traits == 0 {
		return end + 1
	}
	_, i = d.text(s, i)
	return i
}

func (d *Decoder) skipObject(s []byte, i int) int {
	if d.depth++; d.depth > d.maxDepth {
		return d.tooDeep(i)
	}
	d.objects++
	begun := d.objects
	if i = skipSpace(s, i+1); i < len(s) && s[i] == '}' {
		d.depth--
		return i + 1
	}
	for {
		text, next := d.keyText(s, i)
		if next < 0 {
			return bad
		}
		if !d.names.add(begun, text) {
			return d.duplicate(text)
		}
		if i = d.skip(s, skipSpace(s, next)); i < 0 {
			return bad
		}
		i = skipSpace(s, i)
		switch {
		case i < len(s) && s[i] == '}':
			d.depth--
			return i + 1
		case i >= len(s) || s[i] != ',':
			return d.syntax(s, i, "a comma or }")
		}
		i = skipSpace(s, i+1)
	}
}

func (d *Decoder) skipList(s []byte, i int) int {
	if d.depth++; d.depth > d.maxDepth {
		return d.tooDeep(i)
	}
	if i = skipSpace(s, i+1); i < len(s) && s[i] == ']' {
		d.depth--
		return i + 1
	}
	for {
		if i = d.skip(s, i); i < 0 {
			return bad
		}
		i = skipSpace(s, i)
		switch {
		case i < len(s) && s[i] == ']':
			d.depth--
			return i + 1
		case i >= len(s) || s[i] != ',':
			return d.syntax(s, i, "a comma or ]")
		}
		i = skipSpace(s, i+1)
	}
}

func (d *Decoder) literal(s []byte, i int, word string) int {
	if i+len(word) > len(s) || string(s[i:i+len(word)]) != word {
		return d.syntax(s, i, "a value")
	}
	return i + len(word)
}

// malformed notes that the record is not JSON, at byte i.
func (d *Decoder) malformed(i int, reason string) int {
	d.failure = decode.Error{Stage: decode.StageDecode, Reason: "byte " + strconv.Itoa(i) + ": " + reason}
	return bad
}

// syntax notes that something else was expected at i.
func (d *Decoder) syntax(s []byte, i int, expected string) int {
	if i >= len(s) {
		if skipSpace(s, 0) == len(s) {
			d.failure = decode.Error{Stage: decode.StageDecode, Reason: "empty record"}
			return bad
		}
		return d.malformed(i, "the record ends where "+expected+" is expected")
	}
	r, size := utf8.DecodeRune(s[i:])
	if r == utf8.RuneError && size <= 1 {
		return d.malformed(i, fmt.Sprintf("expected %s, found the byte 0x%02x", expected, s[i]))
	}
	return d.malformed(i, fmt.Sprintf("expected %s, found %q", expected, r))
}

func (d *Decoder) tooDeep(i int) int {
	return d.malformed(i, "nested deeper than "+strconv.Itoa(d.maxDepth))
}

func (d *Decoder) duplicate(key []byte) int {
	d.failure = decode.Error{Stage: decode.StageDecode, Reason: "the key " + clip(key) + " is there twice in one object"}
	return bad
}

// noObject is for a record that is not an object.
func (d *Decoder) noObject(s []byte, i int) int {
	if i >= len(s) {
		return d.syntax(s, i, "an object")
	}
	if d.skip(s, i) < 0 {
		return bad
	}
	return d.malformed(i, "expected an object, found "+found(s, i))
}

// unfit notes that a value does not fit its column.
func (d *Decoder) unfit(c *column, reason string) int {
	d.failure = decode.Error{Stage: decode.StageConvert, Column: c.path, Reason: reason}
	return bad
}

// mismatch is for a value at i of another kind than the column's.
func (d *Decoder) mismatch(c *column, s []byte, i int, expected string) int {
	if i >= len(s) {
		return d.syntax(s, i, "a value")
	}
	return d.unfit(c, "expected "+expected+", found "+found(s, i))
}

// found describes the value at i.
func found(s []byte, i int) string {
	switch c := s[i]; {
	case c == '{':
		return "an object"
	case c == '[':
		return "a list"
	case c == '"':
		end, _ := stringEnd(s, i+1)
		if end < 0 {
			end = len(s)
		}
		return "the text " + clip(s[i+1:end])
	case c == 't' || c == 'f' || c == 'n':
		end := i
		for end < len(s) && s[end] >= 'a' && s[end] <= 'z' {
			end++
		}
		return clip(s[i:end])
	case c == '-' || c-'0' <= 9:
		n, _ := scanNumber(s, i)
		return "the number " + string(clipBytes(s[i:n.end]))
	}
	return clip(s[i : i+1])
}

const clipAt = 40

func clip(text []byte) string {
	if len(text) > clipAt {
		return strconv.Quote(string(clipBytes(text))) + "…"
	}
	return strconv.Quote(string(text))
}

func clipBytes(text []byte) []byte { return text[:min(len(text), clipAt)] }
