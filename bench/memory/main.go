// Command memory counts the same Arrow batches with lake's rules and with DuckDB,
// side by side: by key, and by key and minute. Both hold the batches in memory
// before the clock starts, both may use every core, and both are warm: what is
// timed is the query, from nothing to its answers as Arrow batches. The answers
// are compared once, row by row.
//
//	go run ./bench/memory -lake bin/lake -python .venv/bin/python
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
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"lake/bench/figures"
)

type bench struct {
	lake, python string
	data         string // inputs, kept between runs
	rows         int
	pairs        int
	batch        int
	only         string
	profile      string
	work         string // files that the two exchange
	json         bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{}
	flag.StringVar(&b.lake, "lake", "bin/lake", "the binary, which makes the events")
	flag.StringVar(&b.python, "python", ".venv/bin/python", "a Python with bench/requirements.txt")
	flag.StringVar(&b.data, "data", "bench/data", "folder of the events; kept for the next run")
	flag.IntVar(&b.rows, "rows", 5_000_000, "so many events")
	flag.IntVar(&b.batch, "batch", 1<<17, "rows of an Arrow batch")
	flag.IntVar(&b.pairs, "pairs", 9, "so many pairs")
	flag.StringVar(&b.only, "only", "", "only the work whose name holds this")
	flag.BoolVar(&b.json, "json", false, "print the lines that have targets as JSON, for make bench")
	flag.StringVar(&b.profile, "cpuprofile", "", "no peer: lake alone, its time on all cores, and its profile into this file")
	flag.Parse()
	if err := b.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench/memory:", err)
		os.Exit(1)
	}
}

func (b *bench) run(ctx context.Context) (err error) {
	if b.work, err = os.MkdirTemp("", "lake-memory-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.work)
	path, err := b.events(ctx)
	if err != nil {
		return fmt.Errorf("make the events: %w", err)
	}
	batches, err := load(ctx, path, b.batch)
	if err != nil {
		return fmt.Errorf("load the events: %w", err)
	}
	defer release(batches)
	if b.profile != "" {
		return b.alone(batches)
	}
	shared := filepath.Join(b.work, "events.arrow")
	if err := writeBatches(shared, schemaOf(batches), batches); err != nil {
		return err
	}
	peer, err := startPeer(ctx, b.python, shared)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, peer.close()) }()
	if !b.json {
		b.head(ctx, peer)
	}
	for _, w := range works() {
		if !strings.Contains(w.name, b.only) || b.json && w.target == 0 {
			continue
		}
		if err := b.pair(w, batches, peer); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return nil
}

func (b *bench) head(ctx context.Context, peer *peer) {
	fmt.Printf("lake %s, %s; DuckDB and pyarrow %s; %d cores; %d pairs; %s\n", lakeVersion(ctx, b.lake), runtime.Version(), peer.versions, runtime.NumCPU(), b.pairs, time.Now().UTC().Format(time.DateOnly))
	fmt.Printf("\n| work | rows | answers | lake ms | DuckDB ms | rate, lake/DuckDB (min–max) | target |\n|---|--:|--:|--:|--:|--:|---|\n")
}

