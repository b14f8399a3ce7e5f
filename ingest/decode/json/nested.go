package json

import (
	"github.com/apache/arrow-go/v18/arrow"

	"lake/schemas"
)

// structure decodes an object into the fields of c.
func (d *Decoder) structure(c *column, s []byte, i int) int {
	if s[i] != '{' {
		return d.mismatch(c, s, i, "an object")
	}
	if i = d.object(c.object, s, i); i < 0 {
		return bad
	}
	for _, f := range c.fields {
		if f.rows == c.rows && !d.absent(f) {
			return bad
		}
	}
	c.accept()
	return i
}

// list decodes a list's elements into the column below c.
func (d *Decoder) list(c *column, s []byte, i int) int {
	if s[i] != '[' {
		return d.mismatch(c, s, i, "a list")
	}
	if d.depth++; d.depth > d.maxDepth {
		return d.tooDeep(i)
	}
	if i = skipSpace(s, i+1); i < len(s) && s[i] == ']' {
		return d.endList(c, i)
	}
	for {
		if i = d.value(c.elem, s, i); i < 0 {
			return bad
		}
		if i = skipSpace(s, i); i < len(s) && s[i] == ']' {
			return d.endList(c, i)
		}
		if i >= len(s) || s[i] != ',' {
			return d.syntax(s, i, "a comma or ]")
		}
		i = skipSpace(s, i+1)
	}
}

// endList ends the list or map whose bracket is at i.
func (d *Decoder) endList(c *column, i int) int {
	if d.full(c, c.elem.rows, 0) {
		return bad
	}
	d.depth--
	c.offsets[c.rows+1] = int32(c.elem.rows)
	c.accept()
	return i + 1
}

// mapping decodes an object into keys and values.
func (d *Decoder) mapping(c *column, s []byte, i int) int {
	if s[i] != '{' {
		return d.mismatch(c, s, i, "an object")
	}
	if d.depth++; d.depth > d.maxDepth {
		return d.tooDeep(i)
	}
	d.objects++
	begun := d.objects
	if i = skipSpace(s, i+1); i < len(s) && s[i] == '}' {
		return d.endList(c, i)
	}
	for {
		if i >= len(s) || s[i] != '"' {
			return d.syntax(s, i, "a key in quotes")
		}
		start := i
		if i = d.mapKey(c.key, s, i); i < 0 {
			return bad
		}
		// Texts that differ may be one key: 1 and 1.0.
		if !d.names.add(begun, c.key.last()) {
			return d.unfit(c, "the key "+clip(s[start:i])+" is there twice")
		}
		if i = skipSpace(s, i); i >= len(s) || s[i] != ':' {
			return d.syntax(s, i, "a colon")
		}
		if i = d.value(c.elem, s, skipSpace(s, i+1)); i < 0 {
			return bad
		}
		if i = skipSpace(s, i); i < len(s) && s[i] == '}' {
			return d.endList(c, i)
		}
		if i >= len(s) || s[i] != ',' {
			return d.syntax(s, i, "a comma or }")
		}
		i = skipSpace(s, i+1)
	}
}

// mapKey decodes the key at i, which is text: that of a number or a truth
// value where keys are such.
func (d *Decoder) mapKey(c *column, s []byte, i int) int {
	if !c.kind.Numeric() && c.kind != schemas.Bool || c.kind == schemas.Decimal {
		return d.value(c, s, i)
	}
	text, end := d.text(s, i)
	if end < 0 {
		return bad
	}
	if len(text) == 0 || text[0] == 'n' || d.value(c, text, 0) != len(text) {
		return d.mismatch(c, s, i, "a key that is a "+c.kind.String())
	}
	return end
}

// last are the bytes of the last value, valid until the next one.
func (c *column) last() []byte {
	row := c.rows - 1
	switch c.store {
	case store32:
		return arrow.Int32Traits.CastToBytes(c.i32[row : row+1])
	case store64:
		return arrow.Int64Traits.CastToBytes(c.i64[row : row+1])
	case store128:
		return arrow.Int64Traits.CastToBytes(c.i64[2*row : 2*row+2])
	case storeText:
		return c.text[c.offsets[row]:c.offsets[row+1]]
	default:
		return truths[c.bits[row>>3]>>(row&7)&1]
	}
}

var truths = [2][]byte{{0}, {1}}
