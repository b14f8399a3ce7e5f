package tally

// shards is a hash table with open addressing and linear probing whose growth
// does not stall: once it is large it falls into shards, each of which grows by
// itself and at a load of its own, so that few of them are due at a time.
type shards[S any] struct {
	parts []shard[S] // one, or 1<<shardBits
	shift uint8      // of a hash, to its shard: the highest bits choose it, the lowest the slot
	seed  uint64
	hash  func(s *S, seed uint64) (hash uint64, taken bool) // of what is in a slot; the zero value is not taken
}

type shard[S any] struct {
	slots  []S // a power of two
	filled int
	limit  int // of filled, before it grows
}

const (
	shardBits  = 8
	splitSlots = 1 << 18 // a table of so many slots does not grow: it falls into shards
)

func newShards[S any](seed uint64, hash func(s *S, seed uint64) (uint64, bool)) shards[S] {
	t := shards[S]{seed: seed, hash: hash}
	t.make(1, 8)
	return t
}

// reset empties the table; a small one keeps its room.
func (t *shards[S]) reset() {
	if len(t.parts) > 1 {
		t.make(1, 8)
		return
	}
	clear(t.parts[0].slots)
	t.parts[0].filled = 0
}

// of is the shard of a hash.
func (t *shards[S]) of(hash uint64) *shard[S] { return &t.parts[hash>>t.shift] }

// added notes that an empty slot of the shard was taken.
func (t *shards[S]) added(sh *shard[S]) {
	if sh.filled++; sh.filled > sh.limit {
		t.enlarge(sh)
	}
}

// enlarge makes a full shard larger.
func (t *shards[S]) enlarge(sh *shard[S]) {
	if len(t.parts) == 1 && len(sh.slots) == splitSlots {
		old := sh.slots
		t.make(1<<shardBits, len(old)*2>>shardBits)
		t.fill(old)
		return
	}
	for i := range t.parts {
		if &t.parts[i] == sh {
			old := sh.slots
			t.clear(i, len(old)*2)
			t.fill(old)
		}
	}
}

// reserve makes room for n in all.
func (t *shards[S]) reserve(n int) {
	slots := len(t.parts[0].slots)
	if len(t.parts) == 1 {
		if n <= t.parts[0].limit {
			return
		}
		for slots < splitSlots && n > limit(0, 1, slots) {
			slots *= 2
		}
		if n <= limit(0, 1, slots) {
			t.regrow(1, func(int) int { return slots })
			return
		}
	}
	each := n>>shardBits + n>>(shardBits+4) // some get more than their part
	t.regrow(1<<shardBits, func(i int) int {
		slots := max(splitSlots*2>>shardBits, len(t.parts[min(i, len(t.parts)-1)].slots)*len(t.parts)>>shardBits)
		for each > limit(i, 1<<shardBits, slots) {
			slots *= 2
		}
		return slots
	})
}

// regrow makes n shards of slots(i) slots.
func (t *shards[S]) regrow(n int, slots func(i int) int) {
	old := t.parts
	sizes := make([]int, n)
	for i := range sizes {
		sizes[i] = slots(i)
	}
	t.make(n, 0)
	for i, size := range sizes {
		t.clear(i, size)
	}
	for i := range old {
		t.fill(old[i].slots)
	}
}

// make makes n empty shards of so many slots.
func (t *shards[S]) make(n, slots int) {
	t.parts, t.shift = make([]shard[S], n), 64
	if n > 1 {
		t.shift = 64 - shardBits
	}
	for i := range t.parts {
		t.clear(i, slots)
	}
}

// clear gives a shard so many empty slots.
func (t *shards[S]) clear(i, slots int) {
	t.parts[i] = shard[S]{slots: make([]S, slots), limit: limit(i, len(t.parts), slots)}
}

// fill puts what is in the slots where it belongs now; there is room.
func (t *shards[S]) fill(old []S) {
	for i := range old {
		hash, taken := t.hash(&old[i], t.seed)
		if !taken {
			continue
		}
		sh := t.of(hash)
		mask := uint64(len(sh.slots) - 1)
		at := hash & mask
		for {
			if _, taken := t.hash(&sh.slots[at], t.seed); !taken {
				break
			}
			at = (at + 1) & mask
		}
		sh.slots[at] = old[i]
		sh.filled++
	}
}

// limit is how many slots of shard i, of n, may be taken: two thirds; of several
// from a half to three quarters.
func limit(i, n, slots int) int {
	if n == 1 {
		return slots * 2 / 3
	}
	return slots/2 + slots/4*i/n
}

// count is the number of slots.
func (t *shards[S]) count() int64 {
	n := int64(0)
	for i := range t.parts {
		n += int64(len(t.parts[i].slots))
	}
	return n
}
