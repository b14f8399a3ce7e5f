package kafka

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"lake/brokers"
	"lake/ingest"
	"lake/services"
	"lake/services/servicetest"
)

// servers has the real broker, started by the first test that needs one.
var servers servicetest.Shared

func TestMain(m *testing.M) { goleak.VerifyTestMain(servers.Around(m)) }

// broker makes topics for a test: on a fake cluster or on the real broker, which
// all tests share, so that topics and transactional ids are named anew each time.
type broker func(t *testing.T, partitions int32) *cluster

// onEachBroker runs tests on kfake and on Kafka. What differs, and a test must
// not count on: Kafka answers EndTxn before the markers are in the partitions, so
// the offset of the next record is open until then (settle waits), and a topic or
// partition that was made is known everywhere a moment later (await). kfake has
// several brokers that a test may take away one by one, and can be told to answer
// wrongly: tests that need this are its own.
func onEachBroker(t *testing.T, tests map[string]func(*testing.T, broker)) {
	brokers := map[string]broker{
		"kfake": func(t *testing.T, partitions int32) *cluster {
			return newCluster(t, kfake.SeedTopics(partitions, "Events"))
		},
		"kafka": func(t *testing.T, partitions int32) *cluster { return realCluster(t, servers.Kafka(t), partitions) },
	}
	for name, b := range brokers {
		t.Run(name, func(t *testing.T) {
			if name == "kafka" {
				servers.Kafka(t) // before a test that counts goroutines; skips once
			}
			for _, name := range slices.Sorted(maps.Keys(tests)) {
				t.Run(name, func(t *testing.T) { tests[name](t, b) })
			}
		})
	}
}

// cluster is a topic and a client that looks behind lake's back.
type cluster struct {
	*kfake.Cluster // nil on a real broker
	t              *testing.T
	addrs          []string
	topic          string
	client         *kgo.Client
	admin          *kadm.Client
}

func newCluster(t *testing.T, opts ...kfake.Opt) *cluster {
	t.Helper()
	fake, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(2)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(fake.Close)
	return (&cluster{Cluster: fake, t: t, addrs: fake.ListenAddrs(), topic: "Events"}).dial()
}

func realCluster(t *testing.T, k *services.Kafka, partitions int32) *cluster {
	t.Helper()
	c := (&cluster{t: t, addrs: k.Brokers(), topic: "Events-" + rand.Text()}).dial()
	_, err := c.admin.CreateTopic(t.Context(), partitions, 1, nil, c.topic)
	require.NoError(t, err)
	c.awaitPartitions(partitions)
	return c
}

func (c *cluster) dial() *cluster {
	c.client = c.connect(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	c.admin = kadm.NewClient(c.client)
	return c
}

// awaitPartitions waits until so many partitions of the topic have leaders.
func (c *cluster) awaitPartitions(n int32) {
	c.t.Helper()
	servicetest.AwaitPartitions(c.t, c.addrs, c.topic, n)
	c.client.ForceMetadataRefresh()
}

// settle waits until the markers of ended transactions are in the partitions.
func (c *cluster) settle() {
	c.t.Helper()
	servicetest.Settle(c.t, c.admin, c.topic)
}

// part is a partition's name.
func (c *cluster) part(p int32) string { return partitionName(c.topic, p) }

func (c *cluster) connect(opts ...kgo.Opt) *kgo.Client {
	c.t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.addrs...), kgo.ProducerLinger(0), kgo.DisableClientMetrics()}, opts...)...)
	require.NoError(c.t, err)
	c.t.Cleanup(client.Close)
	return client
}

// at is where a record goes.
func (c *cluster) at(partition int32, value string) *kgo.Record {
	return &kgo.Record{Topic: c.topic, Partition: partition, Value: []byte(value)}
}

func (c *cluster) produce(records ...*kgo.Record) {
	c.t.Helper()
	for _, r := range records { // one by one: a batch a record, in the order given
		require.NoError(c.t, c.client.ProduceSync(c.t.Context(), r).FirstErr())
	}
}

// numbered are n records of one partition.
func (c *cluster) numbered(partition int32, from, n int) []*kgo.Record {
	var records []*kgo.Record
	for i := from; i < from+n; i++ {
		records = append(records, c.at(partition, fmt.Sprintf("p%d-%d", partition, i)))
	}
	return records
}

func (c *cluster) config() Config {
	return Config{Config: brokers.Config{Brokers: c.addrs}, Topics: []string{c.topic},
		Fetch: Fetch{MaxWait: 50 * time.Millisecond}}
}

// source makes a source with short times, closed at the test's end.
func (c *cluster) source(opts Options, change ...func(*Config)) *Source {
	c.t.Helper()
	cfg := c.config()
	for _, f := range change {
		f(&cfg)
	}
	if opts.Pipeline == "" {
		opts.Pipeline = "test"
	}
	s, err := New(cfg, opts)
	require.NoError(c.t, err)
	s.tick = 50 * time.Millisecond
	c.t.Cleanup(func() { require.NoError(c.t, s.Close()) })
	return s
}

// run is what was read.
type run struct {
	t       *testing.T
	s       *Source
	values  map[string][]string
	offsets ingest.Offsets
	ended   map[string]bool
	current map[string]bool
	err     error // that ended it
}

func newRun(t *testing.T, s *Source) *run {
	return &run{t: t, s: s, values: map[string][]string{}, offsets: ingest.Offsets{}, ended: map[string]bool{}, current: map[string]bool{}}
}

// step takes a batch; false at the end or an error.
func (r *run) step() bool {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	b, err := r.s.Poll(ctx)
	if err != nil {
		r.err = err
		return false
	}
	for _, v := range b.Records {
		text := string(v)
		if v == nil {
			text = "<nil>"
		}
		r.values[b.Partition] = append(r.values[b.Partition], text)
	}
	r.offsets[b.Partition] = b.Position
	r.ended[b.Partition] = b.End
	r.current[b.Partition] = b.CaughtUp
	if b.Release != nil {
		b.Release()
	}
	return true
}

// all reads up to the end or an error.
func (r *run) all() *run {
	r.t.Helper()
	for r.step() {
	}
	return r
}

func (r *run) count() int {
	n := 0
	for _, v := range r.values {
		n += len(v)
	}
	return n
}
