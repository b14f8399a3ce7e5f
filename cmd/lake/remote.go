package main

import (
	"context"
	"errors"

	"lake/load"
	"lake/load/bigquery"
	"lake/storage"
)

// openBigQuery opens a target in BigQuery. Files that it does not read where they
// are go through staging.
func (a *app) openBigQuery(ctx context.Context, r *resolved, name string, cfg bigquery.Config) (load.Warehouse, error) {
	files := a.filesystems(r.folder, r.stores)
	w, err := bigquery.Open(ctx, cfg, bigquery.Options{Log: a.log, Rows: func(ctx context.Context, uri string) (int64, error) {
		return load.ParquetRows(ctx, files, uri)
	}})
	if err != nil {
		return nil, errors.Join(err, files.Close())
	}
	if cfg.Staging == "" {
		return closing{w, files}, nil
	}
	return closing{&load.Staging{Warehouse: w, Files: files, Folder: cfg.Staging, Target: name, Reads: cfg.ReadsItself, JSON: cfg.Format == bigquery.JSON}, files}, nil
}

// localCopies hands a target that reads local files only those of a remote table, a
// partition at a time.
func localCopies(w load.Warehouse, files storage.FS, r *resolved, name string) load.Warehouse {
	return &load.Staging{Warehouse: w, Files: files, Folder: r.loadFolder(), Target: name, Reads: func(uri string) bool { return !storage.IsRemote(uri) }}
}
