package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"lake/schemas"
	"lake/storage"
)

const (
	jsonBatch  = 8 << 10 // rows of a file that are in memory as Arrow
	jsonBuffer = 1 << 20 // bytes of lines before they are written
)

// ParquetRows is a file's number of rows by its footer.
func ParquetRows(ctx context.Context, files storage.FS, uri string) (rows int64, err error) {
	in, err := files.Open(ctx, uri)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	r, err := file.NewParquetReader(in)
	if err != nil {
		return 0, fmt.Errorf("%w: read the footer of %s: %w", ErrRejected, uri, err)
	}
	return r.NumRows(), nil
}

// writeLines writes a Parquet file's rows as lines of JSON. The columns are the
// file's: what is newer than it is left out, and so NULL.
func writeLines(ctx context.Context, w io.Writer, from storage.File, schema schemas.Schema, want int64) (err error) {
	// The caller closes the file.
	r, err := file.NewParquetReader(from, file.WithReadProps(parquet.NewReaderProperties(memory.DefaultAllocator)))
	if err != nil {
		return fmt.Errorf("read its Parquet: %w", err)
	}
	reader, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{BatchSize: jsonBatch}, memory.DefaultAllocator)
	if err != nil {
		return fmt.Errorf("read its Parquet: %w", err)
	}
	batches, err := reader.GetRecordReader(ctx, nil, nil)
	if err != nil {
		return fmt.Errorf("read its Parquet: %w", err)
	}
	defer batches.Release()
	var lines *schemas.JSONWriter
	var text []byte
	var rows int64
	for batches.Next() {
		batch := asLake(batches.RecordBatch(), schema)
		if lines == nil {
			if lines, err = schemas.NewJSONWriter(batch.Schema(), time.UTC, nil); err != nil {
				return err
			}
		}
		for row := range int(batch.NumRows()) {
			text = append(lines.AppendRow(text, batch, row), '\n')
			if len(text) >= jsonBuffer {
				if _, err := w.Write(text); err != nil {
					return err
				}
				text = text[:0]
			}
		}
		rows += batch.NumRows()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if err := batches.Err(); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read its Parquet: %w", err)
	}
	if rows != want {
		return fmt.Errorf("%w: it has %d rows and the table says %d", ErrRejected, rows, want)
	}
	_, err = w.Write(text)
	return err
}

// asLake gives the columns the fields that the schema has for them, which tell json
// from text; one whose type was narrower once keeps its own. It borrows the batch.
func asLake(batch arrow.RecordBatch, schema schemas.Schema) arrow.RecordBatch {
	fields := make([]arrow.Field, batch.NumCols())
	columns := make([]arrow.Array, batch.NumCols())
	for i, f := range batch.Schema().Fields() {
		column := batch.Column(i)
		if e, ok := column.(array.ExtensionArray); ok { // uuid
			column = e.Storage()
		}
		fields[i], columns[i] = arrow.Field{Name: f.Name, Type: column.DataType(), Nullable: f.Nullable}, column
		if at := schema.Index(f.Name); at >= 0 {
			if lake := schema.Fields[at].Arrow(); arrow.TypeEqual(lake.Type, column.DataType()) {
				fields[i] = lake
			}
		}
	}
	return array.NewRecordBatch(arrow.NewSchema(fields, nil), columns, batch.NumRows())
}
