package tally

import "slices"

// denseGroups finds groups by the key itself: number[key-least], without a hash and
// without a look at the key that is held. A key outside of the range makes the range
// wider where it stays dense; else it is a stray, which the large table has. Where
// strays are many, all groups go there.
type denseGroups struct {
	numbers []int32 // of the group, and one; 0: none; nil: the keys are not dense
	least   int64   // the key of the first
	strays  int     // groups in the large table
}

const (
	leastDense = 1024 // fewer groups are in the caches however they are found
	// rangeOfGroup bounds the range: so many keys for each group, 4 bytes each,
	// which is what the large table takes at least.
	rangeOfGroup = 4
	// mostDense bounds the range, so that to make it anew holds up no batch.
	mostDense = 1 << 19
)

// resolve is intGroups.resolveInts up to the first row whose key is new or a stray.
// It returns how many rows that were.
func (d *denseGroups) resolve(keys []int64, rows, groups []int32) int {
	numbers, least := d.numbers, uint64(d.least)
	groups = groups[:len(rows)]
	for i, row := range rows {
		at := uint64(keys[row]) - least
		if at >= uint64(len(numbers)) || numbers[at] == 0 {
			return i
		}
		groups[i] = numbers[at] - 1
	}
	return len(rows)
}

// becomeDense makes an index of few groups that has to grow dense, if its keys but
// for some strays are; false: it is not.
func (x *intGroups) becomeDense() bool {
	groups := x.keys.len()
	if groups < leastDense || groups > chunkLen {
		return false
	}
	sorted := slices.Clone(x.keys.single()) // that of NULL is 0
	slices.Sort(sorted)
	gap := func(i int) uint64 { return uint64(sorted[i]) - uint64(sorted[i-1]) }
	for len(sorted) > groups-groups/16 && gap(len(sorted)-1)|gap(1) > rangeOfGroup*16 {
		if gap(len(sorted)-1) > gap(1) {
			sorted = sorted[:len(sorted)-1]
		} else {
			sorted = sorted[1:]
		}
	}
	least, width := sorted[0], uint64(sorted[len(sorted)-1])-uint64(sorted[0])
	if width >= min(uint64(groups)*rangeOfGroup, mostDense) {
		return false
	}
	x.small, x.limit = nil, 0
	x.slots = newShards(x.seed, (*intSlot).hash)
	x.dense = denseGroups{numbers: make([]int32, width+1), least: least}
	for g, key := range x.keys.single() {
		if int32(g) == x.null {
			continue
		}
		if at := uint64(key) - uint64(least); at <= width {
			x.dense.numbers[at] = int32(g + 1)
		} else {
			x.insert(key, int32(g), hashInt(key, x.seed))
			x.dense.strays++
		}
	}
	return true
}

// findDense is find of a key that resolve stopped at.
func (x *intGroups) findDense(key int64) int32 {
	d := &x.dense
	if at := uint64(key) - uint64(d.least); at >= uint64(len(d.numbers)) && !x.widen(key) {
		before := x.keys.len()
		g := x.findLarge(key)
		if d.strays += x.keys.len() - before; d.strays > leastDense/4+x.keys.len()/8 {
			x.becomeLarge(0)
		}
		return g
	}
	at := uint64(key) - uint64(d.least)
	if d.numbers[at] == 0 {
		x.keys.add(key)
		d.numbers[at] = int32(x.keys.len())
	}
	return d.numbers[at] - 1
}

// widen makes the range reach a key, and a part further, so that keys that go up or
// down one by one do not make it anew each time; false: it would not be dense. All
// is modulo 1<<64, in which keys differ as they do in INT64.
func (x *intGroups) widen(key int64) bool {
	d := &x.dense
	width, bound := uint64(len(d.numbers)), min(uint64(x.keys.len()+1)*rangeOfGroup, mostDense)
	reach, down := uint64(key)-uint64(d.least)+1, false // upwards
	if reach > bound || reach <= width {
		reach, down = uint64(d.least)-uint64(key)+width, true
	}
	if reach > bound || reach <= width { // the sum may wrap
		return false
	}
	reach = min(reach+reach/4, bound)
	least := uint64(d.least)
	if down {
		least -= reach - width
	}
	numbers := make([]int32, reach)
	copy(numbers[uint64(d.least)-least:], d.numbers)
	d.numbers, d.least = numbers, int64(least)
	if d.strays == 0 {
		return true
	}
	for _, sh := range x.slots.parts { // strays that are none any more
		for _, s := range sh.slots {
			if at := uint64(s.key) - least; s.number != 0 && at < reach {
				numbers[at] = s.number
			}
		}
	}
	return true
}
