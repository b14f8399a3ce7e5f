package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// python is an interpreter with bench/requirements.txt. `make test` makes one.
func python(t *testing.T) string {
	path := os.Getenv("LAKE_TEST_PYTHON")
	if path == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("LAKE_TEST_PYTHON is not set: run make test")
		}
		t.Skip("LAKE_TEST_PYTHON is not set: make test makes a Python with pyiceberg and DuckDB")
	}
	return path
}

// readElsewhere asks pyiceberg and DuckDB the same queries over a job's table, and
// returns the rows of each query.
func readElsewhere(t *testing.T, dir, table string, queries ...string) (iceberg, parquet [][][]string) {
	files := lakeOutput(t, dir, "tables", "files", table, "--warehouse", filepath.Join(dir, "warehouse"), "--output", "json")
	script, err := filepath.Abs("testdata/read_table.py")
	require.NoError(t, err)
	args := append([]string{script, filepath.Join(dir, "warehouse", "catalog.db"), table, files}, queries...)
	out, err := exec.Command(python(t), args...).CombinedOutput()
	require.NoError(t, err, string(out))
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	require.Len(t, lines, 2*len(queries), string(out))
	iceberg, parquet = make([][][]string, len(queries)), make([][][]string, len(queries))
	for i := range queries {
		require.NoError(t, json.Unmarshal([]byte(lines[2*i]), &iceberg[i]))
		require.NoError(t, json.Unmarshal([]byte(lines[2*i+1]), &parquet[i]))
	}
	return iceberg, parquet
}

const interopJob = `version: 1
name: interop
source: {files: {paths: ["in.jsonl"]}}
schema:
  id: int64!
  ts: timestamp!
  flag: bool
  small: int32
  f32: float32
  f64: float64
  price: decimal(12,2)
  big: decimal(38,10)
  name: string
  raw: bytes
  day: date
  at: time
  wall: datetime
  key: uuid
  doc: json
  tags: list<string>
  gps: "struct<lat: float64, lon: float64>"
  props: map<string, int64>
  nested: "list<struct<a: int32, b: list<string>>>"
time: {field: ts, zone: Asia/Kolkata}
table: {name: i.events, partition_by: [dt]}
`

// interopRows are two rows with a value in each column, and one of nulls.
const interopRows = `{"id":1,"ts":"2021-11-30T20:00:00.123456Z","flag":true,"small":-7,"f32":1.5,"f64":-0.25,"price":1234567890.12,"big":-1234567890123456789012345678.0123456789,"name":"Zoë \"q\"","raw":"AAH/","day":"1969-12-31","at":"23:59:59.999999","wall":"2021-02-28 12:00:00","key":"123e4567-e89b-12d3-a456-426614174000","doc":{"a":[1,2]},"tags":["x","","y"],"gps":{"lat":1.25,"lon":-2.5},"props":{"one":1,"two":2},"nested":[{"a":1,"b":["p","q"]},{"a":null,"b":[]}]}
{"id":2,"ts":"2021-11-30T10:00:00Z"}
{"id":3,"ts":"2021-11-30T18:30:00Z","tags":[],"gps":{"lat":0.5},"props":{},"nested":[],"name":""}
`

// TestOtherEngines reads a table with every column type by pyiceberg and by
// DuckDB over the snapshot's file list.
func TestOtherEngines(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "job.yaml"), []byte(interopJob), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "in.jsonl"), []byte(interopRows), 0o644))
	lakeOutput(t, dir, "ingest", "job.yaml")

	scalars := `SELECT id, epoch_us(ts), flag, small, f32, f64, price, big, name, hex(raw), day, "at", wall, key, doc, dt FROM $T ORDER BY id`
	wantScalars := [][]string{
		{"1", "1638302400123456", "True", "-7", "1.5", "-0.25", "1234567890.12", "-1234567890123456789012345678.0123456789", `Zoë "q"`, "0001FF",
			"1969-12-31", "23:59:59.999999", "2021-02-28 12:00:00", "123e4567-e89b-12d3-a456-426614174000", `{"a":[1,2]}`, "2021-12-01"},
		{"2", "1638266400000000", "None", "None", "None", "None", "None", "None", "None", "None", "None", "None", "None", "None", "None", "2021-11-30"},
		{"3", "1638297000000000", "None", "None", "None", "None", "None", "None", "", "None", "None", "None", "None", "None", "None", "2021-12-01"},
	}
	nested := `SELECT id, tags::VARCHAR, gps.lat, gps.lon, cardinality(props), CASE WHEN id <> 2 THEN nested::VARCHAR END FROM $T ORDER BY id`
	wantNested := [][]string{
		{"1", "[x, '', y]", "1.25", "-2.5", "2", "[{'a': 1, 'b': [p, q]}, {'a': NULL, 'b': []}]"},
		{"2", "None", "None", "None", "None", "None"},
		{"3", "[]", "0.5", "None", "0", "[]"},
	}
	iceberg, parquet := readElsewhere(t, dir, "i.events", scalars, nested, `SELECT id FROM $T WHERE nested IS NULL`)
	for engine, got := range map[string][][][]string{"pyiceberg": iceberg, "DuckDB": parquet} {
		require.Equal(t, wantScalars, got[0], engine)
		require.Equal(t, wantNested, got[1], engine)
	}
	// pyiceberg 0.12 itself makes an empty list of a null list of structs; the file has the null.
	require.Equal(t, [][]string{{"2"}}, parquet[2], "DuckDB")

	// After a compaction both still read the same.
	lakeOutput(t, dir, "compact", "job.yaml")
	iceberg, parquet = readElsewhere(t, dir, "i.events", scalars, nested)
	for engine, got := range map[string][][][]string{"pyiceberg": iceberg, "DuckDB": parquet} {
		require.Equal(t, [][][]string{wantScalars, wantNested}, got, engine)
	}
}
