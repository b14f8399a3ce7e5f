package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/spf13/cobra"

	"lake/compact"
	"lake/ingest"
	"lake/table"
)

// besideBytes is the memory of a compaction beside a run that follows: what that
// takes is flat, whatever there is to be merged.
const besideBytes = 64 << 20

type compactOptions struct {
	dates   dateRange
	dryRun  bool
	noRules bool
	bySize  bool // merge files of about the same size only, except in closed dates
	expire  bool
	clean   bool          // with expire: also delete what nothing refers to
	grace   time.Duration // of clean
}

// orphanGrace is how old a file must be before the clean-up takes it for
// nobody's: longer than any commit takes.
const orphanGrace = 24 * time.Hour

func newCompact(a *app) *cobra.Command {
	var o compactOptions
	cmd := &cobra.Command{
		Use:   "compact JOB",
		Short: "rewrite small files into few large ones",
		Long: `Compact plans which files of each partition become fewer, prints the plan, and
rewrites them, small partitions together in one commit. Readers and a running ingest are not
disturbed. (Beside lake ingest --follow, which compacts by itself, a date that still gets
rows has only files of about the same size merged, five or more.) On the rows that it reads anyway it counts the rules of closed dates
again and reports where the stream's answer differs (exit 1).

With table.sort_by the files that it writes are sorted by these columns (nulls first), as the
table's Iceberg sort order says, so that readers skip files and pages by a value of theirs.
Files that are not sorted yet are rewritten, large ones, too; lake ingest --follow sorts what it
merges. What does not fit into memory is sorted in temporary files (TMPDIR).

--expire first drops the dates that are older than table.retain, whole and as one
change of the metadata; a date's age is counted to the newest date in the table or
to the clock, whichever is earlier. Then it drops snapshots older than
compact.snapshots, or more than compact.max_snapshots (24h and 100 unless the job
says otherwise: more for readers who go further back), and deletes the files that
nothing refers to any more once they are older than --grace; what killed runs left
unfinished of checkpoints, dead letters and published dates goes, too.`,
		Example: `  lake compact jobs/nobroker.yaml --dry-run
  lake compact jobs/nobroker.yaml --from 2021-11-30 --to 2021-12-01 --expire`,
		Args: oneJob,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.clean = o.expire
			return a.runCompact(cmd.Context(), args[0], o)
		},
	}
	f := cmd.Flags()
	o.dates.flags(f)
	f.BoolVar(&o.dryRun, "dry-run", false, "print the plan, change nothing")
	f.BoolVar(&o.noRules, "no-rules", false, "do not count the rules again")
	f.BoolVar(&o.expire, "expire", false, "drop dates out of retention, expire old snapshots, clean up what nothing refers to")
	f.DurationVar(&o.grace, "grace", orphanGrace, "with --expire: leave unreferenced files alone that are younger")
	return cmd
}

type compactResult struct {
	Command string       `json:"command"`
	Job     string       `json:"job"`
	Table   string       `json:"table"`
	DryRun  bool         `json:"dry_run,omitempty"`
	Dropped droppedDates `json:"dropped"` // with DryRun: that would be
	Planned int          `json:"planned_groups"`
	compact.Result
	Expired int     `json:"expired_snapshots"`
	Deleted int     `json:"deleted_files"`
	Seconds float64 `json:"seconds"`
}

func (a *app) runCompact(ctx context.Context, path string, o compactOptions) error {
	r, err := a.loadJob(path)
	if err != nil {
		return err
	}
	out, err := a.compact(ctx, r, o, func(d droppedDates, p compact.Plan) {
		if a.flags.output == "text" {
			printDropped(a.stdout, d)
			printPlan(a.stdout, p)
		}
	})
	if err != nil {
		return err
	}
	if err := a.report(out, func(w io.Writer) { printCompact(w, out) }); err != nil {
		return err
	}
	if len(out.Differences) > 0 {
		return errDifference
	}
	return nil
}

