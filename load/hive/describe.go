package hive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"lake/load"
	"lake/schemas"
)

// column is one that a table has.
type column struct{ name, typ string } // as the metastore writes them

// described is what the server says of a table, or of a partition.
type described struct {
	columns    []column // without those that partition
	partitions []column
	details    map[string]string // "location", "type", "inputformat", "created"
	properties map[string]string // of a table
}

// incarnation differs once the table was dropped and made anew.
func (d described) incarnation() string {
	if own := d.properties[incarnationProperty]; own != "" {
		return own
	}
	return "made " + d.details["created"] // by somebody else
}

// names are those of all columns.
func (d described) names() []string {
	var names []string
	for _, c := range slices.Concat(d.columns, d.partitions) {
		names = append(names, c.name)
	}
	return names
}

// incarnationProperty is on the tables that lake makes.
const incarnationProperty = "lake.incarnation"

// table describes the target; nil where there is none.
func (w *Warehouse) table(ctx context.Context, s *session) (*described, error) {
	d, err := w.describe(ctx, s, "")
	var answer *serverError
	if errors.As(err, &answer) && answer.missing() {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("describe table %s: %w", w.cfg.Table, err)
	}
	rows, err := s.describe(ctx, "SHOW TBLPROPERTIES "+w.quoted(s))
	if err != nil {
		return nil, fmt.Errorf("read the properties of table %s: %w", w.cfg.Table, err)
	}
	d.properties = map[string]string{}
	for _, r := range rows {
		if len(r) >= 2 {
			d.properties[strings.TrimSpace(r[0].String)] = strings.TrimSpace(r[1].String)
		}
	}
	return d, nil
}

// placed is the location of a partition, or of the table where it has none; ""
// where there is no such partition.
func (w *Warehouse) placed(ctx context.Context, s *session, partition string) (string, error) {
	what := ""
	if partition != load.All {
		what = w.spec(s, partition)
	}
	d, err := w.describe(ctx, s, what)
	var answer *serverError
	if errors.As(err, &answer) && answer.noPartition() {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look where the rows are: %w", err)
	}
	return d.details["location"], nil
}

// describe reads what both servers answer, each in its own way:
//
//	col | type | comment              the columns, in Spark all of them
//	                                  an empty row, in Spark none
//	# Partition Information | |
//	# col_name | data_type | comment
//	dt | date |
//
//	# Detailed Table Information | |
//	Location: | file:/… |             in Spark without the colon
func (w *Warehouse) describe(ctx context.Context, s *session, partition string) (*described, error) {
	rows, err := s.describe(ctx, "DESCRIBE FORMATTED "+w.quoted(s)+partition)
	if err != nil {
		return nil, err
	}
	d := &described{details: map[string]string{}}
	var all []column
	section := "columns"
	for _, r := range rows {
		if len(r) < 2 {
			continue
		}
		first, second := strings.TrimSpace(r[0].String), strings.TrimSpace(r[1].String)
		switch {
		case first == "":
			continue
		case first == "# Partition Information":
			section = "partitions"
		case first == "# col_name":
		case strings.HasPrefix(first, "#"):
			section = "details"
		case section == "columns":
			all = append(all, column{first, second})
		case section == "partitions":
			d.partitions = append(d.partitions, column{first, second})
		default:
			// The partition's come before the table's.
			if key := detailNames[strings.TrimSuffix(first, ":")]; key != "" && d.details[key] == "" {
				d.details[key] = second
			}
		}
	}
	for _, c := range all {
		if !hasColumn(d.partitions, c.name) {
			d.columns = append(d.columns, c)
		}
	}
	return d, nil
}

var detailNames = map[string]string{"Location": "location", "Table Type": "type", "Type": "type", "InputFormat": "inputformat",
	"CreateTime": "created", "Created Time": "created"}

func hasColumn(columns []column, name string) bool {
	for _, c := range columns {
		if strings.EqualFold(c.name, name) {
			return true
		}
	}
	return false
}

// typeText is a type as the metastore writes it. What Hive has not: a time of day is
// the number of its microseconds, a uuid its 16 bytes, JSON its text; a datetime and
// an instant are both a TIMESTAMP. SQL quotes the names of members.
func typeText(t schemas.Type, quote func(string) string) string {
	switch t.Kind {
	case schemas.UUID:
		return "binary"
	case schemas.Datetime:
		return "timestamp" // Spark's TIMESTAMP_NTZ is unknown to Hive
	case schemas.Decimal:
		return fmt.Sprintf("decimal(%d,%d)", t.Precision, t.Scale)
	case schemas.List:
		return "array<" + typeText(t.Elem.Type, quote) + ">"
	case schemas.Map:
		return "map<" + typeText(t.Key.Type, quote) + "," + typeText(t.Elem.Type, quote) + ">"
	case schemas.Struct:
		members := make([]string, len(t.Fields))
		for i, f := range t.Fields {
			members[i] = quote(f.Name) + ":" + typeText(f.Type, quote)
		}
		return "struct<" + strings.Join(members, ",") + ">"
	default:
		return strings.ToLower(t.SQL(schemas.Hive))
	}
}

// plainName is a name that both engines take, in a column and in a struct.
func plainName(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}

// unfit tells what in a type no table of Hive can have; "" where all is well.
func unfit(t schemas.Type) string {
	var members []schemas.Field
	switch t.Kind {
	case schemas.List:
		members = []schemas.Field{*t.Elem}
	case schemas.Map:
		members = []schemas.Field{*t.Key, *t.Elem}
	case schemas.Struct:
		members = t.Fields
	}
	for _, f := range members {
		if !plainName(f.Name) {
			return fmt.Sprintf("a member's name is %q, and the Hive Metastore takes letters, digits and _", f.Name)
		}
		if why := unfit(f.Type); why != "" {
			return why
		}
	}
	return ""
}
