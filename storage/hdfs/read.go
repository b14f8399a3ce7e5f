package hdfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"

	"github.com/colinmarc/hdfs/v2"

	"lake/storage"
)

// keptReaders is how many of a file's readers wait for the next range.
const keptReaders = 4

// Open implements storage.FS.
func (f *FS) Open(ctx context.Context, uri string) (storage.File, error) {
	p, err := f.at(uri)
	if err != nil {
		return nil, err
	}
	if where, ok := p.expected.take(p.path); ok && ctx.Err() == nil {
		return (&blocks{at: p, where: where}).open(ctx, uri), nil
	}
	var where located
	var first *stream // the library asks the namenode what a stat would
	err = p.run(ctx, func(s *session) (err error) {
		if !s.protected {
			where, err = s.locate(p.path)
			return err
		}
		in, err := s.Open(p.path)
		if err != nil {
			return err
		}
		if in.Stat().IsDir() {
			return errors.Join(fs.ErrNotExist, in.Close())
		}
		first = &stream{FileReader: in, s: s.hold()}
		return nil
	})
	if err != nil {
		return nil, wrap("open", uri, err)
	}
	if first == nil {
		return (&blocks{at: p, where: where}).open(ctx, uri), nil
	}
	info := first.Stat()
	r := &reader{at: p}
	r.give(first)
	return &file{File: storage.NewRanged(ctx, uri, info.Size(), nil, r.fetch), ranges: r}, nil
}

// blocks reads ranges of a file from its datanodes.
type blocks struct {
	at place

	mu    sync.Mutex
	where located
}

func (r *blocks) open(ctx context.Context, uri string) storage.File {
	return storage.NewRanged(ctx, uri, r.where.bytes, nil, r.fetch)
}

// errReplaced says that the bytes of an open file are gone: what was read before belongs
// to another file than what can be read now. Who begins anew reads that one.
var errReplaced = fmt.Errorf("%w: another file has taken its name since it was found", storage.ErrUnavailable)

// fetch implements storage.Fetch. Where all datanodes of a block fail, the namenode
// is asked for those that are there now.
func (r *blocks) fetch(ctx context.Context, p []byte, off int64) error {
	began := time.Now()
	for try := 0; ; try++ {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		r.mu.Lock()
		where := r.where
		r.mu.Unlock()
		err := r.once(ctx, where, p, off)
		if err == nil || !passing(err) {
			return err
		}
		if !where.listed { // else nothing was wrong with the datanode, as likely as not
			if err := r.at.pause(ctx, began, try, err); err != nil {
				return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
			}
		}
		was := where
		err = r.at.run(ctx, func(s *session) (err error) {
			where, err = s.locate(r.at.path)
			return err
		})
		switch {
		case err != nil:
			return meaning(err)
		case !where.has(was):
			return errReplaced
		}
		r.mu.Lock()
		r.where = where
		r.mu.Unlock()
	}
}

func (r *blocks) once(ctx context.Context, where located, p []byte, off int64) error {
	for _, b := range where.blocks {
		if len(p) == 0 || off < b.off || off >= b.off+b.bytes {
			continue
		}
		n := min(int64(len(p)), b.off+b.bytes-off)
		if err := r.at.peers.read(ctx, b, off-b.off, p[:n]); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	if len(p) > 0 {
		return fmt.Errorf("the file ends before byte %d: %w", off+int64(len(p)), io.ErrUnexpectedEOF)
	}
	return nil
}

// file closes its readers at its end.
type file struct {
	storage.File
	ranges *reader
}

// Close implements storage.File.
func (f *file) Close() error {
	err := f.File.Close()
	f.ranges.close()
	return err
}

// reader reads ranges of a file whose data are protected, many at a time. The library's reader is one
// stream for one goroutine: some are kept, each at its place.
type reader struct {
	at place

	mu     sync.Mutex
	idle   []*stream
	closed bool
}

// stream is a reader of the library and where it is.
type stream struct {
	*hdfs.FileReader
	s  *session
	at int64
}

func (s *stream) close(err error) {
	_ = s.Close() // of a connection that is read only
	s.s.release(err)
}

// fetch implements storage.Fetch. A datanode that fails is tried again, by a new
// reader: it asks the namenode for those that are there now.
func (r *reader) fetch(ctx context.Context, p []byte, off int64) error {
	began := time.Now()
	for try := 0; ; try++ {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		err := r.once(p, off, try > 0)
		if err == nil {
			return nil
		}
		if !passing(err) {
			return err
		}
		if err := r.at.pause(ctx, began, try, err); err != nil {
			return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
		}
	}
}

func (r *reader) once(p []byte, off int64, fresh bool) error {
	s, err := r.take(off, fresh)
	if err != nil {
		return err
	}
	if s.at != off {
		// Not where it is there already: the library would connect anew.
		_, err = s.Seek(off, io.SeekStart)
	}
	if err == nil {
		_, err = io.ReadFull(s, p)
	}
	s.at = off + int64(len(p))
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("the file ends before byte %d: %w", s.at, io.ErrUnexpectedEOF)
		}
		err = remote(err)
		s.close(err)
		return err
	}
	r.give(s)
	return nil
}

// take is the idle reader that is at off, else any, else a new one.
func (r *reader) take(off int64, fresh bool) (*stream, error) {
	r.mu.Lock()
	if n := len(r.idle); n > 0 && !fresh {
		best := n - 1
		for i, s := range r.idle {
			if s.at == off {
				best = i
			}
		}
		s := r.idle[best]
		r.idle = append(r.idle[:best], r.idle[best+1:]...)
		r.mu.Unlock()
		return s, nil
	}
	r.mu.Unlock()
	s, err := r.at.acquire()
	if err != nil {
		return nil, err
	}
	in, err := s.Open(r.at.path)
	if err != nil {
		err = remote(err)
		s.release(err)
		return nil, err
	}
	return &stream{FileReader: in, s: s}, nil
}

func (r *reader) give(s *stream) {
	r.mu.Lock()
	if !r.closed && len(r.idle) < keptReaders {
		r.idle = append(r.idle, s)
		s = nil
	}
	r.mu.Unlock()
	if s != nil {
		s.close(nil)
	}
}

func (r *reader) close() {
	r.mu.Lock()
	r.closed = true
	idle := r.idle
	r.idle = nil
	r.mu.Unlock()
	for _, s := range idle {
		s.close(nil)
	}
}
