//go:build cgo

package duckdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"lake/load"
	"lake/schemas"
)

// ledger is the table that says what is loaded; it lies beside the target.
const ledger = "lake_loads"

// Available says whether this binary has DuckDB.
const Available = true

// ErrLocked says that another process has the database open.
var ErrLocked = errors.New("another process has the database open")

// Warehouse is one target table of a DuckDB database.
type Warehouse struct {
	db      *sql.DB
	path    string
	target  string // as the job file has it
	columns []string
	date    string // the column that partitions it; "": none
}

// Open opens, or makes, the database for one target table. The caller closes it.
func Open(ctx context.Context, cfg Config, o Options) (*Warehouse, error) {
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", cfg.Path, err)
	}
	connector, err := duckdb.NewConnector(path, func(conn driver.ExecerContext) error {
		for _, setting := range []string{
			fmt.Sprintf("SET memory_limit = '%dMiB'", max(o.MemoryBytes>>20, 64)),
			fmt.Sprintf("SET threads = %d", max(o.Threads, 1)),
			"SET temp_directory = " + schemas.DuckDB.Literal(o.TempDir),
			"SET preserve_insertion_order = false",
			"SET TimeZone = 'UTC'",
		} {
			if _, err := conn.ExecContext(context.Background(), setting, nil); err != nil {
				return fmt.Errorf("%s: %w", setting, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, locked(err))
	}
	w := &Warehouse{db: sql.OpenDB(connector), path: path, target: cfg.Table}
	w.db.SetMaxOpenConns(1)
	_, err = w.db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS `+ledger+` ("table" VARCHAR, "partition" VARCHAR, fingerprint VARCHAR, row_count BIGINT, loaded_at TIMESTAMP, PRIMARY KEY ("table", "partition"))`)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the ledger in %s: %w", path, err), w.db.Close())
	}
	return w, nil
}

// locked tells another process's lock from other errors.
func locked(err error) error {
	if strings.Contains(err.Error(), "Could not set lock") {
		return ErrLocked
	}
	return err
}

// Close closes the database.
func (w *Warehouse) Close() error {
	if err := w.db.Close(); err != nil {
		return fmt.Errorf("close %s: %w", w.path, err)
	}
	return nil
}

// quoted is the target's name in SQL: schema and table.
func (w *Warehouse) quoted() string {
	parts := strings.Split(w.target, ".")
	for i, p := range parts {
		parts[i] = schemas.DuckDB.Quote(p)
	}
	return strings.Join(parts, ".")
}

// Prepare implements load.Warehouse.
func (w *Warehouse) Prepare(ctx context.Context, schema schemas.Schema, dateColumn string) error {
	w.date, w.columns = dateColumn, schema.Names()
	if namespace, _, ok := strings.Cut(w.target, "."); ok {
		if _, err := w.db.ExecContext(ctx, "CREATE SCHEMA IF NOT EXISTS "+schemas.DuckDB.Quote(namespace)); err != nil {
			return fmt.Errorf("make schema %s: %w", namespace, err)
		}
	}
	columns := make([]string, len(schema.Fields))
	for i, f := range schema.Fields {
		columns[i] = schemas.DuckDB.Quote(f.Name) + " " + f.Type.SQL(schemas.DuckDB)
	}
	if _, err := w.db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+w.quoted()+" ("+strings.Join(columns, ", ")+")"); err != nil {
		return fmt.Errorf("make table %s: %w", w.target, err)
	}
	for _, c := range columns { // those that a newer schema has
		if _, err := w.db.ExecContext(ctx, "ALTER TABLE "+w.quoted()+" ADD COLUMN IF NOT EXISTS "+c); err != nil {
			return fmt.Errorf("add column %s to table %s: %w", c, w.target, err)
		}
	}
	return nil
}

// Loaded implements load.Warehouse.
func (w *Warehouse) Loaded(ctx context.Context) (map[string]load.Loaded, error) {
	rows, err := w.db.QueryContext(ctx, `SELECT "partition", fingerprint, row_count, loaded_at FROM `+ledger+` WHERE "table" = ?`, w.target)
	if err != nil {
		return nil, fmt.Errorf("read the ledger of %s: %w", w.target, err)
	}
	defer rows.Close()
	loaded := map[string]load.Loaded{}
	for rows.Next() {
		var name string
		var l load.Loaded
		if err := rows.Scan(&name, &l.Fingerprint, &l.Rows, &l.Time); err != nil {
			return nil, fmt.Errorf("read the ledger of %s: %w", w.target, err)
		}
		loaded[name] = l
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the ledger of %s: %w", w.target, err)
	}
	return loaded, nil
}

// Replace implements load.Warehouse: rows and ledger change in one transaction.
func (w *Warehouse) Replace(ctx context.Context, p load.Partition) (n int64, err error) {
	tx, err := w.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreDone(tx.Rollback()))
		}
	}()
	where := ""
	if p.Name != load.All {
		where = fmt.Sprintf(" WHERE %s = DATE '%s'", schemas.DuckDB.Quote(w.date), p.Name)
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM "+w.quoted()+where); err != nil {
		return 0, fmt.Errorf("clear it: %w", err)
	}
	if len(p.Files) > 0 {
		if n, err = w.insert(ctx, tx, p.Files); err != nil {
			return 0, err
		}
	}
	if n != p.Rows {
		return 0, fmt.Errorf("its files gave %d rows and the table says %d; nothing was changed", n, p.Rows)
	}
	if _, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO `+ledger+` VALUES (?, ?, ?, ?, ?)`, w.target, p.Name, p.Fingerprint, n, time.Now().UTC()); err != nil {
		return 0, fmt.Errorf("note it in the ledger: %w", err)
	}
	return n, tx.Commit()
}

// insert reads exactly these files, never a glob: files that a rewrite replaced
// still lie beside them. A column that an older file lacks is NULL.
func (w *Warehouse) insert(ctx context.Context, tx *sql.Tx, files []string) (int64, error) {
	paths := make([]string, len(files))
	for i, f := range files {
		paths[i] = schemas.DuckDB.Literal(strings.TrimPrefix(f, "file://"))
	}
	list := "[" + strings.Join(paths, ", ") + "]"
	has, err := columnsOf(ctx, tx, list)
	if err != nil {
		return 0, fmt.Errorf("read the schema of its files: %w", err)
	}
	var columns []string
	for _, c := range w.columns {
		if has[strings.ToLower(c)] {
			columns = append(columns, schemas.DuckDB.Quote(c))
		}
	}
	names := strings.Join(columns, ", ")
	result, err := tx.ExecContext(ctx, "INSERT INTO "+w.quoted()+" ("+names+") SELECT "+names+" FROM "+scan(list))
	if err != nil {
		return 0, fmt.Errorf("read its files: %w", err)
	}
	return result.RowsAffected()
}

func scan(list string) string {
	return "read_parquet(" + list + ", union_by_name = true, hive_partitioning = false)"
}

func columnsOf(ctx context.Context, tx *sql.Tx, list string) (map[string]bool, error) {
	rows, err := tx.QueryContext(ctx, "SELECT * FROM "+scan(list)+" LIMIT 0")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	has := map[string]bool{}
	for _, n := range names {
		has[strings.ToLower(n)] = true
	}
	return has, rows.Err()
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// Query answers a query as text cells, NULL as "NULL"; for people to look at.
func (w *Warehouse) Query(ctx context.Context, query string) (columns []string, cells [][]string, err error) {
	rows, err := w.db.QueryContext(ctx, query)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	if columns, err = rows.Columns(); err != nil {
		return nil, nil, err
	}
	for rows.Next() {
		row := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, nil, err
		}
		line := make([]string, len(row))
		for i, cell := range row {
			line[i] = "NULL"
			if cell.Valid {
				line[i] = cell.String
			}
		}
		cells = append(cells, line)
	}
	return columns, cells, rows.Err()
}
