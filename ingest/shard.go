package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lake/load"
	"lake/rules/tally"
	"lake/table"
)

// shard is a part of the source that has one owner: its offsets, watermark and
// rule state move together, from one commit to the next and from one process to
// another. Its record in the table says how far it is.
type shard struct {
	p       *pipeline
	name    string
	blobs   Blobs
	record  table.Record // of the last commit
	last    *checkpoint  // nil before the first
	chain   []link       // of last and what it needs
	offsets Offsets
	mark    *watermark // nil: the job has no event time
	tallies []*tally.Tally
	sinks   []load.Sink // as Config.Sinks
	letters []Letter
	counts  RowCounts // with what is pending
	anew    bool      // the rules' state does not fit the rows: it is rebuilt from them
	unknown []int     // rules, by place, whose state the last commit does not have
	astray  bool      // a row since the last commit is not where its key's hash says

	pending pending
	marks   []int64 // scratch
	where   tally.Where
	advance int64 // watermark that the rules have seen
}

func (p *pipeline) newShard(name string) *shard {
	s := &shard{p: p, name: name, blobs: p.Blobs.of(name), offsets: Offsets{}, counts: newRowCounts(), advance: noTime}
	if p.Time != nil {
		s.mark = newWatermark(p.Time.Lateness, p.Time.Idle)
	}
	return s
}

// release lets go of what the shard holds in memory.
func (s *shard) release() {
	for _, t := range s.tallies {
		t.Release()
	}
	s.tallies = nil
}

func (s *shard) close() error {
	var errs []error
	for _, sink := range s.sinks {
		errs = append(errs, sink.Close())
	}
	s.sinks = nil
	return errors.Join(errs...)
}

