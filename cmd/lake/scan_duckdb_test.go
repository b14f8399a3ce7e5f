//go:build cgo

package main

import (
	"database/sql"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	_ "github.com/duckdb/duckdb-go/v2" // what the rows are compared with
	"github.com/stretchr/testify/require"

	"lake/rules"
	"lake/rules/tally"
	"lake/schemas"
	"lake/table"
)

// fillScanned appends random values of any type to a column, around a number that rises from
// file to file. One in twelve is null.
func fillScanned(g *rand.Rand, b array.Builder, around int) {
	if g.IntN(12) == 0 {
		if list, is := b.(*array.ListBuilder); is {
			list.AppendNull()
			return
		}
		b.AppendNull()
		return
	}
	x := around + g.IntN(20)
	float := float64(x) / 4
	switch g.IntN(10) {
	case 0:
		float = math.NaN()
	case 1:
		float = math.Copysign(0, float64(g.IntN(2))-0.5)
	}
	switch b := b.(type) {
	case *array.BooleanBuilder:
		b.Append(x%2 == 0)
	case *array.Int32Builder:
		b.Append(int32(x))
	case *array.Int64Builder:
		b.Append(int64(x))
	case *array.Float32Builder:
		b.Append(float32(float))
	case *array.Float64Builder:
		b.Append(float)
	case *array.Decimal128Builder:
		quarter := decimal128.FromI64(25).IncreaseScaleBy(b.Type().(*arrow.Decimal128Type).Scale - 2)
		b.Append(decimal128.FromI64(int64(x)).Mul(quarter))
	case *array.Date32Builder:
		b.Append(arrow.Date32(18_000 + x))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(int64(18_000+x)*86_400_000_000 + int64(g.IntN(2))))
	case *array.StringBuilder:
		b.Append(fmt.Sprintf("t%04d", 1000+x))
	case *array.BinaryBuilder:
		b.Append(fmt.Appendf(nil, "r%04d", 1000+x))
	case *array.FixedSizeBinaryBuilder:
		b.Append(fmt.Appendf(nil, "%016d", 1000+x))
	case *array.ListBuilder:
		b.Append(true)
		for range g.IntN(3) {
			fillScanned(g, b.ValueBuilder(), around)
		}
	case *array.StructBuilder:
		b.Append(true)
		for i := range b.NumField() {
			fillScanned(g, b.FieldBuilder(i), around)
		}
	default:
		panic(fmt.Sprintf("no values for %T", b))
	}
}

// scannedTable has three rounds of files: the schema of the first is widened and has more
// columns in the others.
func scannedTable(t *testing.T, g *rand.Rand) *table.Table {
	catalog, err := table.OpenCatalog(t.Context(), table.CatalogConfig{Warehouse: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, catalog.Close()) })
	schema := func(small, single, more string) (out schemas.Schema) {
		for _, column := range strings.Split("id: int64!; flag: bool; i: "+small+"; n: int64; f: float64; g: "+single+"; d: decimal(9,2)"+
			"; wide: decimal(30,9); day: date; ts: timestamp; wall: datetime; t: string; raw: bytes; u: uuid; l: list<int64>; s: struct<k: "+small+", f: "+single+", t: string"+more, "; ") {
			name, text, _ := strings.Cut(column, ": ")
			typ, err := schemas.ParseType(strings.TrimSuffix(text, "!"))
			require.NoError(t, err, column)
			out.Fields = append(out.Fields, schemas.Field{Name: name, Type: typ, Required: name == "id"})
		}
		return out
	}
	first := schema("int32", "float32", ">")
	tbl, err := catalog.Create(t.Context(), "s.events", table.Definition{Schema: first})
	require.NoError(t, err)
	id := int64(0)
	for round := range 3 {
		if round == 1 {
			tbl, err = catalog.EvolveTo(t.Context(), tbl, schema("int64", "float64", ", m: int64>; extra: string"))
			require.NoError(t, err)
		}
		w, err := tbl.NewWriter(table.WriterOptions{Name: fmt.Sprint("round-", round), RowGroupBytes: 16 << 10})
		require.NoError(t, err)
		b := array.NewRecordBuilder(memory.DefaultAllocator, tbl.Schema().Arrow())
		for part := range 10 {
			for range 100 {
				b.Field(0).(*array.Int64Builder).Append(id)
				id++
				for i := 1; i < len(b.Fields()); i++ {
					fillScanned(g, b.Field(i), 100*round+10*part-150)
				}
			}
			batch := b.NewRecordBatch()
			require.NoError(t, w.Write(t.Context(), batch))
			batch.Release()
		}
		b.Release()
		files, err := w.Flush(t.Context())
		require.NoError(t, err)
		require.NoError(t, tbl.Append(t.Context(), "k", int64(round+1), files))
	}
	return tbl
}

