// Package table is a table: an Apache Iceberg table that is its own checkpoint.
// It opens and makes tables, commits data together with a pipeline's record,
// reads snapshots and maintains them. Iceberg-go keeps the metadata; the
// protocol of the commits is ours.
package table

import (
	"context"
	"crypto/tls"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	icebergtable "github.com/apache/iceberg-go/table"

	"lake/schemas"
	"lake/storage"
	"lake/table/manifest"
)

// ErrNoTable says that the catalog has no table of this name.
var ErrNoTable = errors.New("there is no such table")

// defaultNamespace holds the tables whose names have no dot.
const defaultNamespace = "default"

// CatalogConfig says where tables lie.
type CatalogConfig struct {
	// Warehouse is the folder of tables that name no location: a path or a URI. A
	// remote one needs a catalog that lies elsewhere.
	Warehouse string
	SQLite    string // the catalog's database; "" is catalog.db in the warehouse
	// Postgres is the URL of the catalog's database, postgres://user:password@host/database,
	// for several hosts; "" is SQLite. It is a secret: no error shows it.
	Postgres string
	// Hive is the Hive Metastore's URI, thrift://host:9083, or several with commas
	// between them, for several hosts and other engines; "" is SQLite.
	Hive string
	// HiveKerberos is how the metastore is told who asks; nil: it believes anybody.
	HiveKerberos *HiveKerberos
	// HiveTLS is how the metastore's certificate is checked; nil: without TLS.
	HiveTLS *tls.Config
	// Files has the files of tables, of those outside of the warehouse, too; nil is
	// the local filesystem. It is the catalog's, which closes it, also where it
	// cannot be opened.
	Files storage.FS
	// Turn is shared with other catalogs of this process that commit to the same
	// tables; nil: there are none.
	Turn *Turn
}

// Catalog knows tables by name. Many goroutines may use it.
type Catalog struct {
	ice     icebergCatalog
	db      *sql.DB     // nil where the catalog is no database of lake's
	hive    *hiveClient // nil where it is no Hive Metastore
	root    string      // the warehouse's URI
	fs      storage.FS
	unmount func() // from iceberg-go
	turn    *Turn

	manifests manifest.Reader
}

// icebergCatalog is what of iceberg-go's catalogs is used here.
type icebergCatalog interface {
	icebergtable.CatalogIO
	catalog.Catalog
}

// OpenCatalog opens a catalog, and makes its folder and database where they
// are missing. The caller closes it.
func OpenCatalog(ctx context.Context, cfg CatalogConfig) (_ *Catalog, err error) {
	c := &Catalog{fs: cfg.Files, unmount: func() {}, turn: cfg.Turn}
	if c.turn == nil {
		c.turn = NewTurn()
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.closeFiles())
		}
	}()
	folder := "" // on disk
	if storage.IsRemote(cfg.Warehouse) {
		if c.root, err = remoteFolder(cfg.Warehouse); err != nil {
			return nil, fmt.Errorf("open warehouse: %w", err)
		}
	} else {
		if folder, err = folderOf(cfg.Warehouse); err != nil {
			return nil, fmt.Errorf("open warehouse: %w", err)
		}
		if err := storage.MakeFolder(folder); err != nil {
			return nil, fmt.Errorf("open warehouse %s: %w", folder, err)
		}
		c.root = storage.LocalURI(folder)
	}
	if c.fs == nil {
		c.fs = storage.Local{Root: folder}
	}
	mount, unmount := storage.Mount(c.fs)
	c.unmount = unmount
	props := iceberg.Properties{"warehouse": c.root, storage.MountProperty: mount}
	if cfg.Postgres != "" {
		c.db, c.ice, err = openPostgres(ctx, cfg.Postgres, props)
		if err != nil {
			return nil, err
		}
		return c, nil
	}
	if cfg.Hive != "" {
		if c.hive, c.ice, err = openHive(ctx, cfg, props); err != nil {
			return nil, err
		}
		return c, nil
	}
	file := cfg.SQLite
	switch {
	case file == "" && folder == "":
		return nil, fmt.Errorf("open catalog: SQLite cannot lie in %s: name a catalog of its own", c.root)
	case file == "":
		file = filepath.Join(folder, "catalog.db")
	}
	if file, err = folderOf(file); err != nil {
		return nil, fmt.Errorf("open catalog: %w", err)
	}
	if err := storage.MakeFolder(filepath.Dir(file)); err != nil {
		return nil, fmt.Errorf("open catalog %s: %w", file, err)
	}
	if c.db, c.ice, err = openSQLite(ctx, file, props); err != nil {
		return nil, fmt.Errorf("open catalog %s: %w", file, err)
	}
	return c, nil
}

