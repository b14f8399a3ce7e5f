package tally

import "unsafe"

// chunked is a growing array that is not copied when it grows, once it is large:
// an Add that makes the ten millionth group takes no longer than others. The
// zero value is empty; new values are zero.
type chunked[T any] struct {
	chunks [][]T // all but the last have chunkLen values; there is room for as many in all but the first
}

const (
	chunkBits = 16
	chunkLen  = 1 << chunkBits
)

// at is the i-th value's place, which stays where it is until the array grows.
func (c *chunked[T]) at(i int32) *T {
	return &c.chunks[uint32(i)>>chunkBits][uint32(i)&(chunkLen-1)]
}

func (c *chunked[T]) len() int {
	if len(c.chunks) == 0 {
		return 0
	}
	last := len(c.chunks) - 1
	return last<<chunkBits + len(c.chunks[last])
}

// single is all values where they are one slice, nil otherwise.
func (c *chunked[T]) single() []T {
	if len(c.chunks) == 1 {
		return c.chunks[0]
	}
	return nil
}

// grow makes them n values in all, if there are fewer.
func (c *chunked[T]) grow(n int) {
	for n > c.len() {
		last := len(c.chunks) - 1
		if last < 0 || len(c.chunks[last]) == chunkLen {
			c.chunks = append(c.chunks, c.chunk())
			continue
		}
		c.chunks[last] = grown(c.chunks[last], min(n-last<<chunkBits, chunkLen))
	}
}

// chunk is a new one; the first has to grow before it has room.
func (c *chunked[T]) chunk() []T {
	if len(c.chunks) == 0 {
		return nil
	}
	return make([]T, 0, chunkLen)
}

func (c *chunked[T]) add(x T) {
	last := len(c.chunks) - 1
	if last < 0 || len(c.chunks[last]) == chunkLen {
		c.chunks = append(c.chunks, c.chunk())
		last++
	}
	c.chunks[last] = append(c.chunks[last], x)
}

// reset takes all values out. The room of the first is kept, as zeros.
func (c *chunked[T]) reset() {
	if len(c.chunks) > 0 {
		c.chunks[0] = emptied(c.chunks[0])
		clear(c.chunks[1:])
		c.chunks = c.chunks[:1]
	}
}

func (c *chunked[T]) bytes() int64 {
	n := 0
	if len(c.chunks) > 0 {
		n = cap(c.chunks[0]) + (len(c.chunks)-1)*chunkLen
	}
	var x T
	return int64(n)*int64(unsafe.Sizeof(x)) + int64(cap(c.chunks))*24
}
