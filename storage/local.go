package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Local is the local filesystem. It takes plain paths and file URIs.
//
// A file URI's path is taken as it is written, without percent-decoding, as
// Iceberg's Java and Python readers do: the folder of a partition value "a/b"
// is named "p=a%2Fb" on disk and in the URI. Iceberg-go's own locations are
// URL-encoded, however; so that a warehouse may lie in a folder with a space in
// its name, the encoded form of Root, and of it alone, stands for Root.
type Local struct {
	// Root is the absolute path of the warehouse; "" leaves every path as it is.
	Root string
}

// LocalURI is the file URI of an absolute path as iceberg-go writes it.
func LocalURI(folder string) string {
	return "file://" + (&url.URL{Path: filepath.ToSlash(folder)}).EscapedPath()
}

// Path is the path on disk of a URI or plain path.
func (l Local) Path(uri string) (string, error) {
	name := uri
	switch s := scheme(uri); {
	case s == "file":
		name = uri[len("file://"):]
		if rest, ok := strings.CutPrefix(name, "localhost/"); ok {
			name = "/" + rest
		}
		if !strings.HasPrefix(name, "/") {
			return "", fmt.Errorf("path of %s: it names a host; write file:///path", uri)
		}
	case s != "":
		return "", fmt.Errorf("path of %s: %w", uri, ErrScheme)
	case strings.HasPrefix(uri, "file:/"):
		name = uri[len("file:"):]
	}
	if strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("path of %q: it has a NUL byte", uri)
	}
	if l.Root != "" {
		encoded := LocalURI(l.Root)[len("file://"):]
		if rest, ok := strings.CutPrefix(name, encoded); ok && (rest == "" || rest[0] == '/') {
			name = l.Root + rest
		}
	}
	if name == "" {
		return "", errors.New("a path is empty")
	}
	return filepath.Clean(filepath.FromSlash(name)), nil
}

// Create implements FS. Missing folders are made, durably.
func (l Local) Create(ctx context.Context, uri string) (Writer, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	name, err := l.Path(uri)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(name); err == nil {
		return nil, fmt.Errorf("create %s: %w", name, fs.ErrExist)
	}
	folder := filepath.Dir(name)
	if err := makeFolder(folder); err != nil {
		return nil, fmt.Errorf("create %s: %w", name, err)
	}
	f, err := os.OpenFile(filepath.Join(folder, TempPrefix+uuid.NewString()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", name, err)
	}
	return &localWriter{ctx: ctx, file: f, name: name}, nil
}

// localWriter writes a temporary file beside the name that it gets at Close.
type localWriter struct {
	ctx  context.Context
	file *os.File
	name string
	done bool
}

func (w *localWriter) Write(p []byte) (int, error) {
	if w.ctx.Err() != nil {
		return 0, fmt.Errorf("write %s: %w", w.name, context.Cause(w.ctx))
	}
	n, err := w.file.Write(p)
	if err != nil {
		return n, fmt.Errorf("write %s: %w", w.name, err)
	}
	return n, nil
}

func (w *localWriter) Close() error {
	if w.done {
		return fmt.Errorf("close %s: %w", w.name, fs.ErrClosed)
	}
	if w.ctx.Err() != nil {
		return errors.Join(fmt.Errorf("close %s: %w", w.name, context.Cause(w.ctx)), w.Abort())
	}
	if err := w.file.Sync(); err != nil {
		return errors.Join(fmt.Errorf("sync %s: %w", w.name, err), w.Abort())
	}
	w.done = true
	temp := w.file.Name()
	if err := w.file.Close(); err != nil {
		return errors.Join(fmt.Errorf("close %s: %w", w.name, err), os.Remove(temp))
	}
	if err := publish(temp, w.name); err != nil {
		return errors.Join(fmt.Errorf("create %s: %w", w.name, err), os.Remove(temp))
	}
	return syncFolder(filepath.Dir(w.name))
}

// publish gives a finished file its name, which must be free. Where the
// filesystem has no hard links the check and the rename are two steps; two
// writers of one name do not occur there either, since names hold a UUID.
func publish(temp, name string) error {
	err := os.Link(temp, name)
	if err == nil {
		return os.Remove(temp)
	}
	if errors.Is(err, fs.ErrExist) {
		return fs.ErrExist
	}
	if _, err := os.Lstat(name); err == nil {
		return fs.ErrExist
	}
	return os.Rename(temp, name)
}

func (w *localWriter) Abort() error {
	if w.done {
		return nil
	}
	w.done = true
	if err := errors.Join(w.file.Close(), os.Remove(w.file.Name())); err != nil {
		return fmt.Errorf("drop the unfinished %s: %w", w.name, err)
	}
	return nil
}

// localFile is a file with the size that it had when it was opened.
type localFile struct {
	*os.File
	ctx  context.Context
	size int64
}

func (f *localFile) Size() int64 { return f.size }

func (f *localFile) Read(p []byte) (int, error) {
	if f.ctx.Err() != nil {
		return 0, context.Cause(f.ctx)
	}
	return f.File.Read(p)
}

func (f *localFile) ReadAt(p []byte, off int64) (int, error) {
	if f.ctx.Err() != nil {
		return 0, context.Cause(f.ctx)
	}
	return f.File.ReadAt(p, off)
}

// Open implements FS.
func (l Local) Open(ctx context.Context, uri string) (File, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	name, err := l.Path(uri)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", name, err), f.Close())
	}
	if info.IsDir() {
		return nil, errors.Join(fmt.Errorf("open %s: it is a folder: %w", name, fs.ErrNotExist), f.Close())
	}
	return &localFile{File: f, ctx: ctx, size: info.Size()}, nil
}

