package agree

import (
	"bytes"
	"context"
	"encoding/base64"
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

	"lake/rules"
	"lake/schemas"
	"lake/services"
	"lake/services/servicetest"
)

// flink is a session of a SQL gateway, beside a cluster.
type flink struct {
	url    string // of the session
	client http.Client
	folder string
	tables int
}

// startFlink starts a Flink, which reads this machine's files.
func startFlink(t testing.TB) *flink {
	t.Helper()
	f := &flink{url: servicetest.Flink(t, services.Options{}).Gateway() + "/v1/sessions", client: http.Client{Timeout: time.Minute}, folder: t.TempDir()}
	var session struct{ SessionHandle string }
	require.NoError(t, f.call(t.Context(), http.MethodPost, f.url, `{"properties": {"execution.runtime-mode": "batch", "parallelism.default": "1", "table.local-time-zone": "UTC"}}`, &session))
	f.url += "/" + session.SessionHandle
	t.Cleanup(func() {
		var closed struct{}
		_ = f.call(context.Background(), http.MethodDelete, f.url, "", &closed)
	})
	return f
}

func (f *flink) dialect() schemas.Dialect { return schemas.Flink }

func (f *flink) call(ctx context.Context, method, url, body string, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := f.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= http.StatusBadRequest {
		said := string(text)
		if i := strings.LastIndex(said, "Caused by: "); i >= 0 {
			said = said[i:min(len(said), i+400)]
		}
		return failure(said)
	}
	return json.Unmarshal(text, into)
}

func (f *flink) run(ctx context.Context, statement string) (rows [][]cell, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	request, err := json.Marshal(map[string]string{"statement": statement})
	if err != nil {
		return nil, err
	}
	var operation struct{ OperationHandle string }
	if err := f.call(ctx, http.MethodPost, f.url+"/statements", string(request), &operation); err != nil {
		return nil, err
	}
	base := strings.TrimSuffix(f.url, "/v1"+f.url[strings.Index(f.url, "/v1")+3:])
	next := "/v1" + f.url[strings.Index(f.url, "/v1")+3:] + "/operations/" + operation.OperationHandle + "/result/0?rowFormat=JSON"
	for next != "" {
		var result struct {
			ResultType    string
			NextResultUri string
			Results       struct {
				Data []struct{ Fields []any }
			}
		}
		if err := f.call(ctx, http.MethodGet, base+next, "", &result); err != nil {
			return nil, err
		}
		for _, d := range result.Results.Data {
			row := make([]cell, len(d.Fields))
			for i, v := range d.Fields {
				if v != nil {
					row[i] = cell{String: fmt.Sprint(v), Valid: true}
				}
			}
			rows = append(rows, row)
		}
		if result.ResultType == "EOS" {
			break
		}
		next = result.NextResultUri
	}
	return rows, nil
}

// load hands rows over as JSON: Flink reads Parquet by a part that is not in every distribution.
func (f *flink) load(ctx context.Context, file string) error {
	batch, err := readParquet(ctx, file)
	if err != nil {
		return err
	}
	defer batch.Release()
	f.tables++
	folder := filepath.Join(f.folder, strconv.Itoa(f.tables))
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	var b bytes.Buffer
	for row := range int(batch.NumRows()) {
		fields := map[string]any{}
		for i, c := range batch.Columns() {
			fields[batch.Schema().Field(i).Name] = plain(c, row)
		}
		line, err := json.Marshal(fields)
		if err != nil {
			return err
		}
		b.Write(append(line, '\n'))
	}
	if err := os.WriteFile(filepath.Join(folder, "rows.json"), b.Bytes(), 0o644); err != nil {
		return err
	}
	var columns []string
	for _, field := range source().Schema.Fields {
		columns = append(columns, schemas.Flink.Quote(field.Name)+" "+field.Type.SQL(schemas.Flink))
	}
	if _, err := f.run(ctx, "DROP TEMPORARY TABLE IF EXISTS events"); err != nil {
		return err
	}
	_, err = f.run(ctx, "CREATE TEMPORARY TABLE events ("+strings.Join(columns, ", ")+") WITH ('connector' = 'filesystem', 'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601', 'path' = "+
		schemas.Flink.Literal("file://"+folder)+")")
	return err
}

