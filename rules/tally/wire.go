package tally

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// The forms of the values in a checkpoint: integers as varints, floats and the
// words of wide sums as eight bytes, little-endian, bytes after their length.

func appendInt(dst []byte, x int64) []byte     { return binary.AppendVarint(dst, x) }
func appendUint(dst []byte, x uint64) []byte   { return binary.AppendUvarint(dst, x) }
func appendFixed(dst []byte, x uint64) []byte  { return binary.LittleEndian.AppendUint64(dst, x) }
func appendFloat(dst []byte, x float64) []byte { return appendFixed(dst, math.Float64bits(x)) }

func appendBool(dst []byte, x bool) []byte {
	if x {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func appendBytes(dst, x []byte) []byte {
	return append(appendUint(dst, uint64(len(x))), x...)
}

var errTruncated = errors.New("it ends too early")

// reader reads a checkpoint. After the first error it returns zeros, and count
// returns no more than what the rest could hold, so that a corrupt checkpoint
// neither panics nor allocates more than its own size.
type reader struct {
	data []byte
	err  error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("it holds %s", what)
	}
	r.data = nil
}

func (r *reader) short() {
	if r.err == nil {
		r.err = errTruncated
	}
	r.data = nil
}

func (r *reader) take(n int) []byte {
	if n > len(r.data) {
		r.short()
		return nil
	}
	out := r.data[:n:n]
	r.data = r.data[n:]
	return out
}

func (r *reader) int() int64 {
	x, n := binary.Varint(r.data)
	if n <= 0 {
		r.short()
		return 0
	}
	r.data = r.data[n:]
	return x
}

func (r *reader) uint() uint64 {
	x, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.short()
		return 0
	}
	r.data = r.data[n:]
	return x
}

func (r *reader) fixed() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *reader) float() float64 { return math.Float64frombits(r.fixed()) }

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) bool() bool {
	b := r.byte()
	if b > 1 {
		r.fail("a flag that is neither 0 nor 1")
	}
	return b == 1
}

// bytes is a view of the checkpoint.
func (r *reader) bytes() []byte { return r.take(r.count(1)) }

// count reads a number of things that take at least width bytes each.
func (r *reader) count(width int) int {
	n := r.uint()
	if n > uint64(len(r.data)/width) {
		r.short()
		return 0
	}
	return int(n)
}
