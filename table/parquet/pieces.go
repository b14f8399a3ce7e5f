package parquet

import "unsafe"

// pieces are the values of a leaf's first page that lie before those in its buffer. A buffer that is
// full is put aside and another begun, so that thousands of pages grow without being copied
// and without garbage. Where a page has ended another of its size is likely: from then on the
// buffer is one piece, which is kept. The zero value is none.
type pieces[T any] struct {
	full  [][]T
	n     int // elements in them
	held  int // that they have room for
	usual int // elements of the page before; 0: this is the first
}

// room is page, or a buffer in its place, with room for n elements more.
func (p *pieces[T]) room(page []T, n int) []T {
	if len(page)+n <= cap(page) {
		return page
	}
	if p.usual > 0 {
		bigger := make([]T, len(page), max(p.usual, len(page)+n, cap(page)+cap(page)/2))
		copy(bigger, page)
		return bigger
	}
	if len(page) > 0 {
		p.full, p.n, p.held = append(p.full, page), p.n+len(page), p.held+cap(page)
	}
	return make([]T, 0, max(n, p.n/4, 64))
}

// join returns all values of a page, whose last ones are in page, and lets go of the pieces. It is
// page itself or lies in memory, which it lengthens where need be.
func (p *pieces[T]) join(page []T, memory *[]uint64) []T {
	n := p.n + len(page)
	full := p.full
	*p = pieces[T]{usual: n}
	if len(full) == 0 {
		return page
	}
	var one T
	if words := (n*int(unsafe.Sizeof(one)) + 7) / 8; len(*memory) < words {
		*memory = make([]uint64, words)
	}
	out := unsafe.Slice((*T)(unsafe.Pointer(&(*memory)[0])), n)
	at := 0
	for _, piece := range full {
		at += copy(out[at:], piece)
	}
	copy(out[at:], page)
	return out
}
