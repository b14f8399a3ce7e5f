package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
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

// Shard is the one shard of a pipeline whose source partitions have one owner.
const Shard = "all"

// EventTime is how a pipeline tells time.
type EventTime struct {
	Name     string // of the column, or RecordTime
	Column   int    // its place in the decoder's schema; -1 for RecordTime
	Zone     *time.Location
	Lateness time.Duration
	Idle     time.Duration
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
	load.Sink
}

// Config is a pipeline, wired.
type Config struct {
	Pipeline   string
	SourceKind string
	Source     Source
	NewDecoder func() (decode.Decoder, error)
	Time       *EventTime // nil: no event time; then no rule has a window
	Job        Identity   // Source is filled in from the source
	Table      *table.Table
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
	MaxBadRatio   float64
	Backfill      bool // a new or changed rule emits answers for the past
	CloseWindows  bool // a bounded run's end closes all windows
	Memory        int64
	TargetBytes   int64 // of a data file
	ProgressEvery time.Duration

	Mem      memory.Allocator
	Log      *slog.Logger
	Progress func(Progress)
	Answered func(load.Delivery) // shows the answers of each commit of this run; nil: nobody looks
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
type Changed struct{ What, Was, Is string }

func (e *Changed) Error() string {
	return fmt.Sprintf("%s was %s and is now %s: the rows that are there were made with the old one; give the job another name and table, or change it back", e.What, e.Was, e.Is)
}

// pipeline is a run's state. One goroutine owns it.
type pipeline struct {
	Config
	record  table.Record // of the last commit
	last    *checkpoint  // nil before the first
	chain   []link       // of last and what it needs
	offsets Offsets
	mark    *watermark
	tallies []*tally.Tally
	rows    rowWriter     // where rows go: writer, or a rehearsal's memory
	writer  *table.Writer // nil in a rehearsal
	letters []Letter

	pending pending
	run     Totals
	started time.Time
	result  Result
	marks   []int64 // scratch
	advance int64   // watermark that the rules have seen
	sampled []Letter
}

// rowWriter takes rows; the batch stays the caller's.
type rowWriter interface {
	Write(ctx context.Context, batch arrow.RecordBatch) error
}

// pending is what was taken since the last commit.
type pending struct {
	records, rows, letters, bytes int64
	since                         time.Time
	moved                         bool // the watermark, by the wall clock
}

// Run ingests until the source's end, an error, or stop is closed; it then
// commits what it has taken and returns. ctx ending abandons what is not
// committed. It does not close the source or the sinks.
func Run(ctx context.Context, cfg Config, stop <-chan struct{}) (Result, error) {
	p := newPipeline(cfg)
	defer p.releaseAll()
	if err := p.open(ctx); err != nil {
		return p.finish(), err
	}
	err := p.loop(ctx, stop)
	return p.finish(), err
}

func newPipeline(cfg Config) *pipeline {
	p := &pipeline{Config: cfg, offsets: Offsets{}, started: time.Now(), advance: noTime}
	p.result.Answers = map[string]int64{}
	if p.Time != nil {
		p.mark = newWatermark(p.Time.Lateness, p.Time.Idle)
	}
	return p
}

func (p *pipeline) finish() Result {
	r := p.result
	r.Run, r.Seq, r.Elapsed, r.Watermark, r.Samples = p.run, p.record.Seq, time.Since(p.started), noTime, p.sampled
	if p.mark != nil {
		r.Watermark = p.mark.current
	}
	if p.last != nil {
		r.Total = p.last.Totals
	}
	for i, t := range p.tallies {
		if late := t.Late(); late > 0 {
			if r.Late == nil {
				r.Late = map[string]int64{}
			}
			r.Late[p.Rules[i].Name] = late
		}
	}
	if s, ok := p.Table.Current(); ok {
		r.Snapshot = s.ID
	}
	return r
}

func (p *pipeline) releaseAll() {
	for _, t := range p.tallies {
		t.Release()
	}
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
	in := &intake{source: p.Source, newDecoder: p.NewDecoder, time: p.Time, mem: p.Mem, workers: runtime.GOMAXPROCS(0)}
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
			if p.mark != nil && p.mark.stepAside(now) {
				p.pending.moved = true
				if err := p.advanceRules(); err != nil {
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
	faults.Point(faults.Polled)
	if d.err != nil {
		return d.err
	}
	if p.pending.since.IsZero() {
		p.pending.since = time.Now()
	}
	if p.mark != nil {
		p.mark.announce(d.source.Announce)
	}
	if d.source.Partition != "" {
		p.offsets[d.source.Partition] = d.source.Position
	}
	rows := int64(0)
	if d.rows != nil && d.rows.NumRows() > 0 {
		rows = d.rows.NumRows()
		if err := p.takeRows(ctx, d); err != nil {
			return err
		}
	}
	p.addLetters(d.letters)
	p.pending.records += int64(d.records)
	p.pending.rows += rows
	p.pending.letters += int64(len(d.letters))
	p.pending.bytes += d.bytes
	p.run.Records += int64(d.records)
	p.run.Rows += rows
	p.run.DeadLetters += int64(len(d.letters))
	p.result.Bytes += d.bytes
	if p.mark != nil && d.source.Partition != "" {
		if d.source.CaughtUp {
			p.mark.caughtUp(d.source.Partition, time.Now())
		}
		if d.source.End {
			p.mark.end(d.source.Partition)
		}
		if err := p.advanceRules(); err != nil {
			return err
		}
	}
	if p.run.Records >= 1000 {
		return p.checkBad()
	}
	return nil
}

func (p *pipeline) takeRows(ctx context.Context, d *decoded) error {
	var marks []int64
	if p.mark != nil {
		p.marks = p.mark.rows(d.source.Partition, d.times, p.marks[:0])
		marks = p.marks
	}
	for i, t := range p.tallies {
		if err := t.Add(tally.Rows{Batch: d.rows, Date: d.dates, Watermark: marks}); err != nil {
			return fmt.Errorf("rule %s: %w", p.Rules[i].Name, err)
		}
		for _, f := range t.RowFailures() {
			at := int64(noTime)
			if d.times != nil {
				at = d.times[f.Row]
			}
			p.addLetters([]Letter{{Partition: d.source.Partition, Offset: d.offsets[f.Row], Time: at, Stage: StageRule,
				Reason: p.Rules[i].Name + ": " + f.Reason}})
			p.result.RuleFails++
		}
	}
	if err := p.rows.Write(ctx, d.rows); err != nil {
		return fmt.Errorf("write rows of %s: %w", d.source.Partition, err)
	}
	return nil
}

func (p *pipeline) addLetters(letters []Letter) {
	p.letters = append(p.letters, letters...)
	for _, l := range letters {
		p.pending.bytes += int64(len(l.Payload))
		if len(p.sampled) < 10 {
			p.sampled = append(p.sampled, l)
		}
	}
}

// advanceRules tells the rules how far event time has come.
func (p *pipeline) advanceRules() error {
	if p.mark.current == p.advance {
		return nil
	}
	p.advance = p.mark.current
	for i, t := range p.tallies {
		if err := t.Advance(p.advance); err != nil {
			return fmt.Errorf("rule %s: close windows: %w", p.Rules[i].Name, err)
		}
	}
	return nil
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
	if atEnd && p.CloseWindows && p.mark != nil && p.mark.largest != noTime {
		for i, t := range p.tallies {
			if err := t.CloseAll(); err != nil {
				return fmt.Errorf("rule %s: close windows: %w", p.Rules[i].Name, err)
			}
		}
		p.pending.moved = true
	}
	if p.pending.records > 0 || p.pending.moved {
		return p.commit(ctx)
	}
	return nil
}
