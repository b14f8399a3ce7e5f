//go:build cgo

package duckdb

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"lake/load"
	"lake/load/warehousetest"
)

func open(t *testing.T, path, table string) *Warehouse {
	w, err := Open(t.Context(), Config{Path: path, Table: table}, Options{MemoryBytes: 256 << 20, Threads: 1, TempDir: t.TempDir()})
	require.NoError(t, err)
	return w
}

func TestSuite(t *testing.T) {
	warehousetest.Run(t, func(t *testing.T) warehousetest.Harness {
		dir := t.TempDir()
		path := filepath.Join(dir, "w.duckdb")
		past := func(t *testing.T, statement string) {
			w := open(t, path, "x")
			require.NoError(t, w.connect())
			_, err := w.db.ExecContext(t.Context(), statement)
			require.NoError(t, err)
			require.NoError(t, w.Close())
		}
		return warehousetest.Harness{
			Open: func(t *testing.T) load.Warehouse { return open(t, path, "lake.events") },
			Put: func(t *testing.T, name string, data []byte) string {
				file := filepath.Join(dir, name)
				require.NoError(t, os.WriteFile(file, data, 0o644))
				return file
			},
			Drop: func(t *testing.T) { past(t, "DROP TABLE lake.events") },
			Remove: func(t *testing.T, partition string, n int64) {
				past(t, fmt.Sprintf("DELETE FROM lake.events WHERE dt = DATE '%s' AND n = %d", partition, n))
			},
		}
	})
}
