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
	// knownFolders is how many folders a cluster's client remembers at most.
	knownFolders = 4096
)

// partBytes is how much a writer gathers before it is sent; it holds twice as much.
const partBytes = 1 << 20

// WriterBytes implements storage.WriterSizer.
func (f *FS) WriterBytes(string) int64 { return 2 * partBytes }

// writer is a storage.Upload: it writes a file under a temporary name while more of
// it is made. HDFS's own create without overwriting would be as exclusive, but shows
// the name before the bytes, and for ever where the process is killed.
//
// A write that failed is not repaired: the library cannot go on with another
// pipeline. The caller writes the batch again under a new name.
type writer struct {
	fs   *FS
	at   place
	temp string // path

	s     *session         // that the lease is of
	out   *hdfs.FileWriter // nil once it is closed
	id    uint64           // of the file, see id
	err   error            // of a write
	named bool
}

// Create implements storage.FS.
func (f *FS) Create(ctx context.Context, uri string) (storage.Writer, error) {
	p, err := f.at(uri)
	if err != nil {
		return nil, err
	}
	if err := context.Cause(ctx); err != nil {
		return nil, wrap("create", uri, err)
	}
	return storage.NewUpload(ctx, uri, &writer{fs: f, at: p}, storage.UploadOptions{PartBytes: func(int) int { return partBytes }, Parallel: 1,
		Buffers: &f.buffers}), nil // the library copies what it is given
}

// begin makes the temporary file, each time of another name: whether a create
// that failed has made one is not known. Whether the file's own name is taken is not
// asked: names are new, and what decides is the rename.
func (w *writer) begin(ctx context.Context) error {
	folder := path.Dir(w.at.path)
	return w.at.run(ctx, func(s *session) error {
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
		if err := w.folder(s, folder); err != nil {
			return err
		}
		w.temp = path.Join(folder, storage.TempPrefix+uuid.NewString())
		out, err := s.CreateFile(w.temp, replication, block, w.fs.layout.file)
		if errors.Is(remote(err), fs.ErrNotExist) { // somebody removed the folder
			w.at.forgetFolders()
			if err := w.folder(s, folder); err != nil {
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

// folder makes the file's folder unless it is known to be there. A create that finds
// none costs the namenode more than to be asked for it each time.
func (w *writer) folder(s *session, name string) error {
	w.at.mu.Lock()
	known := w.at.folders[name]
	w.at.mu.Unlock()
	if known {
		return nil
	}
	err := remote(s.mkdirs(name, w.fs.layout.dir))
	if errors.Is(err, fs.ErrExist) { // a file has the name: the create says so
		return nil
	}
	if err != nil {
		return err
	}
	w.at.mu.Lock()
	defer w.at.mu.Unlock()
	if len(w.at.folders) >= knownFolders {
		clear(w.at.folders)
	}
	w.at.folders[name] = true
	return nil
}

func (c *cluster) forgetFolders() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.folders)
}

// hold is one more use of a session by one of its users.
func (s *session) hold() *session {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	s.users++
	return s
}

// Whole implements storage.Upload.
func (w *writer) Whole(ctx context.Context, data []byte) error {
	err := w.Part(ctx, 0, data)
	if err == nil {
		err = w.Complete(ctx)
	}
	if err != nil {
		return errors.Join(err, w.Drop(context.WithoutCancel(ctx)))
	}
	return nil
}

// Part implements storage.Upload: the parts come in order, one at a time.
func (w *writer) Part(ctx context.Context, _ int, data []byte) error {
	if w.out == nil {
		if err := w.begin(ctx); err != nil {
			return meaning(err)
		}
	}
	const piece = 64 << 10 // a packet of the library, which has no more in its buffer then
	for len(data) > 0 {    // nothing would begin a block of no bytes, which no datanode reports
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n := min(piece, len(data))
		if _, err := w.out.Write(data[:n]); err != nil {
			w.err = remote(err)
			return meaning(datanode(err))
		}
		data = data[n:]
	}
	return nil
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

// Complete implements storage.Upload.
func (w *writer) Complete(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := w.complete(ctx); err != nil {
		return meaning(err)
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return meaning(w.name(ctx, w.id))
}

// complete ends the writing: all bytes are on the datanodes, and the namenode
// knows of enough of them.
func (w *writer) complete(ctx context.Context) error {
	last, err := endBlock(w.out)
	if err != nil {
		w.letGo(nil) // of a connection to a datanode
		return datanode(err)
	}
	began := time.Now()
	for try := 0; ; try++ {
		done, err := w.s.complete(w.temp, w.id, last)
		if err != nil {
			err = remote(err)
			w.letGo(err)
			return datanode(err)
		}
		if done {
			w.letGo(nil)
			return nil
		}
		if time.Since(began) > replicatingTime {
			return fmt.Errorf("the datanodes have not reported the last block after %s", replicatingTime)
		}
		wait := time.NewTimer(min(2*time.Millisecond<<min(try, 20), 500*time.Millisecond))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return context.Cause(ctx)
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
func (w *writer) name(ctx context.Context, mine uint64) error {
	err := w.at.run(ctx, func(s *session) error {
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

// Drop implements storage.Upload.
func (w *writer) Drop(ctx context.Context) error {
	if w.named || w.temp == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, abortTime)
	defer cancel()
	if w.out != nil {
		_, _ = endBlock(w.out) // of what is removed at once
		w.letGo(w.err)
	}
	if err := w.at.remove(ctx, w.temp); err != nil {
		return wrap("remove", w.temp, err)
	}
	w.temp = ""
	return nil
}
