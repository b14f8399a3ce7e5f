package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"lake/brokers"
	"lake/ingest"
)

// Poll returns the next records of one partition. It waits while as much is
// polled and not released as the budget allows; the client itself fetches no
// more than one answer a broker ahead.
func (s *Source) Poll(ctx context.Context) (ingest.Batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := s.stopped(ctx); err != nil {
			return ingest.Batch{}, err
		}
		s.waking.letIn(&s.mu)
		batch, told := s.tell()
		switch {
		case !s.started:
			if err := s.begin(ctx); err != nil {
				if stopped := s.stopped(ctx); stopped != nil {
					err = stopped
				}
				return ingest.Batch{}, err
			}
			s.started, s.refreshed = true, time.Now()
		case len(s.queue) > 0: // what was read of a partition comes before its revocation
			batch := s.queue[0]
			s.queue = s.queue[1:]
			batch.Announce, s.announce = s.announce, nil
			return batch, nil
		case s.failed != nil:
			return ingest.Batch{}, s.failed
		case told:
			return batch, nil
		case !s.opts.Follow && s.allEnded():
			return ingest.Batch{}, io.EOF
		case !s.budget.wait(ctx, s.life):
		default:
			s.cycle(ctx)
		}
	}
}

func (s *Source) allEnded() bool {
	if member := s.member.Load(); len(s.begins) > 0 || member != nil && !member.settled(len(s.parts) > 0) {
		return false
	}
	for _, p := range s.parts {
		if !p.ended {
			return false
		}
	}
	return true
}

// take begins to read partitions: it announces them and tells where each one
// begins, so that the first commit has all of them.
func (s *Source) take(parts []*partition) {
	read := map[string]map[int32]kgo.Offset{}
	for _, p := range parts {
		s.parts[p.name] = p
		s.announce = append(s.announce, p.name)
		p.ended = !s.opts.Follow && p.current
		s.queue = append(s.queue, p.batch())
		if p.ended {
			continue
		}
		if read[p.topic] == nil {
			read[p.topic] = map[int32]kgo.Offset{}
		}
		read[p.topic][p.number] = kgo.NoResetOffset().At(p.next)
	}
	s.client.AddConsumePartitions(read)
}

// batch is a batch without records, at the partition's position.
func (p *partition) batch() ingest.Batch {
	return ingest.Batch{Partition: p.name, CaughtUp: p.current, End: p.ended,
		Position: ingest.Position{Next: p.next, Records: p.records, Token: p.token}}
}

// cycle waits a tick for records, and where none come looks why.
func (s *Source) cycle(ctx context.Context) {
	var err error
	if time.Since(s.refreshed) >= s.opts.RefreshInterval || !s.silent.IsZero() {
		err = s.refresh(ctx)
	}
	records := s.fetch(ctx)
	if !records && err == nil && s.stopped(ctx) == nil {
		err = s.probe(ctx)
	}
	switch {
	case records:
		s.silent = time.Time{}
	case s.stopped(ctx) != nil:
	case err != nil:
		s.away(err)
	default:
		s.silent = time.Time{}
	}
}

// fetch waits a tick for records and queues them; false where none came.
func (s *Source) fetch(ctx context.Context) (records bool) {
	waiting, cancel := context.WithTimeout(ctx, s.tick)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	defer s.waking.set(cancel)()
	fetches := s.client.PollFetches(waiting)
	fetches.EachPartition(func(f kgo.FetchTopicPartition) {
		p := s.parts[partitionName(f.Topic, f.Partition)]
		if p != nil && len(f.Records) > 0 {
			records = true
			s.add(p, &f.FetchPartition)
		}
	})
	fetches.EachError(func(topic string, number int32, err error) {
		if s.failed == nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) && !errors.Is(err, kgo.ErrClientClosed) {
			s.failed = s.explain(ctx, topic, number, err)
		}
	})
	s.resize(0)
	return records
}

// What the client keeps of a record beside its bytes, roughly.
const recordOverhead = 256

// add queues the records of one partition.
func (s *Source) add(p *partition, f *kgo.FetchPartition) {
	if p.ended {
		return // fetched before the client was told
	}
	b, size, l, from := p.batch(), int64(0), (*list)(nil), 0
	b.CaughtUp = false
	flush := func(to int) {
		b.Position.Next, b.Position.Records = p.next, p.records
		if l != nil {
			l.records = f.Records[from:to]
			b.Records, b.Keys, b.Offsets, b.Times = l.values, l.keys, l.offsets, l.times
			b.Release = s.holdList(l, size)
		}
		s.queue = append(s.queue, b)
		b, size, l, from = p.batch(), 0, nil, to
		b.CaughtUp = false
	}
	keyed := len(s.cfg.PartitionedBy) > 0
	for i, r := range f.Records {
		if r.Offset < p.next {
			continue
		}
		if !s.opts.Follow && r.Offset >= p.bound {
			p.next = p.bound
			break
		}
		p.next = r.Offset + 1
		if r.Attrs.IsControl() {
			continue
		}
		if l == nil {
			l = s.pool.list(min(len(f.Records)-i, 1<<14), keyed)
		}
		l.values = append(l.values, r.Value)
		if keyed {
			l.keys = append(l.keys, r.Key)
		}
		l.offsets = append(l.offsets, r.Offset)
		l.times = append(l.times, r.Timestamp.UnixMicro())
		p.records++
		size += int64(len(r.Key)+len(r.Value)) + recordOverhead
		if size >= int64(s.opts.BatchBytes) {
			flush(i + 1)
		}
	}
	stable := f.LastStableOffset
	if stable < 0 {
		stable = f.HighWatermark
	}
	turned := p.settle(stable, s.opts.Follow)
	if l == nil && !turned {
		return
	}
	b.CaughtUp, b.End = p.current, p.ended
	flush(len(f.Records))
	if p.ended {
		s.client.PauseFetchPartitions(map[string][]int32{p.topic: {p.number}})
	}
}