// Close closes the catalog. Its tables are not used afterwards.
func (c *Catalog) Close() error {
	var errs []error
	if closer, ok := c.ice.(catalog.Closer); ok {
		errs = append(errs, closer.Close())
	}
	if c.db != nil {
		errs = append(errs, c.db.Close())
	}
	errs = append(errs, c.closeFiles())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close the catalog of %s: %w", c.root, err)
	}
	return nil
}

func (c *Catalog) closeFiles() error {
	c.unmount()
	if files, ok := c.fs.(io.Closer); ok {
		return files.Close()
	}
	return nil
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_][A-Za-z0-9_-]*)*$`)

// hiveName is what a Hive Metastore keeps as it is written.
var hiveName = regexp.MustCompile(`^[a-z0-9_]+\.[a-z0-9_]+$`)

// identifier reads "namespace.table" or "table".
func identifier(name string) (icebergtable.Identifier, error) {
	if !nameForm.MatchString(name) {
		return nil, fmt.Errorf("table name %q: write namespace.table, of letters, digits, _ and -", name)
	}
	parts := strings.Split(name, ".")
	if len(parts) == 1 {
		parts = []string{defaultNamespace, name}
	}
	return parts, nil
}

func nameOf(ident icebergtable.Identifier) string {
	if len(ident) == 2 && ident[0] == defaultNamespace {
		return ident[1]
	}
	return strings.Join(ident, ".")
}

// List names all tables, sorted.
func (c *Catalog) List(ctx context.Context) ([]string, error) {
	namespaces, err := c.ice.ListNamespaces(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("list namespaces of %s: %w", c.root, err)
	}
	var names []string
	for _, ns := range namespaces {
		for ident, err := range c.ice.ListTables(ctx, ns) {
			if err != nil {
				return nil, fmt.Errorf("list tables of %s: %w", strings.Join(ns, "."), err)
			}
			names = append(names, nameOf(ident))
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Load opens a table as it is now; ErrNoTable where there is none.
func (c *Catalog) Load(ctx context.Context, name string) (*Table, error) {
	ident, err := identifier(name)
	if err != nil {
		return nil, err
	}
	ice, err := c.ice.LoadTable(ctx, ident)
	if errors.Is(err, catalog.ErrNoSuchTable) || errors.Is(err, catalog.ErrNoSuchNamespace) {
		return nil, fmt.Errorf("load table %s: %w", name, ErrNoTable)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("load table %s: %w; hint: the catalog has the table there: was its folder moved? Put it back, or a symbolic link to where it is now", name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("load table %s: %w", name, err)
	}
	return c.newTable(ice)
}

// Definition is a table to be made.
type Definition struct {
	Schema      schemas.Schema
	PartitionBy []Partition
	Location    string // folder or URI; "" is <warehouse>/<namespace>/<table>
	Properties  map[string]string
}

// Create makes a table, and its namespace where that is missing.
func (c *Catalog) Create(ctx context.Context, name string, def Definition) (*Table, error) {
	t, err := c.create(ctx, name, def)
	if err != nil {
		return nil, fmt.Errorf("create table %s: %w", name, err)
	}
	return t, nil
}

func (c *Catalog) create(ctx context.Context, name string, def Definition) (*Table, error) {
	ident, err := identifier(name)
	if err != nil {
		return nil, err
	}
	if c.hive != nil && (len(ident) != 2 || !hiveName.MatchString(ident[0]+"."+ident[1])) {
		return nil, fmt.Errorf("table name %q: the Hive Metastore takes database.table, of lower-case letters, digits and _", name)
	}
	location, err := c.location(ident, def.Location)
	if err != nil {
		return nil, err
	}
	if err := c.checkLocation(ctx, ident, location); err != nil {
		return nil, err
	}
	if len(def.Schema.Fields) == 0 {
		return nil, errors.New("it has no columns")
	}
	schema, err := iceberg.AssignFreshSchemaIDs(def.Schema.Iceberg(), nil)
	if err != nil {
		return nil, fmt.Errorf("assign field ids: %w", err)
	}
	spec, err := newSpec(schema, def.PartitionBy)
	if err != nil {
		return nil, err
	}
	props, err := newProperties(def, schema)
	if err != nil {
		return nil, err
	}
	err = c.ice.CreateNamespace(ctx, ident[:len(ident)-1], nil)
	if err != nil && !errors.Is(err, catalog.ErrNamespaceAlreadyExists) {
		return nil, fmt.Errorf("create namespace %s: %w", strings.Join(ident[:len(ident)-1], "."), err)
	}
	if c.hive != nil {
		if err := c.hive.proveSwap(ctx, ident[0]); err != nil {
			return nil, err
		}
		if _, given := props[hiveLockKey]; !given {
			props[hiveLockKey] = "false"
		}
	}
	ice, err := c.ice.CreateTable(ctx, ident, schema, catalog.WithLocation(location), catalog.WithPartitionSpec(spec), catalog.WithProperties(props))
	if err != nil {
		return nil, err
	}
	return c.newTable(ice)
}

// location is the URI of a new table's folder.
func (c *Catalog) location(ident icebergtable.Identifier, wanted string) (string, error) {
	if wanted == "" {
		// Two levels below the warehouse, always: no table lies within another.
		uri, err := storage.Join(c.root, strings.Join(ident[:len(ident)-1], "."), ident[len(ident)-1])
		if err != nil || !storage.IsRemote(uri) {
			return uri, err
		}
		wanted = uri
	}
	if storage.IsRemote(wanted) {
		uri, err := remoteFolder(wanted)
		if err != nil {
			return "", fmt.Errorf("location %s: %w", wanted, err)
		}
		// With the namenode that hdfs:///folder means here: it is another one elsewhere.
		if whole, err := storage.Path(c.fs, uri); err == nil {
			uri = whole
		}
		return uri, nil
	}
	path, err := folderOf(wanted)
	if err != nil {
		return "", fmt.Errorf("location %s: %w", wanted, err)
	}
	uri := storage.LocalURI(path)
	if back, err := storage.Path(c.fs, uri); err != nil || back != path {
		return "", fmt.Errorf("location %s: engines disagree on how to write some of its characters in a URI: choose a folder of letters, digits, - and _, or one in the warehouse", wanted)
	}
	return uri, nil
}

// checkLocation refuses a folder that another table has, lies within or holds:
// cleaning up one would delete files of the other.
func (c *Catalog) checkLocation(ctx context.Context, ident icebergtable.Identifier, location string) error {
	if c.hive != nil {
		return c.hive.checkLocation(ctx, c.fs, ident[0], location)
	}
	names, err := c.List(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		other, err := c.Load(ctx, name)
		if err != nil {
			return err
		}
		if err := overlap(location, name, other.Location()); err != nil {
			return err
		}
	}
	return nil
}

// overlap refuses a new table's location that lies in or around another table's.
func overlap(location, other, theirs string) error {
	a, b := strings.TrimRight(location, "/")+"/", strings.TrimRight(theirs, "/")+"/"
	if strings.HasPrefix(a, b) || strings.HasPrefix(b, a) {
		return fmt.Errorf("location %s overlaps with that of table %s, %s", location, other, theirs)
	}
	return nil
}

// newProperties are a new table's properties; the definition's own win.
func newProperties(def Definition, schema *iceberg.Schema) (iceberg.Properties, error) {
	mapping, err := json.Marshal(schema.NameMapping())
	if err != nil {
		return nil, fmt.Errorf("map names to fields: %w", err)
	}
	props := iceberg.Properties{
		icebergtable.PropertyFormatVersion:               "2",
		icebergtable.ParquetCompressionKey:               "zstd",
		icebergtable.DefaultNameMappingKey:               string(mapping),
		icebergtable.MetadataDeleteAfterCommitEnabledKey: "true",
		icebergtable.MetadataPreviousVersionsMaxKey:      "100",
		// Commits are retried here, where the record is checked again each time.
		icebergtable.CommitNumRetriesKey: "0",
	}
	if err := setJSON(props, def.Schema, schema); err != nil {
		return nil, err
	}
	for k, v := range def.Properties {
		props[k] = v
	}
	return props, nil
}

// codecOf is what a table's files are compressed with, as any engine may set it;
// zstd where that is a codec that this writer does not have.
func codecOf(props iceberg.Properties) string {
	switch strings.ToLower(props[icebergtable.ParquetCompressionKey]) {
	case "snappy":
		return "snappy"
	case "uncompressed", "none":
		return "none"
	default:
		return "zstd"
	}
}
