package schemas

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

// JSONWriter writes rows as JSON objects. Columns stand in the schema's order;
// integers are numbers, decimals are strings, NaN and infinities are strings,
// bytes are base64; timestamps are RFC 3339 in the writer's zone with three
// digits of seconds, six where there are microseconds. One goroutine uses it.
type JSONWriter struct {
	columns []jsonColumn
	clock   *ZoneClock
}

type jsonColumn struct {
	name  []byte // quoted, with its colon
	write jsonValue
}

// jsonValue appends the value of a row that is not null.
type jsonValue func(dst []byte, values arrow.Array, row int) []byte

// NewJSONWriter writes rows of batches with this schema, columns named as
// rename says.
func NewJSONWriter(schema *arrow.Schema, zone *time.Location, rename map[string]string) (*JSONWriter, error) {
	w := &JSONWriter{clock: NewZoneClock(zone)}
	for _, f := range schema.Fields() {
		name := f.Name
		if to, ok := rename[name]; ok {
			name = to
		}
		kind, _ := f.Metadata.GetValue(kindKey)
		write, err := w.value(f.Type, kind)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", f.Name, err)
		}
		w.columns = append(w.columns, jsonColumn{name: append(appendString(nil, name), ':'), write: write})
	}
	return w, nil
}

// AppendRow appends a row of a batch of the writer's schema.
func (w *JSONWriter) AppendRow(dst []byte, batch arrow.RecordBatch, row int) []byte {
	dst = append(dst, '{')
	for i, c := range w.columns {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, c.name...)
		dst = appendOrNull(dst, c.write, batch.Column(i), row)
	}
	return append(dst, '}')
}

func appendOrNull(dst []byte, write jsonValue, values arrow.Array, row int) []byte {
	if values.IsNull(row) {
		return append(dst, "null"...)
	}
	return write(dst, values, row)
}

// value is the writer of one type's values; kind is the field's mark where the
// Arrow type does not tell (json).
func (w *JSONWriter) value(t arrow.DataType, kind string) (jsonValue, error) {
	switch t := t.(type) {
	case *arrow.BooleanType:
		return func(dst []byte, a arrow.Array, row int) []byte {
			return strconv.AppendBool(dst, a.(*array.Boolean).Value(row))
		}, nil
	case *arrow.Int32Type:
		return func(dst []byte, a arrow.Array, row int) []byte {
			return strconv.AppendInt(dst, int64(a.(*array.Int32).Value(row)), 10)
		}, nil
	case *arrow.Int64Type:
		return func(dst []byte, a arrow.Array, row int) []byte {
			return strconv.AppendInt(dst, a.(*array.Int64).Value(row), 10)
		}, nil
	case *arrow.Float32Type:
		return func(dst []byte, a arrow.Array, row int) []byte {
			return appendFloat(dst, float64(a.(*array.Float32).Value(row)), 32)
		}, nil
	case *arrow.Float64Type:
		return func(dst []byte, a arrow.Array, row int) []byte {
			return appendFloat(dst, a.(*array.Float64).Value(row), 64)
		}, nil
	case *arrow.Decimal128Type:
		scale := t.Scale
		return func(dst []byte, a arrow.Array, row int) []byte {
			return append(appendDecimal(append(dst, '"'), a.(*array.Decimal128).Value(row), scale), '"')
		}, nil
	case *arrow.StringType:
		if kind == JSON.String() {
			return func(dst []byte, a arrow.Array, row int) []byte { return appendRaw(dst, a.(*array.String).Value(row)) }, nil
		}
		return func(dst []byte, a arrow.Array, row int) []byte {
			return appendString(dst, a.(*array.String).Value(row))
		}, nil
	case *arrow.BinaryType:
		return func(dst []byte, a arrow.Array, row int) []byte {
			dst = append(dst, '"')
			dst = base64.StdEncoding.AppendEncode(dst, a.(*array.Binary).Value(row))
			return append(dst, '"')
		}, nil
	case *arrow.FixedSizeBinaryType:
		return func(dst []byte, a arrow.Array, row int) []byte {
			return appendUUID(dst, a.(*array.FixedSizeBinary).Value(row))
		}, nil
	case *arrow.Date32Type:
		return func(dst []byte, a arrow.Array, row int) []byte {
			dst = append(dst, '"')
			dst = appendDate(dst, int64(a.(*array.Date32).Value(row)))
			return append(dst, '"')
		}, nil
	case *arrow.Time64Type:
		return func(dst []byte, a arrow.Array, row int) []byte {
			dst = append(dst, '"')
			dst = appendClock(dst, int64(a.(*array.Time64).Value(row)))
			return append(dst, '"')
		}, nil
	case *arrow.TimestampType:
		if t.TimeZone == "" {
			return func(dst []byte, a arrow.Array, row int) []byte {
				dst = append(dst, '"')
				dst = appendDatetime(dst, int64(a.(*array.Timestamp).Value(row)))
				return append(dst, '"')
			}, nil
		}
		return func(dst []byte, a arrow.Array, row int) []byte {
			return w.appendInstant(dst, int64(a.(*array.Timestamp).Value(row)))
		}, nil
	case *arrow.StructType:
		return w.structValue(t)
	case *arrow.MapType:
		return w.mapValue(t)
	case *arrow.ListType:
		return w.listValue(t)
	default:
		return nil, fmt.Errorf("the type %s cannot be written as JSON", t)
	}
}

