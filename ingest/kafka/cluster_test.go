package kafka

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"lake/brokers"
	"lake/ingest"
)

// cluster is a fake cluster and a client that looks behind lake's back.
type cluster struct {
	*kfake.Cluster
	t      *testing.T
	addrs  []string
	client *kgo.Client
	admin  *kadm.Client
}

func newCluster(t *testing.T, opts ...kfake.Opt) *cluster {
	t.Helper()
	fake, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(2)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(fake.Close)
	c := &cluster{Cluster: fake, t: t, addrs: fake.ListenAddrs()}
	c.client = c.connect(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	c.admin = kadm.NewClient(c.client)
	return c
}

func (c *cluster) connect(opts ...kgo.Opt) *kgo.Client {
	c.t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.addrs...), kgo.ProducerLinger(0), kgo.DisableClientMetrics()}, opts...)...)
	require.NoError(c.t, err)
	c.t.Cleanup(client.Close)
	return client
}

// at is where a record goes.
func at(partition int32, value string) *kgo.Record {
	return &kgo.Record{Topic: "Events", Partition: partition, Value: []byte(value)}
}

func (c *cluster) produce(records ...*kgo.Record) {
	c.t.Helper()
	for _, r := range records { // one by one: a batch a record, in the order given
		require.NoError(c.t, c.client.ProduceSync(c.t.Context(), r).FirstErr())
	}
}

// numbered are n records of one partition.
func numbered(partition int32, from, n int) []*kgo.Record {
	var records []*kgo.Record
	for i := from; i < from+n; i++ {
		records = append(records, at(partition, fmt.Sprintf("p%d-%d", partition, i)))
	}
	return records
}

func (c *cluster) config() Config {
	return Config{Config: brokers.Config{Brokers: c.addrs}, Topics: []string{"Events"},
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
