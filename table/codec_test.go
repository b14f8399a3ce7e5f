package table

import (
	"testing"

	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/iceberg-go"
	icebergtable "github.com/apache/iceberg-go/table"
	"github.com/stretchr/testify/require"

	"lake/storage"
)

// TestCodecOfTheTable has files compressed as the table's property says, which
// another engine may have changed.
func TestCodecOfTheTable(t *testing.T) {
	c := openTest(t, t.TempDir())
	for i, said := range []string{"", "snappy", "ZSTD", "uncompressed", "gzip"} {
		def := Definition{Schema: eventSchema, PartitionBy: []Partition{{Source: "dt", Transform: "identity", Name: "dt"}}}
		want := compress.Codecs.Zstd
		switch said {
		case "":
		case "snappy":
			want = compress.Codecs.Snappy
		case "uncompressed":
			want = compress.Codecs.Uncompressed
		}
		if said != "" {
			def.Properties = iceberg.Properties{icebergtable.ParquetCompressionKey: said}
		}
		tbl, err := c.Create(t.Context(), "shop.t"+string(rune('0'+i)), def)
		require.NoError(t, err)
		w := newWriter(t, tbl, WriterOptions{})
		require.NoError(t, w.Write(t.Context(), eventRows(t, 0, 5000, func(int) int32 { return 1 })))
		files, err := w.Flush(t.Context())
		require.NoError(t, err)
		require.Len(t, files, 1)
		path, err := storage.Path(tbl.catalog.fs, files[0].FilePath())
		require.NoError(t, err)
		r, err := file.OpenParquetFile(path, false)
		require.NoError(t, err)
		for column := range r.MetaData().RowGroup(0).NumColumns() {
			chunk, err := r.MetaData().RowGroup(0).ColumnChunk(column)
			require.NoError(t, err)
			require.Equal(t, want, chunk.Compression(), said)
		}
		require.NoError(t, r.Close())
	}
}
