package table

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"lake/storage"
)

// making is a filesystem that counts the folders that it is to make, and fails where it shall.
type making struct {
	storage.FS
	mu      sync.Mutex
	folders []string
	fails   error
	wait    chan struct{} // nil: no wait
}

func (m *making) MakeFolders(ctx context.Context, uris []string) error {
	if m.wait != nil {
		<-m.wait
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.folders = append(m.folders, uris...)
	return errors.Join(m.fails, storage.MakeFolders(ctx, m.FS, uris))
}

// TestFoldersAreMadeBeforeTheFlush makes those of the first dates while rows are still written, those
// that came meanwhile at the flush, each once a flush; what cannot be made fails it.
func TestFoldersAreMadeBeforeTheFlush(t *testing.T) {
	_, tbl := newEvents(t)
	w := newWriter(t, tbl, WriterOptions{})
	disk := &making{FS: w.fs, wait: make(chan struct{})}
	w.fs = disk
	write := func(first, dates int32) {
		batch := eventRows(t, 0, 600, func(i int) int32 { return first + int32(i)%dates })
		defer batch.Release()
		require.NoError(t, w.Write(t.Context(), batch))
	}
	write(0, 30)
	write(30, 10)
	write(0, 30)
	close(disk.wait)
	require.NoError(t, w.folders.making.Wait())
	require.Len(t, disk.folders, 30, "while rows are written, and no two at a time")
	files, err := w.Flush(t.Context())
	require.NoError(t, err)
	require.Len(t, files, 40)
	require.Len(t, disk.folders, 40)
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(disk.folders))), 40, "each once")
	require.Contains(t, disk.folders, w.folder+"/dt=1970-01-31")

	disk.fails = errors.New("the disk is gone")
	write(0, 3)
	_, err = w.Flush(t.Context())
	require.ErrorContains(t, err, "flush data files: the disk is gone")
	require.NoError(t, w.Abort(t.Context()))
	disk.fails = nil
	write(0, 3)
	files, err = w.Flush(t.Context())
	require.NoError(t, err)
	require.Len(t, files, 3)
}
