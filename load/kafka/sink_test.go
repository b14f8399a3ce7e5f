package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"lake/brokers"
	"lake/load"
	"lake/load/sinktest"
)

// The sink on kfake and on Kafka.
func TestSink(t *testing.T) {
	onEachBroker(t, map[string]func(*testing.T, broker){
		"owners come and go":              testOwnersComeAndGo,
		"late owner":                      testLateOwner,
		"conformance":                     testConformance,
		"partitions are javas":            testPartitionsAreJavas,
		"form":                            testForm,
		"open is remembered":              testOpenIsRemembered,
		"marker is found far back":        testMarkerIsFoundFarBack,
		"markers of a newer lake":         testMarkersOfANewerLake,
		"topics":                          testTopics,
		"markers that would be forgotten": testMarkersThatWouldBeForgotten,
		"many answers":                    testManyAnswers,
		"wrong delivery":                  testWrongDelivery,
	})
}

// An owner that was suspended between two deliveries wakes up after another took over.
func testLateOwner(t *testing.T, b broker) {
	c := b(t, 2, "paid")
	late, owner := c.sink(nil, "paid"), c.sink(nil, "paid")
	_, err := late.Open(t.Context(), c.pipeline(), "all", 1)
	require.NoError(t, err)
	require.NoError(t, late.Deliver(t.Context(), c.delivery(1, 1, answers(t, "paid", "a"))))
	seq, err := owner.Open(t.Context(), c.pipeline(), "all", 2)
	require.NoError(t, err)
	require.Equal(t, int64(1), seq)
	require.ErrorIs(t, late.Deliver(t.Context(), c.delivery(1, 2, answers(t, "paid", "late"))), ErrFenced)
	_, err = late.Open(t.Context(), c.pipeline(), "all", 1)
	require.ErrorIs(t, err, ErrFenced)
	require.NoError(t, owner.Deliver(t.Context(), c.delivery(2, 2, answers(t, "paid", "b"))))
	require.ElementsMatch(t, []string{`a {"user":"a","n":0} lake-rule=paid lake-seq=1`, `b {"user":"b","n":0} lake-rule=paid lake-seq=2`}, texts(c.read("paid")))
}

func testConformance(t *testing.T, b broker) {
	sinktest.Run(t, func(t *testing.T) sinktest.Harness {
		c := b(t, 3, sinktest.Rules[:]...)
		return sinktest.Harness{
			Pipeline: c.pipeline(), Fences: true, Remembers: true,
			New: func(*testing.T) load.Sink { return c.sink(nil, sinktest.Rules[:]...) },
			Read: func(t *testing.T) []sinktest.Answer {
				var out []sinktest.Answer
				for _, r := range c.read(sinktest.Rules[:]...) {
					require.Len(t, r.Headers, 2)
					require.Equal(t, "lake-rule", r.Headers[0].Key)
					require.Equal(t, "lake-seq", r.Headers[1].Key)
					require.Equal(t, r.Topic, string(r.Headers[0].Value))
					seq, err := strconv.ParseInt(string(r.Headers[1].Value), 10, 64)
					require.NoError(t, err)
					out = append(out, sinktest.Answer{Rule: r.Topic, Seq: seq, Deleted: r.Value == nil, Value: string(r.Value), Key: string(r.Key)})
				}
				return out
			},
		}
	})
}

// The values are those of the Java client's own test of murmur2.
func testPartitionsAreJavas(t *testing.T, b broker) {
	hashes := map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	}
	const partitions = 7
	c := b(t, partitions, "paid")
	s := c.sink(nil, "paid")
	_, err := s.Open(t.Context(), c.pipeline(), "all", 1)
	require.NoError(t, err)
	var keys []string
	for k := range hashes {
		keys = append(keys, k)
	}
	require.NoError(t, s.Deliver(t.Context(), c.delivery(1, 1, answers(t, "paid", keys...))))
	got := c.read("paid")
	require.Len(t, got, len(hashes))
	for _, r := range got {
		require.Equal(t, (hashes[string(r.Key)]&0x7fffffff)%partitions, r.Partition, string(r.Key))
	}
}

