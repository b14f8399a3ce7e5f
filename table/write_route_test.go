package table

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/iceberg-go"
	icebergtable "github.com/apache/iceberg-go/table"
	"github.com/stretchr/testify/require"

	"lake/schemas"
	"lake/storage"
)

var sourceFields = []schemas.Field{column("i", "int32", false), column("l", "int64", false), column("d", "date", false), column("ts", "timestamp", false),
	column("wall", "datetime", false), column("c", "time", false), column("s", "string", false), column("b", "bytes", false), column("u", "uuid", false),
	column("m", "decimal(9,2)", false), column("big", "decimal(30,3)", false), column("yes", "bool", false), column("f", "float64", false), column("in", "struct<a: int64, s: struct<t: string>>", false)}

// TestTransformsAreIcebergs routes random values by every transform and compares
// each row's partition value with what iceberg-go makes of it.
func TestTransformsAreIcebergs(t *testing.T) {
	specs := []string{"i", "l", "d", "ts", "wall", "c", "s", "b", "u", "m", "big", "yes", "f", "in.a", "in.s.t"}
	for _, transform := range []string{"year", "month", "day", "hour"} {
		for _, column := range []string{"d", "ts", "wall"} {
			if transform != "hour" || column != "d" {
				specs = append(specs, transform+"("+column+")")
			}
		}
	}
	for _, column := range []string{"i", "l", "d", "ts", "wall", "c", "s", "b", "u", "m", "big", "in.s.t"} {
		specs = append(specs, "bucket(16, "+column+")")
	}
	for _, column := range []string{"i", "l", "s", "b", "m", "big"} {
		specs = append(specs, "truncate(7, "+column+")")
	}
	definition := schemas.Schema{Fields: append([]schemas.Field{column("id", "int64", true)}, sourceFields...)}
	for _, spec := range specs {
		t.Run(spec, func(t *testing.T) {
			s := stateOf(t, definition, spec)
			batch := randomRows(t, s.schema, 500)
			defer batch.Release()
			r, err := newRouter(s)
			require.NoError(t, err)
			numbers, err := r.route(batch, nil)
			require.NoError(t, err)
			require.Greater(t, r.partitions(), 1)
			p := s.ice.Spec()
			f := p.Field(0)
			source, ok := s.ice.Schema().FindTypeByID(f.SourceIDs[0])
			require.True(t, ok)
			for row, number := range numbers {
				got, there := r.values(int(number))[f.FieldID]
				require.True(t, there)
				value, null := literalAt(t, batch, s.partitions[0].Source, row, source)
				if null {
					require.Nil(t, got)
					continue
				}
				want := f.Transform.Apply(iceberg.Optional[iceberg.Literal]{Valid: true, Val: value})
				require.True(t, want.Valid)
				require.Equal(t, fmt.Sprint(want.Val.Any()), fmt.Sprint(got), "%v", value)
			}
			again, err := r.route(batch, nil)
			require.NoError(t, err)
			require.Equal(t, numbers, again, "a partition keeps its number")
		})
	}
}

// TestNullStructHidesItsMembers has values below a null, as arrays may.
func TestNullStructHidesItsMembers(t *testing.T) {
	s := stateOf(t, schemas.Schema{Fields: []schemas.Field{column("in", "struct<a: int64>", false)}}, "in.a")
	b := array.NewInt64Builder(memory.DefaultAllocator)
	b.AppendValues([]int64{7, 7, 7, 8}, []bool{true, true, false, true})
	member := b.NewArray()
	outer := array.NewData(s.schema.Arrow().Field(0).Type, 4, []*memory.Buffer{memory.NewBufferBytes([]byte{0b1101})}, []arrow.ArrayData{member.Data()}, 1, 0)
	batch := array.NewRecordBatch(s.schema.Arrow(), []arrow.Array{array.MakeFromData(outer)}, 4)
	r, err := newRouter(s)
	require.NoError(t, err)
	numbers, err := r.route(batch, nil)
	require.NoError(t, err)
	require.Equal(t, []int32{0, 1, 1, 2}, numbers)
	require.Equal(t, map[int]any{1000: int64(7)}, r.values(0))
	require.Equal(t, map[int]any{1000: nil}, r.values(1))
	require.Equal(t, "part0=7", r.path(0))
	require.Equal(t, "part0=null", r.path(1))
}

