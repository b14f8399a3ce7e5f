package tally

import (
	"bytes"
	"unsafe"
)

// index numbers the group keys of one table: the first key seen is group 0, the
// next new one group 1, and so on.
type index interface {
	// resolve finds or adds the group of each row. groups has len(rows).
	resolve(keys *keyBatch, rows, groups []int32)
	len() int
	// emit appends the key columns of the groups to out, one vector a key column.
	emit(groups []int32, out []vector)
	// compare orders a group by its key against one of an index of the same rule:
	// column after column, NULL, then NaN, first.
	compare(a int32, in index, b int32) int
	// reserve makes room for n groups in all, so that adding them moves nothing.
	reserve(n int)
	// encode appends the keys of the groups numbered from on, to exclusive.
	encode(dst []byte, from, to int) []byte
	// decode reads n keys and adds all but the first skip, which are there.
	decode(r *reader, n, skip int)
	bytes() int64
	// reset takes all groups out and keeps the room.
	reset()
}

// noGroup marks a NULL key that has not been seen.
const noGroup = -1

// oneGroup is the index of a rule without key columns.
type oneGroup struct{ seen bool }

func (x *oneGroup) resolve(_ *keyBatch, _, groups []int32) {
	clear(groups)
	x.seen = true
}

func (x *oneGroup) len() int {
	if x.seen {
		return 1
	}
	return 0
}

func (x *oneGroup) emit([]int32, []vector)             {}
func (x *oneGroup) compare(int32, index, int32) int    { return 0 }
func (x *oneGroup) reserve(int)                        {}
func (x *oneGroup) encode(dst []byte, _, _ int) []byte { return dst }
func (x *oneGroup) bytes() int64                       { return 16 }
func (x *oneGroup) reset()                             { x.seen = false }
func (x *oneGroup) decode(r *reader, n, skip int) {
	if n > 1 || x.seen && n > skip {
		r.fail("more than one group without a key")
		return
	}
	x.seen = x.seen || n > 0
}

// byteGroups is the index of every other key: the bytes of one text column, or
// all key columns of a row, encoded (keyBatch.append).
type byteGroups struct {
	set  byteSet
	null int32 // the group of NULL where the key is one text column
}

func (x *byteGroups) resolve(keys *keyBatch, rows, groups []int32) {
	if keys.mode == rowKey {
		for i, row := range rows {
			keys.scratch = keys.append(keys.scratch[:0], row)
			groups[i] = x.set.find(keys.scratch)
		}
		return
	}
	c := &keys.columns[0]
	for i, row := range rows {
		if c.null(row) {
			groups[i] = x.findNull()
		} else {
			groups[i] = x.set.find(c.text(int(row)))
		}
	}
}

func (x *byteGroups) findNull() int32 {
	if x.null == noGroup {
		x.null = x.set.appendUnindexed(nil)
	}
	return x.null
}

func (x *byteGroups) len() int { return x.set.len() }

func (x *byteGroups) compare(a int32, in index, b int32) int {
	like, ok := in.(interface{ texts() *byteGroups })
	if !ok {
		return 0
	}
	other := like.texts()
	if anull, bnull := a == x.null, b == other.null; anull || bnull {
		return nullsFirst(anull, bnull)
	}
	return bytes.Compare(x.set.at(a), other.set.at(b))
}

func (x *byteGroups) texts() *byteGroups { return x }

func (x *byteGroups) reserve(n int) { x.set.reserve(n) }

func (x *byteGroups) reset() {
	x.set.reset()
	x.null = noGroup
}

func (x *byteGroups) encode(dst []byte, from, to int) []byte {
	dst = appendNullAt(dst, x.null, from, to)
	for g := int32(from); int(g) < to; g++ {
		if g != x.null {
			dst = appendBytes(dst, x.set.at(g))
		}
	}
	return dst
}

// decodeKeys is what textGroups and rowGroups have in common; valid says what a key
// may be.
func (x *byteGroups) decodeKeys(r *reader, n, skip int, valid func(key []byte) bool) {
	null := r.nullAt(n)
	for i := range n {
		var key []byte
		if i != null {
			key = r.bytes()
		}
		if r.err != nil {
			return
		}
		if i < skip {
			continue
		}
		before := x.len()
		switch {
		case i == null:
			x.findNull()
		case !valid(key):
			r.fail("a group key that cannot be read")
			return
		default:
			x.set.find(key)
		}
		if x.len() != before+1 {
			r.fail("a group key comes twice")
			return
		}
	}
}

func (x *byteGroups) bytes() int64 { return x.set.bytes() }

// textGroups are byteGroups of one text column.
type textGroups struct{ byteGroups }

func (x *textGroups) emit(groups []int32, out []vector) {
	for _, g := range groups {
		if g == x.null {
			out[0].null()
		} else {
			out[0].bytes(x.set.at(g))
		}
	}
}

func (x *textGroups) decode(r *reader, n, skip int) {
	x.decodeKeys(r, n, skip, func([]byte) bool { return true })
}

// rowGroups are byteGroups of encoded rows.
type rowGroups struct {
	byteGroups
	codec keyCodec
}

func (x *rowGroups) emit(groups []int32, out []vector) {
	for _, g := range groups {
		x.codec.decode(x.set.at(g), out)
	}
}

func (x *rowGroups) decode(r *reader, n, skip int) {
	x.decodeKeys(r, n, skip, x.codec.valid)
	if r.err == nil && x.null != noGroup {
		r.fail("a NULL where a row of keys belongs")
	}
}

func nullsFirst(a, b bool) int {
	switch {
	case a && b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}

// stringBytes views a string as bytes, which nobody may change.
func stringBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
