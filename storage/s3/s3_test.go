package s3

import (
	"os"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"lake/services/servicetest"
	"lake/storage"
	"lake/storage/storagetest"
)

var servers servicetest.Shared

func TestMain(m *testing.M) { goleak.VerifyTestMain(servers.Around(m)) }

// bucket is a new bucket's name on the server of all tests.
func bucket(t *testing.T) string {
	t.Helper()
	server := servers.S3(t)
	for key, value := range server.Env() {
		t.Setenv(key, value)
	}
	name := "test-" + uuid.NewString()
	require.NoError(t, server.MakeBucket(t.Context(), name))
	return name
}

func open(t *testing.T, o Options) *FS {
	t.Helper()
	f, err := Open(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) (storage.FS, string) {
		root := "s3://" + bucket(t) + "/a folder/x" // it names the server, too
		return open(t, Options{}), root
	})
}

func TestPath(t *testing.T) {
	f := &FS{}
	for uri, want := range map[string]string{"s3://b/a/x": "s3://b/a/x", "S3A://b/p=a%2Fb": "s3://b/p=a%2Fb", "s3n://b/x": "s3://b/x"} {
		path, err := f.Path(uri)
		require.NoError(t, err)
		require.Equal(t, want, path)
	}
	for _, uri := range []string{"gs://b/x", "/a", "s3:///x"} {
		_, err := f.Path(uri)
		require.Error(t, err, uri)
	}
	_, _, err := object("s3://bucket/")
	require.ErrorContains(t, err, "names no object")
}

func TestBucketMissing(t *testing.T) {
	bucket(t)
	f := open(t, Options{})
	err := storage.WriteFile(t.Context(), f, "s3://no-such-bucket/x", []byte("x"))
	require.ErrorContains(t, err, "s3://no-such-bucket/x")
	require.NotErrorIs(t, err, os.ErrExist)
	require.ErrorContains(t, f.List(t.Context(), "s3://no-such-bucket/x", func(storage.Info) error { return nil }), "NoSuchBucket")
}
