// Command bench does the same work with lake and with its peers, side by side, and
// prints a table of medians and ratios with the targets and which of them hold.
// Whole processes are timed, in pairs, one right after the other.
//
//	go run ./bench -lake bin/lake -python .venv/bin/python -spark .venv-spark/bin/python
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"lake/bench/figures"
)

type bench struct {
	lake, python string
	spark        string // a Python with pyspark; "": Spark is left out
	jars         string // of Spark, comma-separated
	data         string // inputs, kept between runs
	work         string // outputs, made anew
	self         string // this program, for bare
	pairs        int
	scale        float64
	only         string
	write        string            // a file with markers for the table; "": none
	summary      string            // a file with markers for a short one; "": none
	host         string            // the machine, lake and the day
	versions     map[string]string // of the peers, as they say themselves
	lines        []figures.Line
	table        *figures.Printer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 {
		if alone, ok := map[string]func(context.Context, []string) error{"bare": bare, "parts": parts}[os.Args[1]]; ok {
			exit(alone(ctx, os.Args[2:]))
			return
		}
	}
	b := &bench{versions: map[string]string{}, table: figures.NewPrinter(os.Stdout, false)}
	flag.StringVar(&b.lake, "lake", "bin/lake", "the binary")
	flag.StringVar(&b.python, "python", ".venv/bin/python", "a Python with bench/requirements.txt")
	flag.StringVar(&b.spark, "spark", "", "a Python with bench/kafka/requirements.txt, and the jars of bench/kafka/pom.xml in its environment's folder jars; without it Spark and Flink are left out")
	flag.StringVar(&b.data, "data", "bench/data", "folder of the inputs; kept for the next run")
	flag.IntVar(&b.pairs, "pairs", 7, "so many pairs")
	flag.Float64Var(&b.scale, "scale", 1, "part of the full size")
	flag.StringVar(&b.only, "only", "", "only the works whose name, or whose peer's, holds one of these, with commas between them")
	flag.StringVar(&b.write, "write", "", "also write the table into this file, in place of what is between its markers; lines of works that are not done stay")
	flag.StringVar(&b.summary, "summary", "", "with -write: also write a short table into this file")
	flag.Parse()
	exit(b.run(ctx))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// work is one line of the table: the same work done by two.
type work struct {
	name       string
	peer       string // DuckDB, polars, …: a name that bench.version knows
	lake       figures.Process
	other      figures.Process
	target     float64 // least of the ratio of rates; 0: none stated
	memory     float64 // most of lake's memory, as a share of the peer's; 0: none stated
	check      func(context.Context) error
	setup      func(context.Context, *work) error // once, before the first pair; nil: nothing to do
	afterwards func() error                       // after the last pair; nil: nothing to do
}

func (b *bench) run(ctx context.Context) (err error) {
	if b.write != "" && b.scale != 1 {
		return errors.New("-write is for figures at full size")
	}
	for _, p := range []*string{&b.lake, &b.python, &b.data} {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	if b.spark != "" {
		if b.spark, err = filepath.Abs(b.spark); err != nil {
			return err
		}
		jars, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(b.spark)), "jars", "*.jar"))
		if err != nil || len(jars) == 0 {
			return errors.Join(fmt.Errorf("%s has no jars: make .venv-spark/ready", b.spark), err)
		}
		b.jars = strings.Join(jars, ",")
	}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.work, err = os.MkdirTemp("", "lake-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.work)
	if err := os.MkdirAll(b.data, 0o755); err != nil {
		return err
	}
	if b.host, err = b.machine(ctx); err != nil {
		return err
	}
	fmt.Printf("%s\n\n", b.host)
	works, err := b.works(ctx)
	if err != nil {
		return err
	}
	failed := b.all(ctx, works)
	fmt.Printf("\nThe peers' commands:\n\n")
	for _, l := range b.lines {
		if l.How != "" {
			fmt.Print(l.HowString())
		}
	}
	return failed
}

// all does the works and the parts that are wanted. One that fails is left out of
// the table, and the others are done; the failures are returned.
func (b *bench) all(ctx context.Context, works []work) error {
	var failed []error
	keep := func(name string, err error) {
		if err != nil {
			err = fmt.Errorf("%s: %w", name, err)
			fmt.Fprintln(os.Stderr, "bench:", err)
			failed = append(failed, err)
		}
	}
	for _, w := range works {
		if ctx.Err() == nil && b.wanted(w.name, w.peer) {
			keep(w.name+", against "+w.peer, b.pair(ctx, w))
		}
	}
	for _, p := range b.parts() {
		if ctx.Err() == nil && b.wanted(p.name) {
			keep(p.name, p.run(ctx))
		}
	}
	return errors.Join(append(failed, ctx.Err())...)
}

// wanted tells whether a work is to be done, by its names.
func (b *bench) wanted(names ...string) bool {
	for only := range strings.SplitSeq(b.only, ",") {
		if strings.Contains(strings.Join(names, " "), only) {
			return true
		}
	}
	return false
}

// line prints a line of the table and keeps it, in the file, too.
func (b *bench) line(l figures.Line) error {
	b.lines = append(b.lines, l)
	if b.write != "" { // at once: the whole takes long
		if err := figures.Write(b.write, b.host, b.lines); err != nil {
			return err
		}
	}
	if b.write != "" && b.summary != "" {
		if err := figures.Summarize(b.write, b.summary); err != nil {
			return err
		}
	}
	return b.table.Line(l)
}

// pair times a work and prints its line.
func (b *bench) pair(ctx context.Context, w work) (err error) {
	version, err := b.version(ctx, w.peer)
	if err != nil {
		return err
	}
	if w.setup != nil {
		if err := w.setup(ctx, &w); err != nil {
			return fmt.Errorf("set up: %w", err)
		}
	}
	pairs, err := figures.Pairs(ctx, b.pairs, w.lake.Time, w.other.Time, w.check)
	if err != nil {
		return err
	}
	if w.afterwards != nil {
		if err := w.afterwards(); err != nil {
			return err
		}
	}
	return b.line(figures.Compare(w.name, version, b.shown(strings.Join(w.other.Args, " ")), pairs, w.target, w.memory))
}

// shown is a text without the folders of this run and of this machine.
func (b *bench) shown(text string) string {
	replace := []string{b.work, "WORK", b.data, "bench/data", b.python, ".venv/bin/python", b.lake, "bin/lake", b.self, "bench"}
	if b.spark != "" {
		replace = append(replace, b.spark, ".venv-spark/bin/python")
	}
	if here, err := os.Getwd(); err == nil {
		replace = append(replace, here+string(filepath.Separator), "")
	}
	return strings.NewReplacer(replace...).Replace(text)
}

// version is a peer with its version, as it says it.
func (b *bench) version(ctx context.Context, peer string) (string, error) {
	scripts := map[string][2]string{"DuckDB": {b.python, "duckdb"}, "polars": {b.python, "polars"}, "pyarrow": {b.python, "pyarrow"}, "Spark": {b.spark, "spark"}}
	name, rest, _ := strings.Cut(peer, " ")
	script, known := scripts[name]
	if !known {
		return peer, nil
	}
	if b.versions[name] == "" {
		said, err := b.output(ctx, script[0], "bench/peers/with_"+script[1]+".py", "version")
		if err != nil {
			return "", err
		}
		b.versions[name] = said
	}
	return strings.TrimSpace(name + " " + b.versions[name] + " " + rest), nil
}

func (b *bench) output(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return "", fmt.Errorf("%s: %w: %s", name, err, failed.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}
