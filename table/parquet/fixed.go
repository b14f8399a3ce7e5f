package parquet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/parquet-go/parquet-go/format"
)

// floats is a leaf of float32 or float64: plain, since they seldom repeat.
type floats[T float32 | float64] struct {
	page    []T
	earlier pieces[T]
}

func (v *floats[T]) add(arr arrow.Array, at span) {
	v.page = appendSpan(v.earlier.room(v.page, at.n), arrow.GetValues[T](arr.Data(), 1), at)
}

func (v *floats[T]) pageBytes() int { return (v.earlier.n + len(v.page)) * int(unsafe.Sizeof(T(0))) }
func (v *floats[T]) heldBytes() int { return (v.earlier.held + cap(v.page)) * int(unsafe.Sizeof(T(0))) }

func (v *floats[T]) encode(s *scratch, dst []byte, _ position) ([]byte, format.Encoding, bounds, error) {
	page := v.earlier.join(v.page, &s.joined)
	v.page = v.page[:0]
	var b bounds
	low, high := T(math.Inf(1)), T(math.Inf(-1))
	for _, x := range page {
		if x != x {
			b.nans++
			continue
		}
		low, high = min(low, x), max(high, x)
	}
	if len(page) > b.nans {
		b.set, b.minExact, b.maxExact = true, true, true
		// The two zeros are equal and differ in their bits: a bound of zero covers both.
		if low == 0 {
			low = T(math.Copysign(0, -1))
		}
		if high == 0 {
			high = 0
		}
		b.min, b.max = appendFloat(nil, low), appendFloat(nil, high)
	}
	dst = append(dst, asBytes(page)...)
	return dst, format.Plain, b, nil
}

func appendFloat[T float32 | float64](dst []byte, x T) []byte {
	if unsafe.Sizeof(x) == 4 {
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(x)))
	}
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(float64(x)))
}

func (v *floats[T]) dictionary(dst []byte) ([]byte, int) { return dst, 0 }
func (v *floats[T]) release()                            { v.page, v.earlier = nil, pieces[T]{} }
func (v *floats[T]) endChunk()                           {}

// bools is a leaf of booleans, a bit each.
type bools struct {
	bits []byte
	n    int
	ones int
}

func (v *bools) add(arr arrow.Array, at span) {
	src, offset := arr.Data().Buffers()[1], arr.Data().Offset()
	for len(v.bits)*8 < v.n+at.n {
		v.bits = append(v.bits, 0)
	}
	for i := range at.n {
		if bitutil.BitIsSet(src.Bytes(), offset+at.at(i)) {
			v.bits[v.n>>3] |= 1 << (v.n & 7)
			v.ones++
		}
		v.n++
	}
}

func (v *bools) pageBytes() int { return len(v.bits) }
func (v *bools) heldBytes() int { return cap(v.bits) }

func (v *bools) encode(_ *scratch, dst []byte, _ position) ([]byte, format.Encoding, bounds, error) {
	var b bounds
	if v.n > 0 {
		b = bounds{set: true, minExact: true, maxExact: true, min: []byte{0}, max: []byte{0}}
		if v.ones == v.n {
			b.min[0] = 1
		}
		if v.ones > 0 {
			b.max[0] = 1
		}
	}
	dst = append(dst, v.bits...)
	v.bits, v.n, v.ones = v.bits[:0], 0, 0
	return dst, format.Plain, b, nil
}

func (v *bools) dictionary(dst []byte) ([]byte, int) { return dst, 0 }
func (v *bools) release()                            { v.bits = nil }
func (v *bools) endChunk()                           {}

// fixed is a leaf of values of one length: uuids, and decimals beyond 18 digits.
type fixed struct {
	page    []byte
	earlier pieces[byte]
	width   int
	decimal bool
	tooWide error
}

func (v *fixed) add(arr arrow.Array, at span) {
	v.page = v.earlier.room(v.page, at.n*v.width)
	n := len(v.page)
	v.page = grow(v.page, at.n*v.width)
	out := v.page[n:]
	if !v.decimal {
		src := arr.Data().Buffers()[1].Bytes()[arr.Data().Offset()*v.width:]
		for i := range at.n {
			k := at.at(i) * v.width
			copy(out[i*v.width:], src[k:k+v.width])
		}
		return
	}
	src := arrow.GetValues[decimal128.Num](arr.Data(), 1)
	var whole [16]byte
	for i := range at.n {
		x := src[at.at(i)]
		binary.BigEndian.PutUint64(whole[:], uint64(x.HighBits()))
		binary.BigEndian.PutUint64(whole[8:], x.LowBits())
		if cut := 16 - v.width; cut > 0 && !fits(whole[:], cut) {
			v.tooWide = fmt.Errorf("the decimal %s has more digits than its column", x.ToString(0))
			return
		}
		copy(out[i*v.width:(i+1)*v.width], whole[16-v.width:])
	}
}

// fits reports whether the first cut bytes of a big-endian number only repeat its sign.
func fits(x []byte, cut int) bool {
	sign := byte(0)
	if x[cut]&0x80 != 0 {
		sign = 0xff
	}
	for _, b := range x[:cut] {
		if b != sign {
			return false
		}
	}
	return true
}

func (v *fixed) pageBytes() int { return v.earlier.n + len(v.page) }
func (v *fixed) heldBytes() int { return v.earlier.held + cap(v.page) }

func (v *fixed) encode(s *scratch, dst []byte, _ position) ([]byte, format.Encoding, bounds, error) {
	page := v.earlier.join(v.page, &s.joined)
	v.page = v.page[:0]
	if v.tooWide != nil {
		return dst, format.Plain, bounds{}, v.tooWide
	}
	var b bounds
	if len(page) > 0 {
		b = bounds{set: true, minExact: true, maxExact: true}
		low, high := page[:v.width], page[:v.width]
		for rest := page; len(rest) > 0; rest = rest[v.width:] {
			x := rest[:v.width]
			if v.compare(x, low) < 0 {
				low = x
			} else if v.compare(x, high) > 0 {
				high = x
			}
		}
		b.min, b.max = append([]byte{}, low...), append([]byte{}, high...)
	}
	return append(dst, page...), format.Plain, b, nil
}

func (v *fixed) compare(a, b []byte) int {
	if v.decimal {
		return compareSigned(a, b)
	}
	return bytes.Compare(a, b)
}

// compareSigned compares big-endian two's complements of one length.
func compareSigned(a, b []byte) int {
	if a[0]^b[0] >= 0x80 { // the signs differ
		if a[0] >= 0x80 {
			return -1
		}
		return 1
	}
	return bytes.Compare(a, b)
}

func (v *fixed) dictionary(dst []byte) ([]byte, int) { return dst, 0 }
func (v *fixed) release()                            { v.page, v.earlier = nil, pieces[byte]{} }
func (v *fixed) endChunk()                           {}
