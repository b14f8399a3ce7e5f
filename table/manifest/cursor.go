package manifest

// cursor reads Avro's binary encoding. What lies behind the end, or is no value, makes it
// bad, and it gives zeros from then on: one look at the end is enough.
type cursor struct {
	data []byte
	bad  bool
}

func (c *cursor) fail() {
	c.data, c.bad = nil, true
}

// take is the next n bytes, not copied.
func (c *cursor) take(n int64) []byte {
	if n < 0 || n > int64(len(c.data)) {
		c.fail()
		return nil
	}
	out := c.data[:n:n]
	c.data = c.data[n:]
	return out
}

// long is an int or a long.
func (c *cursor) long() int64 {
	var x uint64
	for i, b := range c.data {
		if i == 9 && b > 1 || i > 9 {
			break
		}
		x |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			c.data = c.data[i+1:]
			return int64(x>>1) ^ -int64(x&1)
		}
	}
	c.fail()
	return 0
}

func (c *cursor) bytes() []byte { return c.take(c.long()) }

// block is the number of items in an array's or map's next block; 0: it was the last.
// Each item takes a byte at least (newNode sees to it), which bounds it.
func (c *cursor) block() int64 {
	n := c.long()
	if n < 0 {
		c.long() // the block's size, which skipping by items does not need
		n = -n
	}
	if n < 0 || n > int64(len(c.data)) {
		c.fail()
		return 0
	}
	return n
}

// branch is what a value that may be null is; nil: it is null, or there is none.
func (c *cursor) branch(n *node) *node {
	if n.kind != unionKind {
		return n
	}
	at := c.long()
	if at < 0 || at >= int64(len(n.branches)) {
		c.fail()
		return nil
	}
	if b := n.branches[at]; b.kind != nullKind {
		return b
	}
	return nil
}

// skip passes over a value.
func (c *cursor) skip(n *node) {
	switch n.kind {
	case nullKind:
	case boolKind:
		c.take(1)
	case intKind, longKind:
		c.long()
	case floatKind:
		c.take(4)
	case doubleKind:
		c.take(8)
	case bytesKind, stringKind:
		c.bytes()
	case fixedKind:
		c.take(int64(n.size))
	case unionKind:
		if b := c.branch(n); b != nil {
			c.skip(b)
		}
	case recordKind:
		for _, f := range n.fields {
			c.skip(f.node)
		}
	case arrayKind, mapKind:
		for many := c.block(); many > 0; many = c.block() {
			for ; many > 0 && !c.bad; many-- {
				if n.kind == mapKind {
					c.bytes()
				}
				c.skip(n.item)
			}
		}
	}
}

// raw passes over a value and returns its bytes, not copied.
func (c *cursor) raw(n *node) []byte {
	before := c.data
	c.skip(n)
	if c.bad {
		return nil
	}
	return before[: len(before)-len(c.data) : len(before)-len(c.data)]
}

// whole is an int or a long, 0 where it is null.
func (c *cursor) whole(n *node) (x int64, there bool) {
	b := c.branch(n)
	if b == nil {
		return 0, false
	}
	if b.kind != intKind && b.kind != longKind {
		c.fail()
		return 0, false
	}
	return c.long(), true
}

// text is bytes or a string, nil where it is null.
func (c *cursor) text(n *node) (x []byte, there bool) {
	b := c.branch(n)
	if b == nil {
		return nil, false
	}
	if b.kind != bytesKind && b.kind != stringKind {
		c.fail()
		return nil, false
	}
	return c.bytes(), true
}
