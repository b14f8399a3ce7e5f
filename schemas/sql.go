package schemas

import (
	"fmt"
	"strings"
)

// Dialect is an engine's SQL.
type Dialect string

// The dialects that lake writes.
const (
	BigQuery Dialect = "bigquery"
	DuckDB   Dialect = "duckdb"
)

// Quote is a name as an identifier.
func (d Dialect) Quote(name string) string {
	if d == BigQuery {
		return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`").Replace(name) + "`"
	}
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// Literal is text as a string literal.
func (d Dialect) Literal(text string) string {
	if d != BigQuery {
		return "'" + strings.ReplaceAll(text, "'", "''") + "'"
	}
	var b strings.Builder
	b.WriteByte('\'')
	for _, r := range text {
		switch {
		case r == '\'' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('\'')
	return b.String()
}

var duckDBNames = map[Kind]string{Bool: "BOOLEAN", Int32: "INTEGER", Int64: "BIGINT", Float32: "FLOAT", Float64: "DOUBLE", String: "VARCHAR",
	Bytes: "BLOB", Date: "DATE", Time: "TIME", Timestamp: "TIMESTAMPTZ", Datetime: "TIMESTAMP", UUID: "UUID", JSON: "JSON"}

var bigQueryNames = map[Kind]string{Bool: "BOOL", Int32: "INT64", Int64: "INT64", Float32: "FLOAT64", Float64: "FLOAT64", String: "STRING",
	Bytes: "BYTES", Date: "DATE", Time: "TIME", Timestamp: "TIMESTAMP", Datetime: "DATETIME", UUID: "STRING", JSON: "JSON"}

// SQL is the type in an engine's words. BigQuery has no map: it becomes an
// array of key and value; decimals of up to 29 digits before and 9 behind the
// point are NUMERIC there, others BIGNUMERIC.
func (t Type) SQL(d Dialect) string {
	names := duckDBNames
	if d == BigQuery {
		names = bigQueryNames
	}
	if name, ok := names[t.Kind]; ok {
		return name
	}
	members := func(fields []Field) string {
		parts := make([]string, len(fields))
		for i, f := range fields {
			parts[i] = d.Quote(f.Name) + " " + f.Type.SQL(d)
		}
		return strings.Join(parts, ", ")
	}
	switch {
	case t.Kind == Decimal && d == BigQuery && t.Scale <= 9 && t.Precision-t.Scale <= 29:
		return fmt.Sprintf("NUMERIC(%d, %d)", t.Precision, t.Scale)
	case t.Kind == Decimal && d == BigQuery:
		return fmt.Sprintf("BIGNUMERIC(%d, %d)", t.Precision, t.Scale)
	case t.Kind == Decimal:
		return fmt.Sprintf("DECIMAL(%d, %d)", t.Precision, t.Scale)
	case t.Kind == List && d == BigQuery:
		return "ARRAY<" + t.Elem.Type.SQL(d) + ">"
	case t.Kind == List:
		return t.Elem.Type.SQL(d) + "[]"
	case t.Kind == Struct && d == BigQuery:
		return "STRUCT<" + members(t.Fields) + ">"
	case t.Kind == Struct:
		return "STRUCT(" + members(t.Fields) + ")"
	case t.Kind == Map && d == BigQuery:
		return "ARRAY<STRUCT<" + members([]Field{*t.Key, *t.Elem}) + ">>"
	case t.Kind == Map:
		return "MAP(" + t.Key.Type.SQL(d) + ", " + t.Elem.Type.SQL(d) + ")"
	default:
		return "NULL"
	}
}