// compact plans and rewrites; show sees the plan before anything is done.
func (a *app) compact(ctx context.Context, r *resolved, o compactOptions, show func(droppedDates, compact.Plan)) (out compactResult, err error) {
	out = compactResult{Command: "compact", Job: r.Name.Value, Table: r.Table.Name.Value, DryRun: o.dryRun}
	started := time.Now()
	t, err := a.openTable(ctx, r)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	filter := table.FileFilter{}
	if filter.From, filter.To, err = o.dates.parse(r.zone); err != nil {
		return out, err
	}
	if _, ok := t.Current(); !ok {
		return out, nil
	}
	run := compact.Options{Mem: memory.DefaultAllocator, MemoryBytes: int64(a.flags.memory) / 2, TargetBytes: r.targetBytes(), Log: a.log, Closed: math.MinInt32}
	if o.bySize {
		run.MemoryBytes = min(run.MemoryBytes, besideBytes)
	}
	if len(r.sortBy) > 0 {
		run.Order.Columns = r.sortBy
		if o.dryRun {
			if id, ok := t.SortOrder(r.sortBy); ok {
				run.Order.ID = id
			} else {
				run.Order.ID = -1 // no file has it
			}
		} else if run.Order.ID, err = t.SetSortOrder(ctx, r.sortBy); err != nil {
			return out, err
		}
	}
	recount := !o.dryRun && !o.noRules && len(r.rules) > 0
	if recount || o.bySize {
		if run.Closed, err = r.closed(ctx, t.Table); err != nil {
			return out, err
		}
	}
	plan, retention, err := r.plan(ctx, t.Table, filter, o, run)
	if err != nil {
		return out, err
	}
	if recount && plan.Recounts(run.Closed) {
		if err := a.addStreams(ctx, r, t.Table, &run); err != nil {
			return out, err
		}
		// The table that the streams' state is of may be a newer one.
		if plan, retention, err = r.plan(ctx, t.Table, filter, o, run); err != nil {
			return out, err
		}
	}
	out.Planned, out.Dropped = len(plan.Groups), summarizeDropped(retention, r.Table.Retain.Duration)
	show(out.Dropped, plan)
	if o.dryRun {
		return out, nil
	}
	if len(retention.Dates) > 0 {
		d, err := t.DropDates(ctx, retention.Before)
		if err != nil {
			return out, err
		}
		out.Dropped.Dates, out.Dropped.Files, out.Dropped.Rows, out.Dropped.Bytes = d.Dates, d.Files, d.Rows, d.Bytes
	}
	if run.Dropped, err = t.DroppedBefore(); err != nil {
		return out, err
	}
	out.Result, err = compact.Run(ctx, t.Table, plan, run)
	if o.expire && ctx.Err() == nil { // also where files could not be merged: snapshots pile up the more
		err = errors.Join(err, a.expire(ctx, r, t, o, &out))
	}
	if err != nil {
		return out, err
	}
	out.Seconds = seconds(time.Since(started))
	return out, nil
}

// plan is what of the table's newest snapshot is worth a rewrite, and what is
// dropped before: that is not rewritten first.
func (r *resolved) plan(ctx context.Context, t *table.Table, filter table.FileFilter, o compactOptions, run compact.Options) (compact.Plan, compact.Retention, error) {
	current, _ := t.Current()
	retention, err := r.retention(ctx, t, o, current.ID)
	if err != nil {
		return compact.Plan{}, retention, err
	}
	filter.Snapshot = current.ID
	files, err := t.Files(ctx, filter)
	if err != nil {
		return compact.Plan{}, retention, err
	}
	files = slices.DeleteFunc(files, func(f table.File) bool {
		date, ok := f.Date()
		return ok && date < retention.Before
	})
	return compact.Make(current.ID, files, compact.Policy{TargetBytes: r.targetBytes(), MinFiles: int(r.Compact.MinFiles),
		BySize: o.bySize, Closed: run.Closed, SortOrder: run.Order.ID}), retention, nil
}

