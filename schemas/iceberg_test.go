package schemas

import (
	"testing"

	"github.com/apache/iceberg-go"
	"github.com/stretchr/testify/require"
)

func icebergFixture(t *testing.T) Schema {
	t.Helper()
	field := func(name, text string, required bool) Field {
		typ, err := ParseType(text)
		require.NoError(t, err)
		return Field{Name: name, Type: typ, Required: required, Doc: "of " + name}
	}
	return Schema{Fields: []Field{
		field("b", "bool", true), field("i", "int32", false), field("l", "int64", true), field("f", "float32", false), field("d", "float64", false),
		field("dec", "decimal(20,4)", false), field("s", "string", false), field("raw", "bytes", false), field("day", "date", true), field("at", "time", false),
		field("ts", "timestamp", true), field("wall", "datetime", false), field("u", "uuid", false), field("j", "json", false),
		field("tags", "list<string!>", false), field("deep", "list<struct<a: int64!, b: map<string, list<json>>>>", false),
		field("m", "map<string, struct<x: float64, y: float64!>>", true), field("st", "struct<k: string, inner: struct<z: uuid>>", false),
	}}
}

func TestIcebergRoundTrip(t *testing.T) {
	s := icebergFixture(t)
	ice := s.Iceberg()
	fresh, err := iceberg.AssignFreshSchemaIDs(ice, nil)
	require.NoError(t, err)
	require.True(t, ice.Equals(fresh), "our fresh ids are those of a new table:\n%s\n%s", ice, fresh)

	back, err := FromIceberg(ice)
	require.NoError(t, err)
	require.Equal(t, s.Names(), back.Names())
	var ids []int
	eachField(back.Fields, func(f *Field) { ids = append(ids, f.ID) })
	require.Len(t, ids, ice.HighestFieldID())
	for i, f := range back.Fields {
		require.Equal(t, s.Fields[i].Required, f.Required)
		require.Equal(t, s.Fields[i].Doc, f.Doc)
	}
	require.Equal(t, "string", back.Fields[13].Type.String(), "Iceberg has no json")
	require.Equal(t, "list<struct<a: int64!, b: map<string, list<string>>>>", back.Fields[15].Type.String())

	// json is told by ids, deep down, too.
	deep := back.Fields[15].Type.Elem.Type.Fields[1].Type.Elem.Type.Elem.ID
	typed := back.WithJSON([]int{14, deep})
	for i, f := range typed.Fields {
		require.True(t, s.Fields[i].Type.Equal(f.Type), "%s: %s", f.Name, f.Type)
	}
	require.ElementsMatch(t, []int{14, deep}, typed.JSONFields())
	require.Equal(t, "string", back.Fields[13].Type.String(), "the original is as before")
	require.Equal(t, "list<struct<a: int64!, b: map<string, list<string>>>>", back.Fields[15].Type.String())

	// Ids are kept, new fields get higher ones.
	more := typed
	extra, err := ParseType("list<int64>")
	require.NoError(t, err)
	more.Fields = append(more.Fields[:len(more.Fields):len(more.Fields)], Field{Name: "new", Type: extra})
	again := more.Iceberg()
	added, ok := again.FindFieldByName("new")
	require.True(t, ok)
	require.Equal(t, ice.HighestFieldID()+1, added.ID)
	require.Equal(t, ice.HighestFieldID()+2, again.HighestFieldID())
}

func TestFromIcebergRefuses(t *testing.T) {
	for _, typ := range []iceberg.Type{iceberg.FixedTypeOf(4), iceberg.PrimitiveTypes.TimestampNs, iceberg.VariantType{},
		&iceberg.ListType{ElementID: 2, Element: iceberg.PrimitiveTypes.TimestampTzNs}} {
		_, err := FromIceberg(iceberg.NewSchema(0, iceberg.NestedField{ID: 1, Name: "odd", Type: typ}))
		require.ErrorContains(t, err, `"odd"`)
		require.ErrorContains(t, err, "no counterpart")
	}
}