func testForm(t *testing.T, b broker) {
	c := b(t, 1, "plain", "renamed", "keyed", "one")
	s := c.sink(func(o map[string][]Output) {
		o["plain"] = []Output{
			{Topic: c.name("plain")},
			{Topic: c.name("renamed"), Rename: map[string]string{"n": "count.all"}},
			{Topic: c.name("keyed"), Key: []string{"user", "n"}},
			{Topic: c.name("one"), Key: []string{"user"}},
		}
	})
	_, err := s.Open(t.Context(), c.pipeline(), "all", 1)
	require.NoError(t, err)
	a := answers(t, "plain", "ann", "", `q"é`)
	a.Deleted = []bool{true, false, false}
	require.NoError(t, s.Deliver(t.Context(), c.delivery(1, 5, a)))
	const headers = " lake-rule=plain lake-seq=5"
	require.Equal(t, []string{"ann <nil>" + headers, `<nil> {"user":null,"n":1}` + headers, `q"é {"user":"q\"é","n":2}` + headers}, texts(c.read("plain")))
	require.Equal(t, []string{"ann <nil>" + headers, `<nil> {"user":null,"count.all":1}` + headers, `q"é {"user":"q\"é","count.all":2}` + headers}, texts(c.read("renamed")))
	require.Equal(t, []string{`["ann",0] <nil>` + headers, `[null,1] {"user":null,"n":1}` + headers, `["q\"é",2] {"user":"q\"é","n":2}` + headers}, texts(c.read("keyed")))
	require.Equal(t, []string{"ann <nil>" + headers, `<nil> {"user":null,"n":1}` + headers, `q"é {"user":"q\"é","n":2}` + headers}, texts(c.read("one")))

	wrong := c.sink(func(o map[string][]Output) {
		o["plain"] = []Output{{Topic: c.name("plain"), Key: []string{"user", "nope"}}}
	})
	_, err = wrong.Open(t.Context(), c.pipeline(), "all", 2)
	require.NoError(t, err)
	require.ErrorContains(t, wrong.Deliver(t.Context(), c.delivery(2, 6, a)), `rule plain: key: column "nope" is none of its columns`)
}

// A process dies between producing and ending the transaction, and in the
// moment after the broker ended it: the next one tells the two apart.
func TestKilled(t *testing.T) {
	for _, test := range []struct {
		name      string
		committed bool
	}{{"before the end of the transaction", false}, {"after it, before the answer", true}} {
		t.Run(test.name, func(t *testing.T) {
			c := newCluster(t, kfake.SeedTopics(2, "paid"))
			first := c.sink(nil, "paid")
			seq, err := first.Open(t.Context(), c.pipeline(), "all", 1)
			require.NoError(t, err)
			require.Equal(t, int64(-1), seq)
			require.NoError(t, first.Deliver(t.Context(), c.delivery(1, 1, answers(t, "paid", "a", "b"))))

			ctx, kill := context.WithCancel(t.Context())
			defer kill()
			if test.committed { // nobody comes to hear of it
				require.NoError(t, first.Deliver(ctx, c.delivery(1, 2, answers(t, "paid", "a", "c"))))
			} else {
				c.ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
					kill()
					return nil, errors.New("dead"), true
				})
				require.ErrorIs(t, first.Deliver(ctx, c.delivery(1, 2, answers(t, "paid", "a", "c"))), context.Canceled)
				require.ErrorContains(t, first.Deliver(t.Context(), c.delivery(1, 2)), "open it first")
			}

			next := c.sink(nil, "paid")
			seq, err = next.Open(t.Context(), c.pipeline(), "all", 2)
			require.NoError(t, err)
			want := int64(1)
			if test.committed {
				want = 2
			}
			require.Equal(t, want, seq)
			require.NoError(t, next.Deliver(t.Context(), c.delivery(2, 2, answers(t, "paid", "a", "c"))))
			require.NoError(t, next.Deliver(t.Context(), c.delivery(2, 3, answers(t, "paid", "d"))))
			require.ElementsMatch(t, []string{
				`a {"user":"a","n":0} lake-rule=paid lake-seq=1`, `b {"user":"b","n":1} lake-rule=paid lake-seq=1`,
				`a {"user":"a","n":0} lake-rule=paid lake-seq=2`, `c {"user":"c","n":1} lake-rule=paid lake-seq=2`,
				`d {"user":"d","n":0} lake-rule=paid lake-seq=3`,
			}, texts(c.read("paid")))
		})
	}
}

