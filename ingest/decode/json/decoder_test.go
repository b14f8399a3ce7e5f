package json

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"lake/ingest/decode"
	"lake/schemas"
)

// dirty is an allocator whose memory is not zero, as that of one that uses
// memory again.
type dirty struct{ memory.Allocator }

func (d dirty) Allocate(size int) []byte { return soil(d.Allocator.Allocate(size), 0) }

func (d dirty) Reallocate(size int, b []byte) []byte {
	held := len(b)
	return soil(d.Allocator.Reallocate(size, b), held)
}

func soil(b []byte, from int) []byte {
	for i := from; i < len(b); i++ {
		b[i] = 0xa5
	}
	return b
}

// checkedDecoder makes a decoder whose memory must all be back when the test ends.
func checkedDecoder(t *testing.T, schema schemas.Schema, opts Options) *Decoder {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	opts.Mem = dirty{mem}
	d, err := NewDecoder(schema, opts)
	require.NoError(t, err)
	t.Cleanup(func() {
		d.Release()
		mem.AssertSize(t, 0)
	})
	return d
}

func TestDecoderValues(t *testing.T) {
	schema := parseSchema(t, `struct<id: int64!, small: int32, price: decimal(10,2), name: string, ok: bool, at: timestamp, day: date, raw: bytes,
		where: struct<lat: float64!, lon: float64>, tags: list<string>, props: map<string, int32>>`)
	d := checkedDecoder(t, schema, Options{})
	for _, record := range []string{
		`{"id":1,"small":-5,"price":12.5,"name":"Zoë \u00fc","ok":true,"at":"2021-11-30T00:00:00+05:30","day":"2021-11-30","raw":"aGk=","where":{"lat":1.5},"tags":["a",null,""],"props":{"x":1,"y":null}}`,
		`{"id":2}`,
		`{"tags":[],"props":{},"where":{"lon":-0.25,"lat":1e2},"name":"","ok":false,"id":3}`,
	} {
		require.NoError(t, d.Append([]byte(record)), record)
	}
	require.Equal(t, 3, d.Len())
	batch, err := d.Flush()
	require.NoError(t, err)
	defer batch.Release()
	require.True(t, batch.Schema().Equal(schema.Arrow()))
	got, err := batch.MarshalJSON()
	require.NoError(t, err)
	require.JSONEq(t, `[
		{"id":1,"small":-5,"price":"12.5","name":"Zoë ü","ok":true,"at":"2021-11-29T18:30:00Z","day":"2021-11-30","raw":"aGk=","where":{"lat":1.5,"lon":null},"tags":["a",null,""],"props":[{"key":"x","value":1},{"key":"y","value":null}]},
		{"id":2,"small":null,"price":null,"name":null,"ok":null,"at":null,"day":null,"raw":null,"where":null,"tags":null,"props":null},
		{"id":3,"small":null,"price":null,"name":"","ok":false,"at":null,"day":null,"raw":null,"where":{"lat":100,"lon":-0.25},"tags":[],"props":[]}]`, string(got))
	require.Nil(t, batch.Column(0).Data().Buffers()[0], "a column without nulls has no bitmap")
	require.Equal(t, 2, batch.Column(1).NullN())
	require.Zero(t, d.Len())
	require.Zero(t, d.Bytes())
}

