package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"

	"lake/ingest"
)

// PositionError says that a position cannot be read on from. A person has to
// decide what to do: the source never jumps.
type PositionError struct {
	Partition  string
	Next       int64 // the position
	Begin, End int64 // offsets that the partition has: [Begin, End)
	Reason     string
	Hint       string
}

func (e *PositionError) Error() string {
	return fmt.Sprintf("%s at offset %d: %s (it has offsets %d to %d); hint: %s", e.Partition, e.Next, e.Reason, e.Begin, e.End, e.Hint)
}

// ErrRecreated says that a topic was deleted and made anew since it was read.
var ErrRecreated = errors.New("the topic was deleted and created again: its offsets mean other records; give the job another name and table, or restore the topic")

// Seek goes on behind offsets. Once there are any, a partition that is not in
// them was added to its topic since, and begins at its first record, whatever
// start says: what came meanwhile is not lost.
func (s *Source) Seek(ctx context.Context, offsets ingest.Offsets) error {
	s.mu.Lock()
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
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(offsets)) {
		errs = append(errs, at.check(name, offsets[name]))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.sought = maps.Clone(offsets)
	return nil
}

// layout is what the topics hold at one moment.
type layout struct {
	meta       kadm.Metadata
	begin, end kadm.ListedOffsets // end: the high watermark
	stable     kadm.ListedOffsets // end of what transactions let be read
}

func (s *Source) look(ctx context.Context) (layout, error) {
	var at layout
	var err error
	if at.meta, err = s.describe(ctx); err != nil {
		return at, err
	}
	for _, list := range []struct {
		into *kadm.ListedOffsets
		ask  func(context.Context, ...string) (kadm.ListedOffsets, error)
	}{
		{&at.stable, s.admin.ListCommittedOffsets}, // in this order: stable ≤ end
		{&at.end, s.admin.ListEndOffsets},
		{&at.begin, s.admin.ListStartOffsets},
	} {
		if *list.into, err = s.list(list.ask(ctx, s.cfg.Topics...)); err != nil {
			return at, err
		}
	}
	return at, nil
}

// list checks an answer with offsets.
func (s *Source) list(listed kadm.ListedOffsets, err error) (kadm.ListedOffsets, error) {
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list offsets: %w", s.cfg.Explain(err))
	}
	return listed, nil
}

// check refuses a position that cannot be read on from.
func (at layout) check(name string, position ingest.Position) error {
	topic, number, err := parseName(name)
	if err != nil {
		return err
	}
	detail, ok := at.meta.Topics[topic]
	if !ok {
		return fmt.Errorf("%s was read and its topic is not in topics: any more; hint: put it back, or give the job another name and table", name)
	}
	if is := topicToken(detail.ID); position.Token != "" && is != "" && position.Token != is {
		return fmt.Errorf("%s: %w", name, ErrRecreated)
	}
	end, ok := at.end.Lookup(topic, number)
	if !ok {
		return fmt.Errorf("%s was read and its topic has only %d partitions now: %w", name, len(detail.Partitions), ErrRecreated)
	}
	begin, _ := at.begin.Lookup(topic, number)
	e := &PositionError{Partition: name, Next: position.Next, Begin: begin.Offset, End: end.Offset}
	switch {
	case position.Next < begin.Offset:
		e.Reason = fmt.Sprintf("the %d offsets up to %d are gone, by retention or deletion", begin.Offset-position.Next, begin.Offset)
		e.Hint = "have the lost records restored, or give the job another name and table to begin at what is left; raise the topic's retention"
		return e
	case position.Next > end.Offset:
		e.Reason = "it lies behind the end"
		e.Hint = "the topic was made anew, or lost records when a broker failed, or this is another cluster; give the job another name and table to read it from its beginning"
		return e
	}
	return nil
}

// starts resolves where partitions begin that Seek does not know.
func (s *Source) starts(ctx context.Context, at layout) (kadm.ListedOffsets, error) {
	switch {
	case s.cfg.Start.Latest:
		return at.stable, nil
	case !s.cfg.Start.At.IsZero():
		return s.list(s.admin.ListOffsetsAfterMilli(ctx, s.cfg.Start.At.UnixMilli(), s.cfg.Topics...))
	default:
		return at.begin, nil
	}
}

// begin makes the partitions. It changes nothing where it fails.
func (s *Source) begin(ctx context.Context) error {
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
	topics := map[string]topic{}
	var parts []*partition
	var errs []error
	for _, name := range s.cfg.Topics {
		detail := at.meta.Topics[name]
		topics[name] = topic{id: detail.ID, partitions: int32(len(detail.Partitions))}
		for number := range int32(len(detail.Partitions)) {
			p := &partition{name: partitionName(name, number), topic: name, number: number, token: topicToken(detail.ID)}
			stable, ok := at.stable.Lookup(name, number)
			if !ok {
				return fmt.Errorf("%s: the cluster knows no offsets of it", p.name)
			}
			p.bound = stable.Offset
			position, known := s.sought[p.name]
			first, _ := at.begin.Lookup(name, number)
			start, _ := starts.Lookup(name, number)
			given, explicit := s.cfg.Start.Offsets[name][number]
			switch {
			case known:
				p.next, p.records = position.Next, position.Records
			case len(s.sought) > 0:
				p.next = first.Offset
			case explicit:
				p.next = given
				errs = append(errs, at.check(p.name, ingest.Position{Next: given}))
			default:
				p.next = start.Offset
			}
			p.current = p.next >= p.bound
			parts = append(parts, p)
		}
		for number := range s.cfg.Start.Offsets[name] {
			if number >= topics[name].partitions {
				errs = append(errs, fmt.Errorf("start: %s has only %d partitions", name, topics[name].partitions))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.topics = topics
	s.resize(len(at.meta.Brokers))
	s.take(parts)
	return nil
}

// Lag counts the offsets between offsets and the end of each partition; one
// that offsets does not have counts from where it would start.
func (s *Source) Lag(ctx context.Context, offsets ingest.Offsets) (map[string]int64, error) {
	ctx, cancel := s.limit(ctx)
	defer cancel()
	at, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	starts, err := s.starts(ctx, at)
	if err != nil {
		return nil, err
	}
	if len(offsets) > 0 {
		starts = at.begin
	}
	lag := map[string]int64{}
	at.stable.Each(func(end kadm.ListedOffset) {
		name := partitionName(end.Topic, end.Partition)
		begin, _ := at.begin.Lookup(end.Topic, end.Partition)
		start, _ := starts.Lookup(end.Topic, end.Partition)
		next := start.Offset
		if given, ok := s.cfg.Start.Offsets[end.Topic][end.Partition]; ok && len(offsets) == 0 {
			next = given
		}
		if position, ok := offsets[name]; ok {
			next = position.Next
		}
		lag[name] = max(0, end.Offset-max(next, begin.Offset))
	})
	return lag, nil
}
