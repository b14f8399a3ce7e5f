package table

import (
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/iceberg-go"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// BenchmarkScan reads four files of 250,000 flat rows.
func BenchmarkScan(b *testing.B) {
	c, err := OpenCatalog(b.Context(), CatalogConfig{Warehouse: b.TempDir()})
	require.NoError(b, err)
	defer c.Close()
	tbl, err := c.Create(b.Context(), "t", Definition{Schema: withFields(column("user_id", "int64", true), column("property_id", "int64", false), column("date", "timestamp", true), column("event", "string", false))})
	require.NoError(b, err)
	const files, rows = 4, 250_000
	for i := range files {
		rb := newRows(tbl)
		for r := range rows {
			appendID(rb, int64(r*7919%100_000))
			rb.Field(1).(*array.Int64Builder).Append(int64(r * 31 % 50_000))
			rb.Field(2).(*array.TimestampBuilder).Append(arrow.Timestamp(int64(r) * 1_000_003))
			rb.Field(3).(*array.StringBuilder).Append([]string{"Interaction", "View", "Search"}[r%3])
		}
		batch := rb.NewRecordBatch()
		rb.Release()
		uri := tbl.Location() + "/data/" + uuid.NewString() + ".parquet"
		w, err := tbl.FS().Create(b.Context(), uri)
		require.NoError(b, err)
		require.NoError(b, byLake(w, batch))
		require.NoError(b, w.Close())
		batch.Release()
		info, err := tbl.FS().Stat(b.Context(), uri)
		require.NoError(b, err)
		d, err := iceberg.NewDataFileBuilder(tbl.Spec(), iceberg.EntryContentData, uri, iceberg.ParquetFile, nil, nil, nil, rows, info.Bytes)
		require.NoError(b, err)
		require.NoError(b, tbl.Append(b.Context(), "k", int64(i), []iceberg.DataFile{d.Build()}))
	}
	for _, columns := range [][]string{nil, {"user_id", "event"}} {
		b.Run(fmt.Sprint(len(columns)), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				n := int64(0)
				for batch, err := range tbl.Scan(b.Context(), ScanOptions{Columns: columns}) {
					require.NoError(b, err)
					n += batch.NumRows()
					batch.Release()
				}
				require.Equal(b, int64(files*rows), n)
			}
			b.ReportMetric(float64(files*rows*b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkCommit is an empty batch's commit: metadata, manifests, catalog, all synced.
func BenchmarkCommit(b *testing.B) {
	c, err := OpenCatalog(b.Context(), CatalogConfig{Warehouse: b.TempDir()})
	require.NoError(b, err)
	defer c.Close()
	tbl, err := c.Create(b.Context(), "t", Definition{Schema: eventSchema})
	require.NoError(b, err)
	base := Record{}
	for b.Loop() {
		next := base
		next.Pipeline, next.Shard, next.Epoch, next.Seq, next.CommitID = "p", "all", 1, base.Seq+1, uuid.NewString()
		records, err := tbl.Commit(b.Context(), oneStep(next, base))
		require.NoError(b, err)
		base = records[0]
	}
}
