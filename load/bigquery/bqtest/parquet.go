//go:build cgo

package bqtest

import (
	"database/sql"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	bq "google.golang.org/api/bigquery/v2"
)

// element is a line of a Parquet file's schema.
type element struct {
	name, physical, repetition, converted, logical string
	scale, precision                               int64
	children                                       []*element
}

func (s *Server) parquetSchema(o object) (*element, error) {
	rows, err := s.db.QueryContext(s.ctx, "SELECT name, type, repetition_type, COALESCE(num_children, 0), converted_type, COALESCE(scale, 0), COALESCE(precision, 0), logical_type FROM parquet_schema("+literal(o.path)+")")
	if err != nil {
		return nil, failure(http.StatusBadRequest, "invalid", o.uri, "Error while reading data, error message: Failed to read the Parquet file %s: %v File: %s", o.uri, err, o.uri)
	}
	defer rows.Close()
	var flat []*element
	var counts []int64
	for rows.Next() {
		var physical, repetition, converted, logical sql.NullString
		e := &element{}
		var n int64
		if err := rows.Scan(&e.name, &physical, &repetition, &n, &converted, &e.scale, &e.precision, &logical); err != nil {
			return nil, err
		}
		e.physical, e.repetition, e.converted, e.logical = physical.String, repetition.String, converted.String, logical.String
		flat, counts = append(flat, e), append(counts, n)
	}
	if err := rows.Err(); err != nil {
		return nil, failure(http.StatusBadRequest, "invalid", o.uri, "Error while reading data, error message: Failed to read the Parquet file %s: %v File: %s", o.uri, err, o.uri)
	}
	at := 0
	var build func() *element
	build = func() *element {
		e, n := flat[at], counts[at]
		at++
		for range n {
			e.children = append(e.children, build())
		}
		return e
	}
	return build(), nil
}

// column is a Parquet column as BigQuery takes it: its own type, and the types
// that a target may have besides.
type column struct {
	field  *field
	others []string
	value  func(expr string) string // from DuckDB's reading of it
	parts  []*column                // members of a record
}

func same(expr string) string { return expr }

// asColumn converts an element as the table of Parquet conversions has it.
func asColumn(e *element, o *bq.ParquetOptions) (*column, error) {
	mode := "NULLABLE"
	switch e.repetition {
	case "REQUIRED":
		mode = "REQUIRED"
	case "REPEATED":
		mode = "REPEATED"
	}
	c := &column{field: &field{Name: e.name, Mode: mode}, value: same}
	if len(e.children) > 0 {
		return c, c.group(e, o)
	}
	decimal := strings.HasPrefix(e.logical, "DecimalType") || e.converted == "DECIMAL"
	switch {
	case decimal:
		c.field.Type, c.others = "NUMERIC", []string{"BIGNUMERIC", "STRING"}
		if e.scale > 9 || e.precision-e.scale > 29 {
			c.field.Type, c.others = "BIGNUMERIC", []string{"STRING"}
		}
		c.field.Precision, c.field.Scale = e.precision, e.scale
	case e.physical == "BOOLEAN":
		c.field.Type = "BOOLEAN"
	case e.physical == "INT32" && (e.converted == "DATE" || strings.HasPrefix(e.logical, "DateType")):
		c.field.Type = "DATE"
	case e.physical == "INT96":
		c.field.Type = "TIMESTAMP"
	case strings.HasPrefix(e.logical, "TimestampType") && localTime.MatchString(e.logical):
		c.field.Type = "DATETIME"
	case strings.HasPrefix(e.logical, "TimestampType"), strings.HasPrefix(e.converted, "TIMESTAMP"):
		c.field.Type = "TIMESTAMP"
	case strings.HasPrefix(e.logical, "TimeType"), strings.HasPrefix(e.converted, "TIME_"):
		c.field.Type = "TIME"
	case e.physical == "INT32", e.physical == "INT64":
		c.field.Type = "INTEGER"
	case e.physical == "FLOAT", e.physical == "DOUBLE":
		c.field.Type = "FLOAT"
	case e.physical == "BYTE_ARRAY" && (e.converted == "UTF8" || strings.HasPrefix(e.logical, "StringType") || o.EnumAsString && e.converted == "ENUM"):
		c.field.Type = "STRING"
	case e.physical == "BYTE_ARRAY":
		c.field.Type = "BYTES"
	case e.physical == "FIXED_LEN_BYTE_ARRAY":
		c.field.Type = "BYTES"
		if strings.HasPrefix(e.logical, "UUIDType") { // DuckDB reads it as its UUID
			c.value = func(expr string) string {
				return "CAST(unhex(replace(CAST(" + expr + " AS VARCHAR), '-', '')) AS BLOB)"
			}
		}
	default:
		return nil, invalid("Unsupported Parquet type %s of column %s", e.physical, e.name)
	}
	return c, nil
}

var localTime = regexp.MustCompile(`isAdjustedToUTC=(0|false)`)

