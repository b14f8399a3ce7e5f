package compact_test

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lake/compact"
	"lake/storage"
	"lake/table"
)

// watched is the local disk, told of what a compaction reads and writes.
type watched struct {
	storage.Local
	opened    func(uri string)
	completes func(uri string) error // before a new file gets its name
}

func (w *watched) Open(ctx context.Context, uri string) (storage.File, error) {
	w.opened(uri)
	return w.Local.Open(ctx, uri)
}

func (w *watched) Create(ctx context.Context, uri string) (storage.Writer, error) {
	out, err := w.Local.Create(ctx, uri)
	return watchedWriter{out, func() error { return w.completes(uri) }}, err
}

type watchedWriter struct {
	storage.Writer
	completes func() error
}

func (w watchedWriter) Close() error {
	if err := w.completes(); err != nil {
		return err
	}
	return w.Writer.Close()
}

// A small group's files become durable while those behind it are merged, all of them
// where two are worked on at a time: what waits for the disk holds up nobody.
func TestFlushOverlapsTheGroupsBehind(t *testing.T) {
	for name, behind := range map[string]int{"the next": 1, "the last": dates - 1} {
		t.Run(name, func(t *testing.T) {
			read := make(chan struct{})
			var once sync.Once
			files := &watched{completes: func(string) error { return nil }, opened: func(string) {}}
			tbl := smallFiles(t, files)
			p := plan(t, tbl, table.FileFilter{})
			files.opened = func(uri string) {
				if strings.Contains(uri, p.Groups[behind].Partition) {
					once.Do(func() { close(read) })
				}
			}
			files.completes = func(uri string) error {
				if !strings.Contains(uri, p.Groups[0].Partition) {
					return nil
				}
				select {
				case <-read:
					return nil
				case <-time.After(20 * time.Second):
					return errors.New("nobody reads the group behind")
				}
			}
			o := options()
			o.MemoryBytes = 32 << 20 // two small groups at a time
			r, err := compact.Run(t.Context(), tbl, p, o)
			require.NoError(t, err)
			require.Equal(t, dates, r.Groups)
			require.Len(t, tbl.Snapshots(), rounds+1, "one commit")
			requireEachRowOnce(t, tbl)
		})
	}
}

// A group whose files do not become durable takes neither those before it along
// nor leaves files behind, its own or of the group that was read meanwhile.
func TestFlushFails(t *testing.T) {
	files := &watched{completes: func(string) error { return nil }, opened: func(string) {}}
	tbl := smallFiles(t, files)
	p := plan(t, tbl, table.FileFilter{})
	files.completes = func(uri string) error {
		if strings.Contains(uri, p.Groups[2].Partition) && strings.HasSuffix(uri, "-00002.parquet") {
			return errors.New("the disk is gone")
		}
		return nil
	}
	o := options()
	o.TargetBytes = 1 // each batch becomes a file, before the flush
	r, err := compact.Run(t.Context(), tbl, p, o)
	require.ErrorContains(t, err, "the disk is gone")
	require.ErrorContains(t, err, "partition "+p.Groups[2].Partition)
	require.Equal(t, 2, r.Groups)
	require.NoError(t, tbl.Refresh(t.Context()))
	requireEachRowOnce(t, tbl)
	live, err := tbl.Files(t.Context(), table.FileFilter{})
	require.NoError(t, err)
	require.Len(t, live, dates*rounds, "in two dates new ones")
	made := 0
	folder := filepath.Dir(filepath.Dir(live[0].Path))
	require.NoError(t, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			made++
		}
		return err
	}))
	require.Equal(t, (dates+2)*rounds, made, "the old files, and those of the two dates")
}
