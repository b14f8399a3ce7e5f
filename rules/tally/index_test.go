package tally

import (
	"hash/maphash"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/stretchr/testify/require"
)

// TestIntGroups compares an index of integers with a map, over the sizes at which
// it grows and takes another form, in the middle of batches too.
func TestIntGroups(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, distinct := range []int{3, 200, 40_000, 300_000} {
		x := newIntGroups(r.Uint64())
		for range 2 { // the second time in the room that is there
			want, null := map[int64]int32{}, int32(noGroup)
			groups := 0
			for range 20 {
				c := column{ints: make([]int64, 1+r.IntN(40_000))}
				if r.IntN(2) == 0 {
					c.valid = make([]byte, len(c.ints)/8+1)
				}
				var rows []int32
				for i := range c.ints {
					c.ints[i] = int64(r.IntN(distinct)-distinct/2) << 20
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
