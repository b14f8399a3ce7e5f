package parquet

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/parquet-go/parquet-go/encoding/rle"
	"github.com/parquet-go/parquet-go/format"
)

// maxDictionary is where a dictionary stops to grow: readers hold all of it.
const maxDictionary = 1 << 20

type integer interface{ int32 | int64 }

// ints is a leaf whose values are 4 or 8 bytes, signed. They are written by
// dictionary or plain. The delta encoding would be shorter for what rises step
// by step, but Iceberg's vectorized reader in Spark refuses it before Iceberg 1.10.
type ints[T integer] struct {
	page    []T
	decimal bool
	dict    intDictionary[T]
	stopped bool // no dictionary for the rest of the chunk
	tooWide error
}

func (v *ints[T]) add(arr arrow.Array, at span) {
	if v.decimal {
		src := arrow.GetValues[decimal128.Num](arr.Data(), 1)
		for i := range at.n {
			x := src[at.at(i)]
			y := T(x.LowBits())
			if x != decimal128.FromI64(int64(y)) {
				v.tooWide = fmt.Errorf("the decimal %s has more digits than its column", x.ToString(0))
				return
			}
			v.page = append(v.page, y)
		}
		return
	}
	v.page = appendSpan(v.page, arrow.GetValues[T](arr.Data(), 1), at)
}

// appendSpan appends the elements of src that at chooses.
func appendSpan[T any](dst, src []T, at span) []T {
	if at.index == nil {
		return append(dst, src[at.start:at.start+at.n]...)
	}
	n := len(dst)
	dst = grow(dst, at.n)
	out := dst[n:]
	for i, k := range at.index[:len(out)] {
		out[i] = src[k]
	}
	return dst
}

// grow lengthens s by n elements that the caller sets.
func grow[T any](s []T, n int) []T {
	if len(s)+n > cap(s) {
		bigger := make([]T, len(s), max(len(s)+n, cap(s)+cap(s)/2, 64))
		copy(bigger, s)
		s = bigger
	}
	return s[:len(s)+n]
}

func (v *ints[T]) pageBytes() int { return len(v.page) * v.width() }

func (v *ints[T]) heldBytes() int {
	return cap(v.page)*v.width() + v.dict.heldBytes()
}

func (v *ints[T]) encode(s *scratch, dst []byte, at position) ([]byte, format.Encoding, bounds, error) {
	page := v.page
	v.page = v.page[:0]
	if v.tooWide != nil {
		return dst, format.Plain, bounds{}, v.tooWide
	}
	if len(page) == 0 {
		return dst, format.Plain, bounds{}, nil
	}
	low, high := page[0], page[0]
	for _, x := range page {
		low, high = min(low, x), max(high, x)
	}
	b := bounds{set: true, min: appendInt(nil, low), max: appendInt(nil, high), minExact: true, maxExact: true}
	if !v.stopped {
		before := len(v.dict.values)
		s.indices = v.dict.look(s.indices[:0], page)
		added := len(v.dict.values) - before
		var err error
		if s.other, err = (&rle.DictionaryEncoding{}).EncodeInt32(s.other, s.indices); err != nil {
			return dst, format.Plain, bounds{}, err
		}
		if !dictionaryLoses(at, added, len(page), v.dict.bytes()+len(s.other), len(page)*v.width()) {
			v.stopped = stops(at, added, len(page), v.dict.bytes())
			return append(dst, s.other...), format.RLEDictionary, b, nil
		}
		v.dict, v.stopped = intDictionary[T]{}, true
	}
	return append(dst, asBytes(page)...), format.Plain, b, nil
}

func (v *ints[T]) width() int { return int(unsafe.Sizeof(T(0))) }

// dictionaryLoses reports whether a chunk is better without the dictionary that
// its first page made: added entries from rows values, size bytes with the
// indices, against rival bytes without. Where more pages follow they may use the
// entries again, unless hardly a value came twice: even values drawn from as
// many as a full dictionary holds repeat more often than that in a page.
func dictionaryLoses(at position, added, rows, size, rival int) bool {
	if !at.first {
		return false // earlier pages need it
	}
	if at.last {
		return size >= rival
	}
	return rows >= judged && added > rows*94/100
}

// judged is how many values a page must have to tell how they repeat.
const judged = 1024

// stops reports whether a dictionary does not earn its keep any more.
func stops(at position, added, rows, entryBytes int) bool {
	return entryBytes > maxDictionary || !at.first && rows >= judged && added > rows*9/10
}

func (v *ints[T]) dictionary(dst []byte) ([]byte, int) {
	return append(dst, asBytes(v.dict.values)...), len(v.dict.values)
}

func (v *ints[T]) release() { v.page = nil }

func (v *ints[T]) endChunk() {
	v.dict, v.stopped = intDictionary[T]{}, false
}

func appendInt[T integer](dst []byte, x T) []byte {
	if unsafe.Sizeof(x) == 4 {
		return binary.LittleEndian.AppendUint32(dst, uint32(x))
	}
	return binary.LittleEndian.AppendUint64(dst, uint64(x))
}

// asBytes is Parquet's plain form of numbers: little-endian, as they lie in
// memory on every machine that Arrow's Go buffers are read on without a swap.
func asBytes[T integer | float32 | float64](values []T) []byte {
	if len(values) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&values[0])), len(values)*int(unsafe.Sizeof(values[0])))
}

// intDictionary numbers the distinct values of a chunk in the order they came.
type intDictionary[T integer] struct {
	values []T
	table  []uint32 // open addressing: number + 1, 0 where free
	shift  uint
}

func (d *intDictionary[T]) bytes() int { return len(d.values) * int(unsafe.Sizeof(T(0))) }

func (d *intDictionary[T]) heldBytes() int {
	return cap(d.values)*int(unsafe.Sizeof(T(0))) + cap(d.table)*4
}

// look appends each value's number to dst.
func (d *intDictionary[T]) look(dst []int32, page []T) []int32 {
	if d.table == nil {
		d.rehash(64)
	}
	dst = grow(dst, len(page))
	out := dst[len(dst)-len(page):]
	last, number := page[0], d.number(page[0])
	for i, x := range page {
		if x != last {
			last, number = x, d.number(x)
		}
		out[i] = number
	}
	return dst
}

func (d *intDictionary[T]) number(x T) int32 {
	mask := uint32(len(d.table) - 1)
	at := uint32((uint64(x) * 0x9e3779b97f4a7c15) >> d.shift)
	for {
		n := d.table[at&mask]
		if n == 0 {
			break
		}
		if d.values[n-1] == x {
			return int32(n - 1)
		}
		at++
	}
	d.values = append(d.values, x)
	d.table[at&mask] = uint32(len(d.values))
	if 2*len(d.values) > len(d.table) {
		d.rehash(2 * len(d.table))
	}
	return int32(len(d.values) - 1)
}

func (d *intDictionary[T]) rehash(size int) {
	d.table = make([]uint32, size)
	d.shift = uint(64 - bits.TrailingZeros(uint(size)))
	mask := uint32(size - 1)
	for i, x := range d.values {
		at := uint32((uint64(x) * 0x9e3779b97f4a7c15) >> d.shift)
		for d.table[at&mask] != 0 {
			at++
		}
		d.table[at&mask] = uint32(i + 1)
	}
}
