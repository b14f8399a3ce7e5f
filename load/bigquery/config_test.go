//go:build cgo

package bigquery

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigquery"
	"github.com/stretchr/testify/require"

	"lake/load"
	"lake/load/bigquery/bqtest"
	"lake/schemas"
)

func TestCheck(t *testing.T) {
	good := Config{Table: "my-project.shop.events"}
	require.NoError(t, good.Check())
	require.NoError(t, Config{Table: "example.com:my-project.shop.events", Location: "asia-south1", Format: "json", Staging: "gs://case-study/tmp",
		ClusterBy: []string{"city"}, Labels: map[string]string{"team": "growth"}, Endpoint: "http://localhost:9050"}.Check())
	require.NoError(t, Config{Table: "shop.events", Project: "my-project"}.Check())
	for _, c := range []struct {
		change func(*Config)
		says   string
	}{
		{func(c *Config) { c.Table = "" }, "table: is missing"},
		{func(c *Config) { c.Table = "shop.events" }, "project.dataset.table"},
		{func(c *Config) { c.Table = "My_Project.shop.events" }, `"My_Project" is not a project's id`},
		{func(c *Config) { c.Table = "my-project.sh-op.events" }, `"sh-op" is not a dataset's name`},
		{func(c *Config) { c.Table = "my-project.shop.events$20211130" }, `is not a table's name`},
		{func(c *Config) { c.Location = "Mumbai 1" }, "location"},
		{func(c *Config) { c.Format = "csv" }, `format: "csv" is not known`},
		{func(c *Config) { c.Format = "json" }, "staging: is missing"},
		{func(c *Config) { c.ClusterBy = []string{"a", "b", "c", "d", "e"} }, "four columns"},
		{func(c *Config) { c.Labels = map[string]string{"Team": "x"} }, "labels: Team"},
		{func(c *Config) { c.Labels = map[string]string{"lake_load": "x"} }, "lake's own"},
		{func(c *Config) { c.Staging = "gs://caseStudy/tmp" }, "names of buckets are lower-case"},
		{func(c *Config) { c.Staging = "s3://bucket/tmp" }, "write gs://bucket/folder"},
		{func(c *Config) { c.Staging = "gs://bucket/tmp*" }, "no *"},
		{func(c *Config) { c.Endpoint = "localhost:9050" }, "endpoint"},
		{func(c *Config) { c.Endpoint = "http://user:pw@localhost" }, "no user or password"},
	} {
		bad := good
		c.change(&bad)
		require.ErrorContains(t, bad.Check(), c.says)
		require.NotContains(t, bad.Check().Error(), "pw@")
	}
}

func TestStagingIsDemanded(t *testing.T) {
	c := Config{Table: "my-project.shop.events"}
	require.NoError(t, c.CheckLocation("gs://case-study/events"))
	require.ErrorContains(t, c.CheckLocation("s3://case-study/events"), "the table lies in s3://case-study/events")
	require.ErrorContains(t, c.CheckLocation(""), "on this machine")
	c.Rule = "paid_user"
	require.ErrorContains(t, c.CheckLocation("gs://case-study/events"), "a rule's answers")
	c.Staging = "gs://case-study/tmp"
	require.NoError(t, c.CheckLocation(""))
}

