package table

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/iceberg-go"
	icebergtable "github.com/apache/iceberg-go/table"

	"lake/schemas"
)

// SchemaError says where a wanted schema differs from the table's in ways that
// the table cannot follow.
type SchemaError struct {
	Table       string
	Differences []string
}

func (e *SchemaError) Error() string {
	return fmt.Sprintf("the schema does not fit table %s: %s; a table takes new nullable columns, int32 to int64 and float32 to float64: write anything else to a new table",
		e.Table, strings.Join(e.Differences, "; "))
}

// change is one step of an evolution.
type change struct {
	path  []string
	field schemas.Field
	add   bool // else: widen to field's type
}

// EvolveTo adds the nullable columns that the table lacks and widens columns;
// a *SchemaError names everything else in which the schemas differ. The handle
// then has the new schema, in the table's order: new columns are the last.
func (c *Catalog) EvolveTo(ctx context.Context, t *Table, want schemas.Schema) (*Table, error) {
	var last error
	for try := range stuckTries {
		if try > 0 {
			if err := backoff(ctx, try, maxBackoff); err != nil {
				return nil, fmt.Errorf("evolve table %s: %w", t.name, errors.Join(err, last))
			}
			if err := t.Refresh(ctx); err != nil {
				return nil, fmt.Errorf("evolve table %s: %w", t.name, err)
			}
		}
		s := t.now.Load()
		d := diff{}
		d.members(nil, s.schema.Fields, want.Fields)
		if len(d.bad) > 0 {
			return nil, &SchemaError{Table: t.name, Differences: d.bad}
		}
		if len(d.changes) == 0 {
			return t, nil
		}
		ice, err := evolve(ctx, s, d.changes, want)
		if err != nil {
			last = err
			continue
		}
		after, err := newState(ice)
		if err != nil {
			return nil, fmt.Errorf("evolve table %s: %w", t.name, err)
		}
		t.now.Store(after)
		return t, nil
	}
	return nil, fmt.Errorf("evolve table %s: %w", t.name, last)
}

func evolve(ctx context.Context, s *state, changes []change, want schemas.Schema) (*icebergtable.Table, error) {
	tx := s.ice.NewTransaction()
	u := tx.UpdateSchema(true, false)
	for _, c := range changes {
		one := schemas.Schema{Fields: []schemas.Field{{Name: c.field.Name, Type: withoutIDs(c.field.Type)}}}.Iceberg()
		if c.add {
			u = u.AddColumn(c.path, one.Fields()[0].Type, c.field.Doc, false, nil)
		} else {
			u = u.UpdateColumn(c.path, icebergtable.ColumnUpdate{FieldType: iceberg.Optional[iceberg.Type]{Val: one.Fields()[0].Type, Valid: true}})
		}
	}
	if err := u.Commit(); err != nil {
		return nil, err
	}
	staged, err := tx.StagedTable()
	if err != nil {
		return nil, err
	}
	mapping, err := json.Marshal(staged.Schema().NameMapping())
	if err != nil {
		return nil, fmt.Errorf("map names to fields: %w", err)
	}
	props := iceberg.Properties{icebergtable.DefaultNameMappingKey: string(mapping)}
	if err := setJSON(props, want, staged.Schema()); err != nil {
		return nil, err
	}
	if err := tx.SetProperties(props); err != nil {
		return nil, err
	}
	return tx.Commit(ctx)
}

func withoutIDs(t schemas.Type) schemas.Type {
	bare := func(f *schemas.Field) *schemas.Field {
		if f == nil {
			return nil
		}
		g := *f
		g.ID, g.Type = 0, withoutIDs(f.Type)
		return &g
	}
	t.Key, t.Elem = bare(t.Key), bare(t.Elem)
	t.Fields = slices.Clone(t.Fields)
	for i := range t.Fields {
		t.Fields[i] = *bare(&t.Fields[i])
	}
	return t
}

// diff compares a table's schema with a wanted one.
type diff struct {
	changes []change
	bad     []string
}

func (d *diff) refuse(path []string, format string, args ...any) {
	d.bad = append(d.bad, "column "+strings.Join(path, ".")+" "+fmt.Sprintf(format, args...))
}

func (d *diff) members(path []string, is, want []schemas.Field) {
	at := func(name string) []string { return append(slices.Clone(path), name) }
	for _, w := range want {
		i := (schemas.Schema{Fields: is}).Index(w.Name)
		switch {
		case i < 0 && w.Required:
			d.refuse(at(w.Name), "is new and required: rows that are there have no value for it")
		case i < 0:
			d.changes = append(d.changes, change{path: at(w.Name), field: w, add: true})
		case is[i].Name != w.Name:
			d.refuse(at(w.Name), "is written %s in the table", is[i].Name)
		default:
			d.field(at(w.Name), is[i], w)
		}
	}
	for _, f := range is {
		if (schemas.Schema{Fields: want}).Index(f.Name) < 0 {
			d.refuse(at(f.Name), "(%s) is in the table and not in the schema, where it has to stay", f.Type)
		}
	}
}

func (d *diff) field(path []string, is, want schemas.Field) {
	if is.Required != want.Required {
		d.refuse(path, "is %s in the table and %s in the schema", nullability(is.Required), nullability(want.Required))
	}
	a, b := is.Type, want.Type
	switch {
	case a.Kind == schemas.Struct && b.Kind == schemas.Struct:
		d.members(path, a.Fields, b.Fields)
	case a.Kind == schemas.List && b.Kind == schemas.List:
		d.field(append(slices.Clone(path), "element"), *a.Elem, *b.Elem)
	case a.Kind == schemas.Map && b.Kind == schemas.Map && a.Key.Type.Equal(b.Key.Type):
		d.field(append(slices.Clone(path), "value"), *a.Elem, *b.Elem)
	case a.Kind == schemas.Int32 && b.Kind == schemas.Int64, a.Kind == schemas.Float32 && b.Kind == schemas.Float64:
		d.changes = append(d.changes, change{path: path, field: want})
	case !a.Equal(b):
		d.refuse(path, "is %s in the table and %s in the schema", a, b)
	}
}

func nullability(required bool) string {
	if required {
		return "required"
	}
	return "nullable"
}
