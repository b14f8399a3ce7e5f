package gs

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

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
	return storagetest.Bucket(t, servers.GCS(t))
}

func open(t *testing.T, c Config) *FS {
	t.Helper()
	f, err := Open(t.Context(), c, Options{})
	return storagetest.Opened(t, f, err)
}

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) (storage.FS, string) {
		root := "gs://" + bucket(t) + "/a folder/x" // it names the server, too
		return open(t, Config{}), root
	})
}

func TestPath(t *testing.T) {
	f := &FS{}
	storagetest.RunPaths(t, f, map[string]string{"gs://b/a/x": "gs://b/a/x", "GCS://b/p=a%2Fb": "gs://b/p=a%2Fb"}, "s3://b/x", "/a", "gs:///x")
	_, err := f.object("gs://bucket/")
	require.ErrorContains(t, err, "names no object")
}

func TestBucketMissing(t *testing.T) {
	bucket(t)
	storagetest.RunBucketMissing(t, open(t, Config{}), "gs://no-such-bucket")
}

// A store that is away is given up when the patience is over, and no sooner.
func TestAway(t *testing.T) {
	bucket(t)
	f := open(t, Config{Endpoint: "http://127.0.0.1:1", Anonymous: true, Patience: 3 * time.Second})
	began := time.Now()
	storagetest.RunAway(t, f, "gs://b/x")
	require.Greater(t, time.Since(began), 12*time.Second, "six calls")
	require.Less(t, time.Since(began), 90*time.Second, "the usual patience is two minutes, for one call")
}

func TestClass(t *testing.T) {
	name := bucket(t)
	f := open(t, Config{})
	require.NoError(t, storage.WriteFile(t.Context(), f.WithClass("archive"), "gs://"+name+"/cold", []byte("x")))
	require.NoError(t, storage.WriteFile(t.Context(), f.WithClass("nearline"), "gs://"+name+"/large", []byte(strings.Repeat("x", 9<<20))))
	for object, class := range map[string]string{"cold": "ARCHIVE", "large": "NEARLINE"} {
		attrs, err := f.client.Bucket(name).Object(object).Attrs(context.Background())
		require.NoError(t, err)
		require.Equal(t, class, attrs.StorageClass)
	}
}

// The configuration leads to the store, whatever the environment says, and says who pays.
func TestConfig(t *testing.T) {
	root := "gs://" + bucket(t) + "/x"
	t.Setenv("STORAGE_EMULATOR_HOST", "127.0.0.1:1")
	var mu sync.Mutex
	payers := map[string]int{}
	proxy := storagetest.NewProxy(t, servers.GCS(t).Endpoint())
	proxy.Decide(func(r *http.Request) storagetest.Fault {
		mu.Lock()
		defer mu.Unlock()
		payers[r.Header.Get("X-Goog-User-Project")+r.URL.Query().Get("userProject")]++
		return storagetest.None
	})
	f := open(t, Config{Endpoint: proxy.URL, Anonymous: true, UserProject: "billing"})
	for _, size := range []int{1, 9 << 20} {
		require.NoError(t, storage.WriteFile(t.Context(), f, fmt.Sprint(root, "/", size), make([]byte, size)))
		data, err := storage.ReadFile(t.Context(), f, fmt.Sprint(root, "/", size))
		require.NoError(t, err)
		require.Len(t, data, size)
	}
	require.NoError(t, f.List(t.Context(), root, func(i storage.Info) error { return f.Remove(t.Context(), i.URI) }))
	mu.Lock()
	defer mu.Unlock()
	require.Greater(t, payers["billing"], 6)
	t.Log(payers)
}
