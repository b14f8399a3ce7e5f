package agree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/stretchr/testify/require"

	"lake/rules"
	"lake/rules/tally"
	"lake/schemas"
)

// answer is what lake or an engine says of a query.
type answer struct {
	rows   [][]cell
	failed string // a row or group that has no value, or the whole query
}

// ofLake evaluates a query as lake rules run does.
func ofLake(plan *rules.Plan, batch arrow.RecordBatch) (answer, error) {
	t, err := tally.New(tally.Rule{Name: "r", Plan: plan, Emit: tally.OnDemand}, tally.Options{})
	if err != nil {
		return answer{}, err
	}
	defer t.Release()
	if err := t.Add(tally.Rows{Batch: batch}); err != nil {
		return answer{}, err
	}
	var out answer
	for _, f := range t.RowFailures() {
		out.failed = f.Reason
	}
	final, err := t.Final()
	if err != nil {
		return answer{}, err
	}
	defer final.Release()
	for _, f := range final.Failures {
		out.failed = f.Reason
	}
	for row := range int(final.Rows.NumRows()) {
		cells := make([]cell, final.Rows.NumCols())
		for i, c := range final.Rows.Columns() {
			if !c.IsNull(row) {
				cells[i] = cell{String: cellOf(c, row), Valid: true}
			}
		}
		out.rows = append(out.rows, cells)
	}
	return out, nil
}

func cellOf(c arrow.Array, row int) string {
	switch c := c.(type) {
	case *array.Float64:
		return strconv.FormatFloat(c.Value(row), 'g', -1, 64)
	case *array.Timestamp:
		return strconv.FormatInt(int64(c.Value(row)), 10)
	case *array.Date32:
		return strconv.FormatInt(int64(c.Value(row)), 10)
	case *array.Binary:
		return fmt.Sprintf("%X", c.Value(row))
	default:
		return c.ValueStr(row)
	}
}

// close compares two cells of a type. Sums of floats are in another order, and a
// NUMERIC average is a DOUBLE's in engines.
func closeTo(t schemas.Type, a, b cell) bool {
	if a.Valid != b.Valid || !a.Valid {
		return a.Valid == b.Valid
	}
	switch t.Kind {
	case schemas.Float64:
		return near(number(a.String), number(b.String))
	case schemas.Decimal:
		x, ok := new(big.Rat).SetString(a.String)
		y, fine := new(big.Rat).SetString(b.String)
		return ok && fine && x.Cmp(y) == 0
	case schemas.Bool:
		return strings.EqualFold(a.String, b.String)
	default:
		return a.String == b.String
	}
}

func number(text string) float64 {
	f, err := strconv.ParseFloat(strings.Replace(text, "-nan", "nan", 1), 64) // DuckDB's sign of NaN means nothing
	if err != nil && !math.IsInf(f, 0) {
		return math.Inf(-2)
	}
	return f
}

func near(x, y float64) bool {
	if math.IsNaN(x) || math.IsNaN(y) {
		return math.IsNaN(x) && math.IsNaN(y)
	}
	return x == y || math.Abs(x-y) <= 1e-9*max(math.Abs(x), math.Abs(y))
}

func compareCells(t schemas.Type, a, b cell) int {
	if !a.Valid || !b.Valid {
		return cmp.Compare(fmt.Sprint(a.Valid), fmt.Sprint(b.Valid))
	}
	switch t.Kind {
	case schemas.Float64:
		return cmp.Compare(number(a.String), number(b.String))
	case schemas.Decimal:
		x, _ := new(big.Rat).SetString(a.String)
		y, _ := new(big.Rat).SetString(b.String)
		if x == nil || y == nil {
			return 0
		}
		return x.Cmp(y)
	default:
		return strings.Compare(strings.ToLower(a.String), strings.ToLower(b.String)) * 2
	}
}

// difference is how an engine's answer differs; "": it does not. The first keys
// columns tell rows apart.
func difference(out schemas.Schema, keys int, grouped bool, averages []bool, want, got answer) string {
	switch {
	case strings.Contains(got.failed, "hexadecimal digits"):
		return "" // said, not answered wrongly
	case got.failed != "" && want.failed == "":
		return "the engine fails: " + got.failed
	case got.failed != "" || want.failed != "" && grouped:
		return "" // rows that failed are missing in lake's groups
	}
	order := func(rows [][]cell) {
		slices.SortStableFunc(rows, func(a, b []cell) int {
			for i := range keys {
				if c := compareCells(out.Fields[i].Type, a[i], b[i]); c != 0 {
					return c
				}
			}
			return 0
		})
	}
	order(want.rows)
	order(got.rows)
	if want.failed != "" { // an engine need not compute what does not decide; what lake has it has, too
		there := map[string]bool{}
		for _, row := range want.rows {
			there[row[0].String] = true
		}
		got.rows = slices.DeleteFunc(got.rows, func(row []cell) bool { return !there[row[0].String] })
	}
	for row := range min(len(want.rows), len(got.rows)) {
		for i, f := range out.Fields {
			a, b := want.rows[row][i], got.rows[row][i]
			if averages[i] && a.Valid && b.Valid && math.Abs(number(a.String)-number(b.String)) < 2e-9 {
				continue // the ninth digit of a NUMERIC that was a DOUBLE
			}
			if !closeTo(f.Type, a, b) && (!averages[i] || !closeTo(schemas.Type{Kind: schemas.Float64}, a, b)) {
				return fmt.Sprintf("row %d, %s: lake has %q, the engine %q", row, f.Name, shown(a), shown(b))
			}
		}
	}
	if len(want.rows) != len(got.rows) {
		return fmt.Sprintf("lake has %d rows, the engine %d", len(want.rows), len(got.rows))
	}
	return ""
}

