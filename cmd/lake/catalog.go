package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"lake/jobs"
	"lake/storage"
	"lake/table"
)

// sqliteCatalog is catalog: {sqlite: {path: …}} in a job file.
type sqliteCatalog struct {
	Path string `yaml:"path"`
}

// hiveCatalog is catalog: {hive: {uri: thrift://…}} in a job file.
type hiveCatalog struct {
	URI jobs.Text `yaml:"uri"`
}

// catalogConfig is where the job's catalog lies.
func (r *resolved) catalogConfig() (table.CatalogConfig, error) {
	c := table.CatalogConfig{Warehouse: r.warehouse}
	switch r.Catalog.Kind {
	case "sqlite":
		var options sqliteCatalog
		if err := r.Catalog.Decode(&options); err != nil {
			return c, err
		}
		if options.Path != "" {
			c.SQLite = r.Resolve(options.Path)
		}
	case "postgres": // catalog: {postgres: URL}
		var url jobs.Text
		if err := r.Catalog.Decode(&url); err != nil {
			return c, err
		}
		c.Postgres = url.Value
	case "hive":
		var options hiveCatalog
		if err := r.Catalog.Decode(&options); err != nil {
			return c, err
		}
		c.Hive = options.URI.Value
	}
	return c, nil
}

// resolveCatalog checks catalog:.
func resolveCatalog(job *jobs.Job, warehouse string, p *problems) {
	if storage.IsRemote(warehouse) {
		var options sqliteCatalog
		switch {
		case job.Catalog.Kind == "", job.Catalog.Kind == "sqlite" && job.Catalog.Decode(&options) == nil && options.Path == "":
			p.add(job.Catalog.Pos, "name a catalog that other machines reach: catalog: {postgres: \"${LAKE_CATALOG}\"} or {hive: {uri: \"thrift://host:9083\"}}, or a file: {sqlite: {path: catalog.db}}",
				"catalog: SQLite cannot lie in the warehouse %s", warehouse)
		}
		if err := table.CheckRemote(warehouse); err != nil {
			p.add(job.Catalog.Pos, "", "--warehouse %s: %v", warehouse, err)
		}
	}
	switch job.Catalog.Kind {
	case "":
	case "sqlite":
		p.take(job.Catalog.Pos, job.Catalog.Decode(&sqliteCatalog{}))
	case "postgres":
		var url jobs.Text
		if err := job.Catalog.Decode(&url); err != nil {
			p.take(job.Catalog.Pos, err)
		} else if err := table.CheckPostgres(url.Value); err != nil {
			p.add(url.Pos, `write {postgres: "${LAKE_CATALOG}"} and set it to postgres://user:password@host:5432/database`, "catalog.postgres: the URL: %v", err)
		}
	case "hive":
		var options hiveCatalog
		if err := job.Catalog.Decode(&options); err != nil {
			p.take(job.Catalog.Pos, err)
		} else if err := table.CheckHive(options.URI.Value); err != nil {
			pos := options.URI.Pos
			if !options.URI.Given() {
				pos = job.Catalog.Pos
			}
			p.add(pos, "write {hive: {uri: \"thrift://host:9083\"}}, or several with commas between them", "catalog.hive.uri: %v", err)
		}
	default:
		p.add(job.Catalog.Pos, "leave catalog: out, or write {sqlite: {path: …}}, {postgres: \"postgres://…\"} or {hive: {uri: \"thrift://…\"}}", "catalog: this lake has no kind %q", job.Catalog.Kind)
	}
}

func (a *app) openCatalog(ctx context.Context, r *resolved) (*table.Catalog, error) {
	cfg, err := r.catalogConfig()
	if err != nil {
		return nil, err
	}
	cfg.Files = a.filesystems(r.folder)
	return table.OpenCatalog(ctx, cfg)
}

// opened is a table with the catalog that it belongs to.
type opened struct {
	*table.Table
	catalog *table.Catalog
}

func (o *opened) Close() error { return o.catalog.Close() }

// openTable opens the job's table to read it.
func (a *app) openTable(ctx context.Context, r *resolved) (*opened, error) {
	return a.openNamed(ctx, r, r.Table.Name.Value)
}

func (a *app) openNamed(ctx context.Context, r *resolved, name string) (*opened, error) {
	if _, err := os.Stat(r.folder); errors.Is(err, os.ErrNotExist) && !storage.IsRemote(r.warehouse) {
		return nil, withCode(exitPerson, fmt.Errorf("there is no warehouse %s\nhint: lake ingest %s makes it", r.warehouse, r.Path))
	}
	catalog, err := a.openCatalog(ctx, r)
	if err != nil {
		return nil, err
	}
	t, err := catalog.Load(ctx, name)
	if err != nil {
		err = errors.Join(err, catalog.Close())
		if errors.Is(err, table.ErrNoTable) {
			return nil, withCode(exitPerson, fmt.Errorf("%w: %s in %s\nhint: lake ingest %s makes it", table.ErrNoTable, name, r.warehouse, r.Path))
		}
		return nil, err
	}
	return &opened{Table: t, catalog: catalog}, nil
}

// isJobFile tells a job file from a table's name.
func isJobFile(arg string) bool {
	return strings.HasSuffix(arg, ".yaml") || strings.HasSuffix(arg, ".yml")
}

// openArg opens a table by a job file or by its name in --warehouse.
func (a *app) openArg(ctx context.Context, arg string) (*opened, *resolved, error) {
	if isJobFile(arg) {
		r, err := a.loadJob(arg)
		if err != nil {
			return nil, nil, err
		}
		t, err := a.openTable(ctx, r)
		return t, r, err
	}
	catalog, err := a.openWarehouse(ctx)
	if err != nil {
		return nil, nil, err
	}
	t, err := catalog.Load(ctx, arg)
	if errors.Is(err, table.ErrNoTable) {
		names, _ := catalog.List(ctx)
		err = withCode(exitPerson, fmt.Errorf("there is no table %s in %s; hint: %s", arg, a.warehouse(), nearest(arg, names)))
	}
	if err != nil {
		return nil, nil, errors.Join(err, catalog.Close())
	}
	return &opened{Table: t, catalog: catalog}, nil, nil
}

// warehouse is the folder of commands that are given no job.
func (a *app) warehouse() string {
	if a.flags.warehouse != "" {
		return a.flags.warehouse
	}
	return "warehouse"
}

func (a *app) openWarehouse(ctx context.Context) (*table.Catalog, error) {
	if _, err := os.Stat(filepath.Join(a.warehouse(), "catalog.db")); err != nil {
		return nil, withCode(exitPerson, fmt.Errorf("there is no warehouse in %s\nhint: say where it is with --warehouse, or name a job file", a.warehouse()))
	}
	folder, err := filepath.Abs(a.warehouse())
	if err != nil {
		return nil, err
	}
	return table.OpenCatalog(ctx, table.CatalogConfig{Warehouse: folder, Files: a.filesystems(folder)})
}

// announce makes a warehouse that is not there yet, and says so. Beside a remote
// one this host has a folder of its own, for locks.
func (a *app) announce(r *resolved) error {
	if _, err := os.Stat(r.folder); !errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := os.MkdirAll(r.folder, 0o755); err != nil {
		return fmt.Errorf("make the warehouse: %w", err)
	}
	if !storage.IsRemote(r.warehouse) {
		a.log.Info("made a new warehouse", "folder", r.folder)
	}
	return nil
}
