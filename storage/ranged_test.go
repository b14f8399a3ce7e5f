package storage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// far is a store that counts the ranges that are asked of it.
type far struct {
	data []byte
	mu   sync.Mutex
	asks []ask
	fail atomic.Int32 // so many of the next fetches fail
}

type ask struct{ off, n int64 }

func (f *far) fetch(ctx context.Context, p []byte, off int64) error {
	f.mu.Lock()
	f.asks = append(f.asks, ask{off, int64(len(p))})
	f.mu.Unlock()
	if f.fail.Add(-1) >= 0 {
		return errors.New("cut")
	}
	copy(p, f.data[off:off+int64(len(p))])
	return ctx.Err()
}

func (f *far) taken() []ask {
	f.mu.Lock()
	defer f.mu.Unlock()
	asks := f.asks
	f.asks = nil
	return asks
}

func newFar(size int) *far {
	f := &far{data: make([]byte, size)}
	for i := range f.data {
		f.data[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return f
}

func TestRangedRequests(t *testing.T) {
	const size = 20 << 20
	f := newFar(size)
	file := NewRanged(t.Context(), "x", size, f.data[:1000], f.fetch)
	defer file.Close()
	read := func(off, n int64) {
		t.Helper()
		p := make([]byte, n)
		_, err := file.ReadAt(p, off)
		require.NoError(t, err)
		require.True(t, bytes.Equal(f.data[off:off+n], p))
	}
	read(10, 900)
	require.Empty(t, f.taken(), "what the opening brought is not asked for again")
	read(500, 10_000)
	require.Equal(t, []ask{{1000, 1<<20 - 1000}}, f.taken(), "the rest of the block")
	for off := int64(5 << 20); off < 6<<20; off += 100_000 { // columns of a row group
		read(off, 40_000)
	}
	require.Equal(t, []ask{{5 << 20, 1 << 20}}, f.taken(), "near ranges are one request")
	read(7<<20-10, 20)
	require.ElementsMatch(t, []ask{{6 << 20, 1 << 20}, {7 << 20, 1 << 20}}, f.taken())
	read(3<<20+5, 2<<20)
	require.Equal(t, []ask{{3<<20 + 5, 2 << 20}}, f.taken(), "a large range is asked for as it is")
	read(0, size)
	require.ElementsMatch(t, []ask{{1000, 8 << 20}, {1000 + 8<<20, 8 << 20}, {1000 + 16<<20, 4<<20 - 1000}}, f.taken(), "a huge one in pieces")

	small := NewRanged(t.Context(), "y", 3<<20, nil, f.fetch)
	defer small.Close()
	_, err := small.ReadAt(make([]byte, 8), 3<<20-8) // a footer
	require.NoError(t, err)
	_, err = small.ReadAt(make([]byte, 2<<20), 100)
	require.NoError(t, err)
	require.Equal(t, []ask{{0, 3 << 20}}, f.taken(), "a small file is one request")
	_, err = small.ReadAt(make([]byte, 3<<20), 0)
	require.NoError(t, err)
	require.Empty(t, f.taken(), "all of it is there")

	whole := NewRanged(t.Context(), "z", 3<<20, f.data[:1000], f.fetch)
	defer whole.Close()
	p := make([]byte, 3<<20)
	_, err = whole.ReadAt(p, 0)
	require.NoError(t, err)
	require.True(t, bytes.Equal(f.data[:3<<20], p))
	require.Equal(t, []ask{{1000, 3<<20 - 1000}}, f.taken())
	require.Empty(t, whole.(*ranged).blocks, "who reads all of a file has it, and no block has it once more")
}

func TestRangedKeepsLittle(t *testing.T) {
	f := newFar(40 << 20)
	file := NewRanged(t.Context(), "x", 40<<20, nil, f.fetch).(*ranged)
	random := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		off := random.Int64N(40<<20 - 100)
		p := make([]byte, 100)
		_, err := file.ReadAt(p, off)
		require.NoError(t, err)
		require.Equal(t, f.data[off:off+100], p)
		require.LessOrEqual(t, len(file.blocks), keptBytes/blockBytes)
		require.Len(t, file.order, len(file.blocks))
	}
	require.NoError(t, file.Close())
}

func TestRangedReadsAhead(t *testing.T) {
	const size = 30<<20 + 123
	f := newFar(size)
	require.NoError(t, iotest.TestReader(NewRanged(t.Context(), "x", 700_001, nil, f.fetch), f.data[:700_001]))
	f.taken()
	file := NewRanged(t.Context(), "x", size, nil, f.fetch)
	data, err := io.ReadAll(file)
	require.NoError(t, err)
	require.True(t, bytes.Equal(f.data, data))
	asks := f.taken()
	require.Len(t, asks, 31, "each block once")

	file = NewRanged(t.Context(), "x", size, nil, f.fetch)
	for range 3 * 32 {
		_, err := io.ReadFull(file, make([]byte, 32<<10))
		require.NoError(t, err)
	}
	require.NoError(t, file.Close()) // waits for what is under way
	require.Greater(t, len(f.taken()), 3, "blocks come before they are asked for")
}

func TestRangedFailures(t *testing.T) {
	f := newFar(10 << 20)
	file := NewRanged(t.Context(), "gs://b/x", 10<<20, nil, f.fetch)
	f.fail.Store(1)
	p := make([]byte, 100)
	_, err := file.ReadAt(p, 5<<20)
	require.ErrorContains(t, err, "read 100 bytes at 5242880 of gs://b/x: cut")
	_, err = file.ReadAt(p, 5<<20)
	require.NoError(t, err, "a block that failed is fetched again")
	require.Equal(t, f.data[5<<20:5<<20+100], p)
	f.fail.Store(1)
	_, err = file.ReadAt(make([]byte, 10<<20), 0)
	require.ErrorContains(t, err, "cut", "one piece of many")
	require.NoError(t, file.Close())
}

// Goroutines that read one block ask for it once.
func TestRangedTogether(t *testing.T) {
	f := newFar(10 << 20)
	file := NewRanged(t.Context(), "x", 10<<20, nil, f.fetch)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			p := make([]byte, 10)
			if _, err := file.ReadAt(p, int64(2<<20+i*100)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Len(t, f.taken(), 1)
	require.NoError(t, file.Close())
}