func TestDecoderErrors(t *testing.T) {
	typ, err := schemas.ParseType(`struct<id: int64!, n: int32, at: timestamp, price: decimal(5,2), where: struct<lat: float64!, far: struct<x: int32>>,
		items: list<struct<sku: string!>>, props: map<string, int32>, seen: datetime, p: int64>`)
	require.NoError(t, err)
	schema := schemas.Schema{Fields: typ.Fields}
	schema.Fields[8].From = "deep.er.p"
	d := checkedDecoder(t, schema, Options{MaxRecordBytes: 200, MaxDepth: 5})
	for _, c := range []struct{ record, stage, text string }{
		{"", "decode", "empty record"},
		{" \n", "decode", "empty record"},
		{"{", "decode", "byte 1: the record ends where a key in quotes is expected"},
		{`{"id":1`, "decode", "byte 7: the record ends where a comma or } is expected"},
		{`{"id":1}}`, "decode", "byte 8: expected the record's end, found '}'"},
		{`{"id":1} {"id":2}`, "decode", "byte 9: expected the record's end, found '{'"},
		{`[1]`, "decode", "byte 0: expected an object, found a list"},
		{`{"id":01}`, "decode", "byte 7: expected a comma or }, found '1'"},
		{`{"id":1,"id":1}`, "decode", `the key "id" is there twice in one object`},
		{`{"id":1,"z":1,"z":1}`, "decode", `the key "z" is there twice in one object`},
		{`{"id":1,"z":{"a":1,"a":2}}`, "decode", `the key "a" is there twice in one object`},
		{`{"id":1,"x":[[[[[1]]]]]}`, "decode", "byte 16: nested deeper than 5"},
		{"{\"id\":1,\"s\":\"\xff\"}", "decode", "byte 12: the text is not UTF-8"},
		{"{\"id\":1,\"s\":\"\t\"}", "decode", "byte 13: a control character within a text"},
		{`{"id":1,"s":"\q"}`, "decode", "byte 12: the text has a bad escape"},
		{`{"id":1,"s":"`, "decode", "byte 13: the record ends within a text"},
		{"{\"id\":\xff}", "decode", "byte 6: expected a value, found the byte 0xff"},
		{`{"n":NaN,"id":1}`, "decode", "byte 5: expected a value, found 'N'"},
		{`{"id":1` + strings.Repeat(" ", 200) + `}`, "decode", "a record of 208 bytes, more than 200"},
		{`{}`, "convert", "id: is missing"},
		{`{"id":null}`, "convert", "id: is null"},
		{`{"id":"7"}`, "convert", `id: expected a number, found the text "7"`},
		{`{"id":1.5}`, "convert", "id: the number 1.5 has a fraction"},
		{`{"id":9223372036854775808}`, "convert", "id: the number 9223372036854775808 is out of range"},
		{`{"id":1,"n":2147483648}`, "convert", "n: the number 2147483648 is out of range"},
		{`{"id":1,"at":"2021-11-31"}`, "convert", `at: "2021-11-31" is not ISO 8601: there is no such day`},
		{`{"id":1,"at":5}`, "convert", "at: expected text, found the number 5"},
		{`{"id":1,"seen":"2021-11-30T00:00:00Z"}`, "convert", `seen: the text "2021-11-30T00:00:00Z" tells a zone, which a datetime has not`},
		{`{"id":1,"price":1000}`, "convert", "price: the number 1000 has more than 3 digits before the point"},
		{`{"id":1,"price":1.005}`, "convert", "price: the number 1.005 has more digits behind the point than 2"},
		{`{"id":1,"where":{}}`, "convert", "where.lat: is missing"},
		{`{"id":1,"where":{"lat":1,"far":[]}}`, "convert", "where.far: expected an object, found a list"},
		{`{"id":1,"items":[{"sku":"a"},{}]}`, "convert", "items.element.sku: is missing"},
		{`{"id":1,"props":{"a":true}}`, "convert", "props.value: expected a number, found \"true\""},
		{`{"id":1,"deep":{"er":[]}}`, "convert", "p: expected an object on the way, found a list"},
		{`{"id":1,"deep.er.p":1,"deep":{"er":{"p":1}}}`, "convert", "p: is there twice, as a path and as one key"},
		{`{"id":"` + strings.Repeat("7", 100) + `"}`, "convert", `id: expected a number, found the text "7777777777777777777777777777777777777777"…`},
		{`{"id":"7"`, "decode", "byte 9: the record ends where a comma or } is expected"},
	} {
		err := d.Append([]byte(c.record))
		var refused *decode.Error
		require.ErrorAs(t, err, &refused, c.record)
		require.Equal(t, c.stage+" "+c.text, string(refused.Stage)+" "+refused.Error(), c.record)
	}
	require.Zero(t, d.Len())
	require.NoError(t, d.Append([]byte(`{"deep.er.p":5,"id":1}`)))
	require.NoError(t, d.Append([]byte(`{"deep":{"er":{"p":6}},"id":1}`)))
	batch, err := d.Flush()
	require.NoError(t, err)
	defer batch.Release()
	require.Equal(t, []int64{5, 6}, batch.Column(8).(*array.Int64).Int64Values())
}

