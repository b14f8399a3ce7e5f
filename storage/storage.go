// Package storage is a filesystem by URI. What it makes is durable and whole:
// a name is there with all of its bytes, or not at all.
package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

// Info is one file.
type Info struct {
	URI      string
	Bytes    int64
	Modified time.Time
}

// File is an open file. Its methods may be called from many goroutines, Read
// and Seek excepted.
type File interface {
	io.ReadSeekCloser
	io.ReaderAt
	// Size is the file's length when it was opened.
	Size() int64
}

// Writer makes a new file. Nothing is visible under its name before Close,
// which makes bytes and name durable. Either Close or Abort is called.
type Writer interface {
	io.Writer
	// Close fails with an error that is fs.ErrExist where the name is taken by then.
	Close() error
	// Abort drops what was written. After Close it does nothing.
	Abort() error
}

// FS is a filesystem. Many goroutines may use it.
type FS interface {
	// Create begins a new file; it fails where uri exists (fs.ErrExist).
	Create(ctx context.Context, uri string) (Writer, error)
	// Open opens a file to read it; fs.ErrNotExist where there is none.
	Open(ctx context.Context, uri string) (File, error)
	// Stat describes a file; fs.ErrNotExist where there is none.
	Stat(ctx context.Context, uri string) (Info, error)
	// Remove durably removes a file. One that is not there is no error.
	Remove(ctx context.Context, uri string) error
	// List calls each for every file below a folder, in no certain order, until it
	// returns an error. A folder that is not there is empty.
	List(ctx context.Context, uri string, each func(Info) error) error
}

// ErrScheme says that no filesystem here has the URI's scheme.
var ErrScheme = errors.New("no filesystem here has this scheme")

// scheme is the lower-case scheme of a URI, "" of a plain path.
func scheme(uri string) string {
	before, _, ok := strings.Cut(uri, "://")
	if !ok || strings.ContainsAny(before, `/\`) {
		return ""
	}
	return strings.ToLower(before)
}

// Join appends elements to a URI. Elements are names, not paths that may lead
// out of the folder: "..", an empty one and one with a slash at its begin fail.
func Join(uri string, elements ...string) (string, error) {
	for _, e := range elements {
		if e == "" || path.Clean("/"+e) != "/"+e || strings.ContainsRune(e, 0) {
			return "", fmt.Errorf("join %q to %s: it is not a name within the folder", e, uri)
		}
	}
	return strings.TrimRight(uri, "/") + "/" + strings.Join(elements, "/"), nil
}
