package bigquery

import (
	"encoding/json"
	"fmt"
	"strings"

	"cloud.google.com/go/bigquery"
	bq "google.golang.org/api/bigquery/v2"

	"lake/load"
	"lake/schemas"
)

// reserved begin names that BigQuery keeps for itself.
var reserved = []string{"_table_", "_file_", "_partition", "_row_timestamp", "__root__", "_colidentifier", "_change_sequence_number", "_change_type", "_change_timestamp"}

// longestDoc is a description's length in characters, by the quotas.
const longestDoc = 1024

// fieldsOf are columns as BigQuery has them when it loads them from a format:
//
//	bool BOOL · int32, int64 INT64 · float32, float64 FLOAT64
//	decimal NUMERIC(p, s), or BIGNUMERIC where it does not fit
//	string STRING · bytes BYTES · date DATE · time TIME
//	timestamp TIMESTAMP · datetime DATETIME
//	uuid BYTES, as Parquet has it; from JSON STRING
//	json STRING: JSON columns cannot be loaded from Parquet; from JSON JSON
//	list<T> ARRAY<T> · struct STRUCT · map ARRAY<STRUCT<key, value>>, not from JSON
//
// BigQuery knows no array in an array, and no NULL in one or for one.
func fieldsOf(fields []schemas.Field, format, below string) (bigquery.Schema, error) {
	out := make(bigquery.Schema, len(fields))
	for i, f := range fields {
		one, err := fieldOf(f, format, below)
		if err != nil {
			return nil, err
		}
		out[i] = one
	}
	return out, nil
}

func fieldOf(f schemas.Field, format, below string) (*bigquery.FieldSchema, error) {
	name := below + f.Name
	if !columnName().MatchString(f.Name) {
		return nil, fmt.Errorf("column %s: %w: BigQuery's names have letters, digits and underscores, 300 at most, and do not begin with a digit", name, load.ErrTargetSchema)
	}
	for _, prefix := range reserved {
		if strings.HasPrefix(strings.ToLower(f.Name), prefix) {
			return nil, fmt.Errorf("column %s: %w: BigQuery keeps names that begin with %s for itself", name, load.ErrTargetSchema, strings.ToUpper(prefix))
		}
	}
	out := &bigquery.FieldSchema{Name: f.Name, Required: f.Required, Description: shortened(f.Doc, longestDoc)}
	var err error
	switch f.Type.Kind {
	case schemas.List:
		if k := f.Type.Elem.Type.Kind; k == schemas.List || k == schemas.Map {
			return nil, fmt.Errorf("column %s: %w: BigQuery has no %s: an array holds no array; hint: a list of structs", name, load.ErrTargetSchema, f.Type)
		}
		element := *f.Type.Elem
		element.Name = f.Name
		inner, err := fieldOf(element, format, below)
		if err != nil {
			return nil, err
		}
		out.Type, out.Schema, out.Precision, out.Scale = inner.Type, inner.Schema, inner.Precision, inner.Scale
		out.Repeated, out.Required = true, false
	case schemas.Map:
		if format == JSON {
			return nil, fmt.Errorf("column %s: %w: a map is an object in JSON, and BigQuery has no such type; hint: format: parquet", name, load.ErrTargetSchema)
		}
		key, value := *f.Type.Key, *f.Type.Elem
		key.Name, key.Required, value.Name = "key", true, "value"
		out.Type, out.Repeated, out.Required = bigquery.RecordFieldType, true, false
		out.Schema, err = fieldsOf([]schemas.Field{key, value}, format, name+".")
	case schemas.Struct:
		out.Type = bigquery.RecordFieldType
		out.Schema, err = fieldsOf(f.Type.Fields, format, name+".")
	case schemas.Decimal:
		// A digit before the point is the least that the API takes.
		out.Precision, out.Scale = int64(max(f.Type.Precision, f.Type.Scale+1)), int64(f.Type.Scale)
		out.Type = bigquery.NumericFieldType
		if f.Type.Scale > 9 || f.Type.Precision-f.Type.Scale > 29 {
			out.Type = bigquery.BigNumericFieldType
		}
	case schemas.UUID:
		out.Type = bigquery.BytesFieldType
		if format == JSON {
			out.Type = bigquery.StringFieldType
		}
	case schemas.JSON:
		out.Type = bigquery.StringFieldType
		if format == JSON {
			out.Type = bigquery.JSONFieldType
		}
	default:
		out.Type = simpleTypes[f.Type.Kind]
		if out.Type == "" {
			err = fmt.Errorf("column %s: %w: BigQuery has no %s", name, load.ErrTargetSchema, f.Type)
		}
	}
	return out, err
}

