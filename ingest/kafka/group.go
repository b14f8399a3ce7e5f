package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"lake/ingest"
)

// group is the membership of the consumer group: it says which partitions are
// this process's. It fetches nothing; where to read is the table's to say.
type group struct {
	name    string
	life    context.Context
	client  *kgo.Client
	explain func(error) error
	log     *slog.Logger
	wake    func()
	patient time.Duration // how long a rebalance waits for the last commit of what it takes away

	mu       sync.Mutex
	joined   time.Time // when the first assignment came; zero: it has not
	assigned []string  // not yet told
	revoked  []string  // not yet told
	leaving  map[string]chan struct{}
	err      error
}

const (
	rebalanceTime = time.Minute // that members have to commit and give up partitions
	leaveTime     = 5 * time.Second
	emptyWait     = 10 * time.Second // that a bounded run without a partition waits for one
)

func newGroup(life context.Context, cfg Config, connection []kgo.Opt, opts Options, wake func()) (*group, error) {
	g := &group{name: cfg.Group, life: life, explain: cfg.Explain, log: opts.Log, wake: wake, patient: rebalanceTime - 10*time.Second, leaving: map[string]chan struct{}{}}
	var err error
	g.client, err = kgo.NewClient(append(slices.Clone(connection),
		kgo.ConsumerGroup(cfg.Group),
		kgo.ConsumeTopics(cfg.Topics...),
		kgo.FetchMaxBytes(1), // it is paused; what slips through is small
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.DisableAutoCommit(),
		kgo.RebalanceTimeout(rebalanceTime),
		kgo.SessionTimeout(cfg.SessionTimeout),
		kgo.HeartbeatInterval(cfg.SessionTimeout/10),
		kgo.MetadataMaxAge(opts.RefreshInterval), // new partitions are handed out
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { g.assign(names(parts)) }),
		kgo.OnPartitionsRevoked(func(ctx context.Context, _ *kgo.Client, parts map[string][]int32) { g.revoke(ctx, names(parts)) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { g.lose(names(parts)) }),
	)...)
	if err != nil {
		return nil, err
	}
	// The group is what assigns; this client reads nothing.
	g.client.PauseFetchTopics(cfg.Topics...)
	return g, nil
}

func names(parts map[string][]int32) []string {
	var out []string
	for topic, numbers := range parts {
		for _, n := range numbers {
			out = append(out, partitionName(topic, n))
		}
	}
	slices.Sort(out)
	return out
}

func (g *group) assign(names []string) {
	g.mu.Lock()
	if g.joined.IsZero() {
		g.joined = time.Now()
	}
	g.assigned = append(g.assigned, names...)
	g.mu.Unlock()
	g.log.Debug("the group assigned partitions", "group", g.name, "partitions", names)
	g.wake()
}

// revoke returns when the partitions' last commit is made, or cannot be waited for.
func (g *group) revoke(ctx context.Context, names []string) {
	g.log.Debug("the group revokes partitions", "group", g.name, "partitions", names)
	var wait []chan struct{}
	g.mu.Lock()
	for _, name := range names {
		if i := slices.Index(g.assigned, name); i >= 0 { // never begun
			g.assigned = slices.Delete(g.assigned, i, i+1)
			continue
		}
		done := make(chan struct{})
		g.leaving[name] = done
		g.revoked = append(g.revoked, name)
		wait = append(wait, done)
	}
	g.mu.Unlock()
	g.wake()
	timer := time.NewTimer(g.patient)
	defer timer.Stop()
	for _, done := range wait {
		select {
		case <-done:
		case <-g.life.Done():
			return
		case <-ctx.Done():
			return
		case <-timer.C:
			g.log.Warn("the last commit before a rebalance takes too long; the next owner goes on from the one before", "group", g.name)
			g.lose(names)
			return
		}
	}
}

// lose ends the session: what was read since the last commit is another's by now.
func (g *group) lose(names []string) {
	if len(names) == 0 || g.life.Err() != nil {
		return
	}
	g.mu.Lock()
	g.err = fmt.Errorf("group %s took %v: %w", g.name, names, ingest.ErrLost)
	g.mu.Unlock()
	g.wake()
}

func (g *group) failed() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

func (g *group) takeAssigned() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := g.assigned
	g.assigned = nil
	return out
}

// takeRevoked is what is to be given up, less what is about to begin.
func (g *group) takeRevoked(begins map[string]bool) (out []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.revoked = slices.DeleteFunc(g.revoked, func(name string) bool {
		if begins[name] {
			return false
		}
		out = append(out, name)
		return true
	})
	return out
}

func (g *group) leave(names []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, name := range names {
		if done := g.leaving[name]; done != nil {
			close(done)
			delete(g.leaving, name)
		}
	}
}

// settled reports whether a bounded run that has read what it has may end: the
// group has said what it has, and nothing of it is to come.
func (g *group) settled(has bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.joined.IsZero() && len(g.assigned) == 0 && len(g.revoked) == 0 && (has || time.Since(g.joined) > emptyWait)
}

// commit writes the group's offsets as its member, for lag tools.
func (g *group) commit(ctx context.Context, offsets kadm.Offsets) error {
	into := map[string]map[int32]kgo.EpochOffset{}
	offsets.Each(func(o kadm.Offset) {
		if into[o.Topic] == nil {
			into[o.Topic] = map[int32]kgo.EpochOffset{}
		}
		into[o.Topic][o.Partition] = kgo.EpochOffset{Epoch: -1, Offset: o.At}
	})
	var failed error
	g.client.CommitOffsetsSync(ctx, into, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		failed = err
		if resp == nil {
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				failed = errors.Join(failed, kerr.ErrorForCode(p.ErrorCode))
			}
		}
	})
	if failed != nil {
		return fmt.Errorf("commit the offsets of group %s, which lag tools read: %w", g.name, g.explain(failed))
	}
	return nil
}

// close leaves the group, so that others have the partitions at once.
func (g *group) close() {
	g.mu.Lock()
	for name, done := range g.leaving {
		close(done)
		delete(g.leaving, name)
	}
	g.mu.Unlock()
	leaving, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	if err := g.client.LeaveGroupContext(leaving); err != nil {
		g.log.Warn("could not leave the group: it finds out by itself", "group", g.name, "error", g.explain(err))
	}
	g.client.Close()
}
