package load

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"lake/schemas"
)

// DigestQuery has an engine digest a table that it holds (Digest).
type DigestQuery struct {
	// SQL answers a row a partition, of columns: the partition's name, the number
	// of rows, High, Low, and for each of Floats Weighted and Magnitude.
	SQL string
	// Floats are the float columns in the order of the answer.
	Floats []string
}

// DigestTarget is where an engine has a table.
type DigestTarget struct {
	Dialect schemas.Dialect
	Name    string // as the engine's SQL writes it
	// Columns are those that it has. The others came to the lake's table after the
	// last load: where nothing else changed they are NULL there, too.
	Columns []string
	// Text is the expression of a column's text, NULL excepted, where the engine keeps
	// it in another type than the dialect does; "", or nil, leaves it to the dialect.
	Text func(schemas.Field) string
}

func (t DigestTarget) lacks(f schemas.Field) bool {
	return !slices.ContainsFunc(t.Columns, func(name string) bool { return strings.EqualFold(name, f.Name) })
}

// NewDigestQuery makes the query. Partitions are those asked for; the target has no
// others where they are only All. Sessions have UTC as their zone.
func NewDigestQuery(target DigestTarget, t Table, partitions []string) DigestQuery {
	d := target.Dialect
	e := engines[d]
	var q DigestQuery
	var parts, inner, outer []string
	name := d.Literal(All)
	where := ""
	if t.DateColumn != "" {
		name = e.date(d.Quote(t.DateColumn))
		dates := make([]string, len(partitions))
		for i, p := range partitions {
			dates[i] = "DATE " + d.Literal(p)
		}
		where = " WHERE " + d.Quote(t.DateColumn) + " IN (" + strings.Join(dates, ", ") + ")"
	}
	for _, f := range t.Schema.Fields {
		x := d.Quote(f.Name)
		if target.lacks(f) {
			parts = append(parts, d.Literal(nullText(f)), d.Literal(","))
		} else {
			parts = append(parts, e.text(d, f, x, target.Text), d.Literal(","))
		}
		if isFloat(f) {
			n := strconv.Itoa(len(q.Floats))
			q.Floats = append(q.Floats, strings.ToLower(f.Name))
			number := fmt.Sprintf("CASE WHEN %s THEN CAST(%s AS %s) ELSE 0 END", finite(x), x, e.float)
			if target.lacks(f) {
				number = "CAST(0 AS " + e.float + ")"
			}
			inner = append(inner, number+" AS f"+n)
			outer = append(outer,
				fmt.Sprintf("SUM(f%s * (CAST(h AS %s) / 4294967296.0))", n, e.float),
				fmt.Sprintf("SUM(ABS(f%s))", n))
		}
	}
	// Three levels: the text, its MD5 once, the sums.
	texts := "SELECT " + strings.Join(append([]string{name + " AS p", e.md5(concat(parts)) + " AS m"}, inner...), ", ") + " FROM " + target.Name + where
	hashes := "SELECT p, " + e.bits("m", 1) + " AS h, " + e.bits("m", 9) + " AS l"
	for i := range q.Floats {
		hashes += fmt.Sprintf(", f%d", i)
	}
	hashes += " FROM (" + texts + ") t"
	q.SQL = "SELECT " + strings.Join(append([]string{"p", "COUNT(*)", e.sum("h"), e.sum("l")}, outer...), ", ") + " FROM (" + hashes + ") t GROUP BY p"
	return q
}

// Add reads one row of the answer, its cells as text, "" for NULL.
func (q DigestQuery) Add(into map[string]Digest, cells []string) error {
	if len(cells) != 4+2*len(q.Floats) {
		return fmt.Errorf("read a digest: %d columns instead of %d", len(cells), 4+2*len(q.Floats))
	}
	var d Digest
	for i, n := range []*int64{&d.Rows, &d.High, &d.Low} {
		var err error
		if *n, err = strconv.ParseInt(cells[1+i], 10, 64); err != nil {
			return fmt.Errorf("read the digest of %s: %w", cells[0], err)
		}
	}
	for i, name := range q.Floats {
		if d.Floats == nil {
			d.Floats = map[string]FloatSum{}
		}
		var sum FloatSum
		for j, x := range []*float64{&sum.Weighted, &sum.Magnitude} {
			var err error
			if *x, err = strconv.ParseFloat(cells[4+2*i+j], 64); err != nil {
				return fmt.Errorf("read the digest of %s: %w", cells[0], err)
			}
		}
		d.Floats[name] = sum
	}
	into[cells[0]] = d
	return nil
}

