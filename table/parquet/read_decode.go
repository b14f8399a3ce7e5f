package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

var errShort = errors.New("a page ends in the middle of its values")

// hybrid decodes runs and bit-packed groups: indices, levels, booleans.
type hybrid struct {
	data  []byte
	width uint
	left  int // values of the current run
	value uint32
	bits  int // of data that the packed run has used; -1: all of the run is value
}

func newHybrid(data []byte, width uint) hybrid { return hybrid{data: data, width: width, bits: -1} }

// next begins the next run.
func (h *hybrid) next() error {
	if h.bits >= 0 {
		h.data = h.data[min(len(h.data), (h.bits+7)/8):]
		h.bits = -1
	}
	head, n := binary.Uvarint(h.data)
	if n <= 0 {
		return errShort
	}
	h.data = h.data[n:]
	if head&1 == 1 {
		groups := head >> 1
		if groups == 0 || groups > 1<<28 {
			return errShort
		}
		h.left, h.bits = int(groups)*8, 0
		if h.width > 0 { // the last group may be cut short
			h.left = min(h.left, len(h.data)*8/int(h.width))
		}
	} else {
		if head>>1 == 0 || head>>1 > 1<<31-1 {
			return errShort
		}
		h.left, h.value = int(head>>1), 0
		size := int(h.width+7) / 8
		if size > len(h.data) {
			return errShort
		}
		for i := range size {
			h.value |= uint32(h.data[i]) << (8 * i)
		}
		h.data = h.data[size:]
	}
	if h.left == 0 {
		return errShort
	}
	return nil
}

// more tells whether there are values; what pads the end is none.
func (h *hybrid) more() bool { return h.left > 0 || h.next() == nil }

// same says how many of the next values, n at most, are one run, and which it is.
func (h *hybrid) same(n int) (int, uint32, error) {
	if h.left == 0 {
		if err := h.next(); err != nil {
			return 0, 0, err
		}
	}
	if h.bits >= 0 {
		return 0, 0, nil
	}
	return min(n, h.left), h.value, nil
}

// drop passes n values of the current run.
func (h *hybrid) drop(n int) {
	h.left -= n
	if h.bits >= 0 {
		h.bits += n * int(h.width)
	}
}

// decode fills dst.
func decodeHybrid[T uint8 | int32](h *hybrid, dst []T) error {
	for len(dst) > 0 {
		if h.left == 0 {
			if err := h.next(); err != nil {
				return err
			}
		}
		n := min(len(dst), h.left)
		if h.bits < 0 {
			run := dst[:n]
			for i := range run {
				run[i] = T(h.value)
			}
		} else {
			unpack(dst[:n], h.data, h.bits, h.width)
		}
		h.drop(n)
		dst = dst[n:]
	}
	return nil
}

// unpack reads len(dst) numbers of width bits, 32 at most, from the bit at on.
// They have to be there.
func unpack[T uint8 | int32](dst []T, data []byte, at int, width uint) {
	mask := uint64(1)<<width - 1
	i := 0
	// A load of eight bytes has them wherever they begin in the first.
	if last := (len(data) - 8) * 8; last >= at && width > 0 {
		safe := min(len(dst), (last-at)/int(width)+1)
		for ; i < safe; i++ {
			dst[i] = T(binary.LittleEndian.Uint64(data[at>>3:]) >> (at & 7) & mask)
			at += int(width)
		}
	}
	for ; i < len(dst); i++ {
		var word [8]byte
		copy(word[:], data[min(len(data), at>>3):])
		dst[i] = T(binary.LittleEndian.Uint64(word[:]) >> (at & 7) & mask)
		at += int(width)
	}
}

// Bounds of what the head of delta-encoded values may say.
const (
	maxDeltaBlock  = 1 << 20 // values of a block
	maxDeltaValues = 1 << 26
)

// decodeDelta decodes delta-encoded integers of width bytes, count of them at
// most, appends them to dst in little-endian form, and returns what follows them.
func decodeDelta(dst, data []byte, width int, count int) (_, rest []byte, n int, err error) {
	fail := func() ([]byte, []byte, int, error) { return dst, nil, 0, errShort }
	c := cursor{data: data}
	block, minis, total, value := c.uvarint(), c.uvarint(), c.uvarint(), c.int()
	if c.err != nil || total > uint64(min(count, maxDeltaValues)) {
		return fail()
	}
	if total == 0 {
		return dst, data[c.at:], 0, nil
	}
	if minis == 0 || block == 0 || block > maxDeltaBlock || minis > block || block%minis != 0 || block/minis%8 != 0 {
		return fail()
	}
	put := func(v int64) {
		if width == 4 {
			dst = binary.LittleEndian.AppendUint32(dst, uint32(v))
		} else {
			dst = binary.LittleEndian.AppendUint64(dst, uint64(v))
		}
	}
	put(value)
	each := int(block / minis)
	for left := int(total) - 1; left > 0; {
		least := c.int()
		widths := c.at
		c.bytes(minis)
		if c.err != nil {
			return fail()
		}
		for m := 0; m < int(minis) && left > 0; m++ {
			bits := int(data[widths+m])
			begin := c.at
			if bits > 64 {
				return fail()
			}
			size := each * bits / 8
			take := min(each, left)
			if size > len(data)-c.at { // some writers leave out what pads the last one
				if size = len(data) - c.at; take < left || size < (take*bits+7)/8 {
					return fail()
				}
			}
			c.at += size
			packed := data[begin:c.at]
			for i := range take {
				value += least + int64(bitsAt(packed, i*bits, bits))
				put(value)
			}
			left -= take
		}
	}
	return dst, data[c.at:], int(total), nil
}

