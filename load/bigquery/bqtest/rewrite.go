//go:build cgo

package bqtest

import (
	"fmt"
	"net/http"
	"strings"
)

// macros are functions of GoogleSQL that DuckDB has not, or that differ there.
var macros = []string{
	`CREATE OR REPLACE MACRO bq_md5(x) AS unhex(md5(x))`,
	`CREATE OR REPLACE MACRO bq_to_hex(x) AS lower(hex(x))`,
	`CREATE OR REPLACE MACRO bq_safe_divide(a, b) AS CASE WHEN b = 0 THEN NULL ELSE a / b END`,
	`CREATE OR REPLACE MACRO bq_format_date(f, d) AS strftime(d, f)`,
	`CREATE OR REPLACE MACRO bq_unix_date(d) AS date_diff('day', DATE '1970-01-01', d)`,
	`CREATE OR REPLACE MACRO bq_unix_seconds(t) AS CAST(floor(epoch_us(t) / 1000000) AS BIGINT)`,
	`CREATE OR REPLACE MACRO bq_unix_millis(t) AS CAST(floor(epoch_us(t) / 1000) AS BIGINT)`,
	// The text of a number: no zeros at the end of a NUMERIC, no ".0" of a FLOAT64.
	`CREATE OR REPLACE MACRO bq_text(x) AS CASE
		WHEN typeof(x) LIKE 'DECIMAL%' AND CAST(x AS VARCHAR) LIKE '%.%' THEN rtrim(rtrim(CAST(x AS VARCHAR), '0'), '.')
		WHEN typeof(x) = 'DOUBLE' THEN regexp_replace(CAST(x AS VARCHAR), '\.0$', '')
		ELSE CAST(x AS VARCHAR) END`,
	`CREATE OR REPLACE MACRO bq_bucket(t, width, origin := TIMESTAMPTZ '1950-01-01 00:00:00+00') AS time_bucket(width, t, origin)`,
	`CREATE OR REPLACE MACRO bq_date(t, zone := 'UTC') AS CAST(CASE WHEN typeof(t) = 'TIMESTAMP WITH TIME ZONE' THEN timezone(zone, CAST(t AS TIMESTAMPTZ)) ELSE CAST(t AS TIMESTAMP) END AS DATE)`,
}

// renamed are functions by DuckDB's name of the same.
var renamed = map[string]string{
	"MD5": "bq_md5", "TO_HEX": "bq_to_hex", "SAFE_DIVIDE": "bq_safe_divide", "FORMAT_DATE": "bq_format_date",
	"UNIX_DATE": "bq_unix_date", "UNIX_MICROS": "epoch_us", "UNIX_SECONDS": "bq_unix_seconds", "UNIX_MILLIS": "bq_unix_millis",
	"BYTE_LENGTH": "strlen", "CHAR_LENGTH": "length", "ARRAY_LENGTH": "len", "COUNTIF": "count_if", "TIMESTAMP_BUCKET": "bq_bucket",
	"LOGICAL_AND": "bool_and", "LOGICAL_OR": "bool_or", "STARTS_WITH": "starts_with", "ENDS_WITH": "ends_with", "DATE": "bq_date",
}

// known are functions that are alike, as far as lake uses them.
var known = map[string]bool{
	"COUNT": true, "SUM": true, "MIN": true, "MAX": true, "AVG": true, "ABS": true, "SUBSTR": true, "REPLACE": true, "LOWER": true, "UPPER": true, "COALESCE": true,
	"IFNULL": true, "IF": true, "NULLIF": true, "ROUND": true, "FLOOR": true, "CEIL": true, "MOD": true, "GREATEST": true, "LEAST": true, "TRIM": true, "LENGTH": true,
	"LEFT": true, "RIGHT": true, "REVERSE": true, "SIGN": true, "IN": true, "AND": true, "OR": true, "NOT": true, "WHEN": true, "THEN": true, "ELSE": true, "CASE": true, "SELECT": true,
	"WHERE": true, "HAVING": true, "AS": true, "FROM": true, "BY": true, "ON": true, "OVER": true, "DISTINCT": true, "UNION": true, "ALL": true, "EXISTS": true, "JOIN": true, "BETWEEN": true, "LIKE": true, "EXCEPT": true,
}

