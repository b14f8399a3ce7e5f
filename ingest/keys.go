package ingest

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/go-json-experiment/json/jsontext"

	"lake/rules/tally"
)

// Keys is what lets several processes share a source: a record's key is the text
// of columns, so that all rows of a group lie in one source partition. No
// columns: no rule groups, and nothing has to hold.
type Keys struct {
	Columns   []int // places in the decoder's schema
	Names     []string
	Unchecked bool // take the promise as given

	partitions *atomic.Int32 // of the source, as the session's last takeover counted them
}

// KeyText says whether a column of this type may decide a source partition.
func KeyText(t arrow.DataType) bool {
	switch t.ID() {
	case arrow.INT64, arrow.INT32, arrow.STRING, arrow.BINARY, arrow.BOOL:
		return true
	default:
		return false
	}
}

// append adds the key that a row's record should have: the text of one column,
// a JSON array of several, as the answers' own keys. false: a column is NULL.
func (k *Keys) append(dst []byte, rows arrow.RecordBatch, row int) ([]byte, bool) {
	if len(k.Columns) == 1 {
		return appendKey(dst, rows.Column(k.Columns[0]), row, false)
	}
	dst = append(dst, '[')
	for i, c := range k.Columns {
		if i > 0 {
			dst = append(dst, ',')
		}
		var ok bool
		if dst, ok = appendKey(dst, rows.Column(c), row, true); !ok {
			return dst, false
		}
	}
	return append(dst, ']'), true
}

func appendKey(dst []byte, column arrow.Array, row int, quoted bool) ([]byte, bool) {
	if column.IsNull(row) {
		return dst, false
	}
	switch c := column.(type) {
	case *array.Int64:
		return strconv.AppendInt(dst, c.Value(row), 10), true
	case *array.Int32:
		return strconv.AppendInt(dst, int64(c.Value(row)), 10), true
	case *array.Boolean:
		return strconv.AppendBool(dst, c.Value(row)), true
	case *array.String:
		if quoted {
			text, err := jsontext.AppendQuote(dst, c.Value(row))
			return text, err == nil
		}
		return append(dst, c.Value(row)...), true
	case *array.Binary:
		return append(dst, c.Value(row)...), true
	default:
		return dst, false
	}
}

// check compares the rows with their records' keys: bad rows, ascending, and why;
// null is true for the rows whose key has a NULL, nil where there is none.
func (k *Keys) check(d *decoded, keys [][]byte, records []int32) (bad []int, reasons []string, null []bool) {
	if len(k.Columns) == 0 {
		return nil, nil, nil
	}
	var want []byte
	partitions, number := int(k.partitions.Load()), partitionNumber(d.source.Partition)
	for row := range int(d.rows.NumRows()) {
		text, whole := k.append(want[:0], d.rows, row)
		want = text
		if !whole {
			if null == nil {
				null = make([]bool, d.rows.NumRows())
			}
			null[row] = true
			continue
		}
		if !k.Unchecked {
			if has := keys[records[row]]; !bytes.Equal(has, want) {
				bad = append(bad, row)
				reasons = append(reasons, fmt.Sprintf("the record's key is %q, and partitioned_by %s says %q", clip(has), strings.Join(k.Names, ", "), clip(want)))
				continue
			}
		}
		d.astray = d.astray || place(want, partitions) != number
	}
	return bad, reasons, null
}

func clip(b []byte) []byte { return b[:min(len(b), 100)] }

// keyedRows are the rows whose key has no NULL, and where they were.
type keyedRows struct {
	rows tally.Rows // the caller releases the batch
	at   []int
}

func (d *decoded) keyed(marks []int64, mem memory.Allocator) (keyedRows, error) {
	keep := make([]bool, len(d.null))
	var out keyedRows
	for row, null := range d.null {
		keep[row] = !null
		if null {
			continue
		}
		out.at = append(out.at, row)
		if d.dates != nil {
			out.rows.Date = append(out.rows.Date, d.dates[row])
		}
		if marks != nil {
			out.rows.Watermark = append(out.rows.Watermark, marks[row])
		}
	}
	var err error
	out.rows.Batch, err = pick(d.rows, keep, mem)
	return out, err
}

// pick makes a batch of the rows that keep says. The caller releases it.
func pick(rows arrow.RecordBatch, keep []bool, mem memory.Allocator) (arrow.RecordBatch, error) {
	b := array.NewBooleanBuilder(mem)
	defer b.Release()
	b.AppendValues(keep, nil)
	mask := b.NewArray()
	defer mask.Release()
	return compute.FilterRecordBatch(compute.WithAllocator(context.Background(), mem), rows, mask, compute.DefaultFilterOptions())
}
