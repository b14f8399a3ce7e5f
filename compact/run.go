package compact

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"lake/table"
)

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
	remote := t.IsRemote()
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
		memory, beside := o.share(g, remote)
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

// Groups a core that are worked on side by side at most.
const (
	diskGroups  = 2 // each waits for the disk at its end
	storeGroups = 4 // and for a store at its begin, too, and longer
)

// share is the memory that a group's writer gets, and how many others may be
// worked on beside it: some a core where they are small, none where they are not.
func (o Options) share(g Group, remote bool) (memory int64, beside int) {
	groups := diskGroups
	if remote {
		groups = storeGroups
	}
	need := 4 * max(g.Bytes, 2<<20)
	if len(o.Order.Columns) > 0 {
		need *= 8 // rows that are sorted are in memory as they are, not encoded
	}
	all := o.MemoryBytes / 2
	n := max(1, min(all/need, int64(groups*runtime.GOMAXPROCS(0))))
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
	files := 0
	for _, w := range done {
		files += len(w.group.Files)
	}
	change.Old = make([]table.File, 0, files)
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
