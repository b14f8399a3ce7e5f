package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"golang.org/x/sync/errgroup"

	"lake/faults"
	"lake/ingest/decode"
	"lake/load"
	"lake/rules/tally"
	"lake/schemas"
	"lake/table"
)

// Whole is the one shard of a pipeline whose source partitions have one owner.
const Whole = "all"

// EventTime is how a pipeline tells time.
type EventTime struct {
	Name     string // of the column, or RecordTime
	Column   int    // its place in the decoder's schema; -1 for RecordTime
	Zone     *time.Location
	Lateness time.Duration
	Idle     time.Duration
	// MaxFuture is how far ahead of the clock an event time may move the watermark;
	// 0: as far as it likes. RefuseFuture makes dead letters of rows beyond it.
	MaxFuture    time.Duration
	RefuseFuture bool
	// Made are the columns that lake adds behind the decoder's: _timestamp where
	// it is the event time, dt where the table is partitioned by it.
	Made []schemas.Field
}

// Rule is a rule and the sinks that take its answers.
type Rule struct {
	tally.Rule
	Sinks []int // in Config.Sinks
}

// Sink is a destination of rule answers.
type Sink struct {
	Name string // for messages: "kafka localhost:9092", "files out/paid_user"
	// New makes one for a shard, which closes it. It does not connect.
	New func() (load.Sink, error)
}

// Config is a pipeline, wired.
type Config struct {
	Pipeline   string
	SourceKind string
	// NewSource makes the source of a session; where Keys is set it is a Shared. It
	// does not connect. The run closes it.
	NewSource  func() (Source, error)
	NewDecoder func() (decode.Decoder, error)
	// Keys is set where several processes share the source: a shard is a source
	// partition then, and otherwise all partitions together are one.
	Keys  *Keys
	Time  *EventTime // nil: no event time; then no rule has a window
	Job   Identity   // Source is filled in from the source
	Table *table.Table
	// Letters opens or creates the dead-letter table; it is called when there is one to deliver.
	Letters func(ctx context.Context) (*table.Table, error)
	Blobs   Blobs
	Rules   []Rule
	Sinks   []Sink

	Interval   time.Duration // between commits; 0: only by records and bytes, and at the end
	MaxRecords int64
	MaxBytes   int64
	// MaxBadRatio stops the run without a commit where more than this part of its
	// records are dead letters, once 1,000 were read or the source ended; 1: never.
	MaxBadRatio float64
	// Retry tells an error after which a new session is worth a try; nil: none is.
	// Sessions that end without a commit are tried for Patience.
	Retry func(error) bool
	// StandBy is asked first, of the error that ended a session: where another
	// process has the job by now it waits until that one is gone, and reports that a
	// new session may begin. nil: nobody waits. Its own error ends the run, too.
	StandBy       func(error) (again bool, err error)
	Patience      time.Duration
	Reset         string // move the source's offsets there before reading: earliest, latest, …; "": no
	Backfill      bool   // a new or changed rule emits answers for the past
	CloseWindows  bool   // a bounded run's end closes all windows
	Memory        int64
	TargetBytes   int64 // of a data file
	ProgressEvery time.Duration

	Mem       memory.Allocator
	Log       *slog.Logger
	Progress  func(Progress)
	Committed func()              // after each commit, before its deliveries; nil: nobody listens
	Answered  func(load.Delivery) // shows the answers of each commit of this run; nil: nobody looks
}

// Progress is how a run stands.
type Progress struct {
	Totals
	Answers map[string]int64
	Elapsed time.Duration
}