// Stat implements FS.
func (l Local) Stat(ctx context.Context, uri string) (Info, error) {
	if ctx.Err() != nil {
		return Info{}, context.Cause(ctx)
	}
	name, err := l.Path(uri)
	if err != nil {
		return Info{}, err
	}
	info, err := os.Stat(name)
	if err != nil {
		return Info{}, fmt.Errorf("stat %s: %w", name, err)
	}
	if info.IsDir() {
		return Info{}, fmt.Errorf("stat %s: it is a folder: %w", name, fs.ErrNotExist)
	}
	return Info{URI: uri, Bytes: info.Size(), Modified: info.ModTime()}, nil
}

// Remove implements FS. Folders that become empty stay.
func (l Local) Remove(ctx context.Context, uris ...string) error {
	folders := map[string]bool{} // each is synced once
	var errs []error
	for _, uri := range uris {
		if ctx.Err() != nil {
			errs = append(errs, context.Cause(ctx))
			break
		}
		name, err := l.Path(uri)
		if err == nil {
			err = os.Remove(name)
		}
		switch {
		case err == nil:
			folders[filepath.Dir(name)] = true
		case !errors.Is(err, fs.ErrNotExist):
			errs = append(errs, fmt.Errorf("remove %s: %w", uri, err))
		}
	}
	for folder := range folders {
		if err := syncFolder(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// List implements FS. Links are not followed: what lies outside of the folder
// is not listed.
func (l Local) List(ctx context.Context, uri string, each func(Info) error) error {
	root, err := l.Path(uri)
	if err != nil {
		return err
	}
	prefix := strings.TrimRight(uri, "/")
	return filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // gone since its folder was read
		case err != nil:
			return fmt.Errorf("list %s: %w", root, err)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !entry.Type().IsRegular():
			return nil
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list %s: %w", root, err)
		}
		return each(Info{URI: prefix + filepath.ToSlash(strings.TrimPrefix(name, root)), Bytes: info.Size(), Modified: info.ModTime()})
	})
}

// Sweep implements Sweeper.
func (l Local) Sweep(ctx context.Context, uri string, before time.Time) error {
	return SweepTemporary(ctx, l, uri, before)
}

// makeFolder makes a folder and its parents, each durable in its own parent.
func makeFolder(name string) error {
	info, err := os.Stat(name)
	if err == nil {
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: name, Err: errors.New("a file is in its place")}
		}
		return nil
	}
	parent := filepath.Dir(name)
	if parent == name {
		return err
	}
	if err := makeFolder(parent); err != nil {
		return err
	}
	if err := os.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(parent)
}

// MakeFolders implements FolderMaker: each parent is waited for once.
func (l Local) MakeFolders(ctx context.Context, uris []string) error {
	parents := map[string]bool{}
	var errs []error
	for _, uri := range uris {
		if ctx.Err() != nil {
			errs = append(errs, context.Cause(ctx))
			break
		}
		name, err := l.Path(uri)
		if err == nil {
			err = os.Mkdir(name, 0o755)
		}
		switch {
		case err == nil:
			parents[filepath.Dir(name)] = true
		case errors.Is(err, fs.ErrNotExist):
			err = makeFolder(name)
		case errors.Is(err, fs.ErrExist):
			err = nil // what a file in its place means, Create says
		}
		errs = append(errs, err)
	}
	for parent := range parents { // also after an error: a folder that is there is taken for durable
		errs = append(errs, syncFolder(parent))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("make folders: %w", err)
	}
	return nil
}

func syncFolder(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	if err := f.Sync(); err != nil {
		return errors.Join(fmt.Errorf("sync folder %s: %w", name, err), f.Close())
	}
	return f.Close()
}

// MakeFolder makes a folder and its parents durably.
func MakeFolder(name string) error {
	if err := makeFolder(filepath.Clean(name)); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	return nil
}
