package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lake/schemas"
)

func TestRanges(t *testing.T) {
	schema := schemas.Schema{}
	for _, c := range []struct {
		name string
		kind schemas.Kind
	}{{"n", schemas.Int64}, {"i", schemas.Int32}, {"t", schemas.String}, {"day", schemas.Date}, {"ts", schemas.Timestamp}, {"f", schemas.Float64}, {"u", schemas.UUID}} {
		schema.Fields = append(schema.Fields, schemas.Field{Name: c.name, Type: schemas.Type{Kind: c.kind}})
	}
	num := func(x int64) Bound { return Bound{Set: true, Int: x} }
	text := func(x string) Bound { return Bound{Set: true, Text: x} }
	for where, want := range map[string][]Range{
		"n = 7":                       {{"n", num(7), num(7)}},
		"7 < n":                       {{"n", num(7), Bound{}}},
		"7 >= n":                      {{"n", Bound{}, num(7)}},
		"n > 7 AND t = 'a' AND f > 1": {{"n", num(7), Bound{}}, {"t", text("a"), text("a")}},
		"i <= 3":                      {{"i", Bound{}, num(3)}},
		"n BETWEEN 2 AND 9":           {{"n", num(2), Bound{}}, {"n", Bound{}, num(9)}},
		"n IN (5, -2, 9)":             {{"n", num(-2), num(9)}},
		"t IN ('b', 'a')":             {{"t", text("a"), text("b")}},
		"day = '1970-01-03'":          {{"day", num(2), num(2)}},
		"ts < TIMESTAMP '1970-01-01 00:00:01+00:00'": {{"ts", Bound{}, num(1_000_000)}},
		"n = 1 OR n = 2":  nil,
		"NOT (n = 1)":     nil,
		"n != 1":          nil,
		"n NOT IN (1, 2)": nil,
		"n = i":           nil,
		"n + 1 = 2":       nil,
		"n = 1.5":         nil,
		"n = NULL":        nil,
		"t LIKE 'a%'":     nil,
		"n IS NULL":       nil,
		"u = '00000000-0000-0000-0000-000000000001'": nil,
		"(n = 1 OR n = 2) AND t > 'x'":               {{"t", text("x"), Bound{}}},
	} {
		filter, errs := CompileFilter(where, Source{Schema: schema, Zone: time.UTC})
		require.Empty(t, errs, where)
		require.Equal(t, want, Ranges(filter), where)
	}
	require.Nil(t, Ranges(nil))
}
