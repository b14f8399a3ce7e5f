package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"lake/load"
	"lake/rules/tally"
	"lake/storage"
	"lake/table"
	"lake/table/parquet"
)

// ledgerTable is the name of the table of loads beside the job's.
func (r *resolved) ledgerTable() string { return r.Table.Name.Value + "_loads" }

// loadFolder has files of a load that is under way. What a killed one left there goes
// with the next.
func (r *resolved) loadFolder() string { return filepath.Join(r.folder, "tmp", r.Name.Value+".load") }

// openLedger reads what the ledger says of a target. It makes nothing.
func (a *app) openLedger(ctx context.Context, r *resolved, catalog *table.Catalog, target string) (*load.Ledger, error) {
	t, err := catalog.Load(ctx, r.ledgerTable())
	if err != nil && !errors.Is(err, table.ErrNoTable) {
		return nil, err
	}
	return load.OpenLedger(ctx, target, t, func(ctx context.Context) (*table.Table, error) {
		definition := table.Definition{Schema: load.LedgerSchema()}
		if location := r.location(); storage.IsRemote(location) { // who finds the table finds it, too
			definition.Location = strings.TrimRight(location, "/") + "_loads"
		}
		t, _, err := loadOrCreate(ctx, catalog, r.ledgerTable(), definition)
		return t, err
	})
}

// loading is one target and what goes there.
type loading struct {
	a        *app
	r        *resolved
	t        *opened
	l        loadPlan
	w        load.Warehouse
	ledger   *load.Ledger
	filter   table.FileFilter
	force    string
	rule     *tally.Rule             // its answers go there; nil: the table
	snapshot int64                   // of the last plan
	metadata string                  // the table's, of the last plan
	files    map[string][]table.File // of the last plan, by partition
}

func (a *app) newLoading(ctx context.Context, r *resolved, t *opened, l loadPlan, filter table.FileFilter) (*loading, error) {
	g := &loading{a: a, r: r, t: t, l: l, filter: filter}
	if l.rule != "" {
		i := slices.IndexFunc(r.rules, func(rule tally.Rule) bool { return rule.Name == l.rule })
		g.rule = &r.rules[i]
	}
	if l.rule != "" || l.whole { // a rule's answers are of all rows
		g.filter.From, g.filter.To = firstDate, lastDate
	}
	var err error
	if g.ledger, err = a.openLedger(ctx, r, t.catalog, l.name); err != nil {
		return nil, err
	}
	if g.w, err = l.open(ctx, a, r); err != nil {
		return nil, err
	}
	if l.local {
		g.w = localCopies(g.w, t.FS(), r, l.name)
	}
	return g, nil
}

// Close closes the target.
func (g *loading) Close() error { return g.w.Close() }

// table is what the target has to be able to hold.
func (g *loading) table() load.Table {
	if g.rule != nil {
		return load.Table{Schema: g.rule.Plan.OutputSchema()}
	}
	if g.l.whole {
		return load.Table{Schema: g.t.Schema()}
	}
	return load.Table{Schema: g.t.Schema(), DateColumn: g.r.dateColumn()}
}

// plan compares the table as it is opened with the ledger and the target.
func (g *loading) plan(ctx context.Context, incarnation string) ([]load.Step, error) {
	in, err := g.inputs(ctx, incarnation)
	if err != nil {
		return nil, err
	}
	if incarnation != "" {
		if in.Held, err = g.w.Held(ctx, g.table(), in.Wanted()); err != nil {
			return nil, err
		}
	}
	return load.Plan(in), nil
}

