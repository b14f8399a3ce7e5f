package tally

import (
	"bytes"
	"hash/maphash"
)

// byteSet numbers distinct byte strings in the order of their insertion.
type byteSet struct {
	slots shards[uint64] // number+1 above 32 bits of the hash; 0: empty
	ends  chunked[int]   // of each string in the arena
	arena arena
	seed  maphash.Seed
}

func newByteSet(seed maphash.Seed) byteSet {
	return byteSet{seed: seed, slots: newShards(0, func(s *uint64, _ uint64) (uint64, bool) { return twice(*s), *s != 0 })}
}

func (s *byteSet) at(number int32) []byte {
	start := 0
	if number > 0 {
		start = *s.ends.at(number - 1)
	}
	return s.arena.at(start, *s.ends.at(number))
}

func (s *byteSet) len() int { return s.ends.len() }

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
	number, end := s.ends.len(), 0
	if number > 0 {
		end = *s.ends.at(int32(number - 1))
	}
	s.ends.add(s.arena.add(end, key))
	return int32(number)
}

func (s *byteSet) reset() {
	s.slots.reset()
	s.ends.reset()
	s.arena.reset()
}

// reserve makes room for n strings in all; their bytes are not known.
func (s *byteSet) reserve(n int) { s.slots.reserve(n) }

func (s *byteSet) bytes() int64 { return s.slots.count()*8 + s.ends.bytes() + s.arena.bytes() }

// arena holds strings one behind the other, by places. It is not copied when it
// grows, once it is large: its bytes are in pieces of pieceLen places each, and a
// string that would reach into the next piece begins there, so that the place at
// which one ends tells where the next one is. A longer one takes several pieces,
// which lie together.
type arena struct{ pieces [][]byte }

const (
	pieceBits = 18
	pieceLen  = 1 << pieceBits
)

// start is where a string is that was added behind the one that ends at last.
func (a *arena) start(last, end int) int {
	if end == last || last>>pieceBits == (end-1)>>pieceBits {
		return last
	}
	return (last + pieceLen - 1) >> pieceBits << pieceBits
}

func (a *arena) at(last, end int) []byte {
	if end == last {
		return nil
	}
	start := a.start(last, end)
	piece, from := a.pieces[start>>pieceBits], start&(pieceLen-1)
	return piece[from : from+end-start : from+end-start]
}

// add puts a string behind the one that ends at last, and returns where it ends.
func (a *arena) add(last int, text []byte) (end int) {
	if len(text) == 0 {
		return last
	}
	start := last
	if end = start + len(text); start>>pieceBits != (end-1)>>pieceBits {
		start = (last + pieceLen - 1) >> pieceBits << pieceBits
		end = start + len(text)
	}
	at := start >> pieceBits
	if at == len(a.pieces) {
		a.more(len(text))
	}
	piece, from := a.pieces[at], start&(pieceLen-1)
	if need := from + len(text); need > len(piece) { // the first one grows
		piece = append(make([]byte, 0, min(max(need, 2*len(piece), 64), pieceLen)), piece...)
		piece = piece[:cap(piece)]
		a.pieces[at] = piece
	}
	copy(piece[from:], text)
	return end
}

// more adds pieces for a string of n bytes.
func (a *arena) more(n int) {
	if len(a.pieces) == 0 && n <= pieceLen {
		a.pieces = append(a.pieces, nil)
		return
	}
	room := make([]byte, (n+pieceLen-1)>>pieceBits<<pieceBits)
	for len(room) > 0 {
		a.pieces, room = append(a.pieces, room), room[pieceLen:]
	}
}

func (a *arena) reset() {
	if len(a.pieces) > 0 {
		a.pieces[0] = a.pieces[0][:min(len(a.pieces[0]), pieceLen)]
		clear(a.pieces[1:])
		a.pieces = a.pieces[:1]
	}
}

func (a *arena) bytes() int64 {
	n := int64(cap(a.pieces)) * 24
	for i, piece := range a.pieces { // of those that lie together each is counted once
		if i == 0 || len(piece) == pieceLen {
			n += int64(min(len(piece), pieceLen))
			continue
		}
		n += pieceLen
	}
	return n
}
