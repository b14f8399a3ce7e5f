package table

import (
	"fmt"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/stretchr/testify/require"
)

// BenchmarkDates writes 2 million flat rows over so many dates, none of them in order, in batches as
// the decoder makes them.
func BenchmarkDates(b *testing.B) {
	c, err := OpenCatalog(b.Context(), CatalogConfig{Warehouse: b.TempDir()})
	require.NoError(b, err)
	defer c.Close()
	tbl, err := c.Create(b.Context(), "t", Definition{PartitionBy: []Partition{{Source: "dt", Transform: "identity", Name: "dt"}}, Schema: withFields(column("user_id", "int64", true),
		column("property_id", "int64", false), column("date", "timestamp", true), column("event", "string", false), column("dt", "date", true))})
	require.NoError(b, err)
	const rows, size = 2_000_000, 12_500
	for _, dates := range []int{1, 100, 500, 2000} {
		b.Run(fmt.Sprint(dates), func(b *testing.B) {
			var batches []arrow.RecordBatch
			for first := 0; first < rows; first += size {
				rb := newRows(tbl)
				for r := first; r < first+size; r++ {
					rb.Field(0).(*array.Int64Builder).Append(int64(r * 7919 % 20_000))
					rb.Field(1).(*array.Int64Builder).Append(int64(r % 5000))
					rb.Field(2).(*array.TimestampBuilder).Append(arrow.Timestamp(int64(r%dates)*86_400_000_000 + int64(r*31%86_400)*1_000_000))
					rb.Field(3).(*array.StringBuilder).Append([]string{"Interaction", "View", "Search"}[r%3])
					rb.Field(4).(*array.Date32Builder).Append(arrow.Date32(18_000 + r%dates))
				}
				batches = append(batches, rb.NewRecordBatch())
				rb.Release()
			}
			var writing, flushing time.Duration
			i := 0
			for b.Loop() {
				w, err := tbl.NewWriter(WriterOptions{Name: fmt.Sprintf("%d-%d", dates, i)})
				require.NoError(b, err)
				i++
				started := time.Now()
				for _, batch := range batches {
					require.NoError(b, w.Write(b.Context(), batch))
				}
				writing += time.Since(started)
				started = time.Now()
				files, err := w.Flush(b.Context())
				require.NoError(b, err)
				require.Len(b, files, dates)
				flushing += time.Since(started)
			}
			b.ReportMetric(float64(writing.Milliseconds())/float64(b.N), "writing-ms")
			b.ReportMetric(float64(flushing.Milliseconds())/float64(b.N), "flushing-ms")
		})
	}
}
