//go:build cgo

package duckdb

import (
	"context"
	"database/sql"
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
func (w *Warehouse) Answer(ctx context.Context, set []string, query string, row func(cells []sql.NullString) error) error {
	for _, statement := range set {
		if _, err := w.db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return w.each(ctx, query, func(rows *sql.Rows) error {
		cells, err := texts(rows)
		if err != nil {
			return err
		}
		return row(cells)
	})
}

// texts are a row's cells as text.
func texts(rows *sql.Rows) ([]sql.NullString, error) {
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	cells := make([]sql.NullString, len(names))
	into := make([]any, len(names))
	for i := range cells {
		into[i] = &cells[i]
	}
	return cells, rows.Scan(into...)
}
