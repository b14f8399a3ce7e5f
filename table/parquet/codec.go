package parquet

import (
	"fmt"
	"math"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/format"
)

// codec is how pages are compressed.
type codec struct {
	name string
	id   format.CompressionCodec
}

func parseCodec(name string) (codec, error) {
	switch name {
	case "", "zstd":
		return codec{"zstd", format.Zstd}, nil
	case "snappy":
		return codec{"snappy", format.Snappy}, nil
	case "none", "uncompressed":
		return codec{"none", format.Uncompressed}, nil
	}
	return codec{}, fmt.Errorf("unknown codec %q; hint: zstd, snappy or none", name)
}

type zstdEncoder = zstd.Encoder

// compress returns src compressed, in s.packed or as it is.
func (c codec) compress(s *scratch, src []byte) ([]byte, error) {
	if len(src) > math.MaxInt32/2 {
		return nil, fmt.Errorf("a page of %d bytes is more than Parquet holds", len(src))
	}
	switch c.id {
	case format.Zstd:
		if s.zstd == nil {
			// Pages are small: a window beyond them only costs memory. Indices of a few bits have no
			// long matches and still take half the room where some come more often than others.
			e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
				zstd.WithWindowSize(2*pageBytes), zstd.WithLowerEncoderMem(true), zstd.WithZeroFrames(true), zstd.WithAllLitEntropyCompression(true), zstd.WithEncoderCRC(false))
			if err != nil {
				return nil, fmt.Errorf("make a zstd encoder: %w", err)
			}
			s.zstd = e
		}
		s.packed = s.zstd.EncodeAll(src, s.packed[:0])
		return s.packed, nil
	case format.Snappy:
		if n := s2.MaxEncodedLen(len(src)); cap(s.packed) < n {
			s.packed = make([]byte, n)
		}
		s.packed = s2.EncodeSnappy(s.packed[:cap(s.packed)], src)
		return s.packed, nil
	default:
		return src, nil
	}
}