// bitsAt is the number of width bits, 64 at most, at a bit of data.
func bitsAt(data []byte, at, width int) uint64 {
	if width == 0 {
		return 0
	}
	var word [16]byte
	from := data[at>>3:]
	if len(from) < 9 {
		copy(word[:], from)
		from = word[:]
	}
	v := binary.LittleEndian.Uint64(from) >> (at & 7)
	if over := at&7 + width - 64; over > 0 {
		v |= uint64(from[8]) << (64 - at&7)
	}
	if width < 64 {
		v &= 1<<width - 1
	}
	return v
}

// decodeLengths decodes lengths of values as delta-encoded integers.
func decodeLengths(data []byte, count int) (lengths []int32, rest []byte, err error) {
	plain, rest, n, err := decodeDelta(nil, data, 4, count)
	if err != nil {
		return nil, nil, err
	}
	lengths = make([]int32, n)
	for i := range lengths {
		if lengths[i] = int32(binary.LittleEndian.Uint32(plain[4*i:])); lengths[i] < 0 {
			return nil, nil, errShort
		}
	}
	return lengths, rest, nil
}

// decodeDeltaLengths decodes texts whose lengths come first.
func (v *Values) decodeDeltaLengths(data []byte, count int) error {
	lengths, rest, err := decodeLengths(data, count)
	if err != nil {
		return err
	}
	v.reset(len(lengths))
	v.Offsets = append(v.Offsets[:0], 0)
	at := int64(0)
	for _, n := range lengths {
		if at += int64(n); at > int64(len(rest)) {
			return errShort
		}
		v.Offsets = append(v.Offsets, int32(at))
	}
	v.Data = rest[:at]
	return nil
}

// decodeDeltaTexts decodes texts that repeat the beginning of the one before.
// width is that of each, 0: they differ.
func (v *Values) decodeDeltaTexts(data []byte, count, width int) error {
	prefixes, rest, err := decodeLengths(data, count)
	if err != nil {
		return err
	}
	var ends Values
	if err := ends.decodeDeltaLengths(rest, count); err != nil {
		return err
	}
	if ends.N != len(prefixes) {
		return errShort
	}
	v.reset(ends.N)
	v.Offsets = append(v.Offsets[:0], 0)
	out := v.own[:0]
	last := 0 // where the one before begins
	for i, n := range prefixes {
		begin := len(out)
		if int(n) > begin-last {
			return errShort
		}
		if len(out)+int(n) > maxPage {
			return fmt.Errorf("texts of more than %d bytes in a page", maxPage)
		}
		out = append(out, out[last:last+int(n)]...)
		out = append(out, ends.Data[ends.Offsets[i]:ends.Offsets[i+1]]...)
		if width > 0 && len(out)-begin != width {
			return errShort
		}
		v.Offsets = append(v.Offsets, int32(len(out)))
		last = begin
	}
	v.own, v.Data = out, out
	if width > 0 {
		v.Offsets = nil
	}
	return nil
}

// decodeTexts decodes count plain texts, each behind its length, and returns
// what follows them.
func (v *Values) decodeTexts(data []byte, count int) (rest []byte, err error) {
	if count > len(data)/4 {
		return nil, errShort
	}
	v.reset(count)
	v.Offsets = slices.Grow(v.Offsets[:0], count+1)[:count+1]
	v.own = room(v.own, len(data)-4*count)
	out := v.own
	at := 0
	v.Offsets[0] = 0
	for i := range count {
		if len(data) < 4 {
			return nil, errShort
		}
		n := int(binary.LittleEndian.Uint32(data))
		if data = data[4:]; n > len(data) || n > len(out)-at {
			return nil, errShort
		}
		if n <= 16 && len(data) >= 16 && len(out)-at >= 16 { // most are: one move
			copy(out[at:at+16], data[:16])
		} else {
			copy(out[at:], data[:n])
		}
		at += n
		data = data[n:]
		v.Offsets[i+1] = int32(at)
	}
	v.Data = out[:at]
	return data, nil
}

// decodeSplit puts bytes that lie apart together: the first of each value, the
// second of each, and so on.
func (v *Values) decodeSplit(data []byte, width int) error {
	if len(data)%width != 0 {
		return errShort
	}
	n := len(data) / width
	v.reset(n)
	v.own = room(v.own, len(data))
	for b := range width {
		stream := data[b*n : (b+1)*n]
		for i, x := range stream {
			v.own[i*width+b] = x
		}
	}
	v.Data = v.own
	return nil
}

// decodeFixed takes plain values of a fixed width, as they lie there.
func (v *Values) decodeFixed(data []byte, width int) error {
	v.reset(len(data) / width)
	v.Data = data[:v.N*width]
	return nil
}

// decodeBits takes plain booleans, count of them.
func (v *Values) decodeBits(data []byte, count int) error {
	if count > 8*len(data) {
		return errShort
	}
	v.reset(count)
	v.own = room(v.own, count)
	for i := range v.own {
		v.own[i] = data[i>>3] >> (i & 7) & 1
	}
	v.Data = v.own
	return nil
}
