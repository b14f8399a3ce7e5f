package tally

import (
	"encoding/base64"
	"encoding/hex"
	"math"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"lake/schemas"
)

// keyText writes group keys as the outputs name them: one key column as its
// text, several as a JSON array in the form of answers in JSON. Where a rule
// groups by a window alone, the window's start is the key; otherwise it is not
// part of it, so that a compacted topic keeps the newest answer of each key.
type keyText struct {
	columns []column
	zone    *time.Location
}

// append writes the key of a row; ok is false where it is NULL or the rule has none.
func (k *keyText) append(dst []byte, row int32) (text []byte, ok bool) {
	switch len(k.columns) {
	case 0:
		return dst, false
	case 1:
		if k.columns[0].null(row) {
			return dst, false
		}
		return k.appendValue(dst, &k.columns[0], row, false), true
	}
	dst = append(dst, '[')
	for i := range k.columns {
		if i > 0 {
			dst = append(dst, ',')
		}
		if c := &k.columns[i]; c.null(row) {
			dst = append(dst, "null"...)
		} else {
			dst = k.appendValue(dst, c, row, true)
		}
	}
	return append(dst, ']'), true
}

// text is the key as a message names it.
func (k *keyText) text(row int32) string {
	text, ok := k.append(nil, row)
	if !ok {
		return "NULL"
	}
	return string(text)
}

func (k *keyText) appendValue(dst []byte, c *column, row int32, quote bool) []byte {
	switch c.typ.Kind {
	case schemas.Bool:
		return strconv.AppendBool(dst, c.ints[row] != 0)
	case schemas.Int32, schemas.Int64:
		return strconv.AppendInt(dst, c.ints[row], 10)
	case schemas.Float32, schemas.Float64:
		if x := c.floats[row]; !math.IsNaN(x) && !math.IsInf(x, 0) {
			return appendNumber(dst, x, c.typ.Kind)
		}
	}
	if !quote {
		return k.appendText(dst, c, row)
	}
	if c.typ.Kind == schemas.String || c.typ.Kind == schemas.JSON {
		// Text that is not UTF-8 is written with U+FFFD in its place: the error only says so.
		dst, _ = jsontext.AppendQuote(dst, c.text(int(row)))
		return dst
	}
	return append(k.appendText(append(dst, '"'), c, row), '"')
}

// appendNumber writes a finite float as ECMAScript does: JSON's usual form.
func appendNumber(dst []byte, x float64, kind schemas.Kind) []byte {
	form, bits := byte('f'), 64
	if abs := math.Abs(x); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		form = 'e'
	}
	if kind == schemas.Float32 {
		bits = 32
	}
	dst = strconv.AppendFloat(dst, x, form, -1, bits)
	if n := len(dst); form == 'e' && dst[n-4] == 'e' && dst[n-2] == '0' {
		return append(dst[:n-2], dst[n-1]) // e-09 is e-9
	}
	return dst
}

// appendText writes a value of a kind that is a string in JSON.
func (k *keyText) appendText(dst []byte, c *column, row int32) []byte {
	switch c.typ.Kind {
	case schemas.Float32, schemas.Float64:
		switch x := c.floats[row]; {
		case math.IsNaN(x):
			return append(dst, "NaN"...)
		case x > 0:
			return append(dst, "Infinity"...)
		default:
			return append(dst, "-Infinity"...)
		}
	case schemas.Decimal:
		return append(dst, c.decimals[row].ToString(int32(c.typ.Scale))...)
	case schemas.Bytes:
		return base64.StdEncoding.AppendEncode(dst, c.text(int(row)))
	case schemas.UUID:
		u := c.text(int(row))
		for i, part := range [][]byte{u[:4], u[4:6], u[6:8], u[8:10], u[10:]} {
			if i > 0 {
				dst = append(dst, '-')
			}
			dst = hex.AppendEncode(dst, part)
		}
		return dst
	case schemas.Date:
		return time.Unix(c.ints[row]*(microsPerDay/1_000_000), 0).UTC().AppendFormat(dst, time.DateOnly)
	case schemas.Time:
		return time.UnixMicro(c.ints[row]).UTC().AppendFormat(dst, "15:04:05"+fraction(c.ints[row]))
	case schemas.Timestamp:
		return time.UnixMicro(c.ints[row]).In(k.zone).AppendFormat(dst, "2006-01-02T15:04:05"+fraction(c.ints[row])+"Z07:00")
	case schemas.Datetime:
		return time.UnixMicro(c.ints[row]).UTC().AppendFormat(dst, "2006-01-02T15:04:05"+fraction(c.ints[row]))
	default:
		return append(dst, c.text(int(row))...)
	}
}

// fraction is milliseconds, and microseconds where they are not whole.
func fraction(micros int64) string {
	if micros%1000 == 0 {
		return ".000"
	}
	return ".000000"
}