// holdList counts a batch's bytes as held and returns what gives them and the
// buffers back, once.
func (s *Source) holdList(l *list, size int64) (release func()) {
	give := s.budget.hold(size)
	return sync.OnceFunc(func() {
		s.pool.release(l)
		give()
	})
}

// settle notes whether the position is at the end: the run's, or where it
// follows the present one. It reports whether it came there.
func (p *partition) settle(stable int64, follow bool) bool {
	if follow {
		was := p.current
		p.current = p.next >= stable
		return p.current && !was
	}
	p.ended = p.next >= p.bound
	p.current = p.ended
	return p.ended
}

// explain turns a partition's error into one for people.
func (s *Source) explain(ctx context.Context, topic string, number int32, err error) error {
	name := partitionName(topic, number)
	var (
		loss *kgo.ErrDataLoss
		huge *kgo.ErrDecompressTooLarge
	)
	switch p := s.parts[name]; {
	case errors.Is(err, kerr.UnknownTopicID), errors.Is(err, kerr.InconsistentTopicID):
		return fmt.Errorf("read %s: %w", name, ErrRecreated)
	case errors.Is(err, kerr.OffsetOutOfRange) && p != nil:
		limited, cancel := s.limit(ctx)
		defer cancel()
		if at, err := s.look(limited); err == nil {
			if err := at.check(name, ingest.Position{Next: p.next, Token: p.token}); err != nil {
				return fmt.Errorf("read on: %w", err)
			}
		}
	case errors.As(err, &loss):
		return &PositionError{Partition: name, Next: loss.ConsumedTo, Begin: loss.ResetTo, End: loss.ResetTo,
			Reason: "the cluster lost records that were read, when a broker failed",
			Hint:   "what was read is in the table; go on with what is left with --reset-offsets earliest, or an offset"}
	case errors.As(err, &huge):
		return fmt.Errorf("read %s: %w; hint: a larger --memory allows larger batches", name, err)
	}
	return fmt.Errorf("read %s: %w", name, s.cfg.Explain(err))
}

// refresh looks whether the topics are as they were, and takes partitions that
// were added.
func (s *Source) refresh(ctx context.Context) error {
	s.refreshed = time.Now()
	limited, cancel := context.WithTimeout(ctx, min(s.opts.ConnectTimeout, 5*time.Second))
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	meta, err := s.describe(limited)
	if err != nil {
		return err
	}
	grown := map[string]int32{}
	for _, name := range s.cfg.Topics {
		was, is := s.topics[name], meta.Topics[name]
		if was.id != is.ID || int32(len(is.Partitions)) < was.partitions {
			s.failed = fmt.Errorf("topic %s: %w", name, ErrRecreated)
			return nil
		}
		if int32(len(is.Partitions)) > was.partitions {
			grown[name] = int32(len(is.Partitions))
		}
	}
	s.resize(len(meta.Brokers))
	if len(grown) == 0 || !s.opts.Follow || s.member.Load() != nil {
		return nil // the group hands new partitions out itself
	}
	if s.opts.Shared {
		s.grow(grown)
		return nil
	}
	begins, err := s.list(s.admin.ListStartOffsets(limited, s.cfg.Topics...))
	if err != nil {
		return err
	}
	var parts []*partition
	for _, name := range s.cfg.Topics {
		t := s.topics[name]
		for ; t.partitions < grown[name]; t.partitions++ {
			begin, ok := begins.Lookup(name, t.partitions)
			if !ok {
				break // not known to all brokers yet
			}
			parts = append(parts, &partition{name: partitionName(name, t.partitions), topic: name, number: t.partitions,
				token: topicToken(t.id), next: begin.Offset})
		}
		s.topics[name] = t
	}
	for _, p := range parts {
		s.opts.Log.Info("the topic has a new partition", "partition", p.name)
	}
	s.take(parts)
	return nil
}

// away notes that the cluster does not answer. After the time that an outage
// may last it is the source's failure.
func (s *Source) away(err error) {
	if s.silent.IsZero() {
		s.silent = time.Now()
		s.opts.Log.Warn("the Kafka cluster does not answer", "cluster", s.cfg.Name(), "error", err)
	}
	gone := time.Since(s.silent)
	if gone < s.opts.Outage || s.failed != nil {
		return
	}
	var first *kgo.ErrFirstReadEOF
	if errors.As(err, &first) { // the client takes it for a missing login, but it was let in before
		err = fmt.Errorf("%w (%s): it ends connections at once", brokers.ErrUnreachable, s.cfg.Name())
	}
	if !errors.Is(err, brokers.ErrUnknownTopic) && !errors.Is(err, brokers.ErrRefused) && !errors.Is(err, brokers.ErrUnreachable) {
		err = fmt.Errorf("%w: %w", brokers.ErrUnreachable, err)
	}
	s.failed = fmt.Errorf("for %s: %w", gone.Round(time.Second), err)
}
