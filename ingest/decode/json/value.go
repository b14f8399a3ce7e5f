package json

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"strconv"

	"lake/schemas"
)

// value decodes the value at i into c and returns the place behind it.
func (d *Decoder) value(c *column, s []byte, i int) int {
	if i >= len(s) {
		return d.syntax(s, i, "a value")
	}
	if s[i] == 'n' {
		return d.null(c, s, i)
	}
	if c.rows == c.room {
		c.grow()
	}
	switch c.kind {
	case schemas.Int64:
		return d.int64(c, s, i)
	case schemas.String:
		return d.string(c, s, i)
	case schemas.Timestamp, schemas.Datetime, schemas.Date, schemas.Time:
		return d.temporal(c, s, i)
	case schemas.Int32:
		return d.int32(c, s, i)
	case schemas.Float64, schemas.Float32, schemas.Decimal:
		return d.number(c, s, i)
	case schemas.Struct:
		return d.structure(c, s, i)
	case schemas.List:
		return d.list(c, s, i)
	case schemas.Map:
		return d.mapping(c, s, i)
	case schemas.Bool:
		return d.bool(c, s, i)
	case schemas.JSON:
		return d.json(c, s, i)
	case schemas.Bytes:
		return d.base64(c, s, i)
	default:
		return d.uuid(c, s, i)
	}
}

func (d *Decoder) null(c *column, s []byte, i int) int {
	if i = d.literal(s, i, "null"); i < 0 {
		return bad
	}
	if c.required {
		return d.unfit(c, "is null")
	}
	c.appendNull()
	return i
}

func (d *Decoder) bool(c *column, s []byte, i int) int {
	bit := byte(1) << (c.rows & 7)
	switch s[i] {
	case 't':
		i = d.literal(s, i, "true")
		c.bits[c.rows>>3] |= bit
	case 'f':
		i = d.literal(s, i, "false")
		c.bits[c.rows>>3] &^= bit
	default:
		return d.mismatch(c, s, i, "true or false")
	}
	if i >= 0 {
		c.accept()
	}
	return i
}

func (d *Decoder) int64(c *column, s []byte, i int) int {
	v, end := scanInt(s, i)
	if end < 0 {
		if v, end = d.integer(c, s, i); end < 0 {
			return bad
		}
	}
	c.i64[c.rows] = v
	c.accept()
	return end
}

func (d *Decoder) int32(c *column, s []byte, i int) int {
	v, end := scanInt(s, i)
	if end < 0 {
		if v, end = d.integer(c, s, i); end < 0 {
			return bad
		}
	}
	if v != int64(int32(v)) {
		return d.unfit(c, "the number "+string(clipBytes(s[i:end]))+" is out of range")
	}
	c.i32[c.rows] = int32(v)
	c.accept()
	return end
}

// integer reads an integer written in any way that JSON has: 1.0, 1e3.
func (d *Decoder) integer(c *column, s []byte, i int) (v int64, end int) {
	if s[i] != '-' && s[i]-'0' > 9 {
		return 0, d.mismatch(c, s, i, "a number")
	}
	n, end := scanNumber(s, i)
	if end < 0 {
		return 0, d.syntax(s, n.end, "a digit")
	}
	v, reason := n.int64()
	if reason != "" {
		return 0, d.unfit(c, "the number "+string(clipBytes(s[i:end]))+" "+reason)
	}
	return v, end
}

func (d *Decoder) number(c *column, s []byte, i int) int {
	from := i
	text := s[i] == '"' && c.kind == schemas.Decimal // what lake itself writes
	if text {
		from++
	} else if s[i] != '-' && s[i]-'0' > 9 {
		return d.mismatch(c, s, i, "a number")
	}
	n, end := scanNumber(s, from)
	if end < 0 {
		if text {
			return d.mismatch(c, s, i, "a number")
		}
		return d.syntax(s, n.end, "a digit")
	}
	reason := ""
	switch c.kind {
	case schemas.Float64:
		v, ok := n.float64(s[from:end])
		if !ok {
			reason = "is out of range"
		}
		c.i64[c.rows] = int64(math.Float64bits(v))
	case schemas.Float32:
		v, ok := n.float32(s[from:end])
		if !ok {
			reason = "is out of range"
		}
		c.i32[c.rows] = int32(math.Float32bits(v))
	default:
		var low, high uint64
		low, high, reason = n.decimal(s[from:end], c.precision, c.scale)
		c.i64[2*c.rows], c.i64[2*c.rows+1] = int64(low), int64(high)
	}
	if reason != "" {
		return d.unfit(c, "the number "+string(clipBytes(s[from:end]))+" "+reason)
	}
	if text {
		if end >= len(s) || s[end] != '"' {
			return d.mismatch(c, s, i, "a number")
		}
		end++
	}
	c.accept()
	return end
}

func (d *Decoder) string(c *column, s []byte, i int) int {
	if s[i] != '"' {
		return d.mismatch(c, s, i, "text")
	}
	at := int(c.offsets[c.rows])
	if n := copyText(c.text, at, s, i+1); n >= 0 {
		c.offsets[c.rows+1] = int32(at + n)
		c.accept()
		return i + n + len(`""`)
	}
	text, end := d.text(s, i)
	if end < 0 {
		return bad
	}
	return d.appendText(c, text, end)
}