// The former owner holds an open transaction when the new one takes over.
func TestZombie(t *testing.T) {
	c := newCluster(t, kfake.SeedTopics(1, "paid"))
	zombie := c.sink(nil, "paid")
	_, err := zombie.Open(t.Context(), c.pipeline(), "all", 1)
	require.NoError(t, err)
	var seq int64
	owner := c.sink(nil, "paid")
	var once atomic.Bool
	c.ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
		if !once.CompareAndSwap(false, true) {
			return nil, nil, false // the owner's
		}
		// The answers are written, the transaction is about to end: the other takes over.
		done := make(chan struct{})
		go func() {
			defer close(done)
			seq, err = owner.Open(t.Context(), c.pipeline(), "all", 2)
		}()
		c.SleepControl(func() { <-done })
		return nil, nil, false
	})
	late := zombie.Deliver(t.Context(), c.delivery(1, 1, answers(t, "paid", "a")))
	require.NoError(t, err)
	require.ErrorIs(t, late, ErrFenced)
	require.Equal(t, int64(-1), seq)
	require.Empty(t, c.read("paid"))
	require.NoError(t, owner.Deliver(t.Context(), c.delivery(2, 1, answers(t, "paid", "a"))))

	_, err = zombie.Open(t.Context(), c.pipeline(), "all", 1)
	require.ErrorIs(t, err, ErrFenced, "its epoch is over")
	require.NoError(t, owner.Deliver(t.Context(), c.delivery(2, 2, answers(t, "paid", "b"))), "it harmed nobody")
	require.Equal(t, []string{`a {"user":"a","n":0} lake-rule=paid lake-seq=1`, `b {"user":"b","n":0} lake-rule=paid lake-seq=2`}, texts(c.read("paid")))
}

// The former owner looks at the epoch before the new one comes, and fences it afterwards.
func TestSlowZombie(t *testing.T) {
	c := newCluster(t, kfake.SeedTopics(1, "paid"))
	zombie, owner := c.sink(nil, "paid"), c.sink(nil, "paid")
	var err error
	var once atomic.Bool
	c.ControlKey(int16(kmsg.InitProducerID), func(kmsg.Request) (kmsg.Response, error, bool) {
		if !once.CompareAndSwap(false, true) {
			return nil, nil, false
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, err = owner.Open(t.Context(), c.pipeline(), "all", 2); err == nil {
				err = owner.Deliver(t.Context(), c.delivery(2, 1, answers(t, "paid", "a")))
			}
		}()
		c.SleepControl(func() { <-done })
		return nil, nil, false
	})
	_, late := zombie.Open(t.Context(), c.pipeline(), "all", 1)
	require.NoError(t, err)
	require.ErrorIs(t, late, ErrFenced)
	require.ErrorContains(t, late, "epoch is 2, this one's 1")
	require.ErrorIs(t, owner.Deliver(t.Context(), c.delivery(2, 2, answers(t, "paid", "b"))), ErrFenced)
	seq, err := owner.Open(t.Context(), c.pipeline(), "all", 2) // the table's epoch is still its own
	require.NoError(t, err)
	require.Equal(t, int64(1), seq)
	require.NoError(t, owner.Deliver(t.Context(), c.delivery(2, 2, answers(t, "paid", "b"))))
	require.Equal(t, []string{`a {"user":"a","n":0} lake-rule=paid lake-seq=1`, `b {"user":"b","n":0} lake-rule=paid lake-seq=2`}, texts(c.read("paid")))
}

// An owner that opened and did not deliver yet is an owner.
func testOpenIsRemembered(t *testing.T, b broker) {
	c := b(t, 1, "paid")
	_, err := c.sink(nil, "paid").Open(t.Context(), c.pipeline(), "all", 7)
	require.NoError(t, err)
	_, err = c.sink(nil, "paid").Open(t.Context(), c.pipeline(), "all", 6)
	require.ErrorIs(t, err, ErrFenced)
	require.ErrorContains(t, err, "epoch is 7, this one's 6")
}

