package tally

import (
	"cmp"
	"math/bits"
	"slices"
)

// intGroups is the index of one key column that is an integer, a date, a time
// or a bool. Few groups, as a window mostly has, are found by a small table that
// holds numbers only, and stays in the caches; many by one that holds keys, so
// that a look-up waits for memory once; many whose keys lie close together by the
// key itself (dense).
type intGroups struct {
	dense denseGroups

	small []uint16 // number of the group, and one; 0: empty; a power of two; nil: there are many groups
	none  [1]uint16
	limit int // of groups in small: half of it, so that most are found at the first look
	slots shards[intSlot]
	retry int            // with so many groups the large table looks whether it could be dense
	keys  chunked[int64] // by group
	null  int32          // the group of NULL
	seed  uint64
}

type intSlot struct {
	key    int64
	number int32 // of the group, and one; 0: empty
}

const (
	leastSmall = 8
	mostSmall  = 1 << 16
)

func newIntGroups(seed uint64) *intGroups {
	x := &intGroups{null: noGroup, seed: seed}
	x.small = x.none[:]
	return x
}

func (s *intSlot) hash(seed uint64) (uint64, bool) { return hashInt(s.key, seed), s.number != 0 }

func hashInt(key int64, seed uint64) uint64 {
	hi, lo := bits.Mul64(uint64(key)^seed, 0x9E3779B97F4A7C15)
	return hi ^ lo
}

// resize makes the small table one of so many slots, with the groups there are.
func (x *intGroups) resize(slots int) {
	x.small, x.limit = make([]uint16, slots), slots/2
	mask := uint64(slots - 1)
	for g, key := range x.keys.single() { // few groups are
		if int32(g) == x.null {
			continue
		}
		at := hashInt(key, x.seed) & mask
		for x.small[at] != 0 {
			at = (at + 1) & mask
		}
		x.small[at] = uint16(g + 1)
	}
}

// enlarge makes room for n groups in all.
func (x *intGroups) enlarge(n int) {
	if x.dense.numbers != nil {
		return
	}
	if x.small == nil {
		x.slots.reserve(n)
		return
	}
	if n <= 2*x.keys.len() && x.becomeDense() {
		return
	}
	slots := max(len(x.small), leastSmall)
	for slots <= mostSmall && n > slots/2 {
		slots *= 2
	}
	if slots == len(x.small) {
		return
	}
	if slots <= mostSmall {
		x.resize(slots)
		return
	}
	x.becomeLarge(n)
}

// becomeLarge puts all groups into the large table, with room for n.
func (x *intGroups) becomeLarge(n int) {
	x.dense, x.small, x.slots = denseGroups{}, nil, newShards(x.seed, (*intSlot).hash)
	x.slots.reserve(max(n, x.keys.len()))
	x.retry = 2 * x.keys.len()
	for g := range int32(x.keys.len()) {
		if g != x.null {
			key := *x.keys.at(g)
			x.insert(key, g, hashInt(key, x.seed))
		}
	}
}

// insert puts a group that the large table does not have into it.
func (x *intGroups) insert(key int64, g int32, hash uint64) {
	sh := x.slots.of(hash)
	mask := uint64(len(sh.slots) - 1)
	at := hash & mask
	for sh.slots[at].number != 0 {
		at = (at + 1) & mask
	}
	sh.slots[at] = intSlot{key: key, number: g + 1}
	x.slots.added(sh)
}

// find is the group of a key that is not NULL, which it adds.
func (x *intGroups) find(key int64) int32 {
	var group [1]int32
	x.resolveInts([]int64{key}, []int32{0}, group[:])
	return group[0]
}

func (x *intGroups) reset() {
	if x.small == nil {
		x.small, x.limit, x.slots, x.dense = x.none[:], 0, shards[intSlot]{}, denseGroups{}
	}
	clear(x.small)
	x.keys.reset()
	x.null = noGroup
}