// alone times lake without its peer, which a busy machine disturbs less.
func (b *bench) alone(batches []arrow.RecordBatch) (err error) {
	file, err := os.Create(b.profile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := pprof.StartCPUProfile(file); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	for _, w := range works() {
		if !strings.Contains(w.name, b.only) {
			continue
		}
		var walls, cores []time.Duration
		for range b.pairs {
			runtime.GC()
			started, used := time.Now(), used()
			out, err := w.count(batches)
			if err != nil {
				return err
			}
			walls, cores = append(walls, time.Since(started)), append(cores, usedSince(used))
			release(out)
		}
		slices.Sort(walls)
		slices.Sort(cores)
		fmt.Printf("%s: %.1f ms, %.1f ms on all cores\n", w.name, milli(walls[len(walls)/2]), milli(cores[len(cores)/2]))
	}
	return nil
}

// used is the processor time of this process.
func used() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func usedSince(before time.Duration) time.Duration { return used() - before }

// pair times a work: two pairs to warm up, the first of which is checked, then
// those that count.
func (b *bench) pair(w work, batches []arrow.RecordBatch, peer *peer) error {
	const warm = 2
	var lakes, peers []time.Duration
	var ratios []float64
	var pairs []figures.Pair
	answers := 0
	for i := range b.pairs + warm {
		runtime.GC() // what the run before left; DuckDB's has been freed by then, too
		started := time.Now()
		out, err := w.count(batches)
		took := time.Since(started)
		if err != nil {
			return err
		}
		if answers = 0; i == 0 {
			path := filepath.Join(b.work, "answers.arrow")
			if err := writeBatches(path, schemaOf(out), out); err != nil {
				return err
			}
			if err := peer.check(w.peerSQL, path); err != nil {
				return fmt.Errorf("compare the answers: %w", err)
			}
		}
		for _, each := range out {
			answers += int(each.NumRows())
		}
		release(out)
		other, err := peer.time(w.peerSQL)
		if err != nil {
			return err
		}
		if i >= warm {
			lakes, peers = append(lakes, took), append(peers, other)
			ratios = append(ratios, other.Seconds()/took.Seconds())
			pairs = append(pairs, figures.Pair{Lake: figures.Run{Wall: took}, Peer: figures.Run{Wall: other}})
		}
	}
	if b.json {
		name := fmt.Sprintf("%s, %s rows of Arrow in memory", w.name, figures.Grouped(int64(b.rows)))
		return figures.NewPrinter(os.Stdout, true).Line(figures.Compare(name, "DuckDB "+peer.versions, w.peerSQL, pairs, w.target, 0))
	}
	slices.Sort(lakes)
	slices.Sort(peers)
	slices.Sort(ratios)
	ratio, target := ratios[len(ratios)/2], ""
	if w.target > 0 {
		target = fmt.Sprintf("≥ %.1f %s", w.target, map[bool]string{true: "holds", false: "MISSED"}[ratio >= w.target])
	}
	fmt.Printf("| %s | %d | %d | %.1f | %.1f | %.2f (%.2f–%.2f) | %s |\n", w.name, b.rows, answers, milli(lakes[len(lakes)/2]), milli(peers[len(peers)/2]), ratio, ratios[0], ratios[len(ratios)-1], target)
	return nil
}

func milli(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// events are made where they are not there yet: those of make bench.
func (b *bench) events(ctx context.Context) (string, error) {
	path := filepath.Join(b.data, fmt.Sprintf("flat-%d.jsonl", b.rows))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(b.data, 0o755); err != nil {
		return "", err
	}
	part := path + ".part"
	out, err := os.Create(part)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, b.lake, "generate", "bench/flat.yaml", "--rows", fmt.Sprint(b.rows), "--seed", "1")
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	if err := errors.Join(cmd.Run(), out.Close()); err != nil {
		return "", err
	}
	return path, os.Rename(part, path)
}

func lakeVersion(ctx context.Context, binary string) string {
	out, err := exec.CommandContext(ctx, binary, "version").Output()
	if err != nil {
		return "of this tree"
	}
	return strings.TrimPrefix(strings.TrimSpace(string(out)), "lake ")
}

func schemaOf(batches []arrow.RecordBatch) *arrow.Schema {
	if len(batches) == 0 {
		return arrow.NewSchema(nil, nil)
	}
	return batches[0].Schema()
}

func release(batches []arrow.RecordBatch) {
	for _, each := range batches {
		each.Release()
	}
}

// writeBatches writes an Arrow IPC file.
func writeBatches(path string, schema *arrow.Schema, batches []arrow.RecordBatch) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	w, err := ipc.NewFileWriter(file, ipc.WithSchema(schema))
	if err != nil {
		return errors.Join(err, file.Close())
	}
	for _, batch := range batches {
		if err := w.Write(batch); err != nil {
			return errors.Join(err, w.Close(), file.Close())
		}
	}
	return errors.Join(w.Close(), file.Close())
}
