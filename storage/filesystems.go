package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Opener makes a scheme's filesystem. ctx bounds the opening only.
type Opener func(ctx context.Context) (FS, error)

// Filesystems are an FS of several schemes, which hands each URI to its scheme's
// own. Remote ones are opened when a URI of theirs is first used: a job that
// names none needs no credentials.
type Filesystems struct {
	local   Local
	openers map[string]Opener

	mu     sync.Mutex
	opened map[string]FS
	closed bool
}

var _ interface {
	FS
	Pather
	Sweeper
	Expecter
	WholeReader
	FolderMaker
	io.Closer
} = (*Filesystems)(nil)

// NewFilesystems are the local filesystem, for plain paths and file URIs, and
// one for each scheme that openers has. The caller closes them.
func NewFilesystems(local Local, openers map[string]Opener) *Filesystems {
	return &Filesystems{local: local, openers: openers, opened: map[string]FS{}}
}

// Schemes are those that can be opened, sorted, "file" among them.
func (f *Filesystems) Schemes() []string {
	return slices.Sorted(maps.Keys(f.withFile()))
}

func (f *Filesystems) withFile() map[string]Opener {
	all := maps.Clone(f.openers)
	if all == nil {
		all = map[string]Opener{}
	}
	all["file"] = nil
	return all
}

// Of is the filesystem of a URI; ErrScheme where there is none of its scheme.
func (f *Filesystems) Of(ctx context.Context, uri string) (FS, error) {
	s := scheme(uri)
	if s == "" || s == "file" {
		return f.local, nil
	}
	opener, ok := f.openers[s]
	if !ok {
		return nil, fmt.Errorf("%s: %w: there are %s", uri, ErrScheme, strings.Join(f.Schemes(), ", "))
	}
	// One at a time: opening is quick, and happens once.
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, fmt.Errorf("%s: the filesystems are closed", uri)
	}
	if files, ok := f.opened[s]; ok {
		return files, nil
	}
	files, err := opener(ctx)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", uri, err)
	}
	f.opened[s] = files
	return files, nil
}

// Close closes those that were opened and are io.Closers.
func (f *Filesystems) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	var errs []error
	for _, s := range slices.Sorted(maps.Keys(f.opened)) {
		if c, ok := f.opened[s].(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	clear(f.opened)
	return errors.Join(errs...)
}

// Create implements FS.
func (f *Filesystems) Create(ctx context.Context, uri string) (Writer, error) {
	files, err := f.Of(ctx, uri)
	if err != nil {
		return nil, err
	}
	return files.Create(ctx, uri)
}

// Open implements FS.
func (f *Filesystems) Open(ctx context.Context, uri string) (File, error) {
	files, err := f.Of(ctx, uri)
	if err != nil {
		return nil, err
	}
	return files.Open(ctx, uri)
}

// ReadWhole implements WholeReader.
func (f *Filesystems) ReadWhole(ctx context.Context, uri string, p []byte) error {
	files, err := f.Of(ctx, uri)
	if err != nil {
		return err
	}
	return ReadWhole(ctx, files, uri, p)
}

// Stat implements FS.
func (f *Filesystems) Stat(ctx context.Context, uri string) (Info, error) {
	files, err := f.Of(ctx, uri)
	if err != nil {
		return Info{}, err
	}
	return files.Stat(ctx, uri)
}

// Expect implements Expecter.
func (f *Filesystems) Expect(ctx context.Context, uris []string) {
	for _, of := range bySchemes(uris) {
		if files, err := f.Of(ctx, of[0]); err == nil {
			Expect(ctx, files, of)
		}
	}
}

// MakeFolders implements FolderMaker.
func (f *Filesystems) MakeFolders(ctx context.Context, uris []string) error {
	var errs []error
	for _, of := range bySchemes(uris) {
		files, err := f.Of(ctx, of[0])
		if err == nil {
			err = MakeFolders(ctx, files, of)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func bySchemes(uris []string) map[string][]string {
	by := map[string][]string{}
	for _, uri := range uris {
		by[scheme(uri)] = append(by[scheme(uri)], uri)
	}
	return by
}

// Remove implements FS: the URIs may be of several schemes.
func (f *Filesystems) Remove(ctx context.Context, uris ...string) error {
	by := bySchemes(uris)
	var errs []error
	for _, s := range slices.Sorted(maps.Keys(by)) {
		files, err := f.Of(ctx, by[s][0])
		if err == nil {
			err = files.Remove(ctx, by[s]...)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// List implements FS.
func (f *Filesystems) List(ctx context.Context, uri string, each func(Info) error) error {
	files, err := f.Of(ctx, uri)
	if err != nil {
		return err
	}
	return files.List(ctx, uri, each)
}

// Path implements Pather. It opens nothing that needs longer than a moment.
func (f *Filesystems) Path(uri string) (string, error) {
	files, err := f.Of(context.Background(), uri)
	if err != nil {
		return "", err
	}
	return Path(files, uri)
}

// WriterBytes implements WriterSizer.
func (f *Filesystems) WriterBytes(uri string) int64 {
	files, err := f.Of(context.Background(), uri)
	if err != nil {
		return 0 // the writer will say so
	}
	return WriterBytes(files, uri)
}

// Sweep implements Sweeper.
func (f *Filesystems) Sweep(ctx context.Context, uri string, before time.Time) error {
	files, err := f.Of(ctx, uri)
	if err != nil {
		return err
	}
	return Sweep(ctx, files, uri, before)
}
