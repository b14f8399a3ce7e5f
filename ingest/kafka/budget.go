package kafka

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// What is held and what all brokers send at a time is bounded by the memory, and
// by these: more does not make a busy pipeline faster. It only lies there until
// it is out of the processor's caches, and the allocator fetches new memory
// meanwhile (of 84-byte records, 0.6 s of 2.2 s of CPU for three million).
const (
	enoughHeld   = 32 << 20
	enoughAnswer = 16 << 20 // decompressed and cut into records
	enoughPooled = 64 << 20
)

// budget counts what was polled and not released.
type budget struct {
	limit int64
	freed chan struct{} // holds one token when something was released

	mu   sync.Mutex
	held int64
}

func newBudget(limit int64) *budget { return &budget{limit: limit, freed: make(chan struct{}, 1)} }

// hold takes n bytes and returns what gives them back, once.
func (b *budget) hold(n int64) (release func()) {
	b.change(n)
	return sync.OnceFunc(func() {
		b.change(-n)
		select {
		case b.freed <- struct{}{}:
		default:
		}
	})
}

func (b *budget) change(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held += n
}

func (b *budget) full() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held >= b.limit
}

// wait returns true once less than the limit is held, false when a context ended.
func (b *budget) wait(ctx, life context.Context) bool {
	for b.full() {
		select {
		case <-b.freed:
		case <-ctx.Done():
			return false
		case <-life.Done():
			return false
		}
	}
	return true
}

// ratio is how much memory a fetched byte takes once it is decompressed and cut
// into records. It is a hook of the client.
type ratio struct {
	mu              sync.Mutex
	fetched, memory float64 // bytes; 0: nothing is known yet
	brokers         int
	used            float64 // by the last resize; 0: none
}

var _ kgo.HookFetchBatchRead = (*ratio)(nil)

// OnFetchBatchRead counts a batch.
func (r *ratio) OnFetchBatchRead(_ kgo.BrokerMetadata, _ string, _ int32, m kgo.FetchBatchMetrics) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fetched += float64(m.CompressedBytes)
	r.memory += float64(m.UncompressedBytes + m.NumRecords*recordOverhead)
	if r.fetched > 16<<20 { // what was long ago counts less and less
		r.fetched, r.memory = r.fetched/2, r.memory/2
	}
}

// resize fits what a broker may send to the memory that it takes: all brokers'
// answers together a quarter of the buffers, or enough. Until the ratio is known an answer
// is one batch, which a broker sends however small the limit. brokers 0: as
// many as before.
func (s *Source) resize(brokers int) {
	r := s.ratio
	r.mu.Lock()
	defer r.mu.Unlock()
	if brokers > 0 && brokers != r.brokers {
		r.brokers, r.used = brokers, 0
	}
	if r.fetched == 0 {
		s.client.UpdateFetchMaxBytes(s.cfg.Fetch.MaxBytes, 1)
		return
	}
	now := max(1, r.memory/r.fetched)
	if r.used > 0 && now < r.used*1.25 && now > r.used/1.5 {
		return
	}
	r.used = now
	bytes := int64(float64(min(s.opts.BufferBytes/4, enoughAnswer)/int64(r.brokers)) / now)
	bytes = min(max(bytes, 1), int64(s.cfg.Fetch.MaxBytes))
	s.client.UpdateFetchMaxBytes(int32(bytes), int32(min(bytes, int64(s.cfg.Fetch.PartitionBytes))))
}
