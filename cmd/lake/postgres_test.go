package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"lake/services"
	"lake/services/servicetest"
	"lake/table"
)

// The portal's job with its catalog in PostgreSQL: the answers are the same, the
// warehouse has no database of its own, and a server that is away is worth a retry.
func TestPostgresCatalog(t *testing.T) {
	server := servicetest.Postgres(t, services.Options{})
	url, err := pgx.ParseConfig(server.URL())
	require.NoError(t, err)
	dir := t.TempDir()
	job, err := os.ReadFile("../../jobs/nobroker.yaml")
	require.NoError(t, err)
	path := filepath.Join(dir, "job.yaml")
	require.NoError(t, os.CopyFS(dir, os.DirFS("../../jobs")))
	require.NoError(t, os.WriteFile(path, append(job, "\ncatalog: {postgres: \"${LAKE_CATALOG}\"}\n"...), 0o644))
	lake := func(args ...string) (string, int) {
		var out bytes.Buffer
		code := run(t.Context(), args, strings.NewReader(""), &out, &out)
		require.NotContains(t, out.String(), url.Password)
		return out.String(), code
	}

	t.Setenv("LAKE_CATALOG", server.URL())
	said, code := lake("ingest", path)
	require.Equal(t, exitDone, code, said)
	require.Contains(t, said, "24 records in = 24 rows landed")
	require.NoFileExists(t, filepath.Join(dir, "warehouse", "catalog.db"))
	conn, err := pgx.Connect(t.Context(), server.URL())
	require.NoError(t, err)
	var tables int
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM iceberg_tables WHERE table_name = 'events'").Scan(&tables))
	require.NoError(t, conn.Close(t.Context()))
	require.Equal(t, 1, tables)
	said, code = lake("ingest", path)
	require.Equal(t, exitDone, code, said)
	require.Contains(t, said, "0 records in", "nothing is read twice")

	// Commands that are given no job find the table by LAKE_CATALOG, or --catalog.
	t.Chdir(t.TempDir())
	for _, args := range [][]string{{"tables", "list"}, {"tables", "show", "nobroker.events"}, {"tables", "history", "nobroker.events"},
		{"tables", "files", "nobroker.events"}, {"status"}} {
		said, code = lake(args...)
		require.Equal(t, exitDone, code, said)
		require.NotEmpty(t, said)
		require.NoDirExists(t, "warehouse")
	}
	said, code = lake("tables", "list")
	require.Contains(t, said, "nobroker.events ", code)
	require.Contains(t, said, " 24 ", code)
	said, code = lake("tables", "scan", "nobroker.event")
	require.Equal(t, exitPerson, code, said)
	require.Contains(t, said, `there is no table nobroker.event in the catalog of --catalog; hint: did you mean "nobroker.events"?`)
	for _, flag := range []string{server.URL(), filepath.Join(dir, "nowhere.db"), strings.Replace(server.URL(), "postgres", "mysql", 1)} {
		said, code = lake("tables", "scan", "nobroker.events", "--columns", "user_id", "--format", "jsonl", "--catalog", flag)
		switch {
		case flag == server.URL():
			require.Equal(t, exitDone, code, said)
			require.Equal(t, 24, strings.Count(said, "\n"))
		case strings.HasPrefix(flag, "mysql"):
			require.Equal(t, exitUsage, code, said)
			require.Contains(t, said, "--catalog (LAKE_CATALOG): the URL: it does not begin with postgres://")
		default:
			require.Equal(t, exitPerson, code, said)
			require.Contains(t, said, "there is no catalog "+flag)
		}
	}
	said, code = lake("status", path, "--catalog", server.URL())
	require.Equal(t, exitUsage, code, said)
	require.Contains(t, said, "--catalog is for commands without a job file")
	said, code = lake("tables", "--help")
	require.Equal(t, exitDone, code)
	require.Contains(t, said, "--catalog string")

	elsewhere, err := table.TryLock(t.Context(), server.URL(), "nobroker.lock", false)
	require.NoError(t, err)
	_, err = table.TryLock(t.Context(), server.URL(), "nobroker.lock", true)
	require.ErrorIs(t, err, table.ErrLocked)
	said, code = lake("ingest", path)
	require.Equal(t, exitHeld, code, said)
	require.Contains(t, said, "another run holds the job, on another host")
	require.NoError(t, elsewhere.Close())
	one, err := table.TryLock(t.Context(), server.URL(), "nobroker.lock", true)
	require.NoError(t, err)
	other, err := table.TryLock(t.Context(), server.URL(), "nobroker.lock", true)
	require.NoError(t, err)
	require.NoError(t, errors.Join(one.Close(), other.Close()))
	said, code = lake("ingest", path)
	require.Equal(t, exitDone, code, said)

	require.NoError(t, server.Kill())
	said, code = lake("ingest", path)
	require.Equal(t, exitRetry, code, said)
	require.Contains(t, said, "PostgreSQL, 127.0.0.1:")

	t.Setenv("LAKE_CATALOG", strings.Replace(server.URL(), "postgres://", "postgress://", 1))
	said, code = lake("lint", path)
	require.Equal(t, exitConfig, code, said)
	require.Contains(t, said, `catalog.postgres: the URL: it does not begin with postgres://; hint: write {postgres: "${LAKE_CATALOG}"}`)
}

// A run that follows outlives a catalog that goes away and comes back: it begins
// anew from the table, and each record lands once.
func TestCatalogComesBack(t *testing.T) {
	server := servicetest.Postgres(t, services.Options{})
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	r := newSharedRig(t, cluster.ListenAddrs(), "catalog")
	t.Setenv("LAKE_CATALOG", server.URL())
	require.NoError(t, os.WriteFile(filepath.Join(r.dir, "job.yaml"), []byte(sharedJob+"catalog: {postgres: \"${LAKE_CATALOG}\"}\n"), 0o644))
	f := follow(t, r.dir)
	r.send(300)
	r.landed()
	require.NoError(t, server.Kill())
	r.send(300)
	require.Eventually(t, func() bool { return strings.Contains(f.said(), "beginning anew from the table") }, time.Minute, 10*time.Millisecond)
	require.NoError(t, server.Restart(t.Context()))
	r.landed()
	r.send(300)
	r.landed()
	f.end(t, syscall.SIGTERM)
	r.check()
}
