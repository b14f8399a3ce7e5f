package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// TestReadme follows what README.md says of a job of one's own to the letter.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(text), "## A job of your own in five minutes\n")
	require.True(t, found)
	section, _, found = strings.Cut(section, "\n## ")
	require.True(t, found)

	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "portal"), 0o755))
	files := regexp.MustCompile("(?s)```yaml\n(.*?)```\n").FindAllStringSubmatch(section, -1)
	require.Len(t, files, 2)
	for i, name := range []string{"portal.yaml", "portal.test.yaml"} {
		require.Contains(t, section, "`"+name+"`")
		require.NoError(t, os.WriteFile(filepath.Join(dir, "portal", name), []byte(files[i][1]), 0o644))
	}
	script := "set -ex\n"
	for _, line := range regexp.MustCompile(`(?m)^    (.*)$`).FindAllStringSubmatch(regexp.MustCompile("(?s)```yaml.*?```").ReplaceAllString(section, ""), -1) {
		script += line[1] + "\n"
	}
	script += "lake lint events.yaml\n"
	require.Equal(t, 11, strings.Count(script, "\nlake "), script)
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, said := range []string{
		"1 test, 0 failed",
		"100,000 records in = 100,000 rows landed + 0 dead letters",
		"0 records in = 0 rows landed + 0 dead letters",
		`{"user_id":168,"property_id":4026,"date":"2021-11-30T00:00:00.000+05:30","event":"Login","dt":"2021-11-30"}`,
		"duckdb events: loaded 100,000 rows in 1 partition",
		"100,000 in = 100,000 rows + 0 dead letters",
	} {
		require.Contains(t, string(out), said)
	}
}

// overlaid is a job file with other values for the keys of part.
func overlaid(t *testing.T, job, part map[string]yaml.Node) []byte {
	t.Helper()
	whole := maps.Clone(job)
	maps.Copy(whole, part)
	data, err := yaml.Marshal(whole)
	require.NoError(t, err)
	return data
}

// requireLints wants that lint takes a job file.
func requireLints(t *testing.T, name string, data []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "job.yaml")
	require.NoError(t, os.WriteFile(file, data, 0o644))
	var out bytes.Buffer
	require.Equal(t, exitDone, run(t.Context(), []string{"lint", file}, nil, &out, &out), "%s\n%s\n%s", name, out.String(), data)
}

// TestPagesLint: what the pages show of a job file, put in place of the same keys of
// README's own job, is a job that lint takes.
func TestPagesLint(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	fence := regexp.MustCompile("(?s)```yaml\n(.*?)```\n")
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	blocks := fence.FindAllSubmatch(readme, -1)
	require.Len(t, blocks, 3)
	var job, bucket map[string]yaml.Node
	require.NoError(t, yaml.Unmarshal(blocks[0][1], &job))
	require.NoError(t, yaml.Unmarshal(blocks[2][1], &bucket))
	t.Setenv("LAKE_CATALOG", "postgres://lake@catalog/lake")
	t.Setenv("HIVE_PASSWORD", "secret")
	linted := 0
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for i, block := range fence.FindAllSubmatch(text, -1) {
			name := fmt.Sprintf("%s, its block %d", filepath.Base(page), i+1)
			var part map[string]yaml.Node
			require.NoError(t, yaml.Unmarshal(block[1], &part), name)
			if _, fixtures := part["tests"]; fixtures {
				continue
			}
			lies := job
			if filepath.Base(page) == "warehouses.md" {
				lies = maps.Clone(job)
				maps.Copy(lies, bucket)
			}
			requireLints(t, name, overlaid(t, lies, part))
			linted++
		}
	}
	require.Equal(t, 11, linted)
}
