// Package kafka is the source of Kafka topics.
//
// Where a partition is read from is decided by the table's offsets, never by a
// consumer group's: a group's offsets are only written, by Ack, so that lag tools
// see where the pipeline is. One process reads all partitions, or several share
// them: then the consumer group says, by cooperative rebalancing, which process
// has which partition, or a fixed share does. Either is a hint: that an owner is
// alone is the table's to tell.
//
// A partition is named topic/number. Records of open and of aborted transactions
// are not read. A record without a value (a tombstone) is delivered as a nil
// record, which decoders refuse. A position that lies outside of what a
// partition holds is an error; the source never jumps.
package kafka

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"lake/brokers"
)

// Config is the source as a job file has it.
type Config struct {
	brokers.Config `yaml:",inline"`
	Topics         []string `yaml:"topics"`
	// Start is where partitions begin that the table knows nothing of.
	Start Start `yaml:"start"`
	// Group is the consumer group whose offsets lag tools read; default lake-<pipeline>.
	Group string `yaml:"group"`
	// SessionTimeout is how long a process of several may be silent before the group
	// gives its partitions to others; default 30 s.
	SessionTimeout time.Duration `yaml:"session_timeout"`
	Fetch          Fetch         `yaml:"fetch"`
	// PartitionedBy are columns whose text is each record's key: with them, rules
	// that group by these columns may run in several processes.
	PartitionedBy []string `yaml:"partitioned_by"`
	// Unchecked takes that as given; otherwise a record with another key is a dead letter.
	Unchecked bool `yaml:"unchecked"`
}

// Fetch tunes the requests; zero values choose the defaults.
type Fetch struct {
	MaxWait        time.Duration `yaml:"max_wait"`            // that a broker may wait for data; 1 s
	MaxBytes       int32         `yaml:"max_bytes"`           // of one answer; what the memory allows is the bound anyway; 32 MiB
	PartitionBytes int32         `yaml:"max_partition_bytes"` // of one partition in an answer; 4 MiB
}

// Options are what a job file does not say. Zero values choose the defaults.
type Options struct {
	Pipeline        string        // names the group
	Dir             string        // relative files of tls: begin here
	Follow          bool          // wait for more at the end
	Shared          bool          // other processes read some of the partitions
	Share           Share         // which ones are this process's; zero: the consumer group says
	BufferBytes     int64         // bound of what is fetched and not yet released; 64 MiB
	BatchBytes      int           // a batch ends when it has more; 4 MiB
	ConnectTimeout  time.Duration // limit of a request with its retries; 30 s
	Outage          time.Duration // how long the cluster may be away before Poll fails; 2 min
	RefreshInterval time.Duration // between two looks for new partitions; 30 s
	Log             *slog.Logger  // nil drops
}

// Share is a fixed part of the partitions: each Count-th, from the Index-th on.
type Share struct{ Index, Count int }

func (o *Options) defaults() {
	def(&o.BufferBytes, 64<<20)
	def(&o.BatchBytes, 4<<20)
	def(&o.ConnectTimeout, 30*time.Second)
	def(&o.Outage, 2*time.Minute)
	def(&o.RefreshInterval, 30*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

func def[T int | int32 | int64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// Check finds what is wrong with the configuration without connecting; all
// errors are joined.
func (c Config) Check() error {
	errs := []error{c.Config.Check()}
	if len(c.Topics) == 0 {
		errs = append(errs, errors.New("topics is empty; hint: topics: [Events]"))
	}
	for i, t := range c.Topics {
		if t == "" || len(t) > 249 || strings.Trim(t, topicLetters) != "" || t == "." || t == ".." {
			errs = append(errs, fmt.Errorf("topics: %q is not a topic's name", t))
		}
		if slices.Contains(c.Topics[:i], t) {
			errs = append(errs, fmt.Errorf("topics: %q is there twice", t))
		}
	}
	for topic, partitions := range c.Start.Offsets {
		if !slices.Contains(c.Topics, topic) {
			errs = append(errs, fmt.Errorf("start: topic %q is not in topics", topic))
		}
		for p, offset := range partitions {
			if p < 0 || offset < 0 {
				errs = append(errs, fmt.Errorf("start: %s/%d at %d: partitions and offsets begin at 0", topic, p, offset))
			}
		}
	}
	return errors.Join(errs...)
}

const topicLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

// Start is where to begin: at the earliest record (the zero Start), behind the
// latest, at the first record of a time or later, or at offsets; partitions
// that Offsets does not have begin at their earliest record.
type Start struct {
	Latest  bool
	At      time.Time // zero: not by time
	Offsets map[string]map[int32]int64
}

// UnmarshalYAML reads earliest, latest, a time in RFC 3339 or {topic: {partition: offset}}.
func (s *Start) UnmarshalYAML(node ast.Node) error {
	*s = Start{}
	if m, ok := node.(*ast.MappingNode); ok {
		return yaml.NodeToValue(m, &s.Offsets, yaml.Strict())
	}
	var text string
	if err := yaml.NodeToValue(node, &text); err != nil {
		return err
	}
	switch text {
	case "earliest":
		return nil
	case "latest":
		s.Latest = true
		return nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || at.UnixMilli() < 0 {
		return &yaml.SyntaxError{Token: node.GetToken(), Message: fmt.Sprintf(
			"start: %q; hint: earliest, latest, a time such as 2021-11-30T00:00:00+05:30, or {topic: {partition: offset}}", text)}
	}
	s.At = at
	return nil
}
