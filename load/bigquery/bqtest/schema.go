//go:build cgo

package bqtest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	bq "google.golang.org/api/bigquery/v2"
)

type field = bq.TableFieldSchema

// canonical are the names of GoogleSQL for the API's own.
var canonical = map[string]string{"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD", "DECIMAL": "NUMERIC", "BIGDECIMAL": "BIGNUMERIC"}

var duckTypes = map[string]string{"INTEGER": "BIGINT", "FLOAT": "DOUBLE", "BOOLEAN": "BOOLEAN", "STRING": "VARCHAR", "BYTES": "BLOB", "DATE": "DATE",
	"TIME": "TIME", "DATETIME": "TIMESTAMP", "TIMESTAMP": "TIMESTAMPTZ", "JSON": "JSON"}

// checkFields checks a schema and writes its types and modes in one way.
func checkFields(fields []*field, below string) error {
	seen := map[string]bool{}
	for _, f := range fields {
		name := below + f.Name
		if !columnID.MatchString(f.Name) {
			return invalid("Invalid field name %q. Fields must contain the allowed characters, and be at most 300 characters long.", name)
		}
		if seen[strings.ToLower(f.Name)] {
			return invalid("Duplicate field name: %s", name)
		}
		seen[strings.ToLower(f.Name)] = true
		f.Type = strings.ToUpper(f.Type)
		f.Type = cmp.Or(canonical[f.Type], f.Type)
		f.Mode = cmp.Or(strings.ToUpper(f.Mode), "NULLABLE")
		if !slices.Contains([]string{"NULLABLE", "REQUIRED", "REPEATED"}, f.Mode) {
			return invalid("Invalid mode %q of field %s", f.Mode, name)
		}
		if len(f.Description) > 1024 {
			return invalid("The description for field %s is too long. The maximum length is 1024 characters.", name)
		}
		switch f.Type {
		case "RECORD":
			if len(f.Fields) == 0 {
				return invalid("Field %s is type RECORD but has no schema", name)
			}
			if err := checkFields(f.Fields, name+"."); err != nil {
				return err
			}
		case "NUMERIC":
			if f.Precision != 0 && (f.Scale > 9 || f.Precision < max(1, f.Scale) || f.Precision > f.Scale+29) {
				return invalid("Invalid precision and scale of field %s: NUMERIC(%d, %d)", name, f.Precision, f.Scale)
			}
		case "BIGNUMERIC":
			if f.Precision != 0 && (f.Scale > 38 || f.Precision < max(1, f.Scale) || f.Precision > f.Scale+38) {
				return invalid("Invalid precision and scale of field %s: BIGNUMERIC(%d, %d)", name, f.Precision, f.Scale)
			}
		default:
			if duckTypes[f.Type] == "" {
				return invalid("Invalid value for type: %s is not a valid value (field %s)", f.Type, name)
			}
		}
	}
	return nil
}

// duckType is a column's type in the database.
func duckType(f *field) string {
	name := duckTypes[f.Type]
	switch f.Type {
	case "NUMERIC", "BIGNUMERIC":
		precision, scale := f.Precision, f.Scale
		if precision == 0 {
			precision, scale = 38, 9
		}
		name = fmt.Sprintf("DECIMAL(%d, %d)", min(precision, 38), scale)
	case "RECORD":
		parts := make([]string, len(f.Fields))
		for i, m := range f.Fields {
			parts[i] = quote(m.Name) + " " + duckType(m)
		}
		name = "STRUCT(" + strings.Join(parts, ", ") + ")"
	}
	if f.Mode == "REPEATED" {
		name += "[]"
	}
	return name
}

func findField(fields []*field, name string) *field {
	for _, f := range fields {
		if strings.EqualFold(f.Name, name) {
			return f
		}
	}
	return nil
}

// schemaChange says what a change of a schema may do.
type schemaChange struct{ add, relax bool }

// compare finds what is not allowed; changed is what the table's schema becomes.
func (c schemaChange) compare(table string, old, fresh []*field, below string) (changed []*field, err error) {
	for _, f := range old {
		n := findField(fresh, f.Name)
		name := below + f.Name
		if n == nil {
			return nil, invalid("Provided Schema does not match Table %s. Field %s is missing in new schema", table, name)
		}
		if n.Type != f.Type {
			return nil, invalid("Provided Schema does not match Table %s. Field %s has changed type from %s to %s", table, name, f.Type, n.Type)
		}
		if relaxed := c.relax && f.Mode == "REQUIRED" && n.Mode == "NULLABLE"; n.Mode != f.Mode && !relaxed {
			return nil, invalid("Provided Schema does not match Table %s. Field %s has changed mode from %s to %s", table, name, f.Mode, n.Mode)
		}
		if n.Precision != f.Precision || n.Scale != f.Scale {
			return nil, invalid("Provided Schema does not match Table %s. Field %s has changed precision or scale", table, name)
		}
		merged := *f
		merged.Mode = n.Mode
		merged.Description = cmp.Or(n.Description, f.Description)
		if merged.Fields, err = c.compare(table, f.Fields, n.Fields, name+"."); err != nil {
			return nil, err
		}
		changed = append(changed, &merged)
	}
	for _, f := range fresh {
		switch {
		case findField(old, f.Name) != nil:
			continue
		case !c.add:
			return nil, invalid("Provided Schema does not match Table %s. Cannot add fields (field: %s)", table, below+f.Name)
		case f.Mode == "REQUIRED":
			return nil, invalid("Provided Schema does not match Table %s. Cannot add required fields to an existing schema. (field: %s)", table, below+f.Name)
		}
		added := *f
		changed = append(changed, &added)
	}
	return changed, nil
}

// changeSchema brings a table to a schema, as far as the change is allowed.
func (s *Server) changeSchema(t *table, fresh []*field, allowed schemaChange) error {
	changed, err := allowed.compare(s.name(t), t.meta.Schema.Fields, fresh, "")
	if err != nil {
		return err
	}
	for i, f := range changed {
		statement := ""
		switch {
		case i >= len(t.meta.Schema.Fields):
			statement = fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s %s", t.sql(), quote(f.Name), duckType(f))
		case duckType(f) != duckType(t.meta.Schema.Fields[i]): // members of a struct
			statement = fmt.Sprintf("ALTER TABLE %s ALTER %s TYPE %s", t.sql(), quote(f.Name), duckType(f))
		default:
			continue
		}
		if _, err := s.db.ExecContext(s.ctx, statement); err != nil {
			return err
		}
	}
	t.meta.Schema.Fields = changed
	return nil
}

func (s *Server) name(t *table) string {
	return fmt.Sprintf("%s:%s.%s", s.opts.Project, t.dataset.id, t.id)
}
