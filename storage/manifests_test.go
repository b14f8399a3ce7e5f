package storage

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	icebergio "github.com/apache/iceberg-go/io"
	"github.com/stretchr/testify/require"
)

// counted is a store that is asked for files whose size is in their names.
type counted struct {
	FS
	opened map[string]int
}

func (c *counted) Open(ctx context.Context, uri string) (File, error) {
	c.opened[uri]++
	var size int64
	if _, err := fmt.Sscanf(uri[strings.LastIndex(uri, "/")+1:], "%d", &size); err != nil {
		return nil, fs.ErrNotExist
	}
	return NewRanged(ctx, uri, size, nil, func(_ context.Context, p []byte, off int64) error {
		for i := range p {
			p[i] = byte(off + int64(i))
		}
		return nil
	}), nil
}

func TestManifestsAreReadOnce(t *testing.T) {
	store := &counted{opened: map[string]int{}}
	name, unmount := Mount(store)
	defer unmount()
	read := func(uri string, want int64) {
		t.Helper()
		files, err := icebergio.LoadFS(t.Context(), map[string]string{MountProperty: name}, uri)
		require.NoError(t, err)
		f, err := files.Open(uri)
		require.NoError(t, err)
		data, err := io.ReadAll(f)
		require.NoError(t, err)
		require.Len(t, data, int(want))
		require.Equal(t, byte(want-1), data[want-1])
		require.NoError(t, f.Close())
		_, err = f.ReadAt(data[:1], 0)
		require.ErrorIs(t, err, fs.ErrClosed)
	}
	for range 3 {
		read("gs://b/m/300000-m0.avro", 300_000)
		read("gs://b/m/1048577-m1.avro", 1<<20+1)
		read("gs://b/m/7.metadata.json", 7)
		read("/m/9.avro", 9)
		_, err := mounts.by[name].read.open(t.Context(), store, "gs://b/none.avro")
		require.ErrorIs(t, err, fs.ErrNotExist)
	}
	require.Equal(t, map[string]int{"gs://b/m/300000-m0.avro": 1, "gs://b/m/1048577-m1.avro": 3, "gs://b/m/7.metadata.json": 3, "/m/9.avro": 3, "gs://b/none.avro": 3}, store.opened)

	// What is kept is bounded: the oldest goes first.
	for i := range 16 {
		read(fmt.Sprintf("gs://b/%d/1048576.avro", i), 1<<20)
	}
	read("gs://b/15/1048576.avro", 1<<20)
	read("gs://b/m/300000-m0.avro", 300_000)
	require.Equal(t, 1, store.opened["gs://b/15/1048576.avro"])
	require.Equal(t, 2, store.opened["gs://b/m/300000-m0.avro"])
	require.LessOrEqual(t, mounts.by[name].read.bytes, int64(manifestsKept))
	require.Len(t, mounts.by[name].read.by, len(mounts.by[name].read.order))
}
