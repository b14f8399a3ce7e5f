package rules

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"lake/schemas"
)

// FuzzCompile looks for panics, for errors outside the query, and for queries
// whose canonical form does not compile to the same plan.
func FuzzCompile(f *testing.F) {
	files, err := filepath.Glob("testdata/queries/*.txtar")
	require.NoError(f, err)
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		require.NoError(f, err)
		for _, one := range archive.Files {
			if strings.HasSuffix(one.Name, ".sql") {
				f.Add(string(one.Data))
			}
		}
	}
	for _, e := range evaluations {
		f.Add("SELECT " + e.expr + " AS x FROM events")
	}
	src := testSource()
	f.Fuzz(func(t *testing.T, sql string) {
		p, errs := Compile(sql, src)
		if len(errs) > 0 {
			for _, e := range errs {
				require.True(t, e.Offset >= 0 && e.Offset <= len(sql) && e.Line >= 1 && e.Col >= 1 && e.Msg != "", "%+v", e)
			}
			return
		}
		require.Equal(t, len(p.Select), p.Output().NumFields())
		for _, d := range schemas.Dialects()[1:] {
			_, _ = p.Print(d, "events") // may have no form there
		}
		text, err := p.Print(schemas.BigQuery, "events")
		require.NoError(t, err)
		if strings.Contains(text, "UNNEST") {
			return // how maps are read there
		}
		again, errs := Compile(text, src)
		require.Empty(t, errs, text)
		require.Equal(t, p.String(), again.String())
		require.Equal(t, p.Fingerprint(), again.Fingerprint())
	})
}

// TestCompileBounds sees that large and deep queries are refused soon.
func TestCompileBounds(t *testing.T) {
	for name, test := range map[string]struct{ where, want string }{
		"long":     {strings.Repeat("a", maxSQL), "bytes, more than 65536"},
		"brackets": {strings.Repeat("(", 30000) + "b" + strings.Repeat(")", 30000), "nested more than 50 deep"},
		"cases":    {strings.Repeat("CASE WHEN b THEN ", 60) + "b" + strings.Repeat(" END", 60), "nested more than 50 deep"},
		"nots":     {strings.Repeat("NOT ", 15000) + "b", "nested more than 1000 deep"},
		"chain":    {"b" + strings.Repeat(" AND b", 9000), "nested more than 1000 deep"},
		"invalid":  {"event = '\xff'", "UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs := Compile("SELECT b FROM events WHERE "+test.where, testSource())
			require.NotEmpty(t, errs)
			require.ErrorContains(t, errs, test.want)
		})
	}
	_, errs := Compile("SELECT b FROM events WHERE b"+strings.Repeat(" AND b", 900), testSource())
	require.Empty(t, errs)
}

func TestErrorPlaces(t *testing.T) {
	sql := "SELECT user_id,\n  'ü' AS u, nope\nFROM events WHERE nix"
	_, errs := Compile(sql, testSource())
	require.Len(t, errs, 2)
	require.Equal(t, Error{Offset: strings.Index(sql, "nope"), Line: 2, Col: 13, Msg: `unknown column "nope"`}, *errs[0])
	require.Equal(t, Error{Offset: strings.Index(sql, "nix"), Line: 3, Col: 19, Msg: `unknown column "nix"`}, *errs[1])
}

func TestNearest(t *testing.T) {
	names := []string{"user_id", "property_id", "event"}
	for name, want := range map[string]string{
		"user": `did you mean "user_id"?`, "usre_id": `did you mean "user_id"?`, "EVNT": `did you mean "event"?`,
		"zip": "there are user_id, property_id, event",
	} {
		require.Equal(t, want, nearest(name, names), name)
	}
}

// TestLongestName is of a column's name of the length that BigQuery takes, and of one above it.
func TestLongestName(t *testing.T) {
	_, errs := Compile("SELECT b AS "+strings.Repeat("n", 300)+" FROM events", testSource())
	require.Empty(t, errs)
	_, errs = Compile("SELECT b AS "+strings.Repeat("n", 301)+" FROM events", testSource())
	require.Len(t, errs, 1)
	require.Contains(t, errs.Error(), "is no valid name of a column")
}
