package schemas

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseTypeRoundTrip(t *testing.T) {
	for _, text := range []string{
		"bool", "int32", "int64", "float32", "float64", "decimal(10,2)", "decimal(38,38)", "string", "bytes", "date", "time",
		"timestamp", "datetime", "uuid", "json",
		"list<string>", "list<int64!>", "struct<lat: float64, lon: float64!>", "map<string, int64>", "map<int32, list<string!>!>",
		"list<struct<a: int64!, b: map<string, struct<c: decimal(1,0)>>>>",
	} {
		got, err := ParseType(text)
		require.NoError(t, err, text)
		require.Equal(t, text, got.String())
	}
}

func TestParseTypeMembers(t *testing.T) {
	got, err := ParseType(" struct < a :int64 ! ,\tb: map<string!,decimal( 10 , 2 )> > ")
	require.NoError(t, err)
	require.Equal(t, Type{Kind: Struct, Fields: []Field{
		{Name: "a", Type: Type{Kind: Int64}, Required: true},
		{Name: "b", Type: Type{Kind: Map,
			Key:  &Field{Name: "key", Type: Type{Kind: String}, Required: true},
			Elem: &Field{Name: "value", Type: Type{Kind: Decimal, Precision: 10, Scale: 2}}}},
	}}, got)
	list, err := ParseType("list<int32!>")
	require.NoError(t, err)
	require.Equal(t, &Field{Name: "element", Type: Type{Kind: Int32}, Required: true}, list.Elem)
}

func TestParseTypeErrors(t *testing.T) {
	const structHint = "write struct<lat: float64, lon: float64>"
	for _, c := range []struct {
		text   string
		offset int
		msg    string
		hint   string
	}{
		{"", 0, "a type is missing", "types are bool, int32"},
		{"<", 0, `a type expected, not '<'`, "types are bool"},
		{"invalid", 0, `unknown type "invalid"`, ""},
		{"int65", 0, `unknown type "int65"`, `did you mean "int64"?`},
		{"Timestmap", 0, `unknown type "Timestmap"`, `did you mean "timestamp"?`},
		{"String", 0, `unknown type "String"`, `did you mean "string"? types are written in lower case`},
		{"list<bigint>", 5, `unknown type "bigint"`, "lake calls it int64"},
		{"qwertyuiop", 0, `unknown type "qwertyuiop"`, "types are bool"},
		{"int64!", 5, `"!" belongs to a column or a member, not to a type`, ""},
		{"int64 string", 6, `unexpected "string" behind the type`, ""},
		{"list", 4, `list ends without '<'`, "write list<string>"},
		{"list<string", 11, `list ends without '>'`, "write list<string>"},
		{"list<string)", 11, `list: '>' expected, not ')'`, "write list<string>"},
		{"map<string>", 10, `map: ',' expected, not '>'`, "write map<string, int64>"},
		{"map<float64, string>", 4, "a map's key cannot be a float64", "take string"},
		{"map<list<string>, string>", 4, "a map's key cannot be a list", "take string"},
		{"struct<>", 7, "a member's name expected", structHint},
		{"struct<1a: int64>", 7, `"1a" is not a member's name`, structHint},
		{"struct<a int64>", 9, `member a: ':' expected, not 'i'`, structHint},
		{"struct<a: int64, A: string>", 17, `a second member "A"`, "names differ"},
		{"struct<a: int64,>", 16, "a member's name expected", structHint},
		{"decimal", 7, `decimal ends without '('`, "write decimal(10,2)"},
		{"decimal(10)", 10, `decimal: ',' expected, not ')'`, "write decimal(10,2)"},
		{"decimal(39,2)", 8, `the precision is a number from 1 to 38, not "39"`, "write decimal(10,2)"},
		{"decimal(4,5)", 10, `the scale is a number from 0 to 4, not "5"`, "write decimal(10,2)"},
		{"decimal(a,5)", 8, `the precision is a number from 1 to 38, not "a"`, "write decimal(10,2)"},
		{strings.Repeat("list<", 33) + "int64" + strings.Repeat(">", 33), 165, "nested deeper than 32 levels", ""},
		{strings.Repeat("x", 70000), 0, "longer than 65536 bytes", ""},
	} {
		_, err := ParseType(c.text)
		var bad *TypeError
		require.True(t, errors.As(err, &bad), c.text)
		require.Equal(t, c.msg, bad.Msg, c.text)
		require.Equal(t, c.offset, bad.Offset, c.text)
		require.Contains(t, bad.Hint, c.hint, c.text)
	}
	_, err := ParseType(strings.Repeat("list<", 32) + "int64" + strings.Repeat(">", 32))
	require.NoError(t, err, "32 levels are allowed")
}

func TestNearest(t *testing.T) {
	known := []string{"user_id", "property_id", "date", "event"}
	require.Equal(t, "user_id", Nearest("usre_id", known))
	require.Equal(t, "date", Nearest("dat", known))
	require.Equal(t, "", Nearest("quantity", known))
}

func FuzzParseType(f *testing.F) {
	for _, seed := range []string{"int64", "list<struct<a: int64!, b: string>>", "map<string, decimal(10,2)>", "struct<", "decimal(", "list<list<list<"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseType(text)
		if err != nil {
			var bad *TypeError
			require.True(t, errors.As(err, &bad))
			require.LessOrEqual(t, bad.Offset, len(text))
			return
		}
		again, err := ParseType(got.String())
		require.NoError(t, err)
		require.Equal(t, got, again)
	})
}
