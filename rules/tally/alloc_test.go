package tally

import (
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
)

// steadyBatches are n batches of the portal's events, two minutes each, of so many
// rows; a row is up to half an hour late, and no row too late.
func steadyBatches(t *testing.T, n, size int) []Rows {
	src := portalSource(t)
	r := rand.New(rand.NewPCG(9, 10))
	start := at("2021-11-01T01:00:00Z")
	var out []Rows
	for k := range n {
		rows := Rows{Date: make([]int32, size), Watermark: make([]int64, size)}
		builder := array.NewRecordBuilder(memory.DefaultAllocator, src.Schema.Arrow())
		for i := range size {
			now := start + (int64(k)*int64(size)+int64(i))*120_000_000/int64(size)
			ts := now - r.Int64N(1_800_000_000)
			rows.Date[i], rows.Watermark[i] = dateOf(src.Zone, ts), now-1_900_000_000
			builder.Field(0).(*array.Int64Builder).Append(int64(r.IntN(50)))
			builder.Field(1).(*array.Int64Builder).Append(int64(r.IntN(300)))
			builder.Field(2).(*array.TimestampBuilder).Append(arrow.Timestamp(ts))
			builder.Field(3).(*array.StringBuilder).Append([]string{"Interaction", "Interaction", "View"}[r.IntN(3)])
		}
		rows.Batch = builder.NewRecordBatch()
		builder.Release()
		out = append(out, rows)
	}
	return out
}

// TestAddAllocatesByBatch has the portal's rules, each as its job emits, take
// batches whose groups are there or come in windows that open as others close: a
// batch may allocate, a row may not.
func TestAddAllocatesByBatch(t *testing.T) {
	const warm, runs = 60, 40
	for _, emit := range []Emit{OnChange, OnCross} {
		for _, rule := range portalRules(t, emit) {
			var each [2]float64
			for i, size := range []int{2_000, 32_000} {
				batches := steadyBatches(t, warm+runs+1, size)
				tally, err := New(rule, Options{})
				require.NoError(t, err)
				var shared Where
				next := 0
				step := func() {
					rows := batches[next]
					shared.Reset()
					rows.Where = &shared
					if tally.Add(rows) != nil || tally.Advance(rows.Watermark[size-1]) != nil {
						t.Error("a batch was not taken")
					}
					next++
				}
				for range warm {
					step()
					a, err := tally.Answers()
					require.NoError(t, err)
					a.Release()
					tally.Checkpoint(nil)
				}
				each[i] = testing.AllocsPerRun(runs, step)
				require.Equal(t, warm+runs+1, next)
				require.NotZero(t, tally.Matched())
				tally.Release()
			}
			most := 40.0
			if rule.Plan.Window != nil {
				most = 600 // two windows open and close, and 32 have rows
			}
			t.Logf("%s %s: %v allocations a batch of 2,000 rows, %v of 32,000", rule.Name, emit, each[0], each[1])
			require.Less(t, each[0], most, "%s %s, a batch of 2,000 rows", rule.Name, emit)
			require.Less(t, each[1], each[0]+40, "%s %s, a batch of 32,000 rows", rule.Name, emit)
		}
	}
}
