package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"time"

	"lake/rules/tally"
	"lake/table"
)

// State is what a pipeline's last commits keep, of all its shards, read without
// taking them over.
type State struct {
	Records   []table.Record // of each shard
	Time      time.Time      // of the newest commit
	Offsets   Offsets
	Watermark *int64 // µs, the least of the shards'; nil: none yet
	Totals    Totals
	Counts    RowCounts // fewer than Totals.Rows where a lake that did not count them began the pipeline
	Rules     []RuleState
}

// RuleState is a rule's state in the last commits.
type RuleState struct {
	tally.Rule
	Known  bool // the checkpoints have it as the job has it now
	Groups int
	Bytes  int64
	Late   int64
	Stats  map[int32]tally.DateStats // by date; nil where not Known
}

// ReadState reads the state of a pipeline; found is false before its first
// commit. An owner that goes on deletes what its next commits do not need: the
// table is then refreshed, and its newest state read. What t has afterwards is
// the table as that state has it.
func ReadState(ctx context.Context, t *table.Table, blobs Blobs, pipeline string, rules []tally.Rule) (State, bool, error) {
	var s State
	var found bool
	err := beside(ctx, t, func() (err error) {
		s, found, err = readState(ctx, t, blobs, pipeline, rules)
		return err
	})
	return s, found, err
}

// beside reads what a table names beside owners that commit, and remove what it named
// before: where a file is gone, the table and then the file are read again.
func beside(ctx context.Context, t *table.Table, read func() error) error {
	for try := 1; ; try++ {
		err := read()
		if try == stateTries || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := t.Refresh(ctx); err != nil {
			return err
		}
	}
}

// stateTries bounds how often a reader runs after an owner that commits.
const stateTries = 20

// ReadWatermark is the least of the watermarks of a pipeline's shards, in µs, as
// ReadState gives it; nil: there is none yet. It reads a file a shard and not the
// rules' state.
func ReadWatermark(ctx context.Context, t *table.Table, blobs Blobs, pipeline string) (*int64, error) {
	s, _, err := ReadState(ctx, t, blobs, pipeline, nil)
	return s.Watermark, err
}

func readState(ctx context.Context, t *table.Table, blobs Blobs, pipeline string, rules []tally.Rule) (s State, found bool, err error) {
	records, err := t.Records()
	if err != nil {
		return s, false, err
	}
	s.Offsets, s.Counts = Offsets{}, newRowCounts()
	for _, rule := range rules {
		s.Rules = append(s.Rules, RuleState{Rule: rule, Known: true, Stats: map[int32]tally.DateStats{}})
	}
	for _, r := range records {
		if r.Pipeline != pipeline {
			continue
		}
		s.Records = append(s.Records, r)
		if r.Blob == "" {
			continue
		}
		found = true
		if err := s.add(ctx, blobs.of(r.Shard), r); err != nil {
			return s, false, err
		}
	}
	for i := range s.Rules {
		if !found || !s.Rules[i].Known {
			s.Rules[i].Known, s.Rules[i].Stats = false, nil
		}
	}
	return s, found, nil
}

// add reads one shard's last commit.
func (s *State) add(ctx context.Context, blobs Blobs, r table.Record) error {
	c, err := readCheckpoint(ctx, blobs, r.Blob, r.SHA256)
	if err != nil {
		return err
	}
	if c.Time.After(s.Time) {
		s.Time = c.Time
	}
	maps.Copy(s.Offsets, c.Offsets)
	s.Totals.add(c.Totals)
	counts, err := c.rowCounts()
	if err != nil {
		return err
	}
	s.Counts.merge(counts)
	if at := c.Mark.Current; at != noTime && (s.Watermark == nil || at < *s.Watermark) {
		s.Watermark = &at
	}
	if len(s.Rules) == 0 {
		return nil // their files may be many
	}
	parts, err := c.states(ctx, blobs)
	if err != nil {
		return err
	}
	for i := range s.Rules {
		if err := s.Rules[i].add(c, parts); err != nil {
			return fmt.Errorf("read the state of rule %s: %w", s.Rules[i].Name, err)
		}
	}
	return nil
}

func (r *RuleState) add(c *checkpoint, parts map[string][][]byte) error {
	for _, kept := range c.Rules {
		if kept.Name != r.Name || kept.Fingerprint != fingerprint(Rule{Rule: r.Rule}) {
			continue
		}
		r.Groups += kept.Groups
		r.Bytes += kept.Bytes
		r.Late += kept.Late
		stats, err := tally.ReadStats(r.Rule, parts[r.Name]...)
		for date, d := range stats {
			sum := r.Stats[date]
			sum.Matched += d.Matched
			sum.Late += d.Late
			sum.Closed += d.Closed
			sum.Answers += d.Answers
			sum.Sum += d.Sum
			r.Stats[date] = sum
		}
		return err
	}
	r.Known = false
	return nil
}