func TestNewDecoderErrors(t *testing.T) {
	field := func(f schemas.Field) schemas.Schema { return schemas.Schema{Fields: []schemas.Field{f}} }
	list := schemas.Type{Kind: schemas.List, Elem: &schemas.Field{Name: "element", Type: schemas.Type{Kind: schemas.Time}}}
	mapOf := func(key schemas.Kind) schemas.Type {
		return schemas.Type{Kind: schemas.Map, Key: &schemas.Field{Name: "key", Type: schemas.Type{Kind: key}, Required: true},
			Elem: &schemas.Field{Name: "value", Type: schemas.Type{Kind: schemas.Int64}}}
	}
	for _, c := range []struct {
		schema schemas.Schema
		opts   Options
		text   string
	}{
		{field(schemas.Field{Name: "a", Type: schemas.Type{Kind: schemas.Timestamp}, Format: "%H:%M"}), Options{}, `column a: a: format "%H:%M" tells no full date`},
		{field(schemas.Field{Name: "a", Type: schemas.Type{Kind: schemas.Timestamp}, Zone: "Asia/Nowhere"}), Options{}, `zone "Asia/Nowhere"`},
		{field(schemas.Field{Name: "a", Type: list, Format: "%F"}), Options{}, `a.element: format "%F" tells no time of day`},
		{field(schemas.Field{Name: "a", Type: mapOf(schemas.JSON)}), Options{}, "a json cannot be the key of a map"},
		{field(schemas.Field{Name: "a", Type: schemas.Type{Kind: schemas.Decimal, Precision: 39}}), Options{}, "not a decimal that can be"},
		{field(schemas.Field{Name: "a"}), Options{}, "the type invalid is not one"},
		{schemas.Schema{}, Options{MaxDepth: 10_001}, "a depth of 10001"},
		{schemas.Schema{}, Options{MaxRecordBytes: -1}, "a record's bound of -1 bytes"},
	} {
		_, err := NewDecoder(c.schema, c.opts)
		require.ErrorContains(t, err, c.text)
	}
	_, err := NewDecoder(field(schemas.Field{Name: "a", Type: mapOf(schemas.Float64)}), Options{})
	require.NoError(t, err)
}

// Depths around the bound, in each way to nest, and far beyond it.
func TestDecoderDepth(t *testing.T) {
	schema := parseSchema(t, `struct<id: int64, l: list<list<int64>>, o: struct<a: struct<b: int64>>, m: map<string, map<string, int64>>>`)
	d := checkedDecoder(t, schema, Options{MaxDepth: 3})
	for _, record := range []string{
		`{"l":[[1],[2]],"o":{"a":{"b":1}},"m":{"x":{"y":1},"z":{}},"u":[[],{}],"v":{"w":[]},"q":[[]]}`,
	} {
		require.NoError(t, d.Append([]byte(record)))
		require.NoError(t, d.Append([]byte(record)), "the depth of a record is not that of the next")
	}
	for _, record := range []string{`{"u":[[[]]]}`, `{"u":{"v":{"w":{}}}}`, `{"l":[[[]]]}`, `{"o":{"a":{"b":[]}}}`, `{"u":[[{}]]}`} {
		require.ErrorContains(t, d.Append([]byte(record)), "nested deeper than 3", record)
	}
	far := checkedDecoder(t, schema, Options{})
	for _, open := range []string{"[", `{"a":`, `[{"a":`} {
		record := `{"u":` + strings.Repeat(open, 100_000)
		require.ErrorContains(t, far.Append([]byte(record)), "nested deeper than 512")
	}
	require.NoError(t, far.Append([]byte(`{"u":`+strings.Repeat("[", 511)+strings.Repeat("]", 511)+`}`)))
	require.Error(t, far.Append([]byte(`{"u":`+strings.Repeat("[", 512)+strings.Repeat("]", 512)+`}`)))
}

// A row that is refused leaves nothing behind: a mix of records decodes as the
// good ones alone do, whatever the refused ones wrote before they failed.
func TestDecoderTakesRowsBack(t *testing.T) {
	schema := oracleSchema()
	random := rand.New(rand.NewPCG(11, 11))
	mixed, alone := checkedDecoder(t, schema, Options{}), checkedDecoder(t, schema, Options{})
	good := fitting()
	for round := range 25 {
		landed := 0
		for range 400 {
			record := randomRecord(random, good)
			if random.IntN(2) == 0 && len(record) > 2 && record[len(record)-1] == '}' {
				// fails at its end, when all has been written
				record = append(record[:len(record)-1:len(record)-1], `,"r":[{"a":1,"b":["x"]},{"b":["y",null]}]}`...)
			}
			if mixed.Append(record) == nil {
				require.NoError(t, alone.Append(record))
				landed++
			}
		}
		require.Equal(t, landed, mixed.Len())
		require.Greater(t, landed, 50)
		require.Equal(t, alone.Len(), mixed.Len())
		got, err := mixed.Flush()
		require.NoError(t, err)
		want, err := alone.Flush()
		require.NoError(t, err)
		if !array.RecordEqual(want, got) {
			t.Fatalf("round %d:\n is %v\nnot %v", round, got, want)
		}
		for i, column := range got.Columns() {
			checkArray(t, column)
			require.Equal(t, want.Column(i).NullN(), column.NullN())
		}
		got.Release()
		want.Release()
	}
}

