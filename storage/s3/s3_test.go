package s3

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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
	return storagetest.Bucket(t, servers.S3(t))
}

func open(t *testing.T, c Config) *FS {
	t.Helper()
	f, err := Open(t.Context(), c, Options{})
	return storagetest.Opened(t, f, err)
}

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) (storage.FS, string) {
		root := "s3://" + bucket(t) + "/a folder/x" // it names the server, too
		return open(t, Config{}), root
	})
}

func TestPath(t *testing.T) {
	storagetest.RunPaths(t, &FS{}, map[string]string{"s3://b/a/x": "s3://b/a/x", "S3A://b/p=a%2Fb": "s3://b/p=a%2Fb", "s3n://b/x": "s3://b/x"}, "gs://b/x", "/a", "s3:///x")
	_, _, err := object("s3://bucket/")
	require.ErrorContains(t, err, "names no object")
}

func TestBucketMissing(t *testing.T) {
	bucket(t)
	storagetest.RunBucketMissing(t, open(t, Config{}), "s3://no-such-bucket")
}

// A store that is away is given up when the patience is over, and no sooner.
func TestAway(t *testing.T) {
	bucket(t)
	f := open(t, Config{Endpoint: "http://127.0.0.1:1", Patience: time.Second})
	began := time.Now()
	storagetest.RunAway(t, f, "s3://b/x")
	require.Greater(t, time.Since(began), 4*time.Second, "six calls")
	require.Less(t, time.Since(began), 30*time.Second)
}

// The configuration leads to the store, whatever the environment says.
func TestConfig(t *testing.T) {
	name := bucket(t)
	key, secret := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	file := filepath.Join(t.TempDir(), "credentials")
	require.NoError(t, os.WriteFile(file, []byte("[other]\naws_access_key_id = "+key+"\naws_secret_access_key = "+secret+"\n"), 0o600))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	proxy := storagetest.NewProxy(t, servers.S3(t).Endpoint())
	var region, host atomic.Value
	proxy.Decide(func(r *http.Request) storagetest.Fault {
		region.Store(r.Header.Get("Authorization"))
		host.Store(r.Host + r.URL.Path)
		return storagetest.None
	})
	f := open(t, Config{Endpoint: proxy.URL, Region: "us-east-1", Profile: "other"})
	require.NoError(t, storage.WriteFile(t.Context(), f, "s3://"+name+"/x", []byte("x")))
	require.Contains(t, region.Load(), "/us-east-1/s3/")
	require.Equal(t, strings.TrimPrefix(proxy.URL, "http://")+"/"+name+"/x", host.Load())

	virtual := false // the bucket is part of the host's name then, which here nobody knows
	f = open(t, Config{Endpoint: "http://s3.invalid:1", PathStyle: &virtual, Profile: "other", Patience: 100 * time.Millisecond})
	require.ErrorContains(t, storage.WriteFile(t.Context(), f, "s3://"+name+"/x", []byte("x")), "lookup "+name+".s3.invalid")
}
