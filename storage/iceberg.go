package storage

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	icebergio "github.com/apache/iceberg-go/io"
	"github.com/google/uuid"

	"lake/faults"
)

// MountProperty is the catalog property that leads iceberg-go's file IO to the
// filesystem of the catalog.
const MountProperty = "lake.mount"

// schemes are those that iceberg-go reads and writes through this package. Its
// own local filesystem never syncs: a crash of the machine could lose an
// acknowledged commit. Its own cloud filesystems overwrite what exists.
var schemes = []string{"", "file", "gs", "gcs", "s3", "s3a", "s3n", "hdfs", "viewfs"}

// mounts are the filesystems in use, by the name in MountProperty. Iceberg-go
// makes a file IO of a scheme and a map of strings, in one registry of the
// process: this map leads from there back to a value.
var mounts struct {
	once sync.Once
	mu   sync.RWMutex
	by   map[string]icebergFiles
}

// Mount lets iceberg-go read and write through a filesystem wherever the
// properties that it gets have the name as MountProperty. The caller calls
// unmount when nothing uses it any more.
func Mount(files FS) (name string, unmount func()) {
	mounts.once.Do(func() {
		mounts.by = map[string]icebergFiles{}
		for _, scheme := range schemes {
			icebergio.Unregister(scheme)
			icebergio.Register(scheme, mounted)
		}
	})
	name = uuid.NewString()
	mounts.mu.Lock()
	defer mounts.mu.Unlock()
	mounts.by[name] = icebergFiles{files: files, read: &manifests{by: map[string][]byte{}}}
	return name, func() {
		mounts.mu.Lock()
		defer mounts.mu.Unlock()
		delete(mounts.by, name)
	}
}

// mounted is the factory that iceberg-go calls.
func mounted(ctx context.Context, _ *url.URL, props map[string]string) (icebergio.IO, error) {
	mounts.mu.RLock()
	defer mounts.mu.RUnlock()
	name, ok := props[MountProperty]
	i := icebergFiles{files: Local{}} // of a catalog that is not lake's
	if ok {
		if i, ok = mounts.by[name]; !ok {
			return nil, errors.New("the catalog is closed")
		}
	}
	i.ctx = context.WithoutCancel(ctx)
	return i, nil
}

// icebergFiles is a filesystem as iceberg-go wants it. Iceberg-go passes no
// context with a file, and uses a file IO longer than the call that asked for
// it: an operation ends by the filesystem's own time limits.
type icebergFiles struct {
	ctx   context.Context
	files FS
	read  *manifests // that were read; nil: none are kept
}

var _ interface {
	icebergio.ReadFileIO
	icebergio.WriteFileIO
	icebergio.BulkRemovableIO
	Expecter
} = icebergFiles{}

// Expect implements Expecter: of files that are not kept here.
func (i icebergFiles) Expect(ctx context.Context, names []string) {
	if i.read != nil {
		names = i.read.without(names)
	}
	Expect(ctx, i.files, names)
}

// Open implements icebergio.IO.
func (i icebergFiles) Open(name string) (icebergio.File, error) {
	var f File
	var err error
	if i.read != nil && isManifest(name) {
		f, err = i.read.open(i.ctx, i.files, name)
	} else {
		f, err = i.files.Open(i.ctx, name)
	}
	if err != nil {
		return nil, err
	}
	return icebergFile{File: f, name: name}, nil
}

// Remove implements icebergio.IO.
func (i icebergFiles) Remove(name string) error { return i.files.Remove(i.ctx, name) }

// DeleteFiles implements icebergio.BulkRemovableIO.
func (i icebergFiles) DeleteFiles(ctx context.Context, names []string) ([]string, error) {
	if err := i.files.Remove(ctx, names...); err != nil {
		return nil, err
	}
	return names, nil
}

// ReadFile implements icebergio.ReadFileIO.
func (i icebergFiles) ReadFile(name string) ([]byte, error) { return ReadFile(i.ctx, i.files, name) }

// Create implements icebergio.WriteFileIO. The name must be free; it is there,
// durably, after Close.
func (i icebergFiles) Create(name string) (icebergio.FileWriter, error) {
	w, err := i.files.Create(i.ctx, name)
	if err != nil {
		return nil, err
	}
	return icebergWriter{Writer: bufio.NewWriterSize(w, 64<<10), name: name, under: w}, nil
}

// WriteFile implements icebergio.WriteFileIO.
func (i icebergFiles) WriteFile(name string, data []byte) error {
	err := WriteFile(i.ctx, i.files, name, data)
	if err == nil {
		staged(name)
	}
	return err
}

// staged is reached when a table's metadata is there and its catalog has the old one.
func staged(name string) {
	if strings.HasSuffix(name, ".metadata.json") {
		faults.Point(faults.Staged)
	}
}

// icebergWriter spares calls for writers of small pieces.
type icebergWriter struct {
	*bufio.Writer
	name  string
	under Writer
}

// Close makes the file visible, or leaves nothing.
func (w icebergWriter) Close() error {
	if err := w.Flush(); err != nil {
		return errors.Join(err, w.under.Abort())
	}
	if err := w.under.Close(); err != nil {
		return errors.Join(err, w.under.Abort())
	}
	staged(w.name)
	return nil
}

// icebergFile is a file that tells its size in the way of io/fs.
type icebergFile struct {
	File
	name string
}

// Stat implements fs.File.
func (f icebergFile) Stat() (fs.FileInfo, error) { return icebergInfo{f}, nil }

// icebergInfo is what an open file knows of itself.
type icebergInfo struct{ file icebergFile }

func (i icebergInfo) Name() string       { return path.Base(i.file.name) }
func (i icebergInfo) Size() int64        { return i.file.Size() }
func (i icebergInfo) Mode() fs.FileMode  { return 0o444 }
func (i icebergInfo) ModTime() time.Time { return time.Time{} }
func (i icebergInfo) IsDir() bool        { return false }
func (i icebergInfo) Sys() any           { return nil }
