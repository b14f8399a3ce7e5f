//go:build cgo

package duckdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/duckdb/duckdb-go/v2"

	"lake/load"
	"lake/schemas"
)

// loads is the table of the loads that the target tables have.
const loads = "lake_loads"

// Available says whether this binary has DuckDB.
const Available = true

// ErrLocked says that another process has the database open.
var ErrLocked = errors.New("another process has the database open")

// Warehouse is one target table of a DuckDB database.
type Warehouse struct {
	db      *sql.DB // nil: the database is not there yet
	path    string
	options Options
	target  string   // as the job file has it
	columns []string // as Prepare was told
	date    string   // the column that partitions it; "": none
}

// Open opens the database for one target table; one that is not there yet is made
// by Prepare. The caller closes it.
func Open(_ context.Context, cfg Config, o Options) (*Warehouse, error) {
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", cfg.Path, err)
	}
	if strings.ContainsRune(path, '?') { // it would open another file
		return nil, fmt.Errorf("open %s: DuckDB's driver takes what stands behind a ? as settings; hint: path: a file whose name, and whose folders' names, have none", path)
	}
	w := &Warehouse{path: path, target: cfg.Table, options: o}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return w, nil
	}
	return w, w.connect()
}

// connect opens the database, and makes it where it is missing.
func (w *Warehouse) connect() error {
	if w.db != nil {
		return nil
	}
	o := w.options
	connector, err := duckdb.NewConnector(w.path, func(conn driver.ExecerContext) error {
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
		return fmt.Errorf("open %s: %w", w.path, locked(err))
	}
	w.db = sql.OpenDB(connector)
	w.db.SetMaxOpenConns(1)
	return nil
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
	if w.db == nil {
		return nil
	}
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

// insert reads exactly these files, never a glob: files that a rewrite replaced
// still lie beside them. A column that an older file lacks is NULL.
func (w *Warehouse) insert(ctx context.Context, tx *sql.Tx, files []load.File) (int64, error) {
	paths := make([]string, len(files))
	for i, f := range files {
		paths[i] = schemas.DuckDB.Literal(strings.TrimPrefix(f.URI, "file://"))
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
	if w.db == nil {
		return nil, nil, fmt.Errorf("there is no database %s", w.path)
	}
	rows, err := w.db.QueryContext(ctx, query)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	if columns, err = rows.Columns(); err != nil {
		return nil, nil, err
	}
	for rows.Next() {
		row, err := texts(rows)
		if err != nil {
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
