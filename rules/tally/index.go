package tally

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"math/bits"
	"slices"
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
	// compare orders groups by key: column after column, NULL, then NaN, first.
	compare(a, b int32) int
	// reserve makes room for n groups in all, so that adding them moves nothing.
	reserve(n int)
	// encode appends the keys of the groups numbered from on, to exclusive.
	encode(dst []byte, from, to int) []byte
	// decode reads n keys and adds all but the first skip, which are there.
	decode(r *reader, n, skip int)
	bytes() int64
}

// noGroup marks an empty slot, and a NULL key that has not been seen.
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
func (x *oneGroup) compare(_, _ int32) int             { return 0 }
func (x *oneGroup) reserve(int)                        {}
func (x *oneGroup) encode(dst []byte, _, _ int) []byte { return dst }
func (x *oneGroup) bytes() int64                       { return 16 }
func (x *oneGroup) decode(r *reader, n, skip int) {
	if n > 1 || x.seen && n > skip {
		r.fail("more than one group without a key")
		return
	}
	x.seen = x.seen || n > 0
}

// intGroups is the index of one key column that is an integer, a date, a time
// or a bool: open addressing with linear probing.
type intGroups struct {
	slots  []intSlot // a power of two
	keys   []int64   // by group
	null   int32     // the group of NULL
	seed   uint64
	filled int
}

type intSlot struct {
	key   int64
	group int32 // noGroup: empty
}

func newIntGroups(seed uint64) *intGroups {
	x := &intGroups{null: noGroup, seed: seed}
	x.resize(8)
	return x
}

func (x *intGroups) home(key int64) uint64 {
	hi, lo := bits.Mul64(uint64(key)^x.seed, 0x9E3779B97F4A7C15)
	return hi ^ lo
}

func (x *intGroups) resize(slots int) {
	old := x.slots
	x.slots = make([]intSlot, slots)
	for i := range x.slots {
		x.slots[i].group = noGroup
	}
	mask := uint64(slots - 1)
	for _, s := range old {
		if s.group == noGroup {
			continue
		}
		i := x.home(s.key) & mask
		for x.slots[i].group != noGroup {
			i = (i + 1) & mask
		}
		x.slots[i] = s
	}
}

func (x *intGroups) find(key int64) int32 {
	slots := x.slots
	for i := x.home(key); ; i++ {
		i &= uint64(len(slots) - 1)
		s := &slots[i]
		if s.group == noGroup {
			return x.add(key, i)
		}
		if s.key == key {
			return s.group
		}
	}
}

func (x *intGroups) add(key int64, slot uint64) int32 {
	group := int32(len(x.keys))
	x.keys = append(x.keys, key)
	x.slots[slot] = intSlot{key: key, group: group}
	x.filled++
	if x.filled*3 > len(x.slots)*2 {
		x.resize(len(x.slots) * 2)
	}
	return group
}

func (x *intGroups) findNull() int32 {
	if x.null == noGroup {
		x.null = int32(len(x.keys))
		x.keys = append(x.keys, 0)
	}
	return x.null
}

func (x *intGroups) resolve(keys *keyBatch, rows, groups []int32) {
	c := &keys.columns[0]
	if c.valid == nil {
		x.resolveInts(c.ints, rows, groups)
		return
	}
	for i, row := range rows {
		if c.null(row) {
			groups[i] = x.findNull()
		} else {
			groups[i] = x.find(c.ints[row])
		}
	}
}

// resolveInts is find in a loop that the compiler makes tight: most keys are in
// the first slot that is looked at.
func (x *intGroups) resolveInts(keys []int64, rows, groups []int32) {
	slots := x.slots
	groups = groups[:len(rows)]
	for i, row := range rows {
		key := keys[row]
		s := &slots[x.home(key)&uint64(len(slots)-1)]
		if s.key == key && s.group != noGroup {
			groups[i] = s.group
			continue
		}
		groups[i] = x.find(key)
		slots = x.slots // they may have grown
	}
}

func (x *intGroups) len() int { return len(x.keys) }

func (x *intGroups) emit(groups []int32, out []vector) {
	for _, g := range groups {
		if g == x.null {
			out[0].null()
		} else {
			out[0].int(x.keys[g])
		}
	}
}

func (x *intGroups) compare(a, b int32) int {
	if a == x.null || b == x.null {
		return nullsFirst(a == x.null, b == x.null)
	}
	return cmp.Compare(x.keys[a], x.keys[b])
}

