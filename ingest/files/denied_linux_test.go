package files

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// pollAsNobody polls on a thread that has no rights of root's; the thread ends with it.
func pollAsNobody(t *testing.T, s *Source) error {
	polled := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is thrown away
		if os.Geteuid() == 0 {
			if err := unix.Setfsuid(65534); err != nil {
				polled <- err
				return
			}
		}
		_, err := s.Poll(t.Context())
		polled <- err
	}()
	return <-polled
}

func TestNoPermission(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "lake-denied") // t.TempDir's parents are closed to others
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, os.Chmod(filepath.Join(dir, "shut"), 0o700))
		require.NoError(t, os.RemoveAll(dir))
	})
	require.NoError(t, os.Chmod(dir, 0o755))
	write(t, filepath.Join(dir, "shut/a.jsonl"), "1\n")
	write(t, filepath.Join(dir, "open/a.jsonl"), "1\n")
	require.NoError(t, os.Chmod(filepath.Join(dir, "shut"), 0))
	require.NoError(t, os.Chmod(filepath.Join(dir, "open/a.jsonl"), 0))

	for pattern, want := range map[string]string{
		"shut/*.jsonl": "read shut: the folder cannot be listed: open " + dir + "/shut: permission denied",
		"shut/a.jsonl": "read shut/a.jsonl: it cannot be looked at: stat " + dir + "/shut/a.jsonl: permission denied",
		"open/*":       "read open/a.jsonl: open " + dir + "/open/a.jsonl: permission denied",
	} {
		err := pollAsNobody(t, newSource(t, Options{Dir: dir}, pattern))
		require.ErrorIs(t, err, fs.ErrPermission)
		require.EqualError(t, err, want)
	}
}
