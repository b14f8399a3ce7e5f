// Command bench does the same work with lake and with DuckDB, side by side, and
// prints medians and ratios. Whole processes are timed, in pairs, one after the
// other, so that a machine that drifts drifts for both.
//
//	go run ./bench -lake bin/lake -python .venv/bin/python
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
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

type bench struct {
	lake, python string
	data         string // inputs, kept between runs
	work         string // outputs, made anew
	pairs        int
	scale        float64
	only         string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == "bare" {
		exit(bare(ctx, os.Args[2:]))
		return
	}
	b := &bench{}
	flag.StringVar(&b.lake, "lake", "bin/lake", "the binary")
	flag.StringVar(&b.python, "python", ".venv/bin/python", "a Python with bench/requirements.txt")
	flag.StringVar(&b.data, "data", "bench/data", "folder of the inputs; kept for the next run")
	flag.IntVar(&b.pairs, "pairs", 5, "so many pairs")
	flag.Float64Var(&b.scale, "scale", 1, "part of the full size")
	flag.StringVar(&b.only, "only", "", "only the work whose name holds this")
	flag.Parse()
	exit(b.run(ctx))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// measure is one run of a process.
type measure struct {
	wall   time.Duration
	memory int64 // peak resident bytes
}

// process is a command to be timed; before is not timed.
type process struct {
	name   string
	before func() error
	args   []string
}

// work is one line of the table: the same work done by two.
type work struct {
	name     string
	rows     int64
	lake     process
	peer     process
	target   float64 // of the ratio of rates; 0: none stated
	memory   bool    // lake's memory must be at most the peer's
	checkSQL [2]string
	setup    func(context.Context, *work) error // once, before the first pair; nil: nothing to do
}

func (b *bench) run(ctx context.Context) (err error) {
	for _, p := range []*string{&b.lake, &b.python, &b.data} {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	if b.work, err = os.MkdirTemp("", "lake-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.work)
	inputs, err := b.inputs(ctx)
	if err != nil {
		return fmt.Errorf("make the inputs: %w", err)
	}
	works, err := b.works(inputs)
	if err != nil {
		return err
	}
	if err := b.printMachine(ctx); err != nil {
		return err
	}
	fmt.Printf("\n| work | rows | lake s | peer s | rate, lake/peer (min–max) | lake MiB | peer MiB | target |\n|---|--:|--:|--:|--:|--:|--:|---|\n")
	for _, w := range works {
		if !strings.Contains(w.name, b.only) {
			continue
		}
		if err := b.pair(ctx, w); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return nil
}

func (b *bench) printMachine(ctx context.Context) error {
	peer, err := b.output(ctx, b.python, "-c", "import duckdb; print(duckdb.__version__)")
	if err != nil {
		return err
	}
	self, err := b.output(ctx, b.lake, "version")
	if err != nil {
		return err
	}
	fmt.Printf("%s; DuckDB %s; %d cores; %d pairs; %s\n", self, peer, runtime.NumCPU(), b.pairs, time.Now().UTC().Format(time.DateOnly))
	return nil
}

func (b *bench) output(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return "", fmt.Errorf("%s: %w: %s", name, err, failed.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}

// pair times a work: one pair to warm up, then those that count.
func (b *bench) pair(ctx context.Context, w work) error {
	if w.setup != nil {
		if err := w.setup(ctx, &w); err != nil {
			return fmt.Errorf("set up: %w", err)
		}
	}
	var lakes, peers []measure
	var ratios []float64
	for i := range b.pairs + 1 {
		l, err := timed(ctx, w.lake)
		if err != nil {
			return err
		}
		p, err := timed(ctx, w.peer)
		if err != nil {
			return err
		}
		if i == 0 {
			if err := b.check(ctx, w); err != nil {
				return err
			}
			continue
		}
		lakes, peers = append(lakes, l), append(peers, p)
		ratios = append(ratios, p.wall.Seconds()/l.wall.Seconds())
	}
	lw, lm := medians(lakes)
	pw, pm := medians(peers)
	slices.Sort(ratios)
	ratio := ratios[len(ratios)/2]
	target := ""
	if w.target > 0 {
		target = fmt.Sprintf("≥ %.2f %s", w.target, verdict(ratio >= w.target))
	}
	if w.memory {
		target += fmt.Sprintf(", memory ≤ peer's %s", verdict(lm <= pm))
	}
	fmt.Printf("| %s | %d | %.2f | %.2f | %.2f (%.2f–%.2f) | %d | %d | %s |\n", w.name, w.rows, lw.Seconds(), pw.Seconds(), ratio, ratios[0], ratios[len(ratios)-1], lm>>20, pm>>20, target)
	return nil
}

func verdict(holds bool) string {
	if holds {
		return "holds"
	}
	return "MISSED"
}

func medians(runs []measure) (wall time.Duration, memory int64) {
	walls, memories := []time.Duration{}, []int64{}
	for _, m := range runs {
		walls, memories = append(walls, m.wall), append(memories, m.memory)
	}
	slices.Sort(walls)
	slices.Sort(memories)
	return walls[len(walls)/2], memories[len(memories)/2]
}

// timed runs a process and reads the system's own account of it. What the run
// before left to be written to the disk is written first: lake waits for the
// disk, and would wait for its peer's files, too.
func timed(ctx context.Context, p process) (measure, error) {
	if p.before != nil {
		if err := p.before(); err != nil {
			return measure{}, err
		}
	}
	syscall.Sync()
	cmd := exec.CommandContext(ctx, p.args[0], p.args[1:]...)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	started := time.Now()
	if err := cmd.Run(); err != nil {
		return measure{}, fmt.Errorf("%s: %w: %s", strings.Join(p.args, " "), err, said.String())
	}
	m := measure{wall: time.Since(started)}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		m.memory = usage.Maxrss << 10
	}
	return m, nil
}

// check compares what both made, once, by one engine.
func (b *bench) check(ctx context.Context, w work) error {
	if w.checkSQL[0] == "" {
		return nil
	}
	var answers [2]string
	for i, sql := range w.checkSQL {
		out, err := b.output(ctx, b.python, "-c", "import duckdb,sys; print(duckdb.sql(sys.argv[1]).fetchall())", sql)
		if err != nil {
			return fmt.Errorf("check the output: %w", err)
		}
		answers[i] = out
	}
	if answers[0] != answers[1] {
		return fmt.Errorf("the outputs differ: %s and %s", answers[0], answers[1])
	}
	return nil
}
