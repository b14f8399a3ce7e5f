package json

import (
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lake/schemas"
)

// store is the form of a column's values in memory.
type store uint8

const (
	storeNone store = iota // a struct has its fields
	storeBits
	store32
	store64
	store128
	storeText // offsets and bytes
	storeList // offsets and child columns
)

// column collects the values of one column in buffers of Arrow's form. What
// lies behind rows counts for nothing: to take rows back is to lower rows.
type column struct {
	kind     schemas.Kind
	store    store
	required bool
	dtype    arrow.DataType
	path     string
	mem      memory.Allocator
	parent   *column // nil for a column of the schema

	layout           schemas.Layout     // of dates and times
	width            int                // of every text of layout, where it can be read without a look for its end
	dateTimes        *schemas.DateTimes // layout's, where it is that of most logs; nil otherwise
	unit             int64              // µs in 1 of the number that layout is; 0 where it is text
	clock            *schemas.ZoneClock
	precision, scale int

	key, elem *column   // of a map; of a list only elem
	fields    []*column // of a struct
	object    *object   // of a struct: which key is which field

	rows, room int     // values held, and room for them
	valid      []byte  // bitmap; nil until there is a null
	bits       []byte  // storeBits
	i32        []int32 // store32
	i64        []int64 // store64; store128: two a value, in the order of memory
	offsets    []int32 // storeText, storeList: rows+1
	text       []byte  // storeText: up to offsets[rows]
	hint       hint    // of the next buffers' sizes
}

// hint is what the last batch held.
type hint struct{ rows, text int }

const (
	leastRows = 64 // buffers of all widths are then whole multiples of 8 bytes
	leastText = 1024
)

// grow makes room for more rows.
func (c *column) grow() {
	room := c.room * 2
	if room == 0 {
		room = max(c.hint.rows+c.hint.rows/8, leastRows)
	}
	room = (room + leastRows - 1) &^ (leastRows - 1)
	switch c.store {
	case storeBits:
		c.bits = resize(c.mem, c.bits, room/8)
	case store32:
		c.i32 = arrow.Int32Traits.CastFromBytes(resize(c.mem, arrow.Int32Traits.CastToBytes(c.i32), room*4))
	case store64:
		c.i64 = arrow.Int64Traits.CastFromBytes(resize(c.mem, arrow.Int64Traits.CastToBytes(c.i64), room*8))
	case store128:
		c.i64 = arrow.Int64Traits.CastFromBytes(resize(c.mem, arrow.Int64Traits.CastToBytes(c.i64), room*16))
	case storeText, storeList:
		c.offsets = arrow.Int32Traits.CastFromBytes(resize(c.mem, arrow.Int32Traits.CastToBytes(c.offsets), (room+1)*4))
		if c.room == 0 {
			c.offsets[0] = 0
		}
	}
	if c.valid != nil {
		c.valid = resize(c.mem, c.valid, room/8)
	}
	c.room = room
}

// growText makes room for n more bytes of text.
func (c *column) growText(n int) {
	have := int(c.offsets[c.rows])
	size := len(c.text) * 2
	if size == 0 {
		size = max(c.hint.text+c.hint.text/8, leastText)
	}
	c.text = resize(c.mem, c.text, (max(size, have+n)+63)&^63)
}

func resize(mem memory.Allocator, b []byte, size int) []byte {
	if b == nil {
		return mem.Allocate(size)
	}
	return mem.Reallocate(size, b)
}

// accept ends a value that is not null: its parts are in place.
func (c *column) accept() {
	if c.valid != nil {
		c.valid[c.rows>>3] |= 1 << (c.rows & 7)
	}
	c.rows++
}

// appendNull appends a null.
func (c *column) appendNull() {
	if c.rows == c.room {
		c.grow()
	}
	if c.valid == nil {
		c.valid = c.mem.Allocate(c.room / 8)
		for i := range c.valid[:(c.rows+7)/8] {
			c.valid[i] = 0xff
		}
	}
	c.blank()
	c.valid[c.rows>>3] &^= 1 << (c.rows & 7)
	c.rows++
}

// appendFiller appends what stands below a null struct: a null, or a zero where
// the field has no nulls.
func (c *column) appendFiller() {
	if !c.required {
		c.appendNull()
		return
	}
	if c.rows == c.room {
		c.grow()
	}
	c.blank()
	c.accept()
}

// blank writes an empty value at rows.
func (c *column) blank() {
	switch c.store {
	case storeNone:
		for _, f := range c.fields {
			f.appendFiller()
		}
	case storeBits:
		c.bits[c.rows>>3] &^= 1 << (c.rows & 7)
	case store32:
		c.i32[c.rows] = 0
	case store64:
		c.i64[c.rows] = 0
	case store128:
		c.i64[2*c.rows], c.i64[2*c.rows+1] = 0, 0
	case storeText, storeList:
		c.offsets[c.rows+1] = c.offsets[c.rows]
	}
}

