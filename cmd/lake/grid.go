package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lake/schemas"
)

// grid is a table for people: aligned columns under a heading.
type grid struct {
	heads  []string // nil: they are printed
	right  []bool   // numbers
	rows   [][]string
	widths []int // of what is printed
}

func newGrid(heads ...string) *grid {
	return &grid{heads: heads, right: make([]bool, len(heads)), widths: make([]int, len(heads))}
}

// numbers aligns columns to the right.
func (g *grid) numbers(columns ...int) *grid {
	for _, c := range columns {
		g.right[c] = true
	}
	return g
}

func (g *grid) add(cells ...string) { g.rows = append(g.rows, cells) }

// cellWidth bounds a cell on a terminal.
const cellWidth = 60

// print writes what was added since the last print, which later rows are aligned
// with as far as they fit; on a terminal long cells are cut.
func (g *grid) print(w io.Writer) {
	most := 1 << 20
	if terminal(w) {
		most = cellWidth
	}
	rows := g.rows
	if g.heads != nil {
		rows = append([][]string{g.heads}, rows...)
	}
	g.heads, g.rows = nil, nil
	for _, row := range rows {
		for i := range row {
			row[i] = cut(visible(row[i]), most)
			g.widths[i] = max(g.widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		b.Reset()
		for i, cell := range row {
			if i > 0 {
				b.WriteString("  ")
			}
			pad := strings.Repeat(" ", g.widths[i]-utf8.RuneCountInString(cell))
			if g.right[i] {
				b.WriteString(pad + cell)
			} else {
				b.WriteString(cell + pad)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// visible replaces what would move a terminal's cursor.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '·'
		}
		return r
	}, text)
}

func cut(text string, most int) string {
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	runes := []rune(text)
	return string(runes[:most-1]) + "…"
}

// rowFormat is how rows of a batch are written: table, jsonl or csv.
type rowFormat string

// Set implements pflag.Value.
func (f *rowFormat) Set(text string) error {
	switch text {
	case "table", "jsonl", "csv":
		*f = rowFormat(text)
		return nil
	}
	return fmt.Errorf("%q is not a format; write table, jsonl or csv", text)
}

// String implements pflag.Value.
func (f *rowFormat) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *rowFormat) Type() string { return "format" }

// gridRows are printed as one table, of which the widest cells are known.
const gridRows = 1000

// rowPrinter writes batches of one schema as they come; of a table, gridRows at a time.
type rowPrinter struct {
	w      io.Writer
	format rowFormat
	lines  *schemas.JSONWriter
	cells  []*schemas.JSONWriter // a column each
	grid   *grid
	csv    *csv.Writer
	buf    []byte
}

// newRowPrinter writes rows of schema, timestamps in zone.
func newRowPrinter(w io.Writer, format rowFormat, schema *arrow.Schema, zone *time.Location) (*rowPrinter, error) {
	p := &rowPrinter{w: w, format: format}
	if format == "" && !terminal(w) {
		p.format = "jsonl"
	}
	if p.format == "jsonl" {
		lines, err := schemas.NewJSONWriter(schema, zone, nil)
		p.lines = lines
		return p, err
	}
	heads := make([]string, schema.NumFields())
	for i, f := range schema.Fields() {
		heads[i] = f.Name
		one, err := schemas.NewJSONWriter(arrow.NewSchema([]arrow.Field{f}, nil), zone, map[string]string{f.Name: "v"})
		if err != nil {
			return nil, err
		}
		p.cells = append(p.cells, one)
	}
	if p.format == "csv" {
		p.csv = csv.NewWriter(w)
		return p, p.csv.Write(heads)
	}
	p.grid = newGrid(heads...)
	for i, f := range schema.Fields() {
		switch f.Type.ID() {
		case arrow.INT32, arrow.INT64, arrow.FLOAT32, arrow.FLOAT64, arrow.DECIMAL128:
			p.grid.numbers(i)
		}
	}
	return p, nil
}

// write prints rows of a batch, which stays the caller's.
func (p *rowPrinter) write(batch arrow.RecordBatch) error {
	if p.lines != nil {
		p.buf = p.buf[:0]
		for row := range int(batch.NumRows()) {
			p.buf = append(p.lines.AppendRow(p.buf, batch, row), '\n')
		}
		_, err := p.w.Write(p.buf)
		return err
	}
	columns := make([]arrow.RecordBatch, batch.NumCols())
	for i := range columns {
		columns[i] = array.NewRecordBatch(arrow.NewSchema(batch.Schema().Fields()[i:i+1], nil), batch.Columns()[i:i+1], batch.NumRows())
		defer columns[i].Release()
	}
	for row := range int(batch.NumRows()) {
		cells := make([]string, len(columns))
		for i, c := range columns {
			p.buf = p.cells[i].AppendRow(p.buf[:0], c, row)
			cells[i] = p.text(p.buf[len(`{"v":`) : len(p.buf)-1])
		}
		if p.csv != nil {
			if err := p.csv.Write(cells); err != nil {
				return err
			}
			continue
		}
		if p.grid.add(cells...); len(p.grid.rows) == gridRows {
			p.grid.print(p.w)
		}
	}
	return nil
}

// text is a JSON value as a cell: a string without its quotes, null as nothing
// in CSV and as NULL for people.
func (p *rowPrinter) text(value []byte) string {
	switch {
	case string(value) == "null" && p.csv != nil:
		return ""
	case string(value) == "null":
		return "NULL"
	case value[0] == '"':
		var text string
		if err := json.Unmarshal(value, &text); err == nil {
			return text
		}
	}
	return string(value)
}

// close writes what is left.
func (p *rowPrinter) close() error {
	switch {
	case p.csv != nil:
		p.csv.Flush()
		return p.csv.Error()
	case p.grid != nil:
		p.grid.print(p.w)
	}
	return nil
}
