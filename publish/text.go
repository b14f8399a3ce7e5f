package publish

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lake/schemas"
)

// textBytes are gathered before they are written to the file.
const textBytes = 1 << 20

// textFile gathers lines.
type textFile struct {
	out     io.Writer
	buf     []byte
	written int64
}

func (f *textFile) flush(least int) error {
	if len(f.buf) < least {
		return nil
	}
	n, err := f.out.Write(f.buf)
	f.written += int64(n)
	f.buf = f.buf[:0]
	return err
}

// Size implements rowWriter.
func (f *textFile) Size() int64 { return f.written + int64(len(f.buf)) }

// Close implements rowWriter.
func (f *textFile) Close() error { return f.flush(1) }

// lineWriter writes JSON lines.
type lineWriter struct {
	textFile
	rows *schemas.JSONWriter
}

func newLineWriter(out io.Writer, schema *arrow.Schema, zone *time.Location) (rowWriter, error) {
	rows, err := schemas.NewJSONWriter(schema, zone, nil)
	if err != nil {
		return nil, err
	}
	return &lineWriter{textFile: textFile{out: out}, rows: rows}, nil
}

// Write implements rowWriter.
func (w *lineWriter) Write(batch arrow.RecordBatch) error {
	for row := range int(batch.NumRows()) {
		w.buf = append(w.rows.AppendRow(w.buf, batch, row), '\n')
		if err := w.flush(textBytes); err != nil {
			return err
		}
	}
	return nil
}

// csvWriter writes RFC 4180: lines end with CR LF, fields are quoted where they
// have to be and their bytes are as they are. (encoding/csv turns each LF within
// a field into CR LF.) Null is an empty field, an empty text a quoted one; nested
// values are JSON.
type csvWriter struct {
	textFile
	columns []csvColumn
	cell    []byte
}

// csvColumn writes the values of a column: texts as they are, others as JSON has
// them, without the quotes.
type csvColumn struct {
	schema *arrow.Schema
	json   *schemas.JSONWriter
	prefix int // of a JSON row of this column: {"v":
}

func newCSVWriter(out io.Writer, schema *arrow.Schema, zone *time.Location) (rowWriter, error) {
	w := &csvWriter{textFile: textFile{out: out}}
	for i, f := range schema.Fields() {
		one := arrow.NewSchema([]arrow.Field{f}, nil)
		c := csvColumn{schema: one, prefix: len(`{"v":`)}
		if f.Type.ID() != arrow.STRING {
			var err error
			if c.json, err = schemas.NewJSONWriter(one, zone, map[string]string{f.Name: "v"}); err != nil {
				return nil, fmt.Errorf("write CSV: %w", err)
			}
		}
		w.columns = append(w.columns, c)
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		w.buf = appendField(w.buf, []byte(f.Name))
	}
	w.buf = append(w.buf, '\r', '\n')
	return w, nil
}

// Write implements rowWriter.
func (w *csvWriter) Write(batch arrow.RecordBatch) error {
	singles := make([]arrow.RecordBatch, len(w.columns))
	for i, c := range w.columns {
		singles[i] = array.NewRecordBatch(c.schema, batch.Columns()[i:i+1], batch.NumRows())
	}
	defer func() {
		for _, s := range singles {
			s.Release()
		}
	}()
	for row := range int(batch.NumRows()) {
		for i, c := range w.columns {
			if i > 0 {
				w.buf = append(w.buf, ',')
			}
			column := batch.Column(i)
			if column.IsNull(row) {
				if len(w.columns) == 1 { // an empty line would be skipped by readers
					w.buf = appendField(w.buf, nil)
				}
				continue
			}
			if c.json == nil {
				w.buf = appendField(w.buf, []byte(column.(*array.String).Value(row)))
				continue
			}
			w.cell = c.json.AppendRow(w.cell[:0], singles[i], row)
			value := w.cell[c.prefix : len(w.cell)-1]
			if value[0] == '"' { // a date, a decimal, bytes …: nothing in it is escaped
				value = value[1 : len(value)-1]
			}
			w.buf = appendField(w.buf, value)
		}
		w.buf = append(w.buf, '\r', '\n')
		if err := w.flush(textBytes); err != nil {
			return err
		}
	}
	return nil
}

// appendField appends a field, quoted where a comma, a quote, a line's end or
// nothing is in it, or where readers would strip a blank.
func appendField(dst, value []byte) []byte {
	plain := len(value) > 0 && !bytes.ContainsAny(value, ",\"\r\n") && value[0] != ' ' && value[0] != '\t' &&
		value[len(value)-1] != ' ' && value[len(value)-1] != '\t'
	if plain {
		return append(dst, value...)
	}
	dst = append(dst, '"')
	for {
		quote := bytes.IndexByte(value, '"')
		if quote < 0 {
			break
		}
		dst = append(append(dst, value[:quote+1]...), '"')
		value = value[quote+1:]
	}
	return append(append(dst, value...), '"')
}
