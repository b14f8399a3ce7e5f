package json

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	eachByte = 0x01_01_01_01_01_01_01_01
	highBits = 0x80_80_80_80_80_80_80_80
)

// The traits of a string's text that reading it depends on.
const (
	traitEscape = 1 << iota
	traitWide   // bytes above 0x7f
)

// stringEnd finds the quote that ends a string whose text starts at i. It is
// bad where there is none, or a control character before it.
func stringEnd(s []byte, i int) (end, traits int) {
	for {
		for i+8 <= len(s) {
			x := binary.LittleEndian.Uint64(s[i:])
			quotes, escapes := x^'"'*eachByte, x^'\\'*eachByte
			// A byte's high bit: it is a quote, a backslash, or below 0x20. Bytes
			// above the first such one may be marked in error.
			stop := ((quotes-eachByte)&^quotes | (escapes-eachByte)&^escapes | (x-' '*eachByte)&^x) & highBits
			if stop == 0 {
				if x&highBits != 0 {
					traits |= traitWide
				}
				i += 8
				continue
			}
			n := bits.TrailingZeros64(stop)
			if x&highBits&(1<<n-1) != 0 {
				traits |= traitWide
			}
			i += n >> 3
			break
		}
		for i < len(s) && s[i] != '"' && s[i] != '\\' && s[i] >= ' ' {
			if s[i] >= utf8.RuneSelf {
				traits |= traitWide
			}
			i++
		}
		switch {
		case i >= len(s):
			return bad, len(s)
		case s[i] == '"':
			return i, traits
		case s[i] < ' ':
			return bad, i
		}
		if i += 2; i > len(s) {
			return bad, len(s)
		}
		traits |= traitEscape
	}
}

// copyText copies the text at i, up to the quote that ends it, to place at of dst, and
// returns its length. It is below 0, and what dst has from there on is of no use, where the
// text is not plain ASCII, or where dst does not take it and what is read beside it.
func copyText(dst []byte, at int, s []byte, i int) int {
	for n := 0; at+n+8 <= len(dst); n += 8 {
		var x uint64
		if from := i + n; from+8 <= len(s) {
			x = binary.LittleEndian.Uint64(s[from:])
		} else if from < len(s) && len(s) >= 8 { // the rest, and zeros behind it
			x = binary.LittleEndian.Uint64(s[len(s)-8:]) >> (8 * (from + 8 - len(s)))
		}
		binary.LittleEndian.PutUint64(dst[at+n:], x)
		quotes, escapes := x^'"'*eachByte, x^'\\'*eachByte
		// As in stringEnd, and bytes above 0x7f.
		stop := ((quotes-eachByte)&^quotes | (escapes-eachByte)&^escapes | (x - ' '*eachByte) | x) & highBits
		if stop != 0 {
			if n += bits.TrailingZeros64(stop) >> 3; i+n < len(s) && s[i+n] == '"' {
				return n
			}
			return bad
		}
	}
	return bad
}

// text reads the string at i and returns the place behind it. The text lies in
// the record or, where it has escapes, in memory that the next string reuses.
func (d *Decoder) text(s []byte, i int) ([]byte, int) {
	end, traits := stringEnd(s, i+1)
	if end < 0 {
		return nil, d.badString(s, traits)
	}
	text := s[i+1 : end]
	if traits == 0 {
		return text, end + 1
	}
	if traits&traitWide != 0 && !utf8.Valid(text) {
		return nil, d.malformed(i, "the text is not UTF-8")
	}
	if traits&traitEscape != 0 {
		var ok bool
		if d.scratch, ok = unescape(d.scratch[:0], text); !ok {
			return nil, d.malformed(i, "the text has a bad escape")
		}
		text = d.scratch
	}
	return text, end + 1
}

// badString reports a string that at ends wrongly.
func (d *Decoder) badString(s []byte, at int) int {
	if at >= len(s) {
		return d.malformed(at, "the record ends within a text")
	}
	return d.malformed(at, "a control character within a text")
}

// unescape appends text without its escapes; ok is false where one is none.
func unescape(dst, text []byte) (_ []byte, ok bool) {
	for i := 0; i < len(text); {
		c := text[i]
		if c != '\\' {
			dst = append(dst, c)
			i++
			continue
		}
		if i+1 >= len(text) {
			return dst, false
		}
		c = text[i+1]
		i += 2
		switch c {
		case '"', '\\', '/':
			dst = append(dst, c)
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, ok := hex4(text, i)
			if !ok {
				return dst, false
			}
			i += 4
			if utf16.IsSurrogate(r) {
				if i+1 >= len(text) || text[i] != '\\' || text[i+1] != 'u' {
					return dst, false
				}
				low, ok := hex4(text, i+2)
				if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
					return dst, false
				}
				i += 6
			}
			dst = utf8.AppendRune(dst, r)
		default:
			return dst, false
		}
	}
	return dst, true
}

func hex4(text []byte, i int) (r rune, ok bool) {
	if i+4 > len(text) {
		return 0, false
	}
	for _, c := range text[i : i+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// plainText reports whether a string of this text can be compared as it is:
// ASCII without anything that JSON escapes.
func plainText(text string) bool {
	for _, c := range []byte(text) {
		if c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