func (p *pipeline) closeShards() error {
	var errs []error
	for _, s := range p.shards {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// newTallies makes an empty state for each rule. Together they may hold a
// quarter of the memory.
func (s *shard) newTallies() error {
	for _, r := range s.p.Rules {
		t, err := tally.New(r.Rule, tally.Options{Mem: s.p.Mem, MaxBytes: s.p.Memory / 4 / int64(len(s.p.Rules))})
		if err != nil {
			return fmt.Errorf("rule %s: %w", r.Name, err)
		}
		s.tallies = append(s.tallies, t)
	}
	return nil
}

// take adds a decoded batch to what the next commit holds.
func (s *shard) take(ctx context.Context, d *decoded) error {
	p := s.p
	if s.mark != nil && p.Keys == nil { // a shared partition waits for no other
		s.mark.announce(d.source.Announce)
	}
	if d.source.Partition != "" {
		if _, known := s.offsets[d.source.Partition]; !known && s.last == nil && p.Keys != nil {
			s.moved() // where a partition begins is kept, though it may have no records for long
		}
		s.offsets[d.source.Partition] = d.source.Position
	}
	s.astray = s.astray || d.astray
	rows := int64(0)
	if d.rows != nil && d.rows.NumRows() > 0 {
		rows = d.rows.NumRows()
		s.counts.add(d.source.Partition, rows, d.dates)
		if err := s.takeRows(ctx, d); err != nil {
			return err
		}
	}
	s.addLetters(d.letters)
	records, letters := int64(d.records), int64(len(d.letters))
	s.pending.add(records, rows, letters, 0)
	p.pending.add(records, rows, letters, d.bytes)
	p.run.Records += records
	p.run.Rows += rows
	p.run.DeadLetters += letters
	p.result.Bytes += d.bytes
	if s.mark == nil || d.source.Partition == "" {
		return nil
	}
	if d.source.CaughtUp {
		s.mark.caughtUp(d.source.Partition, time.Now())
	}
	if d.source.End {
		s.mark.end(d.source.Partition)
	}
	return s.advanceRules()
}

// takeRows writes a batch's rows and, at the same time, has the rules count them.
// Either may be the slower one; both are too slow to wait for one another.
func (s *shard) takeRows(ctx context.Context, d *decoded) error {
	if len(s.tallies) == 0 {
		return s.writeRows(ctx, d)
	}
	table.CountNulls(d.rows)
	written := make(chan error, 1)
	go func() { written <- s.writeRows(ctx, d) }()
	err := s.countRows(d)
	return errors.Join(err, <-written)
}

func (s *shard) writeRows(ctx context.Context, d *decoded) error {
	if err := s.p.rows.Write(ctx, d.rows); err != nil {
		return fmt.Errorf("write rows of %s: %w", d.source.Partition, err)
	}
	return nil
}

// countRows has the rules take a batch's rows.
func (s *shard) countRows(d *decoded) error {
	p := s.p
	var marks []int64
	if s.mark != nil {
		s.marks = s.mark.rows(d.source.Partition, d.marks, s.marks[:0])
		marks = s.marks
	}
	p.result.NullKeys += int64(d.nullKeys)
	p.result.Ahead += int64(d.ahead)
	s.where.Reset()
	for i, t := range s.tallies {
		taken := tally.Rows{Batch: d.rows, Date: d.dates, Watermark: marks, Where: &s.where}
		at := func(row int) int { return row }
		if d.nullKeys > 0 && p.Rules[i].Plan.Grouped {
			keyed, err := d.keyed(marks, p.Mem)
			if err != nil {
				return fmt.Errorf("rule %s: leave out rows whose key is NULL: %w", p.Rules[i].Name, err)
			}
			defer keyed.rows.Batch.Release()
			taken, at = keyed.rows, func(row int) int { return keyed.at[row] }
		}
		if err := t.Add(taken); err != nil {
			return fmt.Errorf("rule %s: %w", p.Rules[i].Name, err)
		}
		for _, f := range t.RowFailures() {
			when := int64(noTime)
			if d.times != nil {
				when = d.times[at(f.Row)]
			}
			s.addLetters([]Letter{{Partition: d.source.Partition, Offset: d.offsets[at(f.Row)], Time: when, Stage: StageRule,
				Reason: p.Rules[i].Name + ": " + f.Reason}})
			p.result.RuleFails++
		}
	}
	return s.checkMemory()
}

// checkMemory bounds the state of all shards that this process has.
func (s *shard) checkMemory() error {
	p := s.p
	if len(p.shards) < 2 {
		return nil // each rule has its own bound
	}
	var bytes int64
	for _, each := range p.shards {
		for _, t := range each.tallies {
			bytes += t.Bytes()
		}
	}
	if bytes > p.Memory/4 {
		return fmt.Errorf("the rules of %d source partitions hold %d bytes and may hold %d, a quarter of --memory: raise --memory, or run more processes: %w",
			len(p.shards), bytes, p.Memory/4, tally.ErrStateTooLarge)
	}
	return nil
}

func (s *shard) addLetters(letters []Letter) {
	s.letters = append(s.letters, letters...)
	for _, l := range letters {
		s.p.pending.bytes += int64(len(l.Payload))
		if len(s.p.sampled) < 10 {
			s.p.sampled = append(s.p.sampled, l)
		}
	}
}

// moved notes that the shard has something to commit besides records.
func (s *shard) moved() {
	s.pending.moved, s.p.pending.moved = true, true
	if s.p.pending.since.IsZero() {
		s.p.pending.since = time.Now()
	}
}

// stepAside makes partitions idle that had nothing to read for their time.
func (s *shard) stepAside(now time.Time) error {
	if s.mark == nil || !s.mark.stepAside(now) {
		return nil
	}
	s.moved()
	return s.advanceRules()
}

// advanceRules tells the rules how far event time has come.
func (s *shard) advanceRules() error {
	if s.mark.current == s.advance {
		return nil
	}
	s.advance = s.mark.current
	for i, t := range s.tallies {
		if err := t.Advance(s.advance); err != nil {
			return fmt.Errorf("rule %s: close windows: %w", s.p.Rules[i].Name, err)
		}
	}
	return nil
}

// closeWindows closes all windows, as if event time had ended.
func (s *shard) closeWindows() error {
	if s.mark == nil || s.mark.largest == noTime {
		return nil
	}
	for i, t := range s.tallies {
		if err := t.CloseAll(); err != nil {
			return fmt.Errorf("rule %s: close windows: %w", s.p.Rules[i].Name, err)
		}
	}
	s.moved()
	return nil
}
