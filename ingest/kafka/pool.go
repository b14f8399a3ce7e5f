package kafka

import (
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// pool hands the buffers of released batches to the client's next fetches: a
// record costs the client more in memory than in time, and nearly all of what
// the garbage collector has to do. It is safe for concurrent use.
type pool struct {
	mu      sync.Mutex
	room    int64 // bytes that may be kept besides those that are
	texts   [][]byte
	records [][]kgo.Record
	lists   []*list
	idle    spare // of each of these
	puts    int   // of texts since the last trim
}

// spare is the least that lay in the pool at any time since the last trim.
type spare struct{ texts, records, lists int }

// trimEvery is how many texts come back between two looks at what nobody used: some
// seconds at a low rate and at a high one.
const trimEvery = 4096

var (
	_ kgo.PoolDecompressBytes = (*pool)(nil)
	_ kgo.PoolRecords         = (*pool)(nil)
)

// newPool makes a pool that keeps at most limit bytes.
func newPool(limit int64) *pool { return &pool{room: limit} }

// list is what an ingest.Batch points to, and the client's records that back it.
type list struct {
	values  [][]byte
	keys    [][]byte
	offsets []int64
	times   []int64
	records []*kgo.Record // all that the batch was made of, those left out as well
}

// What one element of these takes, about.
const (
	recordBytes = 144 // kgo.Record
	listBytes   = 24 + 24 + 8 + 8
)

// GetDecompressBytes returns room for a batch; what is too small the client
// replaces, so that in time all are large enough.
func (p *pool) GetDecompressBytes([]byte, kgo.CompressionCodecType) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := take(p, &p.texts, 0, 1)
	p.idle.texts = min(p.idle.texts, len(p.texts))
	return text
}

// PutDecompressBytes takes a batch's text back when its last record is recycled.
func (p *pool) PutDecompressBytes(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	keep(p, &p.texts, b, 1)
	if p.puts++; p.puts >= trimEvery {
		p.trim()
	}
}

// trim lets go of half of what nobody took since the last trim: a commit that once
// took long had the client fetch, and the pool keep, more than is needed.
func (p *pool) trim() {
	p.texts = drop(p, p.texts, (p.idle.texts+1)/2, func(b []byte) int64 { return int64(cap(b)) })
	p.records = drop(p, p.records, (p.idle.records+1)/2, func(rs []kgo.Record) int64 { return int64(cap(rs)) * recordBytes })
	p.lists = drop(p, p.lists, (p.idle.lists+1)/2, func(l *list) int64 { return int64(cap(l.values)) * listBytes })
	p.idle, p.puts = spare{len(p.texts), len(p.records), len(p.lists)}, 0
}

// drop lets go of the first n, which were put back before all others.
func drop[T any](p *pool, from []T, n int, size func(T) int64) []T {
	for _, each := range from[:n] {
		p.room += size(each)
	}
	return slices.Delete(from, 0, n)
}

// GetRecords returns room for n records. The client sets all fields of those it uses.
func (p *pool) GetRecords(n int) []kgo.Record {
	p.mu.Lock()
	rs := take(p, &p.records, n, recordBytes)
	p.idle.records = min(p.idle.records, len(p.records))
	p.mu.Unlock()
	if cap(rs) < n {
		rs = make([]kgo.Record, 0, n+n/8) // batches of a producer are about as large
	}
	return rs[:n]
}

// PutRecords takes the records of a batch back when its last one is recycled.
func (p *pool) PutRecords(rs []kgo.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	keep(p, &p.records, rs, recordBytes)
}

// list returns an empty list with room for n records.
func (p *pool) list(n int, keyed bool) *list {
	p.mu.Lock()
	defer p.mu.Unlock()
	var l *list
	for i, each := range slices.Backward(p.lists) {
		if cap(each.values) >= n {
			l = each
			p.lists = slices.Delete(p.lists, i, i+1)
			p.room += int64(cap(l.values)) * listBytes
			break
		}
	}
	p.idle.lists = min(p.idle.lists, len(p.lists))
	if l == nil {
		n += n / 8
		l = &list{values: make([][]byte, 0, n), offsets: make([]int64, 0, n), times: make([]int64, 0, n)}
	}
	if keyed && cap(l.keys) < cap(l.values) {
		l.keys = make([][]byte, 0, cap(l.values))
	}
	return l
}

// release recycles a list and the records behind it.
func (p *pool) release(l *list) {
	for _, r := range l.records {
		r.Recycle()
	}
	clear(l.values)
	clear(l.keys)
	l.values, l.keys, l.offsets, l.times, l.records = l.values[:0], l.keys[:0], l.offsets[:0], l.times[:0], nil
	p.mu.Lock()
	defer p.mu.Unlock()
	if size := int64(cap(l.values)) * listBytes; size <= p.room {
		p.room -= size
		p.lists = append(p.lists, l)
	}
}

// take returns what was put back last and holds n, whose memory is likely in a
// cache; nil: nothing is there.
func take[T any](p *pool, from *[][]T, n int, size int64) []T {
	for i, s := range slices.Backward(*from) {
		if cap(s) >= n {
			*from = slices.Delete(*from, i, i+1)
			p.room += int64(cap(s)) * size
			return s
		}
	}
	return nil
}

// keep puts s back where there is room for it.
func keep[T any](p *pool, to *[][]T, s []T, size int64) {
	if bytes := int64(cap(s)) * size; bytes > 0 && bytes <= p.room {
		p.room -= bytes
		*to = append(*to, s)
	}
}
