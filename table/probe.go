package table

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// ProbeCatalog tries to write to a catalog's database and rolls it back. It
// tells what it is and what was found; a SQLite database that is not there yet
// is not made. Errors show no password. It ends with ctx.
func ProbeCatalog(ctx context.Context, cfg CatalogConfig) (thing, found string, err error) {
	if cfg.Postgres != "" {
		return probePostgres(ctx, cfg.Postgres)
	}
	if cfg.Hive != "" {
		return probeHive(ctx, cfg)
	}
	file := cfg.SQLite
	if file == "" {
		folder, err := folderOf(cfg.Warehouse)
		if err != nil {
			return "SQLite", "", err
		}
		file = filepath.Join(folder, "catalog.db")
	}
	thing = "SQLite " + file
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return thing, "not there yet: lake ingest makes it", nil
	}
	query := url.Values{"_txlock": {"immediate"}, "_pragma": {"busy_timeout(5000)"}, "mode": {"rw"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: file}).EscapedPath()+"?"+query.Encode())
	if err != nil {
		return thing, "", err
	}
	found, err = probeDatabase(ctx, db, "SELECT count(*) FROM sqlite_master WHERE name = 'iceberg_tables'")
	return thing, found, err
}

func probePostgres(ctx context.Context, text string) (thing, found string, err error) {
	cfg, err := postgresConfig(text)
	if err != nil {
		return "PostgreSQL", "", fmt.Errorf("its URL: %w", err)
	}
	thing = fmt.Sprintf("PostgreSQL %s:%d/%s", cfg.Host, cfg.Port, cfg.Database)
	found, err = probeDatabase(ctx, stdlib.OpenDB(*cfg), "SELECT count(*) FROM pg_class WHERE oid = to_regclass('iceberg_tables')")
	var server *pgconn.PgError
	if errors.As(err, &server) {
		switch server.Code {
		case "28P01", "28000":
			err = fmt.Errorf("%w; hint: the user or the password in catalog.postgres is wrong, or pg_hba.conf does not let it in", err)
		case "3D000":
			err = fmt.Errorf("%w; hint: createdb -h %s -p %d %s", err, cfg.Host, cfg.Port, cfg.Database)
		case "42501":
			err = fmt.Errorf("%w; hint: GRANT USAGE, CREATE ON SCHEMA public TO %q, and SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public", err, cfg.User)
		}
	} else if err != nil && IsUnavailable(err) {
		err = fmt.Errorf("%w; hint: is PostgreSQL up at %s:%d, and does a firewall let this machine through?", err, cfg.Host, cfg.Port)
	}
	return thing, found, err
}

// probeDatabase writes to the catalog's tables, or makes one where they are not
// there, in a transaction that is rolled back, and closes the database.
func probeDatabase(ctx context.Context, db *sql.DB, have string) (found string, err error) {
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return "", err
	}
	defer func() {
		if undo := tx.Rollback(); undo != nil && !errors.Is(undo, sql.ErrTxDone) {
			err = errors.Join(err, undo)
		}
	}()
	var there, tables int
	if err := tx.QueryRowContext(ctx, have).Scan(&there); err != nil {
		return "", err
	}
	if there == 0 {
		_, err := tx.ExecContext(ctx, "CREATE TABLE lake_probe (n INTEGER)")
		return "no tables yet: lake ingest makes them", err
	}
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM iceberg_tables").Scan(&tables); err != nil {
		return "", err
	}
	for _, write := range []string{"UPDATE iceberg_tables SET metadata_location = metadata_location WHERE 1 = 0",
		"INSERT INTO iceberg_tables SELECT * FROM iceberg_tables WHERE 1 = 0"} {
		if _, err := tx.ExecContext(ctx, write); err != nil {
			return "", err
		}
	}
	if tables == 1 {
		return "1 table", nil
	}
	return fmt.Sprintf("%d tables", tables), nil
}

// IsDenied reports whether a catalog's server answered and does not let us do
// what we want: a login, a right or a database's name is to be mended.
func IsDenied(err error) bool {
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return false
	}
	switch server.Code[:min(2, len(server.Code))] {
	case "28", "3D", "42":
		return true
	}
	return false
}
