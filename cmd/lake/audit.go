package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/spf13/cobra"

	"lake/compact"
	"lake/ingest"
	"lake/load"
	"lake/rules/tally"
	"lake/table"
)

func newAudit(a *app) *cobra.Command {
	var dates dateRange
	cmd := &cobra.Command{
		Use:   "audit JOB",
		Short: "compare source, table, warehouses and rules, and name the first date that differs",
		Long: `Audit compares, and changes nothing:

  source     the records that were read of each source partition, with the rows
             that they became, by date, and the dead letters; then the rows of
             each date, of all partitions together, with those of the table.
             (The table does not keep which record a row was; a dead letter has
             no date: that is mostly why it is one.)
  warehouse  for each target of load: and each date, the number of the rows and
             a checksum of their content, which the warehouse computes in SQL.
             It does not depend on the rows' order. Floats are summed and
             compared with a tolerance of 1e-9; of JSON, structs, lists and maps
             only whether they are NULL and how long they are.
  rules      on dates that are closed: what the stream counted and answered,
             with the same rules over the table's rows, as lake compact does.

A date that lake load has not brought yet is no difference. --from and --to choose
the dates of warehouses and rules. Exit code 1: something differs.`,
		Example: `  lake audit jobs/nobroker.yaml
  lake audit jobs/nobroker.yaml --from 2021-11-30 --to 2021-12-01 --output json`,
		Args: oneJob,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runAudit(cmd.Context(), args[0], dates) },
	}
	dates.flags(cmd.Flags())
	return cmd
}

type auditResult struct {
	Command  string        `json:"command"`
	Job      string        `json:"job"`
	Table    string        `json:"table"`
	Snapshot int64         `json:"snapshot"`
	Source   auditSource   `json:"source"`
	Targets  []auditTarget `json:"targets"`
	Rules    auditRules    `json:"rules"`
	// First is the first date that differs, "all" or "source" where it is none; "": all agrees.
	First       string  `json:"first_difference,omitempty"`
	Differences int     `json:"differences"`
	Seconds     float64 `json:"seconds"`
}

type auditSource struct {
	Partitions   []auditPartition `json:"partitions"`
	Dates        []auditDate      `json:"dates"` // as far as rows are counted by them
	Records      int64            `json:"records"`
	Rows         int64            `json:"rows"`         // that became rows
	DeadLetters  int64            `json:"dead_letters"` // that became dead letters
	TableRows    int64            `json:"table_rows"`
	TableLetters int64            `json:"table_dead_letters"`
	Differs      []string         `json:"differs,omitempty"`
	Unchecked    []string         `json:"unchecked,omitempty"` // what could not be compared, and why
}

// auditDate is a date's rows: those that the source's records became, and the table's.
type auditDate struct {
	Date      string `json:"date"`
	Rows      int64  `json:"rows"`
	TableRows int64  `json:"table_rows"`
	Differs   bool   `json:"differs,omitempty"`
}

type auditPartition struct {
	Partition   string `json:"partition"`
	Next        int64  `json:"next"`
	Records     int64  `json:"records"`
	DeadLetters int64  `json:"dead_letters"`
	Rows        int64  `json:"rows"`
	// Dates are the rows by date, but for old ones where there are very many.
	Dates map[string]int64 `json:"dates,omitempty"`
}

type auditTarget struct {
	Target     string       `json:"target"`
	Partitions []load.Check `json:"partitions"`
	Uncompared []string     `json:"uncompared,omitempty"` // columns of which not all of the value is
}

type auditRules struct {
	Recounted   int                  `json:"recounted"` // rules times closed dates
	Late        int64                `json:"late,omitempty"`
	Dropped     int                  `json:"dropped,omitempty"` // rules times dates that were dropped
	Differences []compact.Difference `json:"differences,omitempty"`
}

func (a *app) runAudit(ctx context.Context, path string, dates dateRange) error {
	r, err := a.loadJob(path)
	if err != nil {
		return err
	}
	out, err := a.audit(ctx, r, dates)
	if err != nil {
		return err
	}
	if err := a.report(out, func(w io.Writer) { printAudit(w, out) }); err != nil {
		return err
	}
	if out.Differences > 0 {
		return errDifference
	}
	return nil
}

func (a *app) audit(ctx context.Context, r *resolved, dates dateRange) (out auditResult, err error) {
	out = auditResult{Command: "audit", Job: r.Name.Value, Table: r.Table.Name.Value, Targets: []auditTarget{}}
	started := time.Now()
	filter := table.FileFilter{}
	if filter.From, filter.To, err = dates.parse(r.zone); err != nil {
		return out, err
	}
	t, err := a.openTable(ctx, r)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	// The state first: reading it may move t on to a newer snapshot, and all the rest is of that one.
	state, found, err := ingest.ReadState(ctx, t.Table, r.blobs(t.Table), r.Name.Value, r.rules)
	if err != nil {
		return out, err
	}
	current, ok := t.Current()
	if !ok || !found {
		return out, withCode(exitPerson, fmt.Errorf("table %s has no rows of this job yet\nhint: lake ingest %s", t.Name(), r.Path))
	}
	out.Snapshot = current.ID
	if out.Source, err = a.auditSource(ctx, r, t, state); err != nil {
		return out, err
	}
	digests, err := a.auditTable(ctx, r, t, filter, state, &out.Rules)
	if err != nil {
		return out, err
	}
	for _, l := range r.loads {
		one, err := a.auditTarget(ctx, r, t, l, filter, digests)
		if err != nil {
			return out, fmt.Errorf("%s: %w", l.name, explainLoad(err))
		}
		out.Targets = append(out.Targets, one)
	}
	out.conclude()
	out.Seconds = seconds(time.Since(started))
	return out, nil
}

