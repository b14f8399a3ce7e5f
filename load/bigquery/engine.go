package bigquery

import (
	"context"
	"database/sql"
	"fmt"

	"cloud.google.com/go/bigquery"

	"lake/load"
	"lake/schemas"
)

var _ load.Engine = (*Warehouse)(nil)

// Dialect implements load.Engine.
func (w *Warehouse) Dialect() schemas.Dialect { return schemas.BigQuery }

// Name implements load.Engine.
func (w *Warehouse) Name() string { return w.name() }

// Answer implements load.Engine. A query job has no session: there is nothing to set.
func (w *Warehouse) Answer(ctx context.Context, set []string, query string, row func(cells []sql.NullString) error) error {
	if len(set) > 0 {
		return fmt.Errorf("query %s: settings are not sent to BigQuery", w.name())
	}
	if w.location == "" {
		if _, err := w.metadata(ctx); err != nil {
			return err
		}
	}
	var cells []sql.NullString
	err := w.query(ctx, query, func(values []bigquery.Value) error {
		cells = cells[:0]
		for _, v := range values {
			cell := sql.NullString{Valid: v != nil}
			if cell.Valid {
				cell.String = fmt.Sprint(v)
			}
			cells = append(cells, cell)
		}
		return row(cells)
	})
	if err != nil {
		return fmt.Errorf("query %s: %w", w.name(), meaning(err))
	}
	return nil
}