// finite is whether a float is one that is summed. NaN is beyond all numbers on
// some engines and beside them on others: this is false on all.
func finite(x string) string { return "ABS(" + x + ") <= 1e280" }

// engine is how a dialect writes what a digest needs.
type engine struct {
	str   string // the type of text
	float string // the type of a double
	value func(f schemas.Field, x string) string
	date  func(x string) string // ISO text of a date
	md5   func(text string) string
	bits  func(hex string, at int) string // 32 bits of hex digits, from position at
	sum   func(x string) string
}

// text is the expression of a column's text, NULL included.
func (e engine) text(d schemas.Dialect, f schemas.Field, x string, own func(schemas.Field) string) string {
	value := ""
	if own != nil {
		value = own(f)
	}
	if value == "" {
		value = e.plain(d, f, x)
	}
	return "CASE WHEN " + x + " IS NULL THEN '" + nullText(f) + "' ELSE " + value + " END"
}

// nullText is the text of NULL; some engines take an empty list for it.
func nullText(f schemas.Field) string {
	if f.Type.Kind == schemas.List || f.Type.Kind == schemas.Map {
		return "0"
	}
	return "~"
}

// plain is the text of a value that is not NULL.
func (e engine) plain(d schemas.Dialect, f schemas.Field, x string) string {
	cast := func(x string) string { return "CAST(" + x + " AS " + e.str + ")" }
	if v := e.value(f, x); v != "" {
		return v
	}
	switch f.Type.Kind {
	case schemas.Bool:
		return "CASE WHEN " + x + " THEN 't' ELSE 'f' END"
	case schemas.Float32, schemas.Float64:
		return "CASE WHEN " + finite(x) + " THEN 'f' ELSE 'x' END"
	case schemas.Struct, schemas.JSON:
		return "'v'"
	default:
		return cast(x)
	}
}

func concat(parts []string) string { return "CONCAT(" + strings.Join(parts, ", ") + ")" }

var engines = map[schemas.Dialect]engine{
	schemas.DuckDB: {
		str: "VARCHAR", float: "DOUBLE", value: duckDBValue,
		date: func(x string) string { return "CAST(" + x + " AS VARCHAR)" },
		md5:  func(text string) string { return "md5(" + text + ")" },
		bits: func(m string, at int) string { return fmt.Sprintf("CAST('0x' || substr(%s, %d, 8) AS BIGINT)", m, at) },
		sum:  func(x string) string { return "CAST(SUM(" + x + ") AS BIGINT)" },
	},
	schemas.BigQuery: {
		str: "STRING", float: "FLOAT64", value: bigQueryValue,
		date: func(x string) string { return "FORMAT_DATE('%Y-%m-%d', " + x + ")" },
		md5:  func(text string) string { return "TO_HEX(MD5(" + text + "))" },
		bits: func(m string, at int) string {
			return fmt.Sprintf("CAST(CONCAT('0x', SUBSTR(%s, %d, 8)) AS INT64)", m, at)
		},
		sum: func(x string) string { return "SUM(" + x + ")" },
	},
	schemas.Hive:  javaEngine(hiveValue),
	schemas.Spark: javaEngine(sparkValue),
}

func javaEngine(value func(schemas.Field, string) string) engine {
	return engine{
		str: "STRING", float: "DOUBLE", value: value,
		date: func(x string) string { return "CAST(" + x + " AS STRING)" },
		md5:  func(text string) string { return "md5(" + text + ")" },
		bits: func(m string, at int) string {
			return fmt.Sprintf("CAST(conv(substr(%s, %d, 8), 16, 10) AS BIGINT)", m, at)
		},
		sum: func(x string) string { return "SUM(" + x + ")" },
	}
}

func duckDBValue(f schemas.Field, x string) string {
	switch f.Type.Kind {
	case schemas.Decimal:
		if f.Type.Scale > 0 {
			return "rtrim(rtrim(CAST(" + x + " AS VARCHAR), '0'), '.')"
		}
	case schemas.String:
		return "strlen(" + x + ") || ':' || " + x
	case schemas.Bytes:
		return "lower(hex(" + x + "))"
	case schemas.UUID:
		return "replace(CAST(" + x + " AS VARCHAR), '-', '')"
	case schemas.Date:
		return "CAST(date_diff('day', DATE '1970-01-01', " + x + ") AS VARCHAR)"
	case schemas.Time, schemas.Timestamp, schemas.Datetime:
		return "CAST(epoch_us(" + x + ") AS VARCHAR)"
	case schemas.List:
		return "CAST(len(" + x + ") AS VARCHAR)"
	case schemas.Map:
		return "CAST(cardinality(" + x + ") AS VARCHAR)"
	}
	return ""
}

