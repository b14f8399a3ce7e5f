package storagetest

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"lake/storage"
)

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
