package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/klauspost/compress/huff0"
	"github.com/parquet-go/parquet-go/format"
)

// Numbers of 8 bytes that lie close together (times of day, ids) differ in
// their low bytes only. All that an encoder of zstd finds in them, after a long
// look, is that the high bytes are those of the value before. numbers writes
// just that: the low bytes of all values as literals, entropy coded, and for each
// value the one sequence "so many literals, then the rest from 8 bytes ago". The
// sequences are all the same, so that they take no room. That is as small, or
// smaller, in a fifth of the time. It is a zstd frame like any other (RFC 8878).
type numbers struct {
	huff     huff0.Scratch
	literals []byte
	frame    []byte // by compressNumbers
	repeats  repeats
}

const (
	leastNumbers   = 512     // fewer are left to the other encoder
	mostLowBytes   = 5       // a match is of 3 bytes at least
	blockNumbers   = 1 << 14 // a block is of 128 KiB at most
	mostPrefix     = 64 << 10
	judgedPages    = 16 // of so many pages one is looked at both ways, to see which is smaller
	singleSegment  = 0xa0
	blockRaw       = 0
	blockPacked    = 2
	literalsPacked = 2
	allRLE         = 0x54 // the modes of the three tables of sequences
)

// choices are how a leaf's pages are compressed.
type choices struct {
	numbers choice // of plain pages
	entries choice // of dictionaries
	indices choice // of pages that refer to them
}

// choice is how one kind of a leaf's pages is compressed.
type choice struct {
	distinct bool // no value comes twice
	pages    int  // so far
	way      way  // that did best when they were last tried
}

type way int

const (
	byLowBytes way = iota
	byRepeats
	byGeneral
	byLiterals // indices: no look for what repeats
	byNothing  // indices: not at all
)

// compressNumbers is compress for a page whose values begin at start and are 8
// bytes each. Now and then it tries all ways on a part of the page.
func (c codec) compressNumbers(s *scratch, body []byte, start int, by *choice) ([]byte, error) {
	if c.id != format.Zstd {
		return c.compress(s, body)
	}
	if by.pages%judgedPages == 0 {
		part := body
		if values := len(body) - start; values >= 4*8*leastNumbers {
			part = body[:start+values/4/8*8]
		}
		if err := c.judge(s, part, start, by); err != nil {
			return nil, err
		}
	}
	by.pages++
	if by.way != byGeneral {
		if frame, err := s.numbers.compress(body, start, by.way); frame != nil || err != nil {
			return frame, err
		}
	}
	return c.compress(s, body)
}

// judge compresses part in all ways. One that takes longer has to be so much smaller.
func (c codec) judge(s *scratch, part []byte, start int, by *choice) error {
	by.way = byLowBytes
	frame, err := s.numbers.compress(part, start, byLowBytes)
	if frame == nil || err != nil {
		return err // each page is asked whether it can be
	}
	best := float64(len(frame))
	if !by.distinct {
		if frame, err = s.numbers.compress(part, start, byRepeats); err != nil {
			return err
		}
		if frame != nil && float64(len(frame)) < best*0.97 { // twice as long
			best, by.way = float64(len(frame)), byRepeats
		}
	}
	general, err := c.compress(s, part)
	if err == nil && float64(len(general)) < best*0.95 { // two to five times as long
		by.way = byGeneral
	}
	return err
}

// compress returns body as a frame that is valid until the next call; nil where it is
// better left to others.
func (z *numbers) compress(body []byte, start int, by way) ([]byte, error) {
	add := z.appendFrame
	if by == byRepeats {
		add = z.appendRepeats
	}
	frame, ok, err := add(z.frame[:0], body, start)
	z.frame = frame
	if !ok || err != nil {
		return nil, err
	}
	return frame, nil
}

