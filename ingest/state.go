package ingest

import (
	"context"
	"time"

	"lake/rules/tally"
	"lake/table"
)

// State is what a pipeline's last commit keeps, read without taking it over.
type State struct {
	Record    table.Record
	Time      time.Time // of the commit
	Offsets   Offsets
	Watermark *int64 // µs; nil: none yet
	Totals    Totals
	Rules     []RuleState
}

// RuleState is a rule's state in the last commit.
type RuleState struct {
	tally.Rule
	Known  bool // the checkpoint has it as the job has it now
	Groups int
	Bytes  int64
	Late   int64
	Stats  map[int32]tally.DateStats // by date; nil where not Known
}

// ReadState reads the state of a pipeline; found is false before its first commit.
func ReadState(ctx context.Context, t *table.Table, blobs Blobs, pipeline string, rules []tally.Rule) (s State, found bool, err error) {
	s.Record, found, err = t.Record(pipeline, Shard)
	if err != nil || !found || s.Record.Blob == "" {
		return s, false, err
	}
	c, err := readCheckpoint(ctx, blobs, s.Record.Blob, s.Record.SHA256)
	if err != nil {
		return s, false, err
	}
	s.Time, s.Offsets, s.Totals = c.Time, c.Offsets, c.Totals
	if c.Mark.Current != noTime {
		s.Watermark = &c.Mark.Current
	}
	parts, err := c.states(ctx, blobs)
	if err != nil {
		return s, false, err
	}
	for _, rule := range rules {
		r := RuleState{Rule: rule}
		for _, kept := range c.Rules {
			if kept.Name == rule.Name && kept.Fingerprint == fingerprint(Rule{Rule: rule}) {
				r.Known, r.Groups, r.Bytes, r.Late = true, kept.Groups, kept.Bytes, kept.Late
			}
		}
		if r.Known {
			if r.Stats, err = tally.ReadStats(rule, parts[rule.Name]...); err != nil {
				return s, false, err
			}
		}
		s.Rules = append(s.Rules, r)
	}
	return s, true, nil
}