// The target is made as the table is: types, modes, descriptions, partitions.
func TestTargetIsMade(t *testing.T) {
	f := newFixture(t, bqtest.Options{})
	cfg := f.config()
	cfg.ClusterBy, cfg.Labels = []string{"city", "price"}, map[string]string{"team": "growth"}
	w := f.open(t, cfg, f.options())
	defer w.Close()
	typed := func(name, text string) schemas.Field {
		typ, err := schemas.ParseType(text)
		require.NoError(t, err)
		return schemas.Field{Name: name, Type: typ}
	}
	id := typed("id", "uuid")
	id.Required, id.Doc = true, "of the event"
	_, err := w.Prepare(t.Context(), load.Table{DateColumn: "dt", Schema: schemas.Schema{Fields: []schemas.Field{id, typed("city", "string"), typed("price", "decimal(12,2)"),
		typed("exact", "decimal(38,10)"), typed("share", "decimal(2,2)"), typed("tags", "list<string>"), typed("gps", "struct<lat: float64!, at: timestamp>"), typed("extra", "map<string, int32>"),
		typed("body", "json"), typed("local", "datetime"), typed("dt", "date")}}})
	require.NoError(t, err)
	meta, err := w.target().Metadata(t.Context())
	require.NoError(t, err)
	require.Equal(t, bigquery.Schema{
		{Name: "id", Type: "BYTES", Required: true, Description: "of the event"},
		{Name: "city", Type: "STRING"},
		{Name: "price", Type: "NUMERIC", Precision: 12, Scale: 2},
		{Name: "exact", Type: "BIGNUMERIC", Precision: 38, Scale: 10},
		{Name: "share", Type: "NUMERIC", Precision: 3, Scale: 2},
		{Name: "tags", Type: "STRING", Repeated: true},
		{Name: "gps", Type: "RECORD", Schema: bigquery.Schema{{Name: "lat", Type: "FLOAT", Required: true}, {Name: "at", Type: "TIMESTAMP"}}},
		{Name: "extra", Type: "RECORD", Repeated: true, Schema: bigquery.Schema{{Name: "key", Type: "STRING", Required: true}, {Name: "value", Type: "INTEGER"}}},
		{Name: "body", Type: "STRING"},
		{Name: "local", Type: "DATETIME"},
		{Name: "dt", Type: "DATE"},
	}, meta.Schema)
	require.Equal(t, &bigquery.TimePartitioning{Type: "DAY", Field: "dt"}, meta.TimePartitioning)
	require.Equal(t, []string{"city", "price"}, meta.Clustering.Fields)
	require.Equal(t, map[string]string{"team": "growth"}, meta.Labels)
	require.Equal(t, "EU", meta.Location)
}

// What a target that is there may be.
func TestTargetIsAdapted(t *testing.T) {
	f := newFixture(t, bqtest.Options{})
	w := f.prepared(t)
	made, err := w.Inspect(t.Context())
	require.NoError(t, err)
	changed := load.Table{DateColumn: "dt", Schema: schemas.Schema{Fields: []schemas.Field{
		{Name: "n", Type: schemas.Type{Kind: schemas.Int64}, Doc: "its number"}, // not required any more
		{Name: "city", Type: schemas.Type{Kind: schemas.String}},
		{Name: "dt", Type: schemas.Type{Kind: schemas.Date}, Required: true},
		{Name: "zip", Type: schemas.Type{Kind: schemas.String}, Required: true},
	}}}
	again, err := w.Prepare(t.Context(), changed)
	require.NoError(t, err)
	require.Equal(t, made, again)
	meta, err := w.target().Metadata(t.Context())
	require.NoError(t, err)
	require.Equal(t, bigquery.Schema{{Name: "n", Type: "INTEGER", Description: "its number"}, {Name: "city", Type: "STRING"}, {Name: "dt", Type: "DATE", Required: true}, {Name: "zip", Type: "STRING"}}, meta.Schema)
	patches := f.Calls("tables.patch")
	_, err = w.Prepare(t.Context(), changed)
	require.NoError(t, err)
	require.Equal(t, patches, f.Calls("tables.patch"), "nothing was to be changed")

	_, err = w.Prepare(t.Context(), load.Table{Schema: sales.Schema})
	require.ErrorIs(t, err, load.ErrTargetSchema)
	require.ErrorContains(t, err, "partitioned by dt")
	cfg := f.config()
	cfg.Location = "US"
	other := f.open(t, cfg, f.options())
	defer other.Close()
	_, err = other.Inspect(t.Context())
	require.ErrorContains(t, err, "is in EU and not in US")
}

