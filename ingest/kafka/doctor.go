package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"lake/brokers"
)

// Probe describes the cluster and each topic, and tells how each went: what was
// tried, what was found, what is wrong. It reads no record, joins no group, and
// changes nothing. It ends with ctx.
func (s *Source) Probe(ctx context.Context, tell func(thing, found string, err error)) {
	cluster := "brokers " + s.cfg.Name()
	meta, err := s.admin.Metadata(ctx, s.cfg.Topics...)
	if err != nil {
		tell(cluster, "", s.cfg.Explain(err))
		return
	}
	tell(cluster, fmt.Sprintf("%d brokers", len(meta.Brokers)), nil)
	ends, listing := s.admin.ListEndOffsets(ctx, s.cfg.Topics...)
	for _, name := range s.cfg.Topics {
		detail := meta.Topics[name]
		err := detail.Err
		switch {
		case errors.Is(err, kerr.UnknownTopicOrPartition):
			err = fmt.Errorf("%w; hint: kafka-topics.sh --bootstrap-server %s --create --topic %s, or is its name another one?", brokers.ErrUnknownTopic, s.cfg.Brokers[0], name)
		case err == nil && listing != nil:
			err = s.cfg.Explain(listing)
		}
		records := int64(0)
		for _, end := range ends[name] {
			if err == nil {
				err = s.cfg.Explain(end.Err)
			}
			records += end.Offset
		}
		tell("topic "+name, fmt.Sprintf("%d partitions, next offsets %d together", len(detail.Partitions), records), s.cfg.Explain(err))
	}
}
