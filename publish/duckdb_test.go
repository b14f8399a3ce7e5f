//go:build cgo

package publish

import (
	"database/sql"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	_ "github.com/duckdb/duckdb-go/v2" // reads what was published
	"github.com/stretchr/testify/require"

	"lake/schemas"
)

// ask answers a query of one row of texts.
func ask(t *testing.T, query string) string {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	require.NoError(t, err)
	defer db.Close()
	_, err = db.ExecContext(t.Context(), "SET TimeZone = 'UTC'")
	require.NoError(t, err)
	rows, err := db.QueryContext(t.Context(), query)
	require.NoError(t, err)
	defer rows.Close()
	names, err := rows.Columns()
	require.NoError(t, err)
	var lines []string
	for rows.Next() {
		cells := make([]sql.NullString, len(names))
		into := make([]any, len(names))
		for i := range cells {
			into[i] = &cells[i]
		}
		require.NoError(t, rows.Scan(into...))
		texts := make([]string, len(names))
		for i, c := range cells {
			texts[i] = "NULL"
			if c.Valid {
				texts[i] = c.String
			}
		}
		lines = append(lines, strings.Join(texts, "|"))
	}
	require.NoError(t, rows.Err())
	return strings.Join(lines, "\n")
}

// DuckDB finds in each format, and by Hive's folders, what was landed.
func TestDuckDBReads(t *testing.T) {
	const many = 100_000
	ids := make([]int64, many)
	sum := int64(0)
	for i := range ids {
		ids[i] = int64(i) * 7
		sum += ids[i]
	}
	want := "100000|34999650000|t0|t99995"
	require.EqualValues(t, 34999650000, sum)
	for _, layout := range []string{DefaultLayout, "dt=%Y-%m-%d"} {
		for _, format := range []Format{Parquet, CSV, JSONL} {
			w := newWorld(t)
			w.layout(layout)
			w.options.Format = format
			w.options.TargetBytes = 20 << 10 // several files
			for part := range slices.Chunk(ids, many/4) {
				w.land(day, part...)
			}
			w.land(day+1, 1, 2, 3)
			r := w.mustRun(day)
			require.Greater(t, r.Files, 1, "%s %s: %d bytes", format, layout, r.Bytes)
			require.EqualValues(t, many, r.Rows)
			w.mustRun(day + 1)
			w.mustRun(day + 2) // a date without rows

			reader := map[Format]string{Parquet: "read_parquet", CSV: "read_csv", JSONL: "read_json"}[format]
			from := func(folder, options string) string {
				return "FROM " + reader + "('" + filepath.Join(folder, "*."+string(format)) + "'" + options + ")"
			}
			require.Equal(t, want, ask(t, "SELECT count(*), sum(id)::VARCHAR, min(text), max(text) "+from(w.folder(day), ", hive_partitioning = false")), "%s %s", format, layout)
			if format != JSONL { // which has no columns without rows
				require.Equal(t, "0", ask(t, "SELECT count(id) "+from(w.folder(day+2), "")))
			}
			columns := "id,text,at,dt"
			if w.options.Layout.omits {
				columns = "id,text,at"
				require.Equal(t, "2021-11-30|100000\n2021-12-01|3", ask(t, "SELECT dt::VARCHAR, count(*) "+from(w.options.To+"/*", ", hive_partitioning = true")+" GROUP BY 1 HAVING count(*) > 0 ORDER BY 1"))
				require.Equal(t, "DATE", ask(t, "SELECT typeof(dt) "+from(w.options.To+"/*", ", hive_partitioning = true")+" LIMIT 1"))
			}
			require.Equal(t, columns, ask(t, "SELECT string_agg(column_name, ',') FROM (DESCRIBE SELECT * "+from(w.folder(day), ", hive_partitioning = false")+")"))
		}
	}
}

// A file of the table at its target size is copied byte for byte, and only then.
func TestVerbatim(t *testing.T) {
	w := newWorld(t)
	w.land(day, 1, 2, 3)
	w.land(day, 4)
	w.options.TargetBytes = 1000 // the files have about 900 bytes
	r := w.mustRun(day)
	require.Equal(t, 2, r.Copied)
	require.Equal(t, "4|10|2021-11-30", ask(t, "SELECT count(*), sum(id)::VARCHAR, min(dt)::VARCHAR FROM read_parquet('"+w.folder(day)+"/*.parquet')"))
	folder, err := w.table.Folder()
	require.NoError(t, err)
	sums := map[string]bool{}
	for _, data := range tree(t, filepath.Join(folder, "data")) {
		sums[data] = true
	}
	for name, data := range tree(t, w.folder(day)) {
		require.Equal(t, strings.HasSuffix(name, ".parquet"), sums[data], name)
	}
	w.layout("dt=%Y-%m-%d")
	require.Zero(t, w.mustRun(day).Copied, "without the column dt")
	w.layout("again_%F")
	wider := w.table.Schema()
	wider.Fields = append(wider.Fields, schemas.Field{Name: "more", Type: schemas.Type{Kind: schemas.Int32}})
	w.table, err = w.catalog.EvolveTo(t.Context(), w.table, wider)
	require.NoError(t, err)
	r = w.mustRun(day)
	require.Zero(t, r.Copied, "the files lack a column")
	require.Equal(t, 1, r.Files)
	require.Equal(t, "4|0", ask(t, "SELECT count(*), count(more) FROM read_parquet('"+w.folder(day)+"/*.parquet')"))
}

