// Package storagetest is what every storage.FS has to pass.
package storagetest

import (
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

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
		{"known size", (*world).knownSize},
		{"empty file", (*world).empty},
		{"large file", (*world).large},
		{"names", (*world).names},
		{"list", (*world).list},
		{"list many", (*world).listMany},
		{"missing", (*world).missing},
		{"expected", (*world).expected},
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
