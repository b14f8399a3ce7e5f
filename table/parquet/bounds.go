package parquet

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go/format"
)

// bounds are the least and the greatest value of a page or chunk, in Parquet's
// plain form and without a length. NaN is none of them. Where they are not
// exact, they lie outside of the values.
type bounds struct {
	set                bool // there is a value that is not NaN
	min, max           []byte
	minExact, maxExact bool
	nans               int
}

// merge widens b by c.
func (b *bounds) merge(n *node, c bounds) {
	b.nans += c.nans
	if !c.set {
		return
	}
	if !b.set {
		b.set, b.min, b.max, b.minExact, b.maxExact = true, c.min, c.max, c.minExact, c.maxExact
		return
	}
	if k := n.compare(c.min, b.min); k < 0 || k == 0 && c.minExact {
		b.min, b.minExact = c.min, c.minExact
	}
	if k := n.compare(c.max, b.max); k > 0 || k == 0 && c.maxExact {
		b.max, b.maxExact = c.max, c.maxExact
	}
}

// compare orders two values in plain form as the column's type does.
func (n *node) compare(a, b []byte) int {
	switch n.physical {
	case format.Int32:
		return cmp.Compare(int32(binary.LittleEndian.Uint32(a)), int32(binary.LittleEndian.Uint32(b)))
	case format.Int64:
		return cmp.Compare(int64(binary.LittleEndian.Uint64(a)), int64(binary.LittleEndian.Uint64(b)))
	case format.Float:
		return cmp.Compare(math.Float32frombits(binary.LittleEndian.Uint32(a)), math.Float32frombits(binary.LittleEndian.Uint32(b)))
	case format.Double:
		return cmp.Compare(math.Float64frombits(binary.LittleEndian.Uint64(a)), math.Float64frombits(binary.LittleEndian.Uint64(b)))
	case format.FixedLenByteArray:
		if n.kind == decimalKind {
			return compareSigned(a, b)
		}
	}
	return bytes.Compare(a, b)
}

// icebergBounds are b as Iceberg's manifests keep them: single values in binary
// form, text cut to 16 code points and bytes to 16. Nil: no bound. Bounds of
// uuids are left out, since readers disagree on whether their bytes are signed,
// and random ids skip no file anyway.
func (n *node) icebergBounds(b bounds) (low, high []byte) {
	if !b.set || n.maxRep > 0 {
		return nil, nil
	}
	switch n.kind {
	case uuidKind:
		return nil, nil
	case decimalKind:
		return n.icebergDecimal(b.min), n.icebergDecimal(b.max)
	case textKind:
		low = cutPoints(b.min, 16)
		if high = b.max; len(cutPoints(high, 16)) < len(high) {
			high = next(cutPoints(high, 16), true)
		}
	case bytesKind:
		low = b.min[:min(16, len(b.min))]
		if high = b.max; len(high) > 16 {
			high = next(high[:16], false)
		}
	default:
		low, high = b.min, b.max
	}
	return low, high
}

// icebergDecimal is the shortest big-endian two's complement.
func (n *node) icebergDecimal(plain []byte) []byte {
	var x []byte
	switch n.physical {
	case format.Int32:
		x = binary.BigEndian.AppendUint32(nil, binary.LittleEndian.Uint32(plain))
	case format.Int64:
		x = binary.BigEndian.AppendUint64(nil, binary.LittleEndian.Uint64(plain))
	default:
		x = plain
	}
	for len(x) > 1 && fits(x, 1) {
		x = x[1:]
	}
	return x
}

// cutLow is a prefix of x of at most limit bytes, text cut between code points.
func cutLow(x []byte, limit int, text bool) []byte {
	if len(x) <= limit {
		return x
	}
	if text {
		for k := limit; k > limit-utf8.UTFMax; k-- {
			if utf8.RuneStart(x[k]) {
				return x[:k]
			}
		}
	}
	return x[:limit]
}

// cutHigh is x where it is short, or a short value above it; nil where there is none.
func cutHigh(x []byte, limit int, text bool) (cut []byte, exact bool) {
	if len(x) <= limit {
		return x, true
	}
	return next(cutLow(x, limit, text), text), false
}

// cutPoints is the prefix of x with at most n code points.
func cutPoints(x []byte, n int) []byte {
	end := 0
	for ; n > 0 && end < len(x); n-- {
		_, size := utf8.DecodeRune(x[end:])
		end += size
	}
	return x[:end]
}

// next is a value above all that begin with prefix, not longer than it; nil
// where there is none. That of text is text.
func next(prefix []byte, text bool) []byte {
	if text && utf8.Valid(prefix) {
		for len(prefix) > 0 {
			r, size := utf8.DecodeLastRune(prefix)
			prefix = prefix[:len(prefix)-size]
			if r++; r == 0xd800 {
				r = 0xe000 // the surrogates are no code points
			}
			if r <= utf8.MaxRune {
				return utf8.AppendRune(append([]byte{}, prefix...), r)
			}
		}
		return nil
	}
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			out := append([]byte{}, prefix[:i+1]...)
			out[i]++
			return out
		}
	}
	return nil
}
