package gs

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"lake/services/servicetest"
	"lake/storage"
	"lake/storage/storagetest"
)

var servers servicetest.Shared

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(servers.Around(m),
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start")) // the client's SDK starts it when it is linked
}

// bucket is a new bucket's name on the server of all tests.
func bucket(t *testing.T) string {
	t.Helper()
	server := servers.GCS(t)
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
		root := "gs://" + bucket(t) + "/a folder/x" // it names the server, too
		return open(t, Options{}), root
	})
}

func TestPath(t *testing.T) {
	f := &FS{}
	for uri, want := range map[string]string{"gs://b/a/x": "gs://b/a/x", "GCS://b/p=a%2Fb": "gs://b/p=a%2Fb"} {
		path, err := f.Path(uri)
		require.NoError(t, err)
		require.Equal(t, want, path)
	}
	for _, uri := range []string{"s3://b/x", "/a", "gs:///x"} {
		_, err := f.Path(uri)
		require.Error(t, err, uri)
	}
	_, err := f.object("gs://bucket/")
	require.ErrorContains(t, err, "names no object")
}

func TestBucketMissing(t *testing.T) {
	bucket(t)
	f := open(t, Options{})
	err := storage.WriteFile(t.Context(), f, "gs://no-such-bucket/x", []byte("x"))
	require.ErrorContains(t, err, "gs://no-such-bucket/x")
	require.NotErrorIs(t, err, os.ErrExist)
	require.Error(t, f.List(t.Context(), "gs://no-such-bucket/x", func(storage.Info) error { return nil }))
}

func TestClass(t *testing.T) {
	name := bucket(t)
	f := open(t, Options{})
	require.NoError(t, storage.WriteFile(t.Context(), f.WithClass("archive"), "gs://"+name+"/cold", []byte("x")))
	require.NoError(t, storage.WriteFile(t.Context(), f.WithClass("nearline"), "gs://"+name+"/large", []byte(strings.Repeat("x", 9<<20))))
	for object, class := range map[string]string{"cold": "ARCHIVE", "large": "NEARLINE"} {
		attrs, err := f.client.Bucket(name).Object(object).Attrs(context.Background())
		require.NoError(t, err)
		require.Equal(t, class, attrs.StorageClass)
	}
}
