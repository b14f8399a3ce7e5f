package tally

import (
	"bytes"
	"hash/maphash"
	"slices"
)

// byteSet numbers distinct byte strings in the order of their insertion.
type byteSet struct {
	slots shards[uint64] // number+1 above 32 bits of the hash; 0: empty
	ends  []int          // of each string in the arena
	arena []byte
	seed  maphash.Seed
}

func newByteSet(seed maphash.Seed) byteSet {
	return byteSet{seed: seed, slots: newShards(0, func(s *uint64, _ uint64) (uint64, bool) { return twice(*s), *s != 0 })}
}

func (s *byteSet) at(number int32) []byte {
	start := 0
	if number > 0 {
		start = s.ends[number-1]
	}
	return s.arena[start:s.ends[number]:s.ends[number]]
}

func (s *byteSet) find(key []byte) int32 {
	hash := twice(maphash.Bytes(s.seed, key))
	sh := s.slots.of(hash)
	mask := uint64(len(sh.slots) - 1)
	for i := hash; ; i++ {
		slot := &sh.slots[i&mask]
		if *slot == 0 {
			number := s.appendUnindexed(key)
			*slot = uint64(number+1)<<32 | hash>>32
			s.slots.added(sh)
			return number
		}
		if twice(*slot) == hash {
			if number := int32(*slot>>32) - 1; bytes.Equal(s.at(number), key) {
				return number
			}
		}
	}
}

// twice is a hash of which the lower half, which a slot keeps, is both halves.
func twice(hash uint64) uint64 { return hash<<32 | hash&0xFFFFFFFF }

// appendUnindexed numbers a string that find does not find.
func (s *byteSet) appendUnindexed(key []byte) int32 {
	number := int32(len(s.ends))
	s.arena = append(s.arena, key...)
	s.ends = append(s.ends, len(s.arena))
	return number
}

func (s *byteSet) reset() {
	s.slots.reset()
	s.ends, s.arena = s.ends[:0], s.arena[:0]
}

// reserve makes room for n strings in all; their bytes are not known.
func (s *byteSet) reserve(n int) {
	s.ends = slices.Grow(s.ends, max(0, n-len(s.ends)))
	s.slots.reserve(n)
}

func (s *byteSet) bytes() int64 {
	return s.slots.count()*8 + int64(cap(s.ends))*8 + int64(cap(s.arena))
}