// inputs are a plan's, without what the target holds.
func (g *loading) inputs(ctx context.Context, incarnation string) (load.Inputs, error) {
	in := load.Inputs{Target: g.l.name, Incarnation: incarnation, From: g.filter.From, To: g.filter.To, Dated: g.table().DateColumn != "",
		Ledger: g.ledger.Lines(incarnation), Force: g.force}
	current, ok := g.t.Current()
	if !ok {
		return in, withCode(exitPerson, fmt.Errorf("table %s has no rows yet\nhint: lake ingest %s", g.t.Name(), g.r.Path))
	}
	g.snapshot, in.Appended = current.ID, load.Appended(current.ID, g.t.Snapshots())
	g.metadata = g.t.Metadata()
	if g.l.whole { // files that are replaced are cleaned up in time: the target must not go on reading them
		in.Appended = nil
	}
	filter := g.filter
	filter.Snapshot = current.ID
	files, err := g.t.Files(ctx, filter)
	if err != nil {
		return in, err
	}
	if in.Dropped, err = g.t.DroppedBefore(); err != nil {
		return in, err
	}
	if in.Partitions, err = load.Partitions(files, g.r.dateColumn() != "" && !g.l.whole); err != nil {
		return in, withCode(exitPerson, err)
	}
	g.files = map[string][]table.File{}
	for _, f := range files {
		name := load.All
		if date, ok := f.Date(); ok && in.Dated {
			name = load.DateName(date)
		}
		g.files[name] = append(g.files[name], f)
	}
	if g.rule != nil { // the same files and the same query are the same answers
		of := []string{g.rule.Plan.String()}
		for _, p := range in.Partitions {
			of = append(of, p.Fingerprint)
		}
		in.Partitions = []load.Partition{{Name: load.All, Fingerprint: load.Fingerprint(of...), Rows: -1}}
	}
	return in, nil
}

// fill makes the files of a load that the table does not have as they are: a rule's
// answers, and the rows of a partition that delete files apply to.
func (g *loading) fill(ctx context.Context, l *load.Load) (remove func() error, err error) {
	if g.l.whole { // its reader knows of deletes
		l.Metadata = g.metadata
		return func() error { return nil }, nil
	}
	if g.rule == nil && l.Deletes == 0 {
		return func() error { return nil }, nil
	}
	dir := g.r.loadFolder()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp(dir, "load-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the rows: %w", err)
	}
	remove = func() error { return os.RemoveAll(folder) }
	defer func() {
		if err != nil {
			err = errors.Join(err, remove())
		}
	}()
	path := filepath.Join(folder, "rows.parquet")
	if g.rule != nil {
		answers, err := g.a.answer(ctx, g.r, g.t.Table, []tally.Rule{*g.rule}, table.ScanOptions{Snapshot: g.snapshot, From: firstDate, To: lastDate})
		if err != nil {
			return remove, err
		}
		defer answers[0].Release()
		l.Rows, l.Bytes, err = writeParquet(path, answers[0].Rows.Schema(), func(yield func(arrow.RecordBatch, error) bool) { yield(answers[0].Rows, nil) })
		if err != nil {
			return remove, fmt.Errorf("write the answers: %w", err)
		}
	} else {
		l.Rows, l.Bytes, err = writeParquet(path, g.t.Schema().Arrow(), func(yield func(arrow.RecordBatch, error) bool) {
			for batch, err := range g.t.Scan(ctx, table.ScanOptions{Files: g.files[l.Name]}) {
				more := yield(batch, err)
				if batch != nil {
					batch.Release()
				}
				if !more {
					return
				}
			}
		})
		if err != nil {
			return remove, fmt.Errorf("write the rows that deletes have left: %w", err)
		}
	}
	l.Files, l.Deletes = nil, 0
	if l.Rows > 0 {
		l.Files = []load.File{{URI: path, Rows: l.Rows, Bytes: l.Bytes}}
	}
	return remove, nil
}

// writeParquet makes a local file of batches, which are not released here.
func writeParquet(path string, schema *arrow.Schema, batches func(func(arrow.RecordBatch, error) bool)) (rows, bytes int64, err error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w, err := parquet.NewWriter(f, schema, parquet.Options{})
	if err != nil {
		return 0, 0, err
	}
	for batch, err := range batches {
		if err != nil {
			return 0, 0, err
		}
		if err := w.Append(batch, nil); err != nil {
			return 0, 0, err
		}
		rows += batch.NumRows()
	}
	if _, err := w.Close(); err != nil {
		return 0, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	return rows, info.Size(), nil
}
