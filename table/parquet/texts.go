package parquet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/parquet-go/parquet-go/format"
	"github.com/zeebo/xxh3"
)

// texts is a leaf of strings or bytes of any length.
type texts struct {
	data    []byte
	ends    []uint32 // where each value ends among all bytes of the page
	earlier pieces[byte]
	endings pieces[uint32]
	text    bool
	dict    textDictionary
	stopped bool
	tooLong error
}

func (v *texts) add(arr arrow.Array, at span) {
	offsets, data := variable(arr)
	if at.n == 0 {
		return
	}
	size := 0
	if at.index == nil {
		size = int(offsets[at.start+at.n] - offsets[at.start])
	} else {
		for _, i := range at.index[:at.n] {
			size += int(offsets[i+1] - offsets[i])
		}
	}
	if have := v.earlier.n + len(v.data); have+size > math.MaxInt32/2 {
		v.tooLong = fmt.Errorf("%d rows with %d bytes are more than a page holds", at.n, have+size)
		return
	}
	v.ends, v.data = v.endings.room(v.ends, at.n), v.earlier.room(v.data, size)
	n, start := len(v.ends), len(v.data)
	v.ends = grow(v.ends, at.n)
	out := v.ends[n:]
	v.data = grow(v.data, size)
	dst := v.data[start:]
	m := v.earlier.n + start
	if at.index == nil {
		first := offsets[at.start]
		copy(dst, data[first:offsets[at.start+at.n]])
		for i, end := range offsets[at.start+1 : at.start+1+at.n] {
			out[i] = uint32(m) + uint32(end-first)
		}
		return
	}
	pos := 0
	for i, k := range at.index[:at.n] {
		start, end := int(offsets[k]), int(offsets[k+1])
		if n := end - start; n <= short && start+short <= len(data) && pos+short <= len(dst) {
			*(*[short]byte)(dst[pos:]) = *(*[short]byte)(data[start:]) // what is too much is written over by the next
			pos += n
		} else {
			pos += copy(dst[pos:], data[start:end])
		}
		out[i] = uint32(m + pos)
	}
}

// short is the length of texts that are copied without a call.
const short = 16

// variable is an array's offsets, cut to its slice, and the bytes that they point into.
func variable(arr arrow.Array) (offsets []int32, data []byte) {
	d := arr.Data()
	if b := d.Buffers()[1]; b != nil && b.Len() > 0 {
		offsets = arrow.GetData[int32](b.Bytes())[d.Offset() : d.Offset()+d.Len()+1]
	}
	if b := d.Buffers()[2]; b != nil {
		data = b.Bytes()
	}
	return offsets, data
}

func (v *texts) pageBytes() int {
	return v.earlier.n + len(v.data) + 4*(v.endings.n+len(v.ends))
}

func (v *texts) heldBytes() int {
	return v.earlier.held + cap(v.data) + 4*(v.endings.held+cap(v.ends)) + v.dict.heldBytes()
}

func (v *texts) encode(s *scratch, dst []byte, at position) ([]byte, format.Encoding, bounds, error) {
	data, ends := v.earlier.join(v.data, &s.joined), v.endings.join(v.ends, &s.ends)
	v.data, v.ends = v.data[:0], v.ends[:0]
	if v.tooLong != nil {
		return dst, format.Plain, bounds{}, v.tooLong
	}
	if len(ends) == 0 {
		return dst, format.Plain, bounds{}, nil
	}
	if !v.stopped {
		before := v.dict.len()
		var low, high []byte
		s.indices, low, high = v.dict.look(s, data, ends)
		added := v.dict.len() - before
		var err error
		if s.other, err = encodeIndices(s.other, s.indices); err != nil {
			return dst, format.Plain, bounds{}, err
		}
		b := v.bounds(low, high)
		if dictionaryLoses(at, added, len(ends), v.dict.bytes()+len(s.other), len(data)+4*len(ends)) {
			v.dict, v.stopped = textDictionary{}, true
			return appendPlain(dst, data, ends), format.Plain, b, nil
		}
		v.stopped = stops(at, added, len(ends), v.dict.bytes())
		return append(dst, s.other...), format.RLEDictionary, b, nil
	}
	low, high := data[:ends[0]], data[:ends[0]]
	start := uint32(0)
	for _, end := range ends {
		x := data[start:end]
		start = end
		if bytes.Compare(x, low) < 0 {
			low = x
		} else if bytes.Compare(x, high) > 0 {
			high = x
		}
	}
	b := v.bounds(low, high)
	return appendPlain(dst, data, ends), format.Plain, b, nil
}

func appendPlain(dst, data []byte, ends []uint32) []byte {
	start := uint32(0)
	for _, end := range ends {
		dst = binary.LittleEndian.AppendUint32(dst, end-start)
		dst = append(dst, data[start:end]...)
		start = end
	}
	return dst
}

// boundBytes is how much of a long value the statistics keep.
const boundBytes = 64

