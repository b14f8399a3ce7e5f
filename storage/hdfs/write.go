package hdfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/colinmarc/hdfs/v2"
	"github.com/google/uuid"

	"lake/storage"
)

const (
	// replicatingTime bounds the wait for the datanodes to report the last block.
	replicatingTime = 60 * time.Second
	// abortTime bounds the removal of what was written.
	abortTime = 20 * time.Second
)

// writer writes a file under a temporary name. HDFS's own create without
// overwriting would be as exclusive, but shows the name before the bytes, and
// for ever where the process is killed.
//
// A write that failed is not repaired: the library cannot go on with another
// pipeline. The caller writes the batch again under a new name.
type writer struct {
	ctx  context.Context
	fs   *FS
	at   place
	temp string // path

	s     *session         // that the lease is of
	out   *hdfs.FileWriter // nil once it is closed
	id    uint64           // of the file, see id
	err   error            // the first one: what follows fails with it
	done  bool             // Close or Abort was called
	named bool
}

// Create implements storage.FS.
func (f *FS) Create(ctx context.Context, uri string) (storage.Writer, error) {
	p, err := f.at(uri)
	if err != nil {
		return nil, err
	}
	w := &writer{ctx: ctx, fs: f, at: p}
	if err := w.begin(); err != nil {
		return nil, wrap("create", uri, err)
	}
	return w, nil
}

// begin makes the temporary file, each time of another name: whether a create
// that failed has made one is not known. Whether the file's own name is taken is not
// asked: names are new, and what decides is the rename.
func (w *writer) begin() error {
	folder := path.Dir(w.at.path)
	return w.at.run(w.ctx, func(s *session) error {
		defaults, err := s.ServerDefaults()
		if err != nil {
			return err
		}
		replication, block := w.fs.layout.replication, w.fs.layout.blockSize
		if replication == 0 {
			replication = defaults.Replication
		}
		if block == 0 {
			block = defaults.BlockSize
		}
		w.temp = path.Join(folder, storage.TempPrefix+uuid.NewString())
		out, err := s.CreateFile(w.temp, replication, block, w.fs.layout.file)
		if errors.Is(remote(err), fs.ErrNotExist) { // the folder is not there
			if err := s.MkdirAll(folder, w.fs.layout.dir); err != nil {
				return err
			}
			out, err = s.CreateFile(w.temp, replication, block, w.fs.layout.file)
		}
		if err != nil {
			return err
		}
		// The namenode said it when it made the file: no need to ask for it at the end.
		if w.id, err = idOf(out); err != nil {
			return errors.Join(err, out.Close())
		}
		w.s, w.out = s.hold(), out
		return nil
	})
}

// hold is one more use of a session by one of its users.
func (s *session) hold() *session {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	s.users++
	return s
}

// Write implements io.Writer.
func (w *writer) Write(b []byte) (int, error) {
	if w.done {
		return 0, fmt.Errorf("write %s: %w", w.at.uri, fs.ErrClosed)
	}
	if err := context.Cause(w.ctx); err != nil {
		return 0, fmt.Errorf("write %s: %w", w.at.uri, err)
	}
	if w.err != nil || len(b) == 0 { // nothing would begin a block of no bytes, which no datanode reports
		return 0, w.err
	}
	n, err := w.out.Write(b)
	if err != nil {
		w.err = wrap("write", w.at.uri, datanode(err))
	}
	return n, w.err
}

// datanode is the error of a write. Whatever it says, another file may succeed:
// it goes to other datanodes.
func datanode(err error) error {
	err = remote(err)
	if answered(err) {
		return err
	}
	return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
}

// Close implements storage.Writer.
func (w *writer) Close() error {
	if w.done {
		return fmt.Errorf("close %s: %w", w.at.uri, fs.ErrClosed)
	}
	w.done = true
	err := w.err
	if err == nil {
		err = wrap("close", w.at.uri, w.finish())
	}
	if errors.Is(err, fs.ErrExist) { // not every caller aborts what another one made
		err = errors.Join(err, w.Abort())
	}
	w.err = err
	return err
}

func (w *writer) finish() error {
	if err := context.Cause(w.ctx); err != nil {
		return err
	}
	if err := w.complete(); err != nil {
		return err
	}
	if err := context.Cause(w.ctx); err != nil {
		return err
	}
	return w.name(w.id)
}

// complete ends the writing: all bytes are on the datanodes, and the namenode
// knows of enough of them.
func (w *writer) complete() error {
	began := time.Now()
	for try := 0; ; try++ {
		err := w.out.Close()
		if !hdfs.IsErrReplicating(err) {
			if err == nil {
				w.letGo(nil)
				return nil
			}
			return datanode(err)
		}
		if time.Since(began) > replicatingTime {
			return fmt.Errorf("the datanodes have not reported the last block after %s: %w", replicatingTime, err)
		}
		wait := time.NewTimer(min(2*time.Millisecond<<min(try, 20), 500*time.Millisecond))
		select {
		case <-wait.C:
		case <-w.ctx.Done():
			wait.Stop()
			return context.Cause(w.ctx)
		}
	}
}

func (w *writer) letGo(err error) {
	if w.out != nil {
		w.out = nil
		w.s.release(err)
	}
}

// name renames the temporary file. The answer of a rename may be lost; what has
// the name then is known by its id, so that one's own success is not taken for
// somebody else's.
func (w *writer) name(mine uint64) error {
	err := w.at.run(w.ctx, func(s *session) error {
		err := remote(s.rename(w.temp, w.at.path))
		if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
			info, looked := s.Stat(w.at.path)
			if looked != nil {
				if looked = remote(looked); errors.Is(looked, fs.ErrNotExist) {
					return err
				}
				return looked
			}
			if theirs, known := id(info); known == nil && theirs == mine {
				return nil
			}
			return fs.ErrExist
		}
		return err
	})
	w.named = err == nil
	return err
}

// Abort implements storage.Writer.
func (w *writer) Abort() error {
	if w.named || w.temp == "" {
		return nil
	}
	w.done = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), abortTime)
	defer cancel()
	if w.out != nil {
		// The library has no other way to let go of the datanode; what it writes is
		// removed at once.
		err := w.out.Close()
		if hdfs.IsErrReplicating(err) {
			err = nil
		}
		w.letGo(err)
	}
	if err := w.at.remove(ctx, w.temp); err != nil {
		return wrap("remove", w.temp, err)
	}
	w.temp = ""
	return nil
}
