package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/spf13/cobra"

	"lake/rules"
	"lake/rules/tally"
	"lake/schemas"
	"lake/table"
)

func newRules(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "show the rules, run them over the table, print them as SQL",
		Long: `Rules are the job's threshold queries. The stream answers them as records come
(lake ingest); these commands answer the very same queries over the table.

A rule is a SELECT in GoogleSQL from the job's table: WHERE, GROUP BY columns and at
most one window, which is TIMESTAMP_BUCKET(column, INTERVAL 1 MINUTE) or DATE(column,
zone), aggregates, HAVING. COUNT takes DISTINCT. The operators are GoogleSQL's, with
CASE, IN, BETWEEN, LIKE, CAST and SAFE_CAST; the functions:

` + indented(strings.Join(rules.FunctionNames(), ", ")) + `

When a rule answers its emit: says:

  on_cross   once a group and window, at the record with which HAVING first
             holds
  on_change  at a commit, each group that satisfies HAVING and whose answer
             changed
  on_close   when the watermark closes the window

Without a window a group covers all that the pipeline ever read; scope: partition
begins anew with each date.`,
		Example: "  lake rules run jobs/nobroker.yaml paid_user",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRulesShow(a), newRulesRun(a), newRulesSQL(a), newRulesVerify(a))
	return cmd
}

// jobAndRules is the argument check of commands that take a job and some rules.
func jobAndRules(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usageError("%s takes a job file, and rules where not all are meant\nhint: %s jobs/nobroker.yaml", cmd.CommandPath(), cmd.CommandPath())
	}
	return nil
}

// chosen are the rules named, all where none is.
func (r *resolved) chosen(names []string) ([]tally.Rule, error) {
	if len(names) == 0 {
		return r.rules, nil
	}
	var all []string
	for _, rule := range r.rules {
		all = append(all, rule.Name)
	}
	var out []tally.Rule
	for _, name := range names {
		i := slices.Index(all, name)
		if i < 0 {
			return nil, usageError("there is no rule %q in %s; hint: %s", name, r.Path, nearest(name, all))
		}
		out = append(out, r.rules[i])
	}
	return out, nil
}

// loadRules reads a job and chooses rules of it.
func (a *app) loadRules(job string, names []string) (*resolved, []tally.Rule, error) {
	r, err := a.loadJob(job)
	if err != nil {
		return nil, nil, err
	}
	chosen, err := r.chosen(names)
	return r, chosen, err
}

type ruleLine struct {
	Name  string   `json:"name"`
	Emit  string   `json:"emit"`
	Scope string   `json:"scope"`
	SQL   string   `json:"sql"`
	Plan  string   `json:"plan"`
	To    []string `json:"to,omitempty"`
}

func newRulesShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "show JOB [RULE…]",
		Short:   "the rules and how they are evaluated",
		Long:    "Show prints each rule's query, the plan that it compiles to, when it emits and where its answers go.",
		Example: "  lake rules show jobs/nobroker.yaml possible_broker",
		Args:    jobAndRules,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, chosen, err := a.loadRules(args[0], args[1:])
			if err != nil {
				return err
			}
			lines := []ruleLine{}
			for _, rule := range chosen {
				l := ruleLine{Name: rule.Name, Emit: rule.Emit.String(), Scope: rule.Scope.String(), SQL: strings.TrimSpace(rule.Plan.SQL), Plan: rule.Plan.String()}
				for _, s := range r.sinks {
					if slices.Contains(s.rules, rule.Name) {
						l.To = append(l.To, s.name)
					}
				}
				lines = append(lines, l)
			}
			return a.report(lines, func(w io.Writer) {
				for i, l := range lines {
					if i > 0 {
						fmt.Fprintln(w)
					}
					to := ""
					if len(l.To) > 0 {
						to = ", to " + strings.Join(l.To, ", ")
					}
					fmt.Fprintf(w, "%s: emit %s, scope %s%s\n%s\n%s\n", l.Name, l.Emit, l.Scope, to, indent(l.SQL), indent(l.Plan))
				}
			})
		},
	}
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ")
}

