package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// pages are the help pages of all commands, by the command's path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		var page bytes.Buffer
		args := append([]string{"help"}, strings.Fields(cmd.CommandPath())[1:]...)
		require.Zero(t, run(t.Context(), args, nil, &page, &page), cmd.CommandPath())
		out[cmd.CommandPath()] = page.String()
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk(newRoot(&app{}))
	return out
}

// TestHelp reads each page as a person does, in a terminal of 80 columns: nothing
// is wider, each says what it is for, and what its examples say lake takes.
func TestHelp(t *testing.T) {
	pages := pages(t)
	require.Greater(t, len(pages), 30)
	examples := 0
	var wide []string
	for path, page := range pages {
		for line := range strings.Lines(page) {
			if utf8.RuneCountInString(strings.TrimRight(line, "\n")) > pageWidth {
				wide = append(wide, path+": "+line)
			}
		}
		if path == "lake exit-codes" || path == "lake job-file" {
			continue
		}
		_, after, found := strings.Cut(page, "\nExamples:\n")
		require.True(t, found, "%s has no example:\n%s", path, page)
		text, _, _ := strings.Cut(after, "\n\n")
		text = strings.NewReplacer("\\\n", "", "|\n", "|").Replace(text)
		own := false
		for line := range strings.Lines(text) {
			own = own || strings.Contains(line, path+" ") || strings.HasSuffix(strings.TrimSpace(line), path)
			for _, args := range calls(line) {
				requireUsage(t, args)
				examples++
			}
		}
		require.True(t, own || path == "lake" || path == "lake rules" || path == "lake tables" || path == "lake dlq" || path == "lake completion",
			"%s is in none of its examples: %s", path, text)
	}
	require.Empty(t, wide)
	require.Greater(t, examples, 40)
}

// calls are the arguments of lake in a line of a shell.
func calls(line string) (out [][]string) {
	for _, part := range regexp.MustCompile(`[|>()]`).Split(line, -1) {
		words := regexp.MustCompile(`"[^"]*"|\S+`).FindAllString(part, -1)
		if len(words) > 0 && words[0] == "lake" {
			out = append(out, words[1:])
		}
	}
	return out
}

// requireUsage wants that lake has the command and the flags, and takes as many arguments.
func requireUsage(t *testing.T, args []string) {
	t.Helper()
	cmd, rest, err := newRoot(&app{}).Find(args)
	require.NoError(t, err, "lake %s", args)
	require.NoError(t, cmd.ParseFlags(rest), "lake %s", args)
	require.NoError(t, cmd.ValidateArgs(cmd.Flags().Args()), "lake %s", args)
}

// TestHelpsFixture runs the fixture that the page of lake test shows.
func TestHelpsFixture(t *testing.T) {
	page := pages(t)["lake test"]
	at := strings.Index(page, "  version: 1\n")
	require.Positive(t, at)
	fixture, _, found := strings.Cut(page[at:], "\n\n")
	require.True(t, found)
	path := filepath.Join(t.TempDir(), "help.test.yaml")
	require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll("\n"+fixture, "\n  ", "\n")), 0o644))
	var said bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"test", "../../jobs/nobroker.yaml", "--fixtures", path}, nil, &said, &said), "%s", &said)
	require.Contains(t, said.String(), "1 test, 0 failed")
}
