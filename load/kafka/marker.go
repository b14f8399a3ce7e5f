package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"lake/brokers"
)

// markVersion is that of the marker's form. A newer one is refused.
const markVersion = 1

// mark is the value of a marker (of the shard's key) and of an open record (of
// the key <shard>/open, without a seq).
type mark struct {
	Version int   `json:"version"`
	Epoch   int64 `json:"epoch"`
	Seq     int64 `json:"seq"`
}

// newOwner gives each shard a partition of the marker topic by its name alone,
// so that the topic may grow: partition n of a source topic has the n-th, any
// other shard the first. Where two shards share one, an open transaction of one
// delays the other's Open, no more: records are keyed by the shard.
func newOwner(pipeline, shard string, epoch int64) (owner, error) {
	o := owner{pipeline: pipeline, shard: shard, epoch: epoch, markers: "lake-" + pipeline + "-delivered"}
	if !topicName(o.markers) || shard == "" {
		return o, fmt.Errorf("pipeline %q, shard %q: no name for a topic", pipeline, shard)
	}
	if i := strings.LastIndexByte(shard, '/'); i >= 0 {
		if n, err := strconv.ParseInt(shard[i+1:], 10, 32); err == nil && n >= 0 {
			o.partition = int32(n)
		}
	}
	return o, nil
}

func (o owner) marker(seq int64) *kgo.Record {
	return o.record(o.shard, mark{Version: markVersion, Epoch: o.epoch, Seq: seq})
}

func (o owner) record(key string, m mark) *kgo.Record {
	return &kgo.Record{Topic: o.markers, Partition: o.partition, Key: []byte(key),
		Value: fmt.Appendf(nil, `{"version":%d,"epoch":%d,"seq":%d}`, m.Version, m.Epoch, m.Seq)}
}

// partitioner is Java's for answers; markers go where they say.
type partitioner struct{ markers string }

// ForTopic chooses by the topic.
func (p partitioner) ForTopic(topic string) kgo.TopicPartitioner {
	if topic == p.markers {
		return kgo.ManualPartitioner().ForTopic(topic)
	}
	return kgo.StickyKeyPartitioner(nil).ForTopic(topic)
}

