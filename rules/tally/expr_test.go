package tally

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"lake/rules"
	"lake/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Test plans are made by hand of two kinds of expressions, so that these tests
// stand on nothing that the compiler does. A value is nil, int64 (also dates and
// times), float64, bool, string (also bytes) or *big.Int (an unscaled decimal).

// columnExpr is a column of the batch.
type columnExpr struct {
	name string
	typ  schemas.Type
}

func (e columnExpr) Type() schemas.Type { return e.typ }
func (e columnExpr) String() string     { return e.name }
func (e columnExpr) Eval(_ *rules.Eval, batch arrow.RecordBatch) (arrow.Array, error) {
	at := batch.Schema().FieldIndices(e.name)
	if len(at) != 1 {
		return nil, fmt.Errorf("no column %s in %s", e.name, batch.Schema())
	}
	c := batch.Column(at[0])
	c.Retain()
	return c, nil
}

// funcExpr computes a value from a row's values; its error fails the row.
type funcExpr struct {
	text string
	typ  schemas.Type
	fn   func(get func(name string) any) (any, error)
}

func (e funcExpr) Type() schemas.Type { return e.typ }
func (e funcExpr) String() string     { return e.text }
func (e funcExpr) Eval(ctx *rules.Eval, batch arrow.RecordBatch) (arrow.Array, error) {
	b := array.NewBuilder(ctx.Mem, e.typ.Arrow())
	defer b.Release()
	for row := range int(batch.NumRows()) {
		v, err := e.fn(func(name string) any { return valueAt(batch.Column(batch.Schema().FieldIndices(name)[0]), row) })
		if err != nil {
			ctx.Fail(row, err.Error())
			v = nil
		}
		appendValue(b, v)
	}
	return b.NewArray(), nil
}

func valueAt(a arrow.Array, row int) any {
	if a.IsNull(row) {
		return nil
	}
	switch a := a.(type) {
	case *array.Int64:
		return a.Value(row)
	case *array.Date32:
		return int64(a.Value(row))
	case *array.Timestamp:
		return int64(a.Value(row))
	case *array.Time64:
		return int64(a.Value(row))
	case *array.Float64:
		return a.Value(row)
	case *array.Boolean:
		return a.Value(row)
	case *array.String:
		return a.Value(row)
	case *array.Binary:
		return string(a.Value(row))
	case *array.FixedSizeBinary:
		return string(a.Value(row))
	case *array.Decimal128:
		return a.Value(row).BigInt()
	}
	return fmt.Sprintf("%T", a)
}

func appendValue(b array.Builder, v any) {
	if v == nil {
		b.AppendNull()
		return
	}
	if n, ok := v.(int); ok {
		v = int64(n)
	}
	switch b := b.(type) {
	case *array.Int64Builder:
		b.Append(v.(int64))
	case *array.Int32Builder:
		b.Append(int32(v.(int64)))
	case *array.Date32Builder:
		b.Append(arrow.Date32(v.(int64)))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(v.(int64)))
	case *array.Time64Builder:
		b.Append(arrow.Time64(v.(int64)))
	case *array.Float64Builder:
		b.Append(v.(float64))
	case *array.Float32Builder:
		b.Append(float32(v.(float64)))
	case *array.BooleanBuilder:
		b.Append(v.(bool))
	case *array.StringBuilder:
		b.Append(v.(string))
	case *array.BinaryBuilder:
		b.Append([]byte(v.(string)))
	case *array.FixedSizeBinaryBuilder:
		b.Append([]byte(v.(string)))
	case *array.Decimal128Builder:
		b.Append(decimal128.FromBigInt(v.(*big.Int)))
	default:
		panic(fmt.Sprintf("%T", b))
	}
}

// show is a value's text, in which NaN equals NaN and 1 differs from 1.0.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case float64:
		return "f" + strconv.FormatFloat(v, 'g', -1, 64)
	case string:
		return strconv.Quote(v)
	case *big.Int:
		return "d" + v.String()
	}
	return fmt.Sprint(v)
}

var (
	boolType  = schemas.Type{Kind: schemas.Bool}
	intType   = schemas.Type{Kind: schemas.Int64}
	floatType = schemas.Type{Kind: schemas.Float64}
	textType  = schemas.Type{Kind: schemas.String}
	bytesType = schemas.Type{Kind: schemas.Bytes}
	dateType  = schemas.Type{Kind: schemas.Date}
	timeType  = schemas.Type{Kind: schemas.Timestamp}
	moneyType = schemas.Type{Kind: schemas.Decimal, Precision: 20, Scale: 2}
	uuidType  = schemas.Type{Kind: schemas.UUID}
)

