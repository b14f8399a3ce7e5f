package table

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/iceberg-go"

	"lake/table/parquet"
)

// read sends a file's batches until its end, an error, or the context's end.
// What the reader of ours leaves to others is read as iceberg-go does: files of
// which rows were deleted, or that lack what Iceberg has a default for, files
// without field ids, and old forms.
func (p *projection) read(ctx context.Context, f File, out chan<- scanned) {
	send := func(r scanned) bool {
		select {
		case out <- r:
			return true
		case <-ctx.Done():
			if r.batch != nil {
				r.batch.Release()
			}
			return false
		}
	}
	batches := func(batch arrow.RecordBatch) bool { return send(scanned{batch: batch}) }
	err := parquet.ErrForm
	if f.Deletes == 0 && !p.defaults && f.DataFile().FileFormat() == iceberg.ParquetFile {
		err = p.readFile(ctx, f, batches)
	}
	if errors.Is(err, parquet.ErrForm) {
		err = p.readIceberg(ctx, f, batches)
	}
	if err != nil {
		send(scanned{err: fmt.Errorf("read %s: %w", f.Path, err)})
	}
}

// readFile reads a file by the reader of ours. It sends nothing before it fails
// with ErrForm.
func (p *projection) readFile(ctx context.Context, f File, send func(arrow.RecordBatch) bool) (err error) {
	in, err := p.fs.Open(ctx, f.DataFile().FilePath())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	file, err := parquet.Open(in, in.Size(), p.unpack)
	if err != nil {
		return err
	}
	if !file.HasIDs() {
		return fmt.Errorf("%w: it has no field ids", parquet.ErrForm)
	}
	rows, err := file.Rows(p.schema, parquet.RowsOptions{Mem: compute.GetAllocator(ctx), Batch: p.batchRows, Where: p.where})
	if err != nil {
		return err
	}
	for batch, err := range rows.All() {
		if err != nil || !send(batch) {
			return err
		}
	}
	return nil
}

// hasDefaults tells whether a field, or one within it, has a value for files
// that lack it.
func hasDefaults(fields []iceberg.NestedField) bool {
	for _, f := range fields {
		if f.InitialDefault != nil {
			return true
		}
		if nested, ok := f.Type.(iceberg.NestedType); ok && hasDefaults(nested.Fields()) {
			return true
		}
	}
	return false
}
