package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSortedAsDuckDBSorts compacts by columns of each plain type, and has DuckDB
// compare each file with its own order of the same rows.
func TestSortedAsDuckDBSorts(t *testing.T) {
	const job = `version: 1
name: sorted_%[1]s
source: {files: {paths: ["in/*.jsonl"]}}
schema: {flag: bool, small: int32, f32: float32, f64: float64, price: "decimal(12,2)", big: "decimal(38,10)", name: string, day: date, at: time, wall: datetime, key: uuid, id: int64!}
table: {name: s.%[1]s, partition_by: [], sort_by: [%[1]s, id]}
`
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "in"), 0o755))
	r := rand.New(rand.NewPCG(3, 3))
	for part := range 3 {
		var lines strings.Builder
		for range 400 {
			v := func(name, format string, args ...any) {
				if r.IntN(6) > 0 {
					fmt.Fprintf(&lines, `"%s":%s,`, name, fmt.Sprintf(format, args...))
				}
			}
			lines.WriteString("{")
			v("flag", "%t", r.IntN(2) == 0)
			v("small", "%d", r.IntN(20)-10)
			v("f32", "%g", float32(r.IntN(20)-10)/4)
			v("f64", "%s", []string{"-0.0", "0.25", "-1.5e300", "2.5", "1e-300", "3"}[r.IntN(6)])
			v("price", "%d.%02d", r.IntN(40)-20, r.IntN(100))
			v("big", "%d%018d.5", r.Int64N(2e9)-1e9, r.Int64N(1e18))
			v("name", `"%s"`, []string{"", "a", "abcdefgh", "abcdefgh1", "abcdefgh2", "é", "z", "Z"}[r.IntN(8)])
			v("day", `"%d-%02d-01"`, 1950+r.IntN(60), 1+r.IntN(12))
			v("at", `"%02d:00:00"`, r.IntN(24))
			v("wall", `"%d-01-01 00:00:00"`, 1960+r.IntN(20))
			v("key", `"%08x-0000-0000-0000-00000000000%d"`, r.Uint32(), r.IntN(10))
			fmt.Fprintf(&lines, `"id":%d}`+"\n", r.IntN(100)-50)
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, "in", fmt.Sprint(part, ".jsonl")), []byte(lines.String()), 0o644))
	}
	columns := []string{"flag", "small", "f32", "f64", "price", "big", "name", "day", "at", "wall", "key"}
	var queries []string
	for _, column := range columns {
		path := filepath.Join(dir, "job.yaml")
		require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, job, column), 0o644))
		lakeOutput(t, dir, "ingest", "job.yaml")
		lakeOutput(t, dir, "compact", "job.yaml")
		var files []struct{ Path string }
		require.NoError(t, json.Unmarshal([]byte(lakeOutput(t, dir, "tables", "files", "job.yaml", "--output", "json")), &files))
		require.Len(t, files, 1)
		rows := fmt.Sprintf(`list(row("%s", id)::VARCHAR)`, column)
		from := "read_parquet('" + strings.TrimPrefix(files[0].Path, "file://") + "')"
		queries = append(queries, fmt.Sprintf(`SELECT count(*), (SELECT %[1]s FROM (SELECT * FROM %[2]s)) = (SELECT %[1]s FROM (SELECT * FROM %[2]s ORDER BY "%[3]s" NULLS FIRST, id)) FROM %[2]s`, rows, from, column))
	}
	// One Python for all: each takes seconds to begin.
	const ask = "import duckdb, sys\nfor query in sys.argv[1:]: print(*duckdb.sql(query).fetchall()[0])"
	out, err := exec.Command(python(t), append([]string{"-c", ask}, queries...)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	said := strings.Split(strings.TrimSpace(string(out)), "\n")
	require.Len(t, said, len(columns), "%s", out)
	for i, column := range columns {
		require.Equal(t, "1200 True", said[i], column)
	}
}
