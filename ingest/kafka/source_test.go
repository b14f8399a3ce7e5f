package kafka

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"lake/brokers"
	"lake/ingest"
	"lake/ingest/sourcetest"
)

// The source on kfake and on Kafka.
func TestSource(t *testing.T) {
	onEachBroker(t, map[string]func(*testing.T, broker){
		"budget":                                  testBudget,
		"buffers are reused":                      testBuffersAreReused,
		"conformance":                             testConformance,
		"records have offsets and times":          testRecordsHaveOffsetsAndTimes,
		"transactions":                            testTransactions,
		"gap at the end":                          testGapAtTheEnd,
		"start":                                   testStart,
		"start latest follows":                    testStartLatestFollows,
		"new partitions":                          testNewPartitions,
		"retention passed the position":           testRetentionPassedThePosition,
		"retention while reading":                 testRetentionWhileReading,
		"recreated topic":                         testRecreatedTopic,
		"seek refuses another sources partitions": testSeekRefusesAnotherSourcesPartitions,
		"unknown topic":                           testUnknownTopic,
		"ack writes the group":                    testAckWritesTheGroup,
	})
}

func testConformance(t *testing.T, b broker) {
	sourcetest.Run(t, func(t *testing.T) sourcetest.Harness {
		c := b(t, 3)
		written := 0
		write := func(n int) sourcetest.Records {
			out := sourcetest.Records{}
			for p := range int32(2) { // the third stays empty
				for _, r := range c.numbered(p, written, n) {
					c.produce(r)
					name := c.part(p)
					out[name] = append(out[name], string(r.Value))
				}
			}
			written += n
			return out
		}
		small := Options{BatchBytes: 8 * recordOverhead}
		return sourcetest.Harness{
			Want:    write(40),
			Grow:    func(*testing.T) sourcetest.Records { return write(3) },
			Bounded: func(*testing.T) ingest.Source { return c.source(small) },
			Follow: func(*testing.T) ingest.Source {
				o := small
				o.Follow = true
				return c.source(o)
			},
		}
	})
}

func testRecordsHaveOffsetsAndTimes(t *testing.T, b broker) {
	c := b(t, 1)
	when := time.Date(2021, 11, 30, 12, 0, 0, 123e6, time.UTC)
	c.produce(
		&kgo.Record{Topic: c.topic, Value: []byte("a"), Timestamp: when},
		&kgo.Record{Topic: c.topic, Key: []byte("k"), Timestamp: when.Add(time.Second)}, // a tombstone
		&kgo.Record{Topic: c.topic, Value: []byte(""), Timestamp: when},
	)
	s := c.source(Options{})
	first, err := s.Poll(t.Context())
	require.NoError(t, err)
	require.Equal(t, ingest.Batch{Partition: c.part(0), Announce: []string{c.part(0)}, Position: ingest.Position{Token: first.Position.Token}}, first)
	require.NotEmpty(t, first.Position.Token)
	var got ingest.Batch // the first answer is one batch of the producer's
	for !got.End {
		b, err := s.Poll(t.Context())
		require.NoError(t, err)
		require.Nil(t, b.Announce)
		got.Records, got.Offsets, got.Times = append(got.Records, b.Records...), append(got.Offsets, b.Offsets...), append(got.Times, b.Times...)
		got.Position, got.End, got.CaughtUp = b.Position, b.End, b.CaughtUp
	}
	require.Equal(t, [][]byte{[]byte("a"), nil, {}}, got.Records)
	require.Nil(t, got.Records[1])
	require.NotNil(t, got.Records[2], "an empty value is no tombstone")
	require.Equal(t, []int64{0, 1, 2}, got.Offsets)
	require.Equal(t, []int64{when.UnixMicro(), when.Add(time.Second).UnixMicro(), when.UnixMicro()}, got.Times)
	require.Equal(t, int64(3), got.Position.Next)
	require.Equal(t, int64(3), got.Position.Records)
	require.True(t, got.End)
	require.True(t, got.CaughtUp)
}

// transact writes records in one transaction, a batch each, and ends it.
func (c *cluster) transact(client *kgo.Client, commit kgo.TransactionEndTry, records ...*kgo.Record) {
	c.t.Helper()
	require.NoError(c.t, client.BeginTransaction())
	for _, r := range records {
		require.NoError(c.t, client.ProduceSync(c.t.Context(), r).FirstErr())
	}
	require.NoError(c.t, client.EndTransaction(c.t.Context(), commit))
	c.settle()
}

