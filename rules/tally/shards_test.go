package tally

import (
	"hash/maphash"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestIndexesNumberAsAMapDoes goes over the size at which an index falls into
// shards, with room reserved and without.
func TestIndexesNumberAsAMapDoes(t *testing.T) {
	const distinctKeys = splitSlots
	for _, reserved := range []int{0, splitSlots*2/3 + 1, 2 * distinctKeys} {
		r := rand.New(rand.NewPCG(1, uint64(reserved)))
		ints, texts := newIntGroups(r.Uint64()), newByteSet(maphash.MakeSeed())
		for _, key := range []int64{-1, 5} { // what is there when room is made
			require.Equal(t, ints.find(key), texts.find([]byte(strconv.FormatInt(key, 10))))
		}
		ints.reserve(reserved)
		texts.reserve(reserved)
		slots := ints.slots.count()
		model := map[int64]int32{-1: 0, 5: 1}
		grown, resized := 0, 0
		for range 2 * distinctKeys {
			key := r.Int64N(distinctKeys) << r.IntN(2) * 4096
			want, known := model[key]
			if !known {
				want = int32(len(model))
				model[key] = want
			}
			if ints.find(key) != want || texts.find(strconv.AppendInt(nil, key, 10)) != want {
				require.Equal(t, want, ints.find(key))
				require.Equal(t, want, texts.find(strconv.AppendInt(nil, key, 10)))
			}
			if now := ints.slots.count(); now != slots {
				grown = max(grown, int(now-slots))
				slots, resized = now, resized+1
			}
		}
		require.Greater(t, len(model), 250_000)
		require.Equal(t, len(model), ints.len())
		if reserved < len(model) {
			require.LessOrEqual(t, grown, splitSlots, "no growth is larger than the one that makes the shards")
		} else {
			require.Zero(t, resized, "there was room")
		}
		for i, sh := range ints.slots.parts {
			require.LessOrEqual(t, sh.filled, limit(i, len(ints.slots.parts), len(sh.slots)))
		}
	}
}
