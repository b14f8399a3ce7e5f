package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"lake/ingest"
)

// This file is what a source does whose partitions are shared with other
// processes: it tells which ones come and go, and reads those that were begun.

// join begins to share: the ends of a bounded run are those of now.
func (s *Source) join(parts []*partition) error {
	s.bounds = map[string]int64{}
	for _, p := range parts {
		s.bounds[p.name] = p.bound
	}
	if s.opts.Share.Count == 0 {
		member, err := newGroup(s.life, s.cfg, s.connection, s.opts, s.waking.wake)
		if err != nil {
			return fmt.Errorf("join group %s: %w", s.cfg.Group, err)
		}
		s.member.Store(member)
		return nil
	}
	for i, p := range parts {
		if i%s.opts.Share.Count == s.opts.Share.Index {
			s.given = append(s.given, p.name)
		}
	}
	return nil
}

// grow takes the partitions of the fixed share that were added to the topics.
func (s *Source) grow(grown map[string]int32) {
	if len(s.cfg.Topics) > 1 || len(s.cfg.PartitionedBy) > 0 {
		s.failed = errors.New("a topic has new partitions, which divide the fixed shares anew: start all processes again")
		return
	}
	name := s.cfg.Topics[0]
	t := s.topics[name]
	for ; t.partitions < grown[name]; t.partitions++ {
		if int(t.partitions)%s.opts.Share.Count == s.opts.Share.Index {
			s.given = append(s.given, partitionName(name, t.partitions))
		}
	}
	s.topics[name] = t
}

// tell is the next batch about partitions that come or go.
func (s *Source) tell() (ingest.Batch, bool) {
	if len(s.queue) > 0 || !s.started || !s.opts.Shared {
		return ingest.Batch{}, false
	}
	assigned := s.given
	s.given = nil
	if member := s.member.Load(); member != nil {
		if err := member.failed(); err != nil {
			s.failed = err
			return ingest.Batch{}, false
		}
		if revoked := member.takeRevoked(s.begins); len(revoked) > 0 {
			s.forget(revoked)
			return ingest.Batch{Revoked: revoked}, true
		}
		assigned = member.takeAssigned()
	}
	if len(assigned) == 0 {
		return ingest.Batch{}, false
	}
	for _, name := range assigned {
		s.begins[name] = true
	}
	return ingest.Batch{Assigned: assigned}, true
}

// forget stops reading partitions.
func (s *Source) forget(names []string) {
	stop := map[string][]int32{}
	for _, name := range names {
		if p := s.parts[name]; p != nil {
			stop[p.topic] = append(stop[p.topic], p.number)
			delete(s.parts, name)
		}
	}
	s.client.RemoveConsumePartitions(stop)
	s.client.ResumeFetchPartitions(stop) // one that came to its end was paused
}

// Begin reads partitions that were assigned.
func (s *Source) Begin(ctx context.Context, names []string, positions ingest.Offsets, late map[string]bool) error {
	s.waking.lock(&s.mu)
	defer s.mu.Unlock()
	if err := s.stopped(ctx); err != nil {
		return err
	}
	ctx, cancel := s.limit(ctx)
	defer cancel()
	at, err := s.look(ctx)
	if err != nil {
		return err
	}
	starts, err := s.starts(ctx, at)
	if err != nil {
		return err
	}
	var parts []*partition
	var errs []error
	for _, name := range slices.Sorted(slices.Values(names)) {
		if position, ok := positions[name]; ok {
			errs = append(errs, at.check(name, position))
		}
		topic, number, err := parseName(name)
		if err != nil {
			return err
		}
		p, err := s.place(at, starts, topic, number, positions, late[name])
		errs = append(errs, err)
		if !s.opts.Follow { // a partition that is newer than the run has ended
			p.bound = s.bounds[name]
			p.current = p.next >= p.bound
		}
		parts = append(parts, p)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, name := range names {
		delete(s.begins, name)
	}
	s.take(parts)
	return nil
}

// Leave lets the group give revoked partitions to other processes.
func (s *Source) Leave(names []string) {
	if member := s.member.Load(); member != nil {
		member.leave(names)
	}
}

// Partitions counts the topics' partitions.
func (s *Source) Partitions(ctx context.Context) (int, error) {
	ctx, cancel := s.limit(ctx)
	defer cancel()
	meta, err := s.describe(ctx)
	if err != nil {
		return 0, err
	}
	n := 0
	for t := range maps.Values(meta.Topics) {
		n += len(t.Partitions)
	}
	return n, nil
}

// waker ends a wait of Poll, which holds the source's lock, for whoever has news
// or needs the lock.
type waker struct {
	mu      sync.Mutex
	cancel  context.CancelFunc // of the wait under way; nil: none
	news    bool
	waiting atomic.Int32 // for the lock
}

// set names the wait's cancel; the result forgets it.
func (w *waker) set(cancel context.CancelFunc) (forget func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.news || w.waiting.Load() > 0 {
		cancel()
	}
	w.cancel, w.news = cancel, false
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.cancel = nil
	}
}

// wake ends the wait under way, or the next one.
func (w *waker) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.news = w.cancel == nil
	if w.cancel != nil {
		w.cancel()
	}
}

// lock takes the source's lock from a Poll that waits.
func (w *waker) lock(mu *sync.Mutex) {
	w.waiting.Add(1)
	w.wake()
	mu.Lock()
	w.waiting.Add(-1)
}

// letIn gives the lock to whoever waits for it.
func (w *waker) letIn(mu *sync.Mutex) {
	for w.waiting.Load() > 0 {
		mu.Unlock()
		runtime.Gosched()
		mu.Lock()
	}
}
