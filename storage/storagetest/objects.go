package storagetest

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"lake/storage"
)

// Server is a store of objects that runs for tests.
type Server interface {
	Env() map[string]string // variables that lead clients to it
	Endpoint() string       // http://host:port
	MakeBucket(ctx context.Context, name string) error
}

// Bucket makes a bucket on a server and leads this test's clients there. It
// returns the bucket's name, which is new.
func Bucket(t testing.TB, s Server) string {
	t.Helper()
	for key, value := range s.Env() {
		t.Setenv(key, value)
	}
	name := "test-" + uuid.NewString()
	require.NoError(t, s.MakeBucket(t.Context(), name))
	return name
}

// Opened is a filesystem that the test's end closes.
func Opened[F io.Closer](t testing.TB, files F, err error) F {
	t.Helper()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, files.Close()) })
	return files
}

// RunPaths tests what URIs mean: the one name of each, and those that are none.
func RunPaths(t *testing.T, files storage.Pather, want map[string]string, wrong ...string) {
	for uri, one := range want {
		path, err := files.Path(uri)
		require.NoError(t, err)
		require.Equal(t, one, path)
	}
	for _, uri := range wrong {
		_, err := files.Path(uri)
		require.Error(t, err, uri)
	}
}

// RunBucketMissing tests that a bucket that is not there is told, by its URI, and
// never taken for a file that is missing or there.
func RunBucketMissing(t *testing.T, files storage.FS, bucket string) {
	uri := strings.TrimRight(bucket, "/") + "/x"
	for _, err := range []error{
		storage.WriteFile(t.Context(), files, uri, []byte("x")),
		files.List(t.Context(), uri, func(storage.Info) error { return nil }),
	} {
		require.ErrorContains(t, err, uri)
		require.ErrorIs(t, err, storage.ErrRefused)
		require.NotErrorIs(t, err, fs.ErrExist)
		require.NotErrorIs(t, err, fs.ErrNotExist)
	}
}

// RunAway tests that a store that does not come back is given up within the
// patience that files were opened with, with the cause, and as what may pass.
func RunAway(t *testing.T, files storage.FS, root string) {
	const cause = "connection refused"
	for i, call := range []func() error{
		func() error { _, err := files.Stat(t.Context(), root+"/x"); return err },
		func() error { _, err := files.Open(t.Context(), root+"/x"); return err },
		func() error { return storage.WriteFile(t.Context(), files, root+"/x", []byte("x")) },
		func() error { return storage.WriteFile(t.Context(), files, root+"/y", make([]byte, 11<<20)) },
		func() error { return files.Remove(t.Context(), root+"/x") },
		func() error { return files.List(t.Context(), root, func(storage.Info) error { return nil }) },
	} {
		err := call()
		// A try that the end of the patience cuts short does not know the cause.
		for tries := 1; tries < 5 && errors.Is(err, context.DeadlineExceeded) && !strings.Contains(err.Error(), cause); tries++ {
			require.ErrorIs(t, err, storage.ErrUnavailable, "call %d", i)
			err = call()
		}
		require.ErrorIs(t, err, storage.ErrUnavailable, "call %d", i)
		require.ErrorContains(t, err, cause, "call %d", i)
	}
}
