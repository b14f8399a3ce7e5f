package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"lake/load"
	"lake/rules"
	"lake/rules/tally"
	"lake/schemas"
	"lake/table"
)

// engineNames are what --engine may be; the embedded engine has no name.
var engineNames = []string{string(schemas.DuckDB), string(schemas.BigQuery), string(schemas.Hive), string(schemas.Spark)}

// engine is a warehouse that has the table and answers rules over it.
type engine struct {
	load.Engine
	loading     *loading
	incarnation string
	r           *resolved
	filter      table.FileFilter
}

// engineLoad is the job's target of a name of engineNames.
func (r *resolved) engineLoad(name string) (plan loadPlan, err error) {
	if !slices.Contains(engineNames, name) {
		return plan, usageError("--engine %q: it is %s or %s", name, strings.Join(engineNames[:len(engineNames)-1], ", "), engineNames[len(engineNames)-1])
	}
	kind := name
	if name == string(schemas.Spark) {
		kind = string(schemas.Hive) // its Thrift Server speaks Hive's protocol
	}
	i := slices.IndexFunc(r.loads, func(l loadPlan) bool { return l.rule == "" && string(l.dialect) == kind })
	if i < 0 {
		return plan, withCode(exitConfig, fmt.Errorf("%s: no load: brings the table into %s, so that it cannot be asked\nhint: load:\n        - %s: {…}", r.Path, name, kind))
	}
	return r.loads[i], nil
}

// openEngine opens the job's target of a name of engineNames. Where the server behind it
// turns out to be another one, that is an error, but for a name that nobody has
// written: the job file does not tell Hive from Spark. The caller closes it.
func (a *app) openEngine(ctx context.Context, r *resolved, t *opened, name string, written bool, filter table.FileFilter) (*engine, error) {
	plan, err := r.engineLoad(name)
	if err != nil {
		return nil, err
	}
	g, err := a.newLoading(ctx, r, t, plan, filter)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", plan.name, explainLoad(err))
	}
	e := &engine{loading: g, r: r, filter: filter}
	var ok bool
	if e.Engine, ok = load.EngineOf(g.w); !ok {
		return nil, errors.Join(fmt.Errorf("%s answers no queries", g.l.name), g.Close())
	}
	if is := string(e.Dialect()); is != name && written {
		return nil, errors.Join(withCode(exitConfig, fmt.Errorf("%s: the server is %s; hint: --engine %s", g.l.name, is, is)), g.Close())
	}
	if e.incarnation, err = e.Inspect(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", g.l.name, err), g.Close())
	}
	if e.incarnation == "" {
		return nil, errors.Join(withCode(exitPerson, fmt.Errorf("%s is not there yet\nhint: lake load %s", g.l.name, r.Path)), g.Close())
	}
	return e, nil
}

// Close closes the target.
func (e *engine) Close() error { return e.loading.Close() }

// stale are the dates of which the engine has other rows than the table.
func (e *engine) stale(ctx context.Context) ([]load.Step, error) {
	steps, err := e.loading.plan(ctx, e.incarnation)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(steps, func(s load.Step) bool { return s.State == load.Current || s.State == load.Found }), nil
}

// answer is what the engine says of a rule. The caller releases it.
func (e *engine) answer(ctx context.Context, rule tally.Rule) (arrow.RecordBatch, error) {
	over := rules.Over{Table: e.Name(), DateColumn: e.r.dateColumn(), EachDate: rule.Scope == tally.Partition}
	some := e.filter.From != firstDate || e.filter.To != lastDate
	if over.DateColumn == "" && (some || over.EachDate) {
		return nil, withCode(exitConfig, fmt.Errorf("rule %s: table %s has no column %s, so that an engine cannot tell the dates apart; hint: partition_by: [%s]", rule.Name, e.Name(), table.DateColumn, table.DateColumn))
	}
	if some {
		over.From, over.To = max(e.filter.From, firstSQLDate), min(e.filter.To, lastSQLDate)
	}
	query, err := rule.Plan.PrintOver(e.Dialect(), over)
	if err != nil {
		return nil, fmt.Errorf("rule %s: %w", rule.Name, err)
	}
	answers, err := load.Ask(ctx, e.Engine, rules.Settings(e.Dialect()), query, rule.Plan.OutputSchema())
	if err != nil {
		return nil, fmt.Errorf("rule %s on %s: %w", rule.Name, e.loading.l.name, err)
	}
	return answers, nil
}

// The dates that SQL knows, in days since 1970: 0001-01-01 to 9999-12-31.
const (
	firstSQLDate = -719162
	lastSQLDate  = 2932896
)
