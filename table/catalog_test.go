package table

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"lake/services"
	"lake/services/servicetest"
)

func TestCatalogs(t *testing.T) {
	onEachCatalog(t, map[string]func(*testing.T, warehouse){
		"made by many at once": testCatalogMadeByManyAtOnce,
		"names":                testCatalogNames,
	})
}

func TestCatalog(t *testing.T) {
	root := t.TempDir()
	c := openTest(t, root)
	names, err := c.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, names)
	_, err = c.Load(t.Context(), "no.such")
	require.ErrorIs(t, err, ErrNoTable)
	for _, name := range []string{"b.t", "a.t", "plain", "a.deep.t"} {
		tbl, err := c.Create(t.Context(), name, Definition{Schema: eventSchema, Properties: map[string]string{"x": name}})
		require.NoError(t, err)
		require.Equal(t, name, tbl.Name())
		_, err = c.Create(t.Context(), name, Definition{Schema: eventSchema})
		require.Error(t, err)
	}
	names, err = c.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"a.deep.t", "a.t", "b.t", "plain"}, names)
	tbl := load(t, openTest(t, "file://"+root), "a.t") // another process
	require.Equal(t, "file://"+root+"/a/t", tbl.Location())
	props := tbl.Properties()
	require.Equal(t, "0", props["commit.retry.num-retries"])
	require.Equal(t, "zstd", props["write.parquet.compression-codec"])
	require.Equal(t, "a.t", props["x"])
	require.Contains(t, props["schema.name-mapping.default"], `"text"`)
	require.Equal(t, 2, tbl.now.Load().ice.Metadata().Version())
	_, ok := tbl.Current()
	require.False(t, ok)
	require.Empty(t, filesOf(t, tbl, FileFilter{}))
	require.Empty(t, ids(t, tbl, ScanOptions{}))
	_, err = OpenCatalog(t.Context(), CatalogConfig{Warehouse: "gs://bucket"})
	require.ErrorContains(t, err, "scheme")
	other := filepath.Join(t.TempDir(), "sub", "c.db")
	d, err := OpenCatalog(t.Context(), CatalogConfig{Warehouse: root, SQLite: other})
	require.NoError(t, err)
	require.NoError(t, d.Close())
	require.FileExists(t, other)
}

// Processes that find no warehouse make it together; one makes the table.
func testCatalogMadeByManyAtOnce(t *testing.T, w warehouse) {
	for range 5 {
		cfg := w.another(t).config
		cfg.Warehouse = filepath.Join(cfg.Warehouse, "new", "warehouse")
		const processes = 8
		var wg sync.WaitGroup
		var opened, created [processes]error
		begin := make(chan struct{})
		for i := range processes {
			wg.Go(func() {
				<-begin
				c, err := OpenCatalog(t.Context(), cfg)
				if opened[i] = err; err != nil {
					return
				}
				_, created[i] = c.Create(t.Context(), "a.t", Definition{Schema: eventSchema})
				opened[i] = c.Close()
			})
		}
		close(begin)
		wg.Wait()
		require.NoError(t, errors.Join(opened[:]...))
		made := 0
		for _, err := range created {
			if err == nil {
				made++
			}
		}
		require.Equal(t, 1, made, "%v", created)
		load(t, warehouse{config: cfg}.open(t), "a.t")
	}
}

func testCatalogNames(t *testing.T, w warehouse) {
	c := w.open(t)
	_, err := c.Load(t.Context(), "no.such")
	require.ErrorIs(t, err, ErrNoTable)
	made := []string{"a.deep.t", "a.t", "b.t", "plain"}
	if w.config.Hive != "" {
		made = made[1:]
		for _, name := range []string{"a.deep.t", "a.Upper", "a.dash-ed"} {
			_, err := c.Create(t.Context(), name, Definition{Schema: eventSchema})
			require.ErrorContains(t, err, "the Hive Metastore takes")
		}
	}
	for _, name := range made {
		_, err := c.Create(t.Context(), name, Definition{Schema: eventSchema})
		require.NoError(t, err)
		_, err = c.Create(t.Context(), name, Definition{Schema: eventSchema})
		require.Error(t, err)
	}
	names, err := w.open(t).List(t.Context()) // another process
	require.NoError(t, err)
	require.Equal(t, made, names)
}

