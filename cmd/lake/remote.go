package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"lake/load"
	"lake/load/bigquery"
	"lake/storage"
)

// openBigQuery opens a target in BigQuery. Files that it does not read where they
// are go through staging.
func (a *app) openBigQuery(ctx context.Context, r *resolved, name string, cfg bigquery.Config) (load.Warehouse, error) {
	files := a.filesystems(r.folder)
	w, err := bigquery.Open(ctx, cfg, bigquery.Options{Log: a.log, Rows: func(ctx context.Context, uri string) (int64, error) {
		return load.ParquetRows(ctx, files, uri)
	}})
	if err != nil {
		return nil, errors.Join(err, files.Close())
	}
	if cfg.Staging == "" {
		return withFiles{w, files}, nil
	}
	return withFiles{&load.Staging{Warehouse: w, Files: files, Folder: cfg.Staging, Target: name, Reads: cfg.ReadsItself, JSON: cfg.Format == bigquery.JSON}, files}, nil
}

// withFiles closes a target's filesystems with it.
type withFiles struct {
	load.Warehouse
	files *storage.Filesystems
}

// Close implements load.Warehouse.
func (w withFiles) Close() error { return errors.Join(w.Warehouse.Close(), w.files.Close()) }

// localCopies hands a warehouse that reads local files only the files of a
// remote table: a partition at a time, in a folder that is gone afterwards.
type localCopies struct {
	load.Warehouse
	files storage.FS
	dir   string // that the folder is made in
}

// copying is how many files are copied at a time.
const copying = 4

// Replace implements load.Warehouse.
func (l localCopies) Replace(ctx context.Context, p load.Load) (held load.Held, err error) {
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return held, err
	}
	folder, err := os.MkdirTemp(l.dir, "load-")
	if err != nil {
		return held, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	local := p
	local.Files = make([]load.File, len(p.Files))
	g, copies := errgroup.WithContext(ctx)
	g.SetLimit(copying)
	for i, f := range p.Files {
		local.Files[i] = f
		if !storage.IsRemote(f.URI) { // a rule's answers
			continue
		}
		local.Files[i].URI = filepath.Join(folder, fmt.Sprintf("%05d.parquet", i))
		g.Go(func() error { return l.copy(copies, local.Files[i].URI, f.URI) })
	}
	if err := g.Wait(); err != nil {
		return held, err
	}
	return l.Warehouse.Replace(ctx, local)
}

func (l localCopies) copy(ctx context.Context, path, uri string) error {
	from, err := l.files.Open(ctx, uri)
	if err != nil {
		return err
	}
	to, err := os.Create(path)
	if err != nil {
		return errors.Join(err, from.Close())
	}
	_, err = io.Copy(to, from)
	if err := errors.Join(err, from.Close(), to.Close()); err != nil {
		return fmt.Errorf("copy %s: %w", uri, err)
	}
	return nil
}
