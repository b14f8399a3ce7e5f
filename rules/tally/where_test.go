package tally

import (
	"testing"

	"github.com/stretchr/testify/require"

	"lake/rules"
)

// TestRulesShareAWhere gives the same batches to rules alone and to rules side
// by side: two with one WHERE, which has no value for some rows, and one with another.
func TestRulesShareAWhere(t *testing.T) {
	evaluated := 0
	quotient := func(least int64) rules.Expr {
		return funcExpr{"60 / user >= " + string(rune('0'+least)), boolType, func(get func(string) any) (any, error) {
			evaluated++
			switch user := get("user"); user {
			case nil:
				return nil, nil
			case int64(0):
				return nil, errDivision
			default:
				return 60/user.(int64) >= least, nil
			}
		}}
	}
	rule := func(filter rules.Expr) Rule {
		return Rule{Name: "r", Emit: OnChange, Plan: testPlan(rules.Plan{Source: source("user", intType, "x", intType), Filter: filter,
			Keys: []rules.Column{col("user", intType)}, Aggs: []rules.Agg{{Func: rules.Count}, {Func: rules.Sum, Arg: columnExpr{"x", intType}}}})}
	}
	rulesOf := func() []Rule { return []Rule{rule(quotient(3)), rule(quotient(3)), rule(quotient(6))} }
	batches := [][][]any{
		{{20, 1}, {0, 1}, {nil, 7}, {10, 2}, {30, 3}, {20, 4}},
		{{10, 5}, {11, 1}, {0, 2}},
		{{61, 5}},
	}
	run := func(share bool) (answers [][]string, failures [][]rules.Failure) {
		var tallies []*Tally
		for _, r := range rulesOf() {
			tallies = append(tallies, newTally(t, r, Options{}))
		}
		for _, rows := range batches {
			batch := batchOf(tallies[0].opts.Mem, tallies[0].plan.Source.Schema, rows)
			var shared *Where
			if share {
				shared = &Where{}
			}
			for _, each := range tallies {
				require.NoError(t, each.Add(Rows{Batch: batch, Where: shared}))
				failures = append(failures, append([]rules.Failure{}, each.RowFailures()...))
			}
			batch.Release()
		}
		for _, each := range tallies {
			answers = append(answers, taken(t, each))
		}
		return answers, failures
	}
	alone, failedAlone := run(false)
	once := evaluated
	together, failedTogether := run(true)
	require.Equal(t, alone, together)
	require.Equal(t, failedAlone, failedTogether)
	require.Equal(t, []string{"20 20 2 5", "10 10 2 7", "11 11 1 1"}, alone[1])
	require.Equal(t, []string{"10 10 2 7"}, alone[2])
	require.Equal(t, []rules.Failure{{Row: 1, Reason: "division by zero"}}, failedAlone[1])
	require.Equal(t, once*2/3, evaluated-once, "two conditions for three rules")
}