// The marker lies far behind the end.
func testMarkerIsFoundFarBack(t *testing.T, b broker) {
	c := b(t, 1, "paid")
	s := c.sink(nil, "paid")
	_, err := s.Open(t.Context(), c.pipeline(), "all", 1)
	require.NoError(t, err)
	require.NoError(t, s.Deliver(t.Context(), c.delivery(1, 4, answers(t, "paid", "a"))))
	require.NoError(t, s.Close())
	// Other shards of the same partition, a record each.
	producer := c.connect(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for i := range 300 {
		r := &kgo.Record{Topic: c.markers(), Key: fmt.Appendf(nil, "other%d", i), Value: []byte("x")}
		require.NoError(t, producer.ProduceSync(t.Context(), r).FirstErr())
	}
	seq, err := s.Open(t.Context(), c.pipeline(), "all", 2)
	require.NoError(t, err)
	require.Equal(t, int64(4), seq)
}

func testMarkersOfANewerLake(t *testing.T, b broker) {
	c := b(t, 1, "paid", "lake-p-delivered")
	c.compact(c.markers())
	producer := c.connect()
	require.NoError(t, producer.ProduceSync(t.Context(), &kgo.Record{Topic: c.markers(), Key: []byte("all"), Value: []byte(`{"version":2,"epoch":1,"seq":4}`)}).FirstErr())
	_, err := c.sink(nil, "paid").Open(t.Context(), c.pipeline(), "all", 2)
	require.ErrorContains(t, err, c.markers()+"/0 at 0 was written by a newer lake (version 2)")
}

func (c *cluster) compact(topic string) {
	c.t.Helper()
	policy := "compact"
	_, err := c.admin.AlterTopicConfigs(c.t.Context(), []kadm.AlterConfig{{Name: "cleanup.policy", Value: &policy}}, topic)
	require.NoError(c.t, err)
}

func testTopics(t *testing.T, b broker) {
	c := b(t, 1, "there")
	_, err := c.sink(nil, "there", "missing").Open(t.Context(), c.pipeline(), "all", 1)
	require.ErrorIs(t, err, brokers.ErrUnknownTopic)
	require.ErrorContains(t, err, "topic missing")
	require.ErrorContains(t, err, "--create --topic missing")

	s := c.sink(func(o map[string][]Output) {
		o["missing"] = []Output{{Topic: c.name("missing"), Create: &Create{Partitions: 4, Replication: 1}}}
	}, "there")
	_, err = s.Open(t.Context(), c.pipeline(), "Events/2", 1)
	require.NoError(t, err)
	require.NoError(t, s.Deliver(t.Context(), load.Delivery{Pipeline: c.pipeline(), Shard: "Events/2", Epoch: 1, Seq: 1, Answers: []load.Answers{answers(t, "missing", "a")}}))
	require.Equal(t, []string{`a {"user":"a","n":0} lake-rule=missing lake-seq=1`}, texts(c.read("missing")))
	require.Equal(t, 4, c.partitions(c.name("missing")))
	require.Equal(t, 3, c.partitions(c.markers()), "the third is the shard's")
	for _, r := range c.read("lake-p-delivered") {
		require.Equal(t, int32(2), r.Partition)
	}
	configs, err := c.admin.DescribeTopicConfigs(t.Context(), c.markers())
	require.NoError(t, err)
	require.Contains(t, fmt.Sprint(policies(configs)), "compact")

	more := c.sink(nil, "there")
	_, err = more.Open(t.Context(), c.pipeline(), "Events/4", 1)
	require.NoError(t, err)
	require.Equal(t, 5, c.partitions(c.markers()))
}

// Owners of two shards begin at once on a cluster without the marker topic: who comes
// second to make it finds one that lacks its partition.
func TestMarkersMadeByAnother(t *testing.T) {
	c := newCluster(t, kfake.SeedTopics(1, "paid"))
	first, second := c.sink(nil, "paid"), c.sink(nil, "paid")
	var err error
	var once atomic.Bool
	c.ControlKey(int16(kmsg.CreateTopics), func(kmsg.Request) (kmsg.Response, error, bool) {
		if !once.CompareAndSwap(false, true) {
			return nil, nil, false // the first one's, in between
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, err = first.Open(t.Context(), c.pipeline(), "Events/0", 1)
		}()
		c.SleepControl(func() { <-done })
		return nil, nil, false
	})
	_, late := second.Open(t.Context(), c.pipeline(), "Events/2", 1)
	require.NoError(t, err)
	require.NoError(t, late)
	require.Equal(t, 3, c.partitions(c.markers()))
}

func policies(configs kadm.ResourceConfigs) (out []string) {
	for _, topic := range configs {
		for _, c := range topic.Configs {
			if c.Key == "cleanup.policy" {
				out = append(out, c.MaybeValue())
			}
		}
	}
	return out
}

func (c *cluster) partitions(topic string) int {
	c.t.Helper()
	meta, err := kadm.NewClient(c.connect()).Metadata(c.t.Context(), topic) // the other one remembers
	require.NoError(c.t, err)
	return len(meta.Topics[topic].Partitions)
}

func testMarkersThatWouldBeForgotten(t *testing.T, b broker) {
	c := b(t, 1, "paid", "lake-p-delivered")
	_, err := c.sink(nil, "paid").Open(t.Context(), c.pipeline(), "all", 1)
	require.ErrorContains(t, err, "topic "+c.markers()+`: cleanup.policy is "delete"`)
	require.ErrorContains(t, err, "--add-config cleanup.policy=compact")
}

// A broker that does not answer ends a delivery with its context.
func TestDeliveryHasALimit(t *testing.T) {
	c := newCluster(t, kfake.SeedTopics(1, "paid"))
	s := c.sink(nil, "paid")
	_, err := s.Open(t.Context(), c.pipeline(), "all", 1)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cancel()
		return nil, nil, true // no answer, ever
	})
	require.ErrorIs(t, s.Deliver(ctx, c.delivery(1, 1, answers(t, "paid", "a"))), context.Canceled)
	seq, err := s.Open(t.Context(), c.pipeline(), "all", 1)
	require.NoError(t, err)
	require.Equal(t, int64(-1), seq)
	require.NoError(t, s.Deliver(t.Context(), c.delivery(1, 1, answers(t, "paid", "a"))))
	require.Equal(t, []string{`a {"user":"a","n":0} lake-rule=paid lake-seq=1`}, texts(c.read("paid")))
}

