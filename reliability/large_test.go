package reliability

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"lake/services"
	"lake/services/servicetest"
)

// Case 24: a record of 100 MB, with 512 MiB of memory, on a broker that takes it.
// It is longer than lake takes and becomes a dead letter with its offset; what
// comes before and behind it lands.
func TestHugeRecord(t *testing.T) {
	onlyLong(t)
	t.Parallel()
	ctx := limited(t, 4*time.Minute)
	const most = "120000000"
	kafka := servicetest.Kafka(t, services.Options{Settings: map[string]string{"message.max.bytes": most, "replica.fetch.max.bytes": most, "socket.request.max.bytes": most}})
	w := newWorld(t, kafka, lake(t), seed(t), partitions)
	w.client.Close()
	var err error
	w.client, err = kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.UnknownTopicRetries(-1), kgo.DisableClientMetrics(),
		kgo.ProducerBatchMaxBytes(115_000_000), kgo.BrokerMaxWriteBytes(118_000_000), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedBytes(300_000_000))
	require.NoError(t, err)
	w.admin = kadm.NewClient(w.client)
	w.feed(ctx, 500)
	w.stream.poison(1, `{"part":1,"off":1,"user":2,"ts":"2021-10-31T00:00:00Z","kind":"`+strings.Repeat("x", 100_000_000)+`"}`)
	w.feed(ctx, 500)
	n := w.start(nil, "ingest", "--follow", "--memory", "512MiB")
	w.untilRows(ctx, int64(w.good()))
	require.Less(t, n.peak(t), int64(512<<20))
	n.signal(syscall.SIGTERM)
	w.ends(ctx, n, exit0)
	w.seal(ctx)
	w.finish(ctx)
	w.clean(ctx)
}
