package parquet

import (
	"math/bits"
	"unsafe"
)

// intDictionary numbers the distinct values of a chunk in the order they came.
// Values that lie close together, as ids and dates do, are looked for in a table
// that their distance from the least one indexes; others by their hash.
type intDictionary[T integer] struct {
	values []T
	direct []uint32 // by value less base: number + 1, 0 where free; nil once values are hashed
	base   T
	table  []uint32 // open addressing: number + 1, 0 where free
	shift  uint
}

func (d *intDictionary[T]) bytes() int { return len(d.values) * int(unsafe.Sizeof(T(0))) }

func (d *intDictionary[T]) heldBytes() int {
	return cap(d.values)*int(unsafe.Sizeof(T(0))) + 4*(cap(d.table)+cap(d.direct))
}

// look appends the number of each of a page's values, which are low to high, to dst.
func (d *intDictionary[T]) look(dst []int32, page []T, low, high T) []int32 {
	dst = grow(dst, len(page))
	out := dst[len(dst)-len(page):]
	if d.reach(low, high, len(page)) {
		d.lookDirect(out, page)
	} else {
		d.lookHashed(out, page, low == high)
	}
	return dst
}

// reach makes direct span low to high, and reports false where it would take more
// memory than the hash table at its largest: the values are hashed from then on.
func (d *intDictionary[T]) reach(low, high T, rows int) bool {
	if d.table != nil {
		return false
	}
	if n := len(d.direct); n > 0 {
		last := d.base + T(n-1)
		if low >= d.base && high <= last {
			return true
		}
		low, high = min(low, d.base), max(high, last)
	}
	span := uint64(high) - uint64(low) // right for all values: the difference is below 2^64
	if span >= uint64(max(2*rows, 8*len(d.values))) {
		d.hash()
		return false
	}
	wider := make([]uint32, span+1)
	if d.direct != nil {
		copy(wider[uint64(d.base)-uint64(low):], d.direct)
	}
	d.direct, d.base = wider, low
	return true
}

// hash has values be looked for by their hash from now on.
func (d *intDictionary[T]) hash() {
	if d.table == nil {
		d.direct = nil
		d.rehash(max(64, 1<<bits.Len(uint(4*len(d.values)))))
	}
}

func (d *intDictionary[T]) lookDirect(out []int32, page []T) {
	direct, base := d.direct, uint64(d.base)
	for i, x := range page[:len(out)] {
		slot := &direct[uint64(x)-base]
		if *slot == 0 {
			d.values = append(d.values, x)
			*slot = uint32(len(d.values))
		}
		out[i] = int32(*slot - 1)
	}
}

// batch is how many values are looked for together: their slots are read one
// after the other without waiting for what is in them.
const batch = 64

func (d *intDictionary[T]) lookHashed(out []int32, page []T, same bool) {
	if same {
		n := d.number(page[0])
		for i := range out {
			out[i] = n
		}
		return
	}
	var found [batch]uint32
	for len(page) > 0 {
		some := page[:min(batch, len(page))]
		table, shift := d.table, d.shift&63
		for i, x := range some {
			found[i] = table[slot(x, shift)&uint64(len(table)-1)]
		}
		// What was found is checked, so that it does no harm where an earlier
		// value of the batch has changed the table.
		for i, x := range some {
			n := int(found[i]) - 1
			if uint(n) >= uint(len(d.values)) || d.values[n] != x {
				n = int(d.number(x))
			}
			out[i] = int32(n)
		}
		page, out = page[len(some):], out[len(some):]
	}
}

// slot multiplies twice: once is not enough for values that rise by even steps, of which some, as a
// hundred seconds in microseconds, fell into few slots and were fifty slots off.
func slot[T integer](x T, shift uint) uint64 {
	h := uint64(x) * 0x9e3779b97f4a7c15
	return ((h ^ h>>32) * 0x9e3779b97f4a7c15) >> shift
}

func (d *intDictionary[T]) number(x T) int32 {
	mask := uint64(len(d.table) - 1)
	at := slot(x, d.shift)
	for {
		n := d.table[at&mask]
		if n == 0 {
			break
		}
		if d.values[n-1] == x {
			return int32(n - 1)
		}
		at++
	}
	d.values = append(d.values, x)
	d.table[at&mask] = uint32(len(d.values))
	if 2*len(d.values) > len(d.table) {
		d.rehash(4 * len(d.table))
	}
	return int32(len(d.values) - 1)
}

func (d *intDictionary[T]) rehash(size int) {
	d.table = make([]uint32, size)
	d.shift = uint(64 - bits.TrailingZeros(uint(size)))
	mask := uint64(size - 1)
	for i, x := range d.values {
		at := slot(x, d.shift)
		for d.table[at&mask] != 0 {
			at++
		}
		d.table[at&mask] = uint32(i + 1)
	}
}

// takeBack forgets the entries from number n on; no value is looked for again.
func (d *intDictionary[T]) takeBack(n int) {
	d.values, d.table, d.direct = d.values[:n:n], nil, nil
}