// batchOf makes a batch of rows of values.
func batchOf(mem memory.Allocator, schema schemas.Schema, rows [][]any) arrow.RecordBatch {
	b := array.NewRecordBuilder(mem, schema.Arrow())
	defer b.Release()
	for _, row := range rows {
		for i, v := range row {
			appendValue(b.Field(i), v)
		}
	}
	return b.NewRecordBatch()
}

// lines shows answers, one a line: its key, † for a tombstone, its values.
func lines(a Answers) []string {
	out := make([]string, 0, a.Rows.NumRows())
	for row := range int(a.Rows.NumRows()) {
		key := "-"
		if !a.Keys.IsNull(row) {
			key = a.Keys.Value(row)
		}
		line := key
		if a.Deleted != nil && a.Deleted[row] {
			line += " †"
		}
		for _, c := range a.Rows.Columns() {
			line += " " + show(valueAt(c, row))
		}
		out = append(out, line)
	}
	return out
}

// taken are the answers of t as lines.
func taken(t testing.TB, tally *Tally) []string {
	t.Helper()
	a, err := tally.Answers()
	require.NoError(t, err)
	defer a.Release()
	require.Equal(t, int(a.Rows.NumRows()), a.Keys.Len())
	return lines(a)
}

func finals(t testing.TB, tally *Tally) []string {
	t.Helper()
	a, err := tally.Final()
	require.NoError(t, err)
	defer a.Release()
	return lines(a)
}

// checked is an allocator that has to be empty when the test ends.
func checked(t testing.TB) memory.Allocator {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	t.Cleanup(func() { mem.AssertSize(t, 0) })
	return mem
}

func newTally(t testing.TB, rule Rule, opts Options) *Tally {
	t.Helper()
	if opts.Mem == nil {
		opts.Mem = checked(t)
	}
	tally, err := New(rule, opts)
	require.NoError(t, err)
	t.Cleanup(tally.Release)
	return tally
}

// give adds rows without dates and watermarks.
func give(t testing.TB, tally *Tally, rows ...[]any) {
	t.Helper()
	batch := batchOf(tally.opts.Mem, tally.plan.Source.Schema, rows)
	defer batch.Release()
	require.NoError(t, tally.Add(Rows{Batch: batch}))
}

func at(text string) int64 {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return t.UnixMicro()
}

var errDivision = errors.New("division by zero")

// testPlan completes a plan: names the aggregates and selects all columns of
// the group batch where nothing else is selected.
func testPlan(p rules.Plan) *rules.Plan {
	p.Grouped = true
	if p.Source.Zone == nil {
		p.Source.Zone = time.UTC
	}
	all := append([]rules.Column(nil), p.Keys...)
	for i := range all {
		all[i].Expr = columnExpr{all[i].Name, all[i].Expr.Type()}
	}
	if p.Window != nil {
		p.Window.Name = "w"
		all = append(all, rules.Column{Name: "w", Expr: columnExpr{"w", windowType(p.Window.Kind)}})
	}
	for i := range p.Aggs {
		p.Aggs[i].Name = fmt.Sprintf("agg%d", i)
		if p.Aggs[i].Type.Kind == schemas.Invalid {
			p.Aggs[i].Type = aggType(p.Aggs[i])
		}
		all = append(all, rules.Column{Name: p.Aggs[i].Name, Expr: columnExpr{p.Aggs[i].Name, p.Aggs[i].Type}})
	}
	if p.Select == nil {
		p.Select = all
	}
	return &p
}

func aggType(a rules.Agg) schemas.Type {
	switch a.Func {
	case rules.Count, rules.CountIf, rules.CountDistinct:
		return intType
	case rules.Min, rules.Max:
		return a.Arg.Type()
	case rules.Avg:
		if a.Arg.Type().Kind == schemas.Decimal {
			return schemas.Type{Kind: schemas.Decimal, Precision: 38, Scale: 9}
		}
		return floatType
	default:
		if a.Arg.Type().Kind == schemas.Decimal {
			return schemas.Type{Kind: schemas.Decimal, Precision: 22, Scale: 2}
		}
		return a.Arg.Type()
	}
}

// atLeast is HAVING column >= n, of an INT64 column.
func atLeast(column string, n int64) rules.Expr {
	return funcExpr{fmt.Sprintf("%s >= %d", column, n), boolType, func(get func(string) any) (any, error) {
		v, ok := get(column).(int64)
		if !ok {
			return nil, nil
		}
		return v >= n, nil
	}}
}

func source(columns ...any) rules.Source {
	s := rules.Source{Zone: time.UTC}
	for i := 0; i < len(columns); i += 2 {
		s.Schema.Fields = append(s.Schema.Fields, schemas.Field{Name: columns[i].(string), Type: columns[i+1].(schemas.Type)})
	}
	return s
}

func col(name string, typ schemas.Type) rules.Column {
	return rules.Column{Name: name, Expr: columnExpr{name, typ}}
}

func money(cents int64) *big.Int { return big.NewInt(cents) }
