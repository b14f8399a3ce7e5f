package rules

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lake/schemas"
)

// value is what a vector holds: BOOL; INT64, DATE, TIME, TIMESTAMP and
// DATETIME; FLOAT64; NUMERIC; STRING, BYTES and UUID.
type value interface {
	bool | int64 | float64 | decimal128.Num | string
}

// vector is an expression's values for a batch, one of the slices by its type.
// A vector with one set has a single value, which counts for all rows.
type vector struct {
	one   bool
	null  []bool // nil: none is
	fails []Failure

	bools  []bool
	ints   []int64
	floats []float64
	nums   []decimal128.Num
	texts  []string // may point into the batch
}

// values is the vector's slice of T.
func values[T value](v *vector) []T { return *slot[T](v) }

func slot[T value](v *vector) *[]T {
	var found *[]T
	switch p := any(&found).(type) {
	case **[]bool:
		*p = &v.bools
	case **[]int64:
		*p = &v.ints
	case **[]float64:
		*p = &v.floats
	case **[]decimal128.Num:
		*p = &v.nums
	case **[]string:
		*p = &v.texts
	}
	return found
}

func vectorOf[T value](of []T, null []bool) vector {
	v := vector{null: null}
	*slot[T](&v) = of
	return v
}

// mask turns a row into an index: 0 for all rows of a vector with one value.
func (v *vector) mask() int {
	if v.one {
		return 0
	}
	return -1
}

func (v *vector) isNull(row int) bool { return v.null != nil && v.null[row&v.mask()] }

// nullsOf is where any of the vectors is null; nil where none is anywhere.
func nullsOf(n int, vectors []vector) []bool {
	var out []bool
	for k := range vectors {
		v := &vectors[k]
		if v.null == nil || v.one && !v.null[0] {
			continue
		}
		if out == nil {
			out = make([]bool, n)
		}
		m := v.mask()
		for i := range out {
			out[i] = out[i] || v.null[i&m]
		}
	}
	return out
}

// fail makes a row null and keeps the reason.
func (v *vector) fail(n, row int, reason string) {
	v.setNull(n, row)
	v.fails = append(v.fails, Failure{Row: row, Reason: reason})
}

func (v *vector) setNull(n, row int) {
	if v.null == nil {
		v.null = make([]bool, n)
	}
	v.null[row] = true
}

// inherit makes the rows fail for which an argument failed, each once.
func (v *vector) inherit(n int, from []vector) {
	var seen map[int]bool
	for k := range from {
		for row, reason := range from[k].failures(n) {
			if seen == nil {
				seen = map[int]bool{}
				for _, f := range v.fails {
					seen[f.Row] = true
				}
			}
			if !seen[row] {
				seen[row] = true
				v.fail(n, row, reason)
			}
		}
	}
}

// failures are the rows that failed, of n: all where the only value did.
func (v *vector) failures(n int) func(yield func(int, string) bool) {
	return func(yield func(int, string) bool) {
		if v.one && len(v.fails) > 0 {
			for row := range n {
				if !yield(row, v.fails[0].Reason) {
					return
				}
			}
			return
		}
		for _, f := range v.fails {
			if !yield(f.Row, f.Reason) {
				return
			}
		}
	}
}

// failed maps the rows that failed to their reasons; nil where none did.
func (v *vector) failed(n int) map[int]string {
	if len(v.fails) == 0 {
		return nil
	}
	out := map[int]string{}
	for row, reason := range v.failures(n) {
		out[row] = reason
	}
	return out
}

// read views or copies an Arrow array as a vector; index says which of its
// values (-1: null), nil all of them in order.
func read(a arrow.Array, index []int32) (vector, error) {
	var v vector
	n := a.Len()
	switch a := a.(type) {
	case *array.Boolean:
		v.bools = make([]bool, n)
		for i := range v.bools {
			v.bools[i] = a.Value(i)
		}
	case *array.Int32:
		v.ints = widened(a.Int32Values())
	case *array.Date32:
		v.ints = widened(a.Date32Values())
	case *array.Int64:
		v.ints = a.Int64Values()
	case *array.Timestamp:
		v.ints = sameBits[int64](a.TimestampValues())
	case *array.Time64:
		v.ints = sameBits[int64](a.Time64Values())
	case *array.Float32:
		v.floats = make([]float64, n)
		for i, x := range a.Float32Values() {
			v.floats[i] = float64(x)
		}
	case *array.Float64:
		v.floats = a.Float64Values()
	case *array.Decimal128:
		v.nums = a.Values()
	case interface{ Value(int) string }: // String, LargeString, StringView
		v.texts = make([]string, n)
		for i := range v.texts {
			v.texts[i] = a.Value(i)
		}
	case interface{ Value(int) []byte }: // Binary, LargeBinary, FixedSizeBinary
		v.texts = make([]string, n)
		for i := range v.texts {
			if b := a.Value(i); len(b) > 0 {
				v.texts[i] = unsafe.String(&b[0], len(b))
			}
		}
	default:
		return v, fmt.Errorf("read a column of Arrow type %s: rules do not know it", a.DataType())
	}
	v.null = nullsIn(a)
	if index != nil {
		v = v.gather(index)
	}
	return v, nil
}

