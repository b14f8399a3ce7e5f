package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
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

  source      the records that were read, by source partition, with the table's
              rows and the dead letters. The table does not keep which record a row
              was, so that rows are compared in all, dead letters by partition.
  warehouse   for each target of load: and each date, the number of the rows and a
              checksum of their content, which the warehouse computes in SQL. It
              does not depend on the rows' order. Floats are summed and compared with
              a tolerance of 1e-9; of JSON, structs, lists and maps only whether they
              are NULL and how long they are.
  rules       on dates that are closed: what the stream counted and answered, with
              the same rules over the table's rows, as lake compact does.

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
	Records      int64            `json:"records"`
	Rows         int64            `json:"rows"`         // that became rows
	DeadLetters  int64            `json:"dead_letters"` // that became dead letters
	TableRows    int64            `json:"table_rows"`
	TableLetters int64            `json:"table_dead_letters"`
	Differs      []string         `json:"differs,omitempty"`
	Unchecked    []string         `json:"unchecked,omitempty"` // what could not be compared, and why
}

type auditPartition struct {
	Partition   string `json:"partition"`
	Next        int64  `json:"next"`
	Records     int64  `json:"records"`
	DeadLetters int64  `json:"dead_letters"`
	Rows        int64  `json:"rows"`
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

// auditSource compares what the checkpoints say of the source with the rows that
// the table and the dead-letter table have.
func (a *app) auditSource(ctx context.Context, r *resolved, t *opened, state ingest.State) (s auditSource, err error) {
	s = auditSource{Partitions: []auditPartition{}, Records: state.Totals.Records, Rows: state.Totals.Rows, DeadLetters: state.Totals.DeadLetters}
	letters := map[string]int64{}
	if err := a.letters(ctx, r, func(l letter) bool {
		if l.Stage != string(ingest.StageRule) { // of those the row has landed
			letters[l.Partition]++
			s.TableLetters++
		}
		return true
	}); err != nil {
		return s, err
	}
	var read int64
	for name, p := range state.Offsets {
		s.Partitions = append(s.Partitions, auditPartition{Partition: name, Next: p.Next, Records: p.Records, DeadLetters: letters[name], Rows: p.Records - letters[name]})
		read += p.Records
		if letters[name] > p.Records {
			s.Differs = append(s.Differs, fmt.Sprintf("%s: %d records were read and there are %d dead letters", name, p.Records, letters[name]))
		}
	}
	slices.SortFunc(s.Partitions, func(a, b auditPartition) int { return cmp.Compare(a.Partition, b.Partition) })
	files, err := t.Files(ctx, table.FileFilter{From: firstDate, To: lastDate})
	if err != nil {
		return s, err
	}
	deletes := 0
	for _, f := range files {
		s.TableRows += f.Rows
		deletes += f.Deletes
	}
	dropped, err := t.DroppedBefore()
	if err != nil {
		return s, err
	}
	records, err := t.Records()
	if err != nil {
		return s, err
	}
	alone := !slices.ContainsFunc(records, func(other table.Record) bool { return other.Pipeline != r.Name.Value })
	differs := func(what string, is, of int64) {
		if is != of {
			s.Differs = append(s.Differs, fmt.Sprintf("%s: %d and %d", what, is, of))
		}
	}
	differs("records of the source's partitions, and in all", read, s.Records)
	differs("records, and rows with dead letters", s.Records, s.Rows+s.DeadLetters)
	differs("dead letters that were made, and in their table", s.DeadLetters, s.TableLetters)
	switch {
	case !alone:
		s.Unchecked = append(s.Unchecked, "the table's rows: other jobs fill it, too")
	case dropped != math.MinInt32:
		s.Unchecked = append(s.Unchecked, "the table's rows: dates before "+dateText(dropped)+" were dropped")
	case deletes > 0:
		s.Unchecked = append(s.Unchecked, "the table's rows: another engine has deleted some")
	default:
		differs("rows that were made, and in the table", s.Rows, s.TableRows)
	}
	return s, nil
}

// auditTable reads the table's dates once: for the digests of the targets, and to
// count the rules again.
func (a *app) auditTable(ctx context.Context, r *resolved, t *opened, filter table.FileFilter, state ingest.State, rules *auditRules) (map[string]load.Digest, error) {
	o := compact.Options{Mem: memory.DefaultAllocator, MemoryBytes: int64(a.flags.memory) / 2, Log: a.log, Closed: math.MinInt32}
	var err error
	if o.Dropped, err = t.DroppedBefore(); err != nil {
		return nil, err
	}
	r.addStreamsOf(state, &o)
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
	theirs := map[string]load.Digest{}
	if incarnation != "" && len(steps) > 0 {
		names := make([]string, len(steps))
		for i, s := range steps {
			names[i] = s.Name
		}
		if theirs, err = g.w.Digest(ctx, g.table(), names); err != nil {
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
	out.Differences = len(dates)
	if len(dates) > 0 {
		out.First = slices.Min(dates) // digits stand before "all" and "source"
	}
}

func printAudit(w io.Writer, out auditResult) {
	s := out.Source
	state := "ok"
	if len(s.Differs) > 0 {
		state = "differs"
	}
	fmt.Fprintf(w, "source: %s: %s records = %s rows + %s dead letters; the table has %s rows\n", state, formatCount(s.Records), formatCount(s.Rows), formatCount(s.DeadLetters), formatCount(s.TableRows))
	for _, text := range s.Differs {
		fmt.Fprintf(w, "  differs: %s\n", text)
	}
	for _, text := range s.Unchecked {
		fmt.Fprintf(w, "  not compared: %s\n", text)
	}
	g := newGrid("  partition", "next", "records", "rows", "dead letters").numbers(1, 2, 3, 4)
	for _, p := range s.Partitions[:min(len(s.Partitions), partitionsShown)] {
		g.add("  "+p.Partition, formatCount(p.Next), formatCount(p.Records), formatCount(p.Rows), formatCount(p.DeadLetters))
	}
	g.print(w)
	if more := len(s.Partitions) - partitionsShown; more > 0 {
		fmt.Fprintf(w, "  and %d more (--output json has them all)\n", more)
	}
	for _, t := range out.Targets {
		printAuditTarget(w, t)
	}
	if len(out.Rules.Differences) > 0 || out.Rules.Recounted > 0 {
		fmt.Fprintf(w, "\nrules: counted again on closed dates: %d, %d differ\n", out.Rules.Recounted, len(out.Rules.Differences))
	}
	for _, d := range out.Rules.Differences {
		fmt.Fprintf(w, "  differs: %s %s: %s\n", d.Rule, d.Date, d.Reason)
	}
	if out.Differences == 0 {
		fmt.Fprintf(w, "\n%s: all agrees (%.1f s)\n", out.Job, out.Seconds)
	} else {
		fmt.Fprintf(w, "\n%s: %s; the first: %s\n", out.Job, formatCounted(int64(out.Differences), "difference"), out.First)
	}
}

// printAuditTarget prints the dates that are not the same, and how many are.
func printAuditTarget(w io.Writer, t auditTarget) {
	counts := map[load.Verdict]int{}
	var rows int64
	g := newGrid("  partition", "", "table rows", "warehouse rows", "").numbers(2, 3)
	for _, c := range t.Partitions {
		counts[c.Verdict]++
		if c.Verdict == load.Same {
			rows += c.TableRows
			continue
		}
		g.add("  "+c.Partition, string(c.Verdict), formatCount(c.TableRows), formatCount(c.TargetRows), c.Why)
	}
	parts := []string{fmt.Sprintf("%d ok with %s", counts[load.Same], formatCounted(rows, "row"))}
	for _, v := range []load.Verdict{load.Differs, load.Behind, load.Dropped} {
		if counts[v] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[v], v))
		}
	}
	fmt.Fprintf(w, "\n%s: %s\n", t.Target, strings.Join(parts, ", "))
	if counts[load.Same] < len(t.Partitions) {
		g.print(w)
	}
	if len(t.Uncompared) > 0 {
		fmt.Fprintf(w, "  compared by NULL and length only: %s\n", strings.Join(t.Uncompared, ", "))
	}
}
