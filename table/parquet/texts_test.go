package parquet

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTextDictionary compares with a map, on texts that differ in one byte, in their length or
// in zeros at their end, over several pages.
func TestTextDictionary(t *testing.T) {
	random := rand.New(rand.NewPCG(13, 13))
	var words [][]byte
	for n := range 20 {
		word := []byte(strings.Repeat("w", n))
		words = append(words, word, append(bytes.Clone(word), 0))
		for at := range n {
			other := bytes.Clone(word)
			other[at] = byte(random.IntN(256))
			words = append(words, other)
		}
	}
	var d textDictionary
	s := &scratch{}
	numbers := map[string]int32{}
	for page := range 40 {
		var data []byte
		var ends []uint32
		var want []int32
		var low, high []byte
		few := 1 + random.IntN(len(words)) // of them, in some pages
		for i := range 1 + random.IntN(2000) {
			x := words[random.IntN(few)]
			data = append(data, x...)
			ends = append(ends, uint32(len(data)))
			number, ok := numbers[string(x)]
			if !ok {
				number = int32(len(numbers))
				numbers[string(x)] = number
			}
			want = append(want, number)
			if i == 0 || bytes.Compare(x, low) < 0 {
				low = x
			}
			if i == 0 || bytes.Compare(x, high) > 0 {
				high = x
			}
		}
		var gotLow, gotHigh []byte
		s.indices, gotLow, gotHigh = d.look(s, data[:len(data):len(data)], ends)
		require.Equal(t, want, s.indices, "page %d", page)
		require.Equal(t, string(low), string(gotLow), "page %d", page)
		require.Equal(t, string(high), string(gotHigh), "page %d", page)
	}
	require.Equal(t, len(numbers), d.len())
	for text, n := range numbers {
		require.Equal(t, text, string(d.value(int(n))))
	}
}

func BenchmarkTexts(b *testing.B) {
	random := rand.New(rand.NewPCG(13, 14))
	for name, words := range map[string][]string{"short": {"Interaction", "Interaction", "Interaction", "View", "Search", "Login"},
		"long": {"a name of more than sixteen letters", "another such name, which is longer still"}} {
		var data []byte
		var ends []uint32
		for range 16384 {
			data = append(data, words[random.IntN(len(words))]...)
			ends = append(ends, uint32(len(data)))
		}
		b.Run(name, func(b *testing.B) {
			var d textDictionary
			s := &scratch{}
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				s.indices, _, _ = d.look(s, data, ends)
			}
		})
	}
}
