package tally

import "unsafe"

// chunked is a growing array that is not copied when it grows, once it is large:
// an Add that makes the ten millionth group takes no longer than others. The
// zero value is empty; new values are zero.
type chunked[T any] struct {
	first []T   // up to chunkLen values; it grows by copying
	more  [][]T // those behind, chunkLen each but in the last; each has room for as many
}

const (
	chunkBits = 16
	chunkLen  = 1 << chunkBits
)

// at is the i-th value's place, which stays where it is until the array grows.
func (c *chunked[T]) at(i int32) *T {
	if i < chunkLen {
		return &c.first[i]
	}
	return &c.more[uint32(i)>>chunkBits-1][uint32(i)&(chunkLen-1)]
}

func (c *chunked[T]) len() int {
	if len(c.more) == 0 {
		return len(c.first)
	}
	return len(c.more)<<chunkBits + len(c.more[len(c.more)-1])
}

// single is all values where they are one slice, nil otherwise.
func (c *chunked[T]) single() []T {
	if len(c.more) == 0 {
		return c.first
	}
	return nil
}

// grow makes them n values in all, if there are fewer.
func (c *chunked[T]) grow(n int) {
	if n > len(c.first) && len(c.first) < chunkLen {
		c.first = grown(c.first, min(n, chunkLen))
	}
	for n > c.len() {
		last := c.last()
		*last = (*last)[:min(n-(len(c.more)<<chunkBits), chunkLen)]
	}
}

// last is the last chunk behind the first that has room.
func (c *chunked[T]) last() *[]T {
	if n := len(c.more); n == 0 || len(c.more[n-1]) == chunkLen {
		c.more = append(c.more, make([]T, 0, chunkLen))
	}
	return &c.more[len(c.more)-1]
}

func (c *chunked[T]) add(x T) {
	if len(c.first) < chunkLen {
		c.first = append(c.first, x)
		return
	}
	last := c.last()
	*last = append(*last, x)
}

// reset takes all values out. The room of the first is kept, as zeros.
func (c *chunked[T]) reset() { c.first, c.more = emptied(c.first), nil }

func (c *chunked[T]) bytes() int64 {
	var x T
	return int64(cap(c.first)+len(c.more)*chunkLen)*int64(unsafe.Sizeof(x)) + int64(cap(c.more))*24
}
