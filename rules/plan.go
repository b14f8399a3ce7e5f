// Package rules is the language of threshold rules: a query in GoogleSQL's
// dialect is parsed, checked against a schema and compiled to a Plan, whose
// expressions are evaluated column by column on Arrow batches and which prints
// as other engines' SQL. Package tally, below it, keeps a plan's groups.
package rules

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lake/schemas"
)

// Plan is a compiled query. It is immutable and may be shared.
//
// A grouped plan is evaluated in two steps: rows that pass Filter are folded
// into one group per Keys and window; Having and Select are then evaluated on a
// group batch, whose columns are Keys, the window's start (where there is a
// window) and Aggs, in this order (GroupSchema).
type Plan struct {
	SQL     string
	Source  Source
	Filter  Expr     // over the source's columns, BOOL, NULL is false; nil: every row
	Grouped bool     // false: no GROUP BY and no aggregate, rows are filtered one by one
	Keys    []Column // GROUP BY columns but the window, over the source's columns
	Window  *Window  // nil: none
	Aggs    []Agg
	Having  Expr       // over the group batch, BOOL, NULL is false; nil: every group
	Bound   *Threshold // what a count has to reach before Having can be true; nil: nothing is known
	Select  []Column   // over the group batch; over the source's columns where not Grouped

	windowExpr node // what GROUP BY has for Window
}

// Source is what a query may read.
type Source struct {
	Schema    schemas.Schema
	Names     []string // what FROM may call the table: "events", "nobroker.events"
	TimeField string   // the event time's column, "" where there is none
	Zone      *time.Location
}

// Column is a named expression.
type Column struct {
	Name string
	Expr Expr
}

// WindowKind says how a window cuts time.
type WindowKind uint8

// The kinds of windows.
const (
	Tumble WindowKind = iota // TIMESTAMP_BUCKET(ts, INTERVAL n unit[, origin]): start is a timestamp
	Day                      // DATE(ts, zone): start is a date, the day ends at the zone's next midnight
)

// Window is the one event-time window of a query.
type Window struct {
	Name   string
	Kind   WindowKind
	Time   Expr           // timestamp, over the source's columns; NULL forms a window of its own that never closes
	Micros int64          // Tumble: its width
	Origin int64          // Tumble: µs since 1970 of one window's start
	Zone   *time.Location // Day
}

// AggFunc is an aggregate function.
type AggFunc uint8

// The aggregate functions.
const (
	Count   AggFunc = iota // COUNT(*) with a nil Arg, else of non-NULL values
	CountIf                // of true
	Sum                    // INT64 kept in 128 bits, NUMERIC, FLOAT64
	Min
	Max
	Avg           // FLOAT64; of NUMERIC: NUMERIC
	CountDistinct // exact
)

// Agg is one aggregate.
type Agg struct {
	Func AggFunc
	Arg  Expr         // over the source's columns; nil for COUNT(*)
	Type schemas.Type // of its result
	Name string       // of its column in the group batch: "agg0", …
}

// Expr is an expression over the columns of a batch.
type Expr interface {
	Type() schemas.Type
	// Eval returns batch.NumRows() values; the caller releases the array. A row
	// for which GoogleSQL would fail the query (overflow, division by zero) is
	// reported by ctx.Fail and NULL in the result. Eval itself fails only where
	// the batch does not fit the plan.
	Eval(ctx *Eval, batch arrow.RecordBatch) (arrow.Array, error)
	// String is the expression in GoogleSQL.
	String() string
}

// Eval carries what an evaluation needs and collects rows that failed. The zero
// value with Mem set is ready; use one a batch.
type Eval struct {
	Mem      memory.Allocator
	failures []Failure
}

// Failure is a row for which an expression has no value.
type Failure struct {
	Row    int
	Reason string
}

// Fail records that row has no value.
func (e *Eval) Fail(row int, reason string) {
	e.failures = append(e.failures, Failure{Row: row, Reason: reason})
}

// Failures returns what Fail recorded, in the order recorded.
func (e *Eval) Failures() []Failure { return e.failures }

// Output is the schema of the answers: SELECT's columns in order.
func (p *Plan) Output() *arrow.Schema { return p.OutputSchema().Arrow() }

// OutputSchema is Output in lake's types.
func (p *Plan) OutputSchema() schemas.Schema { return schemaOf(p.Select) }

