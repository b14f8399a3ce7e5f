package publish

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"lake/storage"
	"lake/table"
	"lake/table/parquet"
)

// rowWriter writes the rows of one file.
type rowWriter interface {
	// Write takes the rows of a batch, which stays the caller's.
	Write(batch arrow.RecordBatch) error
	// Size is about how many bytes the file has got.
	Size() int64
	// Close writes the rest; the file below stays the caller's.
	Close() error
}

// writer writes the data files of one date, one after the other. Reading runs
// ahead of it: the scan decodes the next batches meanwhile.
type writer struct {
	ctx     context.Context // of the run
	options Options
	table   *table.Table
	plan    Plan
	id      string

	files   []File
	uris    []string // of all that were begun
	copied  int
	deletes bool // rows of the table's files are deleted: counts differ
	open    *output
}

// output is a file that is being written.
type output struct {
	name  string
	file  storage.Writer
	sum   hash.Hash
	bytes int64
	rows  int64
	to    rowWriter
}

func (f *output) Write(p []byte) (int, error) {
	n, err := f.file.Write(p)
	f.sum.Write(p[:n])
	f.bytes += int64(n)
	return n, err
}

// write writes all rows of the date: files that are as they should be byte for
// byte, the rest anew. A date without rows gets one file without rows, so that
// who reads it finds the columns.
func (w *writer) write() error {
	columns := w.options.Layout.columns(w.table.Schema())
	var rest []table.File
	for _, f := range w.plan.files {
		w.deletes = w.deletes || f.Deletes > 0
		same, err := w.verbatim(f)
		if err != nil {
			return err
		}
		if !same {
			rest = append(rest, f)
			continue
		}
		if err := w.copy(f); err != nil {
			return err
		}
	}
	if len(rest) == 0 {
		if len(w.files) > 0 {
			return nil
		}
		if err := w.begin(columns); err != nil {
			return err
		}
		return w.end()
	}
	for batch, err := range w.table.Scan(w.ctx, table.ScanOptions{Snapshot: w.plan.snapshot, Columns: columns, Files: rest}) {
		if err != nil {
			return err
		}
		err = w.add(batch, columns)
		batch.Release()
		if err != nil {
			return err
		}
	}
	if w.open == nil { // all rows are deleted
		if err := w.begin(columns); err != nil {
			return err
		}
	}
	return w.end()
}

func (w *writer) add(batch arrow.RecordBatch, columns []string) error {
	if w.open != nil && w.open.to.Size() >= w.options.TargetBytes {
		if err := w.end(); err != nil {
			return err
		}
	}
	if w.open == nil {
		if err := w.begin(columns); err != nil {
			return err
		}
	}
	w.open.rows += batch.NumRows()
	return w.open.to.Write(batch)
}

// next begins a file without a form.
func (w *writer) next() error {
	name := fmt.Sprintf("part-%05d-%s.%s", len(w.files), w.id, w.options.Format)
	uri := w.plan.Folder + "/" + name
	file, err := w.options.Data.Create(w.ctx, uri)
	if err != nil {
		return err
	}
	w.uris = append(w.uris, uri)
	w.open = &output{name: name, file: file, sum: sha256.New()}
	return nil
}

// begin begins a file of rows.
func (w *writer) begin(columns []string) error {
	if err := w.next(); err != nil {
		return err
	}
	schema := w.table.Schema()
	all := schema.Arrow()
	fields := make([]arrow.Field, len(columns))
	for i, name := range columns {
		fields[i] = all.Field(schema.Index(name))
	}
	chosen := arrow.NewSchema(fields, nil)
	var err error
	switch w.options.Format {
	case Parquet:
		w.open.to, err = newParquetWriter(w.open, chosen, w.options.MemoryBytes)
	case CSV:
		w.open.to, err = newCSVWriter(w.open, chosen, w.options.Zone)
	case JSONL:
		w.open.to, err = newLineWriter(w.open, chosen, w.options.Zone)
	default:
		err = fmt.Errorf("there is no format %q", w.options.Format)
	}
	return err
}

// end completes the open file: it is there and durable.
func (w *writer) end() error {
	f := w.open
	if f.to != nil {
		if err := f.to.Close(); err != nil {
			return err
		}
	}
	if err := f.file.Close(); err != nil {
		return err
	}
	w.open = nil
	w.files = append(w.files, File{Name: f.name, Rows: f.rows, Bytes: f.bytes, SHA256: hex.EncodeToString(f.sum.Sum(nil))})
	return nil
}

// abortTime bounds the removal of what a failed run wrote.
const abortTime = 30 * time.Second

// abort removes what was written: nobody was told of it.
func (w *writer) abort() error {
	var errs []error
	if w.open != nil {
		errs = append(errs, w.open.file.Abort())
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), abortTime)
	defer cancel()
	return errors.Join(append(errs, w.options.Data.Remove(ctx, w.uris...))...)
}

// smallPart of the target is what a file of the table needs to be copied.
const smallPart = 0.75

// verbatim tells whether a file of the table can be copied byte for byte: it is
// large enough, nobody deleted rows in it, and it has just the columns that the
// table has now.
func (w *writer) verbatim(f table.File) (bool, error) {
	if w.options.Format != Parquet || w.options.Layout.omits || f.Deletes > 0 || float64(f.Bytes) < smallPart*float64(w.options.TargetBytes) {
		return false, nil
	}
	return w.table.HasColumnsOf(w.ctx, f)
}

// copy copies a file of the table.
func (w *writer) copy(f table.File) (err error) {
	in, err := w.table.FS().Open(w.ctx, f.DataFile().FilePath())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	if err := w.next(); err != nil {
		return err
	}
	w.open.rows = f.Rows
	if _, err := io.CopyBuffer(struct{ io.Writer }{w.open}, struct{ io.Reader }{in}, make([]byte, 1<<20)); err != nil {
		return fmt.Errorf("copy %s: %w", f.Path, err)
	}
	if w.open.bytes != f.Bytes {
		return fmt.Errorf("copy %s: it has %d bytes and the table says %d", f.Path, w.open.bytes, f.Bytes)
	}
	w.copied++
	return w.end()
}

// parquetWriter writes Parquet as the table's own files are written.
type parquetWriter struct{ file *parquet.Writer }

func newParquetWriter(out io.Writer, schema *arrow.Schema, memory int64) (rowWriter, error) {
	w, err := parquet.NewWriter(out, schema, parquet.Options{RowGroupBytes: min(max(memory, 1<<20), 128<<20)})
	if err != nil {
		return nil, err
	}
	return parquetWriter{w}, nil
}

func (p parquetWriter) Write(batch arrow.RecordBatch) error { return p.file.Append(batch, nil) }
func (p parquetWriter) Size() int64                         { return p.file.Written() + p.file.Pending() }
func (p parquetWriter) Close() error                        { _, err := p.file.Close(); return err }
