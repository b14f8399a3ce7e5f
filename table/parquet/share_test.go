package parquet

import (
	"bytes"
	"math"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// TestHelpersChangeNothing writes files with helpers, several at once, and has
// them equal to those that one goroutine writes.
func TestHelpersChangeNothing(t *testing.T) {
	for name, batches := range map[string][]arrow.RecordBatch{
		"flat":   {flat(50_000, 1), flat(20_000, 2), flat(3, 3)},
		"nested": {nested(20_000, 1), nested(5_000, 2)},
	} {
		file := func(f *Format) ([]byte, Metrics, error) {
			var out bytes.Buffer
			w := f.NewWriter(&out)
			for _, b := range batches {
				if err := w.Append(b, nil); err != nil {
					return nil, Metrics{}, err
				}
			}
			shared := false
			for _, l := range w.leaves {
				shared = shared || l.took > 0
			}
			require.Equal(t, f.parallel > 1, shared, name)
			m, err := w.Close()
			return out.Bytes(), m, err
		}
		alone, err := NewFormat(batches[0].Schema(), Options{RowGroupBytes: 1 << 20})
		require.NoError(t, err)
		want, metrics, err := file(alone)
		require.NoError(t, err)
		helped, err := NewFormat(batches[0].Schema(), Options{RowGroupBytes: 1 << 20, Parallel: 4})
		require.NoError(t, err)
		var group errgroup.Group
		for range 3 {
			group.Go(func() error {
				got, m, err := file(helped)
				if err == nil {
					require.True(t, bytes.Equal(want, got), name)
					require.Equal(t, metrics, m, name)
				}
				return err
			})
		}
		require.NoError(t, group.Wait())
		require.Zero(t, helped.busy.Load(), name)
	}
}

// TestHelpersReportErrors has one of many columns fail, whoever encodes it.
func TestHelpersReportErrors(t *testing.T) {
	var fields []arrow.Field
	for _, name := range []string{"a", "b", "c", "d"} {
		fields = append(fields, arrow.Field{Name: name, Type: &arrow.Decimal128Type{Precision: 9, Scale: 0}})
	}
	schema := arrow.NewSchema(fields, nil)
	for bad := range fields {
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		for row := range pageRows {
			for i := range fields {
				x := decimal128.FromI64(int64(row))
				if i == bad && row == 7 {
					x = decimal128.FromI64(math.MaxInt64)
				}
				b.Field(i).(*array.Decimal128Builder).Append(x)
			}
		}
		f, err := NewFormat(schema, Options{Parallel: 3})
		require.NoError(t, err)
		w := f.NewWriter(&bytes.Buffer{})
		err = w.Append(b.NewRecordBatch(), nil)
		require.ErrorContains(t, err, "column "+fields[bad].Name+": ")
		require.Equal(t, err, w.FlushRowGroup())
	}
}
