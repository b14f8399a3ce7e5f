package agree

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// kind is a type of expressions.
type kind int

const (
	boolean kind = iota
	integer
	double
	numeric
	text
	binary
	date
	timestamp
	datetime
)

// expr is a random expression: a text with a place for each of its parts.
type expr struct {
	kind   kind
	format string
	parts  []*expr
}

func (e *expr) String() string {
	args := make([]any, len(e.parts))
	for i, p := range e.parts {
		args[i] = p.String()
	}
	return fmt.Sprintf(e.format, args...)
}

func leaf(k kind, text string) *expr {
	return &expr{kind: k, format: strings.ReplaceAll(text, "%", "%%")}
}

// form is a way to make an expression of parts of kinds. A form that may fail
// stands in few queries, since one row that fails ends an engine's query.
type form struct {
	format string
	parts  []kind
	fails  bool
}

var columns = map[kind][]string{
	boolean: {"b", "b", "b"}, integer: {"i", "j", "small", "k", "ARRAY_LENGTH(tags)"}, double: {"f", "f32", "gps.lat"}, numeric: {"n", "m"},
	text: {"s", "u", "gps.place", "tags[SAFE_OFFSET(0)]", "tags[SAFE_ORDINAL(2)]", "props['plan']"}, binary: {"raw"}, date: {"d"}, timestamp: {"ts", "seen"}, datetime: {"dt"},
}

var literals = map[kind][]string{
	boolean: {"TRUE", "FALSE", "NULL"}, integer: {"0", "1", "-1", "2", "7", "10", "2147483647", "3000000000", "CAST(NULL AS INT64)"},
	double:  {"0.0", "-0.0", "1.5", "-2.5", "0.1", "1e15", "CAST('NaN' AS FLOAT64)", "CAST('inf' AS FLOAT64)", "CAST('-inf' AS FLOAT64)", "CAST(NULL AS FLOAT64)"},
	numeric: {"NUMERIC '0'", "NUMERIC '1.5'", "NUMERIC '-0.000000001'", "NUMERIC '12.5'", "CAST(NULL AS NUMERIC)"},
	text:    {"''", "'a'", "'abc'", "'Interaction'", `'it\'s'`, `'a\\b'`, "'日本語'", "'ü'", "'12'", "' '", "'a\\nb'", "'${x}'", "CAST(NULL AS STRING)"},
	binary:  {`b''`, `b'\x01\x02'`, `b'abc'`}, date: {"DATE '2021-11-30'", "DATE '1969-12-31'", "CAST(NULL AS DATE)"},
	timestamp: {"TIMESTAMP '2021-11-30 00:00:00+05:30'", "TIMESTAMP '1969-12-31 23:59:59.5Z'", "TIMESTAMP '2021-03-14 10:00:00Z'", "CAST(NULL AS TIMESTAMP)"},
	datetime:  {"CAST('2021-11-30 12:00:00' AS DATETIME)", "CAST('1969-12-31 23:59:59.5' AS DATETIME)"},
}

var zones = []string{"UTC", "Asia/Kolkata", "America/New_York", "America/Sao_Paulo", "Asia/Kathmandu", "Australia/Lord_Howe", "Europe/Berlin", "Pacific/Apia"}

