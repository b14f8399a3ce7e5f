package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"lake/services"
	"lake/services/servicetest"
)

// A run that follows outlives a store that goes away and comes back on the same
// data: it begins anew from the table, each record lands once and each group
// answers once. TestHadoopPortal has the same for HDFS.
func TestStoreComesBack(t *testing.T) {
	// Servers of its own, since it kills them.
	gcs, s3 := servicetest.GCS(t, services.Options{}), servicetest.S3(t, services.Options{})
	all := storesOn(t, gcs, s3)
	type server interface {
		Kill() error
		Restart(context.Context) error
	}
	for i, killed := range []server{gcs, s3} {
		s := all[i]
		t.Run(s.name, func(t *testing.T) {
			cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
			require.NoError(t, err)
			t.Cleanup(cluster.Close)
			r := newSharedRig(t, cluster.ListenAddrs(), "store-"+s.scheme)
			job := strings.Replace(sharedJob, "table: {", "table: {location: \""+s.uri("back/events")+"\", ", 1) +
				"catalog: {sqlite: {}}\nstorage: {" + s.scheme + ": {patience: 2s}}\n"
			require.NoError(t, os.WriteFile(filepath.Join(r.dir, "job.yaml"), []byte(job), 0o644))
			f := follow(t, r.dir)
			r.send(300)
			r.landed()
			for range 2 {
				require.NoError(t, killed.Kill())
				before := strings.Count(f.said(), "beginning anew from the table")
				r.send(300)
				require.Eventually(t, func() bool { return strings.Count(f.said(), "beginning anew from the table") > before }, time.Minute, 10*time.Millisecond)
				require.NoError(t, killed.Restart(t.Context()))
				r.landed()
			}
			r.send(300)
			r.landed()
			f.end(t, syscall.SIGTERM)
			r.check()
			// The files of what was begun and not committed go with a clean-up.
			lakeOutput(t, r.dir, "compact", "job.yaml", "--expire", "--grace", "0s")
			require.ElementsMatch(t, referenced(t, s, r.dir), objectsOf(t, s.path(t, s.uri("back/events/data"))))
			require.Equal(t, []int64{r.sent, r.sent, r.sent * (r.sent + 1) / 2}, readRemote(t, s, "back/events"), "what pyiceberg reads past lake")
		})
	}
}
