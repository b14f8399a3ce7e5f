// Package kafka is the sink that writes rule answers to Kafka topics, exactly
// once for who reads with isolation read_committed.
//
// The answers of a commit and a marker {epoch, seq} are one transaction. The
// marker is a record of the compacted topic lake-<pipeline>-delivered on the
// same cluster, keyed by the shard; Open reads it back to learn what the topics
// have. The transactional id is lake-<pipeline>-<shard>: Open fences an older
// owner, whose open transaction is aborted. Outputs of one pipeline on one
// cluster belong into one Sink: two would fence each other.
//
// An answer's key is the group's key, or that of the output's key columns; none
// where the rule does not group. The partitioner is Java's: murmur2 of the key.
// Its value is the row as JSON, none for a tombstone. Headers: lake-rule, lake-seq.
package kafka

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"lake/brokers"
	"lake/load"
)

// Output is one kafka entry of a rule's to:, as a job file has it.
type Output struct {
	// The cluster; where brokers is empty, the job's source's.
	brokers.Config `yaml:",inline"`
	Topic          string            `yaml:"topic"`
	Rename         map[string]string `yaml:"rename"`
	Key            []string          `yaml:"key"`
	// Create says how to make the topic where it does not exist; without it a
	// missing topic is an error: a topic made by a slip of the pen stays.
	Create *Create `yaml:"create"`
}

// Create is the shape of a new topic.
type Create struct {
	Partitions  int32 `yaml:"partitions"`  // 0: the broker's default
	Replication int16 `yaml:"replication"` // 0: the broker's default
}

// Check finds what is wrong without connecting; all errors are joined. The
// cluster is checked where it is given.
func (o Output) Check() error {
	var errs []error
	if len(o.Brokers) > 0 || o.SASL != nil || o.TLS != nil {
		errs = append(errs, o.Config.Check())
	}
	if !topicName(o.Topic) {
		errs = append(errs, fmt.Errorf("topic: %q is not a topic's name", o.Topic))
	}
	if c := o.Create; c != nil && (c.Partitions < 0 || c.Replication < 0) {
		errs = append(errs, errors.New("create: partitions and replication are counts"))
	}
	return errors.Join(errs...)
}

func topicName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= 249 && strings.Trim(name, topicLetters) == ""
}

const topicLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

// Options are what a job file says elsewhere. Zero values choose the defaults.
type Options struct {
	Dir            string        // relative files of tls: begin here
	Zone           string        // IANA zone in which timestamps are written; UTC
	ConnectTimeout time.Duration // limit of a request with its retries; 30 s
	Log            *slog.Logger  // nil drops
}

// output is where a rule's answers go, and their form.
type output struct {
	topic string
	form  load.Output
}

// New makes a sink for the outputs, by rule, that go to one cluster. It does
// not connect.
func New(cluster brokers.Config, outputs map[string][]Output, opts Options) (*Sink, error) {
	if opts.ConnectTimeout <= 0 {
		opts.ConnectTimeout = 30 * time.Second
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	zone, err := time.LoadLocation(opts.Zone)
	if err != nil {
		return nil, fmt.Errorf("output kafka: zone: %w", err)
	}
	connection, err := cluster.Options(opts.Dir, opts.ConnectTimeout, opts.Log)
	if err != nil {
		return nil, fmt.Errorf("output kafka: %w", err)
	}
	s := &Sink{cluster: cluster, connection: connection, opts: opts, zone: zone, outputs: map[string][]output{}, topics: map[string]*Create{}}
	var errs []error
	for _, rule := range slices.Sorted(maps.Keys(outputs)) {
		for _, o := range outputs[rule] {
			if err := o.Check(); err != nil {
				errs = append(errs, fmt.Errorf("output kafka of rule %s: %w", rule, err))
			}
			if s.topics[o.Topic] == nil {
				s.topics[o.Topic] = o.Create
			}
			s.outputs[rule] = append(s.outputs[rule], output{topic: o.Topic, form: load.Output{Rename: maps.Clone(o.Rename), Key: slices.Clone(o.Key), Zone: opts.Zone}})
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}
