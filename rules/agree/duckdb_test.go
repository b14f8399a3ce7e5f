//go:build cgo

package agree

import (
	"context"
	"database/sql"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2" // an engine that the answers are compared with
	"github.com/stretchr/testify/require"

	"lake/schemas"
)

type duck struct{ db *sql.DB }

func startDuckDB(t testing.TB) engine {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	db.SetMaxOpenConns(1)
	_, err = db.ExecContext(t.Context(), "SET TimeZone = 'Australia/Lord_Howe'") // no query may depend on it
	require.NoError(t, err)
	return &duck{db}
}

func (d *duck) dialect() schemas.Dialect { return schemas.DuckDB }

func (d *duck) load(ctx context.Context, file string) error {
	_, err := d.db.ExecContext(ctx, "CREATE OR REPLACE TABLE events AS SELECT * FROM read_parquet("+schemas.DuckDB.Literal(file)+")")
	return err
}

var duckCells = map[schemas.Kind]string{
	schemas.Invalid: "CAST(%s AS VARCHAR)", schemas.Bytes: "hex(%s)", schemas.Date: "CAST(%s - DATE '1970-01-01' AS VARCHAR)",
	schemas.Timestamp: "CAST(epoch_us(%s) AS VARCHAR)", schemas.Datetime: "CAST(epoch_us(%s) AS VARCHAR)",
}

func (d *duck) ask(ctx context.Context, query string, out schemas.Schema) (all [][]cell, err error) {
	rows, err := d.db.QueryContext(ctx, wrapped(schemas.DuckDB, query, out, duckCells))
	if err != nil {
		return nil, failure(err.Error())
	}
	defer rows.Close()
	for rows.Next() {
		row, into := make([]cell, len(out.Fields)), make([]any, len(out.Fields))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		all = append(all, row)
	}
	if err := rows.Err(); err != nil {
		return nil, failure(err.Error())
	}
	return all, nil
}

func TestDuckDB(t *testing.T) {
	e := startDuckDB(t)
	fails(t, e)
	compared := 0
	for _, seed := range seeds(t, 8) {
		compared += agree(t, e, seed, 60)
	}
	t.Logf("%d queries compared", compared)
}
