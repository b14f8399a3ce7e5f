package storage

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func names(t *testing.T, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestCreateIsWholeOrNothing(t *testing.T) {
	root := t.TempDir()
	var l Local
	uri := "file://" + root + "/a/b/file"
	w, err := l.Create(t.Context(), uri)
	require.NoError(t, err)
	_, err = w.Write([]byte("hello"))
	require.NoError(t, err)
	_, err = l.Stat(t.Context(), uri)
	require.ErrorIs(t, err, fs.ErrNotExist, "nothing is visible before Close")
	require.NoError(t, w.Close())
	require.Equal(t, []string{"file"}, names(t, root+"/a/b"), "and nothing is left behind")
	info, err := l.Stat(t.Context(), uri)
	require.NoError(t, err)
	require.Equal(t, int64(5), info.Bytes)
	require.NoError(t, w.Abort(), "after Close it does nothing")
	require.FileExists(t, root+"/a/b/file")
	require.ErrorIs(t, w.Close(), fs.ErrClosed)

	_, err = l.Create(t.Context(), uri)
	require.ErrorIs(t, err, fs.ErrExist)
	require.ErrorIs(t, WriteFile(t.Context(), l, root+"/a/b/file", []byte("other")), fs.ErrExist)
	data, err := os.ReadFile(root + "/a/b/file")
	require.NoError(t, err)
	require.Equal(t, "hello", string(data))

	w, err = l.Create(t.Context(), root+"/a/b/dropped")
	require.NoError(t, err)
	_, err = w.Write(make([]byte, 1000))
	require.NoError(t, err)
	require.NoError(t, w.Abort())
	require.Equal(t, []string{"file"}, names(t, root+"/a/b"))
}

// Of several writers of one name exactly one wins, and its bytes are there.
func TestCreateIfAbsentRaces(t *testing.T) {
	root := t.TempDir()
	var l Local
	for round := range 20 {
		name := filepath.Join(root, string(rune('a'+round)))
		writers := make([]Writer, 4)
		for i := range writers {
			w, err := l.Create(t.Context(), name)
			require.NoError(t, err)
			_, err = w.Write([]byte{byte(i)})
			require.NoError(t, err)
			writers[i] = w
		}
		errs := make([]error, len(writers))
		var wg sync.WaitGroup
		for i, w := range writers {
			wg.Go(func() { errs[i] = w.Close() })
		}
		wg.Wait()
		won := -1
		for i, err := range errs {
			if err == nil {
				require.Equal(t, -1, won, "two writers won")
				won = i
			} else {
				require.ErrorIs(t, err, fs.ErrExist)
			}
		}
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Equal(t, []byte{byte(won)}, data)
	}
	require.Len(t, names(t, root), 20)
}

func TestOpenRemoveList(t *testing.T) {
	root := t.TempDir()
	var l Local
	for _, name := range []string{"x/1", "x/y/2", "z"} {
		require.NoError(t, WriteFile(t.Context(), l, "file://"+root+"/"+name, []byte(name)))
	}
	require.NoError(t, os.Symlink("/", root+"/x/out"))
	f, err := l.Open(t.Context(), root+"/x/y/2")
	require.NoError(t, err)
	require.Equal(t, int64(5), f.Size())
	part := make([]byte, 3)
	_, err = f.ReadAt(part, 2)
	require.NoError(t, err)
	require.Equal(t, "y/2", string(part))
	require.NoError(t, f.Close())
	_, err = l.Open(t.Context(), root+"/none")
	require.ErrorIs(t, err, fs.ErrNotExist)

	found := map[string]int64{}
	require.NoError(t, l.List(t.Context(), "file://"+root+"/x/", func(i Info) error { found[i.URI] = i.Bytes; return nil }))
	require.Equal(t, map[string]int64{"file://" + root + "/x/1": 3, "file://" + root + "/x/y/2": 5}, found)
	require.NoError(t, l.List(t.Context(), root+"/none", func(Info) error { return errors.New("called") }))
	stop := errors.New("stop")
	require.ErrorIs(t, l.List(t.Context(), root, func(Info) error { return stop }), stop)

	require.NoError(t, l.Remove(t.Context(), root+"/x/1"))
	require.NoError(t, l.Remove(t.Context(), root+"/x/1"), "twice is no error")
	require.NoFileExists(t, root+"/x/1")
}

func TestPath(t *testing.T) {
	l := Local{Root: "/w/my dir"}
	for uri, want := range map[string]string{
		"/a/b":                         "/a/b",
		"rel/x":                        "rel/x",
		"file:///a/b":                  "/a/b",
		"FILE:///a//b/":                "/a/b",
		"file:/a/b":                    "/a/b",
		"file://localhost/a":           "/a",
		"file:///a/p=x%2Fy":            "/a/p=x%2Fy", // as it is written
		"file:///w/my%20dir/p=x%20y":   "/w/my dir/p=x%20y",
		"file:///w/my%20dir":           "/w/my dir",
		"file:///w/my%20dirs/t":        "/w/my%20dirs/t",
		"/w/my dir/t":                  "/w/my dir/t",
		"file:///other/w/my%20dir/t":   "/other/w/my%20dir/t",
		"/tmp/a:b/c://d":               "/tmp/a:b/c:/d",
		"file:///w/my%20dir/../secret": "/w/secret",
	} {
		path, err := l.Path(uri)
		require.NoError(t, err, uri)
		require.Equal(t, want, path, uri)
	}
	for _, uri := range []string{"gs://b/x", "file://host/x", "", "file://", "/a\x00b"} {
		_, err := l.Path(uri)
		require.Error(t, err, uri)
	}
	_, err := l.Path("s3://b/x")
	require.ErrorIs(t, err, ErrScheme)
	for _, folder := range []string{"/w/my dir", "/ü/#1/100%/a?b", "/plain"} {
		back, err := Local{Root: folder}.Path(LocalURI(folder) + "/x%41")
		require.NoError(t, err)
		require.Equal(t, folder+"/x%41", back)
	}
}

func TestFolderInTheWay(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.WriteFile(root+"/file", nil, 0o644))
	require.ErrorContains(t, WriteFile(t.Context(), Local{}, root+"/file/x", nil), "file")
	require.NoError(t, MakeFolder(root+"/deep/er"))
	require.NoError(t, MakeFolder(root+"/deep/er"))
	require.DirExists(t, root+"/deep/er")
}

