package main

import (
	"context"
	"errors"
	"fmt"

	"lake/jobs"
	"lake/load"
	"lake/load/hive"
	"lake/schemas"
	"lake/table"
)

// hivePlan is load: - hive: its rows are copied for HiveServer2 or the Spark Thrift
// Server, or the table itself is registered in their metastore.
func hivePlan(options jobs.Adapter) (loadPlan, error) {
	var cfg hive.Config
	err := errors.Join(options.Decode(&cfg), cfg.Check())
	at := func(r *resolved) hive.Config {
		out := cfg
		out.Kerberos, out.TLS = r.stores.hdfs.Config, r.within(cfg.TLS)
		return out
	}
	// Not by the server's name: another one may lead to the same table.
	plan := loadPlan{name: "hive " + cfg.Table + " " + cfg.Location, rule: cfg.Rule, dialect: schemas.Hive,
		probe: func(ctx context.Context, r *resolved) (string, error) { return hive.Probe(ctx, at(r)) }}
	if cfg.Format == hive.Iceberg {
		plan.whole = true
		if err == nil {
			if wrong := table.CheckHive(cfg.Metastore); wrong != nil {
				err = fmt.Errorf("metastore: %w; hint: thrift://host:9083", wrong)
			}
		}
	}
	plan.open = func(ctx context.Context, a *app, r *resolved) (load.Warehouse, error) {
		files := a.filesystems(r.folder, r.stores)
		o := hive.Options{Files: files, Log: a.log}
		var w load.Warehouse
		var err error
		if plan.whole {
			w, err = openRegistered(ctx, r, at(r), o)
		} else {
			w, err = hive.Open(ctx, at(r), o)
		}
		if err != nil {
			return nil, errors.Join(err, files.Close())
		}
		return closing{w, files}, nil
	}
	return plan, err
}

func openRegistered(ctx context.Context, r *resolved, cfg hive.Config, o hive.Options) (load.Warehouse, error) {
	tables, err := openRegistry(r, cfg)
	if err != nil {
		return nil, err
	}
	return hive.OpenRegistered(ctx, cfg, o, tables)
}

func openRegistry(r *resolved, cfg hive.Config) (registry, error) {
	var c table.CatalogConfig
	if err := r.reachHive(&c, cfg.Metastore, cfg.MetastorePrincipal, cfg.MetastoreTLS, "load.hive.metastore_"); err != nil {
		return registry{}, err
	}
	tables, err := table.OpenRegistry(c)
	return registry{tables}, err
}

// registry is a metastore as load/hive wants it, which knows no tables of lake's.
type registry struct{ *table.Registry }

// Get implements hive.Registry.
func (r registry) Get(ctx context.Context, name string) (out hive.Registration, found bool, err error) {
	t, found, err := r.Registry.Get(ctx, name)
	if errors.Is(err, table.ErrRegisteredOtherwise) {
		err = fmt.Errorf("%w: %w; hint: another name, or drop it there", load.ErrTargetSchema, err)
	}
	out = hive.Registration{Metadata: t.Metadata, Location: t.Location, Properties: t.Properties}
	for _, c := range t.Columns {
		out.Columns = append(out.Columns, hive.Column(c))
	}
	return out, found, err
}

// Put implements hive.Registry.
func (r registry) Put(ctx context.Context, name string, to hive.Registration, before string) error {
	t := table.Registration{Metadata: to.Metadata, Location: to.Location, Properties: to.Properties}
	for _, c := range to.Columns {
		t.Columns = append(t.Columns, table.RegisteredColumn(c))
	}
	err := r.Registry.Put(ctx, name, t, before)
	if errors.Is(err, table.ErrRegisteredOtherwise) {
		return fmt.Errorf("%w: %w", load.ErrBusy, err)
	}
	return err
}
