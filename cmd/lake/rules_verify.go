package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/spf13/cobra"

	"lake/load"
	"lake/schemas"
	"lake/table"
)

type verifyOptions struct {
	engines []string
	dates   dateRange
}

func newRulesVerify(a *app) *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify JOB [RULE…]",
		Short: "compare the rules' answers here with those of the engines",
		Long: `Verify answers the rules over the table here and has each engine that the job
loads answer them in its own SQL, over the rows that it has. All answers have to be the
same: the order of rows does not count, and floats are compared to a billionth. A
date that the engine does not have as the table has it is a difference, too.

Exit codes: 0 the same, 1 a difference.`,
		Example: `  lake rules verify jobs/nobroker.yaml
  lake rules verify jobs/nobroker.yaml paid_user --engine duckdb \
      --from 2021-11-30 --to 2021-12-01`,
		Args: jobAndRules,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.verifyRules(cmd.Context(), args[0], args[1:], o)
		},
	}
	cmd.Flags().StringSliceVar(&o.engines, "engine", nil, "duckdb, bigquery, hive or spark; several with commas (default: all that the job loads)")
	o.dates.flags(cmd.Flags())
	return cmd
}

type verifyResult struct {
	Command string       `json:"command"`
	Job     string       `json:"job"`
	Engines []verifiedAt `json:"engines"`
	Seconds float64      `json:"seconds"`
}

// verifiedAt is what one engine says.
type verifiedAt struct {
	Engine string         `json:"engine"`
	Target string         `json:"target"`
	Stale  []staleDate    `json:"stale_partitions"`
	Rules  []verifiedRule `json:"rules"`
}

// staleDate is a partition that the engine does not have as the table has it.
type staleDate struct {
	Partition string `json:"partition"`
	Why       string `json:"why"`
}

type verifiedRule struct {
	Rule    string `json:"rule"`
	Answers int64  `json:"answers"` // here
	There   int64  `json:"there"`   // on the engine
	Missing int    `json:"missing"` // there
	Foreign int    `json:"foreign"` // there, and not here
	// Examples are at most five of each, as JSON, those missing first.
	Examples []verifiedExample `json:"examples,omitempty"`
}

type verifiedExample struct {
	Where string `json:"where"` // "here" or "there": who alone has it
	Row   string `json:"row"`
}

func (v verifyResult) differs() bool {
	return slices.ContainsFunc(v.Engines, func(e verifiedAt) bool {
		return len(e.Stale) > 0 || slices.ContainsFunc(e.Rules, func(r verifiedRule) bool { return r.Missing+r.Foreign > 0 })
	})
}

func (a *app) verifyRules(ctx context.Context, job string, names []string, o verifyOptions) (err error) {
	started := time.Now()
	r, chosen, err := a.loadRules(job, names)
	if err != nil {
		return err
	}
	filter, err := r.loadFilter(o.dates)
	if err != nil {
		return err
	}
	written := len(o.engines) > 0
	if !written {
		o.engines = r.engines()
	}
	for _, name := range o.engines { // before the table is read
		if _, err := r.engineLoad(name); err != nil {
			return err
		}
	}
	t, err := a.openTable(ctx, r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	// One snapshot for all: what is committed meanwhile is another question.
	current, ok := t.Current()
	if !ok {
		return withCode(exitPerson, fmt.Errorf("table %s has no rows yet\nhint: lake ingest %s", t.Name(), r.Path))
	}
	here, err := a.answer(ctx, r, t.Table, chosen, table.ScanOptions{Snapshot: current.ID, From: filter.From, To: filter.To})
	if err != nil {
		return err
	}
	defer func() {
		for _, each := range here {
			each.Release()
		}
	}()
	out := verifyResult{Command: "rules verify", Job: r.Name.Value}
	for _, name := range o.engines {
		at, err := a.verifyAt(ctx, r, t, name, written, filter, func(e *engine, at *verifiedAt) error {
			for i, rule := range chosen {
				there, err := e.answer(ctx, rule)
				if err != nil {
					return err
				}
				one, err := compareAnswers(rule.Plan.OutputSchema(), here[i].Rows, there, r.zone)
				there.Release()
				if err != nil {
					return fmt.Errorf("rule %s: %w", rule.Name, err)
				}
				one.Rule = rule.Name
				at.Rules = append(at.Rules, one)
			}
			return nil
		})
		if err != nil {
			return err
		}
		out.Engines = append(out.Engines, at)
	}
	out.Seconds = seconds(time.Since(started))
	if err := a.report(out, func(w io.Writer) { printVerify(w, out) }); err != nil {
		return err
	}
	if out.differs() {
		return errDifference
	}
	return nil
}

// verifyAt asks one engine.
func (a *app) verifyAt(ctx context.Context, r *resolved, t *opened, name string, written bool, filter table.FileFilter, ask func(*engine, *verifiedAt) error) (at verifiedAt, err error) {
	e, err := a.openEngine(ctx, r, t, name, written, filter)
	if err != nil {
		return at, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	at = verifiedAt{Engine: string(e.Dialect()), Target: e.loading.l.name, Stale: []staleDate{}, Rules: []verifiedRule{}}
	stale, err := e.stale(ctx)
	if err != nil {
		return at, fmt.Errorf("%s: %w", at.Target, err)
	}
	for _, s := range stale {
		at.Stale = append(at.Stale, staleDate{Partition: s.Name, Why: s.Why})
	}
	return at, ask(e, &at)
}

// examples is how many rows are shown of each side.
const examples = 5

func compareAnswers(schema schemas.Schema, here, there arrow.RecordBatch, zone *time.Location) (verifiedRule, error) {
	out := verifiedRule{Answers: here.NumRows(), There: there.NumRows()}
	mismatches, err := load.Compare(schema, here, there)
	if err != nil {
		return out, err
	}
	lines, err := schemas.NewJSONWriter(schema.Arrow(), zone, nil)
	if err != nil {
		return out, err
	}
	for _, m := range mismatches {
		batch, where, n := there, "there", &out.Foreign
		if m.InFirst {
			batch, where, n = here, "here", &out.Missing
		}
		if *n++; *n <= examples {
			out.Examples = append(out.Examples, verifiedExample{Where: where, Row: string(lines.AppendRow(nil, batch, m.Row))})
		}
	}
	return out, nil
}

func printVerify(w io.Writer, out verifyResult) {
	for i, e := range out.Engines {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s (%s)\n", e.Engine, e.Target)
		if n := len(e.Stale); n > 0 {
			fmt.Fprintf(w, "  %s not as the table has it; the first, %s: %s\n", formatCounted(int64(n), "partition"), e.Stale[0].Partition, e.Stale[0].Why)
		}
		g := newGrid("", "  rule", "here", "there", "only here", "only there").numbers(2, 3, 4, 5)
		for _, r := range e.Rules {
			state := "same"
			if r.Missing+r.Foreign > 0 {
				state = "DIFFERS"
			}
			g.add("  "+state, r.Rule, formatCount(r.Answers), formatCount(r.There), formatCount(int64(r.Missing)), formatCount(int64(r.Foreign)))
		}
		g.print(w)
		for _, r := range e.Rules {
			for _, x := range r.Examples {
				fmt.Fprintf(w, "  %s, only %s: %s\n", r.Rule, x.Where, visible(x.Row))
			}
		}
	}
}

// engines are those that the job brings the table to.
func (r *resolved) engines() []string {
	var names []string
	for _, l := range r.loads {
		if l.rule == "" && !slices.Contains(names, string(l.dialect)) {
			names = append(names, string(l.dialect))
		}
	}
	return names
}
