package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"lake/brokers"
	"lake/ingest"
)

// Source reads topics. It is an ingest.Source and an ingest.LagReader. Ack and
// Lag may be called while a Poll is under way.
type Source struct {
	cfg        Config
	opts       Options
	tick       time.Duration // how long a silent poll waits before it looks why
	connection []kgo.Opt
	client     *kgo.Client
	admin      *kadm.Client
	ratio      *ratio
	budget     *budget
	pool       *pool

	life context.Context // ends with Close
	end  context.CancelFunc

	mu        sync.Mutex     // held by Seek and Poll, so that Close can wait for them
	sought    ingest.Offsets // by Seek
	started   bool
	topics    map[string]topic
	parts     map[string]*partition
	announce  []string       // for the next batch
	queue     []ingest.Batch // polled, in order
	failed    error          // comes after the queue, and stays
	refreshed time.Time
	silent    time.Time // since when the cluster does not answer; zero: it does

	// Of a source that is shared:
	member atomic.Pointer[group] // nil: not joined, or by a fixed share
	waking waker                 // ends a wait of Poll
	given  []string              // of the fixed share, not yet told
	begins map[string]bool       // partitions told as assigned and not begun
	bounds map[string]int64      // ends of a bounded run, by partition
}

// topic is what the cluster says of a topic.
type topic struct {
	id         kadm.TopicID // zero where brokers are too old to have ids
	partitions int32
}

// partition is how far one partition is read.
type partition struct {
	name    string // topic/number
	topic   string
	number  int32
	next    int64
	records int64
	token   string
	bound   int64 // a bounded run's end
	ended   bool  // a bounded run told its end
	current bool  // all that it held when last looked at was read
}

var (
	_ ingest.Shared    = (*Source)(nil)
	_ ingest.Resetter  = (*Source)(nil)
	_ ingest.LagReader = (*Source)(nil)
)

// New makes a source. It does not connect. The errors of the configuration are
// joined; a file of tls: that cannot be read is one of them.
func New(cfg Config, opts Options) (*Source, error) {
	if err := cfg.Check(); err != nil {
		return nil, fmt.Errorf("source kafka: %w", err)
	}
	opts.defaults()
	def(&cfg.SessionTimeout, 30*time.Second)
	def(&cfg.Fetch.MaxWait, time.Second)
	def(&cfg.Fetch.MaxBytes, 32<<20)
	def(&cfg.Fetch.PartitionBytes, 4<<20)
	if cfg.Group == "" {
		cfg.Group = "lake-" + opts.Pipeline
	}
	kopts, err := cfg.Options(opts.Dir, opts.ConnectTimeout, opts.Log)
	if err != nil {
		return nil, fmt.Errorf("source kafka: %w", err)
	}
	s := &Source{cfg: cfg, opts: opts, tick: time.Second, ratio: &ratio{brokers: 1}, budget: newBudget(min(opts.BufferBytes/2, enoughHeld)), pool: newPool(min(opts.BufferBytes/2, enoughPooled)),
		connection: kopts, parts: map[string]*partition{}, begins: map[string]bool{}}
	s.life, s.end = context.WithCancel(context.Background())
	s.client, err = kgo.NewClient(append(kopts,
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // they move the position on
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxWait(cfg.Fetch.MaxWait),
		kgo.MetadataMinAge(min(max(opts.RefreshInterval/2, 10*time.Millisecond), 5*time.Second)), // or a refresh is answered from memory
		kgo.MaxDecompressBatchBytes(int(max(opts.BufferBytes, 64<<20))),
		kgo.WithHooks(s.ratio),
		kgo.WithPools(s.pool),
	)...)
	if err != nil {
		s.end()
		return nil, fmt.Errorf("source kafka: %w", err)
	}
	s.admin = kadm.NewClient(s.client)
	return s, nil
}

// ID names the cluster and the topics' ids: a topic or a cluster made anew has others.
func (s *Source) ID(ctx context.Context) (string, error) {
	ctx, cancel := s.limit(ctx)
	defer cancel()
	meta, err := s.describe(ctx)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "kafka:%s", meta.Cluster)
	for _, name := range s.cfg.Topics {
		fmt.Fprintf(&b, ":%s=%s", name, topicToken(meta.Topics[name].ID))
	}
	return b.String(), nil
}

func topicToken(id kadm.TopicID) string {
	if id == (kadm.TopicID{}) {
		return ""
	}
	return id.String()
}

// limit bounds a request to the cluster, and ends it with Close.
func (s *Source) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	limited, cancel := context.WithTimeout(ctx, s.opts.ConnectTimeout)
	stop := context.AfterFunc(s.life, cancel)
	return limited, func() { stop(); cancel() }
}

// describe asks for the topics; one that is missing is an error.
func (s *Source) describe(ctx context.Context) (kadm.Metadata, error) {
	meta, err := s.admin.Metadata(ctx, s.cfg.Topics...)
	if err != nil {
		return meta, fmt.Errorf("describe topics: %w", s.cfg.Explain(err))
	}
	var errs []error
	for _, name := range s.cfg.Topics {
		t := meta.Topics[name]
		if t.Err != nil {
			err := s.cfg.Explain(t.Err)
			if errors.Is(err, brokers.ErrUnknownTopic) {
				err = fmt.Errorf("%w; hint: kafka-topics.sh --bootstrap-server %s --create --topic %s", err, s.cfg.Brokers[0], name)
			}
			errs = append(errs, fmt.Errorf("topic %s: %w", name, err))
		}
	}
	return meta, errors.Join(errs...)
}

// Ack writes the group's offsets, which only lag tools read.
func (s *Source) Ack(ctx context.Context, offsets ingest.Offsets) error {
	ctx, cancel := s.limit(ctx)
	defer cancel()
	group := kadm.Offsets{}
	for name, position := range offsets {
		topic, number, err := parseName(name)
		if err != nil {
			return err
		}
		group.AddOffset(topic, number, position.Next, -1)
	}
	if len(group) == 0 {
		return nil
	}
	if member := s.member.Load(); member != nil {
		return member.commit(ctx, group)
	}
	if err := s.admin.CommitAllOffsets(ctx, s.cfg.Group, group); err != nil {
		return fmt.Errorf("commit the offsets of group %s, which lag tools read: %w", s.cfg.Group, s.cfg.Explain(err))
	}
	return nil
}

func parseName(name string) (topic string, number int32, err error) {
	i := strings.LastIndexByte(name, '/')
	if i > 0 {
		if n, err := strconv.ParseInt(name[i+1:], 10, 32); err == nil && n >= 0 {
			return name[:i], int32(n), nil
		}
	}
	return "", 0, fmt.Errorf("partition %q is not topic/number: it is another source's", name)
}

func partitionName(topic string, number int32) string {
	return topic + "/" + strconv.Itoa(int(number))
}

// Close stops reading and waits for a Poll under way.
func (s *Source) Close() error {
	s.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = nil
	if member := s.member.Load(); member != nil {
		member.close()
	}
	s.client.Close()
	return nil
}

// errClosed is what calls return after Close.
var errClosed = errors.New("the Kafka source is closed")

// stopped says why a call may not go on.
func (s *Source) stopped(ctx context.Context) error {
	if s.life.Err() != nil {
		return errClosed
	}
	return ctx.Err()
}