// The password is in no error, wherever the URL fails.
func TestPostgresURLIsASecret(t *testing.T) {
	const secret = "canary%41word"
	for name, text := range map[string]string{
		"scheme":        "mysql://lake:" + secret + "@localhost/db",
		"port":          "postgres://lake:" + secret + "@localhost:x/db",
		"escape":        "postgres://lake:" + secret + "%zz@localhost/db",
		"key":           "postgres://lake:" + secret + "@localhost/db?sslmode=" + secret,
		"words":         "host=localhost password=" + secret,
		"nobody there":  "postgres://lake:" + secret + "@127.0.0.1:1/db",
		"slash in it":   "postgres://lake:" + secret + "/x@localhost/db",
		"no TLS there":  "postgres://lake:" + secret + "@127.0.0.1:1/db?sslmode=verify-full",
		"unknown param": "postgres://lake:" + secret + "@127.0.0.1:1/db?passwort=" + secret,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := OpenCatalog(t.Context(), CatalogConfig{Warehouse: t.TempDir(), Postgres: text})
			require.ErrorContains(t, err, "open the catalog in PostgreSQL")
			require.NotContains(t, err.Error(), "canary")
			require.NotContains(t, fmt.Sprintf("%+v %#v", err, errors.Unwrap(err)), "canary")
		})
	}
	server := servers.Postgres(t)
	wrong, err := pgx.ParseConfig(server.URL())
	require.NoError(t, err)
	_, err = OpenCatalog(t.Context(), CatalogConfig{Warehouse: t.TempDir(), Postgres: strings.Replace(server.URL(), wrong.Password, secret, 1)})
	require.ErrorContains(t, err, "password authentication failed")
	require.ErrorContains(t, err, fmt.Sprintf("127.0.0.1:%d/postgres", wrong.Port))
	require.NotContains(t, err.Error(), "canary")
	require.False(t, IsUnavailable(err), "a wrong password is not mended by waiting")
}

func TestPostgresLimits(t *testing.T) {
	cfg, err := postgresConfig("postgres://lake@db/events?statement_timeout=5000&connect_timeout=3")
	require.NoError(t, err)
	require.Equal(t, "5000", cfg.RuntimeParams["statement_timeout"], "the URL's own")
	require.Equal(t, 3*time.Second, cfg.ConnectTimeout)
	cfg, err = postgresConfig("postgres://lake@db")
	require.NoError(t, err)
	require.Equal(t, 10*time.Second, cfg.ConnectTimeout)
	require.Equal(t, "lake", cfg.Database)

	c := warehouse{config: CatalogConfig{Warehouse: t.TempDir(), Postgres: newDatabase(t)}}.open(t)
	for setting, want := range map[string]string{"statement_timeout": "30s", "idle_in_transaction_session_timeout": "15s", "application_name": "lake"} {
		var got string
		require.NoError(t, c.db.QueryRowContext(t.Context(), "SHOW "+setting).Scan(&got))
		require.Equal(t, want, got, setting)
	}
	require.Equal(t, 4, c.db.Stats().MaxOpenConnections)
}

// A process that was suspended within its commit holds the table's row. Its
// transaction is ended, and the others commit.
func TestPostgresSuspendedWriter(t *testing.T) {
	w := warehouse{config: CatalogConfig{Warehouse: t.TempDir(), Postgres: newDatabase(t)}}
	c, _ := w.events(t)
	o := takeOver(t, c, "shop.events")
	suspended, err := pgx.Connect(t.Context(), w.config.Postgres)
	require.NoError(t, err)
	defer suspended.Close(context.Background())
	_, err = suspended.Exec(t.Context(), "SET idle_in_transaction_session_timeout = '300ms'") // 15 s in earnest
	require.NoError(t, err)
	_, err = suspended.Exec(t.Context(), "BEGIN; UPDATE iceberg_tables SET table_name = table_name")
	require.NoError(t, err)
	o.mustCommit(writeEvents(t, o.table, day, 1))
	require.Error(t, suspended.Ping(t.Context()))
	require.Equal(t, []int64{1}, ids(t, load(t, c, "shop.events"), ScanOptions{}))
}

// The server is killed and comes back: a commit that fails in between leaves
// the table as it was, and the next one goes through.
func TestPostgresKilled(t *testing.T) {
	server := servicetest.Postgres(t, services.Options{})
	w := warehouse{config: CatalogConfig{Warehouse: t.TempDir(), Postgres: server.URL()}}
	c, _ := w.events(t)
	o := takeOver(t, c, "shop.events")
	o.mustCommit(writeEvents(t, o.table, day, 1))
	require.NoError(t, server.Kill())
	err := o.commit(t.Context(), writeEvents(t, o.table, day, 2))
	require.Error(t, err)
	require.True(t, IsUnavailable(err), "%v", err)
	require.NotErrorIs(t, err, ErrFenced)
	_, err = OpenCatalog(t.Context(), w.config)
	require.True(t, IsUnavailable(err), "%v", err)

	require.NoError(t, server.Restart(t.Context()))
	o.mustCommit(writeEvents(t, o.table, day, 3))
	require.Equal(t, []int64{1, 3}, sorted(ids(t, load(t, w.open(t), "shop.events"), ScanOptions{})))
}

// A server that is there and silent does not hold a caller without a time limit.
func TestSilentServer(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	h := &heard{Conn: here, limit: 50 * time.Millisecond}
	defer h.Close()
	_, err := h.Read(make([]byte, 1))
	var silent net.Error
	require.ErrorAs(t, err, &silent)
	require.True(t, silent.Timeout())
	require.True(t, IsUnavailable(err))

	// The driver's own end, which a context gave, comes first and stays.
	require.NoError(t, h.SetDeadline(time.Now().Add(-time.Second)))
	h.limit = time.Hour
	_, err = h.Read(make([]byte, 1))
	require.ErrorAs(t, err, &silent)
	require.NoError(t, h.SetDeadline(time.Time{}))
	go func() { _, _ = there.Write([]byte("x")) }()
	n, err := io.ReadFull(h, make([]byte, 1))
	require.NoError(t, err)
	require.Equal(t, 1, n)
}
