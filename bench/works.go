package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"lake/bench/figures"
	"lake/bench/portal"
)

// works are the lines of pairs of processes.
func (b *bench) works(ctx context.Context) ([]work, error) {
	in, err := b.inputs(ctx)
	if err != nil {
		return nil, fmt.Errorf("make the inputs: %w", err)
	}
	flat, err := b.job("flat", flatJob, "flat", in.flat)
	if err != nil {
		return nil, err
	}
	nested, err := b.job("nested", nestedJob, in.nested)
	if err != nil {
		return nil, err
	}
	ruled, err := b.job("ruled", flatJob+portal.Rules, "ruled", in.flat)
	if err != nil {
		return nil, err
	}
	pieces := filepath.Join(b.pieces(), "*")
	small, err := b.job("small", flatJob+smallFiles, "small", pieces, in.piece())
	if err != nil {
		return nil, err
	}
	bySort := strings.Replace(flatJob, "partition_by: [dt]", "partition_by: [dt], sort_by: [user_id]", 1)
	sorted, err := b.job("sorted", bySort+smallFiles, "sorted", pieces, in.piece())
	if err != nil {
		return nil, err
	}
	works := append(b.toParquet("flat", rows(in.flatRows)+" flat JSON events → date-partitioned Parquet", flat, in.flat, 2, 0.7),
		b.toParquet("nested", rows(in.nestedRows)+" nested events → date-partitioned Parquet", nested, in.nested, 1.3, 0)...)
	bareOut := filepath.Join(b.work, "bare")
	for _, each := range []struct {
		command, peer string
		target        float64
	}{
		{"bare", "decode and write alone", 0.7},
		{"parts", "the sum of its parts (read, decode, rules and write, one after the other)", 0.8},
	} {
		works = append(works, work{
			name: rows(in.flatRows) + " events, full ingest with three rules", peer: each.peer, target: each.target,
			lake:  b.ingest(ruled),
			other: figures.Process{Before: func() error { return os.RemoveAll(bareOut) }, Args: []string{b.self, each.command, in.flat, bareOut}},
		})
	}
	works = append(works, b.counts(rows(in.flatRows), ruled)...)
	return append(works, b.compactions(in, small, sorted)...), nil
}

// rows is a number of rows as the table has it.
func rows(n int64) string {
	switch {
	case n >= 1_000_000 && n%1_000_000 == 0:
		return fmt.Sprintf("%dM", n/1_000_000)
	case n >= 1000 && n%1000 == 0:
		return fmt.Sprintf("%dk", n/1000)
	}
	return fmt.Sprint(n)
}

func (b *bench) ingest(job string) figures.Process {
	return figures.Process{Before: clean(job), Args: []string{b.lake, "ingest", job}}
}

// by is one of the scripts in bench/peers.
func (b *bench) by(peer, what string, args ...string) figures.Process {
	python := b.python
	if peer == "Spark" {
		python = b.spark
	}
	return figures.Process{
		Args: append([]string{python, "bench/peers/with_" + strings.ToLower(peer) + ".py", what}, args...),
		Env:  []string{"SPARK_LOCAL_IP=127.0.0.1", "JARS=" + b.jars},
	}
}

// toParquet are a job's works against each peer. lake and DuckDB write UUIDs and maps;
// what polars and pyarrow have not is said in their scripts.
func (b *bench) toParquet(what, name, job, input string, target, memory float64) []work {
	var works []work
	for _, peer := range []string{"DuckDB", "polars", "pyarrow", "Spark"} {
		if peer == "Spark" && b.spark == "" {
			continue
		}
		out := filepath.Join(b.work, what+"-"+strings.ToLower(peer))
		other := b.by(peer, what, input, out)
		// An empty place for everybody; what is left of the last run is not the peer's to remove.
		other.Before = func() error { return os.RemoveAll(out) }
		w := work{name: name, peer: peer, lake: b.ingest(job), other: other, target: target, memory: memory, check: b.agree(what, job, out)}
		if peer != "DuckDB" { // faster than each
			w.target, w.memory = 1, 0
		}
		if peer == "Spark" {
			w.peer = "Spark (local[2])"
		}
		w.afterwards = func() error { return os.RemoveAll(out) }
		works = append(works, w)
	}
	return works
}

// counts are rules over a table, against SQL over the same files.
func (b *bench) counts(many, job string) []work {
	var works []work
	for _, each := range []struct{ name, rule, sql string }{
		{"count a key", "paid_user", "SELECT user_id, count(*) AS n FROM read_parquet({}) WHERE event = 'Interaction' GROUP BY user_id HAVING count(*) >= 9"},
		{"count a key and minute", "possible_broker", "SELECT time_bucket(INTERVAL 1 MINUTE, date) AS w, user_id, count(*) AS n FROM read_parquet({}) WHERE event = 'Interaction' GROUP BY 1, 2 HAVING count(*) > 10"},
	} {
		query := filepath.Join(b.work, each.rule+".sql")
		lake := figures.Process{Args: []string{b.lake, "rules", "run", job, each.rule, "--format", "jsonl"}}
		works = append(works, work{
			name: fmt.Sprintf("%s over the table of %s events, from its files", each.name, many), peer: "DuckDB", lake: lake,
			setup: func(ctx context.Context, w *work) error {
				if err := os.WriteFile(query, []byte(each.sql), 0o644); err != nil {
					return err
				}
				if err := b.prepare(ctx, job); err != nil {
					return err
				}
				files, err := b.fileList(ctx, job)
				w.other = b.by("DuckDB", "count", query, files)
				w.check = func(ctx context.Context) error {
					ours, err := b.output(ctx, w.lake.Args[0], w.lake.Args[1:]...)
					if err != nil {
						return err
					}
					theirs, err := b.output(ctx, w.other.Args[0], w.other.Args[1:]...)
					if groups := strings.Count(ours, "{"); err == nil && theirs != fmt.Sprintf("[(%d,)]", groups) {
						return fmt.Errorf("lake answers %d groups, DuckDB %s", groups, theirs)
					}
					return err
				}
				return err
			},
		})
	}
	return works
}
