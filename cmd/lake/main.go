// Command lake lands event streams in a lakehouse: ingest, compact, load, and
// threshold rules that give the same answers at every step.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // zones are there on any machine
)

func main() {
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() { // a second signal ends the process at once: every commit is whole or absent
		<-ctx.Done()
		restore()
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program. The end of ctx asks it to stop politely: an ingest
// commits what it has taken.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, env: os.LookupEnv}
	root := newRoot(a)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	defer func() { a.garbage.end() }()
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	code := exitCode(err)
	text := describe(err)
	if ctx.Err() != nil && code == exitRetry && errors.Is(err, context.Canceled) {
		text = "lake: interrupted; run the command again to go on"
	}
	if text != "" {
		fmt.Fprintln(stderr, text)
	}
	return code
}
