package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lake/bench/figures"
)

// axis is something that grows, and what lake does with it.
type axis struct {
	name  string
	of    string // what one of them is
	sizes []int64
	rows  func(size int64) int64 // that the work goes over
	// work makes the input of a size in a folder of its own and returns what is timed.
	work func(ctx context.Context, folder string, size int64) (figures.Process, error)
	// grows says that memory may grow with the size; what one costs is shown.
	grows bool
	// waiting is what of a size's rows may wait in memory, in bytes; nil: nothing that follows the size.
	waiting func(size int64) int64
}

// within is how far a point may lie from the line.
const within = 0.15

// What an open date holds, as ARCHITECTURE.md states it: at most pageRows rows that are not encoded,
// of rowBytes here (42 of values, a quarter more for room), and dateBytes for itself.
const (
	pageRows  = 16384
	rowBytes  = 42 * 5 / 4
	dateBytes = 16 << 10
)

// forgetting is how long ext4 passes over the inodes of removed files, which it searches for one
// by one: thousands of files made sooner after as many were removed cost several times as much.
const forgetting = 6 * time.Second

// grow times an axis at its sizes, each once, a short one three times for the median. What it
// makes is removed at its end only: see forgetting.
func (b *bench) grow(ctx context.Context, a axis) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(forgetting):
	}
	all, err := os.MkdirTemp(b.work, "growth-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(all)
	var sizes, seconds, memory []float64
	var shown, costs, memories []string
	for _, size := range a.sizes {
		run, err := b.grown(ctx, a, filepath.Join(all, fmt.Sprint(size)), size)
		if err != nil {
			return fmt.Errorf("%s: %w", rows(size), err)
		}
		sizes, seconds, memory = append(sizes, float64(size)), append(seconds, run.Wall.Seconds()), append(memory, float64(run.Memory))
		shown, memories = append(shown, rows(size)), append(memories, fmt.Sprintf("%d", run.Memory>>20))
		costs = append(costs, fmt.Sprintf("%.2f s = %.0f ns a row", run.Wall.Seconds(), float64(run.Wall.Nanoseconds())/float64(a.rows(size))))
	}
	fixed, each := line(sizes, seconds)
	off := 0.0
	for i := range sizes {
		off = max(off, max(seconds[i]/(fixed+each*sizes[i]), (fixed+each*sizes[i])/seconds[i])-1)
	}
	l := figures.Line{
		Work: fmt.Sprintf("growth: %s %s", strings.Join(shown, ", "), a.name), Lake: strings.Join(costs, "<br>"), Memory: strings.Join(memories, ", ") + " MiB",
		Ratio:   fmt.Sprintf("%.2f s, and %.4g µs for each %s, %.0f %% off at most", fixed, 1e6*each, a.of, 100*off),
		Targets: []figures.Target{{Text: "linear within 15 %", Holds: off <= within}},
	}
	if a.grows {
		l.Memory += fmt.Sprintf(", %.0f bytes for each %s", (memory[len(memory)-1]-memory[0])/(sizes[len(sizes)-1]-sizes[0]), a.of)
	} else {
		l.Targets = append(l.Targets, a.flat(memory))
	}
	return b.line(l)
}

// flat is the target that memory, in bytes by size, keeps to where it does not grow.
func (a axis) flat(memory []float64) figures.Target {
	t := figures.Target{Text: "memory flat within 15 %", Holds: true}
	if a.waiting != nil {
		t.Text += " but for rows that wait to be encoded"
	}
	for i, size := range a.sizes {
		most := (1 + within) * slices.Min(memory)
		if a.waiting != nil {
			most += float64(a.waiting(size))
		}
		t.Holds = t.Holds && memory[i] <= most
	}
	return t
}

// grown is one size: made in a folder, which is new, and timed.
func (b *bench) grown(ctx context.Context, a axis, folder string, size int64) (figures.Run, error) {
	if err := os.Mkdir(folder, 0o755); err != nil {
		return figures.Run{}, err
	}
	work, err := a.work(ctx, folder, size)
	if err != nil {
		return figures.Run{}, err
	}
	var runs []figures.Run
	for len(runs) == 0 || len(runs) < 3 && runs[0].Wall < 3*time.Second {
		run, err := work.Time(ctx)
		if err != nil {
			return figures.Run{}, err
		}
		runs = append(runs, run)
	}
	slices.SortFunc(runs, func(x, y figures.Run) int { return int(x.Wall - y.Wall) })
	return runs[len(runs)/2], nil
}

// line is the straight line, a fixed part and one for each, that the seconds lie
// nearest to in shares of themselves (least squares). Neither part is below 0.
func line(sizes, seconds []float64) (fixed, each float64) {
	var w, wx, wxx, wy, wxy float64
	for i, x := range sizes {
		weight := 1 / (seconds[i] * seconds[i])
		w, wx, wxx, wy, wxy = w+weight, wx+weight*x, wxx+weight*x*x, wy+weight*seconds[i], wxy+weight*x*seconds[i]
	}
	each = (w*wxy - wx*wy) / (w*wxx - wx*wx)
	fixed = (wy - each*wx) / w
	switch {
	case fixed < 0:
		return 0, wxy / wxx
	case each < 0:
		return wy / w, 0
	}
	return fixed, each
}

