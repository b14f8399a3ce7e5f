package table

import (
	"context"

	"golang.org/x/sync/errgroup"

	"lake/storage"
)

// folders makes those of the open files while rows are still read. To make one durable is a wait for
// the disk, and thousands of them at the flush, one after the other, were a quarter of it. Its zero
// value is ready.
type folders struct {
	next   []string        // those to make
	making *errgroup.Group // one goroutine at a time; nil: none yet
}

// expect says that a file is begun in a folder.
func (f *folders) expect(folder string) { f.next = append(f.next, folder) }

// make begins to make what is to be made, unless others are being made.
func (f *folders) make(ctx context.Context, files storage.FS) {
	if len(f.next) == 0 {
		return
	}
	if f.making == nil {
		f.making = &errgroup.Group{}
		f.making.SetLimit(1)
	}
	next := f.next
	if f.making.TryGo(func() error { return storage.MakeFolders(ctx, files, next) }) {
		f.next = nil
	}
}

// finish returns once all are made: only then what lies in them is durable.
func (f *folders) finish(ctx context.Context, files storage.FS) error {
	next := f.next
	if err := f.drop(); err != nil || len(next) == 0 {
		return err
	}
	return storage.MakeFolders(ctx, files, next)
}

// drop waits for those that are being made and leaves out the others.
func (f *folders) drop() (err error) {
	if f.making != nil {
		err = f.making.Wait()
	}
	*f = folders{}
	return err
}
