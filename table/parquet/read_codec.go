package parquet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/format"
	"github.com/pierrec/lz4/v4"
)

// Unpacker decompresses pages. It may be used by several goroutines; files that
// are read one after the other share one, since what it needs takes time to make.
type Unpacker struct {
	once sync.Once
	zstd *zstd.Decoder
	err  error
}

// NewUnpacker makes an Unpacker. It takes no memory before it is used.
func NewUnpacker() *Unpacker { return &Unpacker{} }

var errPageSize = errors.New("a page has another size than its header says")

func canUnpack(codec format.CompressionCodec) bool {
	switch codec {
	case format.Uncompressed, format.Snappy, format.Zstd, format.Lz4Raw, format.Gzip, format.Brotli:
		return true
	}
	return false
}

// unpack gives the size bytes of which src is the compressed form: src itself
// where it is not compressed, else own, which may be made anew.
func (u *Unpacker) unpack(codec format.CompressionCodec, own *[]byte, src []byte, size int64) (_ []byte, err error) {
	if codec == format.Uncompressed {
		if int64(len(src)) != size {
			return nil, errPageSize
		}
		return src, nil
	}
	*own, err = u.unpackTo(codec, *own, src, size)
	return *own, err
}

// unpackTo decompresses src into dst or a new slice. What it makes room for is
// in proportion to src, whatever size says.
func (u *Unpacker) unpackTo(codec format.CompressionCodec, dst, src []byte, size int64) (_ []byte, err error) {
	if size == 0 && len(src) == 0 {
		return dst[:0], nil
	}
	switch codec {
	case format.Snappy:
		n, err := s2.DecodedLen(src)
		if err != nil || int64(n) != size || n > 64*len(src) {
			return dst, errPageSize
		}
		dst, err = s2.Decode(room(dst, n), src)
		if err != nil {
			return dst, fmt.Errorf("decompress a page (snappy): %w", err)
		}
	case format.Zstd:
		if dst, err = u.unzstd(dst, src, size); err != nil {
			return dst, fmt.Errorf("decompress a page (zstd): %w", err)
		}
	case format.Lz4Raw:
		if size > 256*int64(len(src))+64 {
			return dst, errPageSize
		}
		dst = room(dst, int(size))
		n, err := lz4.UncompressBlock(src, dst)
		if err != nil {
			return dst, fmt.Errorf("decompress a page (lz4): %w", err)
		}
		dst = dst[:n]
	case format.Gzip:
		r, err := gzip.NewReader(bytes.NewReader(src))
		if err == nil {
			dst, err = readSize(dst, r, size)
		}
		if err != nil {
			return dst, fmt.Errorf("decompress a page (gzip): %w", err)
		}
	case format.Brotli:
		if dst, err = readSize(dst, brotli.NewReader(bytes.NewReader(src)), size); err != nil {
			return dst, fmt.Errorf("decompress a page (brotli): %w", err)
		}
	default:
		return dst, fmt.Errorf("%w: compressed with %s", ErrForm, codec)
	}
	if int64(len(dst)) != size {
		return dst, errPageSize
	}
	return dst, nil
}

// room is a slice of n bytes, of dst where it has as many.
func room(dst []byte, n int) []byte {
	if cap(dst) < n {
		return make([]byte, n)
	}
	return dst[:n]
}

func (u *Unpacker) unzstd(dst, src []byte, size int64) ([]byte, error) {
	u.once.Do(func() {
		u.zstd, u.err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true), zstd.WithDecodeAllCapLimit(true))
	})
	if u.err != nil {
		return dst, u.err
	}
	for most := min(size, 256*int64(len(src))+1<<20); ; most = min(size, 8*most) {
		dst = room(dst, int(most))
		out, err := u.zstd.DecodeAll(src, dst[:0:most])
		if errors.Is(err, zstd.ErrDecoderSizeExceeded) && most < size {
			continue
		}
		if err != nil || int64(len(out)) > most {
			return out, err
		}
		return dst[:len(out)], nil // where out lies, too, with all of its room: the next page may be larger
	}
}

// readSize reads size bytes, growing as they come.
func readSize(dst []byte, r io.Reader, size int64) ([]byte, error) {
	out := bytes.NewBuffer(dst[:0])
	n, err := out.ReadFrom(io.LimitReader(r, size+1))
	if err == nil && n != size {
		err = errPageSize
	}
	return out.Bytes(), err
}
