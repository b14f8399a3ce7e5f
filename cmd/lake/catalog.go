package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/jcmturner/gokrb5/v8/client"

	"lake/jobs"
	"lake/kerberos"
	"lake/load/hive"
	"lake/storage"
	"lake/table"
)

// sqliteCatalog is catalog: {sqlite: {path: …}} in a job file.
type sqliteCatalog struct {
	Path string `yaml:"path"`
}

// hiveCatalog is catalog: {hive: {uri: thrift://…}} in a job file.
type hiveCatalog struct {
	URI       jobs.Text `yaml:"uri"`
	Auth      jobs.Text `yaml:"auth"`      // none (default), kerberos
	Principal jobs.Text `yaml:"principal"` // the metastore's, with kerberos: hive/_HOST@REALM
	TLS       *hive.TLS `yaml:"tls"`       // {}: the system's certificate authorities
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
		principal := ""
		if options.Auth.Value == "kerberos" {
			principal = options.Principal.Value
		}
		if err := r.reachHive(&c, options.URI.Value, principal, options.TLS, "catalog.hive."); err != nil {
			return c, err
		}
	}
	return c, nil
}

// reachHive says how a Hive Metastore is reached: its principal where it asks for Kerberos, how
// its certificate is checked where it speaks TLS. key is where the job file has tls.
func (r *resolved) reachHive(c *table.CatalogConfig, uri, principal string, t *hive.TLS, key string) error {
	c.Hive = uri
	if t != nil {
		var err error
		if c.HiveTLS, err = r.within(t).Config(); err != nil {
			return withCode(exitConfig, fmt.Errorf("%s%w", key, err))
		}
	}
	if principal != "" {
		c.HiveKerberos = &table.HiveKerberos{Principal: principal,
			Login: func() (*client.Client, error) { return kerberos.Login(r.stores.hdfs.Config, os.Getenv) }}
	}
	return nil
}

// within is how a server's certificate is checked, with the path as the job file means it.
func (r *resolved) within(t *hive.TLS) *hive.TLS {
	if t == nil || t.CA == "" {
		return t
	}
	return &hive.TLS{CA: r.Resolve(t.CA), Insecure: t.Insecure}
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
		resolveHive(job.Catalog, p)
	default:
		p.add(job.Catalog.Pos, "leave catalog: out, or write {sqlite: {path: …}}, {postgres: \"postgres://…\"} or {hive: {uri: \"thrift://…\"}}", "catalog: this lake has no kind %q", job.Catalog.Kind)
	}
}

func resolveHive(catalog jobs.Adapter, p *problems) {
	var options hiveCatalog
	if err := catalog.Decode(&options); err != nil {
		p.take(catalog.Pos, err)
		return
	}
	if err := table.CheckHive(options.URI.Value); err != nil {
		p.add(catalog.At("uri"), "write {hive: {uri: \"thrift://host:9083\"}}, or several with commas between them", "catalog.hive.uri: %v", err)
	}
	principal := options.Principal
	switch options.Auth.Value {
	case "", "none":
		if principal.Given() {
			p.add(principal.Pos, "write auth: kerberos beside it", "catalog.hive.principal: the metastore is asked without Kerberos")
		}
	case "kerberos":
		if _, err := kerberos.Service(principal.Value, "host:9083"); err != nil {
			p.add(catalog.At("principal"), "write the metastore's own, hive.metastore.kerberos.principal: hive/_HOST@EXAMPLE.COM", "catalog.hive.principal: %v", err)
		}
	default:
		p.add(options.Auth.Pos, nearest(options.Auth.Value, []string{"none", "kerberos"}), "catalog.hive.auth: %q is neither none nor kerberos", options.Auth.Written)
	}
}

func (a *app) openCatalog(ctx context.Context, r *resolved) (*table.Catalog, error) {
	cfg, err := r.catalogConfig()
	if err != nil {
		return nil, err
	}
	cfg.Files, cfg.Turn = a.filesystems(r.folder, r.stores), r.turn
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
		err = withCode(exitPerson, fmt.Errorf("there is no table %s in %s; hint: %s", arg, a.searched(), nearest(arg, names)))
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

// searched names, for messages, where commands that are given no job look for tables.
func (a *app) searched() string {
	switch text := a.flags.catalog; {
	case text == "":
		return a.warehouse()
	case strings.Contains(text, "://"):
		return "the catalog of --catalog"
	default:
		return text
	}
}

// openWarehouse opens the catalog of commands that are given no job. It makes nothing.
func (a *app) openWarehouse(ctx context.Context) (*table.Catalog, error) {
	cfg, err := a.catalogOfFlags()
	if err != nil {
		return nil, err
	}
	folder, err := filepath.Abs(cfg.Warehouse)
	if err != nil {
		return nil, err
	}
	cfg.Warehouse, cfg.Files = folder, a.filesystems(folder, storeConfigs{})
	return table.OpenCatalog(ctx, cfg)
}

// catalogOfFlags is the catalog that --catalog and --warehouse say; it is there,
// or is a server's.
func (a *app) catalogOfFlags() (table.CatalogConfig, error) {
	cfg := table.CatalogConfig{Warehouse: a.warehouse()}
	file := filepath.Join(cfg.Warehouse, "catalog.db")
	switch text := a.flags.catalog; {
	case strings.Contains(text, "://") && !strings.HasPrefix(text, "file://"):
		if err := table.CheckPostgres(text); err != nil { // it does not repeat the URL
			return cfg, usageError("--catalog (LAKE_CATALOG): the URL: %w\nhint: postgres://user:password@host:5432/database, or a SQLite file", err)
		}
		cfg.Postgres = text
		if _, err := os.Stat(cfg.Warehouse); errors.Is(err, os.ErrNotExist) {
			if a.flags.warehouse != "" {
				return cfg, withCode(exitPerson, fmt.Errorf("there is no folder %s\nhint: --warehouse is the folder that the tables of the catalog were made in", a.flags.warehouse))
			}
			cfg.Warehouse = "." // the catalog says where its tables lie
		}
		return cfg, nil
	case text != "":
		cfg.SQLite, file = text, strings.TrimPrefix(text, "file://")
		if a.flags.warehouse == "" {
			cfg.Warehouse = filepath.Dir(file)
		}
		if _, err := os.Stat(file); err != nil {
			return cfg, withCode(exitPerson, fmt.Errorf("there is no catalog %s\nhint: --catalog (LAKE_CATALOG) is a SQLite file, or postgres://user:password@host:5432/database", text))
		}
		return cfg, nil
	}
	if _, err := os.Stat(file); err != nil {
		return cfg, withCode(exitPerson, fmt.Errorf("there is no warehouse in %s\nhint: say where it is with --warehouse, or which catalog with --catalog, or name a job file", cfg.Warehouse))
	}
	return cfg, nil
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
