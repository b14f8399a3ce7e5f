package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"lake/faults"
	"lake/load"
	"lake/load/duckdb"
	"lake/table"
)

type loadOptions struct {
	dates  dateRange
	dryRun bool
	force  bool
	skip   bool
}

func newLoad(a *app) *cobra.Command {
	var o loadOptions
	cmd := &cobra.Command{
		Use:   "load JOB",
		Short: "load the table into warehouses, a date at a time",
		Long: `Load brings the table, and answers of rules over it, to where the job's load:
says. A date is replaced as a whole: a reader sees the old rows or the new ones. What
was loaded is noted in a table beside the job's, <table>_loads, so that a second run
does nothing, late rows reload their own date only, and a run that was killed is
continued by the next one.

A date whose rows in the warehouse somebody else has changed is left alone, and the
run ends with exit code 7 when it has loaded the others; --force loads all dates of
the range again. A date that has lost all of its rows in the table loses them in the
warehouse, too, unless table.retain dropped it.

Exit codes: 0 done, 5 worth a retry (also: stopped before the last date), 7 needs a
person, 75 another run loads; with --skip-if-empty 99 where all was there already.`,
		Example: `  lake load jobs/nobroker.yaml
  lake load jobs/nobroker.yaml --dry-run
  lake load jobs/nobroker.yaml --from 2021-11-30 --to 2021-12-01`,
		Args: oneJob,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runLoad(cmd.Context(), args[0], o) },
	}
	o.dates.flags(cmd.Flags())
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "list what would be loaded, change nothing")
	cmd.Flags().BoolVar(&o.force, "force", false, "load all dates of the range again, whatever the warehouse has")
	cmd.Flags().BoolVar(&o.skip, "skip-if-empty", false, "end with exit code 99 where there was nothing to load; Airflow takes it as skipped")
	return cmd
}

type loadResult struct {
	Command string        `json:"command"`
	Job     string        `json:"job"`
	Targets []load.Result `json:"targets"`
	DryRun  bool          `json:"dry_run,omitempty"`
	Seconds float64       `json:"seconds"`
}

func (a *app) runLoad(ctx context.Context, path string, o loadOptions) error {
	r, err := a.loadJob(path)
	if err != nil {
		return err
	}
	result, err := a.load(ctx, r, o)
	if err != nil && len(result.Targets) == 0 {
		return err
	}
	if err == nil && o.skip && result.idle() {
		err = errEmpty
	}
	return errors.Join(a.report(result, func(w io.Writer) { printLoad(w, result) }), err) // what was done, and why not all
}

// idle reports whether all targets had all that there is.
func (r loadResult) idle() bool {
	return !slices.ContainsFunc(r.Targets, func(t load.Result) bool { return t.Loaded+t.Found+t.Changed+t.Left > 0 })
}

func printLoad(w io.Writer, result loadResult) {
	for i, t := range result.Targets {
		verb := "loaded"
		if result.DryRun {
			verb = "would load"
		}
		more := ""
		for _, each := range []struct {
			n    int
			text string
		}{{t.Found, "found again"}, {t.Changed, "changed past lake"}, {t.Kept, "dropped in the lake and kept"}, {t.Left, "left"}} {
			if each.n > 0 {
				more += fmt.Sprintf(", %d %s", each.n, each.text)
			}
		}
		fmt.Fprintf(w, "%s: %s %s in %s, %d there already%s\n", t.Target, verb, formatCounted(t.Rows, "row"), formatCounted(int64(t.Loaded), "partition"), t.Current, more)
		if len(t.Partitions) == 0 {
			continue
		}
		g := newGrid("  partition", "", "rows", "bytes", "files", "").numbers(2, 3, 4)
		for _, p := range t.Partitions {
			rows := "?"
			if p.Rows >= 0 {
				rows = formatCount(p.Rows)
			}
			g.add("  "+p.Partition, string(p.State), rows, formatBytes(p.Bytes), formatCount(int64(p.Files)), p.Why)
		}
		g.print(w)
		if i < len(result.Targets)-1 {
			fmt.Fprintln(w)
		}
	}
}

