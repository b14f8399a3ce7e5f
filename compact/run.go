package compact

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/iceberg-go"
	"github.com/google/uuid"
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

// Options are how a plan is executed.
type Options struct {
	Mem memory.Allocator
	// MemoryBytes bounds what is written and not in a file yet, half of it, and the
	// files that are read at a time, a quarter, unless it is one: of that a row group
	// is in memory.
	MemoryBytes int64
	TargetBytes int64
	// Streams are recounted on dates that are whole in a group and closed: their
	// end lies at or before Closed (days since 1970, the first open date).
	Streams []Stream
	Closed  int32
	// Dropped is the first date that the table never dropped: of older ones it
	// does not have what the stream counted. math.MinInt32: it has all.
	Dropped int32
	// Order that new files have; without columns: that of the files that they are made of.
	Order table.Order
	Log   *slog.Logger
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
	Skipped     int          `json:"skipped,omitempty"`     // groups whose files changed since the plan
	Recounted   int          `json:"recounted,omitempty"`   // rules times dates
	OutOfDate   int          `json:"out_of_date,omitempty"` // not recounted, rules times dates: of dates that were dropped late rows are left at most
	Late        int64        `json:"late,omitempty"`        // rows that the stream left out of closed windows
	NullKeys    int64        `json:"null_keys,omitempty"`   // rows that stream and recount left out, once a rule
	Differences []Difference `json:"differences,omitempty"`
}

// commitBytes of rewritten files, not more by much, go into one commit. Each
// commit reads the manifests of all of the table, which costs more than the
// rewrite of some small files; what is lost where one fails is this much work.
const commitBytes = 1 << 30

// batchRows are few: in batches lie the rows as they are in memory, several a
// file that is read, and they were most of what a compaction held.
const batchRows = 4 << 10

// recountRows are more: of a recount's batches, of a few columns, one is in memory, and
// the rules share it out at each.
const recountRows = 16 << 10

// written is a group whose rows are in new files, not committed yet.
type written struct {
	group   Group
	files   []iceberg.DataFile
	recount Result // what is in it of the recount
}

// Run executes a plan, some groups a commit: what is done stays done where a
// later group fails. A group whose files another writer changed is left for the
// next plan. Small groups are worked on side by side, as far as the memory allows.
func Run(ctx context.Context, t *table.Table, plan Plan, o Options) (Result, error) {
	var r Result
	var done []written
	var size int64
	commit := func() error {
		err := r.commit(ctx, t, plan.Snapshot, done, o)
		done, size = nil, 0
		return err
	}
	working, stop := context.WithCancel(ctx)
	defer stop()
	merging := t.NewMerging(plan.Snapshot, table.WriterOptions{Mem: o.Mem, TargetBytes: o.TargetBytes})
	var begun []*rewriting // in the order of the plan, in which they are settled
	ended := make(chan struct{}, len(plan.Groups))
	settle := func() error {
		next := begun[0]
		begun = begun[1:]
		w, err := next.wait()
		if err != nil {
			return fmt.Errorf("compact %s: partition %s: %w", t.Name(), w.group.Partition, err)
		}
		done, size = append(done, w), size+w.group.Bytes
		return nil
	}
	// drop ends what was begun and is not to be committed: its files go.
	drop := func() {
		stop()
		for _, each := range begun {
			each.drop(ctx, merging)
		}
		begun = nil
	}
	for _, g := range plan.Groups {
		if ctx.Err() != nil {
			drop()
			return r, fmt.Errorf("compact %s: stopped before partition %s: %w", t.Name(), g.Partition, context.Cause(ctx))
		}
		memory, beside := o.share(g)
		// A group that waits for the disk keeps none but itself: those behind it go on.
		for crowded(begun, beside) {
			<-ended
		}
		for len(begun) > 0 && begun[0].over() {
			if err := settle(); err != nil {
				drop()
				return r, errors.Join(err, commit())
			}
		}
		if size >= commitBytes {
			if err := commit(); err != nil {
				drop()
				return r, err
			}
		}
		begun = append(begun, begin(working, t, merging, plan.Snapshot, g, o, memory, beside, ended))
	}
	for len(begun) > 0 {
		if err := settle(); err != nil {
			drop()
			return r, errors.Join(err, commit())
		}
	}
	return r, commit()
}

// share is the memory that a group's writer gets, and how many others may be
// worked on beside it: some a core where they are small, since each waits for the
// disk at its end, and none where they are not.
func (o Options) share(g Group) (memory int64, beside int) {
	need := 4 * max(g.Bytes, 2<<20)
	if len(o.Order.Columns) > 0 {
		need *= 8 // rows that are sorted are in memory as they are, not encoded
	}
	all := o.MemoryBytes / 2
	n := max(1, min(all/need, int64(2*runtime.GOMAXPROCS(0))))
	return all / n, int(n) - 1
}

// crowded tells whether one more that allows so many beside it has to wait for an end.
func crowded(begun []*rewriting, beside int) bool {
	working := 0
	for _, r := range begun {
		if !r.over() {
			working, beside = working+1, min(beside, r.beside)
		}
	}
	return working > beside
}