// closed is the date of the job's watermark: earlier ones get late rows at most.
// math.MinInt32: there is no watermark yet.
func (r *resolved) closed(ctx context.Context, t *table.Table) (int32, error) {
	at, err := ingest.ReadWatermark(ctx, t, r.blobs(t), r.Name.Value)
	if err != nil || at == nil {
		return math.MinInt32, err
	}
	return dateOf(*at, r.zone), nil
}

// addStreams adds what the stream says of the closed dates.
func (a *app) addStreams(ctx context.Context, r *resolved, t *table.Table, run *compact.Options) error {
	state, found, err := ingest.ReadState(ctx, t, r.blobs(t), r.Name.Value, r.rules)
	if err != nil || !found {
		return err
	}
	alone, err := r.alone(t)
	if alone {
		r.addStreamsOf(state, run)
	}
	return err
}

// alone reports whether no other job fills the table, whose rows this job's rules
// have not counted.
func (r *resolved) alone(t *table.Table) (bool, error) {
	records, err := t.Records()
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(records, func(other table.Record) bool { return other.Pipeline != r.Name.Value }), nil
}

func (r *resolved) addStreamsOf(state ingest.State, run *compact.Options) {
	if state.Watermark != nil {
		run.Closed = dateOf(*state.Watermark, r.zone)
	}
	for _, rule := range state.Rules {
		if rule.Stats != nil {
			stream := compact.Stream{Rule: rule.Rule, Stats: rule.Stats}
			if r.keys != nil && rule.Plan.Grouped {
				stream.Keys = r.keys.Names
			}
			run.Streams = append(run.Streams, stream)
		}
	}
}

func printPlan(w io.Writer, p compact.Plan) {
	files, bytes := p.Rewrites()
	if len(p.Groups) == 0 {
		fmt.Fprintf(w, "nothing to compact: %s, %s\n", formatCounted(int64(p.Files), "file"), formatBytes(p.Bytes))
		return
	}
	g := newGrid("partition", "files", "rows", "bytes", "become").numbers(1, 2, 3, 4)
	for _, group := range p.Groups {
		name := group.Partition
		if name == "" {
			name = "all"
		}
		g.add(name, formatCount(int64(len(group.Files))), formatCount(group.Rows), formatBytes(group.Bytes), formatCount(int64(group.Outputs)))
	}
	g.print(w)
	fmt.Fprintf(w, "%s of %s, %s\n", formatCount(int64(files)), formatCounted(int64(p.Files), "file"), formatBytes(bytes))
}

func printCompact(w io.Writer, out compactResult) {
	if out.DryRun {
		return
	}
	if out.Groups > 0 {
		fmt.Fprintf(w, "%s: %s became %s, %s rows, %s became %s (%.1f s)\n", out.Table, formatCounted(int64(out.FilesIn), "file"), formatCount(int64(out.FilesOut)),
			formatCount(out.Rows), formatBytes(out.BytesIn), formatBytes(out.BytesOut), out.Seconds)
	}
	if out.Recounted > 0 {
		fmt.Fprintf(w, "rules counted again on closed dates: %d, %d differ", out.Recounted, len(out.Differences))
		if out.Late > 0 {
			fmt.Fprintf(w, " (%s late records are in the table and not in the stream's answers)", formatCount(out.Late))
		}
		if out.NullKeys > 0 {
			fmt.Fprintf(w, " (rows whose key is NULL are left out, as in the stream: %s)", formatCount(out.NullKeys))
		}
		fmt.Fprintln(w)
	}
	for _, d := range out.Differences {
		fmt.Fprintf(w, "  %s %s: %s\n", d.Rule, d.Date, d.Reason)
	}
	if out.OutOfDate > 0 {
		fmt.Fprintf(w, "not counted again on dates that were dropped: %d\n", out.OutOfDate)
	}
	if out.Expired > 0 || out.Deleted > 0 {
		fmt.Fprintf(w, "expired %s, deleted %s\n", formatCounted(int64(out.Expired), "snapshot"), formatCounted(int64(out.Deleted), "file"))
	}
}
