package table

import (
	"context"
	"fmt"

	"github.com/apache/iceberg-go"
	icebergtable "github.com/apache/iceberg-go/table"

	"lake/schemas"
)

// SortOrder finds the table's sort order by columns, each rising with nulls
// first: its id, which files that have it carry. False where the table has none
// like that yet.
func (t *Table) SortOrder(columns []string) (id int, ok bool) {
	s := t.now.Load()
	want, err := s.sortFields(columns)
	if err != nil || len(want) == 0 {
		return 0, false
	}
	for _, order := range s.ice.Metadata().SortOrders() {
		if sameFields(order, want) {
			return order.OrderID(), true
		}
	}
	return 0, false
}

// SetSortOrder makes an order by columns the one that the table's files are to
// have, and returns its id. Files that are there stay as they are.
func (t *Table) SetSortOrder(ctx context.Context, columns []string) (int, error) {
	fail := func(err error) (int, error) { return 0, fmt.Errorf("set the order of table %s: %w", t.name, err) }
	is := func(s *state) (bool, error) {
		want, err := s.sortFields(columns)
		return err == nil && sameFields(s.ice.Metadata().SortOrder(), want), err
	}
	if done, err := is(t.now.Load()); err != nil {
		return fail(err)
	} else if !done {
		err := t.maintain(ctx, is, func(_ context.Context, s *state) (staged, error) {
			fields, err := s.sortFields(columns)
			if err != nil {
				return nil, err
			}
			order, err := icebergtable.NewSortOrder(1, fields)
			if err != nil {
				return nil, err
			}
			tx := s.ice.NewTransaction()
			return tx, tx.ReplaceSortOrder(order)
		})
		if err != nil {
			return fail(err)
		}
	}
	return t.now.Load().ice.Metadata().DefaultSortOrder(), nil
}

func (s *state) sortFields(columns []string) ([]icebergtable.SortField, error) {
	var out []icebergtable.SortField
	for _, name := range columns {
		i := s.schema.Index(name)
		if i < 0 {
			return nil, fmt.Errorf("there is no column %q", name)
		}
		f := s.schema.Fields[i]
		if f.Type.Kind >= schemas.List {
			return nil, fmt.Errorf("column %s is a %s, which has no order", name, f.Type)
		}
		out = append(out, icebergtable.SortField{SourceIDs: []int{f.ID}, Transform: iceberg.IdentityTransform{},
			Direction: icebergtable.SortASC, NullOrder: icebergtable.NullsFirst})
	}
	return out, nil
}

func sameFields(order icebergtable.SortOrder, want []icebergtable.SortField) bool {
	if order.Len() != len(want) {
		return false
	}
	for i, f := range want {
		if !order.Field(i).Equals(f) {
			return false
		}
	}
	return true
}
