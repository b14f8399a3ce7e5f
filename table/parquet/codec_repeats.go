package parquet

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// Times to the second, of events out of order, come back after some hundred
// others: half of a page's values have been there. repeats is numbers with one
// more sequence: a value that was there before is copied from its last place.
// The general encoder finds the same, and looks at each byte for it.
type repeats struct {
	seen     []uint16 // by hash: the place of a value, and one; 0: none
	offsets  []uint32 // of a block's values, as sequences say them
	literals []byte
	out      []byte

	lengths, copies, distances fse
}

const (
	repeatsLog  = 14
	mostRepeats = math.MaxUint16 - 1 // values of a page
	leastOffset = 3                  // what an offset is written with: less are those of sequences before
	isCopy      = 1 << 31            // a flag in offsets
)

// appendRepeats is appendFrame with copies of whole values.
func (z *numbers) appendRepeats(dst, body []byte, start int) ([]byte, bool, error) {
	values := body[start:]
	count, low := len(values)/8, lowBytes(values, start)
	if low == 0 || count > mostRepeats {
		return dst, false, nil
	}
	r := &z.repeats
	if r.seen == nil {
		r.seen, r.offsets = make([]uint16, 1<<repeatsLog), make([]uint32, blockNumbers)
		r.literals, r.out = make([]byte, blockNumbers*mostLowBytes+8), make([]byte, blockNumbers*5+256)
	}
	clear(r.seen)
	before := len(dst)
	dst = appendFrameHeader(dst, len(body))
	dst = appendBlock(dst, false, blockRaw, start+8)
	dst = append(dst, body[:start+8]...)
	r.seen[repeatsSlot(binary.LittleEndian.Uint64(values))] = 1
	last := [3]int{1, 4, 8} // offsets of the sequences before
	for at := 1; at < count; {
		n := min(count-at, blockNumbers)
		size, copied := r.find(values, at, n, low, &last)
		literals, kind, err := z.packLiterals(r.literals[:size])
		if err != nil {
			return dst[:before], false, err
		}
		tail := r.encode(n, copied, low)
		header := literalsHeader(kind, size, len(literals))
		at += n
		dst = appendBlock(dst, at == count, blockPacked, len(header)+len(literals)+len(tail))
		dst = append(append(append(dst, header...), literals...), tail...)
	}
	return dst, true, nil
}

func repeatsSlot(x uint64) uint64 { return x * 0x9e3779b97f4a7c15 >> (64 - repeatsLog) }

// find looks for n values from number at on among those before them. It fills
// offsets and literals, and returns how long these are and how many values were there.
func (r *repeats) find(values []byte, at, n, low int, last *[3]int) (size, copied int) {
	seen := r.seen[:1<<repeatsLog]
	offsets := r.offsets[:n]
	for i := range offsets {
		place := at + i
		x := binary.LittleEndian.Uint64(values[8*place:])
		slot := &seen[repeatsSlot(x)]
		from := int(*slot) - 1
		*slot = uint16(place + 1)
		if from >= 0 && binary.LittleEndian.Uint64(values[8*from:]) == x {
			distance := 8 * (place - from)
			offsets[i] = uint32(distance+leastOffset) | isCopy
			last[0], last[1], last[2] = distance, last[0], last[1]
			copied++
			continue
		}
		binary.LittleEndian.PutUint64(r.literals[size:], x) // the next one covers the high bytes
		size += low
		switch 8 {
		case last[0]:
			offsets[i] = 1
		case last[1]:
			offsets[i] = 2
			last[0], last[1] = last[1], last[0]
		case last[2]:
			offsets[i] = 3
			last[0], last[1], last[2] = last[2], last[0], last[1]
		default:
			offsets[i] = 8 + leastOffset
			last[0], last[1], last[2] = 8, last[0], last[1]
		}
	}
	return size, copied
}

// encode writes the sequences of a block of n values, of which copied were there before:
// "no literals, then 8 bytes", or "the low bytes as literals, then the rest".
func (r *repeats) encode(n, copied, low int) []byte {
	const whole = 8 - 3 // the code of a copy of 8 bytes
	offsets := r.offsets[:n]
	var counts [fseSymbols]int
	for _, x := range offsets {
		counts[bits.Len32(x&^isCopy)-1]++
	}
	r.distances.plan(&counts, n)
	counts = [fseSymbols]int{}
	counts[0], counts[low] = copied, n-copied
	r.lengths.plan(&counts, n)
	counts = [fseSymbols]int{}
	counts[whole], counts[whole-low] = copied, n-copied
	r.copies.plan(&counts, n)

	out := appendCount(r.out[:0], n)
	out = append(out, r.lengths.mode()<<6|r.distances.mode()<<4|r.copies.mode()<<2)
	out = r.copies.appendTable(r.distances.appendTable(r.lengths.appendTable(out)))

	// From the last sequence to the first; a decoder reads all of this backwards.
	at := len(out)
	out = out[:cap(out)]
	var acc uint64 // fewer than 8 bits are left of it after each sequence
	var held uint
	var length, distance, copying uint32 // states
	for i := n - 1; i >= 0; i-- {
		x := offsets[i]
		literals, rest := low, whole-low
		if x&isCopy != 0 {
			literals, rest = 0, whole
		}
		x &^= isCopy
		code := bits.Len32(x) - 1
		if i == n-1 {
			copying, distance, length = r.copies.start(rest), r.distances.start(code), r.lengths.start(literals)
		} else {
			var written uint64
			var width uint
			written, width, distance = r.distances.step(distance, code)
			acc, held = acc|written<<held, held+width
			written, width, copying = r.copies.step(copying, rest)
			acc, held = acc|written<<held, held+width
			written, width, length = r.lengths.step(length, literals)
			acc, held = acc|written<<held, held+width
		}
		acc |= uint64(x&^(1<<code)) << held
		held += uint(code)
		binary.LittleEndian.PutUint64(out[at:], acc)
		at += int(held >> 3)
		acc >>= held &^ 7
		held &= 7
	}
	for _, end := range [...]struct {
		f     *fse
		state uint32
	}{{&r.copies, copying}, {&r.distances, distance}, {&r.lengths, length}} {
		acc |= uint64(end.state&(1<<end.f.log-1)) << held
		held += uint(end.f.log)
	}
	acc |= 1 << held // where the decoder begins
	binary.LittleEndian.PutUint64(out[at:], acc)
	return out[:at+int(held>>3)+1]
}