// Columns that are new come with the first load that has them, all or nothing of both;
// the other loads change no schema. Where there is no job to bring them, the table is
// changed.
func TestColumnsComeWithTheirRows(t *testing.T) {
	f := newFixture(t, bqtest.Options{})
	w := f.prepared(t)
	grown := load.Table{DateColumn: "dt", Schema: schemas.Schema{Fields: append(slices.Clone(sales.Schema.Fields), schemas.Field{Name: "zip", Type: schemas.Type{Kind: schemas.String}, Doc: "of the city"})}}
	columns := func() (names []string) {
		meta, err := w.target().Metadata(t.Context())
		require.NoError(t, err)
		for _, c := range meta.Schema {
			names = append(names, c.Name+" "+c.Description)
		}
		return names
	}
	options := func() (all [][]string) {
		for _, l := range f.Loads() {
			all = append(all, l.Load.SchemaUpdateOptions)
		}
		return all
	}
	prepare := func() {
		_, err := w.Prepare(t.Context(), grown)
		require.NoError(t, err)
	}
	at := func(date, id string) load.Load {
		one := f.file(t, id+".parquet", grown.Schema, fmt.Sprintf(`[{"n": 1, "city": "x", "dt": %q, "zip": "110001"}]`, date))
		return load.Load{ID: strings.Repeat(id, 24), Partition: load.Partition{Name: date, Files: []load.File{one}, Rows: 1, Bytes: one.Bytes}}
	}
	before := columns()
	prepare()
	require.Equal(t, before, columns())
	f.Fail(bqtest.Fault{Call: "job", Code: 400, Reason: "invalid", Message: "Error while reading data"})
	_, err := w.Replace(t.Context(), at("2021-11-29", "a"))
	require.ErrorIs(t, err, load.ErrRejected)
	require.Equal(t, before, columns(), "with its rows or not at all")
	_, err = w.Replace(t.Context(), at("2021-11-30", "b"))
	require.NoError(t, err)
	require.Equal(t, append(before, "zip of the city"), columns())
	_, err = w.Replace(t.Context(), at("2021-12-01", "c"))
	require.NoError(t, err)
	add := []string{"ALLOW_FIELD_ADDITION"}
	require.Equal(t, [][]string{add, add, nil}, options())
	rows, err := f.Texts("SELECT zip, count(*) FROM shop.events GROUP BY 1")
	require.NoError(t, err)
	require.Equal(t, [][]string{{"110001", "2"}}, rows)
	require.Zero(t, f.Calls("tables.patch"))

	grown.Schema.Fields = append(grown.Schema.Fields, schemas.Field{Name: "state", Type: schemas.Type{Kind: schemas.String}})
	prepare()
	_, err = w.Replace(t.Context(), load.Load{ID: strings.Repeat("d", 24), Partition: load.Partition{Name: "2021-12-01"}})
	require.NoError(t, err)
	require.Contains(t, columns(), "state ")
	require.Equal(t, 1, f.Calls("tables.patch"))
}

func TestNoDataset(t *testing.T) {
	f := newFixture(t, bqtest.Options{})
	cfg := f.config()
	cfg.Location = ""
	w := f.open(t, cfg, f.options())
	defer w.Close()
	incarnation, err := w.Inspect(t.Context())
	require.NoError(t, err)
	require.Empty(t, incarnation)
	_, err = w.Prepare(t.Context(), sales)
	require.ErrorIs(t, err, load.ErrTargetSchema)
	require.ErrorContains(t, err, "bq mk --dataset")
	made := f.Calls("datasets.insert") + f.Calls("tables.insert")
	_, err = w.probe(t.Context())
	require.Error(t, err)
	w.cfg.Location = "EU"
	found, err := w.probe(t.Context())
	require.NoError(t, err)
	require.Contains(t, found, "lake load makes it in EU")
	require.Equal(t, made, f.Calls("datasets.insert")+f.Calls("tables.insert"), "a probe changes nothing")
}

