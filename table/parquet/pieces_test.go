package parquet

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPieces fills pages by few values and by many and compares them with one slice that has all.
func TestPieces(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	var memory []uint64
	for range 50 {
		var p pieces[int32]
		var page []int32
		for number := range 4 {
			var want []int32
			for range r.IntN(300) {
				n := 1 + r.IntN(1+r.IntN(200))
				page = p.room(page, n)
				require.GreaterOrEqual(t, cap(page)-len(page), n)
				for range n {
					x := r.Int32()
					page, want = append(page, x), append(want, x)
				}
				require.Equal(t, len(want), p.n+len(page))
				if number == 0 {
					require.LessOrEqual(t, p.held+cap(page), 64+200+len(want)*3/2)
				} else {
					require.Empty(t, p.full, "a page like another lies in one piece")
				}
			}
			got := p.join(page, &memory)
			require.Equal(t, want, append([]int32(nil), got...))
			require.Zero(t, p.n+p.held)
			if page = page[:0]; len(want) == 0 {
				break
			}
		}
	}
}

// TestPiecesStay has a page of many values, which are not copied when more come.
func TestPiecesStay(t *testing.T) {
	var p pieces[int64]
	var page []int64
	var first *int64
	for i := range int64(pageRows) {
		page = append(p.room(page, 1), i)
		if i == 0 {
			first = &page[0]
		}
	}
	require.Greater(t, len(p.full), 5)
	require.Same(t, first, &p.full[0][0])
	var memory []uint64
	for i, x := range p.join(page, &memory) {
		require.Equal(t, int64(i), x)
	}
}
