//go:build cgo

package bigquery

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"lake/load"
	"lake/load/bigquery/bqtest"
	"lake/load/warehousetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a server with a dataset shop and a bucket files.
type fixture struct {
	*bqtest.Server
	buckets string
}

func newFixture(t *testing.T, o bqtest.Options) *fixture {
	f := &fixture{buckets: t.TempDir()}
	o.Buckets = f.buckets
	require.NoError(t, os.Mkdir(filepath.Join(f.buckets, "files"), 0o755))
	var err error
	f.Server, err = bqtest.New(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

func (f *fixture) config() Config {
	return Config{Table: f.Project() + ".shop.events", Location: "EU", Endpoint: f.Endpoint()}
}

// options are quick ones.
func (f *fixture) options() Options {
	return Options{Patience: 2 * time.Second, Pause: time.Millisecond, Rows: f.rows}
}

func (f *fixture) rows(_ context.Context, uri string) (int64, error) {
	in, err := os.Open(filepath.Join(f.buckets, strings.TrimPrefix(uri, "gs://")))
	if err != nil {
		return 0, err
	}
	r, err := file.NewParquetReader(in)
	if err != nil {
		return 0, err
	}
	return r.NumRows(), r.Close()
}

func (f *fixture) open(t *testing.T, cfg Config, o Options) *Warehouse {
	w, err := Open(t.Context(), cfg, o)
	require.NoError(t, err)
	return w
}

func (f *fixture) put(t *testing.T, name string, data []byte) string {
	path := filepath.Join(f.buckets, "files", name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, data, 0o644))
	return "gs://files/" + name
}

func (f *fixture) harness(t *testing.T) warehousetest.Harness {
	return warehousetest.Harness{
		Open: func(t *testing.T) load.Warehouse { return f.open(t, f.config(), f.options()) },
		Put:  f.put,
		Drop: func(t *testing.T) { require.NoError(t, f.DropTable("shop", "events")) },
		Remove: func(t *testing.T, partition string, n int64) {
			require.NoError(t, f.Write("shop", "events", partition, fmt.Sprintf(`DELETE FROM shop.events WHERE dt = DATE '%s' AND n = %d`, partition, n)))
		},
	}
}

func TestSuite(t *testing.T) {
	warehousetest.Run(t, func(t *testing.T) warehousetest.Harness {
		return newFixture(t, bqtest.Options{Polls: 2}).harness(t)
	})
}
