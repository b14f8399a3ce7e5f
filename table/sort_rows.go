package table

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// keyColumn is a column that rows are sorted by, nulls first, NaN last and -0
// before 0, as Iceberg's order is.
type keyColumn struct {
	arr arrow.Array
	// prefix rises with the value, as far as 64 bits tell values apart; whole: they tell all.
	prefix func(i int) uint64
	whole  bool
	// compare takes rows that are not null, of this column and of other, which is of the same type.
	compare func(i int, other arrow.Array, j int) int
}

const signBit = 1 << 63

func newKeyColumn(arr arrow.Array) (keyColumn, error) {
	k := keyColumn{arr: arr}
	switch a := arr.(type) {
	case *array.Boolean:
		byBits(&k, func(x arrow.Array, i int) uint64 {
			if x.(*array.Boolean).Value(i) {
				return 1
			}
			return 0
		})
	case *array.Int32:
		wholeNumbers[int32](&k)
	case *array.Date32:
		wholeNumbers[arrow.Date32](&k)
	case *array.Int64:
		wholeNumbers[int64](&k)
	case *array.Time64:
		wholeNumbers[arrow.Time64](&k)
	case *array.Timestamp:
		wholeNumbers[arrow.Timestamp](&k)
	case *array.Float32:
		byBits(&k, func(x arrow.Array, i int) uint64 { return floatOrder(float64(x.(*array.Float32).Value(i))) })
	case *array.Float64:
		byBits(&k, func(x arrow.Array, i int) uint64 { return floatOrder(x.(*array.Float64).Value(i)) })
	case *array.Decimal128:
		k.prefix = func(i int) uint64 { return uint64(a.Value(i).HighBits()) ^ signBit }
		k.compare = func(i int, other arrow.Array, j int) int { return a.Value(i).Cmp(other.(*array.Decimal128).Value(j)) }
	case *array.String:
		byteKeys(&k, func(x arrow.Array, i int) []byte {
			text := x.(*array.String).Value(i)
			return unsafe.Slice(unsafe.StringData(text), len(text))
		})
	case *array.Binary:
		byteKeys(&k, func(x arrow.Array, i int) []byte { return x.(*array.Binary).Value(i) })
	case *array.FixedSizeBinary:
		byteKeys(&k, func(x arrow.Array, i int) []byte { return x.(*array.FixedSizeBinary).Value(i) })
	default:
		return k, fmt.Errorf("rows cannot be sorted by a %s", arr.DataType())
	}
	return k, nil
}

// byBits is a column whose values are told apart by 64 bits that rise with them.
func byBits(k *keyColumn, bits func(x arrow.Array, i int) uint64) {
	arr := k.arr
	k.whole = true
	k.prefix = func(i int) uint64 { return bits(arr, i) }
	k.compare = func(i int, other arrow.Array, j int) int { return cmp.Compare(bits(arr, i), bits(other, j)) }
}

func wholeNumbers[T int32 | int64 | arrow.Date32 | arrow.Time64 | arrow.Timestamp](k *keyColumn) {
	values := arrow.GetValues[T](k.arr.Data(), 1)
	k.whole = true
	k.prefix = func(i int) uint64 { return uint64(int64(values[i])) ^ signBit }
	k.compare = func(i int, other arrow.Array, j int) int {
		return cmp.Compare(values[i], arrow.GetValues[T](other.Data(), 1)[j])
	}
}

func floatOrder(x float64) uint64 {
	if x != x {
		return math.MaxUint64
	}
	bits := math.Float64bits(x)
	if bits&signBit != 0 {
		return ^bits
	}
	return bits | signBit
}

func byteKeys(k *keyColumn, value func(x arrow.Array, i int) []byte) {
	arr := k.arr
	k.prefix = func(i int) uint64 {
		x := value(arr, i)
		if len(x) >= 8 {
			return binary.BigEndian.Uint64(x)
		}
		var b [8]byte
		copy(b[:], x)
		return binary.BigEndian.Uint64(b[:])
	}
	k.compare = func(i int, other arrow.Array, j int) int { return bytes.Compare(value(arr, i), value(other, j)) }
}

// keys are the key columns of one batch.
type keys []keyColumn

func newKeys(batch arrow.RecordBatch, columns []int) (keys, error) {
	out := make(keys, len(columns))
	for i, at := range columns {
		var err error
		if out[i], err = newKeyColumn(batch.Column(at)); err != nil {
			return nil, fmt.Errorf("column %s: %w", batch.ColumnName(at), err)
		}
	}
	return out, nil
}

// compare compares row i with row j of other.
func (k keys) compare(i int, other keys, j int) int { return k.compareFrom(0, i, other, j) }

func (k keys) compareFrom(first, i int, other keys, j int) int {
	for c := first; c < len(k); c++ {
		a, b := k[c].arr, other[c].arr
		switch x, y := a.IsNull(i), b.IsNull(j); {
		case x && y:
		case x:
			return -1
		case y:
			return 1
		default:
			if d := k[c].compare(i, b, j); d != 0 {
				return d
			}
		}
	}
	return 0
}

// sort gives the rows' order. Equal ones stay as they are.
func (k keys) sort(rows int) []int32 {
	type entry struct {
		prefix uint64
		row    int32
	}
	entries := make([]entry, rows)
	first := k[0]
	nulls := first.arr.NullN() > 0
	sorted := true
	for i := range entries {
		entries[i].row = int32(i)
		switch {
		case !nulls:
			entries[i].prefix = first.prefix(i)
		case first.arr.IsValid(i):
			entries[i].prefix = first.prefix(i)>>1 | signBit
		}
		sorted = sorted && (i == 0 || entries[i-1].prefix < entries[i].prefix)
	}
	from := 0
	if first.whole && !nulls {
		from = 1
	}
	if !sorted {
		slices.SortFunc(entries, func(a, b entry) int {
			if a.prefix != b.prefix {
				return cmp.Compare(a.prefix, b.prefix)
			}
			if d := k.compareFrom(from, int(a.row), k, int(b.row)); d != 0 {
				return d
			}
			return cmp.Compare(a.row, b.row)
		})
	}
	out := make([]int32, rows)
	for i, e := range entries {
		out[i] = e.row
	}
	return out
}

// rising tells whether the rows are in order.
func (k keys) rising(rows int) bool {
	for i := 1; i < rows; i++ {
		if k.compare(i-1, k, i) > 0 {
			return false
		}
	}
	return true
}