var dateParts = []string{"DAYOFWEEK", "DAY", "DAYOFYEAR", "WEEK", "ISOWEEK", "MONTH", "QUARTER", "YEAR", "ISOYEAR"}
var clockParts = []string{"MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR"}
var truncParts = []string{"MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "ISOWEEK", "MONTH", "QUARTER", "YEAR"}

func forms() map[kind][]form {
	out := map[kind][]form{}
	add := func(k kind, fails bool, format string, parts ...kind) {
		out[k] = append(out[k], form{format, parts, fails})
	}
	for _, k := range []kind{integer, double, numeric, text, binary, date, timestamp, datetime} {
		for _, op := range []string{"=", "!=", "<", "<=", ">", ">="} {
			add(boolean, false, "(%s "+op+" %s)", k, k)
		}
		add(boolean, false, "(%s IS NULL)", k)
		add(boolean, false, "(%s BETWEEN %s AND %s)", k, k, k)
		add(boolean, false, "(%s NOT BETWEEN %s AND %s)", k, k, k)
		add(boolean, false, "(%s IN (%s, %s))", k, k, k)
		add(boolean, false, "(%s NOT IN (%s, %s))", k, k, k)
		add(k, false, "IF(%s, %s, %s)", boolean, k, k)
		add(k, false, "COALESCE(%s, %s)", k, k)
		add(k, false, "IFNULL(%s, %s)", k, k)
		add(k, false, "NULLIF(%s, %s)", k, k)
		add(k, false, "GREATEST(%s, %s)", k, k)
		add(k, false, "LEAST(%s, %s, %s)", k, k, k)
		add(k, false, "CASE WHEN %s THEN %s WHEN %s THEN %s END", boolean, k, boolean, k)
		add(k, false, "CASE %s WHEN %s THEN %s ELSE %s END", integer, integer, k, k)
	}
	for range 4 {
		add(boolean, false, "(%s AND %s)", boolean, boolean)
		add(boolean, false, "(%s OR %s)", boolean, boolean)
		add(boolean, false, "(NOT %s)", boolean)
		add(boolean, false, "(%s IS TRUE)", boolean)
		add(boolean, false, "(%s IS NOT FALSE)", boolean)
		add(boolean, false, "(%s = %s)", boolean, boolean)
		add(boolean, false, "(%s > %s)", boolean, boolean)
		for _, p := range []string{`'a%%'`, `'%%a%%'`, `'_b_'`, `'%%é'`, `'50\\%%'`, `'a\\_b'`, `'a\\\\b'`, `'%%_'`, `''`, `'_'`, `'it\'s'`, `'%%\n%%'`, `'Inter%%tion'`} {
			add(boolean, false, "(%s LIKE "+p+")", text)
			add(boolean, false, "(%s NOT LIKE "+p+")", text)
		}
		for _, p := range []string{`r'^[a-z]+$'`, `r'\d'`, `r'a.b'`, `r'(?i)INTER'`, `r'^$'`, `r'\s'`, `r'\bb\b'`, `r'[^a]'`, `r'b$'`, `r'(a|b)+c?'`, `r'\x{1F642}'`, `r'(?s)a.b'`, `r'\pL{3}'`, `r'a\.b\*'`} {
			add(boolean, false, "REGEXP_CONTAINS(%s, "+p+")", text)
		}
	}
	add(boolean, false, "STARTS_WITH(%s, %s)", text, text)
	add(boolean, false, "ENDS_WITH(%s, %s)", text, text)
	add(boolean, false, "(%s > %s)", integer, double)
	add(boolean, false, "(%s <= %s)", numeric, double)
	add(boolean, false, "(%s = %s)", integer, numeric)
	add(boolean, false, "CAST(%s AS BOOL)", integer)
	add(boolean, false, "SAFE_CAST(%s AS BOOL)", text)

	for range 3 {
		for _, k := range []kind{integer, double, numeric} {
			add(k, true, "(%s + %s)", k, k)
			add(k, true, "(%s - %s)", k, k)
			add(k, true, "(-%s)", k)
			add(k, true, "ABS(%s)", k)
			add(k, false, "SIGN(%s)", k)
		}
		for _, k := range []kind{integer, double} {
			add(k, true, "(%s * %s)", k, k)
		}
		for _, k := range []kind{double, numeric} {
			add(k, false, "ROUND(%s)", k)
			add(k, false, "FLOOR(%s)", k)
			add(k, false, "CEIL(%s)", k)
			add(k, false, "ROUND(%s, 2)", k)
			add(k, false, "ROUND(%s, -1)", k)
		}
		add(double, true, "(%s / %s)", integer, integer)
		add(double, true, "(%s / %s)", double, double)
		add(double, false, "SAFE_DIVIDE(%s, %s)", integer, integer)
		add(double, false, "SAFE_DIVIDE(%s, %s)", double, integer)
		add(integer, true, "DIV(%s, %s)", integer, integer)
		add(integer, true, "MOD(%s, %s)", integer, integer)
		add(integer, false, "MOD(%s, 7)", integer)
		add(integer, false, "DIV(%s, -3)", integer)
	}
	add(numeric, true, "(n * %s)", numeric)
	add(numeric, false, "(n * n)")
	add(numeric, false, "(n * m)")
	add(numeric, false, "(m + small)")
	add(numeric, false, "(n * 3 - 1)")
	add(numeric, false, "MOD(%s, 7)", numeric)
	add(numeric, true, "CAST(%s AS NUMERIC)", integer)
	add(numeric, true, "SAFE_CAST(%s AS NUMERIC)", text)
	add(double, false, "CAST(%s AS FLOAT64)", integer)
	add(double, false, "CAST(%s AS FLOAT64)", numeric)
	add(double, false, "SAFE_CAST(%s AS FLOAT64)", text)
	add(integer, true, "CAST(%s AS INT64)", double)
	add(integer, false, "SAFE_CAST(%s AS INT64)", double)
	add(integer, false, "SAFE_CAST(%s AS INT64)", numeric)
	add(integer, true, "SAFE_CAST(%s AS INT64)", text)
	add(integer, false, "CAST(%s AS INT64)", boolean)
	add(integer, false, "LENGTH(%s)", text)
	add(integer, false, "LENGTH(raw)")
	add(integer, false, "STRPOS(%s, %s)", text, text)
	add(integer, false, "UNIX_MICROS(%s)", timestamp)
	add(integer, false, "UNIX_MILLIS(%s)", timestamp)
	add(integer, false, "UNIX_SECONDS(%s)", timestamp)

	for range 2 {
		add(text, false, "UPPER(%s)", text)
		add(text, false, "LOWER(%s)", text)
		add(text, false, "TRIM(%s)", text)
		add(text, false, "LTRIM(%s)", text)
		add(text, false, "RTRIM(%s)", text)
		add(text, false, "TRIM(%s, 'a ü')", text)
		add(text, false, "RTRIM(%s, 'b]^\\\\-')", text)
		add(text, false, "SUBSTR(%s, %s)", text, integer)
		add(text, true, "SUBSTR(%s, %s, %s)", text, integer, integer)
		add(text, false, "SUBSTR(%s, 2, 3)", text)
		add(text, false, "SUBSTR(%s, -2)", text)
		add(text, false, "REPLACE(%s, %s, %s)", text, text, text)
		add(text, false, "(%s || %s)", text, text)
		add(text, false, "CONCAT(%s, '-', %s)", text, text)
	}
	for _, k := range []kind{integer, numeric, boolean, date, timestamp, datetime} {
		add(text, false, "CAST(%s AS STRING)", k)
	}
	for _, zone := range zones {
		add(date, false, "DATE(%s, '"+zone+"')", timestamp)
	}
	add(date, false, "DATE(%s)", timestamp)
	add(date, false, "DATE(%s)", datetime)
	add(date, false, "SAFE_CAST(%s AS DATE)", text)
	add(date, true, "DATE(2021, %s, 28)", integer)
	for _, part := range dateParts {
		add(integer, false, "EXTRACT("+part+" FROM %s)", date)
		add(integer, false, "EXTRACT("+part+" FROM %s AT TIME ZONE '"+zones[len(part)%len(zones)]+"')", timestamp)
	}
	for _, part := range clockParts {
		add(integer, false, "EXTRACT("+part+" FROM %s)", datetime)
		add(integer, false, "EXTRACT("+part+" FROM %s AT TIME ZONE '"+zones[len(part)%len(zones)]+"')", timestamp)
	}
	for i, part := range truncParts {
		add(timestamp, false, "TIMESTAMP_TRUNC(%s, "+part+")", timestamp)
		add(timestamp, false, "TIMESTAMP_TRUNC(%s, "+part+", '"+zones[i%len(zones)]+"')", timestamp)
		add(timestamp, false, "TIMESTAMP_TRUNC(%s, "+part+", '"+zones[(i+3)%len(zones)]+"')", timestamp)
	}
	for _, b := range buckets {
		add(timestamp, false, "TIMESTAMP_BUCKET(%s, "+b+")", timestamp)
	}
	add(timestamp, false, "CAST(%s AS TIMESTAMP)", date)
	add(timestamp, false, "CAST(%s AS TIMESTAMP)", datetime)
	add(datetime, false, "CAST(%s AS DATETIME)", timestamp)
	add(datetime, false, "CAST(%s AS DATETIME)", date)
	return out
}

var buckets = []string{"INTERVAL 1 MINUTE", "INTERVAL 7 DAY", "INTERVAL 90 SECOND", "INTERVAL 1 HOUR, TIMESTAMP '2021-01-01 00:17:00+05:30'",
	"INTERVAL 250 MILLISECOND", "INTERVAL 1 DAY, TIMESTAMP '2030-06-01 00:00:00-03:00'", "INTERVAL 13 HOUR"}

// maker makes random queries.
type maker struct {
	r     *rand.Rand
	forms map[kind][]form
	fails bool // expressions that may fail are taken
}

func (m *maker) expr(k kind, depth int) *expr {
	switch x := m.r.IntN(10); {
	case depth <= 0 && x < 8, x < 2:
		return leaf(k, pick(m.r, columns[k]))
	case depth <= 0, x < 3:
		return leaf(k, pick(m.r, literals[k]))
	}
	for {
		f := pick(m.r, m.forms[k])
		if f.fails && !m.fails {
			continue
		}
		e := &expr{kind: k, format: f.format}
		for _, p := range f.parts {
			e.parts = append(e.parts, m.expr(p, depth-1))
		}
		return e
	}
}

// query is SELECT with its clauses; the parts of a grouped one are aggregates'
// arguments and the like, so that each can be made smaller by itself.
type query struct {
	selected []*expr // behind the keys
	keys     []*expr // GROUP BY; of rows: k
	grouped  bool
	where    *expr
	having   *expr
}

func (q query) String() string {
	var b strings.Builder
	b.WriteString("SELECT ")
	n := 0
	for _, list := range [][]*expr{q.keys, q.selected} {
		for _, e := range list {
			if n > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%s AS c%d", e, n)
			n++
		}
	}
	b.WriteString(" FROM events")
	if q.where != nil {
		fmt.Fprintf(&b, " WHERE %s", q.where)
	}
	if q.grouped && len(q.keys) > 0 {
		b.WriteString(" GROUP BY ")
		for i := range q.keys {
			if i > 0 {
				b.WriteString(", ")
			}
			if i%2 == 0 {
				fmt.Fprint(&b, i+1)
			} else {
				fmt.Fprintf(&b, "c%d", i)
			}
		}
	}
	if q.having != nil {
		fmt.Fprintf(&b, " HAVING %s", q.having)
	}
	return b.String()
}

var everyKind = []kind{boolean, integer, double, numeric, text, date, timestamp, datetime}

func (m *maker) query() query {
	var q query
	if m.r.IntN(3) > 0 {
		q.where = m.expr(boolean, 3)
	}
	if m.r.IntN(2) == 0 {
		q.keys = []*expr{leaf(integer, "k")}
		for range 1 + m.r.IntN(4) {
			q.selected = append(q.selected, m.expr(pick(m.r, everyKind), 3))
		}
		return q
	}
	q.grouped = true
	for range m.r.IntN(3) {
		k := pick(m.r, []kind{integer, text, double, date, boolean, numeric, binary, timestamp})
		q.keys = append(q.keys, m.groupKey(k))
	}
	switch m.r.IntN(4) {
	case 0:
		q.keys = append(q.keys, leaf(timestamp, "TIMESTAMP_BUCKET(ts, "+pick(m.r, buckets)+")"))
	case 1:
		q.keys = append(q.keys, leaf(date, "DATE(ts, '"+pick(m.r, zones)+"')"))
	}
	for range 1 + m.r.IntN(4) {
		q.selected = append(q.selected, m.aggregate())
	}
	if m.r.IntN(2) == 0 {
		q.having = m.having()
	}
	return q
}

// groupKey is no expression that is a window in another's time.
func (m *maker) groupKey(k kind) *expr {
	for {
		e := m.expr(k, 1)
		if e.format != strings.ReplaceAll(e.format, "TIMESTAMP_BUCKET", "") || strings.HasPrefix(e.format, "DATE(") {
			continue
		}
		if len(e.parts) == 0 && !isColumn(e) {
			continue // a literal
		}
		return e
	}
}

func isColumn(e *expr) bool {
	for _, c := range columns[e.kind] {
		if e.format == c {
			return true
		}
	}
	return false
}

func (m *maker) aggregate() *expr {
	k := pick(m.r, []kind{integer, double, numeric, text, binary, date, timestamp, boolean})
	number := pick(m.r, []kind{integer, double, numeric})
	switch m.r.IntN(9) {
	case 0:
		return leaf(integer, "COUNT(*)")
	case 1:
		return &expr{integer, "COUNT(%s)", []*expr{m.expr(k, 1)}}
	case 2:
		return &expr{integer, "COUNT(DISTINCT %s)", []*expr{m.expr(k, 1)}}
	case 3:
		return &expr{integer, "COUNTIF(%s)", []*expr{m.expr(boolean, 2)}}
	case 4:
		return &expr{number, "SUM(%s)", []*expr{m.expr(number, 1)}}
	case 5:
		return &expr{number, "AVG(%s)", []*expr{m.expr(number, 1)}}
	case 6:
		return &expr{k, "MAX(%s)", []*expr{m.expr(k, 1)}}
	case 7:
		return &expr{integer, "(%s * 2 + 1)", []*expr{leaf(integer, "COUNT(*)")}}
	default:
		return &expr{k, "MIN(%s)", []*expr{m.expr(k, 1)}}
	}
}

func (m *maker) having() *expr {
	switch m.r.IntN(4) {
	case 0:
		return leaf(boolean, "COUNT(*) >= "+fmt.Sprint(m.r.IntN(4)))
	case 1:
		return &expr{boolean, "MAX(%s) > 1", []*expr{m.expr(double, 1)}}
	case 2:
		return &expr{boolean, "(SUM(%s) < 100 OR COUNT(DISTINCT s) > 1)", []*expr{leaf(integer, "i")}}
	default:
		return &expr{boolean, "(COUNT(*) > 1 AND NOT MIN(%s) IS NULL)", []*expr{m.expr(text, 1)}}
	}
}
