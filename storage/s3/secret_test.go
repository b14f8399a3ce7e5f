package s3

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"lake/storage"
	"lake/storage/storagetest"
)

// everyCall makes each call once; all of them fail.
func everyCall(t *testing.T, f storage.FS, root string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, open := f.Open(ctx, root+"/x")
	_, stat := f.Stat(ctx, root+"/x")
	calls := []error{open, stat, storage.WriteFile(ctx, f, root+"/x", []byte("x")), storage.WriteFile(ctx, f, root+"/y", make([]byte, 11<<20)),
		f.Remove(ctx, root+"/x"), f.Remove(ctx, root+"/x", root+"/y"), f.List(ctx, root, func(storage.Info) error { return nil }),
		storage.Sweep(ctx, f, root, time.Now())}
	for i, err := range calls {
		require.Error(t, err, "call %d", i)
	}
	return errors.Join(calls...)
}

// No secret is in an error, whatever fails.
func TestSecrets(t *testing.T) {
	const secret, token = "canarySecret8dYxQ", "canaryToken5kPz"
	root := "s3://" + bucket(t) + "/x"
	proxy := storagetest.NewProxy(t, servers.S3(t).Endpoint())
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	t.Setenv("AWS_SESSION_TOKEN", token)
	for name, c := range map[string]struct {
		endpoint string
		refused  bool
	}{
		"wrong key":     {proxy.URL, true},
		"nobody listen": {"http://127.0.0.1:1", false},
		"no address":    {"http://canary.invalid:1", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("AWS_ENDPOINT_URL", c.endpoint)
			f := open(t, Config{})
			f.client = quick(f)
			err := everyCall(t, f, root)
			require.Equal(t, c.refused, errors.Is(err, storage.ErrRefused), "%v", err)
			require.Equal(t, !c.refused, errors.Is(err, storage.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded), "%v", err)
			for _, word := range []string{secret, token, "Authorization", "Signature="} {
				require.False(t, strings.Contains(err.Error(), word), "%s is in %v", word, err)
			}
		})
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_SESSION_TOKEN", "")
	t.Setenv("AWS_ENDPOINT_URL", proxy.URL)
	t.Setenv("HOME", t.TempDir())
	require.True(t, errors.Is(everyCall(t, open(t, Config{}), root), storage.ErrRefused), "no credentials at all")
}

// quick is the client of a filesystem with few tries.
func quick(f *FS) *s3.Client {
	return s3.New(f.client.Options(), func(o *s3.Options) { o.Retryer = retry.AddWithMaxAttempts(o.Retryer, 2) })
}
