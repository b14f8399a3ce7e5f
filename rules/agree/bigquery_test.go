package agree

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"lake/schemas"
	"lake/services"
	"lake/services/servicetest"
)

// bigQuery is bqemulator, which translates GoogleSQL and runs it on DuckDB.
type bigQuery struct {
	server *services.BigQuery
	client http.Client
	tables int
}

const bigQueryDataset = "agree"

func startBigQuery(t testing.TB) *bigQuery {
	t.Helper()
	b := &bigQuery{server: servicetest.BigQuery(t, services.Options{}), client: http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}}
	var made json.RawMessage
	require.NoError(t, b.post(t.Context(), "datasets", map[string]any{
		"datasetReference": map[string]string{"projectId": b.server.Project(), "datasetId": bigQueryDataset},
	}, &made))
	require.NoError(t, os.Mkdir(filepath.Join(b.server.Buckets(), bigQueryDataset), 0o755))
	return b
}

func (b *bigQuery) dialect() schemas.Dialect { return schemas.BigQuery }

// bigQueryErrors are in a job's status, or in an answer, also one with the status 200.
type bigQueryErrors struct {
	Errors []struct{ Reason, Message string }
	Status struct {
		State       string
		ErrorResult *struct{ Reason, Message string }
	}
}

func (b *bigQuery) post(ctx context.Context, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.server.Endpoint()+"projects/"+b.server.Project()+"/"+path, strings.NewReader(string(text)))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := b.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return failure(fmt.Sprintf("%s: %s", response.Status, said))
	}
	var errs bigQueryErrors
	if err := json.Unmarshal(said, &errs); err != nil {
		return err
	}
	if len(errs.Errors) > 0 {
		return failure(errs.Errors[0].Message)
	}
	if errs.Status.ErrorResult != nil {
		return failure(errs.Status.ErrorResult.Message)
	}
	return json.Unmarshal(said, into)
}

// bigQueryColumns are the columns of a table: not props, since the emulator does not load a map.
func bigQueryColumns() (columns []string) {
	for _, f := range source().Schema.Fields {
		if f.Name != "props" {
			columns = append(columns, schemas.BigQuery.Quote(f.Name)+" "+f.Type.SQL(schemas.BigQuery))
		}
	}
	return columns
}

func (b *bigQuery) load(ctx context.Context, file string) error {
	batch, err := readParquet(ctx, file)
	if err != nil {
		return err
	}
	defer batch.Release()
	fields, arrays := batch.Schema().Fields(), batch.Columns()
	last := len(fields) - 1 // props
	short := array.NewRecordBatch(arrow.NewSchema(fields[:last], nil), arrays[:last], batch.NumRows())
	defer short.Release()
	b.tables++
	name := fmt.Sprintf("rows%d.parquet", b.tables)
	if err := writeBatch(filepath.Join(b.server.Buckets(), bigQueryDataset, name), short); err != nil {
		return err
	}
	if _, err := b.query(ctx, "CREATE OR REPLACE TABLE "+bigQueryDataset+".loaded ("+strings.Join(bigQueryColumns(), ", ")+")"); err != nil {
		return err
	}
	var job struct {
		Statistics struct{ Load struct{ OutputRows string } }
	}
	if err := b.post(ctx, "jobs", map[string]any{"configuration": map[string]any{"load": map[string]any{
		"sourceUris": []string{"gs://" + bigQueryDataset + "/" + name}, "sourceFormat": "PARQUET",
		"destinationTable": map[string]string{"projectId": b.server.Project(), "datasetId": bigQueryDataset, "tableId": "loaded"},
	}}}, &job); err != nil {
		return err
	}
	if got := job.Statistics.Load.OutputRows; got != strconv.FormatInt(batch.NumRows(), 10) {
		return fmt.Errorf("load %s: %s rows of %d", name, got, batch.NumRows())
	}
	// It knows no default dataset.
	_, err = b.query(ctx, "CREATE OR REPLACE TABLE events AS SELECT * FROM "+bigQueryDataset+".loaded")
	return err
}

func (b *bigQuery) query(ctx context.Context, text string) (all [][]cell, err error) {
	var result struct {
		JobComplete bool
		Schema      *struct{ Fields []json.RawMessage }
		Rows        []struct{ F []struct{ V any } }
		TotalRows   string
	}
	if err := b.post(ctx, "queries", map[string]any{
		"query": text, "useLegacySql": false, "maxResults": 10000,
		"defaultDataset": map[string]string{"projectId": b.server.Project(), "datasetId": bigQueryDataset},
	}, &result); err != nil {
		return nil, err
	}
	for _, r := range result.Rows {
		row := make([]cell, len(r.F))
		for i, f := range r.F {
			if f.V != nil {
				row[i] = cell{String: fmt.Sprint(f.V), Valid: true}
			}
		}
		all = append(all, row)
	}
	if strings.HasPrefix(text, "SELECT") && (!result.JobComplete || result.TotalRows != strconv.Itoa(len(all))) {
		return nil, fmt.Errorf("%d rows of %q, complete: %v", len(all), result.TotalRows, result.JobComplete)
	}
	return all, nil
}

