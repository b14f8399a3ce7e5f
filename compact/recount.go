package compact

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"golang.org/x/sync/errgroup"

	"lake/rules/tally"
	"lake/table"
)

// Stream is what the stream said of a rule, by date (days since 1970): the
// other side of the recount.
type Stream struct {
	Rule  tally.Rule
	Stats map[int32]tally.DateStats
	// Keys are columns whose NULL leaves a row out of the rule, as in the stream; nil: none.
	Keys []string
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

// recountRows are more: of a recount's batches, of a few columns, one is in memory, and
// the rules share it out at each.
const recountRows = 16 << 10

// recount answers the rules again over the rows of one closed date.
type recount struct {
	date    int32
	mem     memory.Allocator
	streams []Stream
	tallies []*tally.Tally
	nulls   []int64 // rows that each left out
}

// newRecount counts where the group is all of a closed date; else nothing.
func newRecount(g Group, o Options, r *Result) (*recount, error) {
	c := &recount{}
	date, ok := g.closed(o.Closed)
	if !ok {
		return c, nil
	}
	if date < o.Dropped {
		r.OutOfDate = len(o.Streams)
		return c, nil
	}
	c.date, c.mem, c.nulls = date, o.Mem, make([]int64, len(o.Streams))
	for _, s := range o.Streams {
		t, err := tally.New(s.Rule, tally.Options{Mem: o.Mem, MaxBytes: o.MemoryBytes / 2})
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", s.Rule.Name, err)
		}
		c.streams, c.tallies = append(c.streams, s), append(c.tallies, t)
	}
	return c, nil
}

// scan counts a group's rows, of which it reads the rules' columns.
func (c *recount) scan(ctx context.Context, t *table.Table, snapshot int64, g Group, aheadBytes int64) error {
	if len(c.tallies) == 0 {
		return nil
	}
	var columns []string
	for _, name := range t.Schema().Names() {
		if slices.ContainsFunc(c.streams, func(s Stream) bool {
			return slices.Contains(s.Rule.Plan.Columns(), name) || slices.Contains(s.Keys, name)
		}) {
			columns = append(columns, name)
		}
	}
	if len(columns) == 0 { // they count rows: any will do
		columns = t.Schema().Names()[:1]
	}
	for batch, err := range t.Scan(ctx, table.ScanOptions{Snapshot: snapshot, Files: g.Files, Columns: columns, BatchRows: recountRows, AheadBytes: aheadBytes}) {
		if err != nil {
			return err
		}
		err = c.add(batch)
		batch.Release()
		if err != nil {
			return err
		}
	}
	return nil
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
	var adding errgroup.Group // each rule on a core of its own
	adding.SetLimit(runtime.GOMAXPROCS(0))
	for i, t := range c.tallies {
		adding.Go(func() error {
			rows, err := c.keyed(batch, c.streams[i].Keys)
			if err == nil {
				c.nulls[i] += batch.NumRows() - rows.NumRows()
				err = t.Add(tally.Rows{Batch: rows, Date: dates[:rows.NumRows()]})
				rows.Release()
			}
			if err != nil {
				return fmt.Errorf("recount rule %s: %w", c.streams[i].Rule.Name, err)
			}
			t.RowFailures()
			return nil
		})
	}
	return adding.Wait()
}

// keyed are the rows that have no NULL in keys. The caller releases them.
func (c *recount) keyed(batch arrow.RecordBatch, keys []string) (arrow.RecordBatch, error) {
	var nullable []arrow.Array
	for _, name := range keys {
		for _, i := range batch.Schema().FieldIndices(name) {
			if column := batch.Column(i); column.NullN() > 0 {
				nullable = append(nullable, column)
			}
		}
	}
	if len(nullable) == 0 {
		batch.Retain()
		return batch, nil
	}
	keep := array.NewBooleanBuilder(c.mem)
	defer keep.Release()
	for row := range int(batch.NumRows()) {
		keep.Append(!slices.ContainsFunc(nullable, func(a arrow.Array) bool { return a.IsNull(row) }))
	}
	mask := keep.NewArray()
	defer mask.Release()
	return compute.FilterRecordBatch(compute.WithAllocator(context.Background(), c.mem), batch, mask, compute.DefaultFilterOptions())
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
		r.NullKeys += c.nulls[i]
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