func (b *bench) axes() []axis {
	scaled := func(sizes ...int64) []int64 {
		for i := range sizes {
			sizes[i] = max(int64(float64(sizes[i])*b.scale), 1)
		}
		return slices.Compact(sizes)
	}
	dateRows, fileRows, groupRows := scaled(2_000_000)[0], int64(1000), scaled(10_000_000)[0]
	return []axis{
		{
			name: "events ingested", of: "event", sizes: scaled(1_000_000, 5_000_000, 20_000_000, 100_000_000, 200_000_000),
			rows: func(size int64) int64 { return size },
			work: func(ctx context.Context, folder string, size int64) (figures.Process, error) {
				many := scaled(1_000_000)[0]
				piece, err := b.generated(ctx, "flat", "bench/flat.yaml", many)
				if err != nil {
					return figures.Process{}, err
				}
				return b.ingestOf(folder, piece, many, size/many, "")
			},
		}, {
			name: fmt.Sprintf("dates, all open at once, %s events", rows(dateRows)), of: "date", sizes: scaled(1, 10, 100, 500, 2000),
			rows: func(int64) int64 { return dateRows },
			work: func(ctx context.Context, folder string, size int64) (figures.Process, error) {
				piece := filepath.Join(folder, "piece.jsonl")
				if err := events(piece, dateRows, 20_000, size); err != nil {
					return figures.Process{}, err
				}
				return b.ingestOf(folder, piece, dateRows, 1, "")
			},
			waiting: func(dates int64) int64 {
				return min(dates*pageRows, dateRows)*rowBytes + dates*dateBytes
			},
		}, {
			name: fmt.Sprintf("files of %s events compacted", rows(fileRows)), of: "file", sizes: scaled(10, 100, 1000, 10_000),
			rows: func(size int64) int64 { return size * fileRows },
			work: func(ctx context.Context, folder string, size int64) (figures.Process, error) {
				dates := min(max(size/10, 1), 5) // fewer files of a date would be left alone
				piece := filepath.Join(folder, "piece.jsonl")
				if err := events(piece, dates*fileRows, 20_000, dates); err != nil {
					return figures.Process{}, err
				}
				return b.compactOf(ctx, folder, piece, size/dates, dates, fileRows)
			},
		}, {
			name: fmt.Sprintf("groups counted, %s events", rows(groupRows)), of: "group", sizes: scaled(1000, 10_000, 100_000, 1_000_000, 10_000_000), grows: true,
			rows: func(int64) int64 { return groupRows },
			work: func(_ context.Context, folder string, size int64) (figures.Process, error) {
				piece := filepath.Join(folder, "piece.jsonl")
				if err := events(piece, groupRows, size, 5); err != nil {
					return figures.Process{}, err
				}
				return b.ingestOf(folder, piece, groupRows, 1, countRule)
			},
		},
	}
}

// countRule has a state of a group a user, and no answers.
const countRule = "rules: {c: {sql: \"SELECT user_id, COUNT(*) AS n FROM events GROUP BY user_id HAVING n >= 1000000000\"}}\n"

// events writes flat events of so many users and dates, each date and user as often
// as any other and none of them in order: whatever is read at once has rows of all.
func events(path string, many, users, dates int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	start := time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC)
	kinds := [...]string{"Interaction", "Interaction", "Interaction", "View", "Interaction", "Interaction", "Search"}
	const prime = 7919
	line := []byte{}
	for i := range many {
		line = fmt.Appendf(line[:0], `{"user_id":%d,"property_id":%d,"date":"`, i*prime%users, i%5000)
		line = start.AddDate(0, 0, int(i%dates)).Add(time.Duration(i*31%86400)*time.Second).AppendFormat(line, time.DateTime)
		line = fmt.Appendf(line, "\",\"event\":\"%s\"}\n", kinds[i%int64(len(kinds))])
		if _, err := w.Write(line); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(w.Flush(), f.Close())
}

// ingestOf is the ingest of a file of so many events, as often as said: by as many names of it, so
// that 200 million events take the room of one million.
func (b *bench) ingestOf(folder, piece string, many, times int64, more string) (figures.Process, error) {
	in := filepath.Join(folder, "in")
	if err := os.Mkdir(in, 0o755); err != nil {
		return figures.Process{}, err
	}
	for i := range times {
		if err := os.Link(piece, filepath.Join(in, fmt.Sprintf("%06d.jsonl", i))); err != nil {
			return figures.Process{}, err
		}
	}
	job := filepath.Join(folder, "job.yaml")
	text := fmt.Sprintf(flatJob, "growth", filepath.Join(in, "*.jsonl")) + more
	work := b.ingest(job)
	runs := 0
	work.Before = func() error { // the last run's table is put aside
		runs++
		err := os.Rename(warehouse(job), filepath.Join(folder, fmt.Sprintf("run-%d", runs)))
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	work.Says = figures.Grouped(many*times) + " rows landed"
	return work, os.WriteFile(job, []byte(text), 0o644)
}

// compactOf is the compaction of a table that got a file of each date in each of so many commits.
func (b *bench) compactOf(ctx context.Context, folder, piece string, commits, dates, rows int64) (figures.Process, error) {
	ingest, err := b.ingestOf(folder, piece, dates*rows, commits, fmt.Sprintf(smallFiles, dates*rows))
	if err != nil {
		return figures.Process{}, err
	}
	if _, err := ingest.Time(ctx); err != nil {
		return figures.Process{}, err
	}
	job, saved := filepath.Join(folder, "job.yaml"), filepath.Join(folder, "saved")
	if err := os.Rename(warehouse(job), saved); err != nil {
		return figures.Process{}, err
	}
	return figures.Process{Args: []string{b.lake, "compact", job}, Before: b.putBack(ctx, job, saved)}, nil
}
