package compact

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/uuid"

	"lake/rules/tally"
	"lake/table"
)

// Stream is what the stream said of a rule, by date (days since 1970): the
// other side of the recount.
type Stream struct {
	Rule  tally.Rule
	Stats map[int32]tally.DateStats
}

// Options are how a plan is executed.
type Options struct {
	Mem         memory.Allocator
	MemoryBytes int64
	TargetBytes int64
	// Streams are recounted on dates that are whole in a group and closed: their
	// end lies at or before Closed (days since 1970, the first open date).
	Streams []Stream
	Closed  int32
	Log     *slog.Logger
}

// Difference is a rule and date for which the table's rows give another answer
// than the stream gave.
type Difference struct {
	Rule   string          `json:"rule"`
	Date   string          `json:"date"`
	Stream tally.DateStats `json:"stream"`
	Table  tally.DateStats `json:"table"`
	Reason string          `json:"reason"`
}

// Result is what a compaction did.
type Result struct {
	Groups      int          `json:"groups"`
	FilesIn     int          `json:"files_in"`
	FilesOut    int          `json:"files_out"`
	Rows        int64        `json:"rows"`
	BytesIn     int64        `json:"bytes_in"`
	BytesOut    int64        `json:"bytes_out"`
	Skipped     int          `json:"skipped,omitempty"`   // groups whose files changed since the plan
	Recounted   int          `json:"recounted,omitempty"` // rules times dates
	Late        int64        `json:"late,omitempty"`      // rows that the stream left out of closed windows
	Differences []Difference `json:"differences,omitempty"`
}

// Run executes a plan, a commit a group: what is done stays done where a later
// group fails. A group whose files another writer changed is left for the next plan.
func Run(ctx context.Context, t *table.Table, plan Plan, o Options) (Result, error) {
	var r Result
	for _, g := range plan.Groups {
		if err := ctx.Err(); err != nil {
			return r, fmt.Errorf("compact %s: stopped before partition %s: %w", t.Name(), g.Partition, context.Cause(ctx))
		}
		err := r.rewrite(ctx, t, plan.Snapshot, g, o)
		switch {
		case errors.Is(err, table.ErrReplan):
			o.Log.Info("its files changed since the plan; it is left for the next run", "partition", g.Partition)
			r.Skipped++
		case err != nil:
			return r, fmt.Errorf("compact %s: partition %s: %w", t.Name(), g.Partition, err)
		}
	}
	return r, nil
}

func (r *Result) rewrite(ctx context.Context, t *table.Table, snapshot int64, g Group, o Options) (err error) {
	w, err := t.NewWriter(table.WriterOptions{Mem: o.Mem, TargetBytes: o.TargetBytes, MemoryBytes: o.MemoryBytes / 2, Name: "compact-" + uuid.NewString()})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			abort, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
			defer cancel()
			err = errors.Join(err, w.Abort(abort))
		}
	}()
	counts, err := newRecount(g, o)
	if err != nil {
		return err
	}
	defer counts.release()
	var rows int64
	for batch, err := range t.Scan(ctx, table.ScanOptions{Snapshot: snapshot, Files: g.Files}) {
		if err != nil {
			return err
		}
		rows += batch.NumRows()
		err = errors.Join(counts.add(batch), w.Write(ctx, batch))
		batch.Release()
		if err != nil {
			return err
		}
	}
	if rows != g.Rows && !hasDeletes(g) {
		return fmt.Errorf("its files hold %d rows and the manifest says %d; nothing was changed: check the table with lake tables files", rows, g.Rows)
	}
	files, err := w.Flush(ctx)
	if err != nil {
		return err
	}
	if err := t.Rewrite(ctx, table.Rewrite{Snapshot: snapshot, Old: g.Files, New: files}); err != nil {
		return err
	}
	r.Groups++
	r.FilesIn += len(g.Files)
	r.FilesOut += len(files)
	r.Rows += rows
	r.BytesIn += g.Bytes
	for _, f := range files {
		r.BytesOut += f.FileSizeBytes()
	}
	return counts.compare(r)
}

func hasDeletes(g Group) bool {
	for _, f := range g.Files {
		if f.Deletes > 0 {
			return true
		}
	}
	return false
}

// recount answers the rules again over the rows of one closed date.
type recount struct {
	date    int32
	streams []Stream
	tallies []*tally.Tally
}

// newRecount counts where the group is all of a closed date; else nothing.
func newRecount(g Group, o Options) (*recount, error) {
	c := &recount{}
	date, ok := g.Files[0].Date()
	if !ok || !g.Whole || date >= o.Closed {
		return c, nil
	}
	c.date = date
	for _, s := range o.Streams {
		t, err := tally.New(s.Rule, tally.Options{Mem: o.Mem, MaxBytes: o.MemoryBytes / 2})
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", s.Rule.Name, err)
		}
		c.streams, c.tallies = append(c.streams, s), append(c.tallies, t)
	}
	return c, nil
}

func (c *recount) release() {
	for _, t := range c.tallies {
		t.Release()
	}
}

func (c *recount) add(batch arrow.RecordBatch) error {
	if len(c.tallies) == 0 {
		return nil
	}
	dates := make([]int32, batch.NumRows())
	for i := range dates {
		dates[i] = c.date
	}
	for i, t := range c.tallies {
		if err := t.Add(tally.Rows{Batch: batch, Date: dates}); err != nil {
			return fmt.Errorf("recount rule %s: %w", c.streams[i].Rule.Name, err)
		}
		t.RowFailures()
	}
	return nil
}

// compare sets the recount beside what the stream said. Rows that came too late
// for a window are in the table and not in the stream's answer: where there are
// such, their number explains the difference.
func (c *recount) compare(r *Result) error {
	for i, t := range c.tallies {
		s := c.streams[i]
		stream, known := s.Stats[c.date]
		if !known {
			continue // the rule is younger than the date
		}
		if err := t.CloseAll(); err != nil {
			return fmt.Errorf("recount rule %s: %w", s.Rule.Name, err)
		}
		r.Recounted++
		r.Late += stream.Late
		if stream.Late > 0 {
			continue
		}
		if reason := differs(stream, t.Stats()[c.date]); reason != "" {
			day := time.Unix(int64(c.date)*86400, 0).UTC().Format(time.DateOnly)
			r.Differences = append(r.Differences, Difference{Rule: s.Rule.Name, Date: day, Stream: stream, Table: t.Stats()[c.date], Reason: reason})
		}
	}
	return nil
}

// differs says how a recount differs from the stream, "" where it does not.
func differs(stream, table tally.DateStats) string {
	switch {
	case stream.Matched != table.Matched:
		return fmt.Sprintf("the stream counted %d rows and the table has %d", stream.Matched, table.Matched)
	case stream.Answers != table.Answers:
		return fmt.Sprintf("the stream answered for %d groups and the table gives %d", stream.Answers, table.Answers)
	case stream.Sum != table.Sum:
		return fmt.Sprintf("the same %d groups have other answers", table.Answers)
	default:
		return ""
	}
}