// appendFrame appends body as a frame: a prefix of start bytes and then numbers.
// It returns false, and dst as it was, where they are better left to others.
func (z *numbers) appendFrame(dst, body []byte, start int) ([]byte, bool, error) {
	values := body[start:]
	low := lowBytes(values, start)
	if low == 0 {
		return dst, false, nil
	}
	before := len(dst)
	dst = appendFrameHeader(dst, len(body))

	// The first value as it is; the second one says in full that its high bytes
	// are from 8 bytes ago, which makes that the offset to repeat.
	dst = appendBlock(dst, false, blockRaw, start+8)
	dst = append(dst, body[:start+8]...)
	second := append([]byte{byte(low << 3)}, values[8:8+low]...)
	second = append(second, 1, allRLE, byte(low), 3, byte(mostLowBytes-low), 0b1011)
	dst = appendBlock(dst, false, blockPacked, len(second))
	dst = append(dst, second...)

	for values = values[16:]; len(values) > 0; {
		n := min(len(values)/8, blockNumbers)
		block := values[:8*n]
		values = values[8*n:]
		literals, kind, err := z.pack(block, low)
		if err != nil {
			return dst[:before], false, err
		}
		var sequences [8]byte
		tail := append(appendCount(sequences[:0], n), allRLE, byte(low), 0, byte(mostLowBytes-low), 1)
		header := literalsHeader(kind, low*n, len(literals))
		dst = appendBlock(dst, len(values) == 0, blockPacked, len(header)+len(literals)+len(tail))
		dst = append(append(append(dst, header...), literals...), tail...)
	}
	return dst, true, nil
}

// lowBytes is how many bytes of the values, which begin at start of a page, differ
// from one to the next; 0 where they are not for a frame of ours, because there are
// few, or they differ in more bytes, or so many repeat that one should look for more.
func lowBytes(values []byte, start int) int {
	if len(values) < 8*leastNumbers || len(values)%8 != 0 || start > mostPrefix {
		return 0
	}
	differ, same := uint64(0), 0
	last := binary.LittleEndian.Uint64(values)
	for rest := values[8:]; len(rest) >= 8; rest = rest[8:] {
		x := binary.LittleEndian.Uint64(rest)
		differ |= x ^ last
		if x == last {
			same++
		}
		last = x
	}
	if same > len(values)/8/8 {
		return 0
	}
	if low := (bits.Len64(differ) + 7) / 8; low <= mostLowBytes {
		return low
	}
	return 0
}

// pack returns the low bytes of a block's values, entropy coded where that is
// shorter, and how they are coded. They are valid until the next call.
func (z *numbers) pack(values []byte, low int) (literals []byte, kind int, err error) {
	n := len(values) / 8
	if cap(z.literals) < n*low+8 {
		z.literals = make([]byte, blockNumbers*mostLowBytes+8)
	}
	out := z.literals[:n*low+8]
	for at := 0; len(values) >= 8; values = values[8:] {
		binary.LittleEndian.PutUint64(out[at:], binary.LittleEndian.Uint64(values)) // the next one covers the high bytes
		at += low
	}
	return z.packLiterals(out[:n*low])
}

// packLiterals is the end of pack.
func (z *numbers) packLiterals(out []byte) (literals []byte, kind int, err error) {
	if len(out) < 256 {
		return out, blockRaw, nil
	}
	z.huff.Reuse = huff0.ReusePolicyNone
	packed, _, err := huff0.Compress4X(out, &z.huff)
	switch {
	case errors.Is(err, huff0.ErrIncompressible), errors.Is(err, huff0.ErrUseRLE):
		return out, blockRaw, nil
	case err != nil:
		return nil, 0, fmt.Errorf("entropy code %d bytes: %w", len(out), err)
	}
	return packed, literalsPacked, nil
}

func appendFrameHeader(dst []byte, size int) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, 0xfd2fb528)
	dst = append(dst, singleSegment)
	return binary.LittleEndian.AppendUint32(dst, uint32(size))
}

func appendBlock(dst []byte, last bool, kind, size int) []byte {
	header := uint32(kind)<<1 | uint32(size)<<3
	if last {
		header |= 1
	}
	return append(dst, byte(header), byte(header>>8), byte(header>>16))
}

func literalsHeader(kind, plain, packed int) []byte {
	const widest = 3 << 2 // sizes of 20 bits, or twice 18 and four streams
	if kind == blockRaw {
		header := uint32(widest) | uint32(plain)<<4
		return []byte{byte(header), byte(header >> 8), byte(header >> 16)}
	}
	header := uint64(literalsPacked) | widest | uint64(plain)<<4 | uint64(packed)<<22
	return binary.LittleEndian.AppendUint64(nil, header)[:5]
}

// appendCount appends a number of sequences.
func appendCount(dst []byte, n int) []byte {
	switch {
	case n < 128:
		return append(dst, byte(n))
	case n < 0x7f00:
		return append(dst, byte(n>>8)+128, byte(n))
	default:
		return binary.LittleEndian.AppendUint16(append(dst, 255), uint16(n-0x7f00))
	}
}
