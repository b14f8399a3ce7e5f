package table

import (
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"lake/schemas"
)

// typeOf is the Arrow type of a column as a job file writes it.
func typeOf(t *testing.T, text string) arrow.DataType {
	t.Helper()
	typ, err := schemas.ParseType(text)
	require.NoError(t, err)
	return typ.Arrow()
}

func TestMembersAreMatchedByName(t *testing.T) {
	is := typeOf(t, "struct<y: string, l: list<struct<b: int64, a: int64>>, x: int64, m: map<string, struct<q: int64, p: string>>>")
	want := typeOf(t, "struct<x: int64, y: string, m: map<string, struct<p: string, q: int64>>, l: list<struct<a: int64, b: int64>>>")
	require.True(t, sameMembers(is, want))
	for _, other := range []string{
		"struct<x: int64, y: string>",
		"struct<y: string, l: list<struct<b: int64, c: int64>>, x: int64, m: map<string, struct<q: int64, p: string>>>",
		"struct<y: string, l: list<struct<b: int64, a: int64>>, x: int64, m: map<string, struct<q: int64, p: int64>>>",
		"struct<y: string, l: list<struct<b: int64, a: int64>>, x: int32, m: map<string, struct<q: int64, p: string>>>",
	} {
		require.False(t, sameMembers(is, typeOf(t, other)), other)
	}

	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	rows, _, err := array.FromJSON(mem, is, strings.NewReader(`[
		{"y": "zero"},
		{"y": "one", "x": 1, "l": [{"b": 12, "a": 11}, null, {"a": 13}], "m": [{"key": "k", "value": {"q": 2, "p": "two"}}]},
		null,
		{"y": null, "x": 3, "l": [], "m": [{"key": "n", "value": null}]}]`))
	require.NoError(t, err)
	defer rows.Release()
	part := array.NewSlice(rows, 1, 4)
	defer part.Release()
	got := arranged(part, want)
	defer got.Release()
	text, err := got.MarshalJSON()
	require.NoError(t, err)
	require.JSONEq(t, `[{"x":1,"y":"one","m":[{"key":"k","value":{"p":"two","q":2}}],"l":[{"a":11,"b":12},null,{"a":13,"b":null}]},
		null,{"x":3,"y":null,"m":[{"key":"n","value":null}],"l":[]}]`, string(text))
	require.True(t, arrow.TypeEqual(want, got.DataType()))
}