// rewriter writes GoogleSQL's tokens as DuckDB's SQL.
type rewriter struct {
	s   *Server
	t   []token
	at  int
	out strings.Builder
	def string // dataset of names that have none
}

func invalidQuery(format string, args ...any) error {
	return failure(http.StatusBadRequest, "invalidQuery", "query", format, args...)
}

func (w *rewriter) peek(ahead int) token {
	if w.at+ahead < len(w.t) {
		return w.t[w.at+ahead]
	}
	return token{other, ""}
}

func (w *rewriter) write(format string, args ...any) { fmt.Fprintf(&w.out, " "+format, args...) }

// until writes tokens up to one that stop accepts, outside of brackets; it stays
// in front of that.
func (w *rewriter) until(stop func(token) bool) error {
	depth := 0
	for w.at < len(w.t) {
		t := w.peek(0)
		if depth == 0 && stop(t) {
			return nil
		}
		switch {
		case t.is("(") || t.is("["):
			depth++
		case t.is(")") || t.is("]"):
			depth--
		}
		if err := w.one(); err != nil {
			return err
		}
	}
	return nil
}

func closing(t token) bool      { return t.is(")") }
func commaOrClose(t token) bool { return t.is(",") || t.is(")") }

// inner is the SQL of tokens up to a stop, not written.
func (w *rewriter) inner(stop func(token) bool) (string, error) {
	before := w.out
	w.out = strings.Builder{}
	err := w.until(stop)
	text := w.out.String()
	w.out = strings.Builder{}
	w.out.WriteString(before.String())
	return strings.TrimSpace(text), err
}

func (w *rewriter) one() error {
	t := w.peek(0)
	next := w.peek(1)
	switch t.kind {
	case text:
		w.write("%s", literal(t.text))
	case blob:
		w.write("unhex('%x')", t.text)
	case quoted:
		w.write("%s", quote(t.text))
	case other:
		w.write("%s", t.text)
	case word:
		name := strings.ToUpper(t.text)
		switch {
		case (name == "FROM" || name == "JOIN") && !next.is("("):
			return w.from(name)
		case next.kind == text && (name == "TIMESTAMP" || name == "DATETIME" || name == "DATE" || name == "TIME" || name == "NUMERIC" || name == "BIGNUMERIC"):
			w.at += 2
			w.write("CAST(%s AS %s)", literal(next.text), typeNames[name])
			return nil
		case next.is("("):
			return w.function(name)
		}
		w.write("%s", t.text)
	}
	w.at++
	return nil
}

var typeNames = map[string]string{"INT64": "BIGINT", "FLOAT64": "DOUBLE", "STRING": "VARCHAR", "BYTES": "BLOB", "BOOL": "BOOLEAN", "DATE": "DATE", "TIME": "TIME",
	"TIMESTAMP": "TIMESTAMPTZ", "DATETIME": "TIMESTAMP", "NUMERIC": "DECIMAL(38, 9)", "BIGNUMERIC": "DECIMAL(38, 9)", "JSON": "JSON"}