func (v *texts) bounds(low, high []byte) bounds {
	b := bounds{set: true, minExact: true, maxExact: true}
	b.min = cutLow(low, boundBytes, v.text)
	b.minExact = len(b.min) == len(low)
	var whole bool
	if b.max, whole = cutHigh(high, boundBytes, v.text); b.max == nil {
		b.max, whole = high, true // nothing shorter lies above it
	}
	b.maxExact = whole
	b.min, b.max = append([]byte{}, b.min...), append([]byte{}, b.max...)
	return b
}

func (v *texts) dictionary(dst []byte) ([]byte, int) {
	return appendPlain(dst, v.dict.data, v.dict.ends), v.dict.len()
}

func (v *texts) release() {
	v.data, v.ends, v.earlier, v.endings = nil, nil, pieces[byte]{}, pieces[uint32]{}
}

func (v *texts) endChunk() {
	v.dict, v.stopped = textDictionary{}, false
}

// textDictionary numbers the distinct values of a chunk in the order they came.
type textDictionary struct {
	data  []byte
	ends  []uint32
	table []textEntry // open addressing
}

type textEntry struct {
	hash   uint32
	number uint32 // + 1; 0 where free
}

func (d *textDictionary) len() int       { return len(d.ends) }
func (d *textDictionary) bytes() int     { return len(d.data) + 4*len(d.ends) }
func (d *textDictionary) heldBytes() int { return cap(d.data) + 4*cap(d.ends) + 8*cap(d.table) }

func (d *textDictionary) value(n int) []byte {
	if n == 0 {
		return d.data[:d.ends[0]]
	}
	return d.data[d.ends[n-1]:d.ends[n]]
}

// look returns each value's number, and the least and the greatest of the page.
func (d *textDictionary) look(s *scratch, data []byte, ends []uint32) (indices []int32, low, high []byte) {
	if d.table == nil {
		d.table = make([]textEntry, 32)
	}
	out := grow(s.indices[:0], len(ends))
	clear(s.seen)
	number, last := int32(-1), []byte(nil)
	var lately [lateTexts]shortText
	start := uint32(0)
	for i, end := range ends {
		x := data[start:end]
		var late *shortText
		if len(x) <= shortBytes && int(start)+8 <= len(data) {
			word := newShortText(data, start, end)
			late = &lately[word.slot()]
			if word.number = late.number; word == *late && word.number > 0 {
				out[i], start = int32(word.number-1), end
				continue
			}
			*late = word
		}
		start = end
		if number < 0 || !bytes.Equal(x, last) {
			number, last = d.number(x), x
			word, bit := int(number>>6), uint64(1)<<(number&63)
			for word >= len(s.seen) {
				s.seen = append(s.seen, 0)
			}
			if s.seen[word]&bit == 0 {
				s.seen[word] |= bit
				if low == nil || bytes.Compare(x, low) < 0 {
					low = x
				}
				if high == nil || bytes.Compare(x, high) > 0 {
					high = x
				}
			}
		}
		out[i] = number
		if late != nil {
			late.number = uint32(number) + 1
		}
	}
	return out, low, high
}

const (
	shortBytes = 16
	lateTexts  = 64
)

// shortText is a text of at most shortBytes as words, and its number. Texts that come again
// and again, as names of events do, are found by it without a hash of their bytes.
type shortText struct {
	first, last uint64 // its first eight bytes, zeros behind fewer; its last eight where there are more
	size        uint32
	number      uint32 // + 1; 0 where free
}

// newShortText is the text from start to end of data, which goes on for eight bytes behind
// start, without its number.
func newShortText(data []byte, start, end uint32) shortText {
	t := shortText{first: binary.LittleEndian.Uint64(data[start:]), size: end - start}
	if t.size > 8 {
		t.last = binary.LittleEndian.Uint64(data[end-8:])
	} else {
		t.first &= 1<<(8*t.size) - 1
	}
	return t
}

func (t *shortText) slot() uint64 {
	return (t.first ^ bits.RotateLeft64(t.last, 17) ^ uint64(t.size)) * 0x9e3779b97f4a7c15 >> (64 - 6)
}

func (d *textDictionary) number(x []byte) int32 {
	hash := uint32(xxh3.Hash(x))
	mask := uint32(len(d.table) - 1)
	at := hash & mask
	for {
		e := d.table[at]
		if e.number == 0 {
			break
		}
		if e.hash == hash && bytes.Equal(d.value(int(e.number-1)), x) {
			return int32(e.number - 1)
		}
		at = (at + 1) & mask
	}
	d.data = append(d.data, x...)
	d.ends = append(d.ends, uint32(len(d.data)))
	d.table[at] = textEntry{hash, uint32(len(d.ends))}
	if 2*len(d.ends) > len(d.table) {
		d.rehash()
	}
	return int32(len(d.ends) - 1)
}

func (d *textDictionary) rehash() {
	old := d.table
	d.table = make([]textEntry, 2*len(old))
	mask := uint32(len(d.table) - 1)
	for _, e := range old {
		if e.number == 0 {
			continue
		}
		at := e.hash & mask
		for d.table[at].number != 0 {
			at = (at + 1) & mask
		}
		d.table[at] = e
	}
}
