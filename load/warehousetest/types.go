package warehousetest

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/stretchr/testify/require"

	"lake/load"
	"lake/schemas"
)

// values are JSON values of each type, those at its ends too; null is added.
var values = []struct {
	typ    string
	values []string
}{
	{"bool", []string{`true`, `false`}},
	{"int32", []string{`0`, `-2147483648`, `2147483647`}},
	{"int64", []string{`0`, `-9223372036854775808`, `9223372036854775807`}},
	{"float32", []string{`0`, `1.5`, `-0.1`, `3e38`}},
	{"float64", []string{`0`, `0.1`, `-1e279`, `5e-324`}},
	{"decimal(5,2)", []string{`"0.00"`, `"1.50"`, `"-1.00"`, `"20.00"`, `"-0.05"`, `"999.99"`}},
	{"decimal(9,0)", []string{`"0"`, `"100"`, `"-7000"`}},
	{"decimal(38,10)", []string{`"1234567890123456789012345678.0123456789"`, `"-0.0000000001"`}},
	{"string", []string{`""`, `"a"`, `"ä€😀"`, `"1:a,~"`, `"~"`, `"'\\\"\n"`}},
	{"bytes", []string{`""`, `"AA=="`, `"/w=="`}},
	{"date", []string{`"1970-01-01"`, `"1969-12-31"`, `"2024-02-29"`}},
	{"time", []string{`"00:00:00"`, `"23:59:59.999999"`}},
	{"timestamp", []string{`"1970-01-01T00:00:00Z"`, `"1969-12-31T23:59:59.999999Z"`, `"2021-11-30T18:30:00.000001Z"`, `"2021-03-28T01:30:00Z"`}},
	{"datetime", []string{`"1970-01-01T00:00:00"`, `"1901-01-01T00:00:00.5"`, `"2021-03-28T02:30:00.000001"`}},
	{"uuid", []string{`"AAECAwQFBgcICQoLDA0ODw=="`, `"/////////////////////w=="`}},
	{"json", []string{`"{\"a\": [1, null]}"`, `"1"`}},
	{"list<int64>", []string{`[]`, `[1]`, `[1, 2]`}},
	{"struct<a: int64, b: string>", []string{`{"a": 1, "b": "x"}`, `{"a": null, "b": null}`}},
	{"map<string, int64>", []string{`[]`, `[{"key": "a", "value": 1}]`}},
}

// eachType loads every type, and each as often as it takes to name the one that fails.
func (s *suite) eachType() {
	var t load.Table
	rows := []string{}
	for i, c := range values {
		typ, err := schemas.ParseType(c.typ)
		require.NoError(s, err)
		if why, ok := s.Types[typ.Kind]; ok {
			s.Logf("without %s: %s", c.typ, why)
			continue
		}
		name := fmt.Sprintf("c%02d_%s", i, typ.Kind)
		t.Schema.Fields = append(t.Schema.Fields, schemas.Field{Name: name, Type: typ})
		for j, v := range append(c.values, "null") {
			if j == len(rows) {
				rows = append(rows, fmt.Sprintf(`{"n": %d`, j))
			}
			rows[j] += fmt.Sprintf(`, "%s": %s`, name, v)
		}
	}
	t.Schema.Fields = append(t.Schema.Fields, schemas.Field{Name: "n", Type: schemas.Type{Kind: schemas.Int64}})
	w := s.target()
	s.prepare(w, t)
	l, want := s.load("a", load.All, t.Schema, "["+strings.Join(rows, "},")+"}]")
	s.replace(w, t, l)
	// A column at a time first: the message then names it.
	for i := range t.Schema.Fields {
		one := load.Table{Schema: schemas.Schema{Fields: []schemas.Field{t.Schema.Fields[i]}}}
		got, err := w.Digest(s.ctx(), one, []string{load.All})
		require.NoError(s, err, t.Schema.Fields[i].Name)
		d := load.NewDigester(one.Schema)
		column := s.batch(t.Schema, "["+strings.Join(rows, "},")+"}]").Column(i)
		require.NoError(s, d.Add(newBatch(one.Schema, column)))
		require.Empty(s, d.Sum().Differs(got[load.All]), "column %s: %+v and %+v", t.Schema.Fields[i].Name, d.Sum(), got[load.All])
	}
	s.has(w, t, map[string]load.Digest{load.All: want})
}

func newBatch(s schemas.Schema, column arrow.Array) arrow.RecordBatch {
	return array.NewRecordBatch(s.Arrow(), []arrow.Array{column}, int64(column.Len()))
}