func testManyAnswers(t *testing.T, b broker) {
	c := b(t, 2, "paid")
	s := c.sink(nil, "paid")
	_, err := s.Open(t.Context(), c.pipeline(), "all", 1)
	require.NoError(t, err)
	keys := make([]string, 2*chunk+5)
	for i := range keys {
		keys[i] = fmt.Sprint("u", i)
	}
	require.NoError(t, s.Deliver(t.Context(), c.delivery(1, 1, answers(t, "paid", keys...))))
	next := map[int32]int{} // row of the last record: rows of a partition come in order
	got := c.read("paid")
	require.Len(t, got, len(keys))
	for _, r := range got {
		n, err := strconv.Atoi(string(r.Key[1:]))
		require.NoError(t, err)
		require.GreaterOrEqual(t, n, next[r.Partition])
		require.Equal(t, fmt.Sprintf(`{"user":"u%d","n":%d}`, n, n), string(r.Value))
		next[r.Partition] = n + 1
	}
}

func testWrongDelivery(t *testing.T, b broker) {
	c := b(t, 1, "paid")
	s := c.sink(nil, "paid")
	require.ErrorContains(t, s.Deliver(t.Context(), c.delivery(1, 1)), "open it first")
	_, err := s.Open(t.Context(), c.pipeline(), "all", 1)
	require.NoError(t, err)
	require.ErrorContains(t, s.Deliver(t.Context(), c.delivery(2, 1)), "it is open for "+c.pipeline()+"/all, epoch 1, not for "+c.pipeline()+"/all, epoch 2")
	require.ErrorContains(t, s.Deliver(t.Context(), c.delivery(1, 1, answers(t, "other", "a"))), "rule other has no topic here")
	_, err = s.Open(t.Context(), "a b", "all", 1)
	require.ErrorContains(t, err, "no name for a topic")
}

func TestCheck(t *testing.T) {
	_, err := New(brokers.Config{Brokers: []string{"localhost:9092"}}, map[string][]Output{"r": {{Topic: "a b"}}}, Options{})
	require.ErrorContains(t, err, `output kafka of rule r: topic: "a b" is not a topic's name`)
	_, err = New(brokers.Config{}, nil, Options{})
	require.ErrorContains(t, err, "brokers is empty")
	_, err = New(brokers.Config{Brokers: []string{"localhost:9092"}}, nil, Options{Zone: "Asia/Kolkatta"})
	require.ErrorContains(t, err, "Asia/Kolkatta")
}

func TestOutputFromYAML(t *testing.T) {
	var o Output
	require.NoError(t, yaml.UnmarshalWithOptions([]byte("{topic: possible_broker, rename: {window_start: window.start}, key: [user], create: {partitions: 3}}"), &o, yaml.Strict()))
	require.Equal(t, Output{Topic: "possible_broker", Rename: map[string]string{"window_start": "window.start"}, Key: []string{"user"}, Create: &Create{Partitions: 3}}, o)
	require.NoError(t, o.Check())
	require.NoError(t, yaml.UnmarshalWithOptions([]byte("{topic: t, brokers: [\"a:1\"], tls: {ca: x}}"), &o, yaml.Strict()))
	require.Equal(t, brokers.Config{Brokers: []string{"a:1"}, TLS: &brokers.TLS{CA: "x"}}, o.Config)
	require.ErrorContains(t, yaml.UnmarshalWithOptions([]byte("{topics: [t]}"), &o, yaml.Strict()), `unknown field "topics"`)
}