// scanCondition is a random condition on the columns of scannedTable.
func scanCondition(g *rand.Rand, depth int) string {
	if depth > 0 && g.IntN(3) > 0 {
		a, b := scanCondition(g, depth-1), scanCondition(g, depth-1)
		switch g.IntN(5) {
		case 0:
			return "NOT (" + a + ")"
		case 1, 2:
			return "(" + a + " OR " + b + ")"
		default:
			return "(" + a + " AND " + b + ")"
		}
	}
	x := func() int { return g.IntN(360) - 180 }
	number := func() string { return fmt.Sprint(x()) }
	float := func() string {
		return []string{"0.0", "-0.0", "CAST('inf' AS FLOAT64)", "CAST('-inf' AS FLOAT64)", fmt.Sprint(float64(x()) / 8), fmt.Sprint(float64(x()) / 4), "CAST('nan' AS FLOAT64)"}[g.IntN(7)]
	}
	decimal := func() string {
		return []string{fmt.Sprintf("%d.25", x()/4), fmt.Sprintf("NUMERIC '%d.505'", x()/4), fmt.Sprint(x() / 4)}[g.IntN(3)]
	}
	day := func() string {
		return time.Unix(int64(18_000+x())*86_400, 0).UTC().Format(time.DateOnly)
	}
	columns := []struct {
		name  string
		value func() string
	}{
		{"flag", func() string { return []string{"TRUE", "FALSE"}[g.IntN(2)] }}, {"i", number}, {"n", number}, {"id", func() string { return fmt.Sprint(g.IntN(3000)) }},
		{"f", float}, {"g", float}, {"d", decimal}, {"wide", decimal}, {"s.k", number}, {"s.f", float}, {"s.m", number},
		{"day", func() string { return "DATE '" + day() + "'" }}, {"ts", func() string { return "TIMESTAMP '" + day() + " 00:00:00Z'" }},
		{"wall", func() string { return "CAST('" + day() + " 00:00:00' AS DATETIME)" }},
		{"t", func() string { return fmt.Sprintf("'t%04d'", 1000+x()) }}, {"s.t", func() string { return fmt.Sprintf("'t%03d'", 100+x()/10) }},
		{"extra", func() string { return fmt.Sprintf("'t%04d'", 1000+x()) }}, {"raw", func() string { return fmt.Sprintf("b'r%04d'", 1000+x()) }},
		{"l[SAFE_OFFSET(0)]", number}, {"n", float}, {"i", decimal},
		{"u", func() string {
			u := fmt.Sprintf("%x", fmt.Sprintf("%016d", 1000+x()))
			return "'" + u[:8] + "-" + u[8:12] + "-" + u[12:16] + "-" + u[16:20] + "-" + u[20:] + "'"
		}},
	}
	c := columns[g.IntN(len(columns))]
	switch g.IntN(9) {
	case 0:
		return c.name + " IS NULL"
	case 1:
		return c.name + " IS NOT NULL"
	case 2:
		return c.name + " BETWEEN " + c.value() + " AND " + c.value()
	case 3:
		values := make([]string, 1+g.IntN(5)*g.IntN(5))
		for i := range values {
			values[i] = c.value()
		}
		return c.name + []string{" IN (", " NOT IN ("}[g.IntN(2)] + strings.Join(values, ", ") + ")"
	case 4:
		if c.name == "t" {
			return "t LIKE '" + fmt.Sprintf("t%03d", 100+x()/10) + "%'"
		}
		return c.value() + " <= " + c.name
	}
	return c.name + " " + []string{"=", "<>", "<", "<=", ">", ">="}[g.IntN(6)] + " " + c.value()
}

// idsOf are the ids that a query of DuckDB's gives, sorted.
func idsOf(t *testing.T, db *sql.DB, query string) (ids []int64) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	require.NoError(t, err, query)
	defer rows.Close()
	for rows.Next() {
		var id int64
		require.NoError(t, rows.Scan(&id))
		ids = append(ids, id)
	}
	require.NoError(t, rows.Err())
	slices.Sort(ids)
	return ids
}

