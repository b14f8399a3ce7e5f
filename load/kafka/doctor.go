package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"lake/brokers"
)

// Probe describes the cluster and the outputs' topics, and tells how each went.
// It produces nothing and begins no transaction: that would fence a running job.
func (s *Sink) Probe(ctx context.Context, tell func(thing, found string, err error)) {
	cluster := "brokers " + s.cluster.Name()
	client, err := kgo.NewClient(s.connection...)
	if err != nil {
		tell(cluster, "", err)
		return
	}
	defer client.Close()
	names := slices.Sorted(maps.Keys(s.topics))
	meta, err := kadm.NewClient(client).Metadata(ctx, names...)
	if err != nil {
		tell(cluster, "", s.cluster.Explain(err))
		return
	}
	tell(cluster, fmt.Sprintf("%d brokers", len(meta.Brokers)), nil)
	for _, name := range names {
		detail := meta.Topics[name]
		switch missing := errors.Is(detail.Err, kerr.UnknownTopicOrPartition); {
		case missing && s.topics[name] != nil:
			tell("topic "+name, "not there yet: the run makes it", nil)
		case missing:
			tell("topic "+name, "", fmt.Errorf("%w; hint: kafka-topics.sh --bootstrap-server %s --create --topic %s, or create: {partitions: 1} in the output",
				brokers.ErrUnknownTopic, s.cluster.Brokers[0], name))
		default:
			tell("topic "+name, fmt.Sprintf("%d partitions", len(detail.Partitions)), s.cluster.Explain(detail.Err))
		}
	}
}
