package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"lake/cmd/lake/startup"
	"lake/load/duckdb"
	"lake/services/servicetest"
)

// servers are the real ones that tests here share.
var servers servicetest.Shared

// TestMain lets the test binary be lake itself: scripts and kill tests run it
// as a process of its own. The race detector sleeps for a second at the end of
// each process; there are hundreds here, and none leaves goroutines to be heard of.
func TestMain(m *testing.M) {
	os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	debug.SetGCPercent(startup.Percent()) // of the tests' own process
	testscript.Main(servers.Around(m), map[string]func(){
		"lake": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
		},
	})
}

// TestScripts runs the end-to-end cases, which are data: testdata/script.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("LAKE_UPDATE_SCRIPTS") != "",
		Setup: func(env *testscript.Env) error {
			root, err := filepath.Abs("../..")
			if err != nil {
				return err
			}
			env.Setenv("ROOT", root)
			env.Setenv("NO_COLOR", "1")
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":  exits,
			"concat": concat,
			"duckdb": askDuckDB,
		},
	})
}

// exits CODE COMMAND… runs lake and checks its exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if err != nil {
		if _, scanErr := fmt.Sscanf(err.Error(), "exit status %d", &code); scanErr != nil {
			ts.Fatalf("%v", err)
		}
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, expected %s", code, args[0])
	}
}

// concat OUT GLOB… writes the files that the globs match, in the order of their names.
func concat(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: concat OUT GLOB…")
	}
	var text strings.Builder
	for _, pattern := range args[1:] {
		files, err := filepath.Glob(ts.MkAbs(pattern))
		ts.Check(err)
		for _, f := range files {
			data, err := os.ReadFile(f)
			ts.Check(err)
			text.Write(data)
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text.String()), 0o644))
}

// duckdb FILE STATEMENT does, in a DuckDB database, what a person would do past lake.
func askDuckDB(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: duckdb FILE STATEMENT")
	}
	w, err := duckdb.Open(context.Background(), duckdb.Config{Path: ts.MkAbs(args[0])}, duckdb.Options{TempDir: ts.MkAbs("tmp")})
	ts.Check(err)
	_, cells, err := w.Query(context.Background(), args[1])
	ts.Check(errors.Join(err, w.Close()))
	for _, row := range cells {
		ts.Logf("%s", strings.Join(row, " "))
	}
}
