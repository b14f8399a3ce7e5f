package rules

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"lake/schemas"
)

var update = flag.Bool("update", false, "write what the fixtures have now")

func required(name, text string) schemas.Field {
	t, err := schemas.ParseType(text)
	if err != nil {
		panic(err)
	}
	return schemas.Field{Name: name, Type: t}
}

// testSource has a column of each type.
func testSource() Source {
	return Source{
		Names: []string{"nobroker.events", "events"}, TimeField: "date", Zone: time.UTC,
		Schema: schemas.Schema{Fields: []schemas.Field{
			required("user_id", "int64"), required("property_id", "int64"), required("date", "timestamp"), required("event", "string"),
			required("b", "bool"), required("small", "int32"), required("f", "float64"), required("f32", "float32"),
			required("price", "decimal(10,2)"), required("big", "decimal(38,20)"), required("raw", "bytes"), required("d", "date"),
			required("t", "time"), required("seen", "timestamp"), required("dt", "datetime"), required("id", "uuid"), required("doc", "json"),
			required("gps", "struct<lat: float64, lon: float64, place: struct<name: string>>"), required("tags", "list<string>"),
			required("items", "list<struct<sku: string, qty: int32>>"), required("props", "map<string, string>"),
		}},
	}
}

// TestQueries compares each query of testdata/queries with its plan, its form
// for the engines, or its errors.
func TestQueries(t *testing.T) {
	files, err := filepath.Glob("testdata/queries/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			require.NoError(t, err)
			var out []txtar.File
			for i := 0; i < len(archive.Files); i++ {
				f := archive.Files[i]
				if !strings.HasSuffix(f.Name, ".sql") {
					continue
				}
				name := strings.TrimSuffix(f.Name, ".sql")
				out = append(out, f)
				plan, errs := Compile(string(f.Data), testSource())
				if len(errs) > 0 {
					require.Nil(t, plan)
					out = append(out, txtar.File{Name: name + ".errors", Data: []byte(errs.Error() + "\n")})
					continue
				}
				out = append(out, txtar.File{Name: name + ".plan", Data: []byte(plan.String())})
				for _, d := range schemas.Dialects() {
					text, err := plan.Print(d, "nobroker.events")
					if err != nil {
						text = "ERROR " + err.Error()
					}
					out = append(out, txtar.File{Name: name + "." + string(d), Data: []byte(text + "\n")})
				}
			}
			got := &txtar.Archive{Comment: archive.Comment, Files: out}
			if *update {
				require.NoError(t, os.WriteFile(file, txtar.Format(got), 0o644))
				return
			}
			require.Equal(t, string(txtar.Format(archive)), string(txtar.Format(got)))
		})
	}
}

// testBatch has three rows: plain values, values at an edge, NULLs.
func testBatch(t testing.TB, mem memory.Allocator) arrow.RecordBatch {
	t.Helper()
	const rows = `[
	{"user_id": 7, "property_id": 100, "date": "2021-11-30T18:45:30.123456Z", "event": "Interaction", "b": true, "small": 3, "f": 1.5, "f32": 0.5,
	 "price": "12.50", "big": "1.00000000000000000001", "raw": "AQI=", "d": "2021-11-30", "t": "12:34:56.5", "seen": "1969-12-31T23:59:59.5Z", "dt": "2020-02-29T01:02:03",
	 "id": "EjRWeJCrze8SNFZ4kKvN7w==", "doc": "{}", "gps": {"lat": 12.5, "lon": 77.5, "place": {"name": "Pune"}}, "tags": ["a", "b"],
	 "items": [{"sku": "x", "qty": 2}, {"sku": "y", "qty": null}], "props": [{"key": "plan", "value": "pro"}, {"key": "n", "value": null}]},
	{"user_id": -9223372036854775808, "property_id": 0, "date": "2021-01-02T23:59:59Z", "event": "ünïcödé ", "b": false, "small": -2147483648, "f": 0, "f32": -2.5,
	 "price": "-0.05", "big": "-2", "raw": "", "d": "2021-01-03", "t": "00:00:00", "seen": "2021-03-14T10:00:00Z", "dt": "2021-12-31T23:59:59.25",
	 "id": "AAAAAAAAAAAAAAAAAAAAAA==", "doc": "1", "gps": {"lat": null, "lon": 0, "place": null}, "tags": [],
	 "items": [], "props": []},
	{"user_id": null, "property_id": null, "date": null, "event": null, "b": null, "small": null, "f": null, "f32": null,
	 "price": null, "big": null, "raw": null, "d": null, "t": null, "seen": null, "dt": null, "id": null, "doc": null, "gps": null, "tags": null, "items": null, "props": null}
	]`
	batch, _, err := array.RecordFromJSON(mem, testSource().Schema.Arrow(), strings.NewReader(rows))
	require.NoError(t, err)
	return batch
}

// checked is an allocator that has to be empty when the test ends.
func checked(t testing.TB) memory.Allocator {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	t.Cleanup(func() { mem.AssertSize(t, 0) })
	return mem
}

// expression compiles a SELECT expression over rows.
func expression(t testing.TB, text string) Expr {
	t.Helper()
	p, errs := Compile("SELECT "+text+" AS x FROM events", testSource())
	require.Empty(t, errs, text)
	return p.Select[0].Expr
}

// evaluated is the values as JSON, and the failures as row: reason.
func evaluated(t testing.TB, e Expr, batch arrow.RecordBatch, mem memory.Allocator) (values string, failures []Failure) {
	t.Helper()
	ctx := &Eval{Mem: mem}
	a, err := e.Eval(ctx, batch)
	require.NoError(t, err)
	defer a.Release()
	require.EqualValues(t, batch.NumRows(), a.Len())
	require.True(t, arrow.TypeEqual(e.Type().Arrow(), a.DataType()), "%s is not %s", a.DataType(), e.Type())
	text, err := a.MarshalJSON()
	require.NoError(t, err)
	return string(text), ctx.Failures()
}