// Result is what a run did.
type Result struct {
	Run       Totals           `json:"run"`   // this run alone
	Total     Totals           `json:"total"` // the pipeline's life
	Answers   map[string]int64 `json:"answers,omitempty"`
	RuleFails int64            `json:"rule_failures,omitempty"`
	Late      map[string]int64 `json:"late,omitempty"`
	NullKeys  int64            `json:"null_keys,omitempty"` // rows that rules left out, whose key is NULL
	Ahead     int64            `json:"ahead,omitempty"`     // rows too far in the future to move the watermark
	Sessions  int              `json:"sessions,omitempty"`  // how often the run began anew from the table
	Bytes     int64            `json:"bytes"`
	Files     int              `json:"files"`
	Snapshot  int64            `json:"snapshot,omitempty"`
	Seq       int64            `json:"seq"`
	Elapsed   time.Duration    `json:"-"`
	Watermark int64            `json:"-"` // µs; noTime: none
	Samples   []Letter         `json:"-"` // of the dead letters, at most ten
}

// TooManyBad says that a run was stopped because of its dead letters.
type TooManyBad struct {
	Letters, Records int64
	Ratio            float64
	Samples          []Letter
}

func (e *TooManyBad) Error() string {
	return fmt.Sprintf("%d of %d records could not be read (more than %g %%): nothing more is committed; mend decode: or schema:, or raise dead_letter.max_ratio",
		e.Letters, e.Records, e.Ratio*100)
}

// Changed says that the job differs from what its table was filled with.
type Changed struct {
	What, Was, Is string
	Mend          string // "": another name and table, or back
}

const theSource = "the source"

func (e *Changed) Error() string {
	if e.Mend != "" {
		return fmt.Sprintf("%s was %s and is now %s: %s", e.What, e.Was, e.Is, e.Mend)
	}
	what, mend := e.What, "give the job another name and table, or change it back"
	switch {
	case what == theSource && strings.HasPrefix(e.Was, "files:") && strings.HasPrefix(e.Is, "files:"):
		what = "source.files.paths (by a hash of them)"
	case what == theSource:
		mend += "; a topic that was made anew is read on with --reset-offsets"
	}
	return fmt.Sprintf("%s was %s and is now %s: the rows that are there were made with the old one; %s", what, e.Was, e.Is, mend)
}

// pipeline is a session: from taking shards over to letting go of them. One
// goroutine owns it.
type pipeline struct {
	Config
	source Source
	shared Shared            // source, where its partitions are shared; nil otherwise
	shards map[string]*shard // that this process owns
	rows   rowWriter         // where rows go: writer, or a rehearsal's memory
	writer *table.Writer     // nil in a rehearsal

	lettering sync.Mutex // held by the delivery of dead letters: shards share their table

	pending pending // of all shards together
	*progressOfRun
}

// progressOfRun outlives a session.
type progressOfRun struct {
	started   time.Time
	committed time.Time // when the last commit, or the run, began to be waited for
	run       Totals
	result    Result
	sampled   []Letter
}

// rowWriter takes rows; the batch stays the caller's.
type rowWriter interface {
	Write(ctx context.Context, batch arrow.RecordBatch) error
}

// pending is what was taken since the last commit.
type pending struct {
	records, rows, letters, bytes int64
	since                         time.Time
	moved                         bool // the watermark by the wall clock, or the offsets by a reset
}

func (q *pending) add(records, rows, letters, bytes int64) {
	q.records += records
	q.rows += rows
	q.letters += letters
	q.bytes += bytes
}