func newRulesSQL(a *app) *cobra.Command {
	var dialect, target string
	cmd := &cobra.Command{
		Use:   "sql JOB [RULE…]",
		Short: "print the rules for another engine",
		Long: `SQL prints each rule as a query that gives the same answer on another engine,
over the table where lake load puts it. Where the engine's session has to be set
for that, the settings come first, and the query fails in a session without them.
What an engine cannot express is an error that names it.`,
		Example: "  lake rules sql jobs/nobroker.yaml possible_broker --dialect duckdb",
		Args:    jobAndRules,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, chosen, err := a.loadRules(args[0], args[1:])
			if err != nil {
				return err
			}
			d := schemas.Dialect(dialect)
			if !slices.Contains(schemas.Dialects(), d) {
				return usageError("--dialect %q: it is %s", dialect, dialectNames())
			}
			if target == "" {
				target = r.Table.Name.Value
				if i := strings.LastIndexByte(target, '.'); i >= 0 && d == schemas.DuckDB { // where lake load makes it
					target = target[i+1:]
				}
			}
			out := map[string]string{}
			for _, rule := range chosen {
				if out[rule.Name], err = rule.Plan.Print(d, target); err != nil {
					return fmt.Errorf("rule %s: %w", rule.Name, err)
				}
			}
			return a.report(out, func(w io.Writer) {
				for _, set := range rules.Settings(d) {
					fmt.Fprintf(w, "%s;\n", set)
				}
				for _, rule := range chosen {
					fmt.Fprintf(w, "-- %s\n%s;\n", rule.Name, strings.TrimRight(out[rule.Name], "\n"))
				}
			})
		},
	}
	cmd.Flags().StringVar(&dialect, "dialect", "bigquery", dialectNames())
	cmd.Flags().StringVar(&target, "table", "", "the table's name there (default: as the job has it)")
	return cmd
}