func nullsIn(a arrow.Array) []bool {
	if a.NullN() == 0 {
		return nil
	}
	null := make([]bool, a.Len())
	for i := range null {
		null[i] = a.IsNull(i)
	}
	return null
}

func (v *vector) gather(index []int32) vector {
	out := vector{
		bools: gathered(v.bools, index), ints: gathered(v.ints, index), floats: gathered(v.floats, index),
		nums: gathered(v.nums, index), texts: gathered(v.texts, index),
	}
	for i, at := range index {
		if at < 0 || v.null != nil && v.null[at] {
			out.setNull(len(index), i)
		}
	}
	return out
}

func gathered[T any](from []T, index []int32) []T {
	if from == nil {
		return nil
	}
	out := make([]T, len(index))
	for i, at := range index {
		if at >= 0 {
			out[i] = from[at]
		}
	}
	return out
}

func widened[T ~int32](from []T) []int64 {
	out := make([]int64, len(from))
	for i, x := range from {
		out[i] = int64(x)
	}
	return out
}

// sameBits views a slice of 8-byte integers as another type of them.
func sameBits[To, From ~int64](from []From) []To {
	if len(from) == 0 {
		return []To{}
	}
	return unsafe.Slice((*To)(unsafe.Pointer(&from[0])), len(from))
}

// packBools sets a bit for each value that is true; the bits are zero.
func packBools(bits []byte, values []bool) {
	if len(values) == 0 {
		return
	}
	// Go keeps a bool as a byte that is 0 or 1; the product moves the lowest bits
	// of eight of them into the highest byte, in order.
	whole := unsafe.Slice((*byte)(unsafe.Pointer(&values[0])), len(values))
	for ; len(whole) >= 8; whole, bits = whole[8:], bits[1:] {
		bits[0] = byte(binary.LittleEndian.Uint64(whole) * 0x0102040810204080 >> 56)
	}
	for i, x := range whole {
		bits[0] |= x << i
	}
}

// arrow makes an array of n values of type t. Its buffers are Go's own memory;
// texts are copied.
func (v *vector) arrow(t schemas.Type, n int) (arrow.Array, error) {
	m := v.mask()
	buffers := []*memory.Buffer{nil, nil}
	switch t.Kind {
	case schemas.Bool:
		bits := make([]byte, bitutil.BytesForBits(int64(n)))
		if !v.one {
			packBools(bits, v.bools[:n])
		} else if v.bools[0] {
			for i := range n {
				bits[i>>3] |= 1 << (i & 7)
			}
		}
		buffers[1] = memory.NewBufferBytes(bits)
	case schemas.Date:
		days := make([]int32, n)
		for i := range days {
			days[i] = int32(v.ints[i&m])
		}
		buffers[1] = memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(days))
	case schemas.Int64, schemas.Time, schemas.Timestamp, schemas.Datetime:
		buffers[1] = memory.NewBufferBytes(arrow.Int64Traits.CastToBytes(spread(v.ints, v.one, n)))
	case schemas.Float64:
		buffers[1] = memory.NewBufferBytes(arrow.Float64Traits.CastToBytes(spread(v.floats, v.one, n)))
	case schemas.Decimal:
		buffers[1] = memory.NewBufferBytes(arrow.Decimal128Traits.CastToBytes(spread(v.nums, v.one, n)))
	case schemas.UUID:
		ids := make([]byte, 16*n)
		for i := range n {
			copy(ids[16*i:16*i+16], v.texts[i&m])
		}
		buffers[1] = memory.NewBufferBytes(ids)
	case schemas.String, schemas.JSON, schemas.Bytes:
		size := 0
		for i := range n {
			size += len(v.texts[i&m])
		}
		if size > 1<<31-1 {
			return nil, fmt.Errorf("make a column of %s: %d bytes in one batch, more than 2 GiB", sqlName(t), size)
		}
		offsets, data := make([]int32, n+1), make([]byte, 0, size)
		for i := range n {
			data = append(data, v.texts[i&m]...)
			offsets[i+1] = int32(len(data))
		}
		buffers[1] = memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(offsets))
		buffers = append(buffers, memory.NewBufferBytes(data))
	default:
		return nil, fmt.Errorf("make a column of %s: rules do not compute it", sqlName(t))
	}
	nulls := 0
	if v.null != nil {
		valid := make([]byte, bitutil.BytesForBits(int64(n)))
		for i := range n {
			if v.null[i&m] {
				nulls++
			} else {
				valid[i>>3] |= 1 << (i & 7)
			}
		}
		buffers[0] = memory.NewBufferBytes(valid)
	}
	data := array.NewData(t.Arrow(), n, buffers, nil, nulls, 0)
	defer data.Release()
	return array.MakeFromData(data), nil
}

// spread copies values: they may belong to the batch, which the array outlives.
func spread[T any](from []T, one bool, n int) []T {
	out := make([]T, n)
	if !one {
		copy(out, from)
		return out
	}
	for i := range out {
		out[i] = from[0]
	}
	return out
}
