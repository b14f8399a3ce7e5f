//go:build cgo

package duckdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"lake/load"
	"lake/schemas"
)

var _ load.Engine = (*Warehouse)(nil)

// Dialect implements load.Engine.
func (w *Warehouse) Dialect() schemas.Dialect { return schemas.DuckDB }

// Name implements load.Engine.
func (w *Warehouse) Name() string { return w.target }

// Answer implements load.Engine. The database has one connection, and so one session.
func (w *Warehouse) Answer(ctx context.Context, set []string, query string, row func(cells []sql.NullString) error) (err error) {
	for _, statement := range set {
		if _, err := w.db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	rows, err := w.db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	cells := make([]sql.NullString, len(names))
	into := make([]any, len(names))
	for i := range cells {
		into[i] = &cells[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if err := row(cells); err != nil {
			return err
		}
	}
	return rows.Err()
}
