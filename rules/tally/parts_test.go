package tally

import (
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
)

// TestParts compares the parts of random rules with one Tally that has all rows,
// which TestModel compares with the model: answers, their order, sums of floats to
// the last bit, failures of groups and of rows.
func TestParts(t *testing.T) {
	answers, failures, busy, pieces, separated := 0, 0, 0, 0, 0
	for seed := range uint64(250) {
		g := newGenerator(seed)
		if seed%2 == 0 {
			g.rule.Emit = OnDemand // each part may take a piece of a batch
		}
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		describe := fmt.Sprintf("seed %d", seed)
		rows := make([]modelRow, g.IntN(300))
		for i := range rows {
			rows[i] = g.row(i)
		}
		whole, err := New(g.rule, Options{Mem: mem})
		require.NoError(t, err, describe)
		parts, err := NewParts(g.rule, Options{Mem: mem}, 2+int(seed%3))
		require.NoError(t, err, describe)
		if parts.by == byRow {
			pieces++
			if seed%4 == 0 {
				parts.most = 1 + int(seed)%12
			}
		}
		for from := 0; from < len(rows); {
			to := min(len(rows), from+1+g.IntN(100))
			in := Rows{}
			var values [][]any
			for _, r := range rows[from:to] {
				values, in.Date = append(values, r.values), append(in.Date, r.date)
			}
			in.Batch = batchOf(mem, propertySource.Schema, values)
			require.NoError(t, whole.Add(in), describe)
			require.NoError(t, parts.Add(in), describe)
			in.Batch.Release()
			require.Equal(t, append(whole.RowFailures()[:0:0], whole.RowFailures()...), append(parts.RowFailures()[:0:0], parts.RowFailures()...), describe)
			failures += len(whole.RowFailures())
			from = to
		}
		sharing := 0
		for _, part := range parts.parts {
			if part.Groups() > 0 {
				sharing++
			}
		}
		if sharing > 1 {
			busy++
		}
		if parts.by == byKey && parts.most < groupsByRow {
			separated++
		}
		want, err := whole.Final()
		require.NoError(t, err, describe)
		got, err := parts.Final()
		require.NoError(t, err, describe)
		require.Equal(t, lines(want), lines(got), describe)
		require.Equal(t, want.Failures, got.Failures, describe)
		answers += int(want.Rows.NumRows())
		n := int64(0)
		require.NoError(t, parts.EachFinal(func(rows arrow.RecordBatch, _ []GroupFailure) error {
			defer rows.Release()
			n += rows.NumRows()
			return nil
		}), describe)
		require.Equal(t, want.Rows.NumRows(), n, describe)
		want.Release()
		got.Release()
		whole.Release()
		parts.Release()
		mem.AssertSize(t, 0)
	}
	require.Greater(t, answers, 3000)
	require.Greater(t, failures, 100, "rows have to fail for the comparison to mean something")
	require.Greater(t, busy, 150, "several parts have to have groups")
	require.Greater(t, pieces, 30, "parts have to take pieces of batches")
	require.Greater(t, separated, 10, "groups have to go to parts of their own")
}

// TestPartsBound has the parts together within the bound of one.
func TestPartsBound(t *testing.T) {
	parts, err := NewParts(counting(OnDemand, 1), Options{Mem: checked(t), MaxBytes: 200_000}, 2)
	require.NoError(t, err)
	defer parts.Release()
	var values [][]any
	for user := range 20_000 {
		values = append(values, []any{user, nil})
	}
	batch := batchOf(memory.DefaultAllocator, counting(OnDemand, 1).Plan.Source.Schema, values)
	defer batch.Release()
	err = parts.Add(Rows{Batch: batch})
	require.ErrorIs(t, err, ErrStateTooLarge)
	require.ErrorContains(t, err, "20000 groups take")
}
