package figures

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWriteReplacesTheSameWorkAndKeepsOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "B.md")
	require.NoError(t, os.WriteFile(path, []byte("head\n"+begin+"\n"+end+"\ntail\n"), 0o600))
	line := func(work, peer string, lake time.Duration) Line {
		return Compare(work, peer, "run "+work, []Pair{{Run{Wall: lake, Memory: 1 << 20}, Run{Wall: 2 * time.Second, Memory: 2 << 20}}}, 1.5, 0.7)
	}
	require.NoError(t, Write(path, "first", []Line{line("flat", "DuckDB 2.0.0", time.Second), line("nested", "DuckDB 2.0.0", time.Second), line("flat", "polars 2.1.0", time.Second)}))
	require.NoError(t, Write(path, "second", []Line{line("flat", "DuckDB 2.0.1", 2*time.Second), line("new", "Spark 3", time.Second)}))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "head\n"+begin+"\n\nThe last run: second.\n\n"+Header+
		"| flat | DuckDB 2.0.1 | 2.00 s | 2.00 s | 1.00 (1.00–1.00 of 1) | 1 / 2 MiB | rate ≥ 1.50, memory ≤ 0.70 | **misses**, holds |\n"+
		"| nested | DuckDB 2.0.0 | 1.00 s | 2.00 s | 2.00 (2.00–2.00 of 1) | 1 / 2 MiB | rate ≥ 1.50, memory ≤ 0.70 | holds, holds |\n"+
		"| flat | polars 2.1.0 | 1.00 s | 2.00 s | 2.00 (2.00–2.00 of 1) | 1 / 2 MiB | rate ≥ 1.50, memory ≤ 0.70 | holds, holds |\n"+
		"| new | Spark 3 | 1.00 s | 2.00 s | 2.00 (2.00–2.00 of 1) | 1 / 2 MiB | rate ≥ 1.50, memory ≤ 0.70 | holds, holds |\n"+
		"\n"+howHeader+"| flat | DuckDB 2.0.1 | `run flat` |\n| nested | DuckDB 2.0.0 | `run nested` |\n| flat | polars 2.1.0 | `run flat` |\n| new | Spark 3 | `run new` |\n"+
		end+"\ntail\n", string(data))
	short := filepath.Join(t.TempDir(), "R.md")
	require.NoError(t, os.WriteFile(short, []byte("head\n"+begin+"\nold\n"+end+"\ntail\n"), 0o600))
	require.NoError(t, Summarize(path, short))
	summary, err := os.ReadFile(short)
	require.NoError(t, err)
	require.Equal(t, "head\n"+begin+"\n\n| work | against | lake | peer | rate, lake/peer (min–max) | peak memory |\n|---|---|--:|--:|--:|--:|\n"+
		"| flat | DuckDB 2.0.1 | 2.00 s | 2.00 s | 1.00 (1.00–1.00 of 1) | 1 / 2 MiB |\n"+
		"| nested | DuckDB 2.0.0 | 1.00 s | 2.00 s | 2.00 (2.00–2.00 of 1) | 1 / 2 MiB |\n"+
		"| new | Spark 3 | 1.00 s | 2.00 s | 2.00 (2.00–2.00 of 1) | 1 / 2 MiB |\n\n"+end+"\ntail\n", string(summary))
	require.ErrorContains(t, Write(filepath.Join(t.TempDir(), "none"), "", nil), "no such file")
}

func TestLinesGoThroughJSON(t *testing.T) {
	in, out, err := os.Pipe()
	require.NoError(t, err)
	defer in.Close()
	said := Line{Work: "w", Peer: "p", Targets: []Target{{Text: "t", Holds: true}}}
	require.NoError(t, NewPrinter(out, true).Line(said))
	require.NoError(t, out.Close())
	var got []Line
	require.NoError(t, Read(in, func(l Line) error { got = append(got, l); return nil }))
	require.Equal(t, []Line{said}, got)
}