func TestMakeFolders(t *testing.T) {
	root := t.TempDir()
	f := NewFilesystems(Local{}, nil)
	require.NoError(t, os.Mkdir(root+"/there", 0o755))
	require.NoError(t, os.WriteFile(root+"/file", nil, 0o644))
	uris := []string{root + "/a/b=1", "file://" + root + "/a/b=2", root + "/there", root + "/file"}
	for range 2 {
		require.NoError(t, MakeFolders(t.Context(), f, uris))
	}
	require.Equal(t, []string{"a", "file", "there"}, names(t, root))
	require.Equal(t, []string{"b=1", "b=2"}, names(t, root+"/a"))
	require.ErrorContains(t, MakeFolders(t.Context(), f, []string{root + "/file/x"}), "not a directory")

	ended, end := context.WithCancelCause(t.Context())
	end(errors.New("the operator stopped it"))
	require.ErrorContains(t, MakeFolders(ended, f, []string{root + "/c"}), "the operator stopped it")
	require.NoDirExists(t, root+"/c")
}

func TestDiskFull(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("this system has no /dev/full")
	}
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	w := &localWriter{ctx: t.Context(), file: f, name: "/data/x.parquet"}
	_, err = w.Write([]byte("x"))
	require.ErrorContains(t, err, "/data/x.parquet")
	require.ErrorContains(t, err, "no space left")
	require.NoError(t, f.Close())
}

func TestJoin(t *testing.T) {
	uri, err := Join("file:///t/", "data", "p=a%2Fb/x.parquet")
	require.NoError(t, err)
	require.Equal(t, "file:///t/data/p=a%2Fb/x.parquet", uri)
	for _, bad := range []string{"", "..", "../x", "a/../../x", "/a", "a//b", "a/", ".", "a/./b", "a\x00"} {
		_, err := Join("file:///t", "data", bad)
		require.ErrorContains(t, err, "within the folder", bad)
	}
}