// dialectNames are the engines for which rules are printed.
func dialectNames() string {
	var names []string
	for _, d := range schemas.Dialects() {
		names = append(names, string(d))
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

type rulesRunOptions struct {
	format rowFormat
	engine string
	dates  dateRange
}

func newRulesRun(a *app) *cobra.Command {
	var o rulesRunOptions
	cmd := &cobra.Command{
		Use:   "run JOB [RULE…]",
		Short: "answer the rules over the table",
		Long: `Run answers the rules over the rows that the table has, for the dates of --from
and --to or for all: every group that satisfies the rule. On a terminal it
prints a table a rule; elsewhere, or with --format, one line an answer with just
the rule's columns.

With --engine the query is answered by a warehouse that the job loads, in its own SQL
over the rows that it has; dates that it does not have as the table has them are
named on stderr.`,
		Example: `  lake rules run jobs/nobroker.yaml paid_user \
      --from 2021-11-30 --to 2021-12-01 --format jsonl
  lake rules run jobs/nobroker.yaml paid_user --engine duckdb`,
		Args: jobAndRules,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runRules(cmd.Context(), args[0], args[1:], o)
		},
	}
	cmd.Flags().Var(&o.format, "format", "table, jsonl or csv")
	cmd.Flags().StringVar(&o.engine, "engine", "", "duckdb, bigquery, hive or spark (default: here, on the table's files)")
	o.dates.flags(cmd.Flags())
	return cmd
}

func (a *app) runRules(ctx context.Context, job string, names []string, o rulesRunOptions) (err error) {
	r, chosen, err := a.loadRules(job, names)
	if err != nil {
		return err
	}
	t, err := a.openTable(ctx, r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	scan := table.ScanOptions{}
	if scan.From, scan.To, err = o.dates.parse(r.zone); err != nil {
		return err
	}
	if o.engine != "" {
		return a.runRulesOn(ctx, r, t, chosen, o, table.FileFilter{From: scan.From, To: scan.To})
	}
	answers, err := a.answer(ctx, r, t.Table, chosen, scan)
	if err != nil {
		return err
	}
	defer func() {
		for _, each := range answers {
			each.Release()
		}
	}()
	for i, rule := range chosen {
		if err := a.printAnswers(r, o.format, rule, answers[i].Rows, i, len(chosen)); err != nil {
			return err
		}
		for _, f := range answers[i].Failures {
			a.log.Warn("a group has no answer", "rule", rule.Name, "key", f.Key, "reason", f.Reason)
		}
	}
	return nil
}

// runRulesOn has an engine answer the rules, one after the other.
func (a *app) runRulesOn(ctx context.Context, r *resolved, t *opened, chosen []tally.Rule, o rulesRunOptions, filter table.FileFilter) (err error) {
	e, err := a.openEngine(ctx, r, t, o.engine, true, filter)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	stale, err := e.stale(ctx)
	if err != nil {
		return err
	}
	if len(stale) > 0 {
		a.log.Warn("the engine does not have all dates as the table has them; lake load brings them", "engine", o.engine, "partitions", len(stale), "first", stale[0].Name)
	}
	for i, rule := range chosen {
		answers, err := e.answer(ctx, rule)
		if err != nil {
			return err
		}
		err = a.printAnswers(r, o.format, rule, answers, i, len(chosen))
		answers.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// printAnswers prints one of several rules' answers.
func (a *app) printAnswers(r *resolved, format rowFormat, rule tally.Rule, answers arrow.RecordBatch, i, of int) error {
	out, err := newRowPrinter(a.stdout, format, rule.Plan.Output(), r.zone)
	if err != nil {
		return err
	}
	if out.grid != nil && of > 1 {
		if i > 0 {
			fmt.Fprintln(a.stdout)
		}
		fmt.Fprintf(a.stdout, "%s: %s answers\n", rule.Name, formatCount(answers.NumRows()))
	}
	return errors.Join(out.write(answers), out.close())
}

// answer evaluates rules over a table's rows in one scan. The caller releases the answers.
func (a *app) answer(ctx context.Context, r *resolved, t *table.Table, chosen []tally.Rule, scan table.ScanOptions) (answers []tally.Answers, err error) {
	var tallies []*tally.Parts
	defer func() {
		for _, t := range tallies {
			t.Release()
		}
	}()
	var columns []string
	var filters []rules.Expr
	for _, rule := range chosen {
		rule.Emit = tally.OnDemand // less to keep of each group
		t, err := tally.NewParts(rule, tally.Options{Mem: memory.DefaultAllocator, MaxBytes: int64(a.flags.memory) / 2 / int64(len(chosen))}, runtime.GOMAXPROCS(0))
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", rule.Name, err)
		}
		tallies = append(tallies, t)
		columns = append(columns, rule.Plan.Columns()...)
		filters = append(filters, rule.Plan.Filter)
	}
	scan.Where = rangesOf(filters...)
	var clock *schemas.ZoneClock
	byDate := func(rule tally.Rule) bool { return rule.Scope == tally.Partition }
	if r.time != nil && (slices.ContainsFunc(chosen, byDate) || len(columns) == 0) {
		columns = append(columns, r.time.Name)
		clock = schemas.NewZoneClock(r.time.Zone)
	}
	slices.Sort(columns)
	scan.Columns = slices.Compact(columns)
	for batch, err := range t.Scan(ctx, scan) {
		if err != nil {
			return nil, err
		}
		rows := tally.Rows{Batch: batch}
		if clock != nil {
			rows.Date = localDates(batch.Column(batch.Schema().FieldIndices(r.time.Name)[0]).(*array.Timestamp), clock)
		}
		for i, each := range tallies {
			if err := each.Add(rows); err != nil {
				batch.Release()
				return nil, fmt.Errorf("rule %s: %w", chosen[i].Name, err)
			}
			for _, f := range each.RowFailures() {
				a.log.Warn("a row was left out", "rule", chosen[i].Name, "reason", f.Reason)
			}
		}
		batch.Release()
	}
	for i, each := range tallies {
		final, err := each.Final()
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", chosen[i].Name, err)
		}
		answers = append(answers, final)
	}
	return answers, nil
}

// rangesOf are the ranges of columns that conditions ask for, of which any may hold, so that a
// scan passes over files and pages that have no row for one of them.
func rangesOf(filters ...rules.Expr) (out [][]table.Range) {
	limit := func(b rules.Bound) table.Limit {
		return table.Limit{Set: b.Set, Int: b.Int, Float: b.Float, Decimal: b.Decimal, Text: []byte(b.Text)}
	}
	for _, all := range rules.AnyRanges(filters...) {
		var list []table.Range
		for _, r := range all {
			list = append(list, table.Range{Path: r.Path, Low: limit(r.Low), High: limit(r.High)})
		}
		out = append(out, list)
	}
	return out
}

func localDates(times *array.Timestamp, clock *schemas.ZoneClock) []int32 {
	out := make([]int32, times.Len())
	for i := range out {
		out[i] = clock.Date(int64(times.Value(i)))
	}
	return out
}
