//go:build cgo

package bigquery

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"lake/load"
	"lake/load/warehousetest"
	"lake/schemas"
	"lake/services"
	"lake/services/servicetest"
	"lake/storage"
	"lake/storage/gs"
)

// withoutDecorator is why the emulator cannot pass a case that loads a date.
const withoutDecorator = "it knows no table$YYYYMMDD (HTTP 400)"

// TestEmulator runs the suite on bqemulator: requests and rows reach a server that
// others wrote. What that cannot do is named, case by case.
func TestEmulator(t *testing.T) {
	server := servicetest.BigQuery(t, services.Options{})
	cannot := map[string]string{
		"replaces one date":                      withoutDecorator,
		"a load is done once":                    withoutDecorator,
		"a wrong number of rows changes nothing": withoutDecorator,
		"a missing file changes nothing":         withoutDecorator,
		"a partition without rows":               withoutDecorator,
		"a column is added":                      withoutDecorator,
		"a column of another type":               withoutDecorator,
		"dropped and made anew":                  withoutDecorator,
		"changed past lake":                      withoutDecorator,
		"a call that is over":                    withoutDecorator,
		"many dates":                             withoutDecorator,
	}
	targets := 0
	warehousetest.Run(t, func(t *testing.T) warehousetest.Harness {
		targets++
		cfg := Config{Table: fmt.Sprintf("%s.shop%d.events", server.Project(), targets), Location: "US", Endpoint: server.Endpoint()}
		folder := fmt.Sprintf("files%d", targets)
		require.NoError(t, os.MkdirAll(filepath.Join(server.Buckets(), folder), 0o755))
		return warehousetest.Harness{
			Open: func(t *testing.T) load.Warehouse {
				w, err := Open(t.Context(), cfg, Options{Patience: 5 * time.Second, Pause: 10 * time.Millisecond})
				require.NoError(t, err)
				return w
			},
			Put: func(t *testing.T, name string, data []byte) string {
				require.NoError(t, os.WriteFile(filepath.Join(server.Buckets(), folder, name), data, 0o644))
				return "gs://" + folder + "/" + name
			},
			Cannot: cannot,
			Types: map[schemas.Kind]string{
				schemas.Decimal: "it makes a BIGNUMERIC a DECIMAL of more than 38 digits",
				schemas.Map:     "it knows no mapTargetType",
			},
			Patience: 2 * time.Minute,
		}
	})
}

// TestReal runs the suite on BigQuery itself, where LAKE_TEST_BIGQUERY says
// project.dataset. LAKE_TEST_BIGQUERY_BUCKET is a bucket in the dataset's location.
func TestReal(t *testing.T) {
	at, bucket := os.Getenv("LAKE_TEST_BIGQUERY"), os.Getenv("LAKE_TEST_BIGQUERY_BUCKET")
	if at == "" {
		t.Log("BigQuery itself is tested where LAKE_TEST_BIGQUERY=project.dataset and LAKE_TEST_BIGQUERY_BUCKET are set")
		return
	}
	require.NotEmpty(t, bucket, "LAKE_TEST_BIGQUERY_BUCKET is the bucket that its loads read")
	files, err := gs.Open(t.Context(), gs.Config{}, gs.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, files.Close()) }()
	warehousetest.Run(t, func(t *testing.T) warehousetest.Harness {
		name := "lake_test_" + uuid.NewString()[:8]
		cfg := Config{Table: at + "." + name}
		past := func(t *testing.T, do func(ctx context.Context, w *Warehouse) error) {
			w, err := Open(t.Context(), cfg, Options{})
			require.NoError(t, err)
			_, err = w.Inspect(t.Context()) // learns the location
			require.NoError(t, err)
			require.NoError(t, do(t.Context(), w))
			require.NoError(t, w.Close())
		}
		folder := "gs://" + bucket + "/" + name
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			w, err := Open(ctx, cfg, Options{})
			require.NoError(t, err)
			_ = w.target().Delete(ctx) // it may not be there
			require.NoError(t, w.Close())
			var left []string
			require.NoError(t, files.List(ctx, folder, func(f storage.Info) error {
				left = append(left, f.URI)
				return nil
			}))
			require.NoError(t, files.Remove(ctx, left...))
		})
		return warehousetest.Harness{
			Open: func(t *testing.T) load.Warehouse {
				w, err := Open(t.Context(), cfg, Options{Rows: func(ctx context.Context, uri string) (int64, error) { return load.ParquetRows(ctx, files, uri) }})
				require.NoError(t, err)
				return w
			},
			Put: func(t *testing.T, name string, data []byte) string {
				uri := folder + "/" + name
				require.NoError(t, storage.WriteFile(t.Context(), files, uri, data))
				return uri
			},
			Drop: func(t *testing.T) {
				past(t, func(ctx context.Context, w *Warehouse) error { return w.target().Delete(ctx) })
			},
			Remove: func(t *testing.T, partition string, n int64) {
				past(t, func(ctx context.Context, w *Warehouse) error {
					return w.query(ctx, fmt.Sprintf("DELETE FROM `%s` WHERE dt = DATE '%s' AND n = %d", w.name(), partition, n), nil)
				})
			},
			Patience: 10 * time.Minute,
		}
	})
}