func shown(c cell) string {
	if !c.Valid {
		return "NULL"
	}
	return c.String
}

// trial is a query over rows.
type trial struct {
	query query
	rows  arrow.RecordBatch
}

// try compares the answers to a trial; refused: the engine has no form for it.
func try(ctx context.Context, e engine, q query, batch arrow.RecordBatch) (diff string, printed string, refused bool, err error) {
	plan, errs := rules.Compile(q.String(), source())
	if len(errs) > 0 {
		return "", "", true, nil
	}
	printed, refusal := plan.Print(e.dialect(), "events")
	if refusal != nil {
		return "", "", true, nil //nolint:nilerr // what the engine has no form for is not compared
	}
	want, err := ofLake(plan, batch)
	if err != nil {
		return "", printed, false, err
	}
	var got answer
	got.rows, err = e.ask(ctx, printed, plan.OutputSchema())
	if failed(err) {
		got.failed, err = err.Error(), nil
	}
	if err != nil {
		return "", printed, false, err
	}
	averages := make([]bool, len(plan.Select))
	for i := range averages {
		averages[i] = strings.Contains(plan.Select[i].Expr.String(), "AVG(")
	}
	return difference(plan.OutputSchema(), len(q.keys), q.grouped, averages, want, got), printed, false, nil
}

// smaller are the queries that are like q, but for one part less.
func smaller(q query) []query {
	var out []query
	for i := range q.selected {
		if len(q.selected)+len(q.keys) > 1 {
			less := q
			less.selected = slices.Delete(slices.Clone(q.selected), i, i+1)
			out = append(out, less)
		}
	}
	if q.where != nil {
		less := q
		less.where = nil
		out = append(out, less)
	}
	if q.having != nil {
		less := q
		less.having = nil
		out = append(out, less)
	}
	if q.grouped && len(q.keys) > 0 {
		for i := range q.keys {
			less := q
			less.keys = slices.Delete(slices.Clone(q.keys), i, i+1)
			out = append(out, less)
		}
	}
	replace := func(list []*expr, put func(q *query, list []*expr)) {
		for i, e := range list {
			for _, s := range reduced(e) {
				less := q
				changed := slices.Clone(list)
				changed[i] = s
				put(&less, changed)
				out = append(out, less)
			}
		}
	}
	replace(q.selected, func(q *query, list []*expr) { q.selected = list })
	replace(q.keys, func(q *query, list []*expr) { q.keys = list })
	if q.where != nil {
		replace([]*expr{q.where}, func(q *query, list []*expr) { q.where = list[0] })
	}
	if q.having != nil {
		replace([]*expr{q.having}, func(q *query, list []*expr) { q.having = list[0] })
	}
	return out
}

// reduced are the expressions of the same type that e holds, and e with a part reduced.
func reduced(e *expr) []*expr {
	var out []*expr
	for _, p := range e.parts {
		if p.kind == e.kind && !strings.Contains(e.format, "SUM(") && !strings.Contains(e.format, "M") {
			out = append(out, p)
		}
	}
	for i, p := range e.parts {
		for _, s := range append(reduced(p), simplest(p)...) {
			changed := *e
			changed.parts = slices.Clone(e.parts)
			changed.parts[i] = s
			out = append(out, &changed)
		}
	}
	return out
}

func simplest(e *expr) []*expr {
	if len(e.parts) == 0 {
		return nil
	}
	return []*expr{leaf(e.kind, columns[e.kind][0])}
}

// writeParquet puts rows where an engine reads them.
func writeParquet(t testing.TB, batch arrow.RecordBatch) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rows.parquet")
	require.NoError(t, writeBatch(file, batch))
	return file
}

func writeBatch(file string, batch arrow.RecordBatch) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	w, err := pqarrow.NewFileWriter(batch.Schema(), f, parquet.NewWriterProperties(), pqarrow.DefaultWriterProps())
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(w.Write(batch), w.Close()) // which closes the file
}

