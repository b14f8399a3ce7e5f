package parquet

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lake/schemas"
)

// useNames gives a file's columns the ids of s by their names: what others
// write has none.
func useNames(columns []*Column, fields []schemas.Field) {
	for i, c := range columns {
		f := fields[i]
		c.ID = f.ID
		switch f.Type.Kind {
		case schemas.Struct:
			useNames(c.Children, f.Type.Fields)
		case schemas.List:
			useNames(c.Children, []schemas.Field{*f.Type.Elem})
		case schemas.Map:
			useNames(c.Children, []schemas.Field{*f.Type.Key, *f.Type.Elem})
		}
	}
}

// has tells whether a field is of one of the kinds, or has one within.
func has(f schemas.Field, kinds ...schemas.Kind) bool {
	within := slices.Clone(f.Type.Fields)
	for _, inner := range []*schemas.Field{f.Type.Elem, f.Type.Key} {
		if inner != nil {
			within = append(within, *inner)
		}
	}
	return slices.Contains(kinds, f.Type.Kind) || slices.ContainsFunc(within, func(f schemas.Field) bool { return has(f, kinds...) })
}

// schemaWithout is a random schema without some kinds.
func (g *generator) schemaWithout(kinds ...schemas.Kind) schemas.Schema {
	for {
		s := g.schema()
		if !slices.ContainsFunc(s.Fields, func(f schemas.Field) bool { return has(f, kinds...) }) {
			return s
		}
	}
}

// rewritten has another engine copy random files, and reads the copies: the other reads what
// we wrote, and we what it did.
func rewritten(t *testing.T, python, writer string, common bool, files, copies int, without ...schemas.Kind) {
	dir := t.TempDir()
	type made struct {
		schema schemas.Schema
		want   []picked
		folder string
	}
	var all []made
	var input strings.Builder
	for seed := range uint64(files) {
		g := &generator{Rand: rand.New(rand.NewPCG(seed, 15)), common: common}
		m := made{schema: g.schemaWithout(without...), folder: filepath.Join(dir, fmt.Sprint(seed))}
		var data []byte
		for len(m.want) == 0 {
			data, m.want = g.ownFile(t, m.schema)
		}
		require.NoError(t, os.Mkdir(m.folder, 0o755))
		require.NoError(t, os.WriteFile(m.folder+".parquet", data, 0o600))
		fmt.Fprintln(&input, m.folder+".parquet", m.folder)
		all = append(all, m)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "testdata/rewrite.py", writer)
	cmd.Stdin = strings.NewReader(input.String())
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	require.NoError(t, err, "%s", &said)
	require.Contains(t, string(out), "DONE")
	g := rand.New(rand.NewPCG(1, 16))
	for _, m := range all {
		paths, err := filepath.Glob(filepath.Join(m.folder, "*.parquet"))
		require.NoError(t, err)
		require.Len(t, paths, copies)
		for _, path := range paths {
			t.Run(filepath.Base(m.folder)+"/"+filepath.Base(path), func(t *testing.T) {
				data, err := os.ReadFile(path)
				require.NoError(t, err)
				f, err := Open(bytes.NewReader(data), int64(len(data)), nil)
				require.NoError(t, err)
				useNames(f.Columns(), m.schema.Fields)
				requireFile(t, g, f, m.schema, m.want)
			})
		}
	}
}

func otherPython(t *testing.T, variable string) string {
	home := os.Getenv(variable)
	if home == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal(variable + " is not set: run make test")
		}
		t.Skip(variable + " is not set: make test makes a Python for it")
	}
	return home
}

func TestRowsOfPyarrowAndDuckDB(t *testing.T) {
	// DuckDB has no bytes of fixed length.
	rewritten(t, otherPython(t, "LAKE_TEST_PYTHON"), "duckdb", true, 16, 12, schemas.UUID)
}

func TestRowsOfPyarrow(t *testing.T) {
	rewritten(t, otherPython(t, "LAKE_TEST_PYTHON"), "pyarrow", false, 14, 6)
}

func TestRowsOfSpark(t *testing.T) {
	// Spark has no times of day, and writes bytes of fixed length as any others.
	rewritten(t, filepath.Join(otherPython(t, "LAKE_TEST_SPARK"), "bin", "python"), "spark", true, 8, 4, schemas.UUID, schemas.Time)
}
