package storage

import (
	"context"
	"io"
	"io/fs"
	"path/filepath"
	"testing"

	icebergio "github.com/apache/iceberg-go/io"
	"github.com/stretchr/testify/require"
)

func TestMount(t *testing.T) {
	root := filepath.Join(t.TempDir(), "a b")
	name, unmount := Mount(Local{Root: root})
	again, unmountAgain := Mount(Local{}) // another catalog of the same process
	defer unmountAgain()
	require.NotEqual(t, name, again)
	props := map[string]string{MountProperty: name}
	location := LocalURI(root) + "/metadata/x.json"
	files, err := icebergio.LoadFS(t.Context(), props, location)
	require.NoError(t, err)
	w, err := files.(icebergio.WriteFileIO).Create(location)
	require.NoError(t, err)
	_, err = w.Write([]byte("one "))
	require.NoError(t, err)
	require.NoFileExists(t, filepath.Join(root, "metadata", "x.json"))
	require.NoError(t, w.Close())
	require.FileExists(t, filepath.Join(root, "metadata", "x.json"), "the encoded root is the root")
	data, err := files.(icebergio.ReadFileIO).ReadFile(location)
	require.NoError(t, err)
	require.Equal(t, "one ", string(data))
	f, err := files.Open(location)
	require.NoError(t, err)
	info, err := f.Stat()
	require.NoError(t, err)
	require.Equal(t, int64(4), info.Size())
	data, err = io.ReadAll(f)
	require.NoError(t, err)
	require.Equal(t, "one ", string(data))
	require.NoError(t, f.Close())
	require.ErrorIs(t, files.(icebergio.WriteFileIO).WriteFile(location, nil), fs.ErrExist)
	deleted, err := files.(icebergio.BulkRemovableIO).DeleteFiles(t.Context(), []string{location, location + "2"})
	require.NoError(t, err)
	require.Len(t, deleted, 2)
	_, err = files.Open(location)
	require.ErrorIs(t, err, fs.ErrNotExist)

	ctx, cancel := context.WithCancel(t.Context())
	files, err = icebergio.LoadFS(ctx, props, location)
	require.NoError(t, err)
	cancel()
	require.NoError(t, files.(icebergio.WriteFileIO).WriteFile(location, nil), "iceberg-go keeps files for longer than the call")

	for _, uri := range []string{"gs://b/x", "s3://b/x", "hdfs://h/x"} {
		files, err = icebergio.LoadFS(t.Context(), props, uri)
		require.NoError(t, err)
		_, err = files.Open(uri)
		require.ErrorIs(t, err, ErrScheme, "a mounted filesystem decides, not one of iceberg-go's own")
	}
	unmount()
	_, err = icebergio.LoadFS(t.Context(), props, location)
	require.ErrorContains(t, err, "closed")
}