// checkArray checks what a reader of the buffers relies on: children as long
// as their parents say, offsets that ascend, buffers of the right length.
func checkArray(t *testing.T, a arrow.Array) {
	t.Helper()
	buffers := a.Data().Buffers()
	n := a.Len()
	if buffers[0] != nil {
		require.Equal(t, (n+7)/8, buffers[0].Len())
		require.Positive(t, a.NullN())
	}
	offsets := func() int {
		values := arrow.Int32Traits.CastFromBytes(buffers[1].Bytes())
		require.Len(t, values, n+1)
		require.Zero(t, values[0])
		for i := range n {
			require.LessOrEqual(t, values[i], values[i+1])
		}
		return int(values[n])
	}
	switch a := a.(type) {
	case *array.String, *array.Binary:
		require.Equal(t, offsets(), buffers[2].Len())
	case array.ListLike:
		require.Equal(t, offsets(), a.ListValues().Len())
		checkArray(t, a.ListValues())
	case *array.Struct:
		for i := range a.NumField() {
			require.Equal(t, n, a.Field(i).Len())
			checkArray(t, a.Field(i))
		}
	case *array.Boolean:
		require.Equal(t, (n+7)/8, buffers[1].Len())
	default:
		width := a.DataType().(arrow.FixedWidthDataType).BitWidth() / 8
		require.Equal(t, n*width, buffers[1].Len())
	}
}

func TestDecoderAllocates(t *testing.T) {
	for name, c := range map[string]struct {
		schema  schemas.Schema
		records [][]byte
	}{
		"flat":   {flatSchema(), flatRecords(2000)},
		"retail": {parseSchema(t, retailSchema), retailRecords(2000)},
		"unknown": {parseSchema(t, "struct<u: list<json>, id: int64>"), [][]byte{
			[]byte(`{"a":{"b":[1,2,{"c":"d\n"}],"e":"f"},"id":1,"u":[{"v":[1]},null]}`), []byte(`{"id":1,"a":"\u00e9"}`)}},
	} {
		d, err := NewDecoder(c.schema, Options{})
		require.NoError(t, err)
		all := func() {
			for _, r := range c.records {
				if err := d.Append(r); err != nil {
					t.Error(err)
				}
			}
		}
		for range 3 {
			all()
		}
		batch, err := d.Flush() // the next buffers have room for three times the records
		require.NoError(t, err)
		batch.Release()
		all()
		require.Zero(t, testing.AllocsPerRun(1, all), name)
		d.Release()
	}
}

