package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"lake/bench/figures"
	"lake/services"
)

// flinkSQL is the job as Flink has it; BROKER, PREFIX and OUT are replaced.
//
//go:embed flink.sql
var flinkSQL string

// besideFlink has Flink do the same. Its cluster runs already when its time begins,
// with the submission of the job, and ends, with the last commit.
func (o *options) besideFlink(ctx context.Context, k *services.Kafka, table *figures.Printer, what string) (err error) {
	cluster, err := services.StartFlink(ctx, services.Options{Classpath: filepath.Join(o.flink, "*"), Settings: map[string]string{
		"parallelism.default":                       "2",
		"taskmanager.numberOfTaskSlots":             "2",
		"taskmanager.memory.task.heap.size":         "1g",
		"taskmanager.memory.framework.heap.size":    "128m",
		"classloader.check-leaked-classloader":      "false",
		"execution.checkpointing.interval":          "10s",
		"execution.checkpointing.mode":              "EXACTLY_ONCE",
		"pipeline.object-reuse":                     "true",
		"table.exec.mini-batch.enabled":             "true",
		"table.exec.mini-batch.allow-latency":       "1s",
		"table.exec.mini-batch.size":                "50000",
		"taskmanager.memory.network.min":            "128m",
		"taskmanager.memory.network.max":            "128m",
		"table.dml-sync":                            "true",
		"table.local-time-zone":                     "Asia/Kolkata",
		"execution.checkpointing.unaligned.enabled": "false",
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()
	var ours, theirs string
	out := filepath.Join(o.work, "flink")
	flink := func(ctx context.Context) (_ figures.Run, err error) {
		if theirs, err = o.topics(ctx, k, "flink"); err != nil {
			return figures.Run{}, err
		}
		if err := os.RemoveAll(out); err != nil {
			return figures.Run{}, err
		}
		session, err := cluster.OpenSession(ctx, map[string]string{"execution.runtime-mode": "streaming"})
		if err != nil {
			return figures.Run{}, err
		}
		defer func() { err = errors.Join(err, session.Close(context.WithoutCancel(ctx))) }()
		ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
		defer cancel()
		script := strings.NewReplacer("${BROKER}", k.Brokers()[0], "${PREFIX}", theirs, "${OUT}", out).Replace(flinkSQL)
		var run figures.Run
		for statement := range strings.SplitSeq(script, ";\n\n") {
			started := time.Now()
			if _, err := session.Run(ctx, statement); err != nil {
				return figures.Run{}, fmt.Errorf("%s: %w", strings.TrimSpace(statement), err)
			}
			run.Wall = time.Since(started) // of the last one, the job
		}
		return run, nil
	}
	pairs, err := figures.Pairs(ctx, o.pairs, o.outTo(k, &ours), flink, func(ctx context.Context) error {
		return o.agree(ctx, k, ours, theirs, filepath.Join(out, "bench", "events", "data"))
	})
	if err != nil {
		return err
	}
	return table.Line(figures.Compare(what, "Flink "+services.FlinkVersion+" (SQL into Iceberg, cluster running)", "bench/kafka/flink.sql", pairs, 10, 0))
}
