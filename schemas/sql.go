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
	Hive     Dialect = "hive"  // 4: its TIMESTAMP has no zone, and an instant in it is in UTC
	Spark    Dialect = "spark" // from 3.5 on
	Flink    Dialect = "flink" // from 2.0 on
)

// Dialects are all of them.
func Dialects() []Dialect { return []Dialect{BigQuery, DuckDB, Hive, Spark, Flink} }

// Quote is a name as an identifier.
func (d Dialect) Quote(name string) string {
	switch d {
	case BigQuery:
		return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`").Replace(name) + "`"
	case DuckDB:
		return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
	default:
		return "`" + strings.ReplaceAll(name, "`", "``") + "`"
	}
}

// Literal is text as a string literal.
func (d Dialect) Literal(text string) string {
	if d == DuckDB || d == Flink {
		return "'" + strings.ReplaceAll(text, "'", "''") + "'"
	}
	control := `\x%02x`
	if d != BigQuery {
		control = `\u%04x`
	}
	var b strings.Builder
	b.WriteByte('\'')
	for _, r := range text {
		switch {
		case r == '\'' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f || r == '$' && d != BigQuery: // ${name} is replaced in Hive and Spark, in literals too
			fmt.Fprintf(&b, control, r)
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

var hiveNames = map[Kind]string{Bool: "BOOLEAN", Int32: "INT", Int64: "BIGINT", Float32: "FLOAT", Float64: "DOUBLE", String: "STRING",
	Bytes: "BINARY", Date: "DATE", Time: "BIGINT", Timestamp: "TIMESTAMP", Datetime: "TIMESTAMP", UUID: "STRING", JSON: "STRING"}

// Spark has no time of day: of a column of it Spark reads µs since midnight.
var sparkNames = map[Kind]string{Bool: "BOOLEAN", Int32: "INT", Int64: "BIGINT", Float32: "FLOAT", Float64: "DOUBLE", String: "STRING",
	Bytes: "BINARY", Date: "DATE", Time: "BIGINT", Timestamp: "TIMESTAMP", Datetime: "TIMESTAMP_NTZ", UUID: "STRING", JSON: "STRING"}

var flinkNames = map[Kind]string{Bool: "BOOLEAN", Int32: "INT", Int64: "BIGINT", Float32: "FLOAT", Float64: "DOUBLE", String: "STRING",
	Bytes: "BYTES", Date: "DATE", Time: "TIME", Timestamp: "TIMESTAMP_LTZ(6)", Datetime: "TIMESTAMP(6)", UUID: "STRING", JSON: "STRING"}

// SQL is the type in an engine's words. BigQuery has no map: it becomes an
// array of key and value; decimals of up to 29 digits before and 9 behind the
// point are NUMERIC there, others BIGNUMERIC.
func (t Type) SQL(d Dialect) string {
	names := map[Dialect]map[Kind]string{BigQuery: bigQueryNames, DuckDB: duckDBNames, Hive: hiveNames, Spark: sparkNames, Flink: flinkNames}[d]
	if name, ok := names[t.Kind]; ok {
		return name
	}
	between := " " // a field's name and its type
	if d == Hive || d == Spark {
		between = ": "
	}
	members := func(fields []Field) string {
		parts := make([]string, len(fields))
		for i, f := range fields {
			parts[i] = d.Quote(f.Name) + between + f.Type.SQL(d)
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
	case t.Kind == List && d == DuckDB:
		return t.Elem.Type.SQL(d) + "[]"
	case t.Kind == List:
		return "ARRAY<" + t.Elem.Type.SQL(d) + ">"
	case t.Kind == Struct && d == DuckDB:
		return "STRUCT(" + members(t.Fields) + ")"
	case t.Kind == Struct && d == Flink:
		return "ROW<" + members(t.Fields) + ">"
	case t.Kind == Struct:
		return "STRUCT<" + members(t.Fields) + ">"
	case t.Kind == Map && d == BigQuery:
		return "ARRAY<STRUCT<" + members([]Field{*t.Key, *t.Elem}) + ">>"
	case t.Kind == Map && d == DuckDB:
		return "MAP(" + t.Key.Type.SQL(d) + ", " + t.Elem.Type.SQL(d) + ")"
	case t.Kind == Map:
		return "MAP<" + t.Key.Type.SQL(d) + ", " + t.Elem.Type.SQL(d) + ">"
	default:
		return "NULL"
	}
}
