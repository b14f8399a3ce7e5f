package table

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/iceberg-go"
	"github.com/google/uuid"
)

// transfer is a partition transform over plain values; iceberg-go's own goes
// through an interface for each. Exactly one function is there, by what the
// column holds and the partition's value is.
type transfer struct {
	whole func(int64) int64   // whole numbers (booleans, dates, times; floats as their bits) to whole numbers
	cut   func([]byte) []byte // bytes (text, uuids, decimals big-endian) to bytes
	hash  func([]byte) int64  // bytes to a bucket
}

const (
	microsPerDay  = 86_400_000_000
	microsPerHour = 3_600_000_000
)

func newTransfer(t iceberg.Transform, source iceberg.Type) (transfer, error) {
	numeric := true
	switch source.(type) {
	case iceberg.StringType, iceberg.BinaryType, iceberg.UUIDType, iceberg.DecimalType:
		numeric = false
	}
	_, isDate := source.(iceberg.DateType)
	days := func(x int64) int64 {
		if isDate {
			return x
		}
		return floorDiv(x, microsPerDay)
	}
	switch t := t.(type) {
	case iceberg.IdentityTransform:
		if numeric {
			return transfer{whole: func(x int64) int64 { return x }}, nil
		}
		return transfer{cut: func(x []byte) []byte { return x }}, nil
	case iceberg.YearTransform:
		return transfer{whole: func(x int64) int64 { return int64(civil(days(x)).Year() - 1970) }}, nil
	case iceberg.MonthTransform:
		return transfer{whole: func(x int64) int64 {
			d := civil(days(x))
			return int64(12*(d.Year()-1970) + int(d.Month()) - 1)
		}}, nil
	case iceberg.DayTransform:
		return transfer{whole: days}, nil
	case iceberg.HourTransform:
		return transfer{whole: func(x int64) int64 { return floorDiv(x, microsPerHour) }}, nil
	case iceberg.BucketTransform:
		bucket := func(hash uint32) int64 { return int64(hash&math.MaxInt32) % int64(t.NumBuckets) }
		if numeric {
			return transfer{whole: func(x int64) int64 {
				var b [8]byte
				binary.LittleEndian.PutUint64(b[:], uint64(x))
				return bucket(murmur3(b[:]))
			}}, nil
		}
		return transfer{hash: func(x []byte) int64 { return bucket(murmur3(x)) }}, nil
	case iceberg.TruncateTransform:
		width := int64(t.Width)
		switch source.(type) {
		case iceberg.StringType:
			return transfer{cut: func(x []byte) []byte { return firstPoints(x, t.Width) }}, nil
		case iceberg.BinaryType:
			return transfer{cut: func(x []byte) []byte { return x[:min(len(x), t.Width)] }}, nil
		case iceberg.DecimalType:
			return transfer{cut: func(x []byte) []byte { return truncateDecimal(x, width) }}, nil
		case iceberg.Int32Type:
			return transfer{whole: func(x int64) int64 { return int64(int32(x - modulo(x, width))) }}, nil
		default:
			return transfer{whole: func(x int64) int64 { return x - modulo(x, width) }}, nil
		}
	}
	return transfer{}, fmt.Errorf("its transform %s is not known here", t)
}

func floorDiv(x, y int64) int64 { return (x - modulo(x, y)) / y }

func modulo(x, y int64) int64 { return ((x % y) + y) % y }

func civil(days int64) time.Time { return time.Unix(days*86400, 0).UTC() }

func firstPoints(x []byte, n int) []byte {
	end := 0
	for ; n > 0 && end < len(x); n-- {
		_, size := utf8.DecodeRune(x[end:])
		end += size
	}
	return x[:end]
}

// truncateDecimal is unscaled − (unscaled mod width), the remainder never negative.
func truncateDecimal(x []byte, width int64) []byte {
	v := decimalOf(x).BigInt()
	v.Sub(v, new(big.Int).Mod(v, big.NewInt(width)))
	return decimalBytes(decimal128.FromBigInt(v), nil)
}

// decimalBytes is the shortest big-endian two's complement, which is what a
// decimal's bucket is the hash of.
func decimalBytes(x decimal128.Num, dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst[:0], uint64(x.HighBits()))
	dst = binary.BigEndian.AppendUint64(dst, x.LowBits())
	for len(dst) > 1 && (dst[0] == 0 && dst[1] < 0x80 || dst[0] == 0xff && dst[1] >= 0x80) {
		dst = dst[1:]
	}
	return dst
}

