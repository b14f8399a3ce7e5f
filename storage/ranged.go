package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Fetch reads exactly len(p) bytes at off, which lie within the file. It may be
// called from many goroutines, and retries what may pass by itself.
type Fetch func(ctx context.Context, p []byte, off int64) error

// How a ranged file reads. Measured in requests, a store answers a megabyte
// about as fast as a few bytes: near ranges become one request, large ones
// several at once.
const (
	wholeBytes  = 4 << 20 // a file up to this size is one block
	blockBytes  = 1 << 20 // what small reads are rounded to
	keptBytes   = 8 << 20 // of blocks that a file keeps
	pieceBytes  = 8 << 20 // of a large read, a request
	pieces      = 4       // requests of one large read at a time
	aheadBlocks = 4       // that a sequential reader has under way at most
)

// NewRanged is a file of a store that answers ranges. Reads below half a block
// are answered from blocks, which are fetched once and kept while they are new;
// larger ones go straight to the store, in pieces side by side, as does the first
// read of a file that asks for all of it. Read fetches ahead. head is what of the file's beginning is known already; it is not
// changed. ctx ends the file's reads.
func NewRanged(ctx context.Context, name string, size int64, head []byte, fetch Fetch) File {
	f := &ranged{name: name, size: size, head: head, fetch: fetch, block: blockBytes, blocks: map[int64]*block{}}
	if size <= wholeBytes {
		f.block = max(size, 1)
	}
	f.ctx, f.cancel = context.WithCancelCause(ctx)
	return f
}

type ranged struct {
	name   string
	size   int64
	head   []byte
	fetch  Fetch
	block  int64
	ctx    context.Context
	cancel context.CancelCauseFunc
	ahead  sync.WaitGroup // fetches that nobody may wait for

	mu     sync.Mutex
	blocks map[int64]*block
	order  []int64 // of blocks, least recently used first

	at     int64 // of Read
	last   int64 // block that Read used last
	inARow int64 // blocks that Read has used one after the other
}

// block is a part of the file, or a fetch of it that is under way.
type block struct {
	done chan struct{}
	data []byte
	err  error
}

func (f *ranged) Size() int64 { return f.size }

func (f *ranged) Close() error {
	if f.ctx.Err() != nil && errors.Is(context.Cause(f.ctx), fs.ErrClosed) {
		return f.closed("close")
	}
	f.cancel(fs.ErrClosed)
	f.ahead.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blocks, f.order = nil, nil
	return nil
}

// closed is the error of a use after Close, or after the end of the context.
func (f *ranged) closed(verb string) error {
	return fmt.Errorf("%s %s: %w", verb, f.name, context.Cause(f.ctx))
}

func (f *ranged) ReadAt(p []byte, off int64) (int, error) {
	if f.ctx.Err() != nil {
		return 0, f.closed("read")
	}
	if off < 0 {
		return 0, fmt.Errorf("read %s: offset %d is below 0", f.name, off)
	}
	if off >= f.size {
		if len(p) == 0 && off == f.size {
			return 0, nil
		}
		return 0, io.EOF
	}
	short := error(nil)
	if rest := f.size - off; int64(len(p)) > rest {
		p, short = p[:rest], io.EOF
	}
	if err := f.readAll(p, off); err != nil {
		if f.ctx.Err() != nil {
			return 0, f.closed("read")
		}
		return 0, fmt.Errorf("read %d bytes at %d of %s: %w", len(p), off, f.name, err)
	}
	return len(p), short
}

func (f *ranged) readAll(p []byte, off int64) error {
	straight := int64(len(p)) > f.block/2 && f.size > f.block || int64(len(p)) == f.size && f.untouched()
	if off < int64(len(f.head)) {
		n := copy(p, f.head[off:])
		p, off = p[n:], off+int64(n)
	}
	if len(p) == 0 {
		return nil
	}
	if straight {
		return f.fetchPieces(p, off)
	}
	for len(p) > 0 {
		number := off / f.block
		data, err := f.get(number)
		if err != nil {
			return err
		}
		n := copy(p, data[off-number*f.block:])
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// untouched tells that no block was fetched, or is being.
func (f *ranged) untouched() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.order) == 0
}

