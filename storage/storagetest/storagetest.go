// Package storagetest is what every storage.FS has to pass.
package storagetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"lake/storage"
)

// Run tests a filesystem. begin gives each test a filesystem and the URI of a
// folder that nothing lies below, and closes what it opened when the test ends.
// Of the names it is told that the filesystem refuses some, which then are errors
// that say so (fs.ErrInvalid).
func Run(t *testing.T, begin func(t *testing.T) (files storage.FS, root string), refused ...string) {
	for _, each := range []struct {
		name string
		test func(*world)
	}{
		{"create", (*world).create},
		{"create races", (*world).createRaces},
		{"create over a file", (*world).createTaken},
		{"visible whole", (*world).visibleWhole},
		{"abort", (*world).abort},
		{"ranges", (*world).ranges},
		{"read from many goroutines", (*world).readTogether},
		{"read and seek", (*world).readSeek},
		{"empty file", (*world).empty},
		{"large file", (*world).large},
		{"names", (*world).names},
		{"list", (*world).list},
		{"list many", (*world).listMany},
		{"missing", (*world).missing},
		{"remove", (*world).remove},
		{"cancelled", (*world).cancelled},
		{"after close", (*world).afterClose},
	} {
		t.Run(each.name, func(t *testing.T) {
			files, root := begin(t)
			each.test(&world{T: t, fs: files, root: strings.TrimRight(root, "/"), refused: refused})
		})
	}
}

type world struct {
	*testing.T
	fs      storage.FS
	root    string
	refused []string // names
}

func (w *world) uri(name string) string { return w.root + "/" + name }

func (w *world) write(name string, data []byte) {
	w.Helper()
	require.NoError(w, storage.WriteFile(w.Context(), w.fs, w.uri(name), data), name)
}

func (w *world) read(name string) []byte {
	w.Helper()
	data, err := storage.ReadFile(w.Context(), w.fs, w.uri(name))
	require.NoError(w, err, name)
	return data
}

// under lists the files below a folder by their names relative to the root, with
// their sizes; those being written are left out.
func (w *world) under(folder string) map[string]int64 {
	w.Helper()
	found := map[string]int64{}
	at := w.root
	if folder != "" {
		at = w.uri(folder)
	}
	require.NoError(w, w.fs.List(w.Context(), at, func(i storage.Info) error {
		name, ok := strings.CutPrefix(i.URI, w.root+"/")
		require.True(w, ok, "%s is not below %s", i.URI, w.root)
		if !strings.HasPrefix(path.Base(name), storage.TempPrefix) {
			require.NotContains(w, found, name, "listed twice")
			found[name] = i.Bytes
		}
		return nil
	}))
	return found
}

// all are the names below the root, temporary ones included.
func (w *world) all() []string {
	w.Helper()
	var found []string
	require.NoError(w, w.fs.List(w.Context(), w.root, func(i storage.Info) error {
		found = append(found, strings.TrimPrefix(i.URI, w.root+"/"))
		return nil
	}))
	slices.Sort(found)
	return found
}

// noise is data that no compression shortens and no two seeds share.
func noise(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	data := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(data) // it never fails
	return data
}

func (w *world) create() {
	out, err := w.fs.Create(w.Context(), w.uri("a/b/file"))
	require.NoError(w, err)
	for _, piece := range []string{"he", "", "llo"} {
		n, err := out.Write([]byte(piece))
		require.NoError(w, err)
		require.Equal(w, len(piece), n)
	}
	_, err = w.fs.Stat(w.Context(), w.uri("a/b/file"))
	require.ErrorIs(w, err, fs.ErrNotExist, "nothing is visible before Close")
	require.NoError(w, out.Close())
	require.NoError(w, out.Abort(), "after Close it does nothing")
	require.Equal(w, "hello", string(w.read("a/b/file")))
	info, err := w.fs.Stat(w.Context(), w.uri("a/b/file"))
	require.NoError(w, err)
	require.Equal(w, w.uri("a/b/file"), info.URI)
	require.Equal(w, int64(5), info.Bytes)
	require.False(w, info.Modified.IsZero())
	require.Equal(w, []string{"a/b/file"}, w.all())
}

