package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

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
var ErrRecreated = errors.New("the topic was deleted and created again: its offsets mean other records; restore the topic, or read the new one on with --reset-offsets earliest")

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
		e.Hint = "have the lost records restored, or go on without them with --reset-offsets earliest; raise the topic's retention"
		return e
	case position.Next > end.Offset:
		e.Reason = "it lies behind the end"
		e.Hint = "the topic was made anew, or lost records when a broker failed, or this is another cluster; go on with --reset-offsets latest, or earliest to read all of it (again)"
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
			p, err := s.place(at, starts, name, number, s.sought, len(s.sought) > 0)
			errs = append(errs, err)
			parts = append(parts, p)
		}
		for number := range s.cfg.Start.Offsets[name] {
			if number >= topics[name].partitions {
				errs = append(errs, fmt.Errorf("start: %s has only %d partitions", name, topics[name].partitions))
			}
		}
	}
	if err := errors.Join(errs...); err != nil && !s.opts.Shared {
		return err
	}
	s.topics = topics
	s.resize(len(at.meta.Brokers))
	if s.opts.Shared {
		return s.join(parts)
	}
	s.take(parts)
	return nil
}

// place makes a partition and decides where it begins: behind its position; at
// its first record where it was added late; otherwise as the job says.
func (s *Source) place(at layout, starts kadm.ListedOffsets, name string, number int32, positions ingest.Offsets, late bool) (*partition, error) {
	p := &partition{name: partitionName(name, number), topic: name, number: number, token: topicToken(at.meta.Topics[name].ID)}
	stable, ok := at.stable.Lookup(name, number)
	if !ok {
		return p, fmt.Errorf("%s: the cluster knows no offsets of it", p.name)
	}
	p.bound = stable.Offset
	position, known := positions[p.name]
	first, _ := at.begin.Lookup(name, number)
	start, _ := starts.Lookup(name, number)
	given, explicit := s.cfg.Start.Offsets[name][number]
	var err error
	switch {
	case known:
		p.next, p.records = position.Next, position.Records
	case late:
		p.next = first.Offset
	case explicit:
		p.next = given
		err = at.check(p.name, ingest.Position{Next: given})
	default:
		p.next = start.Offset
	}
	p.current = p.next >= p.bound
	return p, err
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

// Resolve is where the cluster has earliest, latest, a time, or offsets given as
// topic/number=offset,…; of partitions that are not given the last keeps now.
func (s *Source) Resolve(ctx context.Context, to string, partitions []string, now ingest.Offsets) (ingest.Offsets, error) {
	ctx, cancel := s.limit(ctx)
	defer cancel()
	at, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	var listed kadm.ListedOffsets
	given := map[string]int64{}
	switch when, bad := time.Parse(time.RFC3339, to); {
	case to == "earliest":
		listed = at.begin
	case to == "latest":
		listed = at.stable
	case bad == nil:
		if listed, err = s.list(s.admin.ListOffsetsAfterMilli(ctx, when.UnixMilli(), s.cfg.Topics...)); err != nil {
			return nil, err
		}
	default:
		for part := range strings.SplitSeq(to, ",") {
			name, text, ok := strings.Cut(strings.TrimSpace(part), "=")
			n, err := strconv.ParseInt(text, 10, 64)
			if !ok || err != nil || n < 0 {
				return nil, fmt.Errorf("%q is no offset; hint: earliest, latest, a time such as 2021-11-30T00:00:00+05:30, or Events/0=120,Events/1=7", part)
			}
			given[name] = n
		}
	}
	out := ingest.Offsets{}
	var errs []error
	at.begin.Each(func(first kadm.ListedOffset) {
		name := partitionName(first.Topic, first.Partition)
		if partitions != nil && !slices.Contains(partitions, name) {
			return
		}
		position := ingest.Position{Next: first.Offset, Records: now[name].Records, Token: topicToken(at.meta.Topics[first.Topic].ID)}
		if was, ok := now[name]; ok && listed == nil {
			position.Next = was.Next
		}
		if l, ok := listed.Lookup(first.Topic, first.Partition); ok {
			position.Next = l.Offset
		}
		if n, ok := given[name]; ok {
			position.Next = n
		}
		errs = append(errs, at.check(name, position))
		out[name] = position
	})
	for name := range given {
		topic, number, err := parseName(name)
		if _, ok := at.begin.Lookup(topic, number); !ok && err == nil {
			err = fmt.Errorf("there is no partition %s", name)
		}
		errs = append(errs, err)
	}
	return out, errors.Join(errs...)
}
