package table

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/iceberg-go"
	"github.com/stretchr/testify/require"

	"lake/schemas"
	"lake/table/parquet"
)

// Files whose statistics have no row in a range are passed over; what is in it comes.
func TestScanWhere(t *testing.T) {
	c, _ := newEvents(t)
	o := takeOver(t, c, "shop.events")
	o.mustCommit(writeEvents(t, o.table, day, 1, 5), writeEvents(t, o.table, day, 10, 20), writeEvents(t, o.table, day, 30))
	number := func(x int64) Limit { return Limit{Set: true, Int: x} }
	limits := func(name string, low, high Limit) Range { return Range{Path: []string{name}, Low: low, High: high} }
	none := Limit{}
	for _, each := range []struct {
		where [][]Range
		want  []int64
	}{
		{[][]Range{{limits("id", number(11), number(12))}}, []int64{10, 20}},
		{[][]Range{{limits("ID", number(20), none)}}, []int64{10, 20, 30}},
		{[][]Range{{limits("id", none, number(4))}}, []int64{1, 5}},
		{[][]Range{{limits("text", Limit{Set: true, Text: []byte("t3")}, none)}}, []int64{1, 5, 30}},
		{[][]Range{{limits("id", none, number(2))}, {limits("id", number(30), none)}}, []int64{1, 5, 30}},
		{[][]Range{{limits("id", number(2), none), limits("id", none, number(1))}}, []int64{1, 5}},
		{[][]Range{{limits("id", number(31), none)}}, nil},
		{[][]Range{{limits("nobody", number(31), none)}}, []int64{1, 5, 10, 20, 30}},
		{[][]Range{{limits("id", number(31), none)}, {limits("nobody", number(31), none)}}, []int64{1, 5, 10, 20, 30}},
	} {
		require.ElementsMatch(t, each.want, ids(t, o.table, ScanOptions{Where: each.where}), "%v", each.where)
	}
}

// TestScanWhereOpensNoMore: a file that has no row that is wanted is not opened.
func TestScanWhereOpensNoMore(t *testing.T) {
	c, _ := newEvents(t)
	o := takeOver(t, c, "shop.events")
	withBounds := func(low, high uint64, f iceberg.DataFile) iceberg.DataFile {
		b, err := iceberg.NewDataFileBuilder(o.table.Spec(), iceberg.EntryContentData, f.FilePath(), f.FileFormat(), f.Partition(), map[int]string{1000: "date"}, nil, f.Count(), f.FileSizeBytes())
		require.NoError(t, err)
		id := o.table.Schema().Fields[0].ID
		b.LowerBoundValues(map[int][]byte{id: binary.LittleEndian.AppendUint64(nil, low)})
		b.UpperBoundValues(map[int][]byte{id: binary.LittleEndian.AppendUint64(nil, high)})
		return b.Build()
	}
	o.mustCommit(withBounds(1, 5, writeEvents(t, o.table, day, 1, 5)), withBounds(10, 20, writeEvents(t, o.table, day, 10, 20)))
	files := filesOf(t, o.table, FileFilter{})
	where := func(low, high int64) ScanOptions {
		return ScanOptions{Where: [][]Range{{{Path: []string{"id"}, Low: Limit{Set: true, Int: low}, High: Limit{Set: true, Int: high}}}}}
	}
	for _, f := range files {
		if slices.Contains(ids(t, o.table, ScanOptions{Files: []File{f}}), 20) {
			require.NoError(t, o.table.FS().Remove(t.Context(), f.DataFile().FilePath()))
		}
	}
	require.Equal(t, []int64{1, 5}, ids(t, o.table, where(0, 9)))
	var last error
	for batch, err := range o.table.Scan(t.Context(), where(0, 10)) {
		if last = err; err == nil {
			batch.Release()
		}
	}
	require.ErrorContains(t, last, "no such file")
}

func TestLimitOf(t *testing.T) {
	of := func(kind schemas.Kind) parquet.Range {
		return parquet.Range{Type: schemas.Type{Kind: kind, Precision: 20, Scale: 2}.Arrow()}
	}
	le := binary.LittleEndian
	float32s := func(x float32) []byte { return le.AppendUint32(nil, math.Float32bits(x)) }
	float64s := func(x float64) []byte { return le.AppendUint64(nil, math.Float64bits(x)) }
	number := func(x int64) Limit { return Limit{Set: true, Int: x} }
	seven := int64(-7)
	for name, each := range map[string]struct {
		kind  schemas.Kind
		bytes []byte
		want  Limit
	}{
		"int":               {schemas.Int32, le.AppendUint32(nil, uint32(seven)), number(-7)},
		"long":              {schemas.Int64, le.AppendUint64(nil, uint64(seven)), number(-7)},
		"int made long":     {schemas.Int64, le.AppendUint32(nil, uint32(seven)), number(-7)},
		"date":              {schemas.Date, le.AppendUint32(nil, 19), number(19)},
		"timestamp":         {schemas.Timestamp, le.AppendUint64(nil, 19), number(19)},
		"days of old":       {schemas.Timestamp, le.AppendUint32(nil, 19), Limit{}},
		"float":             {schemas.Float32, float32s(1.5), Limit{Set: true, Float: 1.5}},
		"float made double": {schemas.Float64, float32s(1.5), Limit{Set: true, Float: 1.5}},
		"double":            {schemas.Float64, float64s(-2.5), Limit{Set: true, Float: -2.5}},
		"NaN":               {schemas.Float64, float64s(math.NaN()), Limit{Float: math.NaN()}},
		"decimal":           {schemas.Decimal, []byte{0x01, 0x00}, Limit{Set: true, Decimal: decimal128.FromI64(256)}},
		"below zero":        {schemas.Decimal, []byte{0xff, 0x7f}, Limit{Set: true, Decimal: decimal128.FromI64(-129)}},
		"too long":          {schemas.Decimal, make([]byte, 17), Limit{}},
		"text":              {schemas.String, []byte("ab"), Limit{Set: true, Text: []byte("ab")}},
		"nothing":           {schemas.String, nil, Limit{}},
		"no number":         {schemas.Int64, nil, Limit{}},
		"another type":      {schemas.UUID, make([]byte, 16), Limit{}},
	} {
		got := limitOf(of(each.kind), each.bytes)
		if math.IsNaN(each.want.Float) {
			require.False(t, got.Set)
			continue
		}
		require.Equal(t, each.want, got, name)
	}
}
