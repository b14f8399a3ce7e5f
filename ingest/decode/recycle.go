package decode

import (
	"math/bits"
	"sync"

	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Recycler hands the buffers of released batches to the next ones: their pages
// are mapped already, and the garbage collector has nothing to do with them.
// Memory that it hands out is not cleared. It is safe for concurrent use.
type Recycler struct {
	mem memory.Allocator

	mu     sync.Mutex
	free   map[int][][]byte // by size
	held   int              // bytes in free
	closed bool             // keeps nothing any more
}

// Smaller buffers are not worth it; more is not kept of them in all.
const (
	leastRecycled = 4 << 10
	mostKept      = 8 << 20
)

// NewRecycler makes one that gets memory from mem, and holds 8 MiB at most that nobody uses.
func NewRecycler(mem memory.Allocator) *Recycler {
	return &Recycler{mem: mem, free: map[int][][]byte{}}
}

// sizeClass rounds up, by a quarter at most, so that batches of about the same
// size use the same buffers.
func sizeClass(size int) int {
	if size < leastRecycled {
		return size
	}
	step := 1 << (bits.Len(uint(size-1)) - 3)
	return (size + step - 1) &^ (step - 1)
}

// Allocate returns size bytes, or some more.
func (r *Recycler) Allocate(size int) []byte {
	class := sizeClass(size)
	r.mu.Lock()
	if list := r.free[class]; len(list) > 0 {
		b := list[len(list)-1]
		r.free[class] = list[:len(list)-1]
		r.held -= class
		r.mu.Unlock()
		return b
	}
	r.mu.Unlock()
	return r.mem.Allocate(class)
}

// Reallocate returns size bytes, or some more, that begin with those of b, which goes back.
func (r *Recycler) Reallocate(size int, b []byte) []byte {
	if size <= len(b) {
		return b
	}
	bigger := r.Allocate(size)
	copy(bigger, b)
	r.Free(b)
	return bigger
}

// Free takes a buffer back.
func (r *Recycler) Free(b []byte) {
	class := len(b)
	if class < leastRecycled || class > mostKept {
		r.mem.Free(b)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		r.mem.Free(b)
		return
	}
	if r.held+class > mostKept { // of sizes that are not asked for any more
		r.drop()
	}
	r.free[class] = append(r.free[class], b)
	r.held += class
}

func (r *Recycler) drop() {
	for _, list := range r.free {
		for _, b := range list {
			r.mem.Free(b)
		}
	}
	clear(r.free)
	r.held = 0
}

// Close gives back what is kept; what is in use follows when it is freed.
func (r *Recycler) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop()
	r.closed = true
}
