package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lake/schemas"
)

// TestThreshold has the bounds that HAVING sets to counts, and the forms that set none.
func TestThreshold(t *testing.T) {
	source := Source{Names: []string{"events"}, Zone: time.UTC}
	for name, kind := range map[string]schemas.Kind{"user": schemas.Int64, "paid": schemas.Bool, "x": schemas.Int64, "s": schemas.String} {
		source.Schema.Fields = append(source.Schema.Fields, schemas.Field{Name: name, Type: schemas.Type{Kind: kind}})
	}
	for _, c := range []struct {
		having string
		agg    string // "": there is no bound
		least  int64
	}{
		{"COUNT(*) >= 9", "COUNT(*)", 9},
		{"COUNT(*) > 5", "COUNT(*)", 6},
		{"COUNT(*) = 3", "COUNT(*)", 3},
		{"9 <= COUNT(*)", "COUNT(*)", 9},
		{"5 < COUNT(x)", "COUNT(x)", 6},
		{"3 = COUNTIF(paid)", "COUNTIF(paid)", 3},
		{"COUNT(*) BETWEEN 4 AND 8", "COUNT(*)", 4},
		{"COUNT(*) > 3 AND COUNTIF(paid) >= 7 AND MAX(x) > 2", "COUNTIF(paid)", 7},
		{"MIN(s) = 'a' AND COUNT(*) > 1", "COUNT(*)", 2},
		{"COUNT(*) > 0", "COUNT(*)", 1},
		{"user > 3 AND COUNT(*) > 1", "COUNT(*)", 2},
		{"COUNT(*) > 9223372036854775806", "COUNT(*)", 9223372036854775807},

		{"COUNT(*) > 9223372036854775807", "", 0},
		{"COUNT(*) >= 0", "", 0},
		{"COUNT(*) > -7", "", 0},
		{"COUNT(*) < 5", "", 0},
		{"8 > COUNT(*)", "", 0},
		{"COUNT(*) != 5", "", 0},
		{"COUNT(*) > 5 OR COUNT(*) < 2", "", 0},
		{"NOT COUNT(*) > 5", "", 0},
		{"COUNT(*) > 5 AND NOT COUNT(*) > 8", "", 0},          // of no form that is known not to fail
		{"COUNT(*) > 5 AND 6 / COUNT(x) > 1", "", 0},          // fails at 0
		{"COUNT(*) > 5 AND SUM(x) > 1", "", 0},                // may overflow
		{"COUNT(*) + 1 > 5", "", 0},                           // may overflow
		{"COUNT(*) > COUNT(x)", "", 0},                        // no constant
		{"MAX(x) > 5", "", 0},                                 // may be reached by a row that is not counted
		{"COUNT(DISTINCT x) > 5", "", 0},                      // no plain count
		{"COUNT(*) > 5 AND CAST(MAX(s) AS INT64) > 1", "", 0}, // may fail
		{"COUNT(*) >= 2.5", "", 0},
	} {
		plan, errs := Compile("SELECT user, COUNT(*) AS n FROM events GROUP BY user HAVING "+c.having, source)
		require.Empty(t, errs, c.having)
		if c.agg == "" {
			require.Nil(t, plan.Bound, c.having)
			continue
		}
		require.NotNil(t, plan.Bound, c.having)
		require.Equal(t, c.least, plan.Bound.Least, c.having)
		agg, text := plan.Aggs[plan.Bound.Agg], "COUNT(*)"
		if agg.Func == CountIf {
			text = "COUNTIF(" + agg.Arg.String() + ")"
		} else if agg.Arg != nil {
			text = "COUNT(" + agg.Arg.String() + ")"
		}
		require.Equal(t, c.agg, text, c.having)
	}
	plan, errs := Compile("SELECT user, SUM(x) AS total FROM events GROUP BY user HAVING COUNT(*) > 5", source)
	require.Empty(t, errs)
	require.Nil(t, plan.Bound, "a SUM may fail before the count is reached")
}