// auditTable reads the table's dates once: for the digests of the targets, and to
// count the rules again.
func (a *app) auditTable(ctx context.Context, r *resolved, t *opened, filter table.FileFilter, state ingest.State, rules *auditRules) (map[string]load.Digest, error) {
	o := compact.Options{Mem: memory.DefaultAllocator, MemoryBytes: int64(a.flags.memory) / 2, Log: a.log, Closed: math.MinInt32}
	var err error
	if o.Dropped, err = t.DroppedBefore(); err != nil {
		return nil, err
	}
	alone, err := r.alone(t.Table)
	if err != nil {
		return nil, err
	}
	if alone {
		r.addStreamsOf(state, &o)
	}
	loaded := slices.ContainsFunc(r.loads, func(l loadPlan) bool { return l.rule == "" })
	files, err := t.Files(ctx, filter)
	if err != nil {
		return nil, err
	}
	parts := map[string][]table.File{}
	for _, f := range files {
		name := load.All
		if date, ok := f.Date(); ok && r.dateColumn() != "" {
			name = load.DateName(date)
			if !loaded && date >= o.Closed {
				continue // nothing to be compared
			}
		}
		parts[name] = append(parts[name], f)
	}
	digests := map[string]load.Digest{}
	for name, files := range parts {
		d := load.NewDigester(t.Schema())
		each := func(batch arrow.RecordBatch) error { return d.Add(batch) }
		if !loaded {
			each = nil
		}
		one, err := compact.Check(ctx, t.Table, files, o, each)
		if err != nil {
			return nil, err
		}
		digests[name] = d.Sum()
		rules.Recounted += one.Recounted
		rules.Late += one.Late
		rules.Dropped += one.OutOfDate
		rules.Differences = append(rules.Differences, one.Differences...)
	}
	slices.SortFunc(rules.Differences, func(a, b compact.Difference) int {
		return cmp.Or(cmp.Compare(a.Date, b.Date), cmp.Compare(a.Rule, b.Rule))
	})
	return digests, nil
}

// auditTarget compares a target with the table's digests, or with the rule's answers.
func (a *app) auditTarget(ctx context.Context, r *resolved, t *opened, l loadPlan, filter table.FileFilter, digests map[string]load.Digest) (out auditTarget, err error) {
	g, err := a.newLoading(ctx, r, t, l, filter)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	out = auditTarget{Target: l.name, Uncompared: load.Uncompared(g.table().Schema)}
	incarnation, err := g.w.Inspect(ctx)
	if err != nil {
		return out, err
	}
	steps, err := g.plan(ctx, incarnation)
	if err != nil {
		return out, err
	}
	if g.rule != nil {
		answers, err := a.answer(ctx, r, t.Table, []tally.Rule{*g.rule}, table.ScanOptions{Snapshot: g.snapshot, From: firstDate, To: lastDate})
		if err != nil {
			return out, err
		}
		d := load.NewDigester(g.table().Schema)
		err = d.Add(answers[0].Rows)
		answers[0].Release()
		if err != nil {
			return out, err
		}
		digests = map[string]load.Digest{load.All: d.Sum()}
	}
	of := g.table()
	if l.whole && r.dateColumn() != "" && len(steps) > 0 { // it is loaded as one, and compared by dates
		of.DateColumn = r.dateColumn()
		all := steps[0]
		steps = nil
		for _, date := range slices.Sorted(maps.Keys(digests)) {
			one := load.Step{State: all.State, Why: all.Why}
			one.Name = date
			steps = append(steps, one)
		}
	}
	theirs := map[string]load.Digest{}
	if incarnation != "" && len(steps) > 0 {
		names := make([]string, len(steps))
		for i, s := range steps {
			names[i] = s.Name
		}
		if theirs, err = g.w.Digest(ctx, of, names); err != nil {
			return out, err
		}
	}
	out.Partitions = load.Audit(steps, digests, theirs)
	return out, nil
}

// conclude counts the differences and names the first date of one.
func (out *auditResult) conclude() {
	var dates []string
	for _, t := range out.Targets {
		for _, c := range t.Partitions {
			if c.Verdict == load.Differs {
				dates = append(dates, c.Partition)
			}
		}
	}
	for _, d := range out.Rules.Differences {
		dates = append(dates, d.Date)
	}
	for range out.Source.Differs {
		dates = append(dates, "source")
	}
	for _, d := range out.Source.Dates {
		if d.Differs {
			dates = append(dates, d.Date)
		}
	}
	out.Differences = len(dates)
	if len(dates) > 0 {
		out.First = slices.Min(dates) // digits stand before "all" and "source"
	}
}
