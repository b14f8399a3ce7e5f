package table

import (
	"math"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/extensions"
	"github.com/apache/arrow-go/v18/arrow/memory"
	icebergtable "github.com/apache/iceberg-go/table"
	"github.com/stretchr/testify/require"
)

func TestParsePartition(t *testing.T) {
	for text, want := range map[string]Partition{
		"dt":                   {Source: "dt", Transform: "identity", Name: "dt"},
		" a.b ":                {Source: "a.b", Transform: "identity", Name: "a.b"},
		"hour(ts)":             {Source: "ts", Transform: "hour", Name: "ts_hour"},
		"bucket(16, user_id)":  {Source: "user_id", Transform: "bucket", N: 16, Name: "user_id_bucket"},
		"truncate( 4 , name )": {Source: "name", Transform: "truncate", N: 4, Name: "name_truncate"},
		"identity(x)":          {Source: "x", Transform: "identity", Name: "x"},
	} {
		p, err := ParsePartition(text)
		require.NoError(t, err, text)
		require.Equal(t, want, p, text)
		again, err := ParsePartition(p.String())
		require.NoError(t, err)
		require.Equal(t, p, again)
	}
	for _, text := range []string{"", "hour()", "hour(a, b)", "hour(3, a)", "bucket(user_id)", "bucket(0, a)", "bucket(99999999999, a)", "week(ts)", "a b", "hour(ts))"} {
		_, err := ParsePartition(text)
		require.Error(t, err, text)
	}
}

func TestPartitionsAreKept(t *testing.T) {
	c := openTest(t, t.TempDir())
	schema := withFields(column("id", "int64", true), column("ts", "timestamp", true), column("s", "struct<k: string>", false), column("dt", "date", true))
	var parts []Partition
	for _, text := range []string{"dt", "hour(ts)", "bucket(16, id)", "truncate(3, s.k)"} {
		p, err := ParsePartition(text)
		require.NoError(t, err)
		parts = append(parts, p)
	}
	_, err := c.Create(t.Context(), "a.t", Definition{Schema: schema, PartitionBy: parts})
	require.NoError(t, err)
	require.Equal(t, parts, load(t, c, "a.t").Partitions())
	for text, want := range map[string]string{"nope": `no column "nope"`, "hour(id)": "hour does not take", "s": "does not take"} {
		p, err := ParsePartition(text)
		require.NoError(t, err)
		_, err = c.Create(t.Context(), "a.u", Definition{Schema: schema, PartitionBy: []Partition{p}})
		require.ErrorContains(t, err, want)
	}
}