// commit puts new files in the place of the groups', all at once or, where
// another writer changed some of them, the others one by one.
func (r *Result) commit(ctx context.Context, t *table.Table, snapshot int64, done []written, o Options) error {
	if len(done) == 0 {
		return nil
	}
	change := table.Rewrite{Snapshot: snapshot}
	for _, w := range done {
		change.Old, change.New = append(change.Old, w.group.Files...), append(change.New, w.files...)
	}
	err := t.Rewrite(ctx, change)
	switch {
	case errors.Is(err, table.ErrReplan) && len(done) > 1:
		for i := range done {
			if err := r.commit(ctx, t, snapshot, done[i:i+1], o); err != nil {
				return err
			}
		}
		return nil
	case errors.Is(err, table.ErrReplan):
		o.Log.Info("its files changed since the plan; it is left for the next run", "partition", done[0].group.Partition)
		r.Skipped++
		return nil
	case err != nil:
		return fmt.Errorf("compact %s: partition %s and %d more: %w", t.Name(), done[0].group.Partition, len(done)-1, err)
	}
	for _, w := range done {
		r.Groups++
		r.FilesIn += len(w.group.Files)
		r.FilesOut += len(w.files)
		r.BytesIn += w.group.Bytes
		for _, f := range w.files {
			r.Rows += f.Count()
			r.BytesOut += f.FileSizeBytes()
		}
		r.Recounted += w.recount.Recounted
		r.OutOfDate += w.recount.OutOfDate
		r.Late += w.recount.Late
		r.NullKeys += w.recount.NullKeys
		r.Differences = append(r.Differences, w.recount.Differences...)
	}
	return nil
}

// sink takes a group's rows.
type sink interface {
	Flush(ctx context.Context) ([]iceberg.DataFile, error)
	Abort(ctx context.Context) error
}

// rewriting is a group that is worked on.
type rewriting struct {
	beside int // so many others may be
	done   chan struct{}
	written
	sink sink // nil: it could not be opened
	err  error
}

// begin works on a group in a goroutine, for whose end wait waits. It then says so on ended.
func begin(ctx context.Context, t *table.Table, merging *table.Merging, snapshot int64, g Group, o Options, memoryBytes int64, beside int, ended chan<- struct{}) *rewriting {
	r := &rewriting{beside: beside, done: make(chan struct{}), written: written{group: g}}
	go func() {
		defer func() {
			close(r.done)
			ended <- struct{}{} // it has room for all groups
		}()
		if r.err = r.fill(ctx, t, merging, snapshot, o, memoryBytes); r.err == nil {
			r.files, r.err = r.sink.Flush(ctx)
		}
		if r.err != nil && r.sink != nil {
			r.err = errors.Join(r.err, r.abort(ctx))
		}
	}()
	return r
}

// over tells whether wait returns at once.
func (r *rewriting) over() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

func (r *rewriting) wait() (written, error) {
	<-r.done
	return r.written, r.err
}

// abort removes what was written and not returned by Flush.
func (r *rewriting) abort(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return r.sink.Abort(ctx)
}

// drop waits for the end and removes the files. What cannot be removed is left for
// the clean-up.
func (r *rewriting) drop(ctx context.Context, merging *table.Merging) {
	if _, err := r.wait(); err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	_ = merging.Discard(ctx, r.files)
}

// fill writes a group's rows, and counts them again where its date is closed.
func (r *rewriting) fill(ctx context.Context, t *table.Table, merging *table.Merging, snapshot int64, o Options, memoryBytes int64) error {
	g := r.group
	counts, err := newRecount(g, o, &r.recount)
	if err != nil {
		return err
	}
	defer counts.release()
	name := "compact-" + uuid.NewString()
	merger, ok, err := merging.Open(g.Files, name, memoryBytes)
	if err != nil {
		return err
	}
	var rows int64
	if ok {
		r.sink = merger
		if len(o.Order.Columns) > 0 {
			rows, err = merger.CopySorted(ctx, g.Files, o.Order)
		} else {
			rows, err = merger.Copy(ctx, g.Files, memoryBytes/2)
		}
		if err != nil {
			return err
		}
		err = counts.scan(ctx, t, snapshot, g, memoryBytes/2)
	} else {
		rows, err = r.scan(ctx, t, snapshot, counts, table.WriterOptions{Mem: o.Mem, TargetBytes: o.TargetBytes, MemoryBytes: memoryBytes, Name: name})
	}
	if err != nil {
		return err
	}
	if rows != g.Rows && !slices.ContainsFunc(g.Files, hasDeletes) {
		return fmt.Errorf("its files hold %d rows and the manifest says %d; nothing was changed: check the table with lake tables files", rows, g.Rows)
	}
	return counts.compare(&r.recount)
}

// scan writes the rows of files that are of another partitioning than the table's.
func (r *rewriting) scan(ctx context.Context, t *table.Table, snapshot int64, counts *recount, o table.WriterOptions) (rows int64, err error) {
	w, err := t.NewWriter(o)
	if err != nil {
		return 0, err
	}
	r.sink = w
	for batch, err := range t.Scan(ctx, table.ScanOptions{Snapshot: snapshot, Files: r.group.Files, BatchRows: batchRows, AheadBytes: o.MemoryBytes / 2}) {
		if err != nil {
			return rows, err
		}
		rows += batch.NumRows()
		err = errors.Join(counts.add(batch), w.Write(ctx, batch))
		batch.Release()
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

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
