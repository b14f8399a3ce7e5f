package json

import (
	"bytes"
	"hash/maphash"
)

// names finds keys that an object has twice, for the objects whose keys are
// not known before. It is one hash table for all objects of a record.
type names struct {
	seed  maphash.Seed
	table []name // its length is a power of two
	live  int    // entries of this record
	first uint64 // the record's first object: entries of earlier ones are free
	text  []byte
}

type name struct {
	object     uint64
	hash       uint64
	start, end uint32 // in text
}

const (
	leastNames = 64
	keepNames  = 1 << 14 // entries that outlive the record
)

func (n *names) init() {
	n.seed = maphash.MakeSeed() // nobody can choose keys that collide
	n.table = make([]name, leastNames)
}

// reset forgets all names; first is the count of the next object.
func (n *names) reset(first uint64) {
	n.first, n.live, n.text = first, 0, n.text[:0]
	if len(n.table) > keepNames {
		n.table = make([]name, leastNames)
	}
	if cap(n.text) > keepScratch {
		n.text = nil
	}
}

// add notes that an object has a key. It is false where that was noted before.
func (n *names) add(object uint64, key []byte) bool {
	if n.live*2 >= len(n.table) {
		n.grow()
	}
	hash := maphash.Bytes(n.seed, key) ^ object*0x9e3779b97f4a7c15
	mask := uint64(len(n.table) - 1)
	for at := hash & mask; ; at = (at + 1) & mask {
		e := &n.table[at]
		if e.object < n.first {
			start := len(n.text)
			n.text = append(n.text, key...)
			*e = name{object: object, hash: hash, start: uint32(start), end: uint32(len(n.text))}
			n.live++
			return true
		}
		if e.hash == hash && e.object == object && bytes.Equal(n.text[e.start:e.end], key) {
			return false
		}
	}
}

func (n *names) grow() {
	old := n.table
	n.table = make([]name, 2*len(old))
	mask := uint64(len(n.table) - 1)
	for _, e := range old {
		if e.object < n.first {
			continue
		}
		at := e.hash & mask
		for n.table[at].object >= n.first {
			at = (at + 1) & mask
		}
		n.table[at] = e
	}
}
