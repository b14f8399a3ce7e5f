package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestRecountLeavesOutNullKeys: the rules of shared partitions leave out rows whose
// key is NULL, and so does compaction when it counts them again.
func TestRecountLeavesOutNullKeys(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	createTopics(t, cluster.ListenAddrs(), 1, "nulls")
	producer, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DefaultProduceTopic("nulls"))
	require.NoError(t, err)
	defer producer.Close()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "job.yaml"), fmt.Appendf(nil, `version: 1
name: nulls
source: {kafka: {brokers: [%q], topics: [nulls], partitioned_by: [user]}}
schema: {user: int64, ts: timestamp!}
time: {field: ts, zone: UTC}
table: {name: s.events, partition_by: [dt]}
compact: {min_files: 2}
rules:
  counted:
    sql: SELECT TIMESTAMP_BUCKET(ts, INTERVAL 1 HOUR) AS w, user, COUNT(*) AS c FROM events GROUP BY 1, user
    to: [{files: {path: out}}]
  rows:
    sql: SELECT user, ts FROM events WHERE user IS NULL
    to: [{files: {path: out}}]
`, cluster.ListenAddrs()[0]), 0o644))
	for i, users := range [][]string{{"1", "null", "1"}, {"null", "2"}, {"3"}} {
		for _, user := range users {
			record := &kgo.Record{Value: fmt.Appendf(nil, `{"user":%s,"ts":"2021-11-%02dT10:00:00Z"}`, user, 30-2+i/2*2)}
			if user != "null" {
				record.Key = []byte(user)
			}
			require.NoError(t, producer.ProduceSync(t.Context(), record).FirstErr())
		}
		lakeOutput(t, dir, "ingest", "job.yaml") // a file each
	}
	var out compactResult
	require.NoError(t, json.Unmarshal([]byte(lakeOutput(t, dir, "compact", "job.yaml", "--output", "json")), &out))
	require.Equal(t, 2, out.FilesIn)
	require.Equal(t, 2, out.Recounted)
	require.Equal(t, int64(2), out.NullKeys, "the rule that groups, not the one that reads row by row")
	require.Empty(t, out.Differences)
}
