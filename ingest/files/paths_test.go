package files

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPatterns(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.jsonl", "b.jsonl", "b.txt", ".hidden.jsonl", "in/c.jsonl", "in/x/d.jsonl", "in/x/y/e.jsonl", "in/.tmp/f.jsonl", "in/[g].jsonl"} {
		write(t, filepath.Join(dir, name), "1\n")
	}
	require.NoError(t, os.Symlink(dir, filepath.Join(dir, "in/loop")))
	require.NoError(t, os.Symlink(filepath.Join(dir, "nowhere"), filepath.Join(dir, "dangling.jsonl")))
	require.NoError(t, os.Symlink(filepath.Join(dir, "b.txt"), filepath.Join(dir, "link.txt")))
	cases := []struct {
		patterns, want []string
	}{
		{[]string{"*.jsonl"}, []string{"a.jsonl", "b.jsonl"}},
		{[]string{".*.jsonl"}, []string{".hidden.jsonl"}},
		{[]string{"?.jsonl", "a.jsonl", "./a.jsonl"}, []string{"a.jsonl", "b.jsonl"}},
		{[]string{"[b-z].*"}, []string{"b.jsonl", "b.txt"}},
		{[]string{"in/*.jsonl"}, []string{"in/[g].jsonl", "in/c.jsonl"}},
		{[]string{`in/\[g].jsonl`}, []string{"in/[g].jsonl"}},
		{[]string{"in/**/*.jsonl"}, []string{"in/[g].jsonl", "in/c.jsonl", "in/x/d.jsonl", "in/x/y/e.jsonl"}},
		{[]string{"in/**"}, []string{"in/[g].jsonl", "in/c.jsonl", "in/x/d.jsonl", "in/x/y/e.jsonl"}},
		{[]string{"in/*/d.jsonl"}, []string{"in/x/d.jsonl"}},
		{[]string{"**/e.jsonl"}, []string{"in/x/y/e.jsonl"}},
		{[]string{"in/**/y/*"}, []string{"in/x/y/e.jsonl"}},
		{[]string{"link.txt"}, []string{"link.txt"}},
		{[]string{"nowhere/*.jsonl", "a.jsonl/*", "*.json"}, nil},
		{[]string{"in/../a.jsonl"}, []string{"a.jsonl"}},
		{[]string{dir + "/in/x/*"}, []string{dir + "/in/x/d.jsonl"}},
	}
	for _, c := range cases {
		s := newSource(t, Options{Dir: dir}, c.patterns...)
		hits, err := s.find(t.Context(), true)
		require.NoError(t, err, c.patterns)
		var got []string
		for _, h := range hits {
			got = append(got, h.name)
		}
		require.Equal(t, c.want, got, c.patterns)
	}
}