func TestScanChoosesAndOrders(t *testing.T) {
	c, _ := newEvents(t)
	o := takeOver(t, c, "shop.events")
	o.mustCommit(writeEvents(t, o.table, day, 1), writeEvents(t, o.table, day+1, 2, 3))
	first, _ := o.table.Current()
	o.mustCommit(writeEvents(t, o.table, day+2, 4), writeEvents(t, o.table, day, 5))
	tbl := load(t, c, "shop.events")
	require.Equal(t, []int64{1, 5}, ids(t, tbl, ScanOptions{From: day, To: day + 1}))
	require.Equal(t, []int64{2, 3, 4}, ids(t, tbl, ScanOptions{From: day + 1, To: day + 3}))
	require.Equal(t, []int64{1, 2, 3}, sorted(ids(t, tbl, ScanOptions{Snapshot: first.ID})))
	require.Equal(t, []int64{4}, ids(t, tbl, ScanOptions{From: day + 2, To: math.MaxInt32}))
	require.Len(t, ids(t, tbl, ScanOptions{From: math.MinInt32, To: math.MaxInt32}), 5)
	require.Empty(t, ids(t, tbl, ScanOptions{Files: []File{}}))
	for range 3 {
		require.Equal(t, ids(t, tbl, ScanOptions{}), ids(t, tbl, ScanOptions{}))
	}

	files := filesOf(t, tbl, FileFilter{})
	require.Len(t, files, 4)
	require.Equal(t, []int64{2, 2, 3, 3}, []int64{files[0].Sequence, files[1].Sequence, files[2].Sequence, files[3].Sequence})
	require.Less(t, files[0].Path, files[1].Path)
	byName := map[string]int64{}
	for _, f := range files {
		byName[f.Partition] += f.Rows
		d, ok := f.Date()
		require.True(t, ok)
		require.Equal(t, "dt="+arrow.Date32(d).FormattedString(), f.Partition)
		require.Positive(t, f.Bytes)
		require.Equal(t, "file://"+f.Path, f.DataFile().FilePath())
	}
	require.Equal(t, map[string]int64{"dt=2021-11-30": 2, "dt=2021-12-01": 2, "dt=2021-12-02": 1}, byName)

	// Columns in the order asked, in lake's types.
	for batch, err := range tbl.Scan(t.Context(), ScanOptions{Columns: []string{"dt", "ID"}, From: day + 2, To: day + 3}) {
		require.NoError(t, err)
		require.True(t, batch.Schema().Equal(arrow.NewSchema([]arrow.Field{tbl.Schema().Arrow().Field(2), tbl.Schema().Arrow().Field(0)}, nil)))
		require.Equal(t, arrow.Date32(day+2), batch.Column(0).(*array.Date32).Value(0))
		batch.Release()
	}
	for _, err := range tbl.Scan(t.Context(), ScanOptions{Columns: []string{"nope"}}) {
		require.ErrorContains(t, err, `no column "nope"`)
	}
	for range tbl.Scan(t.Context(), ScanOptions{Columns: []string{"id"}}) {
		break // goleak sees whether the readers end; the batch is garbage of the default allocator
	}

	// A date's range over a table without dates.
	plain, err := c.Create(t.Context(), "plain", Definition{Schema: eventSchema})
	require.NoError(t, err)
	require.NoError(t, plain.Append(t.Context(), "k", 1, nil))
	_, err = plain.Files(t.Context(), FileFilter{From: 1, To: 2})
	require.ErrorContains(t, err, "partition_by: [dt]")
}

func TestScanReleasesWhenStopped(t *testing.T) {
	c, _ := newEvents(t)
	o := takeOver(t, c, "shop.events")
	var files []dataFile
	for i := range int64(8) {
		files = append(files, writeEvents(t, o.table, day, i))
	}
	o.mustCommit(files...)
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	seen := 0
	for batch, err := range o.table.Scan(compute.WithAllocator(t.Context(), mem), ScanOptions{}) {
		require.NoError(t, err)
		seen++
		batch.Release()
		if seen == 3 {
			break
		}
	}
	// A file that is gone: its name is in the error, and what others read is released.
	broken := filesOf(t, o.table, FileFilter{})
	require.NoError(t, o.table.FS().Remove(t.Context(), broken[5].DataFile().FilePath()))
	var last error
	for batch, err := range o.table.Scan(compute.WithAllocator(t.Context(), mem), ScanOptions{}) {
		if last = err; err == nil {
			batch.Release()
		}
	}
	require.ErrorContains(t, last, broken[5].Path)
}

