package tally

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"math/rand/v2"

	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"lake/schemas"
)

// keyMode is how a rule's group keys are indexed.
type keyMode uint8

const (
	noKey   keyMode = iota
	intKey          // one column of int storage
	textKey         // one string or bytes column
	rowKey          // anything else, encoded
)

// keyCodec encodes the key columns of a row so that the bytes compare as the
// keys do: a tag (0 NULL, 1 a value) and the value, big-endian with the sign
// turned, text with its zero bytes escaped (0 255) and a zero at its end. A
// NaN is zero bits, and -0.0 is 0.0, as GROUP BY takes them.
type keyCodec []schemas.Type

func (k keyCodec) mode() keyMode {
	switch {
	case len(k) == 0:
		return noKey
	case len(k) == 1 && storageOf(k[0].Kind) == asInt:
		return intKey
	case len(k) == 1 && storageOf(k[0].Kind) == asText && k[0].Kind != schemas.UUID:
		return textKey
	default:
		return rowKey
	}
}

// seeds keep a stream's author from choosing keys that collide.
type seeds struct {
	ints  uint64
	bytes maphash.Seed
}

func newSeeds() seeds { return seeds{ints: rand.Uint64(), bytes: maphash.MakeSeed()} }

func (k keyCodec) newIndex(s seeds) index {
	switch k.mode() {
	case noKey:
		return &oneGroup{}
	case intKey:
		return newIntGroups(s.ints)
	case textKey:
		return &textGroups{byteGroups{set: newByteSet(s.bytes), null: noGroup}}
	default:
		return &rowGroups{byteGroups: byteGroups{set: newByteSet(s.bytes), null: noGroup}, codec: k}
	}
}

// keyBatch is the key columns of the batch at hand.
type keyBatch struct {
	mode    keyMode
	columns []column
	scratch []byte
}

// append encodes the keys of a row.
func (b *keyBatch) append(dst []byte, row int32) []byte {
	for i := range b.columns {
		dst = b.columns[i].appendSortable(dst, row)
	}
	return dst
}

func (c *column) appendSortable(dst []byte, row int32) []byte {
	if c.null(row) {
		return append(dst, 0)
	}
	dst = append(dst, 1)
	switch storageOf(c.typ.Kind) {
	case asFloat:
		return binary.BigEndian.AppendUint64(dst, sortableFloat(c.floats[row]))
	case asDecimal:
		d := c.decimals[row]
		dst = binary.BigEndian.AppendUint64(dst, uint64(d.HighBits())^1<<63)
		return binary.BigEndian.AppendUint64(dst, d.LowBits())
	case asText:
		text := c.text(int(row))
		if c.typ.Kind == schemas.UUID {
			return append(dst, text...)
		}
		for _, b := range text {
			if dst = append(dst, b); b == 0 {
				dst = append(dst, 0xFF)
			}
		}
		return append(dst, 0)
	default:
		return binary.BigEndian.AppendUint64(dst, uint64(c.ints[row])^1<<63)
	}
}

func sortableFloat(x float64) uint64 {
	if x != x {
		return 0
	}
	if x == 0 {
		x = 0 // -0.0 too
	}
	bits := math.Float64bits(x)
	if bits>>63 == 1 {
		return ^bits
	}
	return bits | 1<<63
}

func floatOfSortable(bits uint64) float64 {
	switch {
	case bits == 0:
		return math.NaN()
	case bits>>63 == 1:
		return math.Float64frombits(bits &^ (1 << 63))
	default:
		return math.Float64frombits(^bits)
	}
}

// decode appends an encoded row's values to out, one vector a column. The bytes
// are append's or valid.
func (k keyCodec) decode(key []byte, out []vector) {
	for i, typ := range k {
		tag := key[0]
		key = key[1:]
		if tag == 0 {
			out[i].null()
			continue
		}
		switch storageOf(typ.Kind) {
		case asFloat:
			out[i].float(floatOfSortable(binary.BigEndian.Uint64(key)))
			key = key[8:]
		case asDecimal:
			hi, lo := binary.BigEndian.Uint64(key)^1<<63, binary.BigEndian.Uint64(key[8:])
			out[i].decimal(decimal128.New(int64(hi), lo))
			key = key[16:]
		case asText:
			if typ.Kind == schemas.UUID {
				out[i].bytes(key[:16])
				key = key[16:]
				continue
			}
			key = unescape(key, &out[i])
		default:
			out[i].int(int64(binary.BigEndian.Uint64(key) ^ 1<<63))
			key = key[8:]
		}
	}
}

func unescape(key []byte, out *vector) []byte {
	for at := 0; ; at++ {
		if key[at] != 0 {
			out.text = append(out.text, key[at])
			continue
		}
		if at+1 == len(key) || key[at+1] != 0xFF {
			out.bytes(nil)
			return key[at+1:]
		}
		out.text = append(out.text, 0)
		at++
	}
}

// valid reports whether key could have been made by append.
func (k keyCodec) valid(key []byte) bool {
	for _, typ := range k {
		if len(key) == 0 || key[0] > 1 {
			return false
		}
		tag := key[0]
		key = key[1:]
		if tag == 0 {
			continue
		}
		width := 8
		switch storage := storageOf(typ.Kind); {
		case storage == asDecimal || typ.Kind == schemas.UUID:
			width = 16
		case storage == asText:
			if width = textWidth(key); width < 0 {
				return false
			}
		}
		if len(key) < width {
			return false
		}
		key = key[width:]
	}
	return len(key) == 0
}

// textWidth is the length of an escaped text with its end; -1 where it has none.
func textWidth(key []byte) int {
	for at := 0; at < len(key); at++ {
		if key[at] != 0 {
			continue
		}
		if at+1 == len(key) || key[at+1] != 0xFF {
			return at + 1
		}
		at++
	}
	return -1
}
