package rules

import (
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
)

// BenchmarkEvaluate takes 64k rows at a time.
func BenchmarkEvaluate(b *testing.B) {
	const rows = 1 << 16
	mem := memory.DefaultAllocator
	build := array.NewRecordBuilder(mem, testSource().Schema.Arrow())
	defer build.Release()
	events := []string{"Interaction", "Login", "View", "Interaction", "Search"}
	random := rand.New(rand.NewPCG(1, 2)) // in turn, the branches would be guessed right
	for i := range rows {
		for k := range build.Fields() {
			switch f := build.Field(k).(type) {
			case *array.Int64Builder:
				f.Append(int64(i * 7 % 1000))
			case *array.StringBuilder:
				f.Append(events[random.IntN(len(events))])
			case *array.TimestampBuilder:
				f.Append(arrow.Timestamp(1_638_000_000_000_000 + int64(i)*1000))
			case *array.Float64Builder:
				f.Append(float64(i) / 3)
			default:
				f.AppendNull()
			}
		}
	}
	batch := build.NewRecordBatch()
	defer batch.Release()
	for name, where := range map[string]string{
		"string=literal":     "event = 'Interaction'",
		"string_and_int":     "event = 'Interaction' AND user_id > 500",
		"in":                 "event IN ('Interaction', 'View')",
		"like":               "event LIKE 'Inter%'",
		"arithmetic":         "user_id * 2 + 1 > property_id",
		"float":              "f > 100.5",
		"date_in_a_zone":     "DATE(date, 'Asia/Kolkata') = '2021-11-27'",
		"case":               "CASE WHEN user_id > 500 THEN f ELSE 0 END > 1",
		"upper":              "UPPER(event) = 'LOGIN'",
		"regular_expression": "REGEXP_CONTAINS(event, '^I.*n$')",
	} {
		b.Run(name, func(b *testing.B) {
			e, errs := CompileFilter(where, testSource())
			require.Empty(b, errs)
			b.ReportAllocs()
			for b.Loop() {
				a, err := e.Eval(&Eval{Mem: mem}, batch)
				if err != nil {
					b.Fatal(err)
				}
				a.Release()
			}
			b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
		})
	}
}