// fetchPieces reads a large range past the blocks.
func (f *ranged) fetchPieces(p []byte, off int64) error {
	if len(p) <= pieceBytes {
		return f.fetch(f.ctx, p, off)
	}
	g, ctx := errgroup.WithContext(f.ctx)
	g.SetLimit(pieces)
	for at := 0; at < len(p); at += pieceBytes {
		piece := p[at:min(at+pieceBytes, len(p))]
		g.Go(func() error { return f.fetch(ctx, piece, off+int64(at)) })
	}
	return g.Wait()
}

// get is a block's bytes. Who asks first fetches it; the others wait.
func (f *ranged) get(number int64) ([]byte, error) {
	b, mine := f.claim(number)
	if mine {
		f.fill(number, b)
	}
	select {
	case <-b.done:
		return b.data, b.err
	case <-f.ctx.Done():
		return nil, context.Cause(f.ctx)
	}
}

// claim finds a block, or makes one that the caller has to fill.
func (f *ranged) claim(number int64) (b *block, mine bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, n := range f.order {
		if n == number { // the newest now
			f.order = append(append(f.order[:i], f.order[i+1:]...), number)
			return f.blocks[number], false
		}
	}
	b = &block{done: make(chan struct{})}
	if f.blocks == nil { // closed: whoever reads gets the error of the context
		return b, true
	}
	f.blocks[number] = b
	f.order = append(f.order, number)
	for int64(len(f.order))*f.block > max(keptBytes, f.block) {
		delete(f.blocks, f.order[0]) // who waits for it has it still
		f.order = f.order[1:]
	}
	return b, true
}

func (f *ranged) fill(number int64, b *block) {
	defer close(b.done)
	off := number * f.block
	data := make([]byte, min(f.block, f.size-off))
	rest := data
	if off < int64(len(f.head)) {
		rest = data[copy(data, f.head[off:]):]
	}
	if len(rest) > 0 {
		b.err = f.fetch(f.ctx, rest, off+int64(len(data)-len(rest)))
	}
	if b.err == nil {
		b.data = data
		return
	}
	f.mu.Lock() // the next one tries again
	defer f.mu.Unlock()
	if f.blocks[number] == b {
		delete(f.blocks, number)
		for i, n := range f.order {
			if n == number {
				f.order = append(f.order[:i], f.order[i+1:]...)
				break
			}
		}
	}
}

func (f *ranged) Read(p []byte) (int, error) {
	if len(p) == 0 {
		if f.ctx.Err() != nil {
			return 0, f.closed("read")
		}
		return 0, nil
	}
	f.readAhead()
	if int64(len(p)) > f.block/2 { // through the blocks: they come ahead
		p = p[:f.block/2+f.block%2]
	}
	n, err := f.ReadAt(p, f.at)
	f.at += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// readAhead fetches the next blocks of a reader that goes on from block to
// block, the more the longer it does.
func (f *ranged) readAhead() {
	if f.ctx.Err() != nil || f.at >= f.size {
		return
	}
	now := f.at / f.block
	switch now {
	case f.last:
		if now > 0 || f.inARow > 0 {
			return
		}
	case f.last + 1:
	default:
		f.last, f.inARow = now, 0
		return
	}
	f.last = now
	f.inARow++
	for number := now + 1; number <= now+min(f.inARow, aheadBlocks) && number*f.block < f.size; number++ {
		b, mine := f.claim(number)
		if !mine {
			continue
		}
		f.ahead.Go(func() { f.fill(number, b) })
	}
}

func (f *ranged) Seek(offset int64, whence int) (int64, error) {
	if f.ctx.Err() != nil {
		return 0, f.closed("seek in")
	}
	switch whence {
	case io.SeekCurrent:
		offset += f.at
	case io.SeekEnd:
		offset += f.size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek in %s: offset %d is below 0", f.name, offset)
	}
	f.at = offset
	return offset, nil
}
