package kafka

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"lake/brokers"
	"lake/load"
	"lake/services/servicetest"
)

// servers has the real broker, started by the first test that needs one.
var servers servicetest.Shared

func TestMain(m *testing.M) { goleak.VerifyTestMain(servers.Around(m)) }

// broker makes topics for a test: on a fake cluster or on the real broker. That
// one is shared by all tests, so that topics and pipelines have names of their
// own; the tests and what they read know the short ones.
type broker func(t *testing.T, partitions int32, topics ...string) *cluster

// onEachBroker runs tests on kfake and on Kafka. What differs, and a test must
// not count on: Kafka answers EndTxn before the markers are in the partitions
// (settle waits), and a topic that was made is known everywhere a moment later.
// kfake can be told to lose or hold back a request: tests that need this are its own.
func onEachBroker(t *testing.T, tests map[string]func(*testing.T, broker)) {
	brokers := map[string]broker{
		"kfake": func(t *testing.T, partitions int32, topics ...string) *cluster {
			return newCluster(t, kfake.SeedTopics(partitions, topics...))
		},
		"kafka": realCluster,
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

// cluster is a broker with the topics of one test, and a client that looks
// behind lake's back.
type cluster struct {
	*kfake.Cluster // nil on a real broker
	t              *testing.T
	addrs          []string
	suffix         string // of the names of topics and of the pipeline
	admin          *kadm.Client
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

func realCluster(t *testing.T, partitions int32, topics ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, addrs: servers.Kafka(t).Brokers(), suffix: "-" + rand.Text()}
	c.admin = kadm.NewClient(c.connect())
	for _, topic := range topics {
		_, err := c.admin.CreateTopic(t.Context(), partitions, 1, nil, c.name(topic))
		require.NoError(t, err)
		servicetest.AwaitPartitions(t, c.addrs, c.name(topic), partitions)
	}
	return c
}

// name is a topic's whole name, pipeline the one of this test's, markers its topic.
func (c *cluster) name(topic string) string {
	if topic == "lake-p-delivered" {
		return c.markers()
	}
	return topic + c.suffix
}

func (c *cluster) pipeline() string { return "p" + c.suffix }

func (c *cluster) markers() string { return "lake-" + c.pipeline() + "-delivered" }

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
		outputs[r] = []Output{{Topic: c.name(r)}}
	}
	if change != nil {
		change(outputs)
	}
	s, err := New(c.config(), outputs, Options{})
	require.NoError(c.t, err)
	c.t.Cleanup(func() { require.NoError(c.t, s.Close()) })
	return s
}

// read returns what a read_committed reader sees of the topics, by partition in order.
func (c *cluster) read(short ...string) []*kgo.Record {
	c.t.Helper()
	var topics []string
	for _, s := range short {
		topics = append(topics, c.name(s))
	}
	servicetest.Settle(c.t, c.admin, topics...)
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
			name := fmt.Sprint(r.Topic, "/", r.Partition)
			if r.Offset+1 >= left[name] {
				delete(left, name)
			}
			r.Topic = strings.TrimSuffix(r.Topic, c.suffix)
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

func (c *cluster) delivery(epoch, seq int64, answers ...load.Answers) load.Delivery {
	return load.Delivery{Pipeline: c.pipeline(), Shard: "all", Epoch: epoch, Seq: seq, Answers: answers}
}
