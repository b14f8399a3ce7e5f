package tally

import (
	"cmp"
	"math/bits"
	"slices"
)

// intGroups is the index of one key column that is an integer, a date, a time
// or a bool.
type intGroups struct {
	slots shards[intSlot]
	keys  []int64 // by group
	null  int32   // the group of NULL
}

type intSlot struct {
	key    int64
	number int32 // of the group, and one; 0: empty
}

func newIntGroups(seed uint64) *intGroups {
	return &intGroups{null: noGroup, slots: newShards(seed, (*intSlot).hash)}
}

func (s *intSlot) hash(seed uint64) (uint64, bool) { return hashInt(s.key, seed), s.number != 0 }

func hashInt(key int64, seed uint64) uint64 {
	hi, lo := bits.Mul64(uint64(key)^seed, 0x9E3779B97F4A7C15)
	return hi ^ lo
}

func (x *intGroups) find(key int64) int32 { return x.findHash(key, hashInt(key, x.slots.seed)) }

func (x *intGroups) findHash(key int64, hash uint64) int32 {
	sh := x.slots.of(hash)
	slots := sh.slots
	for i := hash; ; i++ {
		s := &slots[i&uint64(len(slots)-1)]
		if s.number == 0 {
			x.keys = append(x.keys, key)
			*s = intSlot{key: key, number: int32(len(x.keys))}
			x.slots.added(sh)
			return int32(len(x.keys)) - 1
		}
		if s.key == key {
			return s.number - 1
		}
	}
}

func (x *intGroups) reset() {
	x.slots.reset()
	x.keys, x.null = x.keys[:0], noGroup
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

// resolveInts is find in a loop that the compiler makes tight.
func (x *intGroups) resolveInts(keys []int64, rows, groups []int32) {
	groups = groups[:len(rows)]
	seed := x.slots.seed
	done := 0
	for done < len(rows) && len(x.slots.parts) == 1 {
		done += x.resolveSmall(keys, rows[done:], groups[done:])
	}
	for i, row := range rows[done:] {
		key := keys[row]
		hash := hashInt(key, seed)
		slots := x.slots.of(hash).slots
		s := &slots[hash&uint64(len(slots)-1)]
		if s.key == key && s.number != 0 { // as most are
			groups[done+i] = s.number - 1
			continue
		}
		groups[done+i] = x.findHash(key, hash)
	}
}

// resolveSmall is resolveInts of one shard, up to and including the row at which
// it grows. It returns how many rows that were.
func (x *intGroups) resolveSmall(keys []int64, rows, groups []int32) int {
	groups = groups[:len(rows)]
	seed, sh := x.slots.seed, &x.slots.parts[0]
	slots := sh.slots
	for i, row := range rows {
		key := keys[row]
		at := hashInt(key, seed)
		s := &slots[at&uint64(len(slots)-1)]
		for s.key != key && s.number != 0 {
			at++
			s = &slots[at&uint64(len(slots)-1)]
		}
		if s.number != 0 {
			groups[i] = s.number - 1
			continue
		}
		groups[i] = int32(len(x.keys))
		x.keys = append(x.keys, key)
		*s = intSlot{key: key, number: int32(len(x.keys))}
		if sh.filled++; sh.filled > sh.limit {
			x.slots.enlarge(sh)
			return i + 1
		}
	}
	return len(rows)
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

func (x *intGroups) reserve(n int) {
	x.keys = slices.Grow(x.keys, max(0, n-len(x.keys)))
	x.slots.reserve(n)
}

func (x *intGroups) bytes() int64 { return x.slots.count()*16 + int64(cap(x.keys))*8 }