func (x *intGroups) findNull() int32 {
	if x.null == noGroup {
		x.null = int32(x.keys.len())
		x.keys.add(0)
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

// resolveInts is find of many. Any of them may give the index another form.
func (x *intGroups) resolveInts(keys []int64, rows, groups []int32) {
	groups = groups[:len(rows)]
	done := 0
	for done < len(rows) && x.small != nil {
		done += x.resolveSmall(keys, rows[done:], groups[done:])
		if done < len(rows) {
			x.enlarge(x.keys.len() + 1)
		}
	}
	for done < len(rows) {
		if x.dense.numbers == nil {
			groups[done] = x.findLarge(keys[rows[done]])
			done++
		} else if done += x.dense.resolve(keys, rows[done:], groups[done:]); done < len(rows) {
			groups[done] = x.findDense(keys[rows[done]])
			done++
		}
	}
}

// findLarge is find in the large table.
func (x *intGroups) findLarge(key int64) int32 {
	hash := hashInt(key, x.seed)
	slots := x.slots.of(hash).slots
	at := hash
	s := &slots[at&uint64(len(slots)-1)]
	for s.key != key && s.number != 0 {
		at++
		s = &slots[at&uint64(len(slots)-1)]
	}
	if s.number != 0 {
		return s.number - 1
	}
	g := int32(x.keys.len())
	x.keys.add(key)
	x.insert(key, g, hash)
	if x.keys.len() == x.retry && x.dense.numbers == nil {
		x.retry *= 2
		x.becomeDense()
	}
	return g
}

// resolveSmall is resolveInts of the small table, up to the row for which there
// is no room. It returns how many rows that were.
func (x *intGroups) resolveSmall(keys []int64, rows, groups []int32) int {
	groups = groups[:len(rows)]
	slots, held := x.small, x.keys.single()
	defer func() { x.keys.first = held }()
	for i, row := range rows {
		key := keys[row]
		at := hashInt(key, x.seed)
		n := slots[at&uint64(len(slots)-1)]
		for n != 0 && held[n-1] != key {
			at++
			n = slots[at&uint64(len(slots)-1)]
		}
		if n != 0 {
			groups[i] = int32(n) - 1
			continue
		}
		if len(held) >= x.limit {
			return i
		}
		groups[i] = int32(len(held))
		held = append(held, key)
		slots[at&uint64(len(slots)-1)] = uint16(len(held))
	}
	return len(rows)
}

func (x *intGroups) len() int { return x.keys.len() }

func (x *intGroups) emit(groups []int32, out []vector) {
	v := &out[0]
	from := len(v.ints)
	v.ints = grown(v.ints, from+len(groups))
	into := v.ints[from:][:len(groups)]
	for i, g := range groups {
		into[i] = *x.keys.at(g)
		if g == x.null {
			v.nulls = append(v.nulls, int32(from+i))
		}
	}
}

func (x *intGroups) compare(a int32, in index, b int32) int {
	other, ok := in.(*intGroups)
	if !ok {
		return 0
	}
	if anull, bnull := a == x.null, b == other.null; anull || bnull {
		return nullsFirst(anull, bnull)
	}
	return cmp.Compare(*x.keys.at(a), *other.keys.at(b))
}

func (x *intGroups) encode(dst []byte, from, to int) []byte {
	dst = appendNullAt(dst, x.null, from, to)
	for g := from; g < to; g++ {
		if int32(g) != x.null {
			dst = appendInt(dst, *x.keys.at(int32(g)))
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
		before := x.keys.len()
		if i == null {
			x.findNull()
		} else {
			x.find(key)
		}
		if x.keys.len() != before+1 {
			r.fail("a group key comes twice")
			return
		}
	}
}

func (x *intGroups) reserve(n int) {
	if n <= chunkLen && n > x.keys.len() {
		x.keys.first = slices.Grow(x.keys.first, n-x.keys.len())
	}
	if n >= leastDense && n <= mostSmall/2 && x.keys.len() == 0 {
		return // it grows, and becomes dense on the way if it can
	}
	x.enlarge(n)
}

func (x *intGroups) bytes() int64 {
	return int64(len(x.small))*2 + x.slots.count()*16 + int64(len(x.dense.numbers))*4 + x.keys.bytes()
}