// TestScansAgree: the rows of random conditions are those of a scan that passes over
// nothing, and those that DuckDB finds in the snapshot's files.
func TestScansAgree(t *testing.T) {
	g := rand.New(rand.NewPCG(8, 9))
	tbl := scannedTable(t, g)
	files, err := tbl.Files(t.Context(), table.FileFilter{})
	require.NoError(t, err)
	paths := make([]string, len(files))
	for i, f := range files {
		paths[i] = schemas.DuckDB.Literal(f.Path)
	}
	db, err := sql.Open("duckdb", "")
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	db.SetMaxOpenConns(1)
	_, err = db.ExecContext(t.Context(), "SET TimeZone = 'Australia/Lord_Howe'")
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), "CREATE TABLE events AS SELECT * FROM read_parquet(["+strings.Join(paths, ", ")+"], union_by_name = true)")
	require.NoError(t, err)

	read, all := int64(0), int64(0) // rows
	scan := func(where string, pruned bool) (ids []int64) {
		o, filter, _, err := scanOptions{where: where, columns: []string{"id"}}.plan(tbl.Schema(), time.UTC)
		require.NoError(t, err, where)
		if !pruned {
			o.Where = nil
		}
		for batch, err := range tbl.Scan(t.Context(), o) {
			require.NoError(t, err, where)
			if pruned {
				read += batch.NumRows()
			} else {
				all += batch.NumRows()
			}
			kept, err := filterBatch(batch, filter)
			require.NoError(t, err, where)
			at := kept.Schema().FieldIndices("id")[0]
			ids = append(ids, kept.Column(at).(*array.Int64).Int64Values()...)
			kept.Release()
			batch.Release()
		}
		return ids
	}
	conditions, counts := make([]string, 400), make([]int, 400)
	some := 0
	for i := range conditions {
		where := scanCondition(g, 2)
		want := scan(where, false)
		require.Equal(t, want, scan(where, true), where)
		plan, errs := rules.Compile("SELECT id FROM events WHERE "+where, rules.Source{Schema: tbl.Schema(), Names: []string{"events"}, Zone: time.UTC})
		require.Empty(t, errs, where)
		query, err := plan.Print(schemas.DuckDB, "events")
		require.NoError(t, err, where)
		got := idsOf(t, db, query)
		require.Equal(t, got, want, "%s: %s", where, query)
		if conditions[i], counts[i] = where, len(want); len(want) > 0 {
			some++
		}
	}
	t.Logf("%d conditions have rows; %d of %d rows were read", some, read, all)
	require.Greater(t, some, 200)
	require.Less(t, read, all*9/10)

	// As the conditions of several rules, of which one scan reads what any may want.
	a := &app{log: slog.New(slog.DiscardHandler), flags: globalFlags{memory: 256 << 20}}
	for i := 0; i < len(conditions); i += 4 {
		var chosen []tally.Rule
		for k, where := range conditions[i : i+4] {
			plan, errs := rules.Compile("SELECT COUNT(*) AS n FROM events WHERE "+where, rules.Source{Schema: tbl.Schema(), Names: []string{"events"}, Zone: time.UTC})
			require.Empty(t, errs, where)
			chosen = append(chosen, tally.Rule{Name: fmt.Sprint("rule_", k), Plan: plan})
		}
		answers, err := a.answer(t.Context(), &resolved{}, tbl, chosen, table.ScanOptions{})
		require.NoError(t, err)
		for k, answer := range answers {
			require.Equal(t, int64(counts[i+k]), answer.Rows.Column(0).(*array.Int64).Value(0), conditions[i+k])
			answer.Release()
		}
	}
}

// TestRulesTogetherPassOver: of several rules over one scan, what none of them can want is
// not read; where one has no condition, all is.
func TestRulesTogetherPassOver(t *testing.T) {
	tbl := scannedTable(t, rand.New(rand.NewPCG(8, 9)))
	read := func(conditions ...string) (rows int64) {
		var filters []rules.Expr
		for _, where := range conditions {
			filter, errs := rules.CompileFilter(where, rules.Source{Schema: tbl.Schema(), Zone: time.UTC})
			require.Empty(t, errs, where)
			filters = append(filters, filter)
		}
		for batch, err := range tbl.Scan(t.Context(), table.ScanOptions{Columns: []string{"id"}, Where: rangesOf(filters...)}) {
			require.NoError(t, err)
			rows += batch.NumRows()
			batch.Release()
		}
		return rows
	}
	first, last := read("f < -30"), read("wide > 30.5")
	require.Less(t, first, int64(1000))
	require.Positive(t, first)
	require.Less(t, last, int64(1000))
	require.Positive(t, last)
	require.Equal(t, first+last, read("f < -30", "wide > 30.5"), "they are of other files")
	require.Equal(t, int64(3000), read("f < -30", "MOD(n, 2) = 0", "wide > 30.5"))
}
