package rules

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/stretchr/testify/require"

	"lake/schemas"
)

func rangesSource() Source {
	schema := schemas.Schema{}
	for _, c := range []struct {
		name string
		typ  schemas.Type
	}{{"n", simple(schemas.Int64)}, {"i", simple(schemas.Int32)}, {"t", simple(schemas.String)}, {"b", simple(schemas.Bytes)}, {"day", simple(schemas.Date)},
		{"ts", simple(schemas.Timestamp)}, {"f", simple(schemas.Float64)}, {"g", simple(schemas.Float32)}, {"u", simple(schemas.UUID)},
		{"d", schemas.Type{Kind: schemas.Decimal, Precision: 9, Scale: 2}}, {"wide", schemas.Type{Kind: schemas.Decimal, Precision: 38, Scale: 9}},
		{"s", schemas.Type{Kind: schemas.Struct, Fields: []schemas.Field{{Name: "k", Type: simple(schemas.Int64)}}}},
		{"l", schemas.Type{Kind: schemas.List, Elem: &schemas.Field{Name: "element", Type: simple(schemas.Int64)}}}} {
		schema.Fields = append(schema.Fields, schemas.Field{Name: c.name, Type: c.typ})
	}
	return Source{Schema: schema, Zone: time.UTC}
}

func TestRanges(t *testing.T) {
	num := func(x int64) Bound { return Bound{Set: true, Int: x} }
	text := func(x string) Bound { return Bound{Set: true, Text: x} }
	float := func(x float64) Bound { return Bound{Set: true, Float: x} }
	dec := func(x int64) Bound { return Bound{Set: true, Decimal: decimal128.FromI64(x)} }
	none := Bound{}
	r := func(name string, low, high Bound) Range {
		return Range{Path: strings.Split(name, "."), Low: low, High: high}
	}
	many := make([]string, maxValues+1)
	for i := range many {
		many[i] = strconv.Itoa(i - 5)
	}
	for where, want := range map[string][][]Range{
		"n = 7":                       {{r("n", num(7), num(7))}},
		"7 < n":                       {{r("n", num(7), none)}},
		"7 >= n":                      {{r("n", none, num(7))}},
		"n > 7 AND t = 'a' AND f > 1": {{r("n", num(7), none), r("t", text("a"), text("a")), r("f", float(1), none)}},
		"i <= 3":                      {{r("i", none, num(3))}},
		"n BETWEEN 2 AND 9":           {{r("n", num(2), none), r("n", none, num(9))}},
		"n IN (5, -2)":                {{r("n", num(5), num(5))}, {r("n", num(-2), num(-2))}},
		"n IN (" + strings.Join(many, ", ") + ")":    {{r("n", num(-5), num(maxValues-5))}},
		"t IN ('b', 'a')":                            {{r("t", text("b"), text("b"))}, {r("t", text("a"), text("a"))}},
		"b >= b'x'":                                  {{r("b", text("x"), none)}},
		"day = '1970-01-03'":                         {{r("day", num(2), num(2))}},
		"ts < TIMESTAMP '1970-01-01 00:00:01+00:00'": {{r("ts", none, num(1_000_000))}},
		"f <= -0.0":                                  {{r("f", none, float(0))}},
		"g IN (0.1, 2)":                              {{r("g", float(0.1), float(0.1))}, {r("g", float(2), float(2))}},
		"f < CAST('inf' AS FLOAT64)":                 {{r("f", none, float(math.Inf(1)))}},
		"d = 1.25":                                   {{r("d", dec(125), dec(125))}},
		"d = 1.255":                                  {{r("d", dec(126), dec(125))}},
		"d > -1.255":                                 {{r("d", dec(-125), none)}},
		"d <= -1.255":                                {{r("d", none, dec(-126))}},
		"d < 3":                                      {{r("d", none, dec(300))}},
		"NUMERIC '-0.5' >= wide":                     {{r("wide", none, dec(-500_000_000))}},
		"s.K = 4":                                    {{r("s.k", num(4), num(4))}},
		"n IS NOT NULL":                              {{r("n", none, none)}},
		"n = 1 OR t = 'x'":                           {{r("n", num(1), num(1))}, {r("t", text("x"), text("x"))}},
		"(n = 1 OR n = 2) AND t > 'x'": {{r("n", num(1), num(1)), r("t", text("x"), none)},
			{r("n", num(2), num(2)), r("t", text("x"), none)}},
		"(n != 1 OR n = 2) AND t > 'x'": {{r("t", text("x"), none)}},
		"n = 1 OR n != 2":               nil,
		"NOT (n = 1)":                   nil,
		"n != 1":                        nil,
		"n NOT IN (1, 2)":               nil,
		"n IN (1, i)":                   nil,
		"n = i":                         nil,
		"n + 1 = 2":                     nil,
		"n = 1.5":                       nil,
		"n > NUMERIC '1.5'":             nil,
		"n = NULL":                      nil,
		"f > CAST('nan' AS FLOAT64)":    nil,
		"d < 1e300":                     nil,
		"d = wide":                      nil,
		"t LIKE 'a%'":                   nil,
		"n IS NULL":                     nil,
		"l[0] = 3":                      nil,
		"u = '00000000-0000-0000-0000-000000000001'": nil,
	} {
		filter, errs := CompileFilter(where, rangesSource())
		require.Empty(t, errs, where)
		require.Equal(t, want, Ranges(filter), where)
	}
	require.Nil(t, Ranges(nil))
}

// What would be too many lists is less, and true of all rows that are meant.
func TestRangesAreBounded(t *testing.T) {
	compile := func(where string) Expr {
		filter, errs := CompileFilter(where, rangesSource())
		require.Empty(t, errs, where)
		return filter
	}
	ten := "n IN (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)"
	require.Len(t, Ranges(compile(ten+" AND t IN ('a', 'b')")), 20)
	require.Equal(t, Ranges(compile(ten)), Ranges(compile(ten+" AND i IN (1, 2, 3, 4, 5, 6, 7)")))
	require.Nil(t, Ranges(compile(strings.Repeat(ten+" OR ", 6)+ten)))
}

func TestAnyRanges(t *testing.T) {
	compile := func(where string) Expr {
		filter, errs := CompileFilter(where, rangesSource())
		require.Empty(t, errs, where)
		return filter
	}
	one, other := compile("n = 1"), compile("t = 'x' AND d > 2")
	require.Equal(t, append(Ranges(one), Ranges(other)...), AnyRanges(one, other))
	require.Nil(t, AnyRanges(one, nil, other), "a rule without a condition takes all rows")
	require.Nil(t, AnyRanges(one, compile("n != 3")))
	require.Nil(t, AnyRanges())
}
