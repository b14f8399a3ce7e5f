package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"lake/schemas"
	"lake/table"
)

// TestScanReadsWhatItNeeds: the columns that are printed and those of the condition.
func TestScanReadsWhatItNeeds(t *testing.T) {
	var schema schemas.Schema
	for _, name := range []string{"id", "name", "price", "event"} {
		kind := schemas.String
		if name == "id" {
			kind = schemas.Int64
		}
		schema.Fields = append(schema.Fields, schemas.Field{Name: name, Type: schemas.Type{Kind: kind}})
	}
	for _, c := range []struct {
		columns, where string
		read, shown    []string
		ranges         [][]table.Range
	}{
		{"", "", nil, schema.Names(), nil},
		{"price,id", "", []string{"price", "id"}, []string{"price", "id"}, nil},
		{"", "id > 5", nil, schema.Names(), [][]table.Range{{{Path: []string{"id"}, Low: table.Limit{Set: true, Int: 5, Text: []byte{}}, High: table.Limit{Text: []byte{}}}}}},
		{"PRICE", "LOWER(event) = 'x' OR id IS NULL", []string{"id", "price", "event"}, []string{"PRICE"}, nil},
		{"event", "event = 'x'", []string{"event"}, []string{"event"},
			[][]table.Range{{{Path: []string{"event"}, Low: table.Limit{Set: true, Text: []byte("x")}, High: table.Limit{Set: true, Text: []byte("x")}}}}},
	} {
		o := scanOptions{where: c.where}
		if c.columns != "" {
			o.columns = strings.Split(c.columns, ",")
		}
		scan, filter, shown, err := o.plan(schema, time.UTC)
		require.NoError(t, err)
		require.Equal(t, c.where == "", filter == nil, c.where)
		require.Equal(t, c.read, scan.Columns, c.where)
		require.Equal(t, c.shown, shown)
		require.Equal(t, c.ranges, scan.Where, c.where)
	}
}

// TestTablesArePrintedAsTheyCome: a table of many rows is not held to its end, and
// is aligned as far as it is known how wide it gets.
func TestTablesArePrintedAsTheyCome(t *testing.T) {
	var out bytes.Buffer
	schema := arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}, {Name: "text", Type: arrow.BinaryTypes.String}}, nil)
	p, err := newRowPrinter(&out, "table", schema, time.UTC)
	require.NoError(t, err)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for n := range int64(gridRows + 3) {
		b.Field(0).(*array.Int64Builder).Append(n * n)
		b.Field(1).(*array.StringBuilder).Append(strings.Repeat("x", int(n)%7))
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	require.NoError(t, p.write(batch))
	require.Equal(t, gridRows+1, strings.Count(out.String(), "\n"), "lines before the end is known")
	require.NoError(t, p.close())
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	require.Len(t, lines, gridRows+4)
	require.Equal(t, "     n  text", lines[0])
	require.Equal(t, "     4  xx", lines[3])
	require.Equal(t, "998001  xxxxx", lines[gridRows])
	require.Equal(t, "1000000  xxxxxx", lines[gridRows+1], "wider than what was printed")
	require.Equal(t, "1004004  x", lines[gridRows+3])
}

// TestNoColours: what is written to no terminal has no escape in it, with NO_COLOR and without.
func TestNoColours(t *testing.T) {
	dir := t.TempDir()
	for _, plain := range []bool{true, false} {
		t.Setenv("NO_COLOR", "")
		if !plain {
			require.NoError(t, os.Unsetenv("NO_COLOR"))
		}
		require.NotContains(t, lakeOutput(t, dir, "demo", "--rows", "1000"), "\x1b")
	}
}
