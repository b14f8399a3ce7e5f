package parquet

import (
	"errors"

	"github.com/parquet-go/parquet-go/format"
)

var errThrift = errors.New("what Parquet says about its pages cannot be read")

// cursor walks through Thrift's compact form. After an error it gives zeros.
type cursor struct {
	data []byte
	at   int
	err  error
}

func (c *cursor) fail() uint64 {
	c.err, c.at = errThrift, len(c.data)
	return 0
}

func (c *cursor) byte() byte {
	if c.at >= len(c.data) {
		return byte(c.fail())
	}
	c.at++
	return c.data[c.at-1]
}

func (c *cursor) uvarint() (v uint64) {
	for shift := 0; shift < 64; shift += 7 {
		b := c.byte()
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
	return c.fail()
}

func (c *cursor) int() int64 {
	u := c.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (c *cursor) bytes(n uint64) {
	if n > uint64(len(c.data)-c.at) {
		c.fail()
		return
	}
	c.at += int(n)
}

// Types of Thrift's compact form.
const (
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftI16    = 4
	thriftI32    = 5
	thriftI64    = 6
	thriftDouble = 7
	thriftBinary = 8
	thriftList   = 9
	thriftSet    = 10
	thriftMap    = 11
	thriftStruct = 12
)

// maxNesting is deeper than Parquet's structs go.
const maxNesting = 32

// field begins the next field of a struct; kind 0 is its end.
func (c *cursor) field(last int16) (id int16, kind byte) {
	b := c.byte()
	if kind = b & 0xf; kind == 0 {
		return 0, 0
	}
	if delta := b >> 4; delta != 0 {
		return last + int16(delta), kind
	}
	return int16(c.int()), kind
}

func (c *cursor) skipStruct(depth int) {
	for id := int16(0); c.err == nil; {
		var kind byte
		if id, kind = c.field(id); kind == 0 {
			return
		}
		c.skip(kind, depth, false)
	}
}

// skip passes a value. In a list a boolean is a byte, in a struct it is none.
func (c *cursor) skip(kind byte, depth int, listed bool) {
	if depth > maxNesting {
		c.fail()
		return
	}
	switch kind {
	case thriftTrue, thriftFalse:
		if listed {
			c.byte()
		}
	case thriftByte:
		c.byte()
	case thriftI16, thriftI32, thriftI64:
		c.uvarint()
	case thriftDouble:
		c.bytes(8)
	case thriftBinary:
		c.bytes(c.uvarint())
	case thriftList, thriftSet:
		b := c.byte()
		n := uint64(b >> 4)
		if n == 15 {
			n = c.uvarint()
		}
		if n > uint64(len(c.data)-c.at) { // each takes a byte at least
			c.fail()
		}
		for ; n > 0 && c.err == nil; n-- {
			c.skip(b&0xf, depth+1, true)
		}
	case thriftMap:
		n := c.uvarint()
		if n == 0 {
			return
		}
		if n > uint64(len(c.data)-c.at) {
			c.fail()
		}
		b := c.byte()
		for ; n > 0 && c.err == nil; n-- {
			c.skip(b>>4, depth+1, true)
			c.skip(b&0xf, depth+1, true)
		}
	case thriftStruct:
		c.skipStruct(depth + 1)
	default:
		c.fail()
	}
}

// pageHead is what of a page's header is needed to read it.
type pageHead struct {
	kind           format.PageType
	plain, packed  int64 // bytes
	crc            uint32
	hasCRC         bool
	slots          int64 // entries of a dictionary
	coding         format.Encoding
	defForm, reps  format.Encoding // of levels, version 1
	defLen, repLen int64           // bytes, version 2
	notCompressed  bool
}

// readPageHead reads a header at the beginning of data, and says how long it is.
func readPageHead(data []byte) (h pageHead, n int, err error) {
	c := cursor{data: data}
	h.kind = -1
	for id := int16(0); c.err == nil; {
		var kind byte
		if id, kind = c.field(id); kind == 0 {
			break
		}
		number := kind == thriftI32
		switch {
		case id == 1 && number:
			h.kind = format.PageType(c.int())
		case id == 2 && number:
			h.plain = c.int()
		case id == 3 && number:
			h.packed = c.int()
		case id == 4 && number:
			h.crc, h.hasCRC = uint32(c.int()), true
		case (id == 5 || id == 7 || id == 8) && kind == thriftStruct:
			h.inner(&c, id)
		default:
			c.skip(kind, 0, false)
		}
	}
	if c.err == nil && (h.kind < 0 || h.plain < 0 || h.packed < 0 || h.plain > maxPage || h.slots < 0 || h.slots > 1<<31-1) {
		c.fail()
	}
	return h, c.at, c.err
}

// inner reads the header of a data page (5), a dictionary (7), or a data page of
// version 2 (8).
func (h *pageHead) inner(c *cursor, which int16) {
	for id := int16(0); c.err == nil; {
		var kind byte
		if id, kind = c.field(id); kind == 0 {
			return
		}
		if kind != thriftI32 {
			if which == 8 && id == 7 && kind == thriftFalse {
				h.notCompressed = true
			}
			c.skip(kind, 1, false)
			continue
		}
		v := c.int()
		switch {
		case id == 1:
			h.slots = v
		case id == 2 && which != 8, id == 4 && which == 8:
			h.coding = format.Encoding(v)
		case id == 3 && which == 5:
			h.defForm = format.Encoding(v)
		case id == 4 && which == 5:
			h.reps = format.Encoding(v)
		case id == 5 && which == 8:
			h.defLen = v
		case id == 6 && which == 8:
			h.repLen = v
		}
	}
}