// Values that are hard in CSV and JSON come back as they were.
func TestHardValues(t *testing.T) {
	kind := func(text string) schemas.Type {
		k, err := schemas.ParseType(text)
		require.NoError(t, err)
		return k
	}
	w := newWorld(t, schemas.Field{Name: "n", Type: kind("int64")}, schemas.Field{Name: "text", Type: kind("string")}, schemas.Field{Name: "price", Type: kind("decimal(9,2)")},
		schemas.Field{Name: "at", Type: kind("timestamp")}, schemas.Field{Name: "tags", Type: kind("list<string>")}, schemas.Field{Name: "x", Type: kind("float64")})
	texts := []string{"plain", "a,b", `say "hi"`, "two\nlines", "cr\rlf\r\n", " blank ", "ünï", "", "=1+1", `"`, "\t"}
	b := array.NewRecordBuilder(memory.DefaultAllocator, w.table.Schema().Arrow())
	defer b.Release()
	for i := range len(texts) + 1 {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		b.Field(6).(*array.Date32Builder).Append(arrow.Date32(day))
		if i == len(texts) {
			for column := 1; column < 6; column++ {
				b.Field(column).AppendNull()
			}
			continue
		}
		b.Field(1).(*array.StringBuilder).Append(texts[i])
		b.Field(2).(*array.Decimal128Builder).Append(decimal128.FromI64(int64(-105 + i)))
		b.Field(3).(*array.TimestampBuilder).Append(arrow.Timestamp(1638230400123456))
		list := b.Field(4).(*array.ListBuilder)
		list.Append(true)
		list.ValueBuilder().(*array.StringBuilder).Append(texts[i])
		b.Field(5).(*array.Float64Builder).Append(0.5)
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	w.landBatch(batch)

	query := "SELECT n, '<' || text || '>', price::VARCHAR, epoch_us(\"at\"), tags[1] = text, x %s ORDER BY n"
	types := "{'n': 'BIGINT', 'text': 'VARCHAR', 'price': 'DECIMAL(9,2)', 'at': 'TIMESTAMPTZ', 'tags': 'VARCHAR[]', 'x': 'DOUBLE', 'dt': 'DATE'}"
	var answers []string
	for _, format := range []Format{Parquet, JSONL, CSV} {
		w.options.Format = format
		w.mustRun(day)
		q := strings.Replace(query, "%s", map[Format]string{
			Parquet: "FROM read_parquet('" + w.folder(day) + "/*.parquet')",
			JSONL:   "FROM read_json('" + w.folder(day) + "/*.jsonl', columns = " + types + ")",
			CSV:     "FROM (SELECT * REPLACE (tags::JSON::VARCHAR[] AS tags) FROM read_csv('" + w.folder(day) + "/*.csv', header = true, delim = ',', quote = '\"', escape = '\"', allow_quoted_nulls = false, columns = " + strings.Replace(types, "VARCHAR[]", "VARCHAR", 1) + "))",
		}[format], 1)
		answers = append(answers, ask(t, q))
	}
	require.Contains(t, answers[0], `2|<say "hi">|-1.03|1638230400123456|true|0.5`)
	require.Contains(t, answers[0], "7|<>|-0.98|1638230400123456|true|0.5")
	require.Contains(t, answers[0], "11|NULL|NULL|NULL|NULL|NULL")
	require.Equal(t, answers[0], answers[1], "JSON lines")
	require.Equal(t, answers[0], answers[2], "CSV")
	data := ""
	for name, text := range tree(t, w.folder(day)) {
		if strings.HasSuffix(name, ".csv") {
			data = text
		}
	}
	require.True(t, strings.HasPrefix(data, "n,text,price,at,tags,x,dt\r\n0,plain,-1.05,2021-11-30T05:30:00.123456+05:30,\"[\"\"plain\"\"]\",0.5,2021-11-30\r\n1,\"a,b\",-1.04,"), data)
	require.Contains(t, data, "\r\n7,\"\",-0.98,")
	require.True(t, strings.HasSuffix(data, "\r\n11,,,,,,2021-11-30\r\n"), data)
}
