package gs

import (
	"net/http"
	"strings"
	"testing"

	"lake/storage"
	"lake/storage/storagetest"
)

// twice tells a fault after which a chunk of a large object comes a second time:
// the emulator appends it again, where the real store knows its offset. lake then
// finds other bytes than it sent and says so.
func twice(r *http.Request, f storagetest.Fault) bool {
	return strings.HasSuffix(r.Header.Get("Content-Range"), "/*") && (f == storagetest.LostReply || f == storagetest.CutReply)
}

func TestFaults(t *testing.T) {
	storagetest.RunFaults(t, func(t *testing.T) (storage.FS, string, *storagetest.Proxy) {
		root := "gs://" + bucket(t) + "/x"
		proxy := storagetest.NewProxy(t, servers.GCS(t).Endpoint())
		proxy.Exempt = twice
		t.Setenv("STORAGE_EMULATOR_HOST", proxy.URL)
		return open(t, Config{}), root, proxy
	})
}