// stateOf is a table's state without a table.
func stateOf(t *testing.T, schema schemas.Schema, partitions ...string) *state {
	t.Helper()
	ice := schema.Iceberg()
	var parsed []Partition
	for i, text := range partitions {
		p, err := ParsePartition(text)
		require.NoError(t, err)
		p.Name = fmt.Sprintf("part%d", i)
		parsed = append(parsed, p)
	}
	ice, err := iceberg.AssignFreshSchemaIDs(ice, nil)
	require.NoError(t, err)
	spec, err := newSpec(ice, parsed)
	require.NoError(t, err)
	meta, err := icebergtable.NewMetadata(ice, spec, icebergtable.UnsortedSortOrder, "file:///nowhere", nil)
	require.NoError(t, err)
	s, err := newState(icebergtable.New(icebergtable.Identifier{"shop", "x"}, meta, "", nil, nil))
	require.NoError(t, err)
	return s
}

// TestPartitionValuesSurviveTheManifest commits values of every type. The two
// decimals are apart: iceberg-go 0.7 cannot write both into one manifest.
func TestPartitionValuesSurviveTheManifest(t *testing.T) {
	c := openTest(t, t.TempDir())
	definition := schemas.Schema{Fields: append([]schemas.Field{column("id", "int64", true)}, sourceFields...)}
	for k, texts := range [][]string{
		{"i", "l", "d", "ts", "wall", "c", "s", "b", "u", "m", "yes", "f", "year(d)", "day(wall)", "hour(ts)", "bucket(5, u)", "truncate(3, s)", "in.s.t"},
		{"big"}, {"truncate(10, big)", "month(d)"},
	} {
		var partitions []Partition
		for i, text := range texts {
			p, err := ParsePartition(text)
			require.NoError(t, err)
			p.Name = fmt.Sprintf("part%d", i)
			partitions = append(partitions, p)
		}
		tbl, err := c.Create(t.Context(), fmt.Sprintf("shop.all%d", k), Definition{Schema: definition, PartitionBy: partitions})
		require.NoError(t, err)
		batch := randomRows(t, tbl.Schema(), 30)
		w := newWriter(t, tbl, WriterOptions{})
		require.NoError(t, w.Write(t.Context(), batch))
		files, err := w.Flush(t.Context())
		require.NoError(t, err)
		require.NoError(t, tbl.Append(t.Context(), "k", 1, files))
		written := map[string]string{}
		for _, f := range files {
			written[f.FilePath()[strings.LastIndex(f.FilePath(), "/"):]] = fmt.Sprint(f.Partition())
		}
		stored, err := load(t, c, tbl.Name()).Files(t.Context(), FileFilter{})
		require.NoError(t, err)
		require.Len(t, stored, len(files))
		for _, f := range stored {
			require.Equal(t, written[f.Path[strings.LastIndex(f.Path, "/"):]], fmt.Sprint(f.DataFile().Partition()))
		}
		require.Len(t, ids(t, tbl, ScanOptions{}), 30)
	}
}

// literalAt is a value as an Iceberg literal, by way of its text.
func literalAt(t *testing.T, batch arrow.RecordBatch, path string, row int, typ iceberg.Type) (iceberg.Literal, bool) {
	t.Helper()
	parts := strings.Split(path, ".")
	arr := batch.Column(batch.Schema().FieldIndices(parts[0])[0])
	for _, part := range parts[1:] {
		if arr.IsNull(row) {
			return nil, true
		}
		i, ok := arr.DataType().(*arrow.StructType).FieldIdx(part)
		require.True(t, ok)
		arr = arr.(*array.Struct).Field(i)
	}
	if arr.IsNull(row) {
		return nil, true
	}
	switch arr := arr.(type) {
	case *array.Int64:
		return iceberg.Int64Literal(arr.Value(row)), false
	case *array.Int32:
		return iceberg.Int32Literal(arr.Value(row)), false
	case *array.Date32:
		return iceberg.DateLiteral(arr.Value(row)), false
	case *array.Timestamp:
		return iceberg.TimestampLiteral(arr.Value(row)), false
	case *array.Time64:
		return iceberg.TimeLiteral(arr.Value(row)), false
	case *array.String:
		return iceberg.StringLiteral(arr.Value(row)), false
	case *array.Binary:
		return iceberg.BinaryLiteral(arr.Value(row)), false
	case *array.FixedSizeBinary:
		return iceberg.UUIDLiteral(arr.Value(row)), false
	case *array.Decimal128:
		return iceberg.DecimalLiteral{Val: arr.Value(row), Scale: typ.(iceberg.DecimalType).Scale()}, false
	case *array.Boolean:
		return iceberg.BoolLiteral(arr.Value(row)), false
	case *array.Float64:
		return iceberg.Float64Literal(arr.Value(row)), false
	}
	require.FailNow(t, "no literal", arr.DataType().String())
	return nil, false
}