// truncate takes all but the first rows back.
func (c *column) truncate(rows int) {
	if c.store == storeList {
		end := 0
		if c.room > 0 {
			end = int(c.offsets[rows])
		}
		c.elem.truncate(end)
		if c.key != nil {
			c.key.truncate(end)
		}
	}
	for _, f := range c.fields {
		f.truncate(rows)
	}
	c.rows = rows
}

// bytes is what the values take.
func (c *column) bytes() int64 {
	n := 0
	switch c.store {
	case storeBits:
		n = (c.rows + 7) / 8
	case store32:
		n = 4 * c.rows
	case store64:
		n = 8 * c.rows
	case store128:
		n = 16 * c.rows
	case storeText:
		n = 4 * c.rows
		if c.room > 0 {
			n += int(c.offsets[c.rows])
		}
	case storeList:
		n = 4 * c.rows
	}
	if c.valid != nil {
		n += (c.rows + 7) / 8
	}
	total := int64(n)
	c.each(func(child *column) { total += child.bytes() })
	return total
}

// each visits the columns right below c.
func (c *column) each(visit func(*column)) {
	if c.key != nil {
		visit(c.key)
	}
	if c.elem != nil {
		visit(c.elem)
	}
	for _, f := range c.fields {
		visit(f)
	}
}

// flush returns the values, whose buffers are the result's from now on, and
// leaves the column empty.
func (c *column) flush() *array.Data {
	if c.room == 0 && c.offsets == nil && (c.store == storeText || c.store == storeList) {
		c.grow() // an empty array has an offset too
	}
	nulls := 0
	var validity *memory.Buffer
	if c.valid != nil {
		if nulls = c.rows - countOnes(c.valid, c.rows); nulls > 0 {
			validity = c.buffer(c.valid, (c.rows+7)/8)
		} else {
			c.mem.Free(c.valid)
		}
	}
	buffers := append(make([]*memory.Buffer, 0, 3), validity)
	text := 0
	switch c.store {
	case storeBits:
		buffers = append(buffers, c.buffer(c.bits, (c.rows+7)/8))
	case store32:
		buffers = append(buffers, c.buffer(arrow.Int32Traits.CastToBytes(c.i32), 4*c.rows))
	case store64:
		buffers = append(buffers, c.buffer(arrow.Int64Traits.CastToBytes(c.i64), 8*c.rows))
	case store128:
		buffers = append(buffers, c.buffer(arrow.Int64Traits.CastToBytes(c.i64), 16*c.rows))
	case storeText:
		text = int(c.offsets[c.rows])
		buffers = append(buffers, c.buffer(arrow.Int32Traits.CastToBytes(c.offsets), 4*(c.rows+1)), c.buffer(c.text, text))
	case storeList:
		buffers = append(buffers, c.buffer(arrow.Int32Traits.CastToBytes(c.offsets), 4*(c.rows+1)))
	}
	data := array.NewData(c.dtype, c.rows, buffers, c.flushChildren(), nulls, 0)
	for _, b := range buffers {
		if b != nil {
			b.Release()
		}
	}
	for _, child := range data.Children() {
		child.Release()
	}
	c.hint = hint{rows: c.rows, text: text}
	c.forget()
	return data
}

func (c *column) flushChildren() []arrow.ArrayData {
	var children []arrow.ArrayData
	if c.key != nil { // a map is a list of entries
		entries := c.dtype.(*arrow.MapType).Elem()
		key, elem := c.key.flush(), c.elem.flush()
		children = append(children, array.NewData(entries, key.Len(), []*memory.Buffer{nil}, []arrow.ArrayData{key, elem}, 0, 0))
		key.Release()
		elem.Release()
		return children
	}
	c.each(func(child *column) { children = append(children, child.flush()) })
	return children
}

// buffer hands memory of the allocator over; used of it counts.
func (c *column) buffer(b []byte, used int) *memory.Buffer {
	if b == nil {
		return memory.NewBufferBytes(nil)
	}
	buffer := memory.NewBufferWithAllocator(b, c.mem)
	buffer.ResizeNoShrink(used)
	return buffer
}

func (c *column) release() {
	c.each((*column).release)
	for _, b := range [][]byte{c.valid, c.bits, arrow.Int32Traits.CastToBytes(c.i32), arrow.Int64Traits.CastToBytes(c.i64),
		arrow.Int32Traits.CastToBytes(c.offsets), c.text} {
		if b != nil {
			c.mem.Free(b)
		}
	}
	c.forget()
}

func (c *column) forget() {
	c.rows, c.room = 0, 0
	c.valid, c.bits, c.i32, c.i64, c.offsets, c.text = nil, nil, nil, nil, nil, nil
}

func countOnes(bitmap []byte, n int) int {
	ones := 0
	for _, b := range bitmap[:n/8] {
		ones += bits.OnesCount8(b)
	}
	if n%8 != 0 {
		ones += bits.OnesCount8(bitmap[n/8] & (1<<(n%8) - 1))
	}
	return ones
}
