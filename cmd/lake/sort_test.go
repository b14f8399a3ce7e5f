package main

import (
	"fmt"
	"math/rand/v2"
	"os"
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
	for _, column := range []string{"flag", "small", "f32", "f64", "price", "big", "name", "day", "at", "wall", "key"} {
		path := filepath.Join(dir, "job.yaml")
		require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, job, column), 0o644))
		lakeOutput(t, dir, "ingest", "job.yaml")
		lakeOutput(t, dir, "compact", "job.yaml")
		rows := fmt.Sprintf(`list(row("%s", id)::VARCHAR)`, column)
		_, parquet := readElsewhere(t, dir, "s."+column,
			fmt.Sprintf(`SELECT count(*), (SELECT %s FROM (SELECT * FROM $T)) = (SELECT %s FROM (SELECT * FROM $T ORDER BY "%s" NULLS FIRST, id)) FROM $T`, rows, rows, column))
		require.Equal(t, [][]string{{"1200", "True"}}, parquet[0], column)
	}
}
