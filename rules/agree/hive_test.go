package agree

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/beltran/gohive"
	"github.com/stretchr/testify/require"

	"lake/rules"
	"lake/schemas"
	"lake/services"
	"lake/services/servicetest"
)

// hive is a session of a HiveServer2.
type hive struct {
	cursor *gohive.Cursor
	folder string // of the tables' files, which the server reads
	tables int
}

// startHive starts a HiveServer2, which reads this machine's files.
func startHive(t testing.TB) *hive {
	t.Helper()
	host, text, _ := strings.Cut(servicetest.HiveServer(t, services.Options{}).Address(), ":")
	port, err := strconv.Atoi(text)
	require.NoError(t, err)
	cfg := gohive.NewConnectConfiguration()
	cfg.Username, cfg.Password = "lake", "x"
	cfg.FetchSize = 1000
	cfg.ConnectTimeout, cfg.SocketTimeout = time.Minute, 2*time.Minute
	conn, err := gohive.Connect(host, port, "NONE", cfg)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return &hive{cursor: conn.Cursor(), folder: t.TempDir()}
}

func (h *hive) dialect() schemas.Dialect { return schemas.Hive }

func (h *hive) exec(ctx context.Context, statement string) error {
	h.cursor.Exec(ctx, statement)
	if h.cursor.Err != nil {
		return failure(h.cursor.Err.Error())
	}
	return nil
}

// load makes a folder of the file, since an external table is one.
func (h *hive) load(ctx context.Context, file string) error {
	h.tables++
	folder := filepath.Join(h.folder, strconv.Itoa(h.tables))
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "rows.parquet"), data, 0o644); err != nil {
		return err
	}
	var columns []string
	for _, f := range source().Schema.Fields {
		columns = append(columns, schemas.Hive.Quote(f.Name)+" "+f.Type.SQL(schemas.Hive))
	}
	if err := h.exec(ctx, "DROP TABLE IF EXISTS events"); err != nil {
		return err
	}
	return h.exec(ctx, "CREATE EXTERNAL TABLE events ("+strings.Join(columns, ", ")+") STORED AS PARQUET LOCATION "+schemas.Hive.Literal("file://"+folder))
}

var hiveCells = map[schemas.Kind]string{
	schemas.Invalid: "CAST(%s AS STRING)", schemas.Bytes: "hex(%s)", schemas.Date: "CAST(datediff(%s, DATE '1970-01-01') AS STRING)",
	schemas.Timestamp: "CAST(CAST(CAST(%s AS DECIMAL(20, 6)) * 1000000BD AS BIGINT) AS STRING)", schemas.Datetime: "CAST(CAST(CAST(%s AS DECIMAL(20, 6)) * 1000000BD AS BIGINT) AS STRING)",
}

func (h *hive) ask(ctx context.Context, query string, out schemas.Schema) (all [][]cell, err error) {
	if err := h.exec(ctx, wrapped(schemas.Hive, query, out, hiveCells)); err != nil {
		return nil, err
	}
	for h.cursor.HasMore(ctx) {
		row := h.cursor.RowMap(ctx)
		if h.cursor.Err != nil {
			return nil, failure(h.cursor.Err.Error())
		}
		cells := make([]cell, len(out.Fields))
		for i := range cells {
			if text, ok := row[fmt.Sprint("o", i)].(string); ok {
				cells[i] = cell{String: text, Valid: true}
			}
		}
		all = append(all, cells)
	}
	if h.cursor.Err != nil {
		return nil, failure(h.cursor.Err.Error())
	}
	return all, nil
}

func TestHive(t *testing.T) {
	h := startHive(t)
	for _, set := range rules.Settings(schemas.Hive) {
		require.NoError(t, h.exec(t.Context(), set))
	}
	fails(t, h)
	compared, began := 0, time.Now()
	for _, seed := range seeds(t, 1) {
		compared += agree(t, h, seed, 10)
	}
	require.NotZero(t, compared)
	t.Logf("%d queries compared in %v", compared, time.Since(began))
}
