package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"lake/load/duckdb"
)

// version is set when the binary is linked.
var version = "unknown" //nolint:gochecknoglobals // -ldflags -X needs a variable

// commands are the subcommands, in the order of the help.
func commands(a *app) []*cobra.Command {
	return []*cobra.Command{
		newDemo(a), newInit(a), newLint(a), newTest(a), newDoctor(a), newGenerate(a),
		newIngest(a), newCompact(a), newLoad(a), newAudit(a), newPublish(a), newRules(a),
		newTables(a), newDLQ(a), newStatus(a), newVersion(a),
	}
}

type versionResult struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	System  string `json:"system"`
	DuckDB  bool   `json:"duckdb"`
}

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "which lake this is",
		Long:    "Version prints the version, the Go release it was built with, and whether DuckDB is in it.",
		Example: "  lake version --output json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := versionResult{Version: version, Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, DuckDB: duckdb.Available}
			if info, ok := debug.ReadBuildInfo(); ok && v.Version == "unknown" && info.Main.Version != "" {
				v.Version = info.Main.Version
			}
			return a.report(v, func(w io.Writer) {
				with := "with DuckDB"
				if !v.DuckDB {
					with = "without DuckDB"
				}
				fmt.Fprintf(w, "lake %s (%s, %s, %s)\n", v.Version, v.Go, v.System, with)
			})
		},
	}
}