// group converts a struct, a list or a map.
func (c *column) group(e *element, o *bq.ParquetOptions) error {
	isList := e.converted == "LIST" || strings.HasPrefix(e.logical, "ListType")
	isMap := strings.HasPrefix(e.converted, "MAP") || strings.HasPrefix(e.logical, "MapType")
	switch {
	case isList && o.EnableListInference:
		middle := e.children[0]
		if len(middle.children) == 1 {
			middle = middle.children[0]
		}
		inner, err := asColumn(middle, o)
		if err != nil {
			return err
		}
		if inner.field.Mode == "REPEATED" {
			return invalid("Unsupported: a list of lists (column %s)", e.name)
		}
		f := *inner.field
		f.Name, f.Mode = e.name, "REPEATED"
		c.field, c.others, c.parts = &f, inner.others, inner.parts
		c.value = func(expr string) string { // a list that is NULL is empty
			return "list_transform(COALESCE(" + expr + ", []), lambda bqx: " + inner.value("bqx") + ")"
		}
		return nil
	case isMap && o.MapTargetType == "ARRAY_OF_STRUCT":
		pair := &element{name: e.name, repetition: "REPEATED", children: e.children[0].children}
		inner, err := asColumn(pair, o)
		if err != nil {
			return err
		}
		c.field, c.parts = inner.field, inner.parts
		c.value = func(expr string) string { return "COALESCE(map_entries(" + expr + "), [])" }
		return nil
	case isMap || isList:
		// Without inference the groups are taken as they stand: a record with a
		// repeated record in it.
		return invalid("bqtest: column %s: set parquetOptions for lists and maps (%s)", e.name, e.converted)
	}
	c.field.Type = "RECORD"
	var pack []string
	for _, child := range e.children {
		part, err := asColumn(child, o)
		if err != nil {
			return err
		}
		c.parts = append(c.parts, part)
		c.field.Fields = append(c.field.Fields, part.field)
		pack = append(pack, child.name)
	}
	parts := c.parts
	c.value = func(expr string) string {
		members := make([]string, len(pack))
		for i, name := range pack {
			members[i] = quote(name) + " := " + parts[i].value(expr+"."+quote(name))
		}
		return "CASE WHEN " + expr + " IS NULL THEN NULL ELSE struct_pack(" + strings.Join(members, ", ") + ") END"
	}
	return nil
}

// parquet reads the schemas of the files and matches them with the job's by name.
func (s *Server) parquet(l *bq.JobConfigurationLoad, paths []object) (*input, error) {
	options := l.ParquetOptions
	if options == nil {
		options = &bq.ParquetOptions{}
	}
	in := &input{}
	columns := map[string][]*column{}
	for _, o := range paths {
		root, err := s.parquetSchema(o)
		if err != nil {
			return nil, err
		}
		for _, child := range root.children {
			c, err := asColumn(child, options)
			if err != nil {
				return nil, err
			}
			columns[o.uri] = append(columns[o.uri], c)
		}
	}
	if l.Schema != nil {
		in.schema = l.Schema.Fields
	} else {
		for _, c := range columns[lastByName(paths).uri] {
			in.schema = append(in.schema, c.field)
		}
		if err := checkFields(in.schema, ""); err != nil {
			return nil, err
		}
	}
	for _, o := range paths {
		var selected []string
		for _, c := range columns[o.uri] {
			f := findField(in.schema, c.field.Name)
			if f == nil {
				if l.IgnoreUnknownValues || l.Schema == nil {
					continue
				}
				return nil, failure(http.StatusBadRequest, "invalid", o.uri, "Error while reading data, error message: Provided schema does not have the field %s of the Parquet file %s File: %s", c.field.Name, o.uri, o.uri)
			}
			if err := c.fits(f, o.uri, ""); err != nil {
				return nil, err
			}
			selected = append(selected, fmt.Sprintf("CAST(%s AS %s) AS %s", c.value(quote(c.field.Name)), duckType(f), quote(f.Name)))
		}
		if len(selected) == 0 {
			return nil, failure(http.StatusBadRequest, "invalid", o.uri, "Error while reading data, error message: no column of %s is in the schema", o.uri)
		}
		in.inserts = append(in.inserts, insert{o.uri, "SELECT " + strings.Join(selected, ", ") + " FROM read_parquet(" + literal(o.path) + ", hive_partitioning = false)"})
	}
	return in, nil
}

// fits says whether a target can take the column.
func (c *column) fits(f *field, uri, below string) error {
	name := below + f.Name
	wrong := func(format string, args ...any) error {
		return failure(http.StatusBadRequest, "invalid", uri, "Error while reading data, error message: "+format+" File: "+uri, args...)
	}
	if f.Type != c.field.Type && !slices.Contains(c.others, f.Type) {
		return wrong("Parquet column '%s' has type %s which does not match the target cpp_type %s.", name, c.field.Type, f.Type)
	}
	if (f.Mode == "REPEATED") != (c.field.Mode == "REPEATED") {
		return wrong("Parquet column '%s' is %s, the target is %s.", name, c.field.Mode, f.Mode)
	}
	if c.field.Precision > 0 && f.Precision > 0 && (f.Scale < c.field.Scale || f.Precision-f.Scale < c.field.Precision-c.field.Scale) {
		return wrong("Parquet column '%s' has precision %s which does not fit %s(%d, %d).", name, strconv.FormatInt(c.field.Precision, 10), f.Type, f.Precision, f.Scale)
	}
	for _, part := range c.parts {
		member := findField(f.Fields, part.field.Name)
		if member == nil {
			return wrong("Parquet column '%s.%s' is not in the schema.", name, part.field.Name)
		}
		if err := part.fits(member, uri, name+"."); err != nil {
			return err
		}
	}
	return nil
}
