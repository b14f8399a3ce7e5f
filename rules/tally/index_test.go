package tally

import (
	"hash/maphash"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/stretchr/testify/require"
)

// TestIntGroups compares an index of integers with a map, over the sizes at which
// it grows and takes another form, in the middle of batches too.
func TestIntGroups(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	// Keys that lie apart, keys one beside the other, and those with strays among them.
	apart := func(i, distinct int) int64 { return int64(i-distinct/2) << 20 }
	close := func(i, distinct int) int64 { return int64(i - distinct/2) }
	straying := func(every int) func(i, distinct int) int64 {
		return func(i, distinct int) int64 {
			if i%every == 0 {
				return int64(i) * 0x123456789ABCDEF
			}
			return int64(i)*2 + 1_000_000_007
		}
	}
	atEnds := func(i, distinct int) int64 { return math.MaxInt64 - int64(distinct)/2 + int64(i) } // over it, MinInt64 follows
	atTop := func(i, _ int) int64 { return math.MaxInt64 - int64(i) }
	atBottom := func(i, _ int) int64 { return math.MinInt64 + int64(i) }
	for _, of := range []struct {
		distinct int
		key      func(i, distinct int) int64
		form     string
	}{
		{3, apart, "small"}, {200, apart, "small"}, {40_000, apart, "large"}, {300_000, apart, "large"},
		{900, close, "small"}, {5000, close, "dense"}, {60_000, close, "dense"}, {300_000, close, "large"},
		{40_000, straying(100), "dense"}, {40_000, straying(3), "large"}, {300_000, straying(1000), "large"}, {3000, straying(1000), "dense"},
		{30_000, atEnds, ""}, {30_000, atTop, "dense"}, {30_000, atBottom, "dense"},
	} {
		distinct := of.distinct
		x := newIntGroups(r.Uint64())
		for range 2 { // the second time in the room that is there
			want, null := map[int64]int32{}, int32(noGroup)
			groups := 0
			for batch := range 20 {
				// Some keys come late: those of the range's ends, and of its middle.
				from, to := 0, distinct
				switch batch % 4 {
				case 0:
					from, to = distinct/3, distinct/2+1
				case 1:
					from = distinct / 3
				}
				c := column{ints: make([]int64, 1+r.IntN(40_000))}
				if r.IntN(2) == 0 {
					c.valid = make([]byte, len(c.ints)/8+1)
				}
				var rows []int32
				for i := range c.ints {
					c.ints[i] = of.key(from+r.IntN(to-from), distinct)
					if r.IntN(5) > 0 && c.valid != nil {
						bitutil.SetBit(c.valid, i)
					}
					if r.IntN(4) > 0 {
						rows = append(rows, int32(i))
					}
				}
				got := make([]int32, len(rows))
				x.resolve(&keyBatch{mode: intKey, columns: []column{c}}, rows, got)
				for i, row := range rows {
					g, known := want[c.ints[row]]
					if c.null(row) {
						g, known = null, null != noGroup
					}
					if !known {
						if g = int32(groups); c.null(row) {
							null = g
						} else {
							want[c.ints[row]] = g
						}
						groups++
					}
					if got[i] != g {
						require.Equal(t, g, got[i], "of %d keys, row %d", distinct, row)
					}
				}
				require.Equal(t, groups, x.len())
			}
			if of.form != "" {
				require.Equal(t, of.form, map[bool]string{x.small != nil: "small", x.dense.numbers != nil: "dense"}[true]+map[bool]string{x.small == nil && x.dense.numbers == nil: "large"}[true], "%d keys", distinct)
			}
			again := newIntGroups(r.Uint64()) // as a restart reads it
			again.reserve(groups)
			in := reader{data: x.encode(nil, 0, groups)}
			again.decode(&in, groups, 0)
			require.NoError(t, in.err)
			require.Equal(t, groups, again.len())
			for key, g := range want {
				if again.find(key) != g {
					require.Equal(t, g, again.find(key), "of %d keys, key %d", distinct, key)
				}
			}
			x.reset()
			require.Zero(t, x.len())
		}
	}
}

// TestByteSet compares an index of texts with a map, over the pieces of its arena
// and with texts that take several.
func TestByteSet(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	s := newByteSet(maphash.MakeSeed())
	for range 2 { // the second time in the room that is there
		want, order := map[string]int32{}, []string{}
		for i := range 60_000 {
			n := r.IntN(30)
			switch {
			case i%9000 == 77:
				n = pieceLen + r.IntN(pieceLen)
			case i%7000 == 55:
				n = pieceLen * (1 + r.IntN(2))
			case i%5000 == 11:
				n = r.IntN(pieceLen)
			}
			text := make([]byte, n)
			for k := range text {
				text[k] = byte(r.IntN(3))
			}
			g, known := want[string(text)]
			if !known {
				g = int32(len(order))
				want[string(text)], order = g, append(order, string(text))
			}
			if got := s.find(text); got != g {
				require.Equal(t, g, got, "text %d of %d bytes", i, n)
			}
		}
		require.Equal(t, len(order), s.len())
		size := 0
		for g, text := range order {
			size += len(text)
			if string(s.at(int32(g))) != text {
				require.Fail(t, "another text", "group %d of %d bytes", g, len(text))
			}
		}
		require.Greater(t, s.bytes(), int64(size))
		require.Less(t, s.bytes(), int64(2*size)+8<<20)
		s.reset()
		require.Zero(t, s.len())
	}
}
