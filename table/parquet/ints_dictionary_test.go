package parquet

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestIntDictionary compares the numbers of values, page by page, with those that
// a map gives them, and looks how they were found.
func TestIntDictionary(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 1))
	from := func(low int64, span int) func(int) []int64 {
		return func(n int) []int64 {
			page := make([]int64, n)
			for i := range page {
				page[i] = low + int64(r.IntN(span))
			}
			return page
		}
	}
	values := func(v ...int64) func(int) []int64 { return func(int) []int64 { return v } }
	for name, c := range map[string]struct {
		pages  []func(int) []int64
		direct []bool // how each page's values are found
	}{
		"narrow":             {[]func(int) []int64{from(1, 1500), from(1, 1500)}, []bool{true, true}},
		"negative":           {[]func(int) []int64{from(-700, 1400)}, []bool{true}},
		"wider on both ends": {[]func(int) []int64{from(1000, 500), from(600, 500), from(1400, 300)}, []bool{true, true, true}},
		"one value":          {[]func(int) []int64{values(slices.Repeat([]int64{-5}, 300)...), values(-5, -5, -4)}, []bool{true, true}},
		"wide":               {[]func(int) []int64{from(0, 1<<40), from(0, 10)}, []bool{false, false}},
		"narrow, then wide":  {[]func(int) []int64{from(0, 900), from(0, 1<<40), from(0, 900)}, []bool{true, false, false}},
		"narrow, then far":   {[]func(int) []int64{from(0, 900), from(1<<62, 900)}, []bool{true, false}},
		"the ends of all":    {[]func(int) []int64{values(math.MaxInt64, math.MaxInt64-1), values(math.MinInt64, 0)}, []bool{true, false}},
		"across the ends":    {[]func(int) []int64{values(math.MinInt64, math.MaxInt64)}, []bool{false}},
		"the least":          {[]func(int) []int64{values(math.MinInt64, math.MinInt64+3), values(math.MinInt64+1, math.MinInt64+3)}, []bool{true, true}},
	} {
		t.Run(name, func(t *testing.T) {
			var d intDictionary[int64]
			want, order := map[int64]int32{}, []int64(nil)
			for i, next := range c.pages {
				page := next(1000)
				got := d.look([]int32{-1}, page, slices.Min(page), slices.Max(page))
				numbers := []int32{-1}
				for _, x := range page {
					if _, ok := want[x]; !ok {
						want[x] = int32(len(order))
						order = append(order, x)
					}
					numbers = append(numbers, want[x])
				}
				require.Equal(t, numbers, got)
				require.Equal(t, order, d.values)
				require.Equal(t, c.direct[i], d.direct != nil, "page %d", i)
				require.Equal(t, !c.direct[i], d.table != nil, "page %d", i)
				require.LessOrEqual(t, 4*len(d.direct), 4*max(2*len(page), 8*len(order)))
			}
		})
	}
	// The narrower type: its difference is beyond it.
	var d intDictionary[int32]
	require.Equal(t, []int32{0, 1, 0}, d.look(nil, []int32{math.MinInt32, math.MaxInt32, math.MinInt32}, math.MinInt32, math.MaxInt32))
	require.Nil(t, d.direct)
}

// TestIntDictionarySpreads has values that rise by even steps, as times do, and looks how far they
// lie from the slots that their hashes say.
func TestIntDictionarySpreads(t *testing.T) {
	const second = 1_000_000
	for _, step := range []int64{1, 60 * second, 100 * second, 300 * second, 400 * second, 3600 * second, 86_400 * second, 1 << 20, 1 << 32, 1 << 44} {
		var d intDictionary[int64]
		d.hash()
		for i := range int64(864) {
			require.Equal(t, int32(i), d.number(1_420_070_400*second+i*step))
		}
		off := 0
		for at, n := range d.table {
			if n > 0 {
				off += (at - int(slot(d.values[n-1], d.shift)) + len(d.table)) % len(d.table)
			}
		}
		require.Less(t, off, len(d.values), "a step of %d: %d slots off in all", step, off)
	}
}