var simpleTypes = map[schemas.Kind]bigquery.FieldType{
	schemas.Bool: bigquery.BooleanFieldType, schemas.Int32: bigquery.IntegerFieldType, schemas.Int64: bigquery.IntegerFieldType,
	schemas.Float32: bigquery.FloatFieldType, schemas.Float64: bigquery.FloatFieldType, schemas.String: bigquery.StringFieldType,
	schemas.Bytes: bigquery.BytesFieldType, schemas.Date: bigquery.DateFieldType, schemas.Time: bigquery.TimeFieldType,
	schemas.Timestamp: bigquery.TimestampFieldType, schemas.Datetime: bigquery.DateTimeFieldType,
}

func shortened(text string, most int) string {
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}

// merge is the schema that a target needs in order to hold the wanted columns:
// its own, those that it lacks added as NULLABLE, what need not be REQUIRED any more
// relaxed, and lake's descriptions. It fails where a column has another type, or
// where the target requires one that lake has not.
func merge(has, want bigquery.Schema, below string) (merged bigquery.Schema, did changes, err error) {
	find := func(in bigquery.Schema, name string) *bigquery.FieldSchema {
		for _, f := range in {
			if strings.EqualFold(f.Name, name) {
				return f
			}
		}
		return nil
	}
	for _, f := range has {
		one := *f
		w := find(want, f.Name)
		switch {
		case w == nil && f.Required:
			return nil, did, fmt.Errorf("column %s of the target is REQUIRED and the table has none: %w; hint: drop it, or make it NULLABLE", below+f.Name, load.ErrTargetSchema)
		case w == nil: // somebody's own: it is NULL in what lake loads
			merged = append(merged, &one)
			continue
		case typeText(f) != typeText(w) && !wider(f, w):
			return nil, did, fmt.Errorf("column %s of the target is %s, the table needs %s: %w; hint: another target table, or drop this one and load it anew", below+f.Name, typeText(f), typeText(w), load.ErrTargetSchema)
		}
		if f.Required && !w.Required {
			one.Required, did.alters = false, true
		}
		if w.Description != "" && w.Description != f.Description {
			one.Description, did.alters = w.Description, true
		}
		if f.Type == bigquery.RecordFieldType {
			inner, within, err := merge(f.Schema, w.Schema, below+f.Name+".")
			if err != nil {
				return nil, did, err
			}
			one.Schema, did.adds, did.alters = inner, did.adds || within.adds, did.alters || within.alters
		}
		merged = append(merged, &one)
	}
	for _, w := range want {
		if find(has, w.Name) == nil {
			one := *w
			one.Required = false // nothing else can be added to a table
			merged, did.adds = append(merged, &one), true
		}
	}
	return merged, did, nil
}

// changes are what a merged schema has that the target's has not: columns, or other
// modes and descriptions of those that are there.
type changes struct{ adds, alters bool }

// typeText is a column's type without its members.
func typeText(f *bigquery.FieldSchema) string {
	text := string(f.Type)
	if f.Precision > 0 {
		text = fmt.Sprintf("%s(%d, %d)", f.Type, f.Precision, f.Scale)
	}
	if f.Repeated {
		text = "ARRAY<" + text + ">"
	}
	return text
}

// wider tells a decimal of the target that holds all values of the table's.
func wider(has, want *bigquery.FieldSchema) bool {
	if has.Repeated != want.Repeated || has.Type != want.Type && has.Type != bigquery.BigNumericFieldType ||
		want.Type != bigquery.NumericFieldType && want.Type != bigquery.BigNumericFieldType {
		return false
	}
	whole, scale := has.Precision-has.Scale, has.Scale
	if has.Precision == 0 {
		whole, scale = 29, 9
		if has.Type == bigquery.BigNumericFieldType {
			whole, scale = 38, 38
		}
	}
	return want.Scale <= scale && want.Precision-want.Scale <= whole
}

// raw is a schema as the API's messages have it.
func raw(s bigquery.Schema) (*bq.TableSchema, error) {
	data, err := s.ToJSONFields()
	if err != nil {
		return nil, err
	}
	out := &bq.TableSchema{}
	return out, json.Unmarshal(data, &out.Fields)
}

// digestText is the text of a column that is kept in another type than the
// dialect has it in (load.NewDigestQuery).
func digestText(format string) func(schemas.Field) string {
	return func(f schemas.Field) string {
		if f.Type.Kind == schemas.UUID && format != JSON {
			return "TO_HEX(" + schemas.BigQuery.Quote(f.Name) + ")"
		}
		return ""
	}
}