// appendText appends text to c and returns end.
func (d *Decoder) appendText(c *column, text []byte, end int) int {
	at := int(c.offsets[c.rows])
	if at+len(text) > len(c.text) {
		if d.full(c, at, len(text)) {
			return bad
		}
		c.growText(len(text))
	}
	copy(c.text[at:], text)
	c.offsets[c.rows+1] = int32(at + len(text))
	c.accept()
	return end
}

func (d *Decoder) json(c *column, s []byte, i int) int {
	end := d.skip(s, i)
	if end < 0 {
		return bad
	}
	return d.appendText(c, s[i:end], end)
}

func (d *Decoder) base64(c *column, s []byte, i int) int {
	if s[i] != '"' {
		return d.mismatch(c, s, i, "text in base64")
	}
	text, end := d.text(s, i)
	if end < 0 {
		return bad
	}
	at, size := int(c.offsets[c.rows]), base64.StdEncoding.DecodedLen(len(text))
	if at+size > len(c.text) {
		if d.full(c, at, size) {
			return bad
		}
		c.growText(size)
	}
	n := 0
	if len(text) > 0 {
		var err error
		// It leaves line breaks out, which are no base64.
		if n, err = strictBase64.Decode(c.text[at:], text); err != nil || base64.StdEncoding.EncodedLen(n) != len(text) {
			return d.mismatch(c, s, i, "text in base64")
		}
	}
	c.offsets[c.rows+1] = int32(at + n)
	c.accept()
	return end
}

var strictBase64 = base64.StdEncoding.Strict()

func (d *Decoder) uuid(c *column, s []byte, i int) int {
	if s[i] != '"' {
		return d.mismatch(c, s, i, "a UUID")
	}
	text, end := d.text(s, i)
	if end < 0 {
		return bad
	}
	var id [16]byte
	if !parseUUID(&id, text) {
		return d.mismatch(c, s, i, "a UUID")
	}
	c.i64[2*c.rows] = int64(binary.NativeEndian.Uint64(id[:]))
	c.i64[2*c.rows+1] = int64(binary.NativeEndian.Uint64(id[8:]))
	c.accept()
	return end
}

func parseUUID(id *[16]byte, text []byte) bool {
	if len(text) != 36 {
		return false
	}
	n := 0
	for i := 0; i < len(text); i += 2 {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if text[i] != '-' {
				return false
			}
			i++
		}
		high, low := hexValues[text[i]], hexValues[text[i+1]]
		if high|low > 15 {
			return false
		}
		id[n] = high<<4 | low
		n++
	}
	return true
}

// hexValues are the values of hexadecimal digits; above 15 for other bytes.
var hexValues = func() (values [256]byte) {
	for c := range values {
		v, err := strconv.ParseUint(string(rune(c)), 16, 8)
		if values[c] = byte(v); err != nil {
			values[c] = 0xff
		}
	}
	return values
}()

// temporal decodes a date or a time: text of the column's layout, or a number
// where the layout is one.
func (d *Decoder) temporal(c *column, s []byte, i int) int {
	if s[i] != '"' {
		if c.unit != 0 && (s[i] == '-' || s[i]-'0' <= 9) {
			return d.epoch(c, s, i)
		}
		return d.mismatch(c, s, i, "text")
	}
	if end := i + 1 + c.width; c.width > 0 && end < len(s) && s[end] == '"' {
		// What the layout takes has no quote in it and no escape.
		if c.dateTimes != nil {
			if local, ok := c.dateTimes.Read(s[i+1 : end]); ok {
				c.setTime(schemas.Reading{Local: local})
				return end + 1
			}
		} else if r, err := c.layout.Read(s[i+1 : end]); err == nil {
			c.setTime(r)
			return end + 1
		}
	}
	text, end := d.text(s, i)
	if end < 0 {
		return bad
	}
	r, err := c.layout.Read(text)
	if err != nil {
		return d.unfit(c, err.Error())
	}
	if r.Zoned && c.kind == schemas.Datetime && c.layout.String() == "" {
		return d.unfit(c, "the text "+clip(text)+" tells a zone, which a datetime has not")
	}
	c.setTime(r)
	return end
}

// epoch decodes a number of seconds or milliseconds since 1970.
func (d *Decoder) epoch(c *column, s []byte, i int) int {
	n, end := scanNumber(s, i)
	if end < 0 {
		return d.syntax(s, n.end, "a digit")
	}
	micros, ok := n.micros(c.unit)
	if !ok {
		return d.unfit(c, "the number "+string(clipBytes(s[i:end]))+" is out of range")
	}
	c.setTime(schemas.Reading{Local: micros, Zoned: true})
	return end
}

// setTime appends what a text says, as the column's kind holds it.
func (c *column) setTime(r schemas.Reading) {
	switch c.kind {
	case schemas.Timestamp:
		if r.Zoned {
			c.i64[c.rows] = r.Local - r.Offset
		} else {
			c.i64[c.rows] = c.clock.Instant(r.Local)
		}
	case schemas.Date:
		day := r.Local / microsPerDay
		if r.Local%microsPerDay < 0 {
			day--
		}
		c.i32[c.rows] = int32(day)
	default:
		c.i64[c.rows] = r.Local
	}
	c.accept()
}

const microsPerDay = 24 * 60 * 60 * 1_000_000