// GroupSchema is the schema of a group batch: Keys, the window's start where
// there is a window, Aggs. It is empty where the plan is not Grouped.
func (p *Plan) GroupSchema() *arrow.Schema {
	columns := schemaOf(p.Keys)
	if p.Window != nil {
		columns.Fields = append(columns.Fields, schemas.Field{Name: p.Window.Name, Type: p.Window.Type()})
	}
	for _, a := range p.Aggs {
		columns.Fields = append(columns.Fields, schemas.Field{Name: a.Name, Type: a.Type})
	}
	return columns.Arrow()
}

func schemaOf(columns []Column) schemas.Schema {
	out := schemas.Schema{Fields: make([]schemas.Field, len(columns))}
	for i, c := range columns {
		out.Fields[i] = schemas.Field{Name: c.Name, Type: c.Expr.Type()}
	}
	return out
}

// Type is the type of the window's start.
func (w *Window) Type() schemas.Type {
	if w.Kind == Day {
		return simple(schemas.Date)
	}
	return simple(schemas.Timestamp)
}

// rows are the expressions over the source's columns.
func (p *Plan) rows() []Expr {
	var out []Expr
	if p.Filter != nil {
		out = append(out, p.Filter)
	}
	for _, k := range p.Keys {
		out = append(out, k.Expr)
	}
	if p.Window != nil {
		out = append(out, p.Window.Time)
	}
	for _, a := range p.Aggs {
		if a.Arg != nil {
			out = append(out, a.Arg)
		}
	}
	if !p.Grouped {
		for _, c := range p.Select {
			out = append(out, c.Expr)
		}
	}
	return out
}

// Columns are the names of the source's columns that are read, in the source's
// order.
func (p *Plan) Columns() []string { return ColumnsOf(p.Source.Schema, p.rows()...) }

// ColumnsOf are the names of the columns of a schema that expressions read, in its order.
func ColumnsOf(schema schemas.Schema, exprs ...Expr) []string {
	read := map[string]bool{}
	for _, e := range exprs {
		n, ok := e.(node)
		if !ok {
			return schema.Names() // made elsewhere, it may read any
		}
		columnsOf(n, read)
	}
	var out []string
	for _, name := range schema.Names() {
		if read[name] {
			out = append(out, name)
		}
	}
	return out
}

func columnsOf(n node, into map[string]bool) {
	switch n := n.(type) {
	case *column:
		into[n.name] = true
	case *call:
		for _, a := range n.args {
			columnsOf(a, into)
		}
	}
}

// Fingerprint is a SHA-256 in hexadecimal. It changes when groups or their
// aggregates would mean something else, and not with SELECT's or HAVING's form.
func (p *Plan) Fingerprint() string {
	var b strings.Builder
	b.WriteString("rules 1\n")
	for _, name := range p.Columns() {
		f := p.Source.Schema.Fields[p.Source.Schema.Index(name)]
		fmt.Fprintf(&b, "column %q %s\n", f.Name, f.Type)
	}
	if p.Filter != nil {
		fmt.Fprintf(&b, "where %s\n", p.Filter)
	}
	for _, k := range p.Keys {
		fmt.Fprintf(&b, "key %s %s\n", k.Expr, k.Expr.Type())
	}
	if w := p.Window; w != nil {
		fmt.Fprintf(&b, "window %d %s %d %d %s\n", w.Kind, w.Time, w.Micros, w.Origin, w.Zone)
	}
	for _, a := range p.Aggs {
		fmt.Fprintf(&b, "aggregate %d %v %s\n", a.Func, a.Arg, a.Type)
	}
	if !p.Grouped {
		for _, c := range p.Select {
			fmt.Fprintf(&b, "select %s\n", c.Expr)
		}
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:])
}

// String is the plan for people, a line a step.
func (p *Plan) String() string {
	var b strings.Builder
	if columns := p.Columns(); len(columns) > 0 {
		fmt.Fprintf(&b, "read %s\n", strings.Join(columns, ", "))
	} else {
		b.WriteString("read no column\n")
	}
	if p.Filter != nil {
		fmt.Fprintf(&b, "where %s\n", p.Filter)
	}
	if p.Grouped {
		for _, k := range p.Keys {
			fmt.Fprintf(&b, "group by %s %s\n", k.Expr, sqlName(k.Expr.Type()))
		}
		if w := p.Window; w != nil {
			fmt.Fprintf(&b, "window %s\n", p.windowExpr)
		}
		for i, a := range p.Aggs {
			fmt.Fprintf(&b, "aggregate %s %s\n", aggregateText(p.Aggs[i]), sqlName(a.Type))
		}
	}
	if p.Having != nil {
		fmt.Fprintf(&b, "having %s\n", p.Having)
	}
	for _, c := range p.Select {
		fmt.Fprintf(&b, "select %s AS %s %s\n", c.Expr, c.Name, sqlName(c.Expr.Type()))
	}
	return b.String()
}