func (w *JSONWriter) structValue(t *arrow.StructType) (jsonValue, error) {
	inner := &JSONWriter{clock: w.clock}
	for _, f := range t.Fields() {
		kind, _ := f.Metadata.GetValue(kindKey)
		write, err := w.value(f.Type, kind)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		inner.columns = append(inner.columns, jsonColumn{name: append(appendString(nil, f.Name), ':'), write: write})
	}
	return func(dst []byte, a arrow.Array, row int) []byte {
		members := a.(*array.Struct)
		dst = append(dst, '{')
		for i, c := range inner.columns {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, c.name...)
			dst = appendOrNull(dst, c.write, members.Field(i), row)
		}
		return append(dst, '}')
	}, nil
}

func (w *JSONWriter) listValue(t *arrow.ListType) (jsonValue, error) {
	kind, _ := t.ElemField().Metadata.GetValue(kindKey)
	write, err := w.value(t.Elem(), kind)
	if err != nil {
		return nil, fmt.Errorf("element: %w", err)
	}
	return func(dst []byte, a arrow.Array, row int) []byte {
		list := a.(*array.List)
		from, to := list.ValueOffsets(row)
		dst = append(dst, '[')
		for i := from; i < to; i++ {
			if i > from {
				dst = append(dst, ',')
			}
			dst = appendOrNull(dst, write, list.ListValues(), int(i))
		}
		return append(dst, ']')
	}, nil
}

// mapValue writes a map as an object; a key that is no string is its text.
func (w *JSONWriter) mapValue(t *arrow.MapType) (jsonValue, error) {
	key, err := w.value(t.KeyType(), "")
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	kind, _ := t.ItemField().Metadata.GetValue(kindKey)
	item, err := w.value(t.ItemType(), kind)
	if err != nil {
		return nil, fmt.Errorf("value: %w", err)
	}
	return func(dst []byte, a arrow.Array, row int) []byte {
		m := a.(*array.Map)
		from, to := m.ValueOffsets(row)
		dst = append(dst, '{')
		for i := from; i < to; i++ {
			if i > from {
				dst = append(dst, ',')
			}
			at := len(dst)
			dst = key(dst, m.Keys(), int(i))
			if dst[at] != '"' {
				text := string(dst[at:])
				dst = appendString(dst[:at], text)
			}
			dst = append(dst, ':')
			dst = appendOrNull(dst, item, m.Items(), int(i))
		}
		return append(dst, '}')
	}, nil
}

// appendFloat writes the shortest text that reads back as the value.
func appendFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Infinity"`...)
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, bits)
}

