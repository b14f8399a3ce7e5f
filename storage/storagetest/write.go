package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"lake/storage"
)

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