func aggregateText(a Agg) string {
	made := &aggregate{fn: a.Func, typ: a.Type}
	if n, ok := a.Arg.(node); ok {
		made.arg = n
	}
	return made.String()
}

// Print is the query in an engine's SQL, over a table by its name there, with
// the same answer; where lake reports a row or group as failed, the query fails,
// unless the engine need not compute it. Print fails where the engine has no form
// for a part of the query. Outside BigQuery, NUMERIC averages are rounded from a
// DOUBLE, and what overflows a FLOAT64 is infinite.
func (p *Plan) Print(d schemas.Dialect, table string) (string, error) {
	return p.PrintOver(d, Over{Table: table})
}

// Over is the rows that a printed query reads.
type Over struct {
	Table string // its name on the engine, parts not quoted
	// DateColumn is the table's DATE column of what follows; "" where there is none.
	DateColumn string
	From, To   int32 // days since 1970, half-open; the same: all rows
	// EachDate has groups of one date each, as a rule of scope partition has them.
	EachDate bool
}

// conditions are those of WHERE beside the query's own.
func (o Over) conditions(p *printer) string {
	if o.From == o.To {
		return ""
	}
	column := p.name(o.DateColumn)
	return column + " >= DATE '" + dateText(int64(o.From)) + "' AND " + column + " < DATE '" + dateText(int64(o.To)) + "'"
}

// PrintOver is Print over some dates of a table.
func (p *Plan) PrintOver(d schemas.Dialect, over Over) (string, error) {
	out, err := newPrinter(d)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for i, c := range p.Select {
		b.WriteString([]string{"SELECT ", ",\n       "}[min(i, 1)])
		text := out.bare(c.Expr.(node))
		if text != out.name(c.Name) {
			text += " AS " + out.name(c.Name)
		}
		b.WriteString(text)
	}
	selected := b.String()
	b.Reset()
	where := ""
	if p.Filter != nil {
		where = out.bare(p.Filter.(node))
	}
	var keys []string
	for _, k := range p.Keys {
		keys = append(keys, out.bare(k.Expr.(node)))
	}
	if p.Window != nil {
		keys = append(keys, out.bare(p.windowExpr))
	}
	if over.EachDate && p.Grouped {
		keys = append(keys, out.name(over.DateColumn))
	}
	if dates := over.conditions(out); dates != "" && where != "" {
		where = "(" + where + ")\n  AND " + dates
	} else if dates != "" {
		where = dates
	}
	having := ""
	if p.Having != nil {
		having = "\nHAVING " + out.bare(p.Having.(node))
	}
	b.WriteString(selected + "\nFROM " + tableName(d, over.Table))
	if where = out.guarded(where); where != "" {
		b.WriteString("\nWHERE " + where)
	}
	if len(keys) > 0 {
		b.WriteString("\nGROUP BY " + strings.Join(keys, ", "))
	}
	b.WriteString(having)
	if out.err != nil {
		return "", fmt.Errorf("print the query for %s: %w", d, out.err)
	}
	return b.String(), nil
}

// Settings are statements that a session of the engine runs before a printed query.
// A query that needs one fails in a session without it.
func Settings(d schemas.Dialect) []string {
	p, err := newPrinter(d)
	if err != nil || p.f == nil {
		return nil
	}
	return p.f.set
}

// guarded is WHERE's condition with what makes sure of the session's settings.
func (p *printer) guarded(where string) string {
	switch {
	case p.f == nil || p.f.guard == "" || !p.f.always && !p.strict:
		return where
	case where == "":
		return p.f.guard
	default:
		return p.f.guard + "\n  AND (" + where + ")"
	}
}

// tableName quotes a name: BigQuery's as a whole, others' by part.
func tableName(d schemas.Dialect, table string) string {
	if d == schemas.BigQuery {
		return d.Quote(table)
	}
	parts := strings.Split(table, ".")
	for i, part := range parts {
		parts[i] = d.Quote(part)
	}
	return strings.Join(parts, ".")
}

// Keep is the rows of a batch for which mask is true. The caller releases the
// result; batch and mask stay the caller's.
func Keep(batch arrow.RecordBatch, mask *array.Boolean, mem memory.Allocator) (arrow.RecordBatch, error) {
	ctx := compute.WithAllocator(context.Background(), mem)
	kept, err := compute.FilterRecordBatch(ctx, batch, mask, compute.DefaultFilterOptions())
	if err != nil {
		return nil, fmt.Errorf("keep rows: %w", err)
	}
	return kept, nil
}
