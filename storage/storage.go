// Package storage is a filesystem by URI. What it makes is durable and whole:
// a name is there with all of its bytes, or not at all.
package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
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
// and Seek excepted. After Close they fail with fs.ErrClosed.
type File interface {
	io.ReadSeekCloser
	io.ReaderAt
	// Size is the file's length in bytes when it was opened.
	Size() int64
}

// Writer makes a new file. Nothing is visible under its name before Close,
// which makes bytes and name durable. Either Close or Abort is called; after a
// Close that failed, Abort may be called, too. It is for one goroutine at a time.
type Writer interface {
	io.Writer
	// Close fails with an error that is fs.ErrExist where the name is taken by then.
	// Where it fails otherwise it is not known whether the file is there; its name
	// is not used again.
	Close() error
	// Abort drops what was written, within a time limit of its own. After a Close
	// that succeeded it does nothing.
	Abort() error
}

// FS is a filesystem. Many goroutines may use it. A URI's path is taken as it is
// written, without percent-decoding.
type FS interface {
	// Create begins a new file. Where uri exists it fails (fs.ErrExist), at once or
	// at the writer's Close: of several who create one name exactly one succeeds.
	// ctx is the writer's for its whole life: once it ends, Write and Close fail and
	// nothing gets the name.
	Create(ctx context.Context, uri string) (Writer, error)
	// Open opens a file to read it; fs.ErrNotExist where there is none. ctx is the
	// file's for its whole life.
	Open(ctx context.Context, uri string) (File, error)
	// Stat describes a file; fs.ErrNotExist where there is none, or a folder.
	Stat(ctx context.Context, uri string) (Info, error)
	// Remove durably removes files, in batches where the store has them. One that is
	// not there is no error. After an error it is not known which are left.
	Remove(ctx context.Context, uris ...string) error
	// List calls each for every file below a folder, in no certain order, until it
	// returns an error. A folder that is not there is empty. Files that are being
	// written may be among them under names that begin with TempPrefix.
	List(ctx context.Context, uri string, each func(Info) error) error
}

// Errors of remote stores that callers tell apart.
var (
	// ErrUnavailable says that the store was away, busy or too slow, for as long as
	// it is worth to repeat a request: the same may work later.
	ErrUnavailable = errors.New("the store is away or busy")
	// ErrRefused says that the store knows neither this user nor allows him this, or
	// that there is no such bucket.
	ErrRefused = errors.New("the store refuses it")
)

// ErrScheme says that no filesystem here has the URI's scheme.
var ErrScheme = errors.New("no filesystem here has this scheme")

// TempPrefix begins the names of files that are being written where a filesystem
// needs them. A crash leaves them behind; Sweep removes them.
const TempPrefix = ".tmp-"

// Pather is an FS that knows several ways to write one file's URI.
type Pather interface {
	// Path is the one name of a file: two URIs are the same file's if their paths
	// are equal. On the local filesystem it is the path on disk.
	Path(uri string) (string, error)
}

// Path is the one name of a URI's file: by the FS where it is a Pather, else the URI.
func Path(files FS, uri string) (string, error) {
	if p, ok := files.(Pather); ok {
		return p.Path(uri)
	}
	return uri, nil
}

// WriterSizer is an FS whose open writers hold memory.
type WriterSizer interface {
	// WriterBytes is what one writer below a URI holds at most, in bytes.
	WriterBytes(uri string) int64
}

// WriterBytes is the memory that an open writer holds at most; 0 where the FS
// hands on what it gets.
func WriterBytes(files FS, uri string) int64 {
	if s, ok := files.(WriterSizer); ok {
		return s.WriterBytes(uri)
	}
	return 0
}

// Expecter is an FS that asks where files lie for many at a time.
type Expecter interface {
	// Expect says which files are opened soon, once each, and have the same bytes for
	// as long as they have their names. It is a hint: what is wrong shows when they are opened.
	Expect(ctx context.Context, uris []string)
}

// Expect says it to the FS where it is an Expecter.
func Expect(ctx context.Context, files FS, uris []string) {
	if e, ok := files.(Expecter); ok {
		e.Expect(ctx, uris)
	}
}

// ErrSize says that a file does not have the size that its reader was told.
var ErrSize = errors.New("the file has another size")

// WholeReader is an FS that reads a file of a size that is known by one request.
type WholeReader interface {
	// ReadWhole fills p with a file's bytes: all of them. ErrSize where they are not
	// len(p), which is not 0; fs.ErrNotExist where there is no file.
	ReadWhole(ctx context.Context, uri string, p []byte) error
}

