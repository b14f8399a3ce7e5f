package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
)

// Upload is one object on its way to a store. Its methods retry what may pass by
// itself, and have time limits of their own. data is theirs until they return.
type Upload interface {
	// Whole makes the object of data at once, if its name is free.
	Whole(ctx context.Context, data []byte) error
	// Part hands over a part of a large object, numbered from 0. All but the last
	// have PartBytes; as many as UploadOptions.Parallel are under way at a time.
	Part(ctx context.Context, number int, data []byte) error
	// Complete makes the object of its parts, if its name is free.
	Complete(ctx context.Context) error
	// Drop takes away what the parts left in the store. No part is under way.
	Drop(ctx context.Context) error
}

// UploadOptions bound the memory of an upload: PartBytes × (Parallel + 1).
type UploadOptions struct {
	PartBytes func(number int) int // of each part but the last
	Parallel  int                  // parts under way at a time; at least 1
	// Buffers are where an upload gets its buffers from and leaves them; nil: it makes its
	// own. With them, no Whole or Part that succeeded reads its data after it has returned.
	Buffers *Buffers
}

// Buffers are what uploads had their bytes in, for the next ones: to grow a new one is
// to copy and to clear some megabytes an object. They are the collector's to take while
// nobody uses them. The zero value has none. Many goroutines may use them.
type Buffers struct{ pool sync.Pool } // of *[]byte

// take is an empty buffer; nil where there is none.
func (b *Buffers) take() []byte {
	if b == nil {
		return nil
	}
	if kept, ok := b.pool.Get().(*[]byte); ok {
		return (*kept)[:0]
	}
	return nil
}

func (b *Buffers) give(buffer []byte) {
	if b != nil && cap(buffer) > 0 {
		b.pool.Put(&buffer)
	}
}

// NewUpload is a Writer of one object: a small one is made by one request, the
// parts of a large one are sent while more is written. name is for errors.
func NewUpload(ctx context.Context, name string, up Upload, o UploadOptions) Writer {
	u := &upload{name: name, up: up, opts: o, slots: make(chan struct{}, max(o.Parallel, 1))}
	u.ctx, u.cancel = context.WithCancelCause(ctx)
	return u
}

type upload struct {
	name   string
	up     Upload
	opts   UploadOptions
	ctx    context.Context
	cancel context.CancelCauseFunc
	slots  chan struct{} // a token for each part under way
	under  sync.WaitGroup

	buffer []byte
	parts  int // begun
	done   bool
	ended  bool // Close succeeded

	mu   sync.Mutex
	free [][]byte // buffers of parts that were sent
}

// errAborted ends the parts of an upload that is aborted.
var errAborted = errors.New("the upload was aborted")

func (u *upload) Write(p []byte) (int, error) {
	if u.done {
		return 0, fmt.Errorf("write %s: %w", u.name, fs.ErrClosed)
	}
	written := 0
	for len(p) > 0 {
		if u.ctx.Err() != nil {
			return written, u.failed("write")
		}
		size := u.opts.PartBytes(u.parts)
		if len(u.buffer) == size { // only now: the last part goes with Close
			if err := u.send(); err != nil {
				return written, err
			}
			continue
		}
		n := min(size-len(u.buffer), len(p))
		u.grow(len(u.buffer)+n, size)
		u.buffer = append(u.buffer, p[:n]...)
		p, written = p[n:], written+n
	}
	return written, nil
}

// grow makes room for need bytes: a small object costs a small buffer, unless a large
// one is there already.
func (u *upload) grow(need, most int) {
	if u.buffer == nil {
		u.buffer = u.opts.Buffers.take()
	}
	if need <= cap(u.buffer) {
		return
	}
	buffer := make([]byte, len(u.buffer), min(most, max(need, 4*cap(u.buffer), 64<<10)))
	copy(buffer, u.buffer)
	u.buffer = buffer
}

func (u *upload) failed(verb string) error {
	return fmt.Errorf("%s %s: %w", verb, u.name, context.Cause(u.ctx))
}

// send begins the upload of the buffer as a part, and waits for a free slot.
func (u *upload) send() error {
	select {
	case u.slots <- struct{}{}:
	case <-u.ctx.Done():
		return u.failed("write")
	}
	data, number := u.buffer, u.parts
	u.parts++
	u.mu.Lock()
	u.buffer = nil
	if n := len(u.free); n > 0 {
		u.buffer, u.free = u.free[n-1][:0], u.free[:n-1]
	}
	u.mu.Unlock()
	u.under.Go(func() {
		defer func() { <-u.slots }()
		if err := u.up.Part(u.ctx, number, data); err != nil {
			u.cancel(err) // the first error is the upload's
		}
		u.mu.Lock()
		u.free = append(u.free, data)
		u.mu.Unlock()
	})
	return nil
}

func (u *upload) Close() error {
	if u.done {
		return fmt.Errorf("close %s: %w", u.name, fs.ErrClosed)
	}
	defer u.cancel(fs.ErrClosed)
	if u.ctx.Err() == nil && u.parts == 0 {
		u.done = true
		if err := u.up.Whole(u.ctx, u.buffer); err != nil {
			return fmt.Errorf("create %s: %w", u.name, err)
		}
		u.end()
		return nil
	}
	if u.ctx.Err() == nil && len(u.buffer) > 0 {
		_ = u.send() // its error is the context's
	}
	u.under.Wait()
	u.done = true
	if u.ctx.Err() != nil {
		return errors.Join(u.failed("create"), u.drop())
	}
	if err := u.up.Complete(u.ctx); err != nil {
		return errors.Join(fmt.Errorf("create %s: %w", u.name, err), u.drop())
	}
	u.end()
	return nil
}

// end is after success: nothing is under way any more that reads the buffers.
func (u *upload) end() {
	u.ended = true
	u.opts.Buffers.give(u.buffer)
	for _, each := range u.free {
		u.opts.Buffers.give(each)
	}
	u.buffer, u.free = nil, nil
}

func (u *upload) Abort() error {
	if u.ended {
		return nil
	}
	already := u.done
	u.done = true
	u.cancel(errAborted)
	u.under.Wait()
	u.buffer, u.free = nil, nil
	if already { // Close has dropped it
		return nil
	}
	return u.drop()
}

// drop outlives the context of the upload, which may be over.
func (u *upload) drop() error {
	u.cancel(errAborted)
	if u.parts == 0 {
		return nil
	}
	if err := u.up.Drop(context.WithoutCancel(u.ctx)); err != nil {
		return fmt.Errorf("drop the unfinished %s: %w", u.name, err)
	}
	return nil
}