func testTransactions(t *testing.T, b broker) {
	c := b(t, 2)
	tx := c.connect(kgo.TransactionalID(c.topic+"-one"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	c.transact(tx, kgo.TryCommit, c.numbered(0, 0, 3)...)             // 0-2, marker 3
	c.transact(tx, kgo.TryAbort, c.numbered(0, 100, 5)...)            // 4-8, marker 9
	c.produce(c.at(0, "plain"))                                       // 10
	c.transact(tx, kgo.TryAbort, c.at(0, "gone"), c.at(1, "p1 gone")) // 11, marker 12; of partition 1: 0, marker 1
	open := c.connect(kgo.TransactionalID(c.topic+"-two"), kgo.RecordPartitioner(kgo.ManualPartitioner()))

	want := map[string][]string{c.part(0): {"p0-0", "p0-1", "p0-2", "plain"}}
	t.Run("a partition that ends with aborted records ends", func(t *testing.T) {
		r := newRun(t, c.source(Options{})).all()
		require.ErrorIs(t, r.err, io.EOF)
		require.Equal(t, want, r.values)
		require.Equal(t, int64(13), r.offsets[c.part(0)].Next, "behind the last control record")
		require.Equal(t, int64(4), r.offsets[c.part(0)].Records, "control and aborted records are none")
		require.Equal(t, int64(2), r.offsets[c.part(1)].Next)
		require.True(t, r.ended[c.part(0)] && r.ended[c.part(1)])
	})
	t.Run("following it is caught up", func(t *testing.T) {
		r := newRun(t, c.source(Options{Follow: true}))
		for !r.current[c.part(0)] || !r.current[c.part(1)] {
			require.True(t, r.step(), r.err)
		}
		require.Equal(t, want, r.values)
		require.False(t, r.ended[c.part(0)])
	})

	require.NoError(t, open.BeginTransaction())
	require.NoError(t, open.ProduceSync(t.Context(), c.at(0, "open")).FirstErr()) // 13
	c.produce(c.at(0, "behind the open one"))                                     // 14
	t.Run("an open transaction is the end", func(t *testing.T) {
		s := c.source(Options{})
		r := newRun(t, s).all()
		require.ErrorIs(t, r.err, io.EOF)
		require.Equal(t, want, r.values)
		require.Equal(t, int64(13), r.offsets[c.part(0)].Next)
		lag, err := s.Lag(t.Context(), r.offsets)
		require.NoError(t, err)
		require.Equal(t, map[string]int64{c.part(0): 0, c.part(1): 0}, lag)

		following := newRun(t, c.source(Options{Follow: true}))
		for !following.current[c.part(0)] { // what the transaction holds back is not to be waited for
			require.True(t, following.step(), following.err)
		}
		require.Equal(t, want, following.values)

		require.NoError(t, open.EndTransaction(t.Context(), kgo.TryCommit))
		c.settle()
		next := c.source(Options{})
		require.NoError(t, next.Seek(t.Context(), r.offsets))
		rest := newRun(t, next).all()
		require.Equal(t, map[string][]string{c.part(0): {"open", "behind the open one"}}, rest.values)
		require.Equal(t, int64(6), rest.offsets[c.part(0)].Records)
	})
}

// The position stands before records that compaction took away, up to the end.
func testGapAtTheEnd(t *testing.T, b broker) {
	c := b(t, 1)
	tx := c.connect(kgo.TransactionalID(c.topic+"-one"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	c.produce(c.numbered(0, 0, 2)...)
	c.transact(tx, kgo.TryAbort, c.numbered(0, 10, 2)...) // 2, 3, marker 4

	for _, follow := range []bool{false, true} {
		t.Run(fmt.Sprintf("follow=%v", follow), func(t *testing.T) {
			s := c.source(Options{Follow: follow})
			// The client that skips what it does not keep is the one that a compacted
			// log looks like: kfake cannot compact the end away.
			s.client.Close()
			client, err := kgo.NewClient(kgo.SeedBrokers(c.addrs...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
				kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchMaxWait(50*time.Millisecond), kgo.DisableClientMetrics())
			require.NoError(t, err)
			s.client, s.admin = client, kadm.NewClient(client)

			r := newRun(t, s)
			for !r.current[c.part(0)] {
				require.True(t, r.step(), r.err)
			}
			require.Equal(t, int64(5), r.offsets[c.part(0)].Next)
			require.Equal(t, map[string][]string{c.part(0): {"p0-0", "p0-1"}}, r.values)
			if !follow {
				require.ErrorIs(t, r.all().err, io.EOF)
			}
		})
	}
}

func testStart(t *testing.T, b broker) {
	c := b(t, 2)
	base := time.Date(2021, 11, 30, 0, 0, 0, 0, time.UTC)
	for i, r := range c.numbered(0, 0, 5) {
		r.Timestamp = base.Add(time.Duration(i) * time.Minute)
		c.produce(r)
	}
	c.produce(c.numbered(1, 0, 1)...) // now
	for _, test := range []struct {
		name  string
		start Start
		want  map[string][]string
		lag   map[string]int64
	}{
		{"earliest", Start{}, map[string][]string{c.part(0): {"p0-0", "p0-1", "p0-2", "p0-3", "p0-4"}, c.part(1): {"p1-0"}}, map[string]int64{c.part(0): 5, c.part(1): 1}},
		{"latest", Start{Latest: true}, map[string][]string{}, map[string]int64{c.part(0): 0, c.part(1): 0}},
		{"time", Start{At: base.Add(150 * time.Second)}, map[string][]string{c.part(0): {"p0-3", "p0-4"}, c.part(1): {"p1-0"}}, map[string]int64{c.part(0): 2, c.part(1): 1}},
		{"a time to come", Start{At: time.Now().Add(time.Hour)}, map[string][]string{}, map[string]int64{c.part(0): 0, c.part(1): 0}},
		{"offsets", Start{Offsets: map[string]map[int32]int64{c.topic: {0: 2}}}, map[string][]string{c.part(0): {"p0-2", "p0-3", "p0-4"}, c.part(1): {"p1-0"}}, map[string]int64{c.part(0): 3, c.part(1): 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := c.source(Options{}, func(cfg *Config) { cfg.Start = test.start })
			r := newRun(t, s).all()
			require.ErrorIs(t, r.err, io.EOF)
			require.Equal(t, test.want, r.values)
			require.Len(t, r.offsets, 2, "every partition tells where it is")
			lag, err := s.Lag(t.Context(), nil)
			require.NoError(t, err)
			require.Equal(t, test.lag, lag)
		})
	}
	for want, offsets := range map[string]map[int32]int64{
		c.part(0) + " at offset 6: it lies behind the end": {0: 6},
		"start: " + c.topic + " has only 2 partitions":     {7: 0},
	} {
		s := c.source(Options{}, func(cfg *Config) { cfg.Start = Start{Offsets: map[string]map[int32]int64{c.topic: offsets}} })
		require.ErrorContains(t, newRun(t, s).all().err, want)
	}
}

func testStartLatestFollows(t *testing.T, b broker) {
	c := b(t, 2)
	c.produce(c.numbered(0, 0, 3)...)
	latest := func(cfg *Config) { cfg.Start.Latest = true }
	r := newRun(t, c.source(Options{Follow: true}, latest))
	for len(r.offsets) < 2 {
		require.True(t, r.step(), r.err)
	}
	c.produce(c.numbered(0, 3, 2)...)
	for r.count() < 2 {
		require.True(t, r.step(), r.err)
	}
	require.Equal(t, map[string][]string{c.part(0): {"p0-3", "p0-4"}}, r.values)

	// A partition that the table does not know was added since: it is read from its beginning.
	c.produce(c.numbered(1, 0, 2)...)
	s := c.source(Options{}, latest)
	require.NoError(t, s.Seek(t.Context(), ingest.Offsets{c.part(0): r.offsets[c.part(0)]}))
	next := newRun(t, s).all()
	require.Equal(t, map[string][]string{c.part(1): {"p1-0", "p1-1"}}, next.values)
}

func testNewPartitions(t *testing.T, b broker) {
	c := b(t, 1)
	c.produce(c.numbered(0, 0, 2)...)
	s := c.source(Options{Follow: true, RefreshInterval: time.Millisecond}, func(cfg *Config) { cfg.Start.Latest = true })
	r := newRun(t, s)
	require.True(t, r.step(), r.err)
	_, err := c.admin.CreatePartitions(t.Context(), 1, c.topic)
	require.NoError(t, err)
	c.awaitPartitions(2)
	added := c.connect(kgo.RecordPartitioner(kgo.ManualPartitioner())) // knows both partitions
	require.NoError(t, added.ProduceSync(t.Context(), c.at(1, "new")).FirstErr())
	for r.count() < 1 {
		require.True(t, r.step(), r.err)
	}
	require.Equal(t, map[string][]string{c.part(1): {"new"}}, r.values, "from its beginning, though start is latest")
	require.Equal(t, int64(1), r.offsets[c.part(1)].Next)
}

func testRetentionPassedThePosition(t *testing.T, b broker) {
	c := b(t, 1)
	c.produce(c.numbered(0, 0, 10)...)
	trim := kadm.Offsets{}
	trim.AddOffset(c.topic, 0, 7, -1)
	_, err := c.admin.DeleteRecords(t.Context(), trim)
	require.NoError(t, err)

	err = c.source(Options{}).Seek(t.Context(), ingest.Offsets{c.part(0): {Next: 4, Records: 4}})
	var position *PositionError
	require.ErrorAs(t, err, &position)
	require.Equal(t, PositionError{Partition: c.part(0), Next: 4, Begin: 7, End: 10, Reason: position.Reason, Hint: position.Hint}, *position)
	require.EqualError(t, err, c.part(0)+" at offset 4: the 3 offsets up to 7 are gone, by retention or deletion (it has offsets 7 to 10); "+
		"hint: have the lost records restored, or go on without them with --reset-offsets earliest; raise the topic's retention")

	fine := c.source(Options{})
	require.NoError(t, fine.Seek(t.Context(), ingest.Offsets{c.part(0): {Next: 7, Records: 7}}))
	require.Equal(t, map[string][]string{c.part(0): {"p0-7", "p0-8", "p0-9"}}, newRun(t, fine).all().values)
	require.Equal(t, []string{"p0-7", "p0-8", "p0-9"}, newRun(t, c.source(Options{})).all().values[c.part(0)], "earliest is what is left")
}

// Retention overtakes a source that is reading.
func testRetentionWhileReading(t *testing.T, b broker) {
	c := b(t, 1)
	c.produce(c.numbered(0, 0, 10)...)
	s := c.source(Options{})
	require.NoError(t, s.Seek(t.Context(), ingest.Offsets{c.part(0): {Next: 4, Records: 4}}))
	trim := kadm.Offsets{}
	trim.AddOffset(c.topic, 0, 7, -1)
	_, err := c.admin.DeleteRecords(t.Context(), trim)
	require.NoError(t, err)
	r := newRun(t, s).all()
	var position *PositionError
	require.ErrorAs(t, r.err, &position)
	require.Equal(t, int64(7), position.Begin)
	require.Empty(t, r.values)
}

func testRecreatedTopic(t *testing.T, b broker) {
	c := b(t, 1)
	c.produce(c.numbered(0, 0, 3)...)
	s := c.source(Options{Follow: true, RefreshInterval: time.Millisecond})
	before, err := s.ID(t.Context())
	require.NoError(t, err)
	r := newRun(t, s)
	for r.count() < 3 {
		require.True(t, r.step(), r.err)
	}
	_, err = c.admin.DeleteTopic(t.Context(), c.topic)
	require.NoError(t, err)
	_, err = c.admin.CreateTopic(t.Context(), 1, 1, nil, c.topic)
	require.NoError(t, err)

	require.ErrorIs(t, r.all().err, ErrRecreated)
	next := c.source(Options{})
	after, err := next.ID(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, before, after)
	require.True(t, strings.HasPrefix(before, "kafka:"+kfakeID(t, c)+":"+c.topic+"="), before)
	require.ErrorIs(t, next.Seek(t.Context(), r.offsets), ErrRecreated)
	require.ErrorContains(t, next.Seek(t.Context(), r.offsets), c.part(0))
}

func kfakeID(t *testing.T, c *cluster) string {
	meta, err := c.admin.Metadata(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, meta.Cluster)
	return meta.Cluster
}

func testSeekRefusesAnotherSourcesPartitions(t *testing.T, b broker) {
	c := b(t, 1)
	for name, want := range map[string]string{
		"in/a.jsonl": "not topic/number",
		"Other/0":    "put it back",
		c.part(3):    "has only 1 partitions now",
	} {
		require.ErrorContains(t, c.source(Options{}).Seek(t.Context(), ingest.Offsets{name: {Next: 0}}), want)
	}
}

func testUnknownTopic(t *testing.T, b broker) {
	c := b(t, 1)
	s := c.source(Options{}, func(cfg *Config) { cfg.Topics = []string{c.topic, "Evnets"} })
	_, err := s.ID(t.Context())
	require.ErrorIs(t, err, brokers.ErrUnknownTopic)
	require.ErrorContains(t, err, "topic Evnets")
	require.ErrorContains(t, err, "--create --topic Evnets")
	require.ErrorIs(t, newRun(t, s).all().err, brokers.ErrUnknownTopic)
}

func testAckWritesTheGroup(t *testing.T, b broker) {
	c := b(t, 2)
	c.produce(c.numbered(0, 0, 4)...)
	s := c.source(Options{Pipeline: c.topic})
	r := newRun(t, s).all()
	require.NoError(t, s.Ack(t.Context(), r.offsets))
	group, err := c.admin.FetchOffsets(t.Context(), "lake-"+c.topic)
	require.NoError(t, err)
	got := map[string]int64{}
	group.Each(func(o kadm.OffsetResponse) { got[partitionName(o.Topic, o.Partition)] = o.At })
	require.Equal(t, map[string]int64{c.part(0): 4, c.part(1): 0}, got)

	// The group's offsets decide nothing.
	ahead := kadm.Offsets{}
	ahead.AddOffset(c.topic, 0, 3, -1)
	require.NoError(t, c.admin.CommitAllOffsets(t.Context(), "lake-"+c.topic, ahead))
	require.Len(t, newRun(t, c.source(Options{Pipeline: c.topic})).all().values[c.part(0)], 4)
}