// Run ingests until the source's end, an error, or stop is closed; it then
// commits what it has taken and returns. ctx ending abandons what is not
// committed.
func Run(ctx context.Context, cfg Config, stop <-chan struct{}) (Result, error) {
	run := &progressOfRun{started: time.Now(), committed: time.Now()}
	run.result.Answers = map[string]int64{}
	for try := 1; ; try++ {
		p := &pipeline{Config: cfg, shards: map[string]*shard{}, progressOfRun: run}
		commits := run.run.Commits
		err := p.session(ctx, stop)
		if run.run.Commits > commits {
			try = 1
		}
		if err != nil && cfg.StandBy != nil {
			again, failed := cfg.StandBy(err)
			if failed != nil {
				return run.finish(), errors.Join(err, failed)
			}
			if again {
				cfg.Reset, run.committed, try = p.Reset, time.Now(), 0
				run.result.Sessions++
				continue
			}
		}
		if err == nil || cfg.Retry == nil || !cfg.Retry(err) || time.Since(run.committed) > cfg.Patience {
			return run.finish(), err
		}
		wait := backoff(try)
		cfg.Log.Warn("beginning anew from the table", "error", err, "wait", wait.Round(time.Millisecond))
		select {
		case <-time.After(wait):
		case <-stop:
			return run.finish(), nil // all that was committed is; the rest is read again
		case <-ctx.Done():
			return run.finish(), err
		}
		cfg.Reset = p.Reset
		run.result.Sessions++
	}
}

// backoff is how long to wait before a session after try failures in a row,
// half of it at random: processes that met one failure do not come back at once.
func backoff(try int) time.Duration {
	wait := min(250*time.Millisecond<<min(try-1, 10), 15*time.Second)
	return wait/2 + rand.N(wait/2)
}

// session is a run from the table's state to an end or an error.
func (p *pipeline) session(ctx context.Context, stop <-chan struct{}) (err error) {
	defer func() { p.drop() }() // the result, before what was not committed is forgotten
	defer func() { err = errors.Join(err, p.closeShards()) }()
	if p.source, err = p.NewSource(); err != nil {
		return fmt.Errorf("open the source: %w", err)
	}
	defer func() { err = errors.Join(err, p.source.Close()) }()
	if p.Keys != nil {
		p.shared = p.source.(Shared)
		keys := *p.Keys // a session's own
		keys.partitions = &atomic.Int32{}
		p.Keys = &keys
	}
	if err := p.open(ctx); err != nil {
		return err
	}
	return p.loop(ctx, stop)
}

// drop sums up the session and takes back what it counted and did not commit.
func (p *pipeline) drop() {
	r := &p.result
	r.Seq, r.Total, r.Watermark, r.Late = 0, Totals{}, noTime, nil
	for _, s := range p.shards {
		r.Seq = max(r.Seq, s.record.Seq)
		if s.last != nil {
			r.Total.add(s.last.Totals)
		}
		if s.mark != nil && s.mark.current != noTime && (r.Watermark == noTime || s.mark.current < r.Watermark) {
			r.Watermark = s.mark.current
		}
		for i, t := range s.tallies {
			if late := t.Late(); late > 0 {
				if r.Late == nil {
					r.Late = map[string]int64{}
				}
				r.Late[p.Rules[i].Name] += late
			}
		}
		s.release()
	}
	if snapshot, ok := p.Table.Current(); ok {
		r.Snapshot = snapshot.ID
	}
	p.run.Records -= p.pending.records
	p.run.Rows -= p.pending.rows
	p.run.DeadLetters -= p.pending.letters
}

func (r *progressOfRun) finish() Result {
	out := r.result
	out.Run, out.Elapsed, out.Samples = r.run, time.Since(r.started), r.sampled
	return out
}

func (t *Totals) add(o Totals) {
	t.Records += o.Records
	t.Rows += o.Rows
	t.DeadLetters += o.DeadLetters
	t.Commits += o.Commits
}

