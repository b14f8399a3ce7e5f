// Package schemas is lake's one column type system and its mappings: to Arrow,
// to Iceberg, to SQL, and from samples of a user's data.
package schemas

import (
	"fmt"
	"strings"
)

// Kind names a column type without its parameters.
type Kind uint8

// The kinds, in the order of the job file's documentation.
const (
	Invalid Kind = iota
	Bool
	Int32
	Int64
	Float32
	Float64
	Decimal   // Precision, Scale
	String    // UTF-8
	Bytes     //
	Date      // days since 1970-01-01, no zone
	Time      // microseconds since midnight, no zone
	Timestamp // an instant: microseconds since 1970-01-01T00:00:00Z
	Datetime  // a wall clock's reading: microseconds since 1970-01-01 00:00:00, no zone
	UUID      // 16 bytes
	JSON      // text that is valid JSON
	List      // Elem
	Struct    // Fields
	Map       // Key, Elem
)

var kindNames = [...]string{"invalid", "bool", "int32", "int64", "float32", "float64", "decimal", "string", "bytes",
	"date", "time", "timestamp", "datetime", "uuid", "json", "list", "struct", "map"}

// String is the kind's name in a job file.
func (k Kind) String() string { return kindNames[k] }

// Type is a column's type. The zero Type is Invalid.
type Type struct {
	Kind             Kind
	Precision, Scale int     // Decimal: 1..38, 0..Precision
	Key              *Field  // Map: the key, named "key", required
	Elem             *Field  // List: the element, named "element"; Map: the value, named "value"
	Fields           []Field // Struct
}

// Field is a column, or a member of a struct.
type Field struct {
	Name     string
	Type     Type
	Required bool   // null is an error
	Format   string // strftime codes for Date, Time, Timestamp and Datetime read from text; "" is ISO 8601
	Zone     string // IANA zone of a Timestamp whose text has none; "" is UTC
	From     string // key, or path with dots, in the input; "" is Name
	Doc      string
	ID       int // the Iceberg field id; 0 is not assigned yet
}

// Schema is a table's columns in order. Names are unique without regard to case.
type Schema struct{ Fields []Field }

// Source is the key or path of the field in the input.
func (f Field) Source() string {
	if f.From != "" {
		return f.From
	}
	return f.Name
}

// Index returns the position of the top-level column name, matched exactly and
// then without regard to case; -1 where there is none.
func (s Schema) Index(name string) int {
	for i, f := range s.Fields {
		if f.Name == name {
			return i
		}
	}
	for i, f := range s.Fields {
		if strings.EqualFold(f.Name, name) {
			return i
		}
	}
	return -1
}

// Names lists the top-level columns.
func (s Schema) Names() []string {
	names := make([]string, len(s.Fields))
	for i, f := range s.Fields {
		names[i] = f.Name
	}
	return names
}

// String is the type as a job file writes it: int64, decimal(10,2),
// list<string>, struct<lat: float64, lon: float64>, map<string, int64>.
// A required member carries its "!".
func (t Type) String() string {
	switch t.Kind {
	case Decimal:
		return fmt.Sprintf("decimal(%d,%d)", t.Precision, t.Scale)
	case List:
		return "list<" + t.Elem.member() + ">"
	case Map:
		return "map<" + t.Key.Type.String() + ", " + t.Elem.member() + ">"
	case Struct:
		parts := make([]string, len(t.Fields))
		for i, f := range t.Fields {
			parts[i] = f.Name + ": " + f.member()
		}
		return "struct<" + strings.Join(parts, ", ") + ">"
	default:
		return t.Kind.String()
	}
}

func (f Field) member() string {
	if f.Required {
		return f.Type.String() + "!"
	}
	return f.Type.String()
}

// Equal reports whether both types hold the same values; formats, docs and ids do not count.
func (t Type) Equal(u Type) bool { return t.String() == u.String() }

// Numeric reports whether the kind is a number.
func (k Kind) Numeric() bool { return k >= Int32 && k <= Decimal }

// Temporal reports whether the kind is a date or a time.
func (k Kind) Temporal() bool { return k >= Date && k <= Datetime }
