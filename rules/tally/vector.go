package tally

import (
	"errors"
	"math"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lake/rules"
	"lake/schemas"
)

// vector is a column of a group batch under construction: plain Go slices,
// wrapped as an Arrow array without a copy. Values may be written to the slice
// of the type's storage directly.
type vector struct {
	typ      schemas.Type
	ints     []int64 // bool, integers, dates, times
	floats   []float64
	decimals []decimal128.Num
	ends     []int32 // of texts: string, json, bytes, uuid
	text     []byte
	nulls    []int32         // positions, ascending
	failures []rules.Failure // positions that have no value because computing it failed
}

// storage is how values of a kind are held.
type storage uint8

const (
	asInt storage = iota
	asFloat
	asDecimal
	asText
)

func storageOf(kind schemas.Kind) storage {
	switch kind {
	case schemas.Float32, schemas.Float64:
		return asFloat
	case schemas.Decimal:
		return asDecimal
	case schemas.String, schemas.JSON, schemas.Bytes, schemas.UUID:
		return asText
	default:
		return asInt
	}
}

func (v *vector) reserve(n int) {
	switch storageOf(v.typ.Kind) {
	case asFloat:
		v.floats = slices.Grow(v.floats, n)
	case asDecimal:
		v.decimals = slices.Grow(v.decimals, n)
	case asText:
		v.ends = slices.Grow(v.ends, n)
	default:
		v.ints = slices.Grow(v.ints, n)
	}
}

// length is the number of values so far.
func (v *vector) length() int {
	switch storageOf(v.typ.Kind) {
	case asFloat:
		return len(v.floats)
	case asDecimal:
		return len(v.decimals)
	case asText:
		return len(v.ends)
	default:
		return len(v.ints)
	}
}

func (v *vector) int(x int64)              { v.ints = append(v.ints, x) }
func (v *vector) float(x float64)          { v.floats = append(v.floats, x) }
func (v *vector) decimal(x decimal128.Num) { v.decimals = append(v.decimals, x) }

func (v *vector) bytes(x []byte) {
	v.text = append(v.text, x...)
	v.ends = append(v.ends, int32(min(len(v.text), math.MaxInt32)))
}

func (v *vector) null() {
	v.nulls = append(v.nulls, int32(v.length()))
	switch storageOf(v.typ.Kind) {
	case asFloat:
		v.float(0)
	case asDecimal:
		v.decimal(decimal128.Num{})
	case asText:
		if v.typ.Kind == schemas.UUID {
			v.bytes(make([]byte, 16))
			return
		}
		v.bytes(nil)
	default:
		v.int(0)
	}
}

// fail appends a null and keeps the reason why there is no value.
func (v *vector) fail(reason string) {
	v.failures = append(v.failures, rules.Failure{Row: v.length(), Reason: reason})
	v.null()
}

var errTextTooLong = errors.New("the text of one column of answers exceeds 2 GiB")

// finish wraps the values. The vector is not used afterwards.
func (v *vector) finish() (arrow.Array, error) {
	n := v.length()
	var buffers []*memory.Buffer
	switch v.typ.Kind {
	case schemas.Float64:
		buffers = wrap(arrow.Float64Traits.CastToBytes(v.floats))
	case schemas.Float32:
		narrow := make([]float32, n)
		for i, x := range v.floats {
			narrow[i] = float32(x)
		}
		buffers = wrap(arrow.Float32Traits.CastToBytes(narrow))
	case schemas.Decimal:
		buffers = wrap(arrow.Decimal128Traits.CastToBytes(v.decimals))
	case schemas.UUID:
		buffers = wrap(v.text)
	case schemas.String, schemas.JSON, schemas.Bytes:
		if len(v.text) > math.MaxInt32 {
			return nil, errTextTooLong
		}
		offsets := make([]int32, n+1)
		copy(offsets[1:], v.ends)
		buffers = wrap(arrow.Int32Traits.CastToBytes(offsets), v.text)
	case schemas.Bool:
		bits := make([]byte, bitutil.BytesForBits(int64(n)))
		for i, x := range v.ints {
			if x != 0 {
				bitutil.SetBit(bits, i)
			}
		}
		buffers = wrap(bits)
	case schemas.Int32, schemas.Date:
		narrow := make([]int32, n)
		for i, x := range v.ints {
			narrow[i] = int32(x)
		}
		buffers = wrap(arrow.Int32Traits.CastToBytes(narrow))
	default:
		buffers = wrap(arrow.Int64Traits.CastToBytes(v.ints))
	}
	if len(v.nulls) > 0 {
		valid := make([]byte, bitutil.BytesForBits(int64(n)))
		memory.Set(valid, 0xFF)
		for _, i := range v.nulls {
			bitutil.ClearBit(valid, int(i))
		}
		buffers[0] = memory.NewBufferBytes(valid)
	}
	data := array.NewData(v.typ.Arrow(), n, buffers, nil, len(v.nulls), 0)
	defer data.Release()
	return array.MakeFromData(data), nil
}

