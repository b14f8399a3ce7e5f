package kafka

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"lake/brokers"
	"lake/ingest"
)

// testBuffersAreReused holds every third batch while the buffers of the others
// go round: what is held stays as it was read.
func testBuffersAreReused(t *testing.T, b broker) {
	c := b(t, 2)
	producer := c.connect(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.SnappyCompression()))
	const each, batch = 4000, 100
	value := func(p int32, i int) string {
		return fmt.Sprintf("p%d-%d-%s", p, i, strings.Repeat("v", 50+i%50))
	}
	for i := 0; i < each; i += batch {
		for p := range int32(2) {
			var records []*kgo.Record
			for k := i; k < i+batch; k++ {
				r := c.at(p, value(p, k))
				r.Key = fmt.Appendf(nil, "k%d-%d", p, k)
				records = append(records, r)
			}
			require.NoError(t, producer.ProduceSync(t.Context(), records...).FirstErr())
		}
	}
	s := c.source(Options{BatchBytes: 37 * (recordOverhead + 100)}, func(cfg *Config) { // a batch here is not one there
		cfg.PartitionedBy = []string{"k"}
	})
	check := func(b ingest.Batch) {
		var p int32
		if b.Partition == c.part(1) {
			p = 1
		}
		require.Len(t, b.Keys, len(b.Records))
		for i, r := range b.Records {
			at := int(b.Offsets[i])
			require.Equal(t, value(p, at), string(r), "offset %d", at)
			require.Equal(t, fmt.Sprintf("k%d-%d", p, at), string(b.Keys[i]))
		}
	}
	var held []ingest.Batch
	read := 0
	for n := 0; ; n++ {
		b, err := s.Poll(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		check(b)
		read += len(b.Records)
		switch {
		case b.Release == nil:
		case n%3 == 0:
			held = append(held, b)
		default:
			b.Release()
		}
	}
	require.Equal(t, 2*each, read)
	for _, b := range held {
		check(b)
		b.Release()
	}
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	require.NotEmpty(t, s.pool.lists)
	require.NotEmpty(t, s.pool.records, "all records of a batch were recycled")
	require.NotEmpty(t, s.pool.texts)
}

func TestPoolIsBounded(t *testing.T) {
	p := newPool(1000)
	p.PutDecompressBytes(make([]byte, 600))
	p.PutDecompressBytes(make([]byte, 600))
	require.Len(t, p.texts, 1, "a second one has no room")
	require.Equal(t, int64(400), p.room)
	p.PutRecords(make([]kgo.Record, 3))
	require.Empty(t, p.records, "3 records take 432 bytes")
	p.PutRecords(make([]kgo.Record, 2))
	require.Equal(t, 2, cap(p.GetRecords(2)))
	require.Equal(t, int64(400), p.room)
	p.PutRecords(make([]kgo.Record, 2))
	require.Len(t, p.GetRecords(5), 5)
	require.Len(t, p.records, 1, "what is too small waits for a smaller batch")
	require.Equal(t, 600, cap(p.GetDecompressBytes(nil, 0)))
	require.Nil(t, p.GetDecompressBytes(nil, 0))
	require.Equal(t, int64(1000-288), p.room)
}

// TestPoolShrinks: a commit that once took long does not set the pool's size for ever.
func TestPoolShrinks(t *testing.T) {
	p := newPool(64 << 20)
	for range 1000 {
		p.PutDecompressBytes(make([]byte, 1000))
		p.PutRecords(make([]kgo.Record, 10))
		p.release(&list{values: make([][]byte, 0, 10)})
	}
	for range 20 * trimEvery { // three of each are in use at a time
		var texts [3][]byte
		var records [3][]kgo.Record
		var lists [3]*list
		for i := range 3 {
			texts[i], records[i], lists[i] = p.GetDecompressBytes(nil, 0), p.GetRecords(8), p.list(8, false)
		}
		for i := range 3 {
			require.Equal(t, 1000, cap(texts[i]), "what is used stays")
			p.PutDecompressBytes(texts[i])
			p.PutRecords(records[i])
			p.release(lists[i])
		}
	}
	require.Equal(t, spare{3, 3, 3}, spare{len(p.texts), len(p.records), len(p.lists)})
	require.Equal(t, int64(64<<20-3*(1000+10*recordBytes+10*listBytes)), p.room)
}

// TestNoAllocationForARecord: batches of which none is like another in size are made
// of the lists of those before.
func TestNoAllocationForARecord(t *testing.T) {
	s, err := New(Config{Config: brokers.Config{Brokers: []string{"localhost:1"}}, Topics: []string{"Events"}, PartitionedBy: []string{"k"}}, Options{Follow: true, BatchBytes: 1 << 20})
	require.NoError(t, err)
	defer s.Close()
	p := &partition{name: "Events/0", topic: "Events"}
	const most = 10_000 // records of an answer: four batches
	var records []*kgo.Record
	for range most {
		records = append(records, &kgo.Record{Key: []byte("a key"), Value: make([]byte, 100), Timestamp: time.UnixMilli(1)})
	}
	batches, delivered := 0, int64(0)
	answer := func() {
		part := records[:most-batches%7]
		for i, r := range part {
			r.Offset = p.next + int64(i)
		}
		s.add(p, &kgo.FetchPartition{LastStableOffset: 1 << 40, Records: part})
		for _, b := range s.queue {
			batches++
			delivered += int64(len(b.Records))
			b.Release()
		}
		s.queue = s.queue[:0]
	}
	answer() // makes the lists
	began := delivered
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	allocations := testing.AllocsPerRun(20, answer)
	runtime.ReadMemStats(&after)
	require.Equal(t, 22*4, batches)
	require.Equal(t, p.next, delivered)
	require.Less(t, allocations, 100.0, "of %d records", most)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(delivered-began)*4, "bytes; a list has 64 a record")
}
