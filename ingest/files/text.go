package files

import (
	"bufio"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds what a zstd file may make its reader hold: as the zstd command does.
const maxWindow = 128 << 20

// Text is what in holds as the source would read it: plain, or unpacked where its first
// bytes are gzip's or zstd's. The caller closes it, and in.
func Text(in io.Reader) (io.ReadCloser, error) {
	raw := bufio.NewReaderSize(in, 64<<10)
	head, err := raw.Peek(magicBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	k := sniff(head)
	if k == plain {
		return io.NopCloser(raw), nil
	}
	return unpack(k, raw)
}

// unpack begins to read a compressed text. What is returned has memory to hand back.
func unpack(k kind, raw io.Reader) (io.ReadCloser, error) {
	if k == gzipped {
		return gzip.NewReader(raw)
	}
	d, err := zstd.NewReader(raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}