// bigQueryValue has uuid as STRING, with dashes or without. BigQuery's own text of a
// NUMERIC has no zeros at its end.
func bigQueryValue(f schemas.Field, x string) string {
	switch f.Type.Kind {
	case schemas.String:
		return "CONCAT(CAST(BYTE_LENGTH(" + x + ") AS STRING), ':', " + x + ")"
	case schemas.Bytes:
		return "TO_HEX(" + x + ")"
	case schemas.UUID:
		return "REPLACE(LOWER(" + x + "), '-', '')"
	case schemas.Date:
		return "CAST(UNIX_DATE(" + x + ") AS STRING)"
	case schemas.Time:
		return "CAST(TIME_DIFF(" + x + ", TIME '00:00:00', MICROSECOND) AS STRING)"
	case schemas.Timestamp:
		return "CAST(UNIX_MICROS(" + x + ") AS STRING)"
	case schemas.Datetime:
		return "CAST(DATETIME_DIFF(" + x + ", DATETIME '1970-01-01 00:00:00', MICROSECOND) AS STRING)"
	case schemas.List, schemas.Map:
		return "CAST(ARRAY_LENGTH(" + x + ") AS STRING)"
	}
	return ""
}

// javaValue is what Hive and Spark write alike. Both have a time as its number of
// microseconds, and uuid as text.
func javaValue(f schemas.Field, x string) string {
	switch f.Type.Kind {
	case schemas.String:
		return "CONCAT(CAST(octet_length(" + x + ") AS STRING), ':', " + x + ")"
	case schemas.Bytes:
		return "lower(hex(" + x + "))"
	case schemas.UUID:
		return "regexp_replace(lower(" + x + "), '-', '')"
	case schemas.Date:
		return "CAST(datediff(" + x + ", '1970-01-01') AS STRING)"
	case schemas.List, schemas.Map:
		return "CAST(size(" + x + ") AS STRING)"
	case schemas.Decimal:
		if f.Type.Scale > 0 {
			return "regexp_replace(" + javaDecimal(f.Type.Scale, x) + ", '[.]?0+$', '')"
		}
	}
	return ""
}

// javaDecimal is a decimal's plain text with all of its fraction's digits: a cast
// to text may write 1E-7, or leave zeros out. One more than the fraction never does the former.
func javaDecimal(scale int, x string) string {
	fraction := fmt.Sprintf("rpad(substr(CAST(CAST(1 + ABS(%s) %% 1 AS DECIMAL(%d, %d)) AS STRING), 3), %d, '0')", x, min(scale+1, 38), scale, scale)
	return fmt.Sprintf("CONCAT(CASE WHEN %s < 0 THEN '-' ELSE '' END, CAST(CAST(floor(ABS(%s)) AS DECIMAL(38, 0)) AS STRING), '.', %s)", x, x, fraction)
}

func sparkValue(f schemas.Field, x string) string {
	switch f.Type.Kind {
	case schemas.Timestamp, schemas.Datetime:
		return "CAST(unix_micros(CAST(" + x + " AS TIMESTAMP)) AS STRING)"
	}
	return javaValue(f, x)
}

// hiveValue reads a timestamp's parts: Hive's has no zone, and its functions of the
// epoch would give it the server's.
func hiveValue(f schemas.Field, x string) string {
	switch f.Type.Kind {
	case schemas.Timestamp, schemas.Datetime:
		seconds := fmt.Sprintf("(CAST(datediff(to_date(%s), '1970-01-01') AS BIGINT) * 86400 + hour(%s) * 3600 + minute(%s) * 60 + second(%s))", x, x, x, x)
		micros := fmt.Sprintf("CAST(substr(rpad(substr(CAST(%s AS STRING), 21), 6, '0'), 1, 6) AS BIGINT)", x)
		return "CAST(" + seconds + " * 1000000 + " + micros + " AS STRING)"
	}
	return javaValue(f, x)
}