// wrap makes an array's buffers, the first of which is the absent validity bitmap.
func wrap(values ...[]byte) []*memory.Buffer {
	buffers := make([]*memory.Buffer, 1, 1+len(values))
	for _, b := range values {
		buffers = append(buffers, memory.NewBufferBytes(b))
	}
	return buffers
}

// column reads the values of an evaluated array by row, whatever its storage.
type column struct {
	typ      schemas.Type
	valid    []byte // bitmap; nil: no nulls
	offset   int    // of the bitmap's first bit
	ints     []int64
	floats   []float64
	decimals []decimal128.Num
	text     func(row int) []byte // not copied
}

func (c *column) null(row int32) bool {
	return c.valid != nil && !bitutil.BitIsSet(c.valid, c.offset+int(row))
}

// read views an array as a column. It stays valid as long as the array.
func read(typ schemas.Type, a arrow.Array) (column, error) {
	c := column{typ: typ, offset: a.Data().Offset()}
	if a.NullN() > 0 {
		c.valid = a.NullBitmapBytes()
	}
	n := a.Len()
	switch a := a.(type) {
	case *array.Null:
		c.offset, c.valid = 0, make([]byte, bitutil.BytesForBits(int64(n)))
		c.ints, c.floats, c.decimals = make([]int64, n), make([]float64, n), make([]decimal128.Num, n)
		c.text = func(int) []byte { return nil }
	case *array.Boolean:
		c.ints = make([]int64, n)
		for i := range n {
			if a.Value(i) {
				c.ints[i] = 1
			}
		}
	case *array.Int32:
		c.ints = widen(a.Int32Values())
	case *array.Date32:
		c.ints = widen(a.Date32Values())
	case *array.Int64:
		c.ints = a.Int64Values()
	case *array.Time64:
		c.ints = arrow.Int64Traits.CastFromBytes(arrow.Time64Traits.CastToBytes(a.Time64Values()))
	case *array.Timestamp:
		c.ints = arrow.Int64Traits.CastFromBytes(arrow.TimestampTraits.CastToBytes(a.TimestampValues()))
	case *array.Float32:
		c.floats = make([]float64, n)
		for i, x := range a.Float32Values() {
			c.floats[i] = float64(x)
		}
	case *array.Float64:
		c.floats = a.Float64Values()
	case *array.Decimal128:
		c.decimals = a.Values()
	case *array.String:
		c.text = func(row int) []byte { return stringBytes(a.Value(row)) }
	case *array.Binary:
		c.text = a.Value
	case *array.FixedSizeBinary:
		c.text = a.Value
	default:
		return column{}, &unsupportedError{a.DataType()}
	}
	return c, nil
}

func widen[T ~int32](values []T) []int64 {
	out := make([]int64, len(values))
	for i, x := range values {
		out[i] = int64(x)
	}
	return out
}

type unsupportedError struct{ typ arrow.DataType }

func (e *unsupportedError) Error() string {
	return "values of the type " + e.typ.String() + " cannot be grouped or aggregated"
}
