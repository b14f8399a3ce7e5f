package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// probe asks what lies behind the positions that are not at their end and get
// no records. There may be nothing: compaction leaves gaps that no record shows,
// the client skips them without a word, and a bounded run would wait for ever.
func (s *Source) probe(ctx context.Context) error {
	for _, p := range s.parts {
		if p.current || p.ended || s.failed != nil {
			continue
		}
		stable, err := s.probePartition(ctx, p)
		if err != nil {
			return fmt.Errorf("look behind %s at %d: %w", p.name, p.next, s.cfg.Explain(err))
		}
		if stable >= 0 && p.settle(stable, s.opts.Follow) {
			s.queue = append(s.queue, p.batch())
		}
	}
	return nil
}

// probePartition moves the position over what holds no records. It returns the
// last stable offset, or -1 where nothing was learned.
func (s *Source) probePartition(ctx context.Context, p *partition) (stable int64, err error) {
	ctx, cancel := s.limit(ctx)
	defer cancel()
	leader, _, err := s.client.PartitionLeader(p.topic, p.number)
	if err != nil || leader < 0 {
		return -1, err
	}
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.FetchOffset, part.PartitionMaxBytes = p.number, p.next, 64<<10
	of := kmsg.NewFetchRequestTopic()
	of.Topic, of.TopicID, of.Partitions = p.topic, s.topics[p.topic].id, []kmsg.FetchRequestTopicPartition{part}
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = -1, 100, 1, 64<<10
	req.IsolationLevel, req.SessionEpoch, req.Topics = 1, -1, []kmsg.FetchRequestTopic{of}
	answer, err := s.client.Broker(int(leader)).RetriableRequest(ctx, req)
	if err != nil {
		return -1, err
	}
	resp, ok := answer.(*kmsg.FetchResponse)
	if !ok {
		return -1, fmt.Errorf("the answer is a %T", answer)
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return -1, err
	}
	if resp.ThrottleMillis > 0 || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return -1, nil
	}
	found := &resp.Topics[0].Partitions[0]
	f, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Offset: p.next, IsolationLevel: kgo.ReadCommitted(),
		Topic: p.topic, Partition: p.number}, found, kgo.DefaultDecompressor(), nil)
	if f.Err != nil || len(f.Records) > 0 {
		return -1, nil // the client meets the same
	}
	if len(found.RecordBatches) == 0 && f.LastStableOffset > p.next {
		if local, err := s.local(ctx, p); err != nil || !local {
			return -1, err
		}
		next = f.LastStableOffset
	}
	p.next = max(p.next, next)
	if !s.opts.Follow {
		p.next = min(p.next, p.bound)
	}
	return f.LastStableOffset, nil
}

// local reports whether the position lies in the broker's own log. Where it
// lies in tiered storage an empty answer may mean: not fetched in time.
func (s *Source) local(ctx context.Context, p *partition) (bool, error) {
	listed, err := s.admin.ListLocalLogStartOffsets(ctx, p.topic)
	if err != nil {
		return false, err
	}
	begin, ok := listed.Lookup(p.topic, p.number)
	if errors.Is(begin.Err, kerr.UnsupportedVersion) {
		return true, nil // a broker without tiers
	}
	return ok && begin.Err == nil && begin.Offset <= p.next, begin.Err
}
