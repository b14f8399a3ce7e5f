package storagetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"lake/storage"
)

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

// A file of a size that is known comes whole, or not at all where it has another.
func (w *world) knownSize() {
	for _, n := range []int{0, 1, 300_000, 5 << 20} {
		data, name := noise(7, n), fmt.Sprint(n)
		w.write(name, data)
		part := make([]byte, n)
		require.NoError(w, storage.ReadWhole(w.Context(), w.fs, w.uri(name), part))
		require.True(w, bytes.Equal(data, part), n)
		for _, other := range []int{n - 1, n + 1, 2*n + 10} {
			if other >= 0 {
				err := storage.ReadWhole(w.Context(), w.fs, w.uri(name), make([]byte, other))
				require.ErrorIs(w, err, storage.ErrSize, "%d of %d", other, n)
				require.ErrorContains(w, err, w.uri(name))
			}
		}
	}
	require.ErrorIs(w, storage.ReadWhole(w.Context(), w.fs, w.uri("none"), make([]byte, 10)), fs.ErrNotExist)
	ctx, cancel := context.WithCancel(w.Context())
	cancel()
	require.ErrorIs(w, storage.ReadWhole(ctx, w.fs, w.uri("1"), make([]byte, 1)), context.Canceled)
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

// Files that were announced are read as others are, once and again; what is not there,
// or is removed meanwhile, is missing.
func (w *world) expected() {
	const n = 7
	var uris []string
	for i := range n {
		name := fmt.Sprintf("folder/%d", i)
		w.write(name, noise(uint64(i), i*1000)) // the first is empty
		uris = append(uris, w.uri(name))
	}
	for range 2 {
		storage.Expect(w.Context(), w.fs, append(uris, w.uri("folder/none"), w.uri("none/file")))
		for range 2 {
			for i := range n {
				require.True(w, bytes.Equal(noise(uint64(i), i*1000), w.read(fmt.Sprintf("folder/%d", i))), i)
			}
		}
	}
	_, err := w.fs.Open(w.Context(), w.uri("folder/none"))
	require.ErrorIs(w, err, fs.ErrNotExist)
	storage.Expect(w.Context(), w.fs, uris)
	require.NoError(w, w.fs.Remove(w.Context(), uris[n-1]))
	_, err = w.fs.Open(w.Context(), uris[n-1])
	require.ErrorIs(w, err, fs.ErrNotExist)
	w.write("folder/6", []byte("another"))
	require.Equal(w, "another", string(w.read("folder/6")))
}
