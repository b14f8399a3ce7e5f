package tally

import (
	"context"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// outbox collects answers until they are taken.
type outbox struct {
	mem      memory.Allocator
	schema   *arrow.Schema
	batches  []arrow.RecordBatch
	keys     *array.StringBuilder
	deleted  []bool // as long as there are rows
	buried   bool   // one of them is true
	failures []GroupFailure
	bytes    int64
	bare     bool // of answers that have neither keys nor tombstones
}

func newOutbox(t *Tally) *outbox {
	return &outbox{mem: t.opts.Mem, schema: t.output, keys: array.NewStringBuilder(t.opts.Mem)}
}

// keysAt are the keys of some rows of a group batch.
type keysAt struct {
	keys *keyText
	rows []int32
}

func (k *keyText) at(rows []int32) *keysAt { return &keysAt{keys: k, rows: rows} }

// add takes answers, which stay the caller's too; nil keys: they have none; nil
// deleted: none is a tombstone.
func (o *outbox) add(answers arrow.RecordBatch, keys *keysAt, deleted []bool) error {
	n := int(answers.NumRows())
	if n == 0 {
		return nil
	}
	answers.Retain()
	o.batches = append(o.batches, answers)
	for _, c := range answers.Columns() {
		o.bytes += sizeOf(c.Data())
	}
	if o.bare {
		return nil
	}
	if keys == nil {
		o.keys.AppendNulls(n)
		o.bytes += int64(n) * 4
	} else {
		var scratch []byte
		for _, row := range keys.rows {
			text, ok := keys.keys.append(scratch[:0], row)
			if scratch = text; ok {
				o.keys.BinaryBuilder.Append(text)
			} else {
				o.keys.AppendNull()
			}
			o.bytes += int64(len(text)) + 4
		}
	}
	if deleted == nil {
		deleted = make([]bool, n)
	}
	o.deleted = append(o.deleted, deleted...)
	o.buried = o.buried || slices.Contains(deleted, true)
	if o.keys.DataLen() > maxKeyText {
		return errTextTooLong
	}
	return nil
}

// sizeOf is the length of an array's buffers.
func sizeOf(data arrow.ArrayData) int64 {
	size := int64(0)
	for _, b := range data.Buffers() {
		if b != nil {
			size += int64(b.Len())
		}
	}
	for _, child := range data.Children() {
		size += sizeOf(child)
	}
	return size
}

// maxKeyText is what the offsets of one string array reach, less one batch.
const maxKeyText = 1 << 30

func (o *outbox) fail(key, reason string) {
	o.failures = append(o.failures, GroupFailure{Key: key, Reason: reason})
	o.bytes += int64(len(key) + len(reason) + 32)
}

// take hands out what was collected and empties the box.
func (o *outbox) take() (Answers, error) {
	rows, err := o.concatenated()
	if err != nil {
		return Answers{}, err
	}
	a := Answers{Rows: rows, Keys: o.keys.NewStringArray(), Failures: o.failures}
	if o.buried {
		a.Deleted = o.deleted
	}
	o.clear()
	return a, nil
}

func (o *outbox) clear() {
	for _, b := range o.batches {
		b.Release()
	}
	o.batches, o.deleted, o.failures, o.buried, o.bytes = nil, nil, nil, false, 0
}

func (o *outbox) release() {
	o.clear()
	o.keys.Release()
}

func (o *outbox) concatenated() (arrow.RecordBatch, error) {
	switch len(o.batches) {
	case 0:
		builder := array.NewRecordBuilder(o.mem, o.schema)
		defer builder.Release()
		return builder.NewRecordBatch(), nil
	case 1:
		o.batches[0].Retain()
		return o.batches[0], nil
	}
	columns := make([]arrow.Array, 0, o.schema.NumFields())
	defer func() {
		for _, c := range columns {
			c.Release()
		}
	}()
	n := 0
	for _, b := range o.batches {
		n += int(b.NumRows())
	}
	for i := range o.schema.NumFields() {
		parts := make([]arrow.Array, len(o.batches))
		for j, b := range o.batches {
			parts[j] = b.Column(i)
		}
		c, err := array.Concatenate(parts, o.mem)
		if err != nil {
			return nil, fmt.Errorf("join answers of column %s: %w", o.schema.Field(i).Name, err)
		}
		columns = append(columns, c)
	}
	return newBatch(o.schema, columns, n)
}

// newBatch is array.NewRecordBatch with an error where the columns do not fit.
func newBatch(schema *arrow.Schema, columns []arrow.Array, n int) (arrow.RecordBatch, error) {
	if len(columns) != schema.NumFields() {
		return nil, fmt.Errorf("%d columns for %d fields", len(columns), schema.NumFields())
	}
	for i, c := range columns {
		if f := schema.Field(i); c.Len() != n || !arrow.TypeEqual(c.DataType(), f.Type) {
			return nil, fmt.Errorf("column %s is %d of %s and not %d of %s", f.Name, c.Len(), c.DataType(), n, f.Type)
		}
	}
	return array.NewRecordBatch(schema, columns, int64(n)), nil
}

// pick is the rows of a batch at the given places. The caller releases it.
func (t *Tally) pick(batch arrow.RecordBatch, at []int32) (arrow.RecordBatch, error) {
	if len(at) == int(batch.NumRows()) && slices.IsSorted(at) {
		batch.Retain()
		return batch, nil
	}
	builder := array.NewInt32Builder(t.opts.Mem)
	defer builder.Release()
	builder.AppendValues(at, nil)
	places := builder.NewInt32Array()
	defer places.Release()
	columns := make([]arrow.Array, 0, batch.NumCols())
	defer func() {
		for _, c := range columns {
			c.Release()
		}
	}()
	ctx := compute.WithAllocator(context.Background(), t.opts.Mem)
	for i, c := range batch.Columns() {
		taken, err := compute.TakeArrayOpts(ctx, c, places, compute.TakeOptions{BoundsCheck: false})
		if err != nil {
			return nil, fmt.Errorf("take rows of column %s: %w", batch.ColumnName(i), err)
		}
		columns = append(columns, taken)
	}
	return newBatch(batch.Schema(), columns, len(at))
}
