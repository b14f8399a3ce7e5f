package parquet

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
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
	earlier pieces[T]
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
	v.page = appendSpan(v.earlier.room(v.page, at.n), arrow.GetValues[T](arr.Data(), 1), at)
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

func (v *ints[T]) pageBytes() int { return (v.earlier.n + len(v.page)) * v.width() }

func (v *ints[T]) heldBytes() int {
	return (v.earlier.held+cap(v.page))*v.width() + v.dict.heldBytes()
}

func (v *ints[T]) encode(s *scratch, dst []byte, at position) ([]byte, format.Encoding, bounds, error) {
	page := v.earlier.join(v.page, &s.joined)
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
	if v.stopped {
		return append(dst, asBytes(page)...), format.Plain, b, nil
	}
	before := len(v.dict.values)
	s.indices = v.dict.look(s.indices[:0], page, low, high)
	added := len(v.dict.values) - before
	var err error
	if s.other, err = encodeIndices(s.other, s.indices); err != nil {
		return dst, format.Plain, bounds{}, err
	}
	if dictionaryLoses(at, added, len(page), v.dict.bytes()+len(s.other), len(page)*v.width()) {
		v.dict, v.stopped = intDictionary[T]{}, true
		return append(dst, asBytes(page)...), format.Plain, b, nil
	}
	if v.stopped = stops(at, added, len(page), v.dict.bytes()); !v.stopped && grows(at, added, len(page)) {
		if v.stopped, err = v.plainIsSmaller(s, page, before); err != nil {
			return dst, format.Plain, bounds{}, err
		}
		if v.stopped {
			v.dict.takeBack(before)
			return append(dst, asBytes(page)...), format.Plain, b, nil
		}
	}
	if v.stopped {
		v.dict.table, v.dict.direct = nil, nil
	}
	return append(dst, s.other...), format.RLEDictionary, b, nil
}

// grows reports whether a page brought so many new values that one should look
// whether the chunk is smaller without them in the dictionary. A chunk's first
// page brings many whatever comes after it.
func grows(at position, added, rows int) bool {
	return !at.first && rows >= judged && added > rows/3
}

// plainIsSmaller compresses a part of a page both ways: the values as they are,
// against the entries that they add to the dictionary, from number before on,
// and the indices. Times of day are the usual case: they lie close together, so
// that compression takes most of them away, and come twice and never again.
func (v *ints[T]) plainIsSmaller(s *scratch, page []T, before int) (bool, error) {
	page, indices := page[:len(page)/4], s.indices[:len(page)/4]
	end := before
	for _, n := range indices {
		end = max(end, int(n)+1)
	}
	plain, err := s.codec.compress(s, asBytes(page))
	if err != nil {
		return false, err
	}
	size := len(plain)
	entries, err := s.codec.compress(s, asBytes(v.dict.values[before:end]))
	if err != nil {
		return false, err
	}
	rival := len(entries) + len(indices)*bits.Len(uint(end-1))/8
	return size <= rival+rival/8, nil // a dictionary costs time and memory as well
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

func (v *ints[T]) release() { v.page, v.earlier = nil, pieces[T]{} }

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