func randomRows(t *testing.T, s schemas.Schema, n int) arrow.RecordBatch {
	t.Helper()
	r := rand.New(rand.NewPCG(4, 2))
	text := func() string {
		return []string{"", "a", "日本語テキストです", "x/../y", "aaaaaaaab", "null"}[r.IntN(6)]
	}
	var rows strings.Builder
	for i := range n {
		maybe := func(value string) string {
			if r.IntN(8) == 0 {
				return "null"
			}
			return value
		}
		number := func(top int64) int64 { return r.Int64N(2*top) - top }
		fmt.Fprintf(&rows, `{"id":%d,"i":%s,"l":%s,"d":%s,"ts":%s,"wall":%s,"c":%s,"s":%s,"b":%s,"u":%s,"m":%s,"big":%s,"yes":%s,"f":%s,"in":%s}`+"\n", i,
			maybe(fmt.Sprint(number(20))), maybe(fmt.Sprint(number(1<<40)>>r.IntN(40))), maybe(fmt.Sprint(number(1000))), maybe(fmt.Sprint(number(1<<50))),
			maybe(fmt.Sprint(number(1<<48))), maybe(fmt.Sprintf(`"%02d:00:00.000001"`, r.IntN(24))), maybe(fmt.Sprintf("%q", text())), maybe(`"AP9/gA=="`),
			maybe(fmt.Sprintf(`"AAAAAAAAAAAAAAAA%02d8AAA=="`, r.IntN(4)+10)), maybe(fmt.Sprintf(`"%d.%02d"`, number(50), r.IntN(100))), maybe(fmt.Sprintf(`"%d000000000000000000.125"`, number(3))),
			maybe(fmt.Sprint(r.IntN(2) == 0)), maybe([]string{"0", "1.5", "-2"}[r.IntN(3)]), maybe(fmt.Sprintf(`{"a":%s,"s":%s}`, maybe(fmt.Sprint(r.IntN(3))), maybe(fmt.Sprintf(`{"t":%s}`, maybe(fmt.Sprintf("%q", text())))))))
	}
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, s.Arrow(), strings.NewReader(rows.String()), array.WithMultipleDocs())
	require.NoError(t, err)
	return batch
}

func TestHostileValuesStayInTheTable(t *testing.T) {
	root := t.TempDir()
	c := openTest(t, root)
	s := withFields(column("id", "int64", true), column("p", "string", false), column("q", "bytes", false))
	tbl, err := c.Create(t.Context(), "shop.hostile", Definition{Schema: s, PartitionBy: []Partition{
		{Source: "p", Transform: "identity", Name: "p"}, {Source: "q", Transform: "identity", Name: "q"}}})
	require.NoError(t, err)
	values := []string{"../../../etc/passwd", "..", ".", "", "a/b", "%2F..%2F", "nul\x00byte", "line\nfeed\x1b[31m", strings.Repeat("x", 10_000), strings.Repeat("x", 10_000) + "y",
		strings.Repeat("日", 300), "null", "a b+c&d=e", "-rf", "C:\\windows", "\u202e"}
	b := array.NewRecordBuilder(memory.DefaultAllocator, s.Arrow())
	for i, v := range values {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		b.Field(1).(*array.StringBuilder).Append(v)
		b.Field(2).(*array.BinaryBuilder).Append([]byte(v))
	}
	b.Field(0).(*array.Int64Builder).Append(int64(len(values)))
	b.Field(1).AppendNull()
	b.Field(2).AppendNull()
	w := newWriter(t, tbl, WriterOptions{})
	require.NoError(t, w.Write(t.Context(), b.NewRecordBatch()))
	files, err := w.Flush(t.Context())
	require.NoError(t, err)
	require.Len(t, files, len(values)+1)
	folder, err := storage.Path(tbl.catalog.fs, tbl.Location())
	require.NoError(t, err)
	count, folders := 0, map[string]bool{}
	require.NoError(t, filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if strings.HasSuffix(name, ".parquet") {
			count++
			folders[filepath.Dir(name)] = true
			inside, err := filepath.Rel(filepath.Join(folder, "data"), name)
			require.NoError(t, err)
			require.Len(t, strings.Split(inside, string(filepath.Separator)), 3, name)
			require.Regexp(t, `^p=[-%~+.\w]*/q=[-%~+.\w]*/w-\d+\.parquet$`, inside)
		}
		return err
	}))
	require.Equal(t, len(files), count)
	require.Len(t, folders, count, "a folder a partition, cut names too")
	require.NoError(t, tbl.Append(t.Context(), "k", 1, files))
	require.Len(t, ids(t, load(t, c, tbl.Name()), ScanOptions{}), len(values)+1)
	stored, err := tbl.Files(t.Context(), FileFilter{})
	require.NoError(t, err)
	var got []string
	for _, f := range stored {
		if v := f.DataFile().Partition()[1000]; v != nil {
			got = append(got, v.(string))
			require.Equal(t, v, string(f.DataFile().Partition()[1001].([]byte)))
		}
	}
	require.ElementsMatch(t, values, got, "the manifest has the values whole")
}
