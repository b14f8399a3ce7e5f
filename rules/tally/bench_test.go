package tally

import (
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"lake/rules"
	"lake/schemas"
)

const (
	benchRows  = 5_000_000
	benchBatch = 1 << 16
)

// benchBatches are 5M rows of so many users over an hour of events, in order,
// with the watermark a minute behind.
func benchBatches(b *testing.B, plan *rules.Plan, users int) []Rows {
	b.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	start := at("2021-11-30T00:00:00Z")
	var out []Rows
	for first := 0; first < benchRows; first += benchBatch {
		n := min(benchBatch, benchRows-first)
		user, times, rows := make([]int64, n), make([]arrow.Timestamp, n), Rows{Date: make([]int32, n), Watermark: make([]int64, n)}
		for i := range n {
			user[i] = int64(r.IntN(users)) * 7919
			ts := start + int64(first+i)*3_600_000_000/benchRows
			times[i], rows.Date[i], rows.Watermark[i] = arrow.Timestamp(ts), 18961, ts-60_000_000
		}
		builder := array.NewRecordBuilder(memory.DefaultAllocator, plan.Source.Schema.Arrow())
		builder.Field(0).(*array.Int64Builder).AppendValues(user, nil)
		builder.Field(1).(*array.TimestampBuilder).AppendValues(times, nil)
		rows.Batch = builder.NewRecordBatch()
		builder.Release()
		out = append(out, rows)
	}
	return out
}

func benchmark(b *testing.B, rule Rule, users, answersEach int) {
	batches := benchBatches(b, rule.Plan, users)
	b.ResetTimer()
	for range b.N {
		tally, err := New(rule, Options{})
		require.NoError(b, err)
		for i, rows := range batches {
			if err := tally.Add(rows); err != nil {
				b.Fatal(err)
			}
			if err := tally.Advance(rows.Watermark[len(rows.Watermark)-1]); err != nil {
				b.Fatal(err)
			}
			if (i+1)%answersEach == 0 {
				a, err := tally.Answers()
				require.NoError(b, err)
				a.Release()
				tally.Checkpoint(nil)
			}
		}
		tally.Release()
	}
	b.ReportMetric(float64(b.N)*benchRows/1e6/b.Elapsed().Seconds(), "Mrows/s")
}

func benchRule(emit Emit, window bool, threshold int64) Rule {
	p := rules.Plan{Source: source("user", intType, "ts", timeType), Keys: []rules.Column{col("user", intType)}, Aggs: []rules.Agg{{Func: rules.Count}}}
	if window {
		p.Window = &rules.Window{Time: columnExpr{"ts", timeType}, Micros: 60_000_000}
	}
	p.Having = int64AtLeast{"agg0", threshold}
	return Rule{Name: "r", Plan: testPlan(p), Emit: emit}
}

// int64AtLeast is HAVING column >= n as the compiler's kernels do it, a column at a time.
type int64AtLeast struct {
	column string
	n      int64
}

func (e int64AtLeast) Eval(ctx *rules.Eval, batch arrow.RecordBatch) (arrow.Array, error) {
	values := batch.Column(batch.Schema().FieldIndices(e.column)[0]).(*array.Int64).Int64Values()
	bits := memory.NewResizableBuffer(ctx.Mem)
	defer bits.Release()
	bits.Resize((len(values) + 7) / 8)
	out := bits.Bytes()
	clear(out)
	for i, v := range values {
		if v >= e.n {
			out[i/8] |= 1 << (i % 8)
		}
	}
	data := array.NewData(arrow.FixedWidthTypes.Boolean, len(values), []*memory.Buffer{nil, bits}, nil, 0, 0)
	defer data.Release()
	return array.NewBooleanData(data), nil
}

func BenchmarkCountKey(b *testing.B) {
	for _, c := range []struct {
		name      string
		emit      Emit
		threshold int64
		each      int
	}{{"on_change_at_the_end", OnChange, 1_000_000, 1000}, {"on_change", OnChange, 9, 16}, {"on_cross", OnCross, 9, 16}, {"on_cross_never", OnCross, 1_000_000, 16}} {
		b.Run(c.name, func(b *testing.B) { benchmark(b, benchRule(c.emit, false, c.threshold), 100_000, c.each) })
	}
}

// BenchmarkCountKeyMinute has 83 rows a group and minute, and then 1.5.
func BenchmarkCountKeyMinute(b *testing.B) {
	for name, users := range map[string]int{"1k_users": 1000, "100k_users": 100_000} {
		b.Run(name+"/on_close", func(b *testing.B) { benchmark(b, benchRule(OnClose, true, 5), users, 1000) })
		b.Run(name+"/on_change", func(b *testing.B) { benchmark(b, benchRule(OnChange, true, 5), users, 16) })
		b.Run(name+"/on_cross", func(b *testing.B) { benchmark(b, benchRule(OnCross, true, 5), users, 16) })
	}
}

func (e int64AtLeast) String() string     { return "" }
func (e int64AtLeast) Type() schemas.Type { return boolType }
