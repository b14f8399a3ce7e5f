package decode

import (
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
)

func TestRecyclerKeepsLittle(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	r := NewRecycler(mem)
	var buffers [][]byte
	for range 30 {
		buffers = append(buffers, r.Allocate(1<<20-100))
	}
	for _, b := range buffers {
		require.Len(t, b, 1<<20)
		r.Free(b)
	}
	require.Equal(t, 30<<20%mostKept, mem.CurrentAlloc())
	large := r.Allocate(mostKept + 1)
	before := mem.CurrentAlloc() - len(large)
	r.Free(large)
	require.Equal(t, before, mem.CurrentAlloc())
	r.Close()

	for _, c := range [][2]int{{100, 100}, {4095, 4095}, {4096, 4096}, {4097, 5120}, {5121, 6144}, {1 << 20, 1 << 20}, {1<<20 + 1, 5 << 18}} {
		require.Equal(t, c[1], sizeClass(c[0]), "%d bytes", c[0])
	}
}

// TestRecyclerTakesFromOthers frees on other goroutines than the one that allocates, as the pipeline does.
func TestRecyclerTakesFromOthers(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	r := NewRecycler(mem)
	full := make(chan []byte, 4)
	var freeing sync.WaitGroup
	for range 3 {
		freeing.Go(func() {
			for b := range full {
				for _, x := range b {
					if x != b[0] {
						t.Error("a buffer is used twice at a time")
						break
					}
				}
				r.Free(b)
			}
		})
	}
	for i := range 2000 {
		b := r.Allocate(5000 + i%3*3000)
		for k := range b {
			b[k] = byte(i)
		}
		full <- b
	}
	close(full)
	freeing.Wait()
	r.Close()
}
