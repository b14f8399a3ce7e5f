package agree

import (
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"lake/rules"
)

// failing are expressions that fail for the row of edgeRow, in lake by row and on
// an engine as a whole: where it has no error of its own, the printed query makes one.
var failing = []string{
	"i + 1", "i - -1", "i * 2", "-j", "ABS(j)", "DIV(j, -1)", "DIV(i, small)", "MOD(i, small)", "i / small", "f / small", "SUM(i)", "SUM(i) + COUNT(*)",
	"CAST(s AS INT64)", "CAST(s AS FLOAT64)", "CAST(u AS BOOL)", "CAST(gps.place AS DATE)", "CAST(s AS NUMERIC)", "CAST(f AS INT64)", "CAST(f AS NUMERIC)",
	"SUBSTR(s, 1, j)", "DATE(2021, small, 1)",
}

const edgeRow = `[{"k": 0, "i": 9223372036854775807, "j": -9223372036854775808, "small": 0, "f": 1e300, "s": "abc", "u": "abc", "gps": {"lat": 1, "place": "abc"}, "ts": "2021-11-30T00:00:00Z"},
	{"k": 1, "i": 9223372036854775807, "j": -9223372036854775808, "small": 0, "f": 1e300, "s": "abc", "u": "abc", "gps": {"lat": 1, "place": "abc"}, "ts": "2021-11-30T00:00:00Z"}]`

// plainRow is one for which none of them fails.
const plainRow = `[{"k": 0, "i": 7, "j": 2, "small": 3, "f": 2.25, "s": "12", "u": "true", "gps": {"lat": 1, "place": "2021-11-30"}, "ts": "2021-11-30T00:00:00Z"}]`

// fails sees that an engine gives no answer where GoogleSQL has none, because of
// the row: it has one where nothing is wrong with that.
func fails(t *testing.T, e engine) {
	t.Helper()
	rows := func(text string) arrow.RecordBatch {
		batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, source().Schema.Arrow(), strings.NewReader(text))
		require.NoError(t, err)
		require.NoError(t, e.load(t.Context(), writeParquet(t, batch)))
		return batch
	}
	batch := rows(plainRow)
	defer batch.Release()
	plain := query{keys: []*expr{leaf(integer, "k")}}
	sums := query{grouped: true}
	for _, text := range failing {
		if strings.HasPrefix(text, "SUM") {
			sums.selected = append(sums.selected, leaf(integer, text))
		} else {
			plain.selected = append(plain.selected, leaf(integer, text))
		}
	}
	for _, q := range []query{plain, sums} {
		diff, printed, refused, err := try(t.Context(), e, q, batch)
		require.NoError(t, err)
		require.False(t, refused, "%s", q)
		if diff != "" {
			t.Errorf("%s: %s\n%s", e.dialect(), diff, printed)
		}
	}

	edge := rows(edgeRow)
	defer edge.Release()
	for _, text := range failing {
		plan, errs := rules.Compile("SELECT "+text+" AS x FROM events", source())
		require.Empty(t, errs, text)
		lake, err := ofLake(plan, edge)
		require.NoError(t, err)
		require.NotEmpty(t, lake.failed, text)
		printed, err := plan.Print(e.dialect(), "events")
		require.NoError(t, err, text)
		rows, err := e.ask(t.Context(), printed, plan.OutputSchema())
		if !failed(err) {
			t.Errorf("%s answers %s by %v (%v)\n%s", e.dialect(), text, rows, err, printed)
		}
	}
}

// guards sees that a query does not answer in a session that would answer wrongly.
func guards(t *testing.T, e engine, says string) {
	t.Helper()
	plan, errs := rules.Compile("SELECT k + 1 AS x FROM events", source())
	require.Empty(t, errs)
	printed, err := plan.Print(e.dialect(), "events")
	require.NoError(t, err)
	_, err = e.ask(t.Context(), printed, plan.OutputSchema())
	require.ErrorContains(t, err, says)
}