func TestScanAllTypes(t *testing.T) {
	c := openTest(t, t.TempDir())
	schema := withFields(
		column("b", "bool", true), column("i", "int32", false), column("l", "int64", true), column("f", "float32", false), column("d", "float64", false),
		column("dec", "decimal(20,4)", false), column("s", "string", false), column("raw", "bytes", false), column("day", "date", false), column("at", "time", false),
		column("ts", "timestamp", false), column("wall", "datetime", false), column("u", "uuid", false), column("j", "json", false),
		column("tags", "list<string>", false), column("deep", "list<struct<a: int64, b: map<string, list<json>>>>", false),
		column("m", "map<string, struct<x: float64, u: uuid>>", false), column("st", "struct<k: string, inner: struct<z: uuid>>", false))
	tbl, err := c.Create(t.Context(), "types", Definition{Schema: schema})
	require.NoError(t, err)
	for i, f := range tbl.Schema().Fields {
		require.True(t, schema.Fields[i].Type.Equal(f.Type), "%s: %s", f.Name, f.Type)
	}
	rows := `[{"b":true,"i":1,"l":2,"f":1.5,"d":2.5,"dec":"123.4500","s":"x","raw":"AAE=","day":"2021-11-30","at":"12:00:00.000001",
	 "ts":"2021-11-30T00:00:00.000001Z","wall":"2021-11-30T01:02:03","u":"AAECAwQFBgcICQoLDA0ODw==","j":"{\"a\":1}","tags":["a",null,"b"],
	 "deep":[{"a":1,"b":[{"key":"k","value":["1",null]}]},null],"m":[{"key":"p","value":{"x":1.25,"u":"AAECAwQFBgcICQoLDA0ODw=="}}],"st":{"k":"q","inner":{"z":"AAECAwQFBgcICQoLDA0ODw=="}}},
	 {"b":false,"l":3,"tags":[],"deep":[],"m":[]}]`
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, tbl.Schema().Arrow(), strings.NewReader(rows))
	require.NoError(t, err)
	defer batch.Release()
	require.NoError(t, tbl.Append(t.Context(), "k", 1, []dataFile{writeBatch(t, tbl, byLake, batch, "", nil, nil)}))

	tbl = load(t, c, "types")
	n := 0
	for got, err := range tbl.Scan(t.Context(), ScanOptions{}) {
		require.NoError(t, err)
		require.True(t, got.Schema().Equal(tbl.Schema().Arrow()), "%s", got.Schema())
		for i := range int(got.NumCols()) {
			require.True(t, array.Equal(batch.Column(i), got.Column(i)), "%s:\n%v\n%v", got.ColumnName(i), batch.Column(i), got.Column(i))
		}
		n += int(got.NumRows())
		got.Release()
	}
	require.Equal(t, 2, n)
}

func TestEvolve(t *testing.T) {
	c := openTest(t, t.TempDir())
	first := withFields(column("id", "int64", true), column("n", "int32", false), column("f", "float32", false), column("s", "struct<a: int32>", false), column("l", "list<struct<x: int32>>", false))
	tbl, err := c.Create(t.Context(), "t", Definition{Schema: first})
	require.NoError(t, err)
	put := func(seq int64, rows string) {
		t.Helper()
		batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, tbl.Schema().Arrow(), strings.NewReader(rows))
		require.NoError(t, err)
		defer batch.Release()
		require.NoError(t, tbl.Append(t.Context(), "k", seq, []dataFile{writeBatch(t, tbl, byLake, batch, "", nil, nil)}))
	}
	put(1, `[{"id":1,"n":-7,"f":1.5,"s":{"a":3},"l":[{"x":4},null]}]`)
	stale := load(t, c, "t")

	second := withFields(column("id", "int64", true), column("n", "int64", false), column("f", "float64", false), column("s", "struct<a: int64, b: json>", false),
		column("l", "list<struct<x: int64, y: string>>", false), column("new", "string", false), column("j", "json", false))
	tbl, err = c.EvolveTo(t.Context(), tbl, second)
	require.NoError(t, err)
	for i, f := range tbl.Schema().Fields {
		require.True(t, second.Fields[i].Type.Equal(f.Type), "%s: %s", f.Name, f.Type)
	}
	require.Contains(t, tbl.Properties()["schema.name-mapping.default"], `"new"`)
	put(2, `[{"id":2,"n":9000000000,"f":2.25,"s":{"a":5,"b":"{}"},"l":[{"x":6,"y":"z"}],"new":"w","j":"[1]"}]`)

	for _, handle := range []*Table{tbl, load(t, c, "t")} {
		var lines []string
		for batch, err := range handle.Scan(t.Context(), ScanOptions{}) {
			require.NoError(t, err)
			require.True(t, batch.Schema().Equal(handle.Schema().Arrow()))
			text, err := batch.MarshalJSON()
			require.NoError(t, err)
			lines = append(lines, string(text))
			batch.Release()
		}
		require.Len(t, lines, 2)
		require.JSONEq(t, `[{"id":1,"n":-7,"f":1.5,"s":{"a":3,"b":null},"l":[{"x":4,"y":null},null],"new":null,"j":null}]`, lines[0])
		require.JSONEq(t, `[{"id":2,"n":9000000000,"f":2.25,"s":{"a":5,"b":"{}"},"l":[{"x":6,"y":"z"}],"new":"w","j":"[1]"}]`, lines[1])
	}

	// A handle from before finds that another process did the same.
	stale, err = c.EvolveTo(t.Context(), stale, second)
	require.NoError(t, err)
	require.Equal(t, tbl.Schema(), stale.Schema())
	location := tbl.now.Load().ice.MetadataLocation()
	tbl, err = c.EvolveTo(t.Context(), tbl, second)
	require.NoError(t, err)
	require.Equal(t, location, tbl.now.Load().ice.MetadataLocation(), "nothing to do, nothing done")

	bad := withFields(column("id", "string", true), column("n", "int32", false), column("f", "float64", true), column("s", "struct<a: int64, b: json, c: int64!>", false),
		column("l", "list<struct<x: int64, y: string>>", false), column("NEW", "string", false), column("extra", "string", true))
	_, err = c.EvolveTo(t.Context(), tbl, bad)
	var refused *SchemaError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, []string{
		"column id is int64 in the table and string in the schema",
		"column n is int64 in the table and int32 in the schema",
		"column f is nullable in the table and required in the schema",
		"column s.c is new and required: rows that are there have no value for it",
		"column NEW is written new in the table",
		"column extra is new and required: rows that are there have no value for it",
		"column j (json) is in the table and not in the schema, where it has to stay",
	}, refused.Differences)
	require.Equal(t, location, load(t, c, "t").now.Load().ice.MetadataLocation(), "a refusal changes nothing")
}

