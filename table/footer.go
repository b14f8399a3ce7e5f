package table

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// HasColumnsOf tells whether a data file, as it lies there, has the columns that
// the table has now: the same names and types in the same order. An older file
// may lack some; which ones only its footer says, which is read.
func (t *Table) HasColumnsOf(ctx context.Context, f File) (same bool, err error) {
	in, err := t.catalog.fs.Open(ctx, f.DataFile().FilePath())
	if err != nil {
		return false, fmt.Errorf("read the columns of %s: %w", f.Path, err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	r, err := file.NewParquetReader(in)
	if err != nil {
		return false, fmt.Errorf("read the columns of %s: %w", f.Path, err)
	}
	is, err := pqarrow.FromParquet(r.MetaData().Schema, nil, nil)
	if err != nil {
		return false, nil // a type that Arrow has not, and lake neither
	}
	want := t.Schema().Arrow()
	if is.NumFields() != want.NumFields() {
		return false, nil
	}
	for i, f := range want.Fields() {
		if other := is.Field(i); other.Name != f.Name || other.Nullable != f.Nullable || !arrow.TypeEqual(other.Type, f.Type) {
			return false, nil
		}
	}
	return true, nil
}