// Of several writers of one name exactly one wins, and its bytes are there.
func (w *world) createRaces() {
	const writers = 8
	for round, size := range []int{100, 100, 100, 100, 300_000, 300_000, 20 << 20} {
		name := fmt.Sprintf("race-%d", round)
		var g errgroup.Group
		errs := make([]error, writers)
		var written sync.WaitGroup // all close at once
		written.Add(writers)
		for i := range writers {
			g.Go(func() error {
				out, err := w.fs.Create(w.Context(), w.uri(name))
				if err == nil {
					_, err = out.Write(noise(uint64(i), size))
				}
				written.Done()
				written.Wait()
				if err == nil {
					err = out.Close()
				}
				if err != nil && out != nil {
					err = errors.Join(err, out.Abort())
				}
				errs[i] = err
				return nil
			})
		}
		require.NoError(w, g.Wait())
		won := -1
		for i, err := range errs {
			if err == nil {
				require.Equal(w, -1, won, "two writers of %s won", name)
				won = i
			} else {
				require.ErrorIs(w, err, fs.ErrExist)
			}
		}
		require.NotEqual(w, -1, won, "nobody won: %v", errors.Join(errs...))
		require.True(w, bytes.Equal(noise(uint64(won), size), w.read(name)), "the winner's bytes are there")
		w.write("gone", nil) // what is left behind would be listed beside it
		require.NoError(w, w.fs.Remove(w.Context(), w.uri("gone")))
		require.Equal(w, []string{name}, w.all(), "the losers left nothing")
		require.NoError(w, w.fs.Remove(w.Context(), w.uri(name)))
	}
}

func (w *world) createTaken() {
	w.write("file", []byte("first"))
	for _, size := range []int{0, 10, 20 << 20} {
		require.ErrorIs(w, storage.WriteFile(w.Context(), w.fs, w.uri("file"), noise(1, size)), fs.ErrExist)
	}
	require.Equal(w, "first", string(w.read("file")))
	require.Equal(w, []string{"file"}, w.all())
}