// prepareTopics finds the outputs' topics, makes those that the job wants made,
// and makes the marker topic or checks that it keeps markers for ever.
func (s *Sink) prepareTopics(ctx context.Context) error {
	admin := kadm.NewClient(s.client)
	names := append(slices.Sorted(maps.Keys(s.topics)), s.owner.markers)
	meta, err := admin.Metadata(ctx, names...)
	if err != nil {
		return fmt.Errorf("describe topics: %w", err)
	}
	var errs []error
	for _, name := range names {
		detail := meta.Topics[name]
		missing := errors.Is(detail.Err, kerr.UnknownTopicOrPartition)
		create := s.topics[name]
		switch {
		case name == s.owner.markers && missing:
			compact := "compact"
			var made bool
			made, err = s.create(ctx, admin, name, Create{Partitions: s.owner.partition + 1}, map[string]*string{"cleanup.policy": &compact})
			if err == nil && !made { // by another shard's owner, who needs fewer partitions perhaps
				err = s.grow(ctx, admin)
			}
		case name == s.owner.markers && detail.Err == nil:
			err = s.checkMarkers(ctx, admin, len(detail.Partitions))
		case missing && create != nil:
			_, err = s.create(ctx, admin, name, *create, nil)
		case missing:
			err = fmt.Errorf("%w; hint: kafka-topics.sh --bootstrap-server %s --create --topic %s, or create: {partitions: 1} in the output",
				brokers.ErrUnknownTopic, s.cluster.Brokers[0], name)
		default:
			err = detail.Err
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("topic %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// create makes a topic; made is false where another owner did so just now.
func (s *Sink) create(ctx context.Context, admin *kadm.Client, name string, c Create, configs map[string]*string) (made bool, err error) {
	if c.Partitions == 0 {
		c.Partitions = -1
	}
	if c.Replication == 0 {
		c.Replication = -1
	}
	_, err = admin.CreateTopic(ctx, c.Partitions, c.Replication, configs, name)
	if errors.Is(err, kerr.TopicAlreadyExists) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("create: %w", err)
	}
	s.opts.Log.Info("made a topic", "topic", name, "cluster", s.cluster.Name())
	return true, nil
}

// checkMarkers refuses a topic that forgets, and adds the shard's partition.
func (s *Sink) checkMarkers(ctx context.Context, admin *kadm.Client, partitions int) error {
	configs, err := admin.DescribeTopicConfigs(ctx, s.owner.markers)
	if err == nil {
		var config kadm.ResourceConfig
		if config, err = configs.On(s.owner.markers, nil); err == nil {
			err = config.Err
		}
		for _, c := range config.Configs {
			if c.Key == "cleanup.policy" && c.MaybeValue() != "compact" {
				return fmt.Errorf("cleanup.policy is %q: old markers would go and answers come twice; hint: kafka-configs.sh --bootstrap-server %s --alter --topic %s --add-config cleanup.policy=compact",
					c.MaybeValue(), s.cluster.Brokers[0], s.owner.markers)
			}
		}
	}
	if err != nil { // it may not be allowed to look
		s.opts.Log.Warn("cannot tell whether the topic is compacted, which it has to be", "topic", s.owner.markers, "error", err)
	}
	if int(s.owner.partition) < partitions {
		return nil
	}
	return s.grow(ctx, admin)
}

// grow makes the marker topic have the shard's partition, where it does not.
func (s *Sink) grow(ctx context.Context, admin *kadm.Client) error {
	grown, err := admin.UpdatePartitions(ctx, int(s.owner.partition)+1, s.owner.markers)
	if err == nil {
		err = grown.Error()
	}
	if err != nil && !errors.Is(err, kerr.InvalidPartitions) { // it has as many
		return fmt.Errorf("add partitions: %w", err)
	}
	return nil
}

// readMarker returns the seq of the shard's newest marker, -1 where there is
// none. It first commits an open record, which is a sure end to read up to: the
// last offsets may be control records, aborted ones, or compacted away.
func (s *Sink) readMarker(ctx context.Context) (int64, error) {
	open := s.owner.record(s.owner.shard+"/open", mark{Version: markVersion, Epoch: s.owner.epoch, Seq: -1})
	if err := s.transact(ctx, open, nil); err != nil {
		return -1, fmt.Errorf("write open record: %w", err)
	}
	begin, err := s.offset(ctx, kadm.NewClient(s.client).ListStartOffsets)
	if err != nil {
		return -1, fmt.Errorf("read marker: %w", err)
	}
	found, err := s.lookBack(ctx, begin, open.Offset, kgo.ReadCommitted(), func(found seen) bool { return found.seq >= 0 })
	if err != nil {
		return -1, fmt.Errorf("read marker: %w", err)
	}
	return found.seq, found.check(s.owner)
}

// checkEpoch refuses to fence an owner of a higher epoch, as far as the topic
// tells; open and aborted transactions tell, too. Whoever is slower than this
// check is found out by readMarker, and the other one has to open again.
func (s *Sink) checkEpoch(ctx context.Context) error {
	admin := kadm.NewClient(s.client)
	begin, err := s.offset(ctx, admin.ListStartOffsets)
	if err != nil {
		return fmt.Errorf("read epoch: %w", err)
	}
	end, err := s.offset(ctx, admin.ListEndOffsets)
	if err != nil {
		return fmt.Errorf("read epoch: %w", err)
	}
	if end <= begin {
		return nil
	}
	// The last offset may never come; then the check has seen what there is.
	patient, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	found, err := s.lookBack(patient, begin, end-1, kgo.ReadUncommitted(), func(found seen) bool { return found.epoch >= 0 })
	if err != nil && (ctx.Err() != nil || patient.Err() == nil) {
		return fmt.Errorf("read epoch: %w", err)
	}
	return found.check(s.owner)
}

// offset is the marker partition's offset in a list. A partition that was just
// made is not known to all brokers at once, nor to the client's own memory.
func (s *Sink) offset(ctx context.Context, list func(context.Context, ...string) (kadm.ListedOffsets, error)) (int64, error) {
	for {
		listed, err := list(ctx, s.owner.markers)
		if err != nil {
			return 0, err
		}
		at, ok := listed.Lookup(s.owner.markers, s.owner.partition)
		if ok && at.Err == nil {
			return at.Offset, nil
		}
		if ok && !kerr.IsRetriable(at.Err) {
			return 0, at.Err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return 0, fmt.Errorf("%s/%d is not there yet: %w", s.owner.markers, s.owner.partition, ctx.Err())
		}
	}
}

// seen is what the shard's records of a part of the topic tell.
type seen struct {
	epoch int64 // the highest; -1: none
	seq   int64 // of the last marker; -1: none
}

func (found seen) check(o owner) error {
	if found.epoch > o.epoch {
		return fmt.Errorf("%w: its epoch is %d, this one's %d", ErrFenced, found.epoch, o.epoch)
	}
	return nil
}

// lookBack reads ever more offsets up to the one at last, until they tell enough.
func (s *Sink) lookBack(ctx context.Context, begin, last int64, level kgo.IsolationLevel, enough func(seen) bool) (seen, error) {
	for back := int64(16); ; back *= 8 {
		from := max(begin, last-back)
		found, err := s.scan(ctx, from, last, level)
		if err != nil || enough(found) || from <= begin {
			return found, err
		}
	}
}

// scan reads the shard's records in [from, last].
func (s *Sink) scan(ctx context.Context, from, last int64, level kgo.IsolationLevel) (seen, error) {
	found := seen{epoch: -1, seq: -1}
	client, err := kgo.NewClient(append(s.connection[:len(s.connection):len(s.connection)],
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.owner.markers: {s.owner.partition: kgo.NewOffset().At(from)}}),
		kgo.FetchIsolationLevel(level),
		kgo.KeepControlRecords(), // one may be the last
		kgo.FetchMaxWait(100*time.Millisecond),
		kgo.MetadataMinAge(250*time.Millisecond),
	)...)
	if err != nil {
		return found, err
	}
	defer client.Close()
	for {
		fetches := client.PollFetches(ctx)
		for r := range fetches.RecordsAll() {
			if r.Offset > last {
				return found, nil
			}
			if err := found.take(r, s.owner); err != nil {
				return found, err
			}
			if r.Offset == last {
				return found, nil
			}
		}
		if err := fetches.Err(); err != nil {
			return found, err
		}
	}
}

func (found *seen) take(r *kgo.Record, o owner) error {
	key := string(r.Key)
	if r.Attrs.IsControl() || key != o.shard && key != o.shard+"/open" {
		return nil
	}
	var m mark
	if err := json.Unmarshal(r.Value, &m); err != nil {
		return fmt.Errorf("%s/%d at %d is no marker: %w", r.Topic, r.Partition, r.Offset, err)
	}
	if m.Version > markVersion {
		return fmt.Errorf("%s/%d at %d was written by a newer lake (version %d); use that one", r.Topic, r.Partition, r.Offset, m.Version)
	}
	found.epoch = max(found.epoch, m.Epoch)
	if key == o.shard {
		found.seq = m.Seq
	}
	return nil
}
