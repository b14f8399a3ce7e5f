package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"lake/load"
	"lake/load/duckdb"
	"lake/storage"
	"lake/table"
)

type loadOptions struct {
	dates  dateRange
	dryRun bool
}

func newLoad(a *app) *cobra.Command {
	var o loadOptions
	cmd := &cobra.Command{
		Use:   "load JOB",
		Short: "load the table into a warehouse, a date at a time",
		Long: `Load brings the table, and answers of rules over it, to where the job's load:
says. A date is replaced as a whole, in one transaction with the ledger that
says which files of it are there: a second run changes nothing, a run that was
killed is continued by the next one.`,
		Example: `  lake load jobs/nobroker.yaml
  lake load jobs/nobroker.yaml --from 2021-11-30 --to 2021-12-01`,
		Args: oneJob,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runLoad(cmd.Context(), args[0], o) },
	}
	o.dates.flags(cmd.Flags())
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "list what would be loaded, change nothing")
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
	if err != nil {
		return err
	}
	return a.report(result, func(w io.Writer) {
		for _, t := range result.Targets {
			verb := "loaded"
			if o.dryRun {
				verb = "would load"
			}
			fmt.Fprintf(w, "%s: %s %s rows in %s, %d there already\n", t.Target, verb, formatCount(t.Rows), formatCounted(int64(t.Loaded), "partition"), t.Current)
		}
	})
}

func (a *app) load(ctx context.Context, r *resolved, o loadOptions) (result loadResult, err error) {
	result = loadResult{Command: "load", Job: r.Name.Value, Targets: []load.Result{}, DryRun: o.dryRun}
	if len(r.loads) == 0 {
		return result, withCode(exitConfig, fmt.Errorf("%s: there is no load: in it\nhint: load:\n        - duckdb: {table: events}", r.Path))
	}
	filter := table.FileFilter{}
	if filter.From, filter.To, err = o.dates.parse(r.zone); err != nil {
		return result, err
	}
	started := time.Now()
	t, err := a.openTable(ctx, r)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	for _, l := range r.loads {
		one, err := a.loadOne(ctx, r, t.Table, l, filter, o.dryRun)
		if errors.Is(err, duckdb.ErrLocked) {
			err = withCode(exitHeld, fmt.Errorf("%w\nhint: close the shell or notebook that has it open", err))
		}
		if err != nil {
			return result, fmt.Errorf("%s: %w", l.name, err)
		}
		result.Targets = append(result.Targets, one)
	}
	result.Seconds = seconds(time.Since(started))
	return result, nil
}

// loadOne brings the table, or a rule's answers over it, to one target.
func (a *app) loadOne(ctx context.Context, r *resolved, t *table.Table, l loadPlan, filter table.FileFilter, dryRun bool) (result load.Result, err error) {
	w, err := l.open(ctx, a, r)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if storage.IsRemote(t.Location()) { // DuckDB, the one warehouse that there is, reads local files
		w = localCopies{Warehouse: w, files: t.FS(), dir: filepath.Join(r.folder, "tmp")}
	}
	files, err := t.Files(ctx, filter)
	if err != nil {
		return result, err
	}
	parts, err := load.Partitions(files, r.dateColumn() != "")
	if err != nil {
		return result, err
	}
	if l.rule != "" {
		return a.loadRule(ctx, r, t, l, w, parts, dryRun)
	}
	target := load.Table{Schema: t.Schema(), DateColumn: r.dateColumn()}
	var incarnation string
	if dryRun {
		incarnation, err = w.Inspect(ctx)
	} else {
		incarnation, err = w.Prepare(ctx, target)
	}
	if err != nil {
		return result, err
	}
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = p.Name
	}
	held, err := w.Held(ctx, target, names)
	if err != nil {
		return result, err
	}
	steps := load.Plan(l.name, incarnation, parts, held)
	if dryRun {
		result = load.Result{Target: l.name}
		for _, s := range steps {
			if s.Current {
				result.Current++
				continue
			}
			result.Loaded++
			result.Rows += s.Rows
			result.Bytes += s.Bytes
			a.log.Info("would load", "target", l.name, "partition", s.Name, "rows", s.Rows, "bytes", s.Bytes, "files", len(s.Files))
		}
		return result, nil
	}
	result, err = load.Run(ctx, w, steps, func(s load.Step, took time.Duration) {
		a.log.Debug("loaded", "target", l.name, "partition", s.Name, "rows", s.Rows, "took", took.Round(time.Millisecond))
	})
	result.Target = l.name
	return result, err
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
