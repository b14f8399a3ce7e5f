package kafka

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"lake/brokers"
	"lake/ingest"
	"lake/services"
	"lake/services/servicetest"
)

func testBudget(t *testing.T, b broker) {
	c := b(t, 4)
	value := func() string { // compresses 10 to 1: the answers grow in memory
		random := make([]byte, 192)
		_, err := rand.Read(random)
		require.NoError(t, err)
		return hex.EncodeToString(random) + strings.Repeat("x", 4<<10)
	}
	producer := c.connect(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.ProducerBatchMaxBytes(64<<10))
	const each = 500
	for p := range int32(4) {
		var records []*kgo.Record
		for range each {
			records = append(records, c.at(p, value()))
		}
		for i := 0; i < each; i += 20 { // 80 KiB a batch
			require.NoError(t, producer.ProduceSync(t.Context(), records[i:i+20]...).FirstErr())
		}
	}
	const bound = 2 << 20 // of 8 MB
	s := c.source(Options{BufferBytes: bound, BatchBytes: 64 << 10})
	var held []ingest.Batch
	read, most := 0, int64(0)
	for {
		s.budget.mu.Lock()
		most = max(most, s.budget.held+s.client.BufferedFetchBytes())
		s.budget.mu.Unlock()
		if s.budget.full() && len(s.queue) == 0 && !s.allEnded() { // nothing comes until something is released
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			_, err := s.Poll(ctx)
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded)
			for _, b := range held {
				b.Release()
				b.Release() // twice is once
			}
			held = held[:0]
			require.Equal(t, int64(0), s.budget.held)
		}
		b, err := s.Poll(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		read += len(b.Records)
		if b.Release != nil {
			held = append(held, b)
		}
	}
	require.Equal(t, 4*each, read)
	require.LessOrEqual(t, most, int64(bound))
	require.Greater(t, most, int64(bound/4), "the budget is used")
}

func BenchmarkPoll(b *testing.B) {
	value := bytes.Repeat([]byte(`{"user_id": 12345, "property_id": 678, "date": "2021-11-30 12:34:56", "event": "Interaction"}`), 2) // 190 bytes
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "Events"))
	require.NoError(b, err)
	defer c.Close()
	producer, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.ProducerBatchCompression(kgo.Lz4Compression()))
	require.NoError(b, err)
	defer producer.Close()
	const records = 400_000
	for range records {
		producer.Produce(b.Context(), &kgo.Record{Topic: "Events", Value: value}, func(_ *kgo.Record, err error) { require.NoError(b, err) })
	}
	require.NoError(b, producer.Flush(b.Context()))
	for b.Loop() {
		s, err := New(Config{Config: brokers.Config{Brokers: c.ListenAddrs()}, Topics: []string{"Events"}}, Options{Pipeline: "bench"})
		require.NoError(b, err)
		n := 0
		for {
			batch, err := s.Poll(b.Context())
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(b, err)
			n += len(batch.Records)
			if batch.Release != nil {
				batch.Release()
			}
		}
		require.Equal(b, records, n)
		require.NoError(b, s.Close())
	}
	b.ReportMetric(float64(records)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func TestUnreachable(t *testing.T) {
	c := newCluster(t, kfake.SeedTopics(1, "Events"))
	s := c.source(Options{Follow: true, RefreshInterval: 10 * time.Millisecond})
	c.produce(c.numbered(0, 0, 2)...)
	r := newRun(t, s)
	for r.count() < 2 {
		require.True(t, r.step(), r.err)
	}
	c.Close()
	s.impatient(100*time.Millisecond, 200*time.Millisecond)
	require.ErrorIs(t, r.all().err, brokers.ErrUnreachable)
	require.ErrorContains(t, r.err, c.addrs[0])

	away := c.source(Options{ConnectTimeout: 100 * time.Millisecond})
	_, err := away.ID(t.Context())
	require.ErrorIs(t, err, brokers.ErrUnreachable)
	require.ErrorIs(t, newRun(t, away).all().err, brokers.ErrUnreachable)
}

// impatient sets limits that a broker keeps to only where it is away: a slow machine
// could not begin to read within them. Nobody polls meanwhile.
func (s *Source) impatient(connect, outage time.Duration) {
	s.opts.ConnectTimeout, s.opts.Outage = connect, outage
}

// The other brokers answer; the one that leads the partition does not.
func TestUnreachableLeader(t *testing.T) {
	c := newCluster(t, kfake.SeedTopics(1, "Events"))
	c.produce(c.numbered(0, 0, 2)...)
	leader := c.LeaderFor(c.topic, 0)
	c.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if c.CurrentNode() != leader {
			return nil, nil, false
		}
		return nil, errors.New("down"), true
	})
	r := newRun(t, c.source(Options{ConnectTimeout: 100 * time.Millisecond, Outage: 300 * time.Millisecond}))
	require.ErrorIs(t, r.all().err, brokers.ErrUnreachable)
	require.Empty(t, r.values)
}

// A broker that comes back is read on from, without loss.
func TestOutageThatEnds(t *testing.T) {
	c := newCluster(t, kfake.SeedTopics(1, "Events"), kfake.NumBrokers(1))
	s := c.source(Options{Follow: true, RefreshInterval: 10 * time.Millisecond})
	c.produce(c.numbered(0, 0, 2)...)
	r := newRun(t, s)
	for r.count() < 2 {
		require.True(t, r.step(), r.err)
	}
	s.impatient(100*time.Millisecond, time.Hour)
	var down atomic.Bool
	down.Store(true)
	dropped := make(chan struct{}, 1)
	c.Control(func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if !down.Load() {
			return nil, nil, false
		}
		select {
		case dropped <- struct{}{}:
		default:
		}
		return nil, errors.New("down"), true
	})
	<-dropped
	for s.silent.IsZero() { // until the outage was seen
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err := s.Poll(ctx)
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	down.Store(false)
	c.produce(c.at(0, "after"))
	for r.count() < 3 {
		require.True(t, r.step(), r.err)
	}
	require.Equal(t, []string{"p0-0", "p0-1", "after"}, r.values[c.part(0)])
}

// The real broker is killed, and then suspended, under a source that follows:
// it reads on where it was.
func TestRealBrokerComesBack(t *testing.T) {
	k := servicetest.Kafka(t, services.Options{})
	c := realCluster(t, k, 2)
	s := c.source(Options{Follow: true, Outage: time.Hour, RefreshInterval: 50 * time.Millisecond})
	r := newRun(t, s)
	var want []string
	step := func(value string) {
		c.produce(c.at(0, value))
		want = append(want, value)
		for r.count() < len(want) {
			require.True(t, r.step(), r.err)
		}
	}
	unseen := func() { // until the outage was seen
		for s.silent.IsZero() {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			_, err := s.Poll(ctx)
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
	}
	step("before")
	s.impatient(500*time.Millisecond, time.Hour)
	require.NoError(t, k.Kill())
	unseen()
	require.NoError(t, k.Restart(t.Context()))
	step("after the kill")
	require.NoError(t, k.Suspend())
	suspended, cancel := context.WithTimeout(t.Context(), time.Second)
	_, err := s.Poll(suspended)
	cancel()
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, k.Resume())
	step("after the suspension")
	require.Equal(t, want, r.values[c.part(0)])
	require.Equal(t, int64(3), r.offsets[c.part(0)].Next)
}