func TestDecoderLearnsKeys(t *testing.T) {
	d := checkedDecoder(t, parseSchema(t, "struct<a: int64, b: int64>"), Options{})
	records := 0
	for _, order := range []string{`{"a":%d,"b":%d}`, `{"b":%d,"a":%d}`, `{"x":%d,"b":%d}`, `{"b":%d}`, `{ "b" : %d , "a": %d }`, `{"a":%d,"x":{"a":1},"b":%d}`} {
		for i := range 5 {
			values := []any{i, i + 10}
			require.NoError(t, d.Append(fmt.Appendf(nil, order, values[:strings.Count(order, "%d")]...)))
			records++
		}
	}
	// more keys than are kept: each still found when it is there twice
	var many []string
	for i := range 3 * keptKeys {
		many = append(many, fmt.Sprintf(`"key%d":%d`, i, i))
	}
	object := "{" + strings.Join(many, ",") + "}"
	require.NoError(t, d.Append([]byte(object)))
	require.NoError(t, d.Append([]byte(object)))
	require.NoError(t, d.Append([]byte(`{"a":`+fmt.Sprint(records)+`,"unknown":`+object+`}`)))
	require.LessOrEqual(t, len(d.root.keys), 2+keptKeys)
	for _, twice := range []int{0, keptKeys, 2 * keptKeys, 3*keptKeys - 1} {
		err := d.Append([]byte(object[:len(object)-1] + "," + many[twice] + "}"))
		require.EqualError(t, err, fmt.Sprintf(`the key "key%d" is there twice in one object`, twice))
	}
	long := strings.Repeat("k", keptKeyBytes+1)
	require.ErrorContains(t, d.Append([]byte(`{"`+long+`":1,"`+long+`":1}`)), "is there twice")
	batch, err := d.Flush()
	require.NoError(t, err)
	defer batch.Release()
	require.Equal(t, int64(records+3), batch.NumRows())
	a, b := batch.Column(0).(*array.Int64), batch.Column(1).(*array.Int64)
	for i := range 5 {
		require.Equal(t, []int64{int64(i), int64(i) + 10}, []int64{a.Value(i), b.Value(i)})
		require.Equal(t, []int64{int64(i) + 10, int64(i)}, []int64{a.Value(5 + i), b.Value(5 + i)})
		require.True(t, a.IsNull(10+i) && b.Value(10+i) == int64(i)+10)
		require.True(t, a.IsNull(15+i) && b.Value(15+i) == int64(i))
		require.Equal(t, []int64{int64(i) + 10, int64(i)}, []int64{a.Value(20 + i), b.Value(20 + i)})
		require.Equal(t, []int64{int64(i), int64(i) + 10}, []int64{a.Value(25 + i), b.Value(25 + i)})
	}
	require.Equal(t, int64(records), a.Value(records+2))
}

// Bytes grows with what is held and not with the room that is kept for more.
func TestDecoderBytes(t *testing.T) {
	d := checkedDecoder(t, flatSchema(), Options{})
	records := flatRecords(1000)
	for _, r := range records {
		require.NoError(t, d.Append(r))
	}
	text := 0
	batch, err := func() (arrow.RecordBatch, error) {
		held := d.Bytes()
		batch, err := d.Flush()
		if err == nil {
			text = batch.Column(3).(*array.String).Data().Buffers()[2].Len()
			require.Equal(t, int64(1000*(8+8+8+4)+text), held)
		}
		return batch, err
	}()
	require.NoError(t, err)
	defer batch.Release()
	require.NoError(t, d.Append(records[0]))
	require.Less(t, d.Bytes(), int64(100))
}

// A column that Arrow's 32 bits can no longer address ends the batch, and is
// no record's fault.
func TestDecoderFull(t *testing.T) {
	d := checkedDecoder(t, parseSchema(t, "struct<s: string, l: list<int64>>"), Options{})
	require.NoError(t, d.Append([]byte(`{"s":"x","l":[1]}`)))
	d.fields[0].offsets[1] = math.MaxInt32 - 3
	err := d.Append([]byte(`{"s":"four"}`))
	var refused *decode.Error
	require.False(t, errors.As(err, &refused))
	require.ErrorIs(t, err, errFull)
	require.Equal(t, 1, d.Len())
	d.fields[0].offsets[1] = 1
	require.NoError(t, d.Append([]byte(`{"s":"four"}`)))
	require.False(t, d.full(d.fields[1], math.MaxInt32, 0))
	require.True(t, d.full(d.fields[1], math.MaxInt32+1, 0))
	d.fatal = nil
}

func TestDecoderEmptyBatch(t *testing.T) {
	d := checkedDecoder(t, oracleSchema(), Options{})
	batch, err := d.Flush()
	require.NoError(t, err)
	defer batch.Release()
	require.Zero(t, batch.NumRows())
	for _, column := range batch.Columns() {
		checkArray(t, column)
	}
}

// A batch keeps its values when the decoder goes on.
func TestDecoderBatchesAreApart(t *testing.T) {
	d := checkedDecoder(t, flatSchema(), Options{})
	var batches []arrow.RecordBatch
	records := flatRecords(300)
	for i := range 3 {
		for _, r := range records[i*100 : i*100+100] {
			require.NoError(t, d.Append(r))
		}
		batch, err := d.Flush()
		require.NoError(t, err)
		batches = append(batches, batch)
	}
	row := 0
	for _, batch := range batches {
		for i := range int(batch.NumRows()) {
			want, err := oracleRow(schemas.Schema{Fields: flatSchema().Fields[:2]}, records[row])
			require.NoError(t, err)
			require.Equal(t, want, rowText(flatSchema().Fields[:2], batch.Columns()[:2], i))
			row++
		}
		batch.Release()
	}
	require.Equal(t, 300, row)
}
