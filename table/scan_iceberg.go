package table

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	icebergtable "github.com/apache/iceberg-go/table"
)

// readIceberg reads a file by iceberg-go and pqarrow.
func (p *projection) readIceberg(ctx context.Context, f File, send func(arrow.RecordBatch) bool) error {
	scan := p.ice.Scan(icebergtable.WithSelectedFields(p.names...), icebergtable.WithMaxConcurrency(1), icebergtable.WithArrowBatchSize(p.batchRows))
	defer func() { _ = scan.Close() }() // it holds resources of remote plans only
	_, batches, err := scan.ReadTasks(ctx, []icebergtable.FileScanTask{f.scanTask()})
	if err != nil {
		return err
	}
	for batch, err := range batches {
		if err != nil {
			if batch != nil {
				batch.Release()
			}
			return err
		}
		mine, err := p.convert(batch)
		batch.Release()
		if err != nil {
			return err
		}
		if !send(mine) {
			return nil
		}
	}
	return nil
}

// convert gives a batch lake's types and order, without copying.
func (p *projection) convert(batch arrow.RecordBatch) (arrow.RecordBatch, error) {
	p.once.Do(func() {
		for _, name := range p.names {
			at := batch.Schema().FieldIndices(name)
			if len(at) != 1 {
				p.err = fmt.Errorf("column %q is there %d times", name, len(at))
				return
			}
			p.columns = append(p.columns, at[0])
		}
	})
	if p.err != nil {
		return nil, p.err
	}
	arrays := make([]arrow.Array, len(p.columns))
	defer func() {
		for _, a := range arrays {
			if a != nil {
				a.Release()
			}
		}
	}()
	for i, at := range p.columns {
		data, err := retype(batch.Column(at).Data(), p.schema.Field(i).Type)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", p.names[i], err)
		}
		arrays[i] = array.MakeFromData(data)
		data.Release()
	}
	return array.NewRecordBatch(p.schema, arrays, batch.NumRows()), nil
}

// retype is data under another type of the same layout: the names and ids of
// nested fields, or a uuid without its extension. The caller releases it.
func retype(data arrow.ArrayData, want arrow.DataType) (arrow.ArrayData, error) {
	is := data.DataType()
	if ext, ok := is.(arrow.ExtensionType); ok {
		is = ext.StorageType()
	}
	a, b := children(is), children(want)
	if is.ID() != want.ID() || len(a) != len(b) || len(a) == 0 && !arrow.TypeEqual(is, want) {
		return nil, fmt.Errorf("the file gives %s and the table's schema says %s", data.DataType(), want)
	}
	kids := make([]arrow.ArrayData, len(b))
	defer func() {
		for _, k := range kids {
			if k != nil {
				k.Release()
			}
		}
	}()
	if len(data.Children()) != len(b) {
		return nil, errors.New("a nested column lacks its children")
	}
	for i := range b {
		var err error
		if kids[i], err = retype(data.Children()[i], b[i]); err != nil {
			return nil, err
		}
	}
	return array.NewData(want, data.Len(), data.Buffers(), kids, data.NullN(), data.Offset()), nil
}

// children are the types of an array's child data.
func children(t arrow.DataType) []arrow.DataType {
	switch t := t.(type) {
	case *arrow.MapType:
		return []arrow.DataType{t.Elem()}
	case arrow.ListLikeType:
		return []arrow.DataType{t.Elem()}
	case *arrow.StructType:
		out := make([]arrow.DataType, t.NumFields())
		for i, f := range t.Fields() {
			out[i] = f.Type
		}
		return out
	default:
		return nil
	}
}
