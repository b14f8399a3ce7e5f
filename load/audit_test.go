package load_test

import (
	"math"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"lake/load"
	"lake/schemas"
)

func TestAuditNames(t *testing.T) {
	step := func(name string, state load.State) load.Step {
		return load.Step{State: state, Why: "because", Load: load.Load{Partition: load.Partition{Name: name}}}
	}
	lake := map[string]load.Digest{"a": {Rows: 3, High: 1}, "b": {Rows: 3, High: 1}, "c": {Rows: 3, High: 1}, "d": {Rows: 3, High: 1}, "f": {Rows: 3}, "g": {Rows: 1}}
	target := map[string]load.Digest{"a": {Rows: 3, High: 1}, "b": {Rows: 2, High: 1}, "c": {Rows: 3, High: 2}, "d": {Rows: 1}, "e": {Rows: 1}, "g": {Rows: 9}}
	checks := load.Audit([]load.Step{step("a", load.Current), step("b", load.Changed), step("c", load.Current), step("d", load.Due), step("e", load.Current), step("f", load.Current), step("g", load.Kept)}, lake, target)
	var got []string
	for _, c := range checks {
		got = append(got, c.Partition+" "+string(c.Verdict)+" "+c.Why)
	}
	require.Equal(t, []string{"a ok ", "b differs 3 rows and 2", "c differs their content", "d not loaded yet because", "e differs 0 rows and 1", "f differs 3 rows and 0", "g dropped in the lake "}, got)
}

// What the digest sees, and what it is to overlook: the order of the rows, and of a sum.
func TestDigestSees(t *testing.T) {
	s := schemas.Schema{Fields: []schemas.Field{
		{Name: "a", Type: schemas.Type{Kind: schemas.String}}, {Name: "b", Type: schemas.Type{Kind: schemas.String}}, {Name: "x", Type: schemas.Type{Kind: schemas.Float64}}}}
	digest := func(rows string) load.Digest {
		batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, s.Arrow(), strings.NewReader(rows))
		require.NoError(t, err)
		defer batch.Release()
		d := load.NewDigester(s)
		require.NoError(t, d.Add(batch))
		return d.Sum()
	}
	base := digest(`[{"a": "1", "b": "2", "x": 0.1}, {"a": "3", "b": null, "x": 1e6}]`)
	require.Empty(t, base.Differs(digest(`[{"a": "3", "b": null, "x": 1000000.0000000001}, {"a": "1", "b": "2", "x": 0.1}]`)))
	for name, rows := range map[string]string{
		"a value":              `[{"a": "1", "b": "2", "x": 0.1}, {"a": "4", "b": null, "x": 1e6}]`,
		"values swapped":       `[{"a": "3", "b": "2", "x": 0.1}, {"a": "1", "b": null, "x": 1e6}]`,
		"floats swapped":       `[{"a": "1", "b": "2", "x": 1e6}, {"a": "3", "b": null, "x": 0.1}]`,
		"a float":              `[{"a": "1", "b": "2", "x": 0.2}, {"a": "3", "b": null, "x": 1e6}]`,
		"null is not empty":    `[{"a": "1", "b": "2", "x": 0.1}, {"a": "3", "b": "", "x": 1e6}]`,
		"null is not a tilde":  `[{"a": "1", "b": "2", "x": 0.1}, {"a": "3", "b": "~", "x": 1e6}]`,
		"columns run together": `[{"a": "1,1:2", "b": null, "x": 0.1}, {"a": "3", "b": null, "x": 1e6}]`,
		"a row less":           `[{"a": "1", "b": "2", "x": 0.1}]`,
	} {
		require.NotEmpty(t, base.Differs(digest(rows)), name)
	}
	nan := base
	nan.Floats = map[string]load.FloatSum{"x": {Weighted: math.NaN(), Magnitude: math.NaN()}}
	require.NotEmpty(t, base.Differs(nan), "a sum that is none")
}