// A reader and a lister that poll never see half a file.
func (w *world) visibleWhole() {
	const size = 20 << 20
	ctx, cancel := context.WithCancel(w.Context())
	defer cancel()
	var g errgroup.Group
	var mu sync.Mutex
	closing := false
	seen := func(what string, bytes int64) error {
		mu.Lock()
		defer mu.Unlock()
		if !closing {
			return fmt.Errorf("%s: the name is there before Close", what)
		}
		if bytes != size {
			return fmt.Errorf("%s: %d bytes are visible, not %d", what, bytes, size)
		}
		return nil
	}
	poll := func(once func() error) {
		g.Go(func() error {
			for ctx.Err() == nil {
				if err := once(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	poll(func() error {
		f, err := w.fs.Open(w.Context(), w.uri("folder/big"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return errors.Join(seen("open", f.Size()), f.Close())
	})
	poll(func() error {
		return w.fs.List(w.Context(), w.uri("folder"), func(i storage.Info) error {
			if path.Base(i.URI) != "big" {
				return nil
			}
			return seen("list", i.Bytes)
		})
	})
	out, err := w.fs.Create(w.Context(), w.uri("folder/big"))
	require.NoError(w, err)
	data := noise(7, 1<<20)
	for range size / len(data) {
		_, err := out.Write(data)
		require.NoError(w, err)
	}
	mu.Lock()
	closing = true
	mu.Unlock()
	require.NoError(w, out.Close())
	_, err = w.fs.Stat(w.Context(), w.uri("folder/big"))
	require.NoError(w, err, "after Close it is there at once")
	require.Equal(w, map[string]int64{"folder/big": size}, w.under("folder"))
	cancel()
	require.NoError(w, g.Wait())
}

func (w *world) abort() {
	for _, size := range []int{0, 1000, 20 << 20} {
		out, err := w.fs.Create(w.Context(), w.uri("folder/dropped"))
		require.NoError(w, err)
		_, err = out.Write(noise(1, size))
		require.NoError(w, err)
		require.NoError(w, out.Abort())
		require.Empty(w, w.all())
		_, err = out.Write([]byte("x"))
		require.Error(w, err)
		require.Error(w, out.Close())
		require.Empty(w, w.all())
	}
	w.write("folder/dropped", []byte("kept")) // the name is free
	require.Equal(w, "kept", string(w.read("folder/dropped")))
}

func (w *world) open(name string) storage.File {
	w.Helper()
	f, err := w.fs.Open(w.Context(), w.uri(name))
	require.NoError(w, err)
	w.Cleanup(func() { _ = f.Close() }) // the test may have closed it
	return f
}

func (w *world) ranges() {
	data := noise(3, 3<<20)
	w.write("file", data)
	f := w.open("file")
	n := int64(len(data))
	require.Equal(w, n, f.Size())
	for _, r := range []struct{ off, length int64 }{
		{0, 1}, {0, n}, {n - 1, 1}, {n - 8, 8}, {0, 0}, {n, 0}, {1<<20 - 1, 2}, {1 << 20, 1 << 20}, {5, 2 << 20}, {n - 100_000, 100_000},
	} {
		part := make([]byte, r.length)
		got, err := f.ReadAt(part, r.off)
		if err != nil {
			require.ErrorIs(w, err, io.EOF)
			require.Equal(w, n, r.off+r.length, "EOF only at the end")
		}
		require.Equal(w, int(r.length), got)
		require.True(w, bytes.Equal(data[r.off:r.off+r.length], part), "%+v", r)
	}
	for _, r := range []struct{ off, length, want int64 }{{n - 3, 10, 3}, {n, 1, 0}, {n + 5, 1, 0}, {1, n, n - 1}} {
		part := make([]byte, r.length)
		got, err := f.ReadAt(part, r.off)
		require.ErrorIs(w, err, io.EOF, "%+v", r)
		require.Equal(w, int(r.want), got, "%+v", r)
		require.True(w, bytes.Equal(data[min(r.off, n):min(r.off+r.want, n)], part[:got]))
	}
	_, err := f.ReadAt(make([]byte, 1), -1)
	require.Error(w, err)
}

func (w *world) readTogether() {
	data := noise(4, 5<<20)
	w.write("file", data)
	f := w.open("file")
	var g errgroup.Group
	for i := range 16 {
		random := rand.New(rand.NewPCG(1, uint64(i)))
		g.Go(func() error {
			for range 12 {
				off := random.IntN(len(data))
				part := make([]byte, min(1+random.IntN(400_000), len(data)-off))
				if n, err := f.ReadAt(part, int64(off)); n != len(part) {
					return fmt.Errorf("read %d at %d: %d: %w", len(part), off, n, err)
				}
				if !bytes.Equal(part, data[off:off+len(part)]) {
					return fmt.Errorf("read %d at %d: wrong bytes", len(part), off)
				}
			}
			return nil
		})
	}
	require.NoError(w, g.Wait())
}

func (w *world) readSeek() {
	data := noise(5, 700_000)
	w.write("file", data)
	require.NoError(w, iotest.TestReader(w.open("file"), data)) // Read in pieces, Seek, ReadAt
	f := w.open("file")
	at, err := f.Seek(-10, io.SeekEnd)
	require.NoError(w, err)
	require.Equal(w, int64(len(data)-10), at)
	rest, err := io.ReadAll(f)
	require.NoError(w, err)
	require.Equal(w, data[len(data)-10:], rest)
	_, err = f.Seek(-1, io.SeekStart)
	require.Error(w, err)
	at, err = f.Seek(100, io.SeekStart)
	require.NoError(w, err)
	require.Equal(w, int64(100), at)
	_, err = f.ReadAt(make([]byte, 5), 0)
	require.NoError(w, err)
	part := make([]byte, 5)
	_, err = io.ReadFull(f, part)
	require.NoError(w, err)
	require.Equal(w, data[100:105], part, "ReadAt does not move what Read reads")
	at, err = f.Seek(0, io.SeekCurrent)
	require.NoError(w, err)
	require.Equal(w, int64(105), at)
	_, err = f.Seek(int64(len(data))+5, io.SeekStart)
	require.NoError(w, err)
	_, err = f.Read(part)
	require.Equal(w, io.EOF, err)
}

func (w *world) empty() {
	w.write("empty", nil)
	require.Empty(w, w.read("empty"))
	f := w.open("empty")
	require.Zero(w, f.Size())
	n, err := f.Read(make([]byte, 1))
	require.Zero(w, n)
	require.Equal(w, io.EOF, err)
	require.Equal(w, map[string]int64{"empty": 0}, w.under(""))
}

func (w *world) large() {
	data := noise(6, 20<<20+17)
	out, err := w.fs.Create(w.Context(), w.uri("large"))
	require.NoError(w, err)
	for rest := data; len(rest) > 0; { // pieces that fit no part's size
		n := min(333_333, len(rest))
		_, err := out.Write(rest[:n])
		require.NoError(w, err)
		rest = rest[n:]
	}
	require.NoError(w, out.Close())
	h := sha256.New()
	n, err := io.Copy(h, w.open("large"))
	require.NoError(w, err)
	require.Equal(w, int64(len(data)), n)
	require.Equal(w, sha256.Sum256(data), [32]byte(h.Sum(nil)))
}

func (w *world) names() {
	want := map[string]int64{}
	for _, name := range []string{
		"plain", "with space", "p=a%2Fb/x", "p=a%20b/x", "plus+and&amp", "ü-日本語-🦀", "hash#1", "quest?ion", "back\\slash", "quote'\"<>", "semi;colon,comma",
		"star*[a]{b}", "dt=2021-11-30/00001.parquet", "..hidden", "percent%", "at@colon:", strings.Repeat("long", 50),
	} {
		if slices.Contains(w.refused, name) {
			_, err := w.fs.Create(w.Context(), w.uri("names/"+name))
			require.ErrorIs(w, err, fs.ErrInvalid, name)
			continue
		}
		w.write("names/"+name, []byte(name))
		want["names/"+name] = int64(len(name))
		require.Equal(w, name, string(w.read("names/"+name)))
		info, err := w.fs.Stat(w.Context(), w.uri("names/"+name))
		require.NoError(w, err)
		require.Equal(w, w.uri("names/"+name), info.URI)
		if strings.Contains(name, "/") {
			require.Equal(w, map[string]int64{"names/" + name: int64(len(name))}, w.under("names/"+path.Dir(name)))
		}
	}
	require.Equal(w, want, w.under("names"), "listed as they were written")
	var uris []string
	for name := range want {
		uris = append(uris, w.uri(name))
	}
	require.NoError(w, w.fs.Remove(w.Context(), uris...))
	require.Empty(w, w.all())
}

func (w *world) list() {
	for _, name := range []string{"a/1", "a/b/2", "a/b/c/3", "ab/4", "a.b/5", "a0", "b"} {
		w.write(name, []byte(name))
	}
	require.Equal(w, map[string]int64{"a/1": 3, "a/b/2": 5, "a/b/c/3": 7}, w.under("a"), "not ab, a.b or a0")
	require.Equal(w, w.under("a"), w.under("a/"), "a slash at the end is none")
	require.Equal(w, map[string]int64{"a/b/2": 5, "a/b/c/3": 7}, w.under("a/b"))
	require.Len(w, w.under(""), 7)
	require.Empty(w, w.under("none"))
	stop := errors.New("stop")
	calls := 0
	require.ErrorIs(w, w.fs.List(w.Context(), w.uri("a"), func(storage.Info) error { calls++; return stop }), stop)
	require.Equal(w, 1, calls)
	_, err := w.fs.Stat(w.Context(), w.uri("a"))
	require.ErrorIs(w, err, fs.ErrNotExist, "a folder is no file")
	_, err = w.fs.Open(w.Context(), w.uri("a"))
	require.ErrorIs(w, err, fs.ErrNotExist)
}

// More files than a page of any store.
func (w *world) listMany() {
	const count = 1130
	want := map[string]int64{}
	var g errgroup.Group
	g.SetLimit(16)
	var uris []string
	for i := range count {
		name := fmt.Sprintf("many/%d/%04d", i%3, i)
		want[name] = int64(len(name))
		uris = append(uris, w.uri(name))
		g.Go(func() error { return storage.WriteFile(w.Context(), w.fs, w.uri(name), []byte(name)) })
	}
	require.NoError(w, g.Wait())
	require.Equal(w, want, w.under("many"))
	require.NoError(w, w.fs.Remove(w.Context(), append(uris, w.uri("many/none"))...))
	require.Empty(w, w.under(""))
}

func (w *world) missing() {
	_, err := w.fs.Stat(w.Context(), w.uri("none"))
	require.ErrorIs(w, err, fs.ErrNotExist)
	_, err = w.fs.Open(w.Context(), w.uri("none"))
	require.ErrorIs(w, err, fs.ErrNotExist)
	_, err = w.fs.Open(w.Context(), w.uri("none/deeper"))
	require.ErrorIs(w, err, fs.ErrNotExist)
	require.ErrorContains(w, err, "none/deeper", "the error names it")
	_, err = storage.ReadFile(w.Context(), w.fs, w.uri("none"))
	require.ErrorIs(w, err, fs.ErrNotExist)
}

func (w *world) remove() {
	for _, name := range []string{"a", "b/1", "b/2", "c"} {
		w.write(name, nil)
	}
	require.NoError(w, w.fs.Remove(w.Context(), w.uri("a")))
	require.NoError(w, w.fs.Remove(w.Context(), w.uri("a")), "twice is no error")
	require.NoError(w, w.fs.Remove(w.Context()), "nothing is no error")
	require.NoError(w, w.fs.Remove(w.Context(), w.uri("none"), w.uri("b/1"), w.uri("no/ne"), w.uri("b/2"), w.uri("b/2")))
	require.Equal(w, []string{"c"}, w.all())
	w.write("a", []byte("again"))
	require.Equal(w, "again", string(w.read("a")))
}

func (w *world) cancelled() {
	w.write("there", noise(1, 100_000))
	over, cancel := context.WithCancel(w.Context())
	cancel()
	_, err := w.fs.Create(over, w.uri("x"))
	require.ErrorIs(w, err, context.Canceled)
	_, err = w.fs.Open(over, w.uri("there"))
	require.ErrorIs(w, err, context.Canceled)
	_, err = w.fs.Stat(over, w.uri("there"))
	require.ErrorIs(w, err, context.Canceled)
	require.ErrorIs(w, w.fs.Remove(over, w.uri("there")), context.Canceled)
	require.ErrorIs(w, w.fs.List(over, w.root, func(storage.Info) error { return nil }), context.Canceled)
	for _, size := range []int{10, 20 << 20} {
		ctx, cancel := context.WithCancel(w.Context())
		out, err := w.fs.Create(ctx, w.uri("x"))
		require.NoError(w, err)
		_, err = out.Write(noise(1, size))
		require.NoError(w, err)
		cancel()
		require.ErrorIs(w, out.Close(), context.Canceled)
		require.NoError(w, out.Abort())
		require.Equal(w, []string{"there"}, w.all(), "a writer whose context ended leaves nothing")
	}
	ctx, cancel := context.WithCancel(w.Context())
	defer cancel()
	f, err := w.fs.Open(ctx, w.uri("there"))
	require.NoError(w, err)
	cancel()
	_, err = f.ReadAt(make([]byte, 10), 50_000)
	require.ErrorIs(w, err, context.Canceled)
	require.NoError(w, f.Close())
}

func (w *world) afterClose() {
	w.write("file", []byte("data"))
	f := w.open("file")
	require.NoError(w, f.Close())
	_, err := f.Read(make([]byte, 1))
	require.ErrorIs(w, err, fs.ErrClosed)
	_, err = f.ReadAt(make([]byte, 1), 0)
	require.ErrorIs(w, err, fs.ErrClosed)
	out, err := w.fs.Create(w.Context(), w.uri("other"))
	require.NoError(w, err)
	require.NoError(w, out.Close())
	require.ErrorIs(w, out.Close(), fs.ErrClosed)
	_, err = out.Write([]byte("x"))
	require.ErrorIs(w, err, fs.ErrClosed)
	require.Empty(w, w.read("other"))
}