var bigQueryCells = map[schemas.Kind]string{
	schemas.Invalid: "CAST(%s AS STRING)", schemas.Bytes: "UPPER(TO_HEX(%s))", schemas.Date: "CAST(UNIX_DATE(%s) AS STRING)",
	schemas.Timestamp: "CAST(UNIX_MICROS(%s) AS STRING)", schemas.Datetime: "CAST(UNIX_MICROS(CAST(%s AS TIMESTAMP)) AS STRING)",
}

func (b *bigQuery) ask(ctx context.Context, query string, out schemas.Schema) ([][]cell, error) {
	return b.query(ctx, wrapped(schemas.BigQuery, query, out, bigQueryCells))
}

// emulatorCannot are parts of expr.format that the emulator answers otherwise than
// Google's documentation has it, and why. Other engines answer these as lake does.
var emulatorCannot = map[string]string{
	"TIMESTAMP_BUCKET(":      "it does not have it",
	"ISOWEEK":                "it cannot truncate to it",
	"EXTRACT(WEEK ":          "it counts from Monday",
	"EXTRACT(MICROSECOND ":   "it adds the seconds",
	"EXTRACT(MILLISECOND ":   "it adds the seconds",
	"UNIX_MILLIS(":           "it rounds up before 1970",
	"UNIX_SECONDS(":          "it rounds up before 1970",
	"TIMESTAMP_TRUNC(":       "it does not use the zone for hours and minutes",
	`\n`:                     `it does not read \x0a in a literal`,
	`LIKE 'a\\`:              "it has no escape in LIKE",
	`LIKE '50\\`:             "it has no escape in LIKE",
	"CAST('NaN' AS FLOAT64)": "NaN is equal to itself and above all others",
	"props[":                 "it cannot load maps",
	"(n * ":                  "a product of NUMERICs has not nine digits",
	"(%s AS NUMERIC)":        "it is a DECIMAL(18, 3)",
	"TRIM(%s)":               "only blanks are white space",
	"SAFE_CAST(":             "it reads other texts, and rounds halves to even numbers",
	"(%s AS STRING)":         "it writes NUMERIC with all digits, seconds with as few as it needs",
	"SUBSTR(%s, %s":          "it fails for a large position",
}

// cannot tells whether the emulator fails at a part of the expressions.
func cannot(list ...*expr) bool {
	for _, e := range list {
		if e == nil {
			continue
		}
		for part := range emulatorCannot {
			if strings.Contains(e.format, part) {
				return true
			}
		}
		if cannot(e.parts...) {
			return true
		}
	}
	return false
}

// withoutNaN has NULL where rows have NaN, which the emulator compares in another way.
func withoutNaN(t testing.TB, batch arrow.RecordBatch) arrow.RecordBatch {
	t.Helper()
	text, err := batch.MarshalJSON()
	require.NoError(t, err)
	out, _, err := array.RecordFromJSON(memory.DefaultAllocator, batch.Schema(), strings.NewReader(strings.ReplaceAll(string(text), `"NaN"`, "null")))
	require.NoError(t, err)
	return out
}

// TestBigQuery shows that an engine which others wrote reads what lake prints as
// lake does: each form once, then random queries. What fails fails by BigQuery
// itself, where lake prints no check of its own.
func TestBigQuery(t *testing.T) {
	b := startBigQuery(t)
	r := rand.New(rand.NewPCG(1, 1))
	batch := withoutNaN(t, randomRows(r, memory.DefaultAllocator, 60, false))
	require.NoError(t, b.load(t.Context(), writeParquet(t, batch)))
	compared, left, began := 0, 0, time.Now()
	compare := func(q query) {
		diff, printed, refused, err := try(t.Context(), b, q, batch)
		require.NoError(t, err)
		if !refused {
			compared++
		}
		if diff != "" {
			t.Errorf("%s\n%s\n%s", diff, q, printed)
		}
	}
	seen := map[string]bool{}
	rows := query{keys: []*expr{leaf(integer, "k")}}
	all := forms()
	for k := boolean; k <= datetime; k++ {
		for _, f := range all[k] {
			e := &expr{kind: k, format: f.format}
			for i, p := range f.parts {
				e.parts = append(e.parts, leaf(p, columns[p][min(i, 1)%len(columns[p])]))
			}
			if seen[e.String()] {
				continue
			}
			seen[e.String()] = true
			if cannot(e) {
				left++
				continue
			}
			if rows.selected = append(rows.selected, e); len(rows.selected) == 6 {
				compare(rows)
				rows.selected = nil
			}
		}
	}
	compare(rows)
	require.Greater(t, len(seen)-left, 250)
	t.Logf("%d forms compared in %v, %d left out since the emulator cannot", len(seen)-left, time.Since(began), left)
	m := &maker{forms: all}
	for _, seed := range seeds(t, 1) {
		m.r = rand.New(rand.NewPCG(seed, 2))
		compared = 0
		for range 150 {
			q := m.query()
			if !cannot(append(append(q.keys[:len(q.keys):len(q.keys)], q.selected...), q.where, q.having)...) {
				compare(q)
			}
		}
		require.Greater(t, compared, 20, "AGREE_SEED=%d", seed)
		t.Logf("AGREE_SEED=%d: %d of 150 queries compared, %v", seed, compared, time.Since(began))
	}
}
