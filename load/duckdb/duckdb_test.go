//go:build cgo

package duckdb

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"lake/load"
	"lake/schemas"
	"lake/table/parquet"
)

func open(t *testing.T, path, table string) *Warehouse {
	w, err := Open(t.Context(), Config{Path: path, Table: table}, Options{MemoryBytes: 256 << 20, Threads: 1, TempDir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	return w
}

// parquetFile writes rows, which are JSON, and gives them back as Arrow, too.
func parquetFile(t *testing.T, s schemas.Schema, rows string) (load.File, arrow.RecordBatch) {
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, s.Arrow(), strings.NewReader(rows))
	require.NoError(t, err)
	t.Cleanup(batch.Release)
	path := filepath.Join(t.TempDir(), "rows.parquet")
	f, err := os.Create(path)
	require.NoError(t, err)
	w, err := parquet.NewWriter(f, batch.Schema(), parquet.Options{})
	require.NoError(t, err)
	require.NoError(t, w.Append(batch, nil))
	_, err = w.Close()
	require.NoError(t, err)
	require.NoError(t, f.Close())
	info, err := os.Stat(path)
	require.NoError(t, err)
	return load.File{URI: path, Rows: batch.NumRows(), Bytes: info.Size()}, batch
}

func schemaOf(t *testing.T, columns ...string) schemas.Schema {
	var s schemas.Schema
	for _, c := range columns {
		name, text, _ := strings.Cut(c, " ")
		typ, err := schemas.ParseType(text)
		require.NoError(t, err)
		s.Fields = append(s.Fields, schemas.Field{Name: name, Type: typ})
	}
	return s
}

// Each value by itself, so that a type whose text differs is named.
func TestDigestIsThatOfArrow(t *testing.T) {
	for _, c := range []struct{ typ, values string }{
		{"bool", `true false`}, {"int32", `0 -2147483648 2147483647`}, {"int64", `0 -9223372036854775808 9223372036854775807`},
		{"float32", `0 1.5 -0.1 3e38`}, {"float64", `0 0.1 -1e279 5e-324 1e300`},
		{"decimal(5,2)", `"0.00" "1.50" "-1.00" "20.00" "-0.05" "999.99"`}, {"decimal(9,0)", `"0" "100" "-7000"`}, {"decimal(38,10)", `"1234567890123456789012345678.0123456789" "-0.0000000001"`},
		{"string", `"" "a" "ä€😀" "1:a,~" "~" "\u0000x" "'\\"`}, {"bytes", `"" "AA==" "/w=="`},
		{"date", `"1970-01-01" "1969-12-31" "2024-02-29" "0999-01-01"`}, {"time", `"00:00:00" "23:59:59.999999"`},
		{"timestamp", `"1970-01-01T00:00:00Z" "1969-12-31T23:59:59.999999Z" "2021-11-30T18:30:00.000001Z"`},
		{"datetime", `"1970-01-01T00:00:00" "1901-01-01T00:00:00.5" "2021-11-30T18:30:00.000001"`},
		{"uuid", `"AAECAwQFBgcICQoLDA0ODw==" "/////////////////////w=="`}, {"json", `"{\"a\": 1}" "null"`},
		{"list<int64>", `[] [1] [1,null]`}, {"struct<a: int64>", `{"a":1} {"a":null}`}, {"map<string, int64>", `[] [{"key":"a","value":1}]`},
	} {
		t.Run(c.typ, func(t *testing.T) {
			s := schemaOf(t, "n int64", "v "+c.typ, "w "+c.typ)
			var rows []string
			values := append(strings.Split(c.values, " "), "null")
			if c.typ == "json" {
				values = []string{`"{\"a\": 1}"`, `"null"`, "null"}
			}
			for i, v := range values {
				rows = append(rows, fmt.Sprintf(`{"n": %d, "v": %s, "w": %s}`, i, v, values[(i+1)%len(values)]))
			}
			file, batch := parquetFile(t, s, "["+strings.Join(rows, ",")+"]")
			d := load.NewDigester(s)
			require.NoError(t, d.Add(batch))
			w := open(t, filepath.Join(t.TempDir(), "w.duckdb"), "events")
			target := load.Table{Schema: s}
			_, err := w.Prepare(t.Context(), target)
			require.NoError(t, err)
			_, err = w.Replace(t.Context(), load.Load{ID: "1", Partition: load.Partition{Name: load.All, Files: []load.File{file}, Rows: file.Rows}})
			require.NoError(t, err)
			got, err := w.Digest(t.Context(), target, []string{load.All})
			require.NoError(t, err)
			require.Empty(t, d.Sum().Differs(got[load.All]), "%+v %+v", d.Sum(), got)
			require.NotZero(t, got[load.All].High)
		})
	}
}