// ReadWhole does so, with the FS's own way where it is a WholeReader.
func ReadWhole(ctx context.Context, files FS, uri string, p []byte) error {
	if w, ok := files.(WholeReader); ok && len(p) > 0 {
		return w.ReadWhole(ctx, uri, p)
	}
	f, err := files.Open(ctx, uri)
	if err != nil {
		return err
	}
	if f.Size() != int64(len(p)) {
		return errors.Join(SizeError(uri, f.Size(), len(p)), f.Close())
	}
	n, err := f.ReadAt(p, 0)
	if n == len(p) {
		err = nil // or io.EOF
	}
	return errors.Join(err, f.Close())
}

// SizeError is an ErrSize of a file that has so many bytes, and is not what was said.
func SizeError(uri string, has int64, said int) error {
	return fmt.Errorf("read %s: %w: %d bytes, not %d", uri, ErrSize, has, said)
}

// FolderMaker is an FS that waits for each folder that it makes, but once for many.
type FolderMaker interface {
	// MakeFolders makes folders, durably, that files are created in soon. What of them
	// is not made Create makes. After an error it is not known which of them will last.
	MakeFolders(ctx context.Context, uris []string) error
}

// MakeFolders has the FS make folders where it is a FolderMaker.
func MakeFolders(ctx context.Context, files FS, uris []string) error {
	if m, ok := files.(FolderMaker); ok {
		return m.MakeFolders(ctx, uris)
	}
	return nil
}

// Classed is an FS of a store that has storage classes.
type Classed interface {
	// WithClass is the same filesystem, whose new files have a storage class. Close
	// of the first closes both.
	WithClass(class string) FS
}

// ObjectStore is what all filesystems are that lie on a store of objects.
type ObjectStore interface {
	FS
	Pather
	WriterSizer
	Classed
	io.Closer
}

// CheckStore says what is wrong with a store's address, which may be left out, and
// with how long it is waited for.
func CheckStore(endpoint string, patience time.Duration) error {
	if endpoint != "" {
		if err := checkEndpoint(endpoint); err != nil {
			return fmt.Errorf("endpoint: %w", err)
		}
	}
	if patience < 0 {
		return errors.New("patience: more than 0 expected; hint: write 2m")
	}
	return nil
}

func checkEndpoint(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.RawQuery != "", u.Fragment != "":
		return errors.New("it is not http://host:port or https://host:port")
	case u.User != nil: // the text is not repeated
		return errors.New("it has a user or a password; hint: credentials belong to the environment, not to the job file")
	}
	return nil
}

// Sweeper is an FS whose writers leave something behind where their process is
// killed: files under temporary names, or what List does not show.
type Sweeper interface {
	// Sweep drops what writers below a folder left that began before a moment. A
	// folder that is not there is empty.
	Sweep(ctx context.Context, uri string, before time.Time) error
}

// SweepTemporary is Sweep of an FS that writes under names that begin with TempPrefix.
func SweepTemporary(ctx context.Context, files FS, uri string, before time.Time) error {
	var old []string
	err := files.List(ctx, uri, func(i Info) error {
		if strings.HasPrefix(path.Base(i.URI), TempPrefix) && i.Modified.Before(before) {
			old = append(old, i.URI)
		}
		return nil
	})
	if err != nil || len(old) == 0 {
		return err
	}
	return files.Remove(ctx, old...)
}

// Sweep drops it where the FS is a Sweeper.
func Sweep(ctx context.Context, files FS, uri string, before time.Time) error {
	if s, ok := files.(Sweeper); ok {
		return s.Sweep(ctx, uri, before)
	}
	return nil
}

// ReadFile reads a file whole. It is for files that are known to be small.
func ReadFile(ctx context.Context, files FS, uri string) ([]byte, error) {
	f, err := files.Open(ctx, uri)
	if err != nil {
		return nil, err
	}
	data := make([]byte, f.Size())
	_, err = io.ReadFull(f, data)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", uri, err)
	}
	return data, nil
}

// WriteFile makes a file of data, whole and durable; fs.ErrExist where it exists.
func WriteFile(ctx context.Context, files FS, uri string, data []byte) error {
	w, err := files.Create(ctx, uri)
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return errors.Join(err, w.Abort())
	}
	if err := w.Close(); err != nil {
		return errors.Join(err, w.Abort())
	}
	return nil
}

// IsRemote tells a URI that is not on the local filesystem.
func IsRemote(uri string) bool {
	s := scheme(uri)
	return s != "" && s != "file"
}

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
