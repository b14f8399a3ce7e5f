//go:build cgo

package bqtest

import (
	"database/sql"
	"encoding/base64"
	"fmt"
	"math"
	"math/big"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"
	bq "google.golang.org/api/bigquery/v2"
)

// answer is a query's result.
type answer struct {
	schema *bq.TableSchema
	rows   []*bq.TableRow
}

// resolve is a table's name in DuckDB.
func (s *Server) resolve(path []string, def string) (string, error) {
	if n := len(path); n >= 3 && strings.EqualFold(path[n-2], "INFORMATION_SCHEMA") {
		if !strings.EqualFold(path[n-1], "PARTITIONS") {
			return "", invalidQuery("bqtest has no view %s", strings.Join(path, "."))
		}
		d, err := s.datasetByID(path[n-3])
		if err != nil {
			return "", err
		}
		return s.partitionsView(d)
	}
	project, rest := s.opts.Project, path
	if len(path) == 3 {
		project, rest = path[0], path[1:]
	}
	if len(rest) == 1 && def != "" {
		rest = []string{def, rest[0]}
	}
	if len(rest) != 2 {
		return "", invalidQuery("Table %q must be qualified with a dataset (e.g. dataset.table).", strings.Join(path, "."))
	}
	if project != s.opts.Project {
		return "", failure(http.StatusForbidden, "accessDenied", "", "Access Denied: Table %s:%s: User does not have permission to query table", project, strings.Join(rest, "."))
	}
	d, err := s.datasetByID(rest[0])
	if err != nil {
		return "", err
	}
	t, err := s.table(d, rest[1])
	if err != nil {
		return "", err
	}
	return t.sql(), nil
}

// partitionsView is INFORMATION_SCHEMA.PARTITIONS of a dataset.
func (s *Server) partitionsView(d *dataset) (string, error) {
	lines := []string{"SELECT '', '', '', CAST(NULL AS VARCHAR), 0::BIGINT, 0::BIGINT, now(), '' WHERE false"}
	for _, t := range d.tables {
		rows, err := s.days(t)
		if err != nil {
			return "", err
		}
		for id, written := range t.written {
			name := literal(id)
			if id == whole {
				name = "NULL"
			}
			lines = append(lines, fmt.Sprintf("SELECT %s, %s, %s, %s, %d::BIGINT, %d::BIGINT, make_timestamptz(%d), 'ACTIVE'",
				literal(s.opts.Project), literal(d.id), literal(t.id), name, rows[id], 8*rows[id], written.UnixMicro()))
		}
	}
	return "(SELECT * FROM (" + strings.Join(lines, " UNION ALL ") + ") v(table_catalog, table_schema, table_name, partition_id, total_rows, total_logical_bytes, last_modified_time, storage_tier))", nil
}

// query runs GoogleSQL: SELECT, and TRUNCATE TABLE.
func (s *Server) query(q *bq.JobConfigurationQuery) (*answer, error) {
	if q.UseLegacySql == nil || *q.UseLegacySql {
		return nil, invalidQuery("bqtest speaks GoogleSQL only: useLegacySql must be false")
	}
	if q.DestinationTable != nil || q.UserDefinedFunctionResources != nil || len(q.QueryParameters) > 0 {
		return nil, invalidQuery("bqtest: no destination tables, functions, parameters")
	}
	parts, err := tokens(q.Query)
	if err != nil {
		return nil, invalidQuery("Syntax error: %v", err)
	}
	def := ""
	if q.DefaultDataset != nil {
		def = q.DefaultDataset.DatasetId
	}
	w := &rewriter{s: s, t: parts, def: def}
	switch first := w.peek(0); {
	case first.is("TRUNCATE") && w.peek(1).is("TABLE"):
		w.at = 2
		return s.truncate(w)
	case first.is("SELECT"), first.is("WITH"):
	default:
		return nil, invalidQuery("Syntax error: Unexpected %q (bqtest runs SELECT)", first.text)
	}
	if err := w.until(func(token) bool { return false }); err != nil {
		return nil, err
	}
	rows, err := s.db.QueryContext(s.ctx, w.out.String())
	if err != nil {
		return nil, invalidQuery("%v", err)
	}
	defer rows.Close()
	return readRows(rows)
}

func (s *Server) truncate(w *rewriter) (*answer, error) {
	path, err := w.path()
	if err != nil {
		return nil, err
	}
	name, err := s.resolve(path, w.def)
	if err != nil {
		return nil, err
	}
	if _, err := s.db.ExecContext(s.ctx, "DELETE FROM "+name); err != nil {
		return nil, err
	}
	t := s.datasets[path[len(path)-2]].tables[path[len(path)-1]]
	t.modified = s.tick()
	t.written = map[string]time.Time{}
	if t.day() == "" {
		t.written[whole] = t.modified
	}
	return &answer{schema: &bq.TableSchema{}}, nil
}

var resultTypes = map[string]string{"BIGINT": "INTEGER", "INTEGER": "INTEGER", "HUGEINT": "INTEGER", "UBIGINT": "INTEGER", "UINTEGER": "INTEGER", "SMALLINT": "INTEGER", "TINYINT": "INTEGER", "DOUBLE": "FLOAT", "FLOAT": "FLOAT",
	"VARCHAR": "STRING", "BLOB": "BYTES", "BOOLEAN": "BOOLEAN", "DATE": "DATE", "TIME": "TIME", "TIMESTAMP": "DATETIME", "TIMESTAMPTZ": "TIMESTAMP", "JSON": "JSON"}

