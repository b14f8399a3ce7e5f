package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"lake/bench/figures"
)

// startUp times commands that do next to nothing.
func (b *bench) startUp(ctx context.Context) error {
	const runs = 30
	for _, each := range []struct {
		args  []string
		limit time.Duration
	}{{[]string{"version"}, 50 * time.Millisecond}, {[]string{"lint", "jobs/nobroker.yaml"}, 100 * time.Millisecond}} {
		var took []float64
		for range runs + 1 {
			run, err := figures.Process{Args: append([]string{b.lake}, each.args...)}.Time(ctx)
			if err != nil {
				return err
			}
			took = append(took, float64(run.Wall.Microseconds())/1000)
		}
		median, least, most := figures.Spread(took[1:]) // the first reads the binary from the disk
		err := b.line(figures.Line{
			Work: "start-up of `lake " + strings.Join(each.args, " ") + "`", Lake: fmt.Sprintf("%.1f ms (%.1f–%.1f, of %d)", median, least, most, runs),
			Targets: []figures.Target{{Text: fmt.Sprintf("< %d ms", each.limit.Milliseconds()), Holds: median < float64(each.limit.Milliseconds())}},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// machine says what the bench runs on, as far as the system tells.
func (b *bench) machine(ctx context.Context) (string, error) {
	lake, err := b.output(ctx, b.lake, "version")
	if err != nil {
		return "", err
	}
	model, memory := "processor unknown", "memory unknown"
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(data), "model name"); ok {
			line, _, _ := strings.Cut(rest, "\n")
			model = strings.Trim(line, "\t :")
		}
	}
	if data, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kib int64
		if _, err := fmt.Sscanf(string(data), "MemTotal: %d kB", &kib); err == nil {
			memory = fmt.Sprintf("%.0f GiB", float64(kib)/(1<<20))
		}
	}
	scale := ""
	if b.scale != 1 {
		scale = fmt.Sprintf("; at %g of the full size, which proves nothing", b.scale)
	}
	return fmt.Sprintf("%s; %s, %d cores, %s; %s %s/%s; medians of %d pairs%s; %s",
		lake, model, runtime.NumCPU(), memory, runtime.Version(), runtime.GOOS, runtime.GOARCH, b.pairs, scale, time.Now().UTC().Format(time.DateOnly)), nil
}