// function writes a call; the name is at the front, then its bracket.
func (w *rewriter) function(name string) error {
	switch name {
	case "CAST", "SAFE_CAST":
		w.at += 2
		x, err := w.inner(func(t token) bool { return t.is("AS") })
		if err != nil {
			return err
		}
		w.at++
		to := strings.ToUpper(w.peek(0).text)
		if typeNames[to] == "" || !w.peek(1).is(")") {
			return invalidQuery("Type not found: %s (bqtest casts to simple types)", to)
		}
		w.at += 2
		cast := map[string]string{"CAST": "CAST", "SAFE_CAST": "TRY_CAST"}[name]
		switch to {
		case "STRING":
			w.write("bq_text(%s)", x)
		default:
			w.write("%s(%s AS %s)", cast, x, typeNames[to])
		}
		return nil
	case "CONCAT":
		return w.arguments(func(args []string) (string, error) { return "(" + strings.Join(args, " || ") + ")", nil })
	case "TIMESTAMP_DIFF", "DATETIME_DIFF", "TIME_DIFF", "DATE_DIFF":
		return w.arguments(func(args []string) (string, error) {
			if len(args) != 3 {
				return "", invalidQuery("No matching signature for function %s", name)
			}
			return fmt.Sprintf("date_sub('%s', %s, %s)", strings.ToLower(args[2]), args[1], args[0]), nil
		})
	case "TIMESTAMP_TRUNC", "DATE_TRUNC", "DATETIME_TRUNC":
		return w.arguments(func(args []string) (string, error) {
			part := strings.ToLower(args[1])
			if part == "week" || strings.HasPrefix(part, "iso") {
				return "", invalidQuery("bqtest truncates to no %s", part)
			}
			if name != "TIMESTAMP_TRUNC" {
				return fmt.Sprintf("date_trunc('%s', %s)", part, args[0]), nil
			}
			zone := "'UTC'"
			if len(args) > 2 {
				zone = args[2]
			}
			return fmt.Sprintf("timezone(%s, date_trunc('%s', timezone(%s, %s)))", zone, part, zone, args[0]), nil
		})
	case "EXTRACT":
		return w.extract()
	}
	if to := renamed[name]; to != "" {
		w.at++
		w.write("%s", to)
		return nil
	}
	if !known[name] {
		return invalidQuery("Function not found: %s (bqtest)", name)
	}
	w.write("%s", name)
	w.at++
	return nil
}

// arguments rewrites each and has join write the call.
func (w *rewriter) arguments(join func([]string) (string, error)) error {
	w.at += 2
	var args []string
	for {
		x, err := w.inner(commaOrClose)
		if err != nil {
			return err
		}
		args = append(args, x)
		end := w.peek(0).is(")")
		w.at++
		if end || w.at >= len(w.t) {
			break
		}
	}
	call, err := join(args)
	if err != nil {
		return err
	}
	w.write("%s", call)
	return nil
}

func (w *rewriter) extract() error {
	part := strings.ToUpper(w.peek(2).text)
	if !w.peek(3).is("FROM") {
		return invalidQuery("Syntax error: EXTRACT(%s …", part)
	}
	w.at += 4
	x, err := w.inner(func(t token) bool { return t.is(")") || t.is("AT") })
	if err != nil {
		return err
	}
	if w.peek(0).is("AT") {
		w.at += 3 // AT TIME ZONE
		zone, err := w.inner(closing)
		if err != nil {
			return err
		}
		x = "timezone(" + zone + ", " + x + ")"
	}
	w.at++
	switch part {
	case "YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND", "QUARTER":
		w.write("%s(%s)", strings.ToLower(part), x)
	case "DAYOFWEEK":
		w.write("(dayofweek(%s) + 1)", x)
	case "DAYOFYEAR":
		w.write("dayofyear(%s)", x)
	case "MILLISECOND":
		w.write("(millisecond(%s) %% 1000)", x)
	case "MICROSECOND":
		w.write("(microsecond(%s) %% 1000000)", x)
	case "DATE":
		w.write("CAST(%s AS DATE)", x)
	default:
		return invalidQuery("bqtest extracts no %s", part)
	}
	return nil
}

// from writes FROM or JOIN with the table behind it.
func (w *rewriter) from(keyword string) error {
	w.at++
	if w.peek(0).is("UNNEST") {
		w.at += 2
		x, err := w.inner(closing)
		if err != nil {
			return err
		}
		w.at++
		w.write("%s (SELECT unnest(%s, recursive := true))", keyword, x)
		return nil
	}
	path, err := w.path()
	if err != nil {
		return err
	}
	from, err := w.s.resolve(path, w.def)
	if err != nil {
		return err
	}
	w.write("%s %s", keyword, from)
	return nil
}

// path reads a table's name: words and quoted names with dots, which may also be
// within the quotes. A project's name may have dashes.
func (w *rewriter) path() ([]string, error) {
	var path []string
	for {
		t := w.peek(0)
		if t.kind != word && t.kind != quoted {
			return nil, invalidQuery("Syntax error: Unexpected %q", t.text)
		}
		path = append(path, strings.Split(t.text, ".")...)
		w.at++
		if !w.peek(0).is(".") {
			return path, nil
		}
		w.at++
	}
}
