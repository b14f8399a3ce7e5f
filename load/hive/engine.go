package hive

import (
	"context"
	"database/sql"
	"fmt"

	"lake/load"
	"lake/schemas"
)

var _ load.Engine = (*Warehouse)(nil)

// Dialect implements load.Engine: Hive's, or Spark's where its Thrift Server answers.
func (w *Warehouse) Dialect() schemas.Dialect { return w.dialect }

// Name implements load.Engine.
func (w *Warehouse) Name() string { return w.cfg.Table }

// Answer implements load.Engine. What it sets is set for the rest of the session.
func (w *Warehouse) Answer(ctx context.Context, set []string, query string, row func(cells []sql.NullString) error) error {
	s, err := w.session(ctx)
	if err != nil {
		return err
	}
	for _, statement := range set {
		if err := s.exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	rows, err := s.query(ctx, query)
	if err != nil {
		return fmt.Errorf("query %s: %w", w.cfg.Table, err)
	}
	for _, cells := range rows {
		if err := row(cells); err != nil {
			return err
		}
	}
	return nil
}
