//go:build cgo

package duckdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/duckdb/duckdb-go/v2"
)

// Probe opens the database, makes a table in it and rolls that back. It tells
// what it found. A database that is not there yet is not made: the folder is
// tried instead.
func Probe(ctx context.Context, cfg Config) (found string, err error) {
	if _, err := os.Stat(cfg.Path); errors.Is(err, fs.ErrNotExist) {
		folder := filepath.Dir(cfg.Path)
		if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
			return "not there yet: lake load makes it", nil // the warehouse's own probe looks above
		}
		f, err := os.CreateTemp(folder, ".lake-probe-*")
		if err != nil {
			return "", err
		}
		return "not there yet: lake load makes it", errors.Join(f.Close(), os.Remove(f.Name()))
	}
	connector, err := duckdb.NewConnector(cfg.Path, nil)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", cfg.Path, locked(err))
	}
	db := sql.OpenDB(connector)
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", cfg.Path, err)
	}
	_, err = tx.ExecContext(ctx, "CREATE TABLE lake_probe (n INTEGER)")
	if err = errors.Join(err, tx.Rollback()); err != nil {
		return "", fmt.Errorf("write to %s: %w", cfg.Path, err)
	}
	return "a table could be made", nil
}
