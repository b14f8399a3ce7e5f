package parquet

import (
	"math/bits"

	"github.com/parquet-go/parquet-go/encoding/rle"
	"github.com/parquet-go/parquet-go/format"
)

const (
	leastIndices = 1 << 10   // bytes of a page; fewer are left to the general encoder
	blockBytes   = 128 << 10 // of a zstd block, at most
)

// compressIndices is compress for a page of a dictionary's indices. Packed by bits,
// they seldom hold a match of whole bytes: what the general encoder takes away is
// the entropy of the bytes, after a look for matches that takes as long, and where
// there are many values not even that. Now and then it tries all ways.
func (c codec) compressIndices(s *scratch, body []byte, by *choice) ([]byte, error) {
	if c.id != format.Zstd || len(body) < leastIndices {
		return c.compress(s, body)
	}
	if by.pages%judgedPages == 0 {
		if err := c.judgeIndices(s, body, by); err != nil {
			return nil, err
		}
	}
	by.pages++
	if by.way == byGeneral {
		return c.compress(s, body)
	}
	return s.numbers.literalFrame(body, by.way)
}

// judgeIndices compresses body in all ways. One that takes longer has to be smaller by some percent.
func (c codec) judgeIndices(s *scratch, body []byte, by *choice) error {
	best := float64(len(body))
	by.way = byNothing
	frame, err := s.numbers.literalFrame(body, byLiterals)
	if err != nil {
		return err
	}
	if float64(len(frame)) < best*0.97 { // ten times as long
		best, by.way = float64(len(frame)), byLiterals
	}
	general, err := c.compress(s, body)
	if err == nil && float64(len(general)) < best*0.98 { // as long to twice as long
		by.way = byGeneral
	}
	return err
}

// literalFrame is body as a zstd frame without any match: its bytes as they are or, by
// literals, entropy coded where that makes them fewer. It is valid until the next call.
func (z *numbers) literalFrame(body []byte, by way) ([]byte, error) {
	dst := appendFrameHeader(z.frame[:0], len(body))
	for len(body) > 0 {
		block := body[:min(len(body), blockBytes)]
		body = body[len(block):]
		literals, kind := block, blockRaw
		if by == byLiterals {
			var err error
			if literals, kind, err = z.packLiterals(block); err != nil {
				return nil, err
			}
		}
		header := literalsHeader(kind, len(block), len(literals))
		size := len(header) + len(literals) + 1
		if kind == blockRaw || size >= len(block) { // more than a block holds is no zstd
			dst = append(appendBlock(dst, len(body) == 0, blockRaw, len(block)), block...)
			continue
		}
		dst = appendBlock(dst, len(body) == 0, blockPacked, size)
		dst = append(append(append(dst, header...), literals...), 0) // so many sequences
	}
	z.frame = dst
	return dst, nil
}

// encodeIndices is dst, overwritten with the indices as a data page has them: their
// width in bits, then runs and packed values.
func encodeIndices(dst []byte, indices []int32) ([]byte, error) {
	all := int32(0)
	for _, x := range indices {
		all |= x
	}
	width := bits.Len32(uint32(all))
	dst = append(dst[:0], byte(width))
	runs, err := (&rle.Encoding{BitWidth: width}).EncodeInt32(dst[1:], indices)
	return append(dst, runs...), err
}
