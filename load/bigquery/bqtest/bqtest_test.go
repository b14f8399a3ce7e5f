//go:build cgo

package bqtest

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	bq "google.golang.org/api/bigquery/v2"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client speaks to a server with a dataset d and a bucket b, whose files DuckDB
// writes: other code than what reads them.
type client struct {
	*testing.T
	*Server
	api    *bq.Service
	folder string
}

func newClient(t *testing.T, o Options) *client {
	c := &client{T: t, folder: t.TempDir()}
	o.Buckets = c.folder
	require.NoError(t, os.Mkdir(filepath.Join(c.folder, "b"), 0o755))
	var err error
	c.Server, err = New(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c.api, err = bq.NewService(t.Context(), option.WithEndpoint(c.Endpoint()), option.WithHTTPClient(&http.Client{Transport: transport}))
	require.NoError(t, err)
	_, err = c.api.Datasets.Insert(c.Project(), &bq.Dataset{DatasetReference: &bq.DatasetReference{DatasetId: "d"}, Location: "EU"}).Do()
	require.NoError(t, err)
	return c
}

func (c *client) table(name string, partitioned bool, fields ...*bq.TableFieldSchema) {
	t := &bq.Table{TableReference: &bq.TableReference{ProjectId: c.Project(), DatasetId: "d", TableId: name}, Schema: &bq.TableSchema{Fields: fields}}
	if partitioned {
		t.TimePartitioning = &bq.TimePartitioning{Type: "DAY", Field: "dt"}
	}
	_, err := c.api.Tables.Insert(c.Project(), "d", t).Do()
	require.NoError(c, err)
}

func of(name, typ string) *bq.TableFieldSchema {
	f := &bq.TableFieldSchema{Name: name, Type: strings.TrimSuffix(typ, "!")}
	if strings.HasSuffix(typ, "!") {
		f.Mode = "REQUIRED"
	}
	return f
}

// parquet writes a query's rows as an object.
func (c *client) parquet(name, query string) string {
	require.NoError(c, c.Exec("COPY ("+query+") TO "+literal(filepath.Join(c.folder, "b", name))+" (FORMAT parquet)"))
	return "gs://b/" + name
}

func (c *client) text(name, text string) string {
	require.NoError(c, os.WriteFile(filepath.Join(c.folder, "b", name), []byte(text), 0o644))
	return "gs://b/" + name
}

func (c *client) insert(id, table string, uris []string, change ...func(*bq.JobConfigurationLoad)) (*bq.Job, error) {
	l := &bq.JobConfigurationLoad{DestinationTable: &bq.TableReference{ProjectId: c.Project(), DatasetId: "d", TableId: table}, SourceUris: uris, SourceFormat: "PARQUET", WriteDisposition: "WRITE_APPEND"}
	for _, f := range change {
		f(l)
	}
	return c.api.Jobs.Insert(c.Project(), &bq.Job{JobReference: &bq.JobReference{ProjectId: c.Project(), JobId: id, Location: "EU"}, Configuration: &bq.JobConfiguration{Load: l}}).Do()
}

// fails runs a load that has to fail for a reason, with words in its message.
func (c *client) fails(reason, says, table string, uris []string, change ...func(*bq.JobConfigurationLoad)) {
	c.Helper()
	c.results++
	job, err := c.insert("failing-"+strings.Repeat("x", c.results), table, uris, change...)
	require.NoError(c, err)
	require.NotNil(c, job.Status.ErrorResult, "it succeeded")
	require.Equal(c, reason, job.Status.ErrorResult.Reason, job.Status.ErrorResult.Message)
	require.Contains(c, job.Status.ErrorResult.Message, says)
}

func (c *client) loads(table string, uris []string, change ...func(*bq.JobConfigurationLoad)) *bq.Job {
	c.Helper()
	c.results++
	job, err := c.insert("good-"+strings.Repeat("x", c.results), table, uris, change...)
	require.NoError(c, err)
	require.Nil(c, job.Status.ErrorResult, "%+v", job.Status.ErrorResult)
	return job
}

func truncate(l *bq.JobConfigurationLoad) { l.WriteDisposition = "WRITE_TRUNCATE" }

func withSchema(fields ...*bq.TableFieldSchema) func(*bq.JobConfigurationLoad) {
	return func(l *bq.JobConfigurationLoad) { l.Schema = &bq.TableSchema{Fields: fields} }
}

func (c *client) has(want [][]string, query string) {
	c.Helper()
	got, err := c.Texts(query)
	require.NoError(c, err)
	require.Equal(c, want, got)
}

func code(t *testing.T, err error) (int, string) {
	var api *googleapi.Error
	require.True(t, errors.As(err, &api), "%v", err)
	require.NotEmpty(t, api.Errors)
	return api.Code, api.Errors[0].Reason
}

func (c *client) refused(status int, reason string, err error) {
	c.Helper()
	got, why := code(c.T, err)
	require.Equal(c, status, got, err)
	require.Equal(c, reason, why)
}

func TestJobIDsAreUsedOnce(t *testing.T) {
	c := newClient(t, Options{})
	c.table("t", false, of("n", "INTEGER"))
	one := c.parquet("one.parquet", "SELECT 1::BIGINT n")
	job, err := c.insert("id", "t", []string{one})
	require.NoError(t, err)
	require.Equal(t, "DONE", job.Status.State)
	require.EqualValues(t, 1, job.Statistics.Load.OutputRows)
	require.EqualValues(t, 1, job.Statistics.Load.InputFiles)
	_, err = c.insert("id", "t", []string{one})
	c.refused(409, "duplicate", err)
	_, err = c.insert("failed", "t", []string{"gs://b/nothing"})
	require.NoError(t, err)
	_, err = c.insert("failed", "t", []string{one})
	c.refused(409, "duplicate", err)
	c.has([][]string{{"1"}}, "FROM d.t")
	// It is found where it is, and a single region is not searched.
	_, err = c.api.Jobs.Get(c.Project(), "id").Location("EU").Do()
	require.NoError(t, err)
	_, err = c.api.Jobs.Get(c.Project(), "id").Location("US").Do()
	c.refused(404, "notFound", err)
}

func TestJobsTakeTheirTime(t *testing.T) {
	c := newClient(t, Options{Polls: 4})
	c.table("t", false, of("n", "INTEGER"))
	job, err := c.insert("id", "t", []string{c.parquet("one.parquet", "SELECT 1::BIGINT n")})
	require.NoError(t, err)
	states := []string{job.Status.State}
	for range 4 {
		job, err = c.api.Jobs.Get(c.Project(), "id").Location("EU").Do()
		require.NoError(t, err)
		states = append(states, job.Status.State)
		if job.Status.State != "DONE" {
			c.has(nil, "FROM d.t")
		}
	}
	require.Equal(t, []string{"PENDING", "PENDING", "RUNNING", "RUNNING", "DONE"}, states)
	c.has([][]string{{"1"}}, "FROM d.t")
	list, err := c.api.Jobs.List(c.Project()).Projection("full").StateFilter("done").Do()
	require.NoError(t, err)
	require.Len(t, list.Jobs, 1)
	require.Equal(t, "t", list.Jobs[0].Configuration.Load.DestinationTable.TableId)
	list, err = c.api.Jobs.List(c.Project()).StateFilter("pending", "running").Do()
	require.NoError(t, err)
	require.Empty(t, list.Jobs)
}

func TestPartitions(t *testing.T) {
	c := newClient(t, Options{})
	c.table("t", true, of("n", "INTEGER"), of("dt", "DATE"))
	day := func(name, date string, n int) string {
		return c.parquet(name, "SELECT range AS n, DATE '"+date+"' AS dt FROM range("+string(rune('0'+n))+")")
	}
	a, b := day("a.parquet", "2021-11-29", 2), day("b.parquet", "2021-11-30", 3)
	c.loads("t$20211129", []string{a}, truncate)
	c.loads("t$20211130", []string{b}, truncate)
	c.has([][]string{{"2021-11-29", "2"}, {"2021-11-30", "3"}}, "SELECT CAST(dt AS VARCHAR), count(*) FROM d.t GROUP BY 1 ORDER BY 1")
	c.loads("t$20211130", []string{day("b2.parquet", "2021-11-30", 1)}, truncate)
	c.has([][]string{{"2021-11-29", "2"}, {"2021-11-30", "1"}}, "SELECT CAST(dt AS VARCHAR), count(*) FROM d.t GROUP BY 1 ORDER BY 1")
	c.fails("invalid", "Some rows belong to different partitions", "t$20211130", []string{a}, truncate)
	c.fails("invalid", "Invalid date partitioned table name", "t$2021-11-30", []string{b}, truncate)
	c.has([][]string{{"2021-11-29", "2"}, {"2021-11-30", "1"}}, "SELECT CAST(dt AS VARCHAR), count(*) FROM d.t GROUP BY 1 ORDER BY 1")
	require.NoError(t, c.api.Tables.Delete(c.Project(), "d", "t$20211129").Do())
	c.has([][]string{{"2021-11-30", "1"}}, "SELECT CAST(dt AS VARCHAR), count(*) FROM d.t GROUP BY 1 ORDER BY 1")
	c.table("flat", false, of("n", "INTEGER"), of("dt", "DATE"))
	c.fails("invalid", "not partitioned", "flat$20211130", []string{b}, truncate)
	got := c.ask("SELECT partition_id, total_rows FROM d.INFORMATION_SCHEMA.PARTITIONS WHERE table_name = 't'")
	require.Equal(t, [][]any{{"20211130", "1"}}, got)
}

func TestLoadsAreAtomic(t *testing.T) {
	c := newClient(t, Options{})
	c.table("t", false, of("n", "INTEGER!"))
	good := c.parquet("good.parquet", "SELECT 1::BIGINT n")
	c.loads("t", []string{good})
	null := c.parquet("null.parquet", "SELECT NULL::BIGINT n")
	for _, change := range []func(*bq.JobConfigurationLoad){func(*bq.JobConfigurationLoad) {}, truncate} {
		c.fails("invalid", "gs://b/broken", "t", []string{good, c.text("broken", "PAR1")}, change)
		c.fails("notFound", "gs://b/missing", "t", []string{good, "gs://b/missing"}, change)
		c.fails("notFound", "Bucket nobucket", "t", []string{good, "gs://nobucket/x"}, change)
		c.has([][]string{{"1"}}, "FROM d.t")
	}
	c.fails("invalid", "Only optional fields can be set to NULL", "t", []string{good, null})
	c.has([][]string{{"1"}}, "FROM d.t")
	empty := func(l *bq.JobConfigurationLoad) { l.WriteDisposition = "WRITE_EMPTY" }
	c.fails("duplicate", "Already Exists", "t", []string{good}, empty)
	c.loads("t", []string{c.parquet("two.parquet", "SELECT 2::BIGINT n")}, truncate)
	c.has([][]string{{"2"}}, "FROM d.t")
}

func TestColumnsByName(t *testing.T) {
	c := newClient(t, Options{})
	a, b := of("a", "INTEGER"), of("b", "STRING")
	c.table("t", false, a, b)
	c.loads("t", []string{c.parquet("turned.parquet", "SELECT 'x' b, 1::BIGINT a")}, withSchema(a, b))
	c.loads("t", []string{c.parquet("lacks.parquet", "SELECT 2::BIGINT a")}, withSchema(a, b))
	c.loads("t", []string{c.parquet("lacks2.parquet", "SELECT 'y' b")})
	c.has([][]string{{"1", "x"}, {"2", "NULL"}, {"NULL", "y"}}, "FROM d.t ORDER BY a NULLS LAST")
	more := c.parquet("more.parquet", "SELECT 3::BIGINT a, 'z' b, true c")
	c.fails("invalid", "does not have the field c", "t", []string{more}, withSchema(a, b))
	c.fails("invalid", "Cannot add fields (field: c)", "t", []string{more})
	c.fails("invalid", "Field b is missing in new schema", "t", []string{c.parquet("only.parquet", "SELECT 1::BIGINT a")}, withSchema(a))
	c.fails("invalid", "has changed type from INTEGER to STRING", "t", []string{more}, withSchema(of("a", "STRING"), b))
	c.loads("t", []string{more}, func(l *bq.JobConfigurationLoad) { l.SchemaUpdateOptions = []string{"ALLOW_FIELD_ADDITION"} })
	c.has([][]string{{"1", "NULL"}, {"3", "true"}}, "SELECT a, c FROM d.t WHERE a IN (1, 3) ORDER BY a")
	_, err := c.insert("update", "t", []string{more}, truncate, func(l *bq.JobConfigurationLoad) { l.SchemaUpdateOptions = []string{"ALLOW_FIELD_ADDITION"} })
	c.refused(400, "invalid", err)
	c.loads("t", []string{more}, func(l *bq.JobConfigurationLoad) {
		l.WriteDisposition, l.SchemaUpdateOptions = "WRITE_TRUNCATE_DATA", []string{"ALLOW_FIELD_ADDITION"}
	})
	_, err = c.insert("unknown", "t", []string{more}, func(l *bq.JobConfigurationLoad) { l.SchemaUpdateOptions = []string{"ALLOW_ALL"} })
	c.refused(400, "invalid", err)

	// A partition may bring columns along; the rows of others have NULL in them.
	c.table("days", true, a, of("dt", "DATE"))
	c.loads("days$20211129", []string{c.parquet("d29.parquet", "SELECT 1::BIGINT a, DATE '2021-11-29' dt")}, truncate)
	grown := c.parquet("d30.parquet", "SELECT 2::BIGINT a, DATE '2021-11-30' dt, 'new' c")
	wide := withSchema(a, of("dt", "DATE"), of("c", "STRING"))
	c.fails("invalid", "Cannot add fields (field: c)", "days$20211130", []string{grown}, truncate, wide)
	c.loads("days$20211130", []string{grown}, truncate, wide, func(l *bq.JobConfigurationLoad) { l.SchemaUpdateOptions = []string{"ALLOW_FIELD_ADDITION"} })
	c.has([][]string{{"1", "NULL"}, {"2", "new"}}, "SELECT a, c FROM d.days ORDER BY a")

	c.table("required", false, of("a", "INTEGER!"))
	one := c.parquet("one.parquet", "SELECT 1::BIGINT a")
	c.fails("invalid", "changed mode from REQUIRED to NULLABLE", "required", []string{one}, withSchema(of("a", "INTEGER")))
	c.loads("required", []string{one}, withSchema(of("a", "INTEGER")), func(l *bq.JobConfigurationLoad) { l.SchemaUpdateOptions = []string{"ALLOW_FIELD_RELAXATION"} })
}

func TestParquetTypes(t *testing.T) {
	c := newClient(t, Options{})
	all := c.parquet("all.parquet", `SELECT true AS b, 1::INTEGER AS i, 1.5::FLOAT AS f, 1.25::DECIMAL(12, 2) AS d, 'x' AS s, 'x'::BLOB AS y, DATE '2021-11-30' AS day,
		TIMESTAMPTZ '2021-11-30 12:00:00+00' AS at, TIMESTAMP '2021-11-30 12:00:00' AS local, TIME '12:00:00' AS clock, {'x': 1, 'y': 'z'} AS r`)
	infer := func(l *bq.JobConfigurationLoad) {
		l.ParquetOptions = &bq.ParquetOptions{EnableListInference: true, MapTargetType: "ARRAY_OF_STRUCT"}
	}
	c.loads("made", []string{all}, infer)
	made, err := c.api.Tables.Get(c.Project(), "d", "made").Do()
	require.NoError(t, err)
	var types []string
	for _, f := range made.Schema.Fields {
		types = append(types, f.Name+" "+f.Type)
	}
	require.Equal(t, []string{"b BOOLEAN", "i INTEGER", "f FLOAT", "d NUMERIC", "s STRING", "y BYTES", "day DATE", "at TIMESTAMP", "local DATETIME", "clock TIME", "r RECORD"}, types)
	lists := c.parquet("lists.parquet", "SELECT [1, 2]::BIGINT[] AS l, MAP {'k': 5::BIGINT} AS m UNION ALL SELECT NULL, NULL")
	c.fails("invalid", "parquetOptions", "lists", []string{lists})
	c.loads("lists", []string{lists}, infer)
	c.has([][]string{{"[1, 2]", "[{'key': k, 'value': 5}]"}, {"[]", "[]"}}, "SELECT CAST(l AS VARCHAR), CAST(m AS VARCHAR) FROM d.lists ORDER BY len(l) DESC")
	c.table("json", false, of("s", "JSON"))
	c.fails("invalid", "'s' has type STRING which does not match the target cpp_type JSON", "json", []string{c.parquet("s.parquet", "SELECT '{}' s")}, withSchema(of("s", "JSON")))
	c.table("narrow", false, &bq.TableFieldSchema{Name: "d", Type: "NUMERIC", Precision: 10, Scale: 2})
	c.fails("invalid", "has precision 12", "narrow", []string{c.parquet("d.parquet", "SELECT 1.25::DECIMAL(12, 2) d")}, withSchema(&bq.TableFieldSchema{Name: "d", Type: "NUMERIC", Precision: 10, Scale: 2}))
	c.fails("invalid", "a list of lists", "nested", []string{c.parquet("n.parquet", "SELECT [[1]] AS l")}, infer)
}

func TestJSONLines(t *testing.T) {
	c := newClient(t, Options{})
	fields := []*bq.TableFieldSchema{of("n", "INTEGER"), of("s", "STRING"), of("at", "TIMESTAMP"), of("d", "NUMERIC"), of("f", "FLOAT"), of("y", "BYTES"), of("j", "JSON"),
		{Name: "l", Type: "INTEGER", Mode: "REPEATED"}, {Name: "r", Type: "RECORD", Fields: []*bq.TableFieldSchema{of("x", "STRING")}}}
	c.table("t", false, fields...)
	lines := func(l *bq.JobConfigurationLoad) { l.SourceFormat = "NEWLINE_DELIMITED_JSON" }
	c.loads("t", []string{c.text("a.jsonl", `{"N": 1, "s": "ü", "at": "2021-11-30T12:00:00.000001+05:30", "d": "1.50", "f": "NaN", "y": "AP8=", "j": {"a": [1]}, "l": [1, 2], "r": {"x": "y"}}
{"n": "2", "l": null}
`)}, lines)
	c.has([][]string{{"1", "ü", "2021-11-30 06:30:00.000001+00", "1.500000000", "nan", "\\x00\\xFF", "[1, 2]", "{'x': y}"}, {"2", "NULL", "NULL", "NULL", "NULL", "NULL", "[]", "NULL"}},
		"SELECT n, s, CAST(\"at\" AS VARCHAR), CAST(d AS VARCHAR), CAST(f AS VARCHAR), CAST(y AS VARCHAR), CAST(l AS VARCHAR), CAST(r AS VARCHAR) FROM d.t ORDER BY n")
	for text, says := range map[string]string{
		`{"x": 1}`:                    "No such field: x.",
		`{"n": 1.5}`:                  "Could not convert value to integer. Field: n; Value: 1.5",
		`{"n": [1]}`:                  "Array specified for non-repeated field: n",
		`{"r": {"y": 1}}`:             "No such field: r.y.",
		`{"at": "yesterday"}`:         "Could not convert value to timestamp. Field: at",
		`{"l": [null]}`:               "Only optional fields can be set to NULL. Field: l",
		`{"n": 1`:                     "Parser terminated before end of string",
		`{"n": 99999999999999999999}`: "Could not convert value to integer",
		`{"n": 1} {"n": 2}`:           "Parser terminated before end of string",
		`{"y": "no base64!"}`:         "Could not convert value to bytes",
		`{"d": "many"}`:               "Could not convert value to numeric",
		`{"s": {"a": 1}}`:             "Could not convert value to string",
	} {
		c.fails("invalid", says, "t", []string{c.text("bad.jsonl", "{\"n\": 3}\n"+text+"\n")}, lines)
	}
	job, err := c.insert("where", "t", []string{c.text("bad.jsonl", "{\"n\": 3}\n{\"x\": 1}\n")}, lines)
	require.NoError(t, err)
	require.Contains(t, job.Status.ErrorResult.Message, "row starting at position 9")
	require.Contains(t, job.Status.ErrorResult.Message, "File: gs://b/bad.jsonl")
	require.Equal(t, "gs://b/bad.jsonl", job.Status.ErrorResult.Location)
	c.has([][]string{{"2"}}, "SELECT count(*) FROM d.t")
}

func TestURIs(t *testing.T) {
	c := newClient(t, Options{LoadsPerTable: 2})
	c.table("t", false, of("n", "INTEGER"))
	require.NoError(t, os.MkdirAll(filepath.Join(c.folder, "b", "x", "y"), 0o755))
	c.parquet("x/one.parquet", "SELECT 1::BIGINT n")
	c.parquet("x/y/two.parquet", "SELECT 2::BIGINT n")
	job := c.loads("t", []string{"gs://b/x/*.parquet"})
	require.EqualValues(t, 2, job.Statistics.Load.InputFiles, "a star crosses slashes")
	_, err := c.insert("stars", "t", []string{"gs://b/*/y/*"})
	c.refused(400, "invalid", err)
	_, err = c.insert("many", "t", make([]string, 10001))
	c.refused(400, "invalid", err)
	_, err = c.insert("s3", "t", []string{"s3://b/x"})
	c.refused(400, "invalid", err)
	// A load that fails counts, too.
	c.fails("notFound", "gs://b/none", "t", []string{"gs://b/none"})
	c.fails("quotaExceeded", "Quota exceeded", "t", []string{"gs://b/x/one.parquet"})
}

// ask runs a query.
func (c *client) ask(sql string) [][]any {
	c.Helper()
	reply, err := c.query(sql)
	require.NoError(c, err, sql)
	var rows [][]any
	for _, r := range reply.Rows {
		var row []any
		for _, cell := range r.F {
			row = append(row, cell.V)
		}
		rows = append(rows, row)
	}
	return rows
}

func (c *client) query(sql string) (*bq.QueryResponse, error) {
	legacy := false
	return c.api.Jobs.Query(c.Project(), &bq.QueryRequest{Query: sql, UseLegacySql: &legacy, FormatOptions: &bq.DataFormatOptions{UseInt64Timestamp: true}}).Do()
}

// What GoogleSQL's documentation says of expressions.
func TestExpressions(t *testing.T) {
	c := newClient(t, Options{})
	for sql, want := range map[string]any{
		"1 + 2":                 "3",
		"TO_HEX(MD5('abc'))":    "900150983cd24fb0d6963f7d28e17f72",
		"TO_HEX(b'\\x00\\xff')": "00ff",
		"CAST(CONCAT('0x', SUBSTR('00ff', 3, 2)) AS INT64)":          "255",
		"CAST(NUMERIC '1.50' AS STRING)":                             "1.5",
		"CAST(NUMERIC '100' AS STRING)":                              "100",
		"CAST(CAST(1 AS FLOAT64) AS STRING)":                         "1",
		"CONCAT('a', NULL)":                                          nil,
		"BYTE_LENGTH('ä')":                                           "2",
		"UNIX_DATE(DATE '1969-12-31')":                               "-1",
		"UNIX_MICROS(TIMESTAMP '1970-01-01 00:00:00.000001+00')":     "1",
		"UNIX_SECONDS(TIMESTAMP '1969-12-31 23:59:59.5+00')":         "-1",
		"TIME_DIFF(TIME '00:00:01.5', TIME '00:00:00', MICROSECOND)": "1500000",
		"DATETIME_DIFF(DATETIME '1969-12-31 23:59:59', DATETIME '1970-01-01 00:00:00', MICROSECOND)": "-1000000",
		"FORMAT_DATE('%Y-%m-%d', DATE '2021-11-30')":                                                 "2021-11-30",
		"UNIX_MICROS(TIMESTAMP_BUCKET(TIMESTAMP '1949-12-31 23:59:30+00', INTERVAL 1 MINUTE))":       "-631152060000000",
		"DATE(TIMESTAMP '2021-11-30 20:00:00+00', 'Asia/Kolkata')":                                   "2021-12-01",
		"UNIX_SECONDS(TIMESTAMP_TRUNC(TIMESTAMP '2021-11-30 20:00:00+00', DAY, 'Asia/Kolkata'))":     "1638297000",
		"EXTRACT(HOUR FROM TIMESTAMP '2021-11-30 20:00:00+00' AT TIME ZONE 'Asia/Kolkata')":          "1",
		"EXTRACT(DAYOFWEEK FROM DATE '2021-11-28')":                                                  "1",
		"SAFE_DIVIDE(1, 0)":                     nil,
		"SAFE_CAST('x' AS INT64)":               nil,
		"STARTS_WITH('lake', 'la')":             "true",
		`"a\"b\n"`:                              "a\"b\n",
		`r'a\n'`:                                `a\n`,
		"IF(TRUE, 'y', 'n')":                    "y",
		"TIMESTAMP '2021-11-30 12:00:00+00'":    "1638273600000000",
		"NUMERIC '2.50'":                        "2.5",
		"b'\\x01'":                              "AQ==",
		"CAST('NaN' AS FLOAT64)":                "NaN",
		"(SELECT COUNT(*) FROM UNNEST([1, 2]))": "2",
		"SUM(9223372036854775807)":              "9223372036854775807",
	} {
		require.Equal(t, [][]any{{want}}, c.ask("SELECT "+sql), sql)
	}
}

func TestQueries(t *testing.T) {
	c := newClient(t, Options{})
	c.table("t", true, of("n", "INTEGER"), of("city", "STRING"), of("dt", "DATE"))
	require.NoError(t, c.Write("d", "t", "2021-11-30", "INSERT INTO d.t SELECT range, CASE WHEN range % 3 = 0 THEN 'Pune' END, DATE '2021-11-30' FROM range(10)"))
	want := [][]any{{"Pune", "4"}, {nil, "6"}}
	for _, from := range []string{"`lake-test.d.t`", "`lake-test`.d.t", "d.t", "`d.t`", "`d`.`t`"} {
		require.Equal(t, want, c.ask("SELECT city, COUNT(*) AS rows_ FROM "+from+" AS t GROUP BY city ORDER BY 2 -- a comment"), from)
	}
	require.Equal(t, [][]any{{"Pune", "3"}}, c.ask("SELECT city, COUNTIF(n > 0) AS c FROM d.t WHERE dt = DATE '2021-11-30' GROUP BY city HAVING c < 5"))
	for sql, reason := range map[string]string{"SELECT x FROM d.t": "invalidQuery", "SELECT 1 FROM d.nothing": "notFound", "SELECT 1 FROM nowhere.t": "notFound", "SELECT": "invalidQuery",
		"SELECT 'open": "invalidQuery", "SELECT FROBNICATE(1)": "invalidQuery", "DROP TABLE d.t": "invalidQuery", "SELECT 1 FROM `other-project.d.t`": "accessDenied", "SELECT SUM(9223372036854775807) FROM d.t": "invalidQuery"} {
		_, err := c.query(sql)
		require.Error(t, err, sql)
		_, why := code(t, err)
		require.Equal(t, reason, why, sql)
	}
	_, err := c.api.Jobs.Query(c.Project(), &bq.QueryRequest{Query: "SELECT 1", FormatOptions: &bq.DataFormatOptions{UseInt64Timestamp: true}}).Do()
	c.refused(400, "invalidQuery", err) // legacy SQL is the API's default
	legacy := false
	job, err := c.api.Jobs.Insert(c.Project(), &bq.Job{Configuration: &bq.JobConfiguration{Query: &bq.JobConfigurationQuery{Query: "SELECT n FROM d.t WHERE n = 7", UseLegacySql: &legacy}}}).Do()
	require.NoError(t, err)
	results, err := c.api.Jobs.GetQueryResults(c.Project(), job.JobReference.JobId).Location(job.JobReference.Location).Do()
	require.NoError(t, err)
	require.Equal(t, "7", results.Rows[0].F[0].V)
	require.Empty(t, c.ask("TRUNCATE TABLE `lake-test.d.t`"))
	c.has([][]string{{"0"}}, "SELECT count(*) FROM d.t")
}

func TestFaults(t *testing.T) {
	c := newClient(t, Options{})
	c.table("t", false, of("n", "INTEGER"))
	one := c.parquet("one.parquet", "SELECT 1::BIGINT n")
	c.Fail(Fault{Call: "jobs.insert", Lost: true})
	_, err := c.insert("lost", "t", []string{one})
	require.Error(t, err)
	c.has([][]string{{"1"}}, "FROM d.t")
	c.Fail(Fault{Call: "jobs.insert", Cut: true, Skip: 1})
	_, err = c.insert("well", "t", []string{one})
	require.NoError(t, err)
	_, err = c.insert("cut", "t", []string{one})
	require.Error(t, err)
	c.has([][]string{{"2"}}, "SELECT count(*) FROM d.t")
	c.Fail(Fault{Call: "tables.get", Code: 503, Reason: "backendError", Times: 2})
	for range 2 {
		_, err = c.api.Tables.Get(c.Project(), "d", "t").Do()
		c.refused(503, "backendError", err)
	}
	_, err = c.api.Tables.Get(c.Project(), "d", "t").Do()
	require.NoError(t, err)
	c.Fail(Fault{Call: "job", Code: 500, Reason: "internalError", Message: "oops"})
	c.fails("internalError", "oops", "t", []string{one})
	c.has([][]string{{"2"}}, "SELECT count(*) FROM d.t")
	require.Equal(t, 4, c.Calls("jobs.insert"))
}

func TestToken(t *testing.T) {
	s, err := New(Options{Token: "right"})
	require.NoError(t, err)
	defer s.Close()
	for token, status := range map[string]int{"right": 404, "wrong": 401} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Endpoint()+"projects/lake-test/datasets/d", http.NoBody)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+token)
		reply, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
		require.NoError(t, err)
		require.NoError(t, reply.Body.Close())
		require.Equal(t, status, reply.StatusCode)
	}
}
