package servicetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Await asks until it is so, for two minutes at most. It is for what a broker
// does a moment after it has said that it did.
func Await(t testing.TB, what string, ask func(ctx context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ask(ctx) {
		select {
		case <-ctx.Done():
			require.Fail(t, "it did not come", what)
		case <-tick.C:
		}
	}
}

// AwaitPartitions waits until so many partitions of a topic have leaders, as a
// client sees that remembers nothing.
func AwaitPartitions(t testing.TB, brokers []string, topic string, n int32) {
	t.Helper()
	Await(t, "the partitions of "+topic, func(ctx context.Context) bool {
		client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DisableClientMetrics())
		require.NoError(t, err)
		defer client.Close()
		starts, err := kadm.NewClient(client).ListStartOffsets(ctx, topic)
		return err == nil && starts.Error() == nil && len(starts[topic]) == int(n)
	})
}

// Settle waits until the markers of ended transactions are in the topics: Kafka
// answers EndTxn before.
func Settle(t testing.TB, admin *kadm.Client, topics ...string) {
	t.Helper()
	Await(t, "the markers of a transaction", func(ctx context.Context) bool {
		stable, err := admin.ListCommittedOffsets(ctx, topics...)
		require.NoError(t, err)
		ends, err := admin.ListEndOffsets(ctx, topics...)
		require.NoError(t, err)
		same := true
		ends.Each(func(end kadm.ListedOffset) {
			o, ok := stable.Lookup(end.Topic, end.Partition)
			same = same && ok && o.Offset == end.Offset
		})
		return same
	})
}
