package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"lake/load"
	"lake/rules/tally"
	"lake/table"
	"lake/table/parquet"
)

// loadRule brings a rule's answers over all of the table to a target, which it
// replaces as a whole. The same files and the same query are the same answers.
func (a *app) loadRule(ctx context.Context, r *resolved, t *table.Table, l loadPlan, w load.Warehouse, parts []load.Partition, dryRun bool) (load.Result, error) {
	i := slices.IndexFunc(r.rules, func(rule tally.Rule) bool { return rule.Name == l.rule })
	rule := r.rules[i]
	of := []string{rule.Plan.String()}
	for _, p := range parts {
		of = append(of, p.Fingerprint)
	}
	p := load.Partition{Name: load.All, Fingerprint: load.Fingerprint(of...)}
	target := load.Table{Schema: rule.Plan.OutputSchema()}
	result := load.Result{Target: l.name}
	incarnation, err := w.Inspect(ctx)
	if err != nil {
		return result, err
	}
	held, err := w.Held(ctx, target, []string{load.All})
	if err != nil {
		return result, err
	}
	if load.Plan(l.name, incarnation, []load.Partition{p}, held)[0].Current {
		result.Current = 1
		return result, nil
	}
	if dryRun {
		result.Loaded = 1
		return result, nil
	}
	answers, err := a.answer(ctx, r, t, []tally.Rule{rule}, table.ScanOptions{From: firstDate, To: lastDate})
	if err != nil {
		return result, err
	}
	defer answers[0].Release()
	folder, err := os.MkdirTemp("", "lake-load-")
	if err != nil {
		return result, fmt.Errorf("make a folder for the answers: %w", err)
	}
	defer os.RemoveAll(folder)
	p.Rows = answers[0].Rows.NumRows()
	if p.Rows > 0 {
		file := filepath.Join(folder, "answers.parquet")
		if err := writeParquet(file, answers[0].Rows); err != nil {
			return result, fmt.Errorf("write the answers: %w", err)
		}
		p.Files = []load.File{{URI: file, Rows: p.Rows}}
	}
	if incarnation, err = w.Prepare(ctx, target); err != nil {
		return result, err
	}
	result, err = load.Run(ctx, w, load.Plan(l.name, incarnation, []load.Partition{p}, nil), func(load.Step, time.Duration) {})
	result.Target = l.name
	return result, err
}

func writeParquet(path string, rows arrow.RecordBatch) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w, err := parquet.NewWriter(f, rows.Schema(), parquet.Options{})
	if err != nil {
		return err
	}
	if err := w.Append(rows, nil); err != nil {
		return err
	}
	_, err = w.Close()
	return err
}