// plain is a value as Flink's JSON has it.
func plain(c arrow.Array, row int) any {
	if c.IsNull(row) {
		return nil
	}
	switch c := c.(type) {
	case *array.Float64:
		return strings.Replace(strconv.FormatFloat(c.Value(row), 'g', -1, 64), "Inf", "Infinity", 1)
	case *array.Float32:
		return strings.Replace(strconv.FormatFloat(float64(c.Value(row)), 'g', -1, 32), "Inf", "Infinity", 1)
	case *array.Binary:
		return base64.StdEncoding.EncodeToString(c.Value(row))
	case *array.Timestamp:
		form := "2006-01-02T15:04:05.000000"
		if c.DataType().(*arrow.TimestampType).TimeZone != "" {
			form += "Z"
		}
		return time.UnixMicro(int64(c.Value(row))).UTC().Format(form)
	case *array.Struct:
		out := map[string]any{}
		for i := range c.NumField() {
			out[c.DataType().(*arrow.StructType).Field(i).Name] = plain(c.Field(i), row)
		}
		return out
	case *array.Map:
		out := map[string]any{}
		from, to := c.ValueOffsets(row)
		for i := from; i < to; i++ {
			out[c.Keys().ValueStr(int(i))] = plain(c.Items(), int(i))
		}
		return out
	case *array.List:
		out := []any{}
		from, to := c.ValueOffsets(row)
		for i := from; i < to; i++ {
			out = append(out, plain(c.ListValues(), int(i)))
		}
		return out
	case *array.String:
		return c.Value(row)
	case *array.Boolean:
		return c.Value(row)
	default:
		return json.RawMessage(strconv.Quote(c.ValueStr(row)))
	}
}

var flinkCells = func() map[schemas.Kind]string {
	micros := "CAST(CAST(TIMESTAMPDIFF(DAY, DATE '1970-01-01', CAST(DATE_FORMAT(%[1]s, 'yyyy-MM-dd') AS DATE)) AS BIGINT) * 86400000000 + CAST(DATE_FORMAT(%[1]s, 'HH') AS BIGINT) * 3600000000" +
		" + CAST(DATE_FORMAT(%[1]s, 'mm') AS BIGINT) * 60000000 + CAST(DATE_FORMAT(%[1]s, 'ss') AS BIGINT) * 1000000 + CAST(DATE_FORMAT(%[1]s, 'SSSSSS') AS BIGINT) AS STRING)"
	return map[schemas.Kind]string{
		schemas.Invalid: "CAST(%s AS STRING)", schemas.Bytes: "%s", schemas.Date: "CAST(TIMESTAMPDIFF(DAY, DATE '1970-01-01', %s) AS STRING)",
		schemas.Timestamp: micros, schemas.Datetime: micros,
	}
}()

func (f *flink) ask(ctx context.Context, query string, out schemas.Schema) ([][]cell, error) {
	rows, err := f.run(ctx, wrapped(schemas.Flink, query, out, flinkCells))
	for i, field := range out.Fields {
		if field.Type.Kind != schemas.Bytes {
			continue
		}
		for _, row := range rows { // the gateway writes bytes in base64; Flink's HEX takes texts only
			data, err := base64.StdEncoding.DecodeString(row[i].String)
			if err != nil {
				return nil, err
			}
			row[i].String = fmt.Sprintf("%X", data)
		}
	}
	return rows, err
}

func TestFlink(t *testing.T) {
	f := startFlink(t)
	batch := randomRows(rand.New(rand.NewPCG(1, 1)), memory.DefaultAllocator, 3, false)
	require.NoError(t, f.load(t.Context(), writeParquet(t, batch)))
	_, err := f.run(t.Context(), "SET 'table.local-time-zone' = 'Asia/Kolkata'")
	require.NoError(t, err)
	guards(t, f, "this query needs SET")
	for _, set := range rules.Settings(schemas.Flink) {
		_, err := f.run(t.Context(), set)
		require.NoError(t, err)
	}
	fails(t, f)
	compared, began := 0, time.Now()
	for _, seed := range seeds(t, 1) {
		compared += agree(t, f, seed, 10)
	}
	require.NotZero(t, compared)
	t.Logf("%d queries compared in %v", compared, time.Since(began))
}