func (x *intGroups) reserve(n int) {
	x.keys = slices.Grow(x.keys, max(0, n-len(x.keys)))
	if slots := 1 << bits.Len(uint(n*3/2)); slots > len(x.slots) {
		x.resize(slots)
	}
}

func (x *intGroups) encode(dst []byte, from, to int) []byte {
	dst = appendNullAt(dst, x.null, from, to)
	for g := from; g < to; g++ {
		if int32(g) != x.null {
			dst = appendInt(dst, x.keys[g])
		}
	}
	return dst
}

// appendNullAt writes which of the groups is that of NULL: its place and one, 0
// where none is.
func appendNullAt(dst []byte, null int32, from, to int) []byte {
	if int(null) < from || int(null) >= to {
		return appendUint(dst, 0)
	}
	return appendUint(dst, uint64(int(null)-from+1))
}

// nullAt is what appendNullAt wrote; -1: none.
func (r *reader) nullAt(n int) int {
	at := r.uint()
	if at > uint64(n) {
		r.fail("a NULL key behind the last one")
		return -1
	}
	return int(at) - 1
}

func (x *intGroups) decode(r *reader, n, skip int) {
	null := r.nullAt(n)
	for i := range n {
		key := int64(0)
		if i != null {
			key = r.int()
		}
		if r.err != nil {
			return
		}
		if i < skip {
			continue
		}
		before := len(x.keys)
		if i == null {
			x.findNull()
		} else {
			x.find(key)
		}
		if len(x.keys) != before+1 {
			r.fail("a group key comes twice")
			return
		}
	}
}

func (x *intGroups) bytes() int64 { return int64(len(x.slots))*16 + int64(cap(x.keys))*8 }

// byteSet numbers distinct byte strings in the order of their insertion.
type byteSet struct {
	slots []uint64 // number+1 above 32 bits of the hash; 0: empty. A power of two of them
	ends  []int    // of each string in the arena
	arena []byte
	seed  maphash.Seed
	held  int // strings that have a slot
}

func newByteSet(seed maphash.Seed) byteSet {
	return byteSet{slots: make([]uint64, 8), seed: seed}
}

func (s *byteSet) at(number int32) []byte {
	start := 0
	if number > 0 {
		start = s.ends[number-1]
	}
	return s.arena[start:s.ends[number]:s.ends[number]]
}

func (s *byteSet) find(key []byte) int32 {
	hash := maphash.Bytes(s.seed, key) & 0xFFFFFFFF
	mask := uint64(len(s.slots) - 1)
	i := hash & mask
	for {
		slot := s.slots[i]
		if slot == 0 {
			return s.add(key, hash, i)
		}
		if slot&0xFFFFFFFF == hash {
			if number := int32(slot>>32) - 1; bytes.Equal(s.at(number), key) {
				return number
			}
		}
		i = (i + 1) & mask
	}
}

func (s *byteSet) add(key []byte, hash, slot uint64) int32 {
	number := s.appendUnindexed(key)
	s.slots[slot] = uint64(number+1)<<32 | hash
	s.held++
	if s.held*3 > len(s.slots)*2 {
		s.resize(len(s.slots) * 2)
	}
	return number
}

// appendUnindexed numbers a string that find does not find.
func (s *byteSet) appendUnindexed(key []byte) int32 {
	number := int32(len(s.ends))
	s.arena = append(s.arena, key...)
	s.ends = append(s.ends, len(s.arena))
	return number
}

func (s *byteSet) resize(slots int) {
	old := s.slots
	s.slots = make([]uint64, slots)
	mask := uint64(slots - 1)
	for _, slot := range old {
		if slot == 0 {
			continue
		}
		i := slot & 0xFFFFFFFF & mask
		for s.slots[i] != 0 {
			i = (i + 1) & mask
		}
		s.slots[i] = slot
	}
}

// reserve makes room for n strings in all; their bytes are not known.
func (s *byteSet) reserve(n int) {
	s.ends = slices.Grow(s.ends, max(0, n-len(s.ends)))
	if slots := 1 << bits.Len(uint(n*3/2)); slots > len(s.slots) {
		s.resize(slots)
	}
}

func (s *byteSet) bytes() int64 {
	return int64(len(s.slots))*8 + int64(cap(s.ends))*8 + int64(cap(s.arena))
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

func (x *byteGroups) len() int { return len(x.set.ends) }

func (x *byteGroups) compare(a, b int32) int {
	if a == x.null || b == x.null {
		return nullsFirst(a == x.null, b == x.null)
	}
	return bytes.Compare(x.set.at(a), x.set.at(b))
}

func (x *byteGroups) reserve(n int) { x.set.reserve(n) }

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
