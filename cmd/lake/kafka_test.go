package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"lake/services/servicetest"
)

// onKafka runs a test on a fake cluster and on a real broker, which other tests use, too.
func onKafka(t *testing.T, test func(t *testing.T, brokers []string)) {
	t.Run("fake", func(t *testing.T) {
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
		require.NoError(t, err)
		t.Cleanup(cluster.Close)
		test(t, cluster.ListenAddrs())
	})
	t.Run("real", func(t *testing.T) { test(t, servers.Kafka(t).Brokers()) })
}

// createTopics makes topics that no other test has.
func createTopics(t *testing.T, brokers []string, partitions int32, names ...string) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	require.NoError(t, err)
	defer client.Close()
	created, err := kadm.NewClient(client).CreateTopics(t.Context(), partitions, 1, nil, names...)
	require.NoError(t, err)
	require.NoError(t, created.Error())
	for _, name := range names {
		servicetest.AwaitPartitions(t, brokers, name, partitions)
	}
}

// TestPortalOverKafka runs the shipped Kafka job on the sample, one commit a
// batch: topic Events in; paid_user, property_status and possible_broker out.
func TestPortalOverKafka(t *testing.T) { onKafka(t, testPortalOverKafka) }

func testPortalOverKafka(t *testing.T, brokers []string) {
	createTopics(t, brokers, 1, "Events", "paid_user", "property_status", "possible_broker")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	producer, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic("Events"))
	require.NoError(t, err)
	defer producer.Close()

	dir := t.TempDir()
	job, err := os.ReadFile("../../jobs/nobroker-kafka.yaml")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "job.yaml"), job, 0o644))
	t.Setenv("KAFKA_BROKERS", strings.Join(brokers, ","))

	for batch := 1; batch <= 4; batch++ {
		data, err := os.ReadFile(fmt.Sprintf("../../jobs/data/nobroker/batch-%d.jsonl", batch))
		require.NoError(t, err)
		n := 0
		for line := range strings.Lines(string(data)) {
			n++
			require.NoError(t, producer.ProduceSync(ctx, kgo.StringRecord(strings.TrimSuffix(line, "\n"))).FirstErr())
		}
		said := lakeOutput(t, dir, "ingest", "job.yaml")
		require.Contains(t, said, fmt.Sprintf("%d records in = %d rows landed + 0 dead letters (1 commit,", n, n))
	}
	require.Contains(t, lakeOutput(t, dir, "ingest", "job.yaml"), "0 records in", "nothing is read twice")

	for _, rule := range []string{"paid_user", "property_status", "possible_broker"} {
		want, err := os.ReadFile("../../jobs/data/nobroker/expected/" + rule + ".jsonl")
		require.NoError(t, err)
		keys, values := committed(ctx, t, brokers, rule, strings.Count(string(want), "\n"))
		require.Equal(t, string(want), strings.Join(values, "\n")+"\n", rule)
		for _, key := range keys {
			require.Equal(t, "1", key, "user 1, property 1")
		}
	}
	require.Contains(t, lakeOutput(t, dir, "status", "job.yaml", "--output", "json"), `"partition":"Events/0","next":24,"records":24,"lag":0`)
}

// committed reads a topic as a consumer that sees committed records only.
func committed(ctx context.Context, t *testing.T, brokers []string, topic string, n int) (keys, values []string) {
	consumer, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.NoError(t, err)
	defer consumer.Close()
	for len(values) < n {
		fetches := consumer.PollFetches(ctx)
		require.NoError(t, ctx.Err(), "%s has %d of %d records", topic, len(values), n)
		fetches.EachRecord(func(r *kgo.Record) {
			keys, values = append(keys, string(r.Key)), append(values, string(r.Value))
		})
	}
	return keys, values
}