func (a *app) load(ctx context.Context, r *resolved, o loadOptions) (result loadResult, err error) {
	result = loadResult{Command: "load", Job: r.Name.Value, Targets: []load.Result{}, DryRun: o.dryRun}
	started := time.Now()
	defer func() { result.Seconds = seconds(time.Since(started)) }()
	filter, err := r.loadFilter(o.dates)
	if err != nil {
		return result, err
	}
	if !o.dryRun {
		turn, err := r.take(ctx, r.Name.Value+".load", false)
		if errors.Is(err, errHeld) {
			err = withCode(exitHeld, fmt.Errorf("job %s: another run loads (%s)", r.Name.Value, r.locks(r.Name.Value+".load")))
		}
		if err != nil {
			return result, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(r.loadFolder()), turn.Close()) }()
		if err := os.RemoveAll(r.loadFolder()); err != nil {
			return result, err
		}
	}
	t, err := a.openTable(ctx, r)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	var changed error // what a person has to look at; it holds up no other target
	for _, l := range r.loads {
		one, err := a.loadOne(ctx, r, t, l, filter, o)
		if one.Target != "" {
			result.Targets = append(result.Targets, one)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", l.name, explainLoad(err))
		}
		if errors.Is(err, load.ErrChanged) {
			changed = errors.Join(changed, err)
		} else if err != nil {
			return result, errors.Join(err, changed)
		}
	}
	if !o.dryRun {
		if err := a.tidyLedger(ctx, r, t.catalog); err != nil { // the next run does it
			a.log.Warn("the ledger was not tidied", "error", err)
		}
	}
	return result, changed
}

// explainLoad says what mends an error.
func explainLoad(err error) error {
	if errors.Is(err, duckdb.ErrLocked) {
		return withCode(exitHeld, fmt.Errorf("%w\nhint: close the shell or notebook that has it open", err))
	}
	return err
}

// loadFilter is the dates that are loaded, where the job loads at all.
func (r *resolved) loadFilter(dates dateRange) (filter table.FileFilter, err error) {
	if len(r.loads) == 0 {
		return filter, withCode(exitConfig, fmt.Errorf("%s: there is no load: in it\nhint: load:\n        - duckdb: {table: events}", r.Path))
	}
	filter.From, filter.To, err = dates.parse(r.zone)
	return filter, err
}

// loadOne brings the table, or a rule's answers over it, to one target. Target is
// set in the result once anything was done.
func (a *app) loadOne(ctx context.Context, r *resolved, t *opened, l loadPlan, filter table.FileFilter, o loadOptions) (result load.Result, err error) {
	g, err := a.newLoading(ctx, r, t, l, filter)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	if o.force {
		g.force = rand.Text()
	}
	incarnation, err := g.w.Inspect(ctx)
	if err != nil {
		return result, err
	}
	steps, err := g.plan(ctx, incarnation)
	if err != nil {
		return result, err
	}
	if o.dryRun || load.Idle(steps) {
		return load.Count(l.name, steps), nil
	}
	if err := g.ledger.Claim(ctx); err != nil {
		return result, err
	}
	faults.Point(faults.Claimed)
	// The plan anew, on the snapshot that is there now: of two loaders the one that
	// claimed later has rows that are not older.
	if err := t.Refresh(ctx); err != nil {
		return result, err
	}
	if incarnation, err = g.w.Prepare(ctx, g.table()); err != nil {
		return result, err
	}
	if steps, err = g.plan(ctx, incarnation); err != nil {
		return result, err
	}
	return load.Run(ctx, load.Work{Target: l.name, Incarnation: incarnation, Snapshot: g.snapshot, Steps: steps, Warehouse: g.w, Ledger: g.ledger, Fill: g.fill,
		Each: func(s load.Step, took time.Duration) {
			a.log.Debug("loaded", "target", l.name, "partition", s.Name, "rows", s.Rows, "took", took.Round(time.Millisecond))
		}})
}

// dateColumn is the column by whose dates the table is loaded, "" where there is none.
func (r *resolved) dateColumn() string {
	for _, p := range r.partition {
		if p.Source == table.DateColumn {
			return table.DateColumn
		}
	}
	return ""
}
