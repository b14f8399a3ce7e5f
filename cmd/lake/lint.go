package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

type lintResult struct {
	Command string   `json:"command"`
	Jobs    []string `json:"jobs"`
}

func newLint(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "lint JOB…",
		Short: "check job files without connecting to anything",
		Long: `Lint checks all of a job file that can be checked without connecting: keys,
types, values, environment variables, time formats and zones, and each rule's SQL
against the schema. It prints all errors at once, each with file, line and column
and what to do, and exits 78 where there is one. Fixtures (*.test.yaml) are
checked for their form.`,
		Example: "  lake lint jobs/*.yaml",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError("lake lint takes job files\nhint: lake lint jobs/*.yaml")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			failed := false
			for _, path := range args {
				if err := a.lint(path); err != nil {
					failed = true
					fmt.Fprintln(a.stderr, describe(err))
				}
			}
			if failed {
				return &coded{code: exitConfig, err: errSaid}
			}
			return a.report(lintResult{Command: "lint", Jobs: args}, func(w io.Writer) {
				for _, path := range args {
					fmt.Fprintf(w, "%s: fine\n", path)
				}
			})
		},
	}
}

func (a *app) lint(path string) error {
	if strings.HasSuffix(path, ".test.yaml") {
		_, err := readFixtures(path)
		return err
	}
	_, err := a.loadJob(path)
	return err
}
