package agree

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
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
	session *services.FlinkSession
	folder  string
	tables  int
}

// startFlink starts a Flink, which reads this machine's files.
func startFlink(t testing.TB) *flink {
	t.Helper()
	session, err := servicetest.Flink(t, services.Options{}).OpenSession(t.Context(), map[string]string{
		"execution.runtime-mode": "batch", "parallelism.default": "1", "table.local-time-zone": "UTC",
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = session.Close(context.Background()) })
	return &flink{session: session, folder: t.TempDir()}
}

func (f *flink) dialect() schemas.Dialect { return schemas.Flink }

func (f *flink) run(ctx context.Context, statement string) ([][]cell, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	answered, err := f.session.Run(ctx, statement)
	if refused := (*services.FlinkError)(nil); errors.As(err, &refused) {
		return nil, failure(refused.Cause[:min(len(refused.Cause), 400)])
	}
	rows := make([][]cell, len(answered))
	for i, fields := range answered {
		rows[i] = make([]cell, len(fields))
		for k, v := range fields {
			if v != nil {
				rows[i][k] = cell{String: fmt.Sprint(v), Valid: true}
			}
		}
	}
	return rows, err
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
