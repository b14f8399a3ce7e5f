package main

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	filesink "lake/load/files"
	"lake/storage"
)

// lockLikeAnother locks a file as another process's DuckDB does: the lock is the
// open file's, not this process's.
func lockLikeAnother(t *testing.T, path string) (unlock func()) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	require.NoError(t, unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}))
	return func() { require.NoError(t, f.Close()) }
}

// Folders that the user may not write to, on a thread without root's rights.
func TestDoctorDenied(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "lake-denied") // t.TempDir's parents are closed to others
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o555))
	sink, err := filesink.New(filesink.Config{Path: filepath.Join(dir, "out")}, filesink.Options{})
	require.NoError(t, err)
	var answers, tables error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread is thrown away
		if os.Geteuid() == 0 {
			if err := unix.Setfsuid(65534); err != nil {
				answers = err
				return
			}
		}
		sink.Probe(t.Context(), func(_, _ string, err error) { answers = err })
		_, tables = probeStorage(t.Context(), storage.Local{}, filepath.Join(dir, "warehouse", "deeper"))
	}()
	<-done
	for _, err := range []error{answers, tables} {
		require.ErrorIs(t, err, os.ErrPermission)
		c := newCheck(t.Context(), "folder", dir, "", err)
		require.Equal(t, exitConfig, c.Code)
		require.Equal(t, "the user that runs lake needs to write to "+dir+": chown or chmod", c.Mend)
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}
