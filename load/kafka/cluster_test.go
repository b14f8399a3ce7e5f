package kafka

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"lake/brokers"
	"lake/load"
)

// cluster is a fake cluster and a client that looks behind lake's back.
type cluster struct {
	*kfake.Cluster
	t     *testing.T
	addrs []string
	admin *kadm.Client
}

func newCluster(t *testing.T, opts ...kfake.Opt) *cluster {
	t.Helper()
	fake, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(fake.Close)
	c := &cluster{Cluster: fake, t: t, addrs: fake.ListenAddrs()}
	c.admin = kadm.NewClient(c.connect())
	return c
}

func (c *cluster) connect(opts ...kgo.Opt) *kgo.Client {
	c.t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.addrs...), kgo.DisableClientMetrics()}, opts...)...)
	require.NoError(c.t, err)
	c.t.Cleanup(client.Close)
	return client
}

func (c *cluster) config() brokers.Config { return brokers.Config{Brokers: c.addrs} }

// sink makes a sink of rule → topic of the same name.
func (c *cluster) sink(change func(map[string][]Output), rules ...string) *Sink {
	c.t.Helper()
	outputs := map[string][]Output{}
	for _, r := range rules {
		outputs[r] = []Output{{Topic: r}}
	}
	if change != nil {
		change(outputs)
	}
	s, err := New(c.config(), outputs, Options{ConnectTimeout: 5 * time.Second})
	require.NoError(c.t, err)
	c.t.Cleanup(func() { require.NoError(c.t, s.Close()) })
	return s
}

// read returns what a read_committed reader sees of the topics, by partition in order.
func (c *cluster) read(topics ...string) []*kgo.Record {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	ends, err := c.admin.ListCommittedOffsets(ctx, topics...)
	require.NoError(c.t, err)
	require.NoError(c.t, ends.Error())
	begins, left := map[string]map[int32]kgo.Offset{}, map[string]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			if begins[o.Topic] == nil {
				begins[o.Topic] = map[int32]kgo.Offset{}
			}
			begins[o.Topic][o.Partition] = kgo.NewOffset().AtStart()
			left[fmt.Sprint(o.Topic, "/", o.Partition)] = o.Offset
		}
	})
	if len(left) == 0 {
		return nil
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(c.addrs...), kgo.ConsumePartitions(begins), kgo.DisableClientMetrics(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(50*time.Millisecond))
	require.NoError(c.t, err)
	defer client.Close()
	var records []*kgo.Record
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		require.NoError(c.t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				records = append(records, r)
			}
			if name := fmt.Sprint(r.Topic, "/", r.Partition); r.Offset+1 >= left[name] {
				delete(left, name)
			}
		})
	}
	return records
}

// text is a record for comparing.
func text(r *kgo.Record) string {
	value, key := "<nil>", "<nil>"
	if r.Value != nil {
		value = string(r.Value)
	}
	if r.Key != nil {
		key = string(r.Key)
	}
	out := key + " " + value
	for _, h := range r.Headers {
		out += " " + h.Key + "=" + string(h.Value)
	}
	return out
}

func texts(records []*kgo.Record) []string {
	var out []string
	for _, r := range records {
		out = append(out, text(r))
	}
	return out
}

// answers are rows {user, n} of a rule with the keys given; "" is null.
func answers(t *testing.T, rule string, keys ...string) load.Answers {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	t.Cleanup(func() { mem.AssertSize(t, 0) })
	b := array.NewRecordBuilder(mem, arrow.NewSchema([]arrow.Field{
		{Name: "user", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "n", Type: arrow.PrimitiveTypes.Int64},
	}, nil))
	defer b.Release()
	k := array.NewStringBuilder(mem)
	defer k.Release()
	for i, key := range keys {
		if key == "" {
			b.Field(0).AppendNull()
			k.AppendNull()
		} else {
			b.Field(0).(*array.StringBuilder).Append(key)
			k.Append(key)
		}
		b.Field(1).(*array.Int64Builder).Append(int64(i))
	}
	a := load.Answers{Rule: rule, Rows: b.NewRecordBatch(), Keys: k.NewStringArray()}
	t.Cleanup(func() { a.Rows.Release(); a.Keys.Release() })
	return a
}

func delivery(epoch, seq int64, answers ...load.Answers) load.Delivery {
	return load.Delivery{Pipeline: "p", Shard: "all", Epoch: epoch, Seq: seq, Answers: answers}
}
