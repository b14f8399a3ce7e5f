package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"lake/bench/figures"
)

// compactions are the merging of a table of small files, which is put back before
// each run. Spark rewrites the very table, in lake's own catalog; DuckDB copies its files.
func (b *bench) compactions(in inputs, job, sorted string) []work {
	const name = "compaction of %d small files"
	out := filepath.Join(b.work, "compacted")
	duckdb := func(job, what, checked string) func(context.Context, *work) error {
		return func(ctx context.Context, w *work) error {
			_, err := b.small(ctx, w, in, job, func(files string) figures.Process {
				p := b.by("DuckDB", what, files, out)
				p.Before = func() error { return os.RemoveAll(out) }
				return p
			})
			w.check = b.agree(checked, job, out)
			return err
		}
	}
	works := []work{
		{name: name, peer: "DuckDB (any order)", target: 1.8, memory: 0.6, setup: duckdb(job, "compact", "flat")},
		{name: name + ", sorted by user", peer: "DuckDB (ORDER BY)", target: 1, setup: duckdb(sorted, "sorted", "sorted")},
	}
	if b.spark == "" {
		return works
	}
	return append(works, work{
		name: name, peer: "Spark (local[2], rewrite_data_files)", target: 3,
		setup: func(ctx context.Context, w *work) error {
			rewrite := b.by("Spark", "rewrite", filepath.Join(warehouse(job), "catalog.db"), warehouse(job), "bench.events")
			many, err := b.small(ctx, w, in, job, func(string) figures.Process { return rewrite })
			w.other.Before = w.lake.Before
			w.check = func(ctx context.Context) error { return b.rewritten(ctx, job, many) }
			return err
		},
	})
}

// before is the list of the small files, at their place beside the warehouse.
func before(job string) string { return filepath.Join(filepath.Dir(job), "before.json") }

// small fills a job's table with small files, and has them put back before each run
// of lake. The peer is given a list of their copies, which stay.
func (b *bench) small(ctx context.Context, w *work, in inputs, job string, peer func(files string) figures.Process) (many int, err error) {
	saved := filepath.Join(filepath.Dir(job), "saved")
	if err := errors.Join(os.RemoveAll(saved), b.cut(ctx, in), b.prepare(ctx, job)); err != nil {
		return 0, err
	}
	paths, err := b.files(ctx, job)
	if err != nil {
		return 0, err
	}
	for i, path := range paths {
		inside, err := filepath.Rel(warehouse(job), path)
		if err != nil {
			return 0, err
		}
		paths[i] = filepath.Join(saved, inside)
	}
	list, err := json.Marshal(paths)
	if err := errors.Join(err, os.WriteFile(before(job), list, 0o644), os.Rename(warehouse(job), saved)); err != nil {
		return 0, err
	}
	w.name = fmt.Sprintf(w.name, len(paths))
	w.other = peer(before(job))
	w.lake = figures.Process{Args: []string{b.lake, "compact", job}, Before: b.putBack(ctx, job, saved)}
	return len(paths), nil
}

// putBack puts a saved warehouse where it was: its catalog holds absolute paths.
func (b *bench) putBack(ctx context.Context, job, saved string) func() error {
	return func() error {
		if err := clean(job)(); err != nil {
			return err
		}
		_, err := b.output(ctx, "cp", "-a", saved, warehouse(job))
		return err
	}
}

// rewritten looks that the table has fewer files than it had, with the same rows in them.
func (b *bench) rewritten(ctx context.Context, job string, had int) error {
	paths, err := b.files(ctx, job)
	if err != nil {
		return err
	}
	if len(paths) >= had {
		return fmt.Errorf("the peer left %d of %d files", len(paths), had)
	}
	return b.agree("flat", job, before(job))(ctx)
}
