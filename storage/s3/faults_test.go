package s3

import (
	"testing"

	"lake/storage"
	"lake/storage/storagetest"
)

func TestFaults(t *testing.T) {
	storagetest.RunFaults(t, func(t *testing.T) (storage.FS, string, *storagetest.Proxy) {
		root := "s3://" + bucket(t) + "/x"
		proxy := storagetest.NewProxy(t, servers.S3(t).Endpoint())
		t.Setenv("AWS_ENDPOINT_URL", proxy.URL)
		return open(t, Config{}), root, proxy
	})
}
