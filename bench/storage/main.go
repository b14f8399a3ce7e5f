// Command storage measures lake on stores that it starts itself, against the same
// work on the local disk:
//
//	go run ./bench/storage -lake bin/lake -python .venv/bin/python
//
// Whole processes are timed in pairs, one on the local disk and one on the store.
// The servers run on the same machine and take their part of it: of the processors, and of
// the disk with -servers disk. By default their files are in memory, since a store's disks
// are not those of its clients.
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

// target is the least share of the local rate.
const target = 0.7

type bench struct {
	lake, python string
	events       string // JSON lines
	work         string // a temporary folder
	served       string // another, of the servers' files
	rows         int64
	pairs        int
	commits      int64 // of the ingest that leaves small files
	stores       []string
	only         string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{}
	flag.StringVar(&b.lake, "lake", "bin/lake", "the binary")
	flag.StringVar(&b.python, "python", ".venv/bin/python", "a Python with bench/requirements.txt")
	data := flag.String("data", "bench/data", "folder of the inputs; kept for the next run")
	flag.Int64Var(&b.rows, "rows", 5_000_000, "events")
	flag.IntVar(&b.pairs, "pairs", 5, "so many pairs")
	flag.Int64Var(&b.commits, "commits", 300, "of the ingest whose small files are compacted")
	stores := flag.String("stores", "gs,s3,hdfs", "the stores, with commas between them")
	servers := flag.String("servers", "memory", "where the servers have their files: memory (/dev/shm) or disk")
	flag.StringVar(&b.only, "only", "", "only the work whose name holds this")
	flag.Parse()
	b.stores = strings.Split(*stores, ",")
	if err := b.run(ctx, *data, *servers); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (b *bench) run(ctx context.Context, data, servers string) (err error) {
	for _, p := range []*string{&b.lake, &b.python, &data} {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	if b.work, err = os.MkdirTemp("", "lake-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.work)
	folder := ""
	switch servers {
	case "memory":
		if folder = inMemory(); folder == "" {
			servers = "disk, since /dev/shm has less than 4 GiB"
		}
	case "disk":
	default:
		return fmt.Errorf("-servers %s: memory or disk expected", servers)
	}
	if b.served, err = os.MkdirTemp(folder, "lake-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.served)
	if err := b.generate(ctx, data); err != nil {
		return fmt.Errorf("make the events: %w", err)
	}
	version, err := exec.CommandContext(ctx, b.lake, "version").Output()
	if err != nil {
		return err
	}
	fmt.Printf("%s; %d cores; %d events; %d pairs; the servers' files: %s; %s\n\n", strings.TrimSpace(string(version)), runtime.NumCPU(), b.rows, b.pairs, servers, time.Now().UTC().Format(time.DateOnly))
	fmt.Printf("| work | on | local s | there s | share of the local rate (min–max) | CPU s: local | there | its server | target |\n|---|---|--:|--:|--:|--:|--:|--:|---|\n")
	for _, name := range b.stores {
		if err := b.measure(ctx, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// generate writes the events unless they are there.
func (b *bench) generate(ctx context.Context, data string) error {
	b.events = filepath.Join(data, fmt.Sprintf("flat-%d.jsonl", b.rows))
	if _, err := os.Stat(b.events); err == nil {
		return nil
	}
	if err := os.MkdirAll(data, 0o755); err != nil {
		return err
	}
	part, err := os.Create(b.events + ".part")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, b.lake, "generate", "bench/flat.yaml", "--rows", fmt.Sprint(b.rows), "--seed", "1")
	cmd.Stdout, cmd.Stderr = part, os.Stderr
	if err := errors.Join(cmd.Run(), part.Close()); err != nil {
		return err
	}
	return os.Rename(part.Name(), b.events)
}

// measure starts a store and does all works on it and on the local disk.
func (b *bench) measure(ctx context.Context, name string) (err error) {
	make, ok := starters[name]
	if !ok {
		return errors.New("there is no such store: gs, s3, hdfs")
	}
	there, err := make(ctx, filepath.Join(b.served, name), filepath.Join(b.work, "copies"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, there.close()) }()
	if err := b.warm(ctx, there); err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	here := &place{name: "local", fetch: func(_ context.Context, uri string) (string, error) { return strings.TrimPrefix(uri, "file://"), nil }}
	for _, w := range b.works() {
		if !strings.Contains(w.name, b.only) {
			continue
		}
		if err := b.pair(ctx, w, here, there); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return nil
}

// warm has a server do some thousands of its requests before anything is timed, as
// one has that runs for days: the code of a JVM that has just begun is not compiled.
func (b *bench) warm(ctx context.Context, there *place) error {
	j, err := b.job(work{name: "warm", more: b.manyCommits()}, there)
	if err != nil {
		return err
	}
	for range 2 {
		for _, command := range []string{"ingest", "compact"} {
			if _, _, err := b.timed(ctx, "", b.lake, command, j.path); err != nil {
				return err
			}
		}
		if err := j.clear(ctx); err != nil {
			return err
		}
	}
	return nil
}

// pair times a work in both places: one pair to warm up, then those that count.
func (b *bench) pair(ctx context.Context, w work, here, there *place) error {
	both := [2]*place{here, there}
	var jobs [2]*job
	for i, p := range both {
		var err error
		if jobs[i], err = b.job(w, p); err != nil {
			return err
		}
		if err := w.setup(ctx, b, jobs[i]); err != nil {
			return fmt.Errorf("set up on %s: %w", p.name, err)
		}
	}
	var walls, cpus [2][]float64
	var shares, served []float64
	for n := range b.pairs + 1 {
		var wall [2]float64
		for i, j := range jobs {
			if err := w.before(ctx, j); err != nil {
				return err
			}
			before := childrenCPU()
			took, cpu, err := b.timed(ctx, w.says, b.lake, w.command, j.path)
			if err != nil {
				return err
			}
			if wall[i] = took.Seconds(); n == 0 {
				continue
			}
			walls[i], cpus[i] = append(walls[i], took.Seconds()), append(cpus[i], cpu.Seconds())
			if j.place == there {
				served = append(served, (childrenCPU() - before).Seconds())
			}
		}
		if n > 0 {
			shares = append(shares, wall[0]/wall[1])
			continue
		}
		if err := b.check(ctx, jobs); err != nil {
			return err
		}
	}
	slices.Sort(shares)
	share := median(shares)
	verdict := "holds"
	if share < target {
		verdict = "MISSED"
	}
	name := w.name
	if w.command == "compact" {
		name = fmt.Sprintf(name, jobs[1].files)
	}
	fmt.Printf("| %s | %s | %.2f | %.2f | %.2f (%.2f–%.2f) | %.2f | %.2f | %.2f | ≥ %.2f %s |\n", name, there.name, median(walls[0]), median(walls[1]),
		share, shares[0], shares[len(shares)-1], median(cpus[0]), median(cpus[1]), median(served), target, verdict)
	return nil
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// timed runs a process to its end and returns how long it took, on the clock and
// of processors; says is what its output must have. What the run before left to
// be written to the disk is written first.
func (b *bench) timed(ctx context.Context, says string, args ...string) (took, work time.Duration, err error) {
	syscall.Sync()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	started := time.Now()
	out, err := cmd.CombinedOutput()
	took = time.Since(started)
	switch {
	case err != nil:
		return 0, 0, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	case !strings.Contains(string(out), says):
		return 0, 0, fmt.Errorf("%s: its output lacks %q: %s", strings.Join(args, " "), says, out)
	}
	return took, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// childrenCPU is what the processes took that this one started and that still
// run, the servers; 0 where there is no /proc.
func childrenCPU() (total time.Duration) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0
	}
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(data), ") ")
		var state string
		var parent, skip, user, system int64
		if _, err := fmt.Sscan(rest, &state, &parent, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &user, &system); err == nil && parent == int64(os.Getpid()) {
			total += time.Duration(user+system) * (time.Second / 100) // USER_HZ
		}
	}
	return total
}
