package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"lake/cmd/lake/startup"
)

// app is what every command works with.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            func(string) (string, bool)
	log            *slog.Logger
	flags          globalFlags
	garbage        *collector // nil: the environment says how it is collected
}

// globalFlags are on every command; each is also LAKE_<FLAG>.
type globalFlags struct {
	warehouse  string
	catalog    string // of commands that are given no job; it may hold a password
	inArgs     bool   // catalog is an argument, not the environment's
	memory     byteSize
	output     string
	resultFile string
	logLevel   string
	logFormat  string
}

const rootLong = `lake lands event streams in a lakehouse. It reads Kafka topics and files, lands
them as date-partitioned Parquet in Iceberg tables, compacts them, loads them
into a warehouse, and answers threshold rules written as SQL in the stream and
over the table alike.

A job file says what is read, where it lands and which rules it answers:

  lake lint   jobs/nobroker.yaml     check it without connecting to anything
  lake ingest jobs/nobroker.yaml     read what is there, commit, end
  lake compact jobs/nobroker.yaml    few large files
  lake load   jobs/nobroker.yaml     into the warehouse, a date at a time

Commands that are given no job file (lake status, lake tables …) find tables by
--warehouse, and by --catalog where the catalog is not the warehouse's own. A flag
of all commands is also an environment variable: LAKE_WAREHOUSE, LAKE_CATALOG.

Results go to stdout, logs to stderr. Exit codes: 0 done, 1 a check found a
difference, 2 usage, 5 failed but worth a retry, 7 failed and needs a person,
75 another run holds the job, 78 configuration; 99 nothing to do, where
--skip-if-empty asks for it.`

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "lake",
		Short:         "event streams to Parquet tables, with rules in SQL",
		Long:          rootLong,
		Example:       "  lake demo",
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return a.prepare(cmd)
		},
		RunE: func(cmd *cobra.Command, args []string) error { return cmd.Help() },
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("unknown command %q%s", args[0], suggestion(cmd, args[0]))
			}
			return nil
		},
	}
	f := root.PersistentFlags()
	f.StringVar(&a.flags.warehouse, "warehouse", "", "folder of tables, catalog and checkpoints (default: warehouse beside the job file)")
	f.StringVar(&a.flags.catalog, "catalog", "", "catalog of commands that are given no job file: postgres://user@host/database, or a SQLite file (default: catalog.db in the warehouse); with a password, set LAKE_CATALOG instead")
	a.flags.memory = defaultMemory()
	f.Var(&a.flags.memory, "memory", "bound on resident memory: 512MiB, 4GiB")
	f.StringVar(&a.flags.output, "output", "text", "text, or json: the result as one line of JSON, last on stdout")
	f.StringVar(&a.flags.resultFile, "result-file", "", "also write the result's JSON to this file")
	f.StringVar(&a.flags.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&a.flags.logFormat, "log-format", "auto", "auto, text or json; auto is json on Cloud Run")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError("%w\nhint: lake %s --help lists its flags", err, strings.TrimPrefix(cmd.CommandPath(), "lake "))
	})
	root.AddCommand(commands(a)...)
	root.AddCommand(exitCodesHelp(), jobFileHelp())
	root.SetHelpFunc(writeHelp)
	root.SetUsageFunc(writeUsage)
	addCompletion(root)
	return root
}

func suggestion(cmd *cobra.Command, arg string) string {
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(arg); len(near) > 0 {
		return fmt.Sprintf("; hint: did you mean %q?", near[0])
	}
	return "; hint: lake help lists the commands"
}

// roomy is how much --memory lets garbage lie for longer.
const roomy = 512 << 20

// prepare reads flags from the environment and sets up logs and memory.
func (a *app) prepare(cmd *cobra.Command) error {
	var failed error
	a.flags.inArgs = cmd.Flags().Changed("catalog")
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		name := "LAKE_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, ok := a.env(name)
		if !ok || f.Changed || failed != nil || cmd.Root().PersistentFlags().Lookup(f.Name) == nil {
			return
		}
		if err := f.Value.Set(value); err != nil {
			failed = usageError("%s: %w", name, err)
		}
		f.Changed = true
	})
	if failed != nil {
		return failed
	}
	if a.flags.output != "text" && a.flags.output != "json" {
		return usageError("--output %q: it is text or json", a.flags.output)
	}
	level := slog.LevelInfo
	if err := level.UnmarshalText([]byte(a.flags.logLevel)); err != nil {
		return usageError("--log-level %q: it is debug, info, warn or error", a.flags.logLevel)
	}
	handler, err := logHandler(a.stderr, a.flags.logFormat, level, a.env)
	if err != nil {
		return err
	}
	a.log = slog.New(handler)
	// What is not Go's heap (DuckDB, mapped code, stacks) gets the rest.
	debug.SetMemoryLimit(int64(a.flags.memory) / 100 * 65)
	if _, said := a.env("GOGC"); said {
		debug.SetGCPercent(startup.Percent())
	} else {
		most := 100
		if a.flags.memory >= roomy {
			most = 200 // half the collections, 4 % less of the processors for an ingest with rules; the limit stands
		}
		a.garbage = collect(most)
	}
	return nil
}

// terminal reports whether w is a terminal that a person looks at.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