func decimalOf(x []byte) decimal128.Num {
	var whole [16]byte
	copy(whole[16-len(x):], x)
	if x[0] >= 0x80 {
		for i := range whole[:16-len(x)] {
			whole[i] = 0xff
		}
	}
	return decimal128.New(int64(binary.BigEndian.Uint64(whole[:])), binary.BigEndian.Uint64(whole[8:]))
}

// murmur3 is the 32-bit x86 variant with seed 0, which Iceberg's buckets are made of.
func murmur3(data []byte) uint32 {
	var h uint32
	mix := func(k uint32) uint32 { return bits.RotateLeft32(k*0xcc9e2d51, 15) * 0x1b873593 }
	n := uint32(len(data))
	for ; len(data) >= 4; data = data[4:] {
		h = bits.RotateLeft32(h^mix(binary.LittleEndian.Uint32(data)), 13)*5 + 0xe6546b64
	}
	var tail uint32
	for i := len(data) - 1; i >= 0; i-- {
		tail = tail<<8 | uint32(data[i])
	}
	h ^= mix(tail) ^ n
	h = (h ^ h>>16) * 0x85ebca6b
	h = (h ^ h>>13) * 0xc2b2ae35
	return h ^ h>>16
}

// integers appends an array's values as whole numbers; those of nulls mean nothing.
func integers(arr arrow.Array, dst []int64) ([]int64, error) {
	n := arr.Len()
	dst = slices.Grow(dst, n)[:n]
	switch arr := arr.(type) {
	case *array.Int64:
		copy(dst, arr.Int64Values())
	case *array.Timestamp, *array.Time64:
		copy(dst, arrow.GetValues[int64](arr.Data(), 1))
	case *array.Int32, *array.Date32:
		for i, x := range arrow.GetValues[int32](arr.Data(), 1) {
			dst[i] = int64(x)
		}
	case *array.Boolean:
		for i := range dst {
			if dst[i] = 0; arr.Value(i) {
				dst[i] = 1
			}
		}
	case *array.Float32:
		for i, x := range arr.Float32Values() {
			if dst[i] = int64(math.Float32bits(x)); x != x {
				dst[i] = int64(math.Float32bits(float32(math.NaN())))
			}
		}
	case *array.Float64:
		for i, x := range arr.Float64Values() {
			if dst[i] = int64(math.Float64bits(x)); x != x {
				dst[i] = int64(math.Float64bits(math.NaN()))
			}
		}
	default:
		return nil, fmt.Errorf("a column of %s is no partition source", arr.DataType())
	}
	return dst, nil
}

// byteValues reads an array's values as bytes, which are good until the next call.
func byteValues(arr arrow.Array) (func(int) []byte, error) {
	switch arr := arr.(type) {
	case *array.String:
		var buf []byte
		return func(i int) []byte { buf = append(buf[:0], arr.Value(i)...); return buf }, nil
	case *array.Binary:
		return arr.Value, nil
	case *array.FixedSizeBinary:
		return arr.Value, nil
	case *array.Decimal128:
		var buf [16]byte
		return func(i int) []byte { return decimalBytes(arr.Value(i), buf[:]) }, nil
	}
	return nil, fmt.Errorf("a column of %s is no partition source", arr.DataType())
}

// icebergInt is iceberg-go's form of a partition value that is a whole number here.
func icebergInt(t iceberg.Type, x int64) any {
	switch t.(type) {
	case iceberg.BooleanType:
		return x != 0
	case iceberg.Int32Type:
		return int32(x)
	case iceberg.DateType:
		return iceberg.Date(x)
	case iceberg.TimeType:
		return iceberg.Time(x)
	case iceberg.TimestampType, iceberg.TimestampTzType:
		return iceberg.Timestamp(x)
	case iceberg.Float32Type:
		return math.Float32frombits(uint32(x))
	case iceberg.Float64Type:
		return math.Float64frombits(uint64(x))
	default:
		return x
	}
}

// icebergBytes is iceberg-go's form of a partition value that is bytes here; it copies.
func icebergBytes(t iceberg.Type, x []byte) any {
	switch t := t.(type) {
	case iceberg.StringType:
		return string(x)
	case iceberg.UUIDType:
		var id uuid.UUID
		copy(id[:], x)
		return id
	case iceberg.DecimalType:
		return iceberg.Decimal{Val: decimalOf(x), Scale: t.Scale()}
	default:
		return append([]byte{}, x...)
	}
}