// loop takes batches and commits when one is due.
func (p *pipeline) loop(ctx context.Context, stop <-chan struct{}) (err error) {
	defer func() {
		if p.writer != nil && err != nil {
			abort, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
			defer cancel()
			err = errors.Join(err, p.writer.Abort(abort))
		}
	}()
	polling, cancel := context.WithCancel(ctx)
	group, polling := errgroup.WithContext(polling)
	in := &intake{source: p.source, newDecoder: p.NewDecoder, time: p.Time, keys: p.Keys, mem: p.Mem, workers: runtime.GOMAXPROCS(0)}
	in.start(polling, group)
	defer func() { // whoever is still decoding is waited for, and what it made released
		cancel()
		for d := range in.out {
			d.release()
		}
		err = errors.Join(err, group.Wait())
	}()

	tick := time.NewTicker(p.tick())
	defer tick.Stop()
	shown := time.Now()
	for {
		select {
		case d, ok := <-in.out:
			if !ok {
				if err := ctx.Err(); err != nil {
					return fmt.Errorf("stopped before the last commit: %w", context.Cause(ctx))
				}
				return p.end(ctx, true)
			}
			if err := p.take(ctx, d); err != nil {
				return err
			}
		case now := <-tick.C: // idle sources commit, too
			for _, s := range p.shards {
				if err := s.stepAside(now); err != nil {
					return err
				}
			}
		case <-stop:
			p.Log.Info("stopping after a last commit")
			return p.end(ctx, false)
		case <-ctx.Done():
			return fmt.Errorf("stopped before the last commit: %w", context.Cause(ctx))
		}
		if p.due(time.Now()) {
			if err := p.commit(ctx); err != nil {
				return err
			}
		}
		if p.Progress != nil && time.Since(shown) >= p.ProgressEvery {
			shown = time.Now()
			p.Progress(Progress{Totals: p.run, Answers: p.result.Answers, Elapsed: time.Since(p.started)})
		}
	}
}

// tick is how often the wall clock is looked at.
func (p *pipeline) tick() time.Duration {
	tick := time.Second
	if p.Interval > 0 {
		tick = min(tick, p.Interval)
	}
	return max(tick, time.Millisecond)
}

// due reports whether what is pending should be committed.
func (p *pipeline) due(now time.Time) bool {
	q := p.pending
	switch {
	case q.records == 0 && !q.moved:
		return false
	case p.Interval > 0 && now.Sub(q.since) >= p.Interval:
		return true
	case p.MaxRecords > 0 && q.records >= p.MaxRecords:
		return true
	default:
		return p.MaxBytes > 0 && q.bytes >= p.MaxBytes
	}
}

// take adds a decoded batch to what the next commit holds.
func (p *pipeline) take(ctx context.Context, d *decoded) error {
	defer d.release()
	switch {
	case d.err != nil:
		return d.err
	case len(d.source.Assigned) > 0:
		return p.takeOver(ctx, d.source.Assigned)
	case len(d.source.Revoked) > 0:
		return p.giveUp(ctx, d.source.Revoked)
	}
	s := p.shardOf(d.source.Partition)
	if s == nil {
		return fmt.Errorf("read the source: it has records of %s, which this process does not own", d.source.Partition)
	}
	faults.Point(faults.Polled)
	if p.pending.since.IsZero() {
		p.pending.since = time.Now()
	}
	if err := s.take(ctx, d); err != nil {
		return err
	}
	if p.run.Records >= 1000 {
		return p.checkBad()
	}
	return nil
}

// shardOf is the shard of a source partition; nil: another process has it.
func (p *pipeline) shardOf(partition string) *shard {
	if p.Keys == nil {
		return p.shards[Whole]
	}
	return p.shards[partition]
}

func (p *pipeline) checkBad() error {
	if float64(p.run.DeadLetters) > p.MaxBadRatio*float64(p.run.Records) {
		return &TooManyBad{Letters: p.run.DeadLetters, Records: p.run.Records, Ratio: p.MaxBadRatio, Samples: p.sampled}
	}
	return nil
}

// end is the last commit of a run.
func (p *pipeline) end(ctx context.Context, atEnd bool) error {
	if err := p.checkBad(); err != nil {
		return err
	}
	if atEnd && p.CloseWindows {
		for _, s := range p.shards {
			if err := s.closeWindows(); err != nil {
				return err
			}
		}
	}
	if p.pending.records > 0 || p.pending.moved {
		return p.commit(ctx)
	}
	return nil
}