// appendDecimal writes an unscaled value with scale digits behind the point.
func appendDecimal(dst []byte, value decimal128.Num, scale int32) []byte {
	small := int64(value.LowBits())
	if value.HighBits() != small>>63 || small == math.MinInt64 || scale > 18 {
		return append(dst, value.ToString(scale)...)
	}
	if small < 0 {
		dst, small = append(dst, '-'), -small
	}
	unit := int64(1)
	for range scale {
		unit *= 10
	}
	dst = strconv.AppendInt(dst, small/unit, 10)
	if scale == 0 {
		return dst
	}
	return appendPadded(append(dst, '.'), small%unit, int(scale))
}

// appendRaw writes text that is JSON on one line: a line break can only stand
// between its tokens.
func appendRaw(dst []byte, text string) []byte {
	for i := range len(text) {
		c := text[i]
		if c == '\n' || c == '\r' {
			c = ' '
		}
		dst = append(dst, c)
	}
	return dst
}

const hexDigits = "0123456789abcdef"

// appendString writes a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		b := s[i]
		if b >= ' ' && b != '"' && b != '\\' && b < utf8.RuneSelf {
			i++
			continue
		}
		if b >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
			dst = append(dst, s[start:i]...)
			dst = append(dst, "\uFFFD"...)
			i++
			start = i
			continue
		}
		dst = append(dst, s[start:i]...)
		switch b {
		case '"', '\\':
			dst = append(dst, '\\', b)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[b>>4], hexDigits[b&15])
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

// appendUUID writes 16 bytes as 8-4-4-4-12 digits.
func appendUUID(dst, id []byte) []byte {
	dst = append(dst, '"')
	for i, b := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = append(dst, hexDigits[b>>4], hexDigits[b&15])
	}
	return append(dst, '"')
}

const (
	dayMicros    = 86400 * 1e6
	hourMicros   = 3600 * 1e6
	minuteMicros = 60 * 1e6
)

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// appendDate writes a day since 1970 as 2021-11-30.
func appendDate(dst []byte, days int64) []byte {
	year, month, day := civil(days)
	if year < 0 {
		dst = append(dst, '-')
		year = -year
	}
	if year > 9999 {
		dst = strconv.AppendInt(dst, int64(year), 10)
	} else {
		dst = appendPadded(dst, int64(year), 4)
	}
	dst = appendPadded(append(dst, '-'), int64(month), 2)
	return appendPadded(append(dst, '-'), int64(day), 2)
}

// appendClock writes µs of a day as 12:00:00.000, or with six digits where the
// last three are not zero.
func appendClock(dst []byte, micros int64) []byte {
	two := func(dst []byte, n int64) []byte { return append(dst, byte('0'+n/10), byte('0'+n%10)) }
	dst = append(two(dst, micros/hourMicros), ':')
	dst = append(two(dst, micros%hourMicros/minuteMicros), ':')
	dst = append(two(dst, micros%minuteMicros/1e6), '.')
	fraction, digits := micros%1e6, int64(100000)
	for range 6 {
		dst = append(dst, byte('0'+fraction/digits))
		fraction %= digits
		if digits == 1000 && fraction == 0 {
			break
		}
		digits = max(digits/10, 1)
	}
	return dst
}

func appendDatetime(dst []byte, micros int64) []byte {
	days := floorDiv(micros, dayMicros)
	dst = append(appendDate(dst, days), 'T')
	return appendClock(dst, micros-days*dayMicros)
}

// appendInstant writes an instant in the writer's zone, with its offset.
func (w *JSONWriter) appendInstant(dst []byte, micros int64) []byte {
	// RFC 3339 has whole minutes; before 1900 zones were ahead by seconds too.
	offset := (w.clock.Local(micros) - micros) / minuteMicros * minuteMicros
	dst = appendDatetime(append(dst, '"'), micros+offset)
	if offset == 0 {
		return append(dst, 'Z', '"')
	}
	return append(appendOffset(dst, offset, ":"), '"')
}