// readRows reads DuckDB's rows as BigQuery's API has them.
func readRows(rows *sql.Rows) (*answer, error) {
	columns, err := rows.ColumnTypes()
	if err != nil {
		return nil, err
	}
	a := &answer{schema: &bq.TableSchema{}}
	for i, c := range columns {
		name, _, _ := strings.Cut(c.DatabaseTypeName(), "(")
		typ := resultTypes[name]
		if name == "DECIMAL" {
			typ = "NUMERIC"
		}
		if typ == "" {
			return nil, invalidQuery("bqtest answers no column of type %s", c.DatabaseTypeName())
		}
		label := c.Name()
		if !columnID.MatchString(label) { // an expression without a name
			label = "f" + strconv.Itoa(i) + "_"
		}
		a.schema.Fields = append(a.schema.Fields, &field{Name: label, Type: typ, Mode: "NULLABLE"})
	}
	for rows.Next() {
		values := make([]any, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		row := &bq.TableRow{}
		for i, v := range values {
			cell, err := cellOf(v, a.schema.Fields[i].Type)
			if err != nil {
				return nil, err
			}
			row.F = append(row.F, &bq.TableCell{V: cell})
		}
		a.rows = append(a.rows, row)
	}
	if err := rows.Err(); err != nil {
		return nil, invalidQuery("%v", err)
	}
	return a, nil
}

var zerosBehind = regexp.MustCompile(`\.?0+$`)

// cellOf is a value in a reply, nil for NULL: text.
func cellOf(v any, typ string) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int64, int32, int16, int8, uint64, uint32:
		return fmt.Sprint(v), nil
	case *big.Int:
		if !v.IsInt64() {
			return nil, invalidQuery("int64 overflow: %s", v)
		}
		return v.String(), nil
	case float64:
		switch {
		case math.IsNaN(v):
			return "NaN", nil
		case math.IsInf(v, 1):
			return "Infinity", nil
		case math.IsInf(v, -1):
			return "-Infinity", nil
		}
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	case float32:
		return strconv.FormatFloat(float64(v), 'g', -1, 64), nil
	case string:
		return v, nil
	case []byte:
		return base64.StdEncoding.EncodeToString(v), nil
	case duckdb.Decimal:
		text := v.String()
		if strings.Contains(text, ".") {
			text = zerosBehind.ReplaceAllString(text, "")
		}
		return text, nil
	case time.Time:
		switch typ {
		case "DATE":
			return v.Format(time.DateOnly), nil
		case "TIME":
			return v.Format("15:04:05.000000"), nil
		case "DATETIME":
			return v.Format("2006-01-02T15:04:05.000000"), nil
		default: // formatOptions.useInt64Timestamp
			return strconv.FormatInt(v.UnixMicro(), 10), nil
		}
	}
	return nil, invalidQuery("bqtest answers no value of type %T", v)
}

// runQuery is jobs.query: it answers with the rows.
func (s *Server) runQuery(r *http.Request) (any, error) {
	in, err := read[bq.QueryRequest](r)
	if err != nil {
		return nil, err
	}
	if in.FormatOptions == nil || !in.FormatOptions.UseInt64Timestamp {
		return nil, invalid("bqtest writes timestamps as INT64: set formatOptions.useInt64Timestamp")
	}
	s.results++
	j := &job{id: "job_bqtest_query_" + strconv.Itoa(s.results), location: s.opts.Location, made: s.tick()}
	if in.Location != "" {
		j.location = in.Location
	}
	j.config = &bq.JobConfiguration{Query: &bq.JobConfigurationQuery{Query: in.Query, UseLegacySql: in.UseLegacySql, DefaultDataset: in.DefaultDataset, QueryParameters: in.QueryParameters}}
	if j.answer, err = s.query(j.config.Query); err != nil {
		return nil, err
	}
	j.started, j.ended = j.made, s.tick()
	s.jobs[key(j.location, j.id)] = j
	s.order = append(s.order, j)
	return &bq.QueryResponse{Kind: "bigquery#queryResponse", JobReference: s.jobRef(j), JobComplete: true, Schema: j.answer.schema, Rows: j.answer.rows, TotalRows: uint64(len(j.answer.rows))}, nil
}

// queryResults are those of a query job.
func (s *Server) queryResults(r *http.Request) (any, error) {
	j, err := s.findJob(r)
	if err != nil {
		return nil, err
	}
	if j.config.Query == nil {
		return nil, invalid("Job %s is no query", j.id)
	}
	s.step(j)
	out := &bq.GetQueryResultsResponse{Kind: "bigquery#getQueryResultsResponse", JobReference: s.jobRef(j)}
	switch {
	case j.err != nil:
		return nil, j.err
	case j.ended.IsZero():
		return out, nil
	}
	out.JobComplete, out.Schema, out.Rows, out.TotalRows = true, j.answer.schema, slices.Clone(j.answer.rows), uint64(len(j.answer.rows))
	return out, nil
}
