package table

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// Small files of a store are read many at a time, large ones and local ones few.
func TestReadNow(t *testing.T) {
	few := min(runtime.GOMAXPROCS(0), scanReaders)
	bound := int64(0)
	most := func(path string, bytes int64) (open int) {
		for readNow(File{Path: path, Bytes: bytes}, open, int64(open)*bytes, bound) {
			open++
		}
		return open
	}
	require.Equal(t, few, most("/w/a.parquet", 100))
	for _, scheme := range []string{"gs", "s3", "hdfs"} {
		require.Equal(t, 8, most(scheme+"://b/a.parquet", 100<<10))
		require.Equal(t, max(few, 4), most(scheme+"://b/a.parquet", 1<<20))
		require.Equal(t, few, most(scheme+"://b/a.parquet", 1<<30))
	}

	bound = 500 << 10 // of all that are read
	require.Equal(t, few, most("/w/a.parquet", 100<<10))
	require.Equal(t, 1, most("/w/a.parquet", 300<<10))
	require.Equal(t, 1, most("/w/a.parquet", 1<<30), "a file is read, however large")
	require.Equal(t, 5, most("gs://b/a.parquet", 100<<10))
}