func TestMerge(t *testing.T) {
	column := func(typ bigquery.FieldType, more ...func(*bigquery.FieldSchema)) bigquery.Schema {
		f := &bigquery.FieldSchema{Name: "c", Type: typ}
		for _, m := range more {
			m(f)
		}
		return bigquery.Schema{f}
	}
	digits := func(p, s int64) func(*bigquery.FieldSchema) {
		return func(f *bigquery.FieldSchema) { f.Precision, f.Scale = p, s }
	}
	for _, c := range []struct {
		name      string
		has, want bigquery.Schema
		says      string
	}{
		{"a bare NUMERIC holds it", column("NUMERIC"), column("NUMERIC", digits(38, 9)), ""},
		{"a wider one, too", column("BIGNUMERIC"), column("NUMERIC", digits(12, 2)), ""},
		{"a narrower does not", column("NUMERIC", digits(10, 2)), column("NUMERIC", digits(12, 2)), "NUMERIC(10, 2), the table needs NUMERIC(12, 2)"},
		{"no float for decimals", column("FLOAT"), column("NUMERIC", digits(12, 2)), "is FLOAT"},
		{"a list is no value", column("STRING"), column("STRING", func(f *bigquery.FieldSchema) { f.Repeated = true }), "needs ARRAY<STRING>"},
		{"somebody's own required one", bigquery.Schema{column("STRING")[0], {Name: "own", Type: "STRING", Required: true}}, column("STRING"), "column own of the target is REQUIRED"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := merge(c.has, c.want, "")
			if c.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, load.ErrTargetSchema)
			require.ErrorContains(t, err, c.says)
		})
	}
	for text, says := range map[string]string{"list<list<int64>>": "an array holds no array", "list<map<string, int64>>": "an array holds no array"} {
		typ, err := schemas.ParseType(text)
		require.NoError(t, err)
		_, err = fieldsOf([]schemas.Field{{Name: "c", Type: typ}}, Parquet, "")
		require.ErrorContains(t, err, says)
	}
	for _, name := range []string{"a-b", "1a", "_PARTITIONTIME", "a.b"} {
		_, err := fieldsOf([]schemas.Field{{Name: name, Type: schemas.Type{Kind: schemas.Int64}}}, Parquet, "")
		require.ErrorIs(t, err, load.ErrTargetSchema, name)
	}
}

// Case 29: no secret is in an error: of a key that the tokens' server refuses.
func TestSecrets(t *testing.T) {
	const canary = "canary8dYxQ5kPz"
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		w.WriteHeader(http.StatusUnauthorized)
		// A server that repeats what it was sent.
		_, _ = w.Write([]byte(`{"error": "invalid_grant", "error_description": "no such account: ` + r.Form.Get("assertion") + `"}`))
	}))
	defer tokens.Close()
	file := filepath.Join(t.TempDir(), "key.json")
	data, err := json.Marshal(map[string]string{"type": "service_account", "client_email": "lake@example.com", "private_key_id": canary, "private_key": text, "token_uri": tokens.URL, "project_id": "p"})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, data, 0o600))
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	w, err := Open(t.Context(), Config{Table: "my-project.shop.events"}, Options{Patience: 2 * time.Second, Pause: time.Millisecond})
	require.NoError(t, err)
	defer w.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err = w.Inspect(ctx)
	require.ErrorIs(t, err, load.ErrDenied)
	require.ErrorContains(t, err, "my-project.shop.events")
	for _, secret := range append(strings.Split(strings.TrimSpace(text), "\n")[1:3], canary, "eyJ") { // a token begins so
		require.NotContains(t, err.Error(), secret)
	}
	require.NoError(t, os.WriteFile(file, []byte(`{"type": "service_account", "private_key": "`+canary+`", "broken`), 0o600))
	_, err = Open(t.Context(), Config{Table: "my-project.shop.events"}, Options{})
	require.ErrorIs(t, err, load.ErrDenied)
	require.NotContains(t, err.Error(), canary)
}