// readParquet is the rows of a file that writeParquet wrote.
func readParquet(ctx context.Context, file string) (arrow.RecordBatch, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	table, err := pqarrow.ReadTable(ctx, f, nil, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	defer table.Release()
	rows := array.NewTableReader(table, 0)
	defer rows.Release()
	if !rows.Next() {
		return array.NewRecordBuilder(memory.DefaultAllocator, source().Schema.Arrow()).NewRecordBatch(), nil
	}
	batch := rows.RecordBatch()
	batch.Retain()
	return batch, nil
}

// minimal makes a trial that differs as small as it gets within a number of tries.
func minimal(t testing.TB, e engine, tr trial) trial {
	differs := func(tr trial) bool {
		diff, _, refused, err := try(t.Context(), e, tr.query, tr.rows)
		return err == nil && !refused && diff != ""
	}
	tries := 150
	for found := true; found && tries > 0; {
		found = false
		for _, q := range smaller(tr.query) {
			if tries--; tries < 0 {
				break
			}
			if less := (trial{q, tr.rows}); len(q.String()) < len(tr.query.String()) && differs(less) {
				tr, found = less, true
				break
			}
		}
	}
	for size := tr.rows.NumRows() / 2; size > 0; size /= 2 {
		for from := int64(0); from < tr.rows.NumRows(); from += size {
			less := trial{tr.query, tr.rows.NewSlice(from, min(from+size, tr.rows.NumRows()))}
			if less.rows.NumRows() == tr.rows.NumRows() || e.load(t.Context(), writeParquet(t, less.rows)) != nil {
				continue
			}
			if differs(less) {
				tr = less
				break
			}
		}
	}
	_ = e.load(t.Context(), writeParquet(t, tr.rows))
	return tr
}

// report is all that is needed to see a difference.
func report(t testing.TB, e engine, tr trial, seed uint64) string {
	diff, printed, _, err := try(t.Context(), e, tr.query, tr.rows)
	rows, _ := tr.rows.MarshalJSON()
	if len(rows) > 1500 {
		rows = append(rows[:1500:1500], "…"...)
	}
	return fmt.Sprintf("AGREE_SEED=%d %s: %s (%v)\n%s\n%s\n%s", seed, e.dialect(), diff, err, tr.query, printed, rows)
}

// agree compares queries over random rows and returns how many were compared.
func agree(t testing.TB, e engine, seed uint64, queries int) (compared int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	m := &maker{r: r, forms: forms()}
	wild := seed%4 == 0
	batch := randomRows(r, memory.DefaultAllocator, 1+r.IntN(60), wild)
	if seed%7 == 3 {
		batch = batch.NewSlice(0, 0)
	}
	file := writeParquet(t, batch)
	require.NoError(t, e.load(t.Context(), file))
	bad := 0
	for range queries {
		m.fails = r.IntN(3) == 0
		q := m.query()
		diff, printed, refused, err := try(t.Context(), e, q, batch)
		require.NoError(t, err, "AGREE_SEED=%d %s\n%s\n%s", seed, e.dialect(), q, printed)
		if refused {
			continue
		}
		compared++
		if diff != "" {
			tr := minimal(t, e, trial{q, batch})
			t.Error(report(t, e, tr, seed))
			if bad++; bad >= 3 {
				return compared
			}
			require.NoError(t, e.load(t.Context(), file))
		}
	}
	return compared
}

func seeds(t testing.TB, runs int) []uint64 {
	number := func(name string, otherwise uint64) uint64 {
		text := os.Getenv(name)
		if text == "" {
			return otherwise
		}
		n, err := strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, name)
		return n
	}
	first := number("AGREE_SEED", 1)
	if os.Getenv("AGREE_SEED") != "" {
		runs = 1
	}
	var out []uint64
	for i := range number("AGREE_RUNS", uint64(runs)) {
		out = append(out, first+i)
	}
	return out
}

func TestSpark(t *testing.T) {
	s := startSpark(t)
	if s == nil {
		t.Skip("LAKE_TEST_SPARK is not set")
	}
	batch := randomRows(rand.New(rand.NewPCG(1, 1)), memory.DefaultAllocator, 3, false)
	require.NoError(t, s.load(t.Context(), writeParquet(t, batch)))
	guards(t, s, "this query needs SET spark.sql.ansi.enabled = true")
	for _, set := range rules.Settings(schemas.Spark) {
		_, err := s.call("set", set)
		require.NoError(t, err)
	}
	fails(t, s)
	compared, began := 0, time.Now()
	for _, seed := range seeds(t, 2) {
		compared += agree(t, s, seed, 8)
	}
	t.Logf("%d queries compared in %v", compared, time.Since(began))
}
