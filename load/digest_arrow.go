package load

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"lake/schemas"
)

// Digester digests Arrow batches of one schema. One goroutine uses it.
type Digester struct {
	schema schemas.Schema
	floats []int // columns
	sums   []FloatSum
	sum    Digest
	text   []byte
}

// NewDigester begins a digest of rows with these columns.
func NewDigester(s schemas.Schema) *Digester {
	d := &Digester{schema: s}
	for i, f := range s.Fields {
		if isFloat(f) {
			d.floats = append(d.floats, i)
		}
	}
	d.sums = make([]FloatSum, len(d.floats))
	return d
}

// Add digests a batch with the schema's columns in its order. It keeps nothing of it.
func (d *Digester) Add(batch arrow.RecordBatch) error {
	columns, err := newTexts(d.schema, batch)
	if err != nil {
		return err
	}
	values := make([]func(int) (float64, bool), len(d.floats))
	for i, at := range d.floats {
		values[i] = floats(batch.Column(at))
	}
	for row := range int(batch.NumRows()) {
		d.text = columns.append(d.text[:0], row)
		hash := md5.Sum(d.text)
		high := int64(binary.BigEndian.Uint32(hash[:]))
		d.sum.High += high
		d.sum.Low += int64(binary.BigEndian.Uint32(hash[4:]))
		for i, value := range values {
			if x, ok := value(row); ok {
				d.sums[i].Weighted += x * (float64(high) / (1 << 32))
				d.sums[i].Magnitude += math.Abs(x)
			}
		}
	}
	d.sum.Rows += batch.NumRows()
	return nil
}

// Sum is the digest of the rows so far.
func (d *Digester) Sum() Digest {
	out := d.sum
	for i, at := range d.floats {
		if out.Floats == nil {
			out.Floats = map[string]FloatSum{}
		}
		out.Floats[strings.ToLower(d.schema.Fields[at].Name)] = d.sums[i]
	}
	return out
}

// RowText appends the text of a row, as Digest defines it.
func RowText(dst []byte, s schemas.Schema, batch arrow.RecordBatch, row int) ([]byte, error) {
	columns, err := newTexts(s, batch)
	if err != nil {
		return dst, err
	}
	return columns.append(dst, row), nil
}

// texts append one column's text each.
type texts []func(dst []byte, row int) []byte

func newTexts(s schemas.Schema, batch arrow.RecordBatch) (texts, error) {
	if int(batch.NumCols()) != len(s.Fields) {
		return nil, fmt.Errorf("digest: %d columns, and the schema has %d", batch.NumCols(), len(s.Fields))
	}
	out := make(texts, len(s.Fields))
	for i, f := range s.Fields {
		text, err := textOf(f.Type, batch.Column(i))
		if err != nil {
			return nil, fmt.Errorf("digest: column %q: %w", f.Name, err)
		}
		out[i] = text
	}
	return out, nil
}

func (t texts) append(dst []byte, row int) []byte {
	for _, text := range t {
		dst = append(text(dst, row), ',')
	}
	return dst
}

// textOf is the text of a column's values, NULL included.
func textOf(typ schemas.Type, column arrow.Array) (func([]byte, int) []byte, error) {
	if typ.Kind == schemas.List || typ.Kind == schemas.Map {
		lists, ok := column.(array.ListLike)
		if !ok {
			return nil, fmt.Errorf("it is %s, not a list", column.DataType())
		}
		return func(dst []byte, row int) []byte {
			if column.IsNull(row) {
				return append(dst, '0')
			}
			begin, end := lists.ValueOffsets(row)
			return strconv.AppendInt(dst, end-begin, 10)
		}, nil
	}
	value, err := valueOf(typ, column)
	if err != nil {
		return nil, err
	}
	return func(dst []byte, row int) []byte {
		if column.IsNull(row) {
			return append(dst, '~')
		}
		return value(dst, row)
	}, nil
}

func valueOf(typ schemas.Type, column arrow.Array) (func([]byte, int) []byte, error) {
	switch typ.Kind {
	case schemas.Struct, schemas.JSON:
		return func(dst []byte, _ int) []byte { return append(dst, 'v') }, nil
	case schemas.Float32, schemas.Float64:
		value := floats(column)
		return func(dst []byte, row int) []byte {
			if _, ok := value(row); ok {
				return append(dst, 'f')
			}
			return append(dst, 'x')
		}, nil
	}
	switch a := column.(type) {
	case *array.Boolean:
		return func(dst []byte, row int) []byte {
			if a.Value(row) {
				return append(dst, 't')
			}
			return append(dst, 'f')
		}, nil
	case *array.Int32:
		return func(dst []byte, row int) []byte { return strconv.AppendInt(dst, int64(a.Value(row)), 10) }, nil
	case *array.Int64:
		return func(dst []byte, row int) []byte { return strconv.AppendInt(dst, a.Value(row), 10) }, nil
	case *array.Decimal128:
		return func(dst []byte, row int) []byte { return appendDecimal(dst, a.Value(row), typ.Scale) }, nil
	case *array.String:
		return func(dst []byte, row int) []byte {
			text := a.Value(row)
			return append(append(strconv.AppendInt(dst, int64(len(text)), 10), ':'), text...)
		}, nil
	case *array.Binary:
		return func(dst []byte, row int) []byte { return hex.AppendEncode(dst, a.Value(row)) }, nil
	case *array.FixedSizeBinary:
		return func(dst []byte, row int) []byte { return hex.AppendEncode(dst, a.Value(row)) }, nil
	case *array.Date32:
		return func(dst []byte, row int) []byte { return strconv.AppendInt(dst, int64(a.Value(row)), 10) }, nil
	case *array.Time64:
		return func(dst []byte, row int) []byte { return strconv.AppendInt(dst, int64(a.Value(row)), 10) }, nil
	case *array.Timestamp:
		return func(dst []byte, row int) []byte { return strconv.AppendInt(dst, int64(a.Value(row)), 10) }, nil
	default:
		return nil, fmt.Errorf("its type %s has no text", column.DataType())
	}
}

// floats reads the values that are summed; false: null, or not summed.
func floats(column arrow.Array) func(int) (float64, bool) {
	at := func(int) float64 { return math.NaN() }
	switch a := column.(type) {
	case *array.Float32:
		at = func(row int) float64 { return float64(a.Value(row)) }
	case *array.Float64:
		at = a.Value
	}
	return func(row int) (float64, bool) {
		if column.IsNull(row) {
			return 0, false
		}
		x := at(row)
		return x, math.Abs(x) <= floatBound
	}
}

// appendDecimal writes an unscaled number without zeros at its end.
func appendDecimal(dst []byte, n decimal128.Num, scale int) []byte {
	unscaled := n.BigInt()
	digits := new(big.Int).Abs(unscaled).String()
	if len(digits) <= scale {
		digits = strings.Repeat("0", scale-len(digits)+1) + digits
	}
	whole, fraction := digits[:len(digits)-scale], strings.TrimRight(digits[len(digits)-scale:], "0")
	if unscaled.Sign() < 0 {
		dst = append(dst, '-')
	}
	dst = append(dst, whole...)
	if fraction != "" {
		dst = append(append(dst, '.'), fraction...)
	}
	return dst
}