// A file with several row groups is one file, also where iceberg-go would split it.
func TestFilesAreWhole(t *testing.T) {
	c := openTest(t, t.TempDir())
	tbl, err := c.Create(t.Context(), "t", Definition{Schema: withFields(column("id", "int64", true)), Properties: map[string]string{icebergtable.ReadSplitTargetSizeKey: "64"}})
	require.NoError(t, err)
	b := newRows(tbl)
	defer b.Release()
	for i := range int64(100) {
		appendID(b, i)
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	require.NoError(t, tbl.Append(t.Context(), "k", 1, []dataFile{writeGroups(t, tbl, batch, 10)}))
	require.Len(t, filesOf(t, tbl, FileFilter{}), 1)
	got := ids(t, tbl, ScanOptions{})
	require.Len(t, got, 100)
	require.Equal(t, sorted(got), got)
}

func TestRetype(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	schema := withFields(column("m", "map<string, list<struct<x: int64, u: uuid>>>", false))
	foreign := arrow.NewSchema([]arrow.Field{{Name: "m", Nullable: true, Type: arrow.MapOf(arrow.BinaryTypes.String, arrow.ListOf(arrow.StructOf(
		arrow.Field{Name: "other", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, arrow.Field{Name: "u", Type: extensions.NewUUIDType(), Nullable: true})))}}, nil)
	is, _, err := array.RecordFromJSON(mem, foreign, strings.NewReader(`[{"m":[{"key":"k","value":[{"other":1,"u":"00010203-0405-0607-0809-0a0b0c0d0e0f"},null]}]},{"m":null},{"m":[]}]`))
	require.NoError(t, err)
	defer is.Release()
	data, err := retype(is.Column(0).Data(), schema.Arrow().Field(0).Type)
	require.NoError(t, err)
	defer data.Release()
	got := array.MakeFromData(data)
	defer got.Release()
	require.True(t, arrow.TypeEqual(schema.Arrow().Field(0).Type, got.DataType(), arrow.CheckMetadata()))
	text, err := got.MarshalJSON()
	require.NoError(t, err)
	require.JSONEq(t, `[[{"key":"k","value":[{"x":1,"u":"AAECAwQFBgcICQoLDA0ODw=="},null]}],null,[]]`, string(text))

	for _, want := range []string{"map<string, list<struct<x: int64>>>", "map<string, list<struct<x: string, u: uuid>>>", "int64", "map<string, struct<x: int64, u: uuid>>"} {
		_, err := retype(is.Column(0).Data(), column("m", want, false).Type.Arrow())
		require.ErrorContains(t, err, "the table's schema says", want)
	}
}
