package parquet

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding/rle"
	"github.com/stretchr/testify/require"
)

// indexBodies are the indices of a page, by what their column holds.
func indexBodies(t testing.TB) map[string][]byte {
	r := rand.New(rand.NewPCG(7, 8))
	bodies := map[string][]byte{}
	for name, index := range map[string]func(i int) int32{
		"users":      func(int) int32 { return int32(20_000 * math.Pow(r.Float64(), 1.5)) },
		"homes":      func(int) int32 { return int32(5_000 * math.Pow(r.Float64(), 5)) },
		"four words": func(int) int32 { return int32(max(0, r.IntN(10)-6)) },
		"even":       func(int) int32 { return r.Int32N(1 << 16) },
		"again":      func(i int) int32 { return int32(i * i % 3001) },
		"wide":       func(int) int32 { return r.Int32N(1 << 20) },
	} {
		indices := make([]int32, 16384)
		if name == "wide" {
			indices = make([]int32, 200_000) // blocks of a frame
		}
		for i := range indices {
			indices[i] = index(i)
		}
		body, err := encodeIndices([]byte("what was there before"), indices)
		require.NoError(t, err)
		want, err := (&rle.DictionaryEncoding{}).EncodeInt32(nil, indices)
		require.NoError(t, err)
		require.Equal(t, want, body, name)
		bodies[name] = body
	}
	return bodies
}

// TestIndicesDecode reads frames back, each behind another one of the same encoder.
func TestIndicesDecode(t *testing.T) {
	decoder, err := zstd.NewReader(nil)
	require.NoError(t, err)
	defer decoder.Close()
	var z numbers
	check := func(body []byte) int {
		size := 0
		for _, by := range []way{byNothing, byLiterals} {
			frame, err := z.literalFrame(body, by)
			require.NoError(t, err)
			got, err := decoder.DecodeAll(frame, nil)
			require.NoError(t, err)
			require.Equal(t, body, got)
			size = len(frame)
		}
		return size
	}
	bodies := indexBodies(t)
	for _, body := range bodies {
		check(body)
	}
	users := bodies["users"]
	words := bodies["four words"]
	require.Less(t, check(words), len(words)*9/10)
	for _, n := range []int{1, 255, 256, 257, 1 << 10, blockBytes - 1, blockBytes, blockBytes + 1, blockBytes + 300, 2 * blockBytes} {
		body := make([]byte, n)
		for i := range body {
			body[i] = users[i%len(users)]
		}
		check(body)
		check(make([]byte, n)) // one byte, again and again
	}
}

// TestIndicesAreAsSmall compares with the general encoder, and asks which way was taken.
func TestIndicesAreAsSmall(t *testing.T) {
	c, err := parseCodec("zstd")
	require.NoError(t, err)
	bodies := indexBodies(t)
	for name, want := range map[string]way{
		"users": byNothing, "even": byNothing, "wide": byNothing, "homes": byLiterals, "four words": byLiterals,
		"again": byGeneral, // every 3001 values are the same
	} {
		s := &scratch{}
		general, err := c.compress(s, bodies[name])
		require.NoError(t, err)
		size := len(general)
		var by choice
		for page := range judgedPages + 2 {
			frame, err := c.compressIndices(s, bodies[name], &by)
			require.NoError(t, err)
			require.Less(t, float64(len(frame)), 1.032*float64(size), "%s, page %d", name, page)
		}
		require.Equal(t, want, by.way, name)
	}
	// What changes on the way is seen at the next look.
	var by choice
	s := &scratch{}
	for _, pages := range []struct {
		of   string
		n    int
		want way
	}{{"homes", judgedPages + 1, byLiterals}, {"again", judgedPages, byGeneral}, {"users", judgedPages, byNothing}} {
		for range pages.n {
			_, err := c.compressIndices(s, bodies[pages.of], &by)
			require.NoError(t, err)
		}
		require.Equal(t, pages.want, by.way)
	}
}

// TestFilesGoByEarlierOnes has a second file of a format begin with what the first one found.
func TestFilesGoByEarlierOnes(t *testing.T) {
	batch := flat(20_000, 3)
	defer batch.Release()
	f, err := NewFormat(batch.Schema(), Options{})
	require.NoError(t, err)
	one := func() (begin, end []choices) {
		var out bytes.Buffer
		w := f.NewWriter(&out)
		leaves := w.leaves
		for _, l := range leaves {
			begin = append(begin, l.choices)
		}
		require.NoError(t, w.Append(batch, nil))
		_, err := w.Close()
		require.NoError(t, err)
		for _, l := range leaves {
			end = append(end, l.choices)
		}
		return begin, end
	}
	begin, first := one()
	require.Equal(t, choice{}, begin[0].indices)
	require.Positive(t, first[0].indices.pages)
	require.Equal(t, byNothing, first[0].indices.way) // users of an even distribution
	begin, second := one()
	require.Equal(t, first, begin)
	require.Equal(t, 2*first[0].indices.pages, second[0].indices.pages)
}

func BenchmarkIndices(b *testing.B) {
	c, err := parseCodec("zstd")
	require.NoError(b, err)
	bodies := indexBodies(b)
	s := &scratch{}
	for _, name := range []string{"users", "homes", "four words"} {
		body := bodies[name]
		b.Run(name+"/general", func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				_, err := c.compress(s, body)
				require.NoError(b, err)
			}
		})
		b.Run(name+"/chosen", func(b *testing.B) {
			var by choice
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				_, err := c.compressIndices(s, body, &by)
				require.NoError(b, err)
			}
		})
	}
}
