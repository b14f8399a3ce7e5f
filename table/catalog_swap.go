package table

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	icebergsql "github.com/apache/iceberg-go/catalog/sql"
	icebergio "github.com/apache/iceberg-go/io"
	icebergtable "github.com/apache/iceberg-go/table"
)

// leanCatalog is a catalog of iceberg-go (v0.7.0) whose commits cost less. There a
// new snapshot points into what built it, which has the table's metadata of before,
// and so that of all commits of a run: here it is a copy.
type leanCatalog struct{ icebergCatalog }

// Close implements catalog.Closer.
func (c leanCatalog) Close() error {
	if closer, ok := c.icebergCatalog.(catalog.Closer); ok {
		return closer.Close()
	}
	return nil
}

// LoadTable implements icebergtable.CatalogIO. The table commits through c.
func (c leanCatalog) LoadTable(ctx context.Context, ident icebergtable.Identifier) (*icebergtable.Table, error) {
	ice, err := c.icebergCatalog.LoadTable(ctx, ident)
	if err != nil {
		return nil, err
	}
	return attach(ctx, ice, c)
}

// CreateTable implements catalog.Catalog. The table commits through c.
func (c leanCatalog) CreateTable(ctx context.Context, ident icebergtable.Identifier, schema *iceberg.Schema, opts ...catalog.CreateTableOpt) (*icebergtable.Table, error) {
	ice, err := c.icebergCatalog.CreateTable(ctx, ident, schema, opts...)
	if err != nil {
		return nil, err
	}
	return attach(ctx, ice, c)
}

// CommitTable implements icebergtable.CatalogIO.
func (c leanCatalog) CommitTable(ctx context.Context, ident icebergtable.Identifier, reqs []icebergtable.Requirement, updates []icebergtable.Update) (icebergtable.Metadata, string, error) {
	updates, err := detach(updates)
	if err != nil {
		return nil, "", err
	}
	return c.icebergCatalog.CommitTable(ctx, ident, reqs, updates)
}

// attach is the table as one that commits through another catalog.
func attach(ctx context.Context, ice *icebergtable.Table, to icebergtable.CatalogIO) (*icebergtable.Table, error) {
	files, err := ice.FS(ctx)
	if err != nil {
		return nil, err
	}
	open := func(context.Context) (icebergio.IO, error) { return files, nil }
	return icebergtable.New(ice.Identifier(), ice.Metadata(), ice.MetadataLocation(), open, to), nil
}

// detach copies new snapshots by their JSON, as a REST catalog gets them.
func detach(updates []icebergtable.Update) ([]icebergtable.Update, error) {
	out := make([]icebergtable.Update, len(updates))
	for i, update := range updates {
		out[i] = update
		if update.Action() != icebergtable.UpdateAddSnapshot {
			continue
		}
		text, err := json.Marshal([]icebergtable.Update{update})
		if err != nil {
			return nil, fmt.Errorf("write the snapshot: %w", err)
		}
		var copied icebergtable.Updates
		if err := json.Unmarshal(text, &copied); err != nil {
			return nil, fmt.Errorf("read the snapshot back: %w", err)
		}
		out[i] = copied[0]
	}
	return out, nil
}

// sqlCatalog is a catalog in a database. Iceberg-go's reads and decodes all of a
// table's metadata once more at each commit: here the version that was last read or
// written is used again where the database still names it.
type sqlCatalog struct {
	leanCatalog
	db        *sql.DB
	props     iceberg.Properties // for opening files
	parameter func(n int) string
	find      string // the metadata's location by catalog, namespace and name
	swap      string // it for another: new, old, catalog, namespace, name, old

	mu    sync.Mutex
	heads map[string]head // by name: one version of each table that was used
}

// head is a version of a table's metadata.
type head struct {
	metadata icebergtable.Metadata
	location string
	files    icebergio.IO
}

// newSQLCatalog wraps iceberg-go's catalog in db; parameter is how the database
// writes the n-th one, from 1.
func newSQLCatalog(ice icebergCatalog, db *sql.DB, props iceberg.Properties, parameter func(n int) string) *sqlCatalog {
	fill := func(text string) string {
		for n := 1; strings.Contains(text, "@"); n++ {
			text = strings.Replace(text, "@", parameter(n), 1)
		}
		return text
	}
	const key = " WHERE catalog_name = @ AND table_namespace = @ AND table_name = @"
	return &sqlCatalog{
		leanCatalog: leanCatalog{ice}, db: db, props: props, parameter: parameter, heads: map[string]head{},
		find: fill("SELECT metadata_location FROM iceberg_tables" + key),
		swap: fill("UPDATE iceberg_tables SET metadata_location = @, previous_metadata_location = @" + key + " AND metadata_location = @"),
	}
}

func questionMark(int) string { return "?" }

func dollar(n int) string { return "$" + strconv.Itoa(n) }

// current is the version that the database names; false where it has to be read, or
// is not where this looks for it.
func (c *sqlCatalog) current(ctx context.Context, ident icebergtable.Identifier) (head, bool, error) {
	name := strings.Join(ident, ".")
	c.mu.Lock()
	known, ok := c.heads[name]
	c.mu.Unlock()
	if !ok {
		return head{}, false, nil
	}
	location, err := c.location(ctx, ident)
	return known, err == nil && location == known.location, err
}

func (c *sqlCatalog) keep(ident icebergtable.Identifier, h head) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heads[strings.Join(ident, ".")] = h
}

// LoadTable implements icebergtable.CatalogIO.
func (c *sqlCatalog) LoadTable(ctx context.Context, ident icebergtable.Identifier) (*icebergtable.Table, error) {
	h, ok, err := c.current(ctx, ident)
	if err != nil {
		return nil, err
	}
	if !ok {
		ice, err := c.icebergCatalog.LoadTable(ctx, ident)
		if err != nil {
			return nil, err
		}
		files, err := ice.FS(ctx)
		if err != nil {
			return nil, err
		}
		h = head{ice.Metadata(), ice.MetadataLocation(), files}
		c.keep(ident, h)
	}
	open := func(context.Context) (icebergio.IO, error) { return h.files, nil }
	return icebergtable.New(ident, h.metadata, h.location, open, c), nil
}

// CreateTable implements catalog.Catalog. Iceberg-go's removes the metadata where the
// insert fails, also where that took place and only its reply was lost: nobody
// could read the table any more. Here the row decides; metadata that no row names is
// left to nobody's harm.
func (c *sqlCatalog) CreateTable(ctx context.Context, ident icebergtable.Identifier, schema *iceberg.Schema, opts ...catalog.CreateTableOpt) (*icebergtable.Table, error) {
	var cfg catalog.CreateTableCfg
	for _, opt := range opts {
		opt(&cfg)
	}
	if compressed(cfg.Properties) {
		if _, err := c.icebergCatalog.CreateTable(ctx, ident, schema, opts...); err != nil {
			return nil, err
		}
		return c.LoadTable(ctx, ident)
	}
	metadata, err := icebergtable.NewMetadata(schema, cfg.PartitionSpec, cfg.SortOrder, cfg.Location, cfg.Properties)
	if err != nil {
		return nil, err
	}
	provider, err := icebergtable.LoadLocationProvider(cfg.Location, cfg.Properties)
	if err != nil {
		return nil, err
	}
	location, err := provider.NewTableMetadataFileLocation(0)
	if err != nil {
		return nil, err
	}
	files, err := icebergio.LoadFS(ctx, c.props, location)
	if err != nil {
		return nil, err
	}
	writes, ok := files.(icebergio.WriteFileIO)
	if !ok {
		return nil, fmt.Errorf("%s cannot be written to", cfg.Location)
	}
	if err := writeMetadata(writes, location, metadata); err != nil {
		return nil, fmt.Errorf("write the metadata: %w", err)
	}
	if err := c.insert(ctx, ident, location); err != nil {
		named, found := c.location(ctx, ident)
		switch {
		case found != nil || named == "": // it may yet be there: it is looked for later
			return nil, err
		case named != location:
			return nil, fmt.Errorf("%w: %s", catalog.ErrTableAlreadyExists, strings.Join(ident, "."))
		}
	}
	return c.LoadTable(ctx, ident)
}

// location is the metadata that the database names, "" where there is no such table.
func (c *sqlCatalog) location(ctx context.Context, ident icebergtable.Identifier) (string, error) {
	var location sql.NullString
	namespace := strings.Join(catalog.NamespaceFromIdent(ident), ".")
	err := c.db.QueryRowContext(ctx, c.find, catalogName, namespace, catalog.TableNameFromIdent(ident)).Scan(&location)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("look for the table: %w", err)
	}
	return location.String, nil
}

// insert makes a table's row. A name that is taken is an error of its key.
func (c *sqlCatalog) insert(ctx context.Context, ident icebergtable.Identifier, location string) error {
	columns, values := "catalog_name, table_namespace, table_name, metadata_location", []any{catalogName,
		strings.Join(catalog.NamespaceFromIdent(ident), "."), catalog.TableNameFromIdent(ident), location}
	if _, err := c.db.ExecContext(ctx, "SELECT iceberg_type FROM iceberg_tables WHERE 1 = 0"); err == nil { // an older layout has none
		columns, values = columns+", iceberg_type", append(values, icebergsql.TableType)
	}
	parameters := make([]string, len(values))
	for i := range parameters {
		parameters[i] = c.parameter(i + 1)
	}
	_, err := c.inTransaction(ctx, "INSERT INTO iceberg_tables ("+columns+") VALUES ("+strings.Join(parameters, ", ")+")", values...)
	if err != nil {
		return fmt.Errorf("name the table: %w", err)
	}
	return nil
}

// inTransaction changes rows and returns their number.
func (c *sqlCatalog) inTransaction(ctx context.Context, statement string, values ...any) (int64, error) {
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	done, err := tx.ExecContext(ctx, statement, values...)
	if err != nil {
		return 0, errors.Join(err, tx.Rollback())
	}
	rows, err := done.RowsAffected()
	if err != nil {
		return 0, errors.Join(err, tx.Rollback())
	}
	return rows, tx.Commit()
}

// CommitTable implements icebergtable.CatalogIO: the updates become a new version
// of what the database names now, which is then swapped for it in one statement.
// After an error the commit may have taken place, unless it is ErrCommitFailed.
func (c *sqlCatalog) CommitTable(ctx context.Context, ident icebergtable.Identifier, reqs []icebergtable.Requirement, updates []icebergtable.Update) (icebergtable.Metadata, string, error) {
	h, ok, err := c.current(ctx, ident)
	if err != nil {
		return nil, "", err
	}
	if !ok {
		return c.leanCatalog.CommitTable(ctx, ident, reqs, updates)
	}
	for _, each := range reqs {
		if err := each.Validate(h.metadata); err != nil {
			return nil, "", err
		}
	}
	if updates, err = detach(updates); err != nil {
		return nil, "", err
	}
	metadata, err := icebergtable.UpdateTableMetadata(h.metadata, updates, h.location)
	if err != nil {
		return nil, "", err
	}
	location, ok, err := nextLocation(metadata, h.location)
	files, writes := h.files.(icebergio.WriteFileIO)
	if err != nil {
		return nil, "", err
	}
	if !ok || !writes {
		return c.leanCatalog.CommitTable(ctx, ident, reqs, updates)
	}
	if err := writeMetadata(files, location, metadata); err != nil {
		return nil, "", fmt.Errorf("write the metadata: %w", err)
	}
	namespace, name := strings.Join(catalog.NamespaceFromIdent(ident), "."), catalog.TableNameFromIdent(ident)
	rows, err := c.inTransaction(ctx, c.swap, location, h.location, catalogName, namespace, name, h.location)
	switch {
	case err != nil:
		return nil, "", fmt.Errorf("swap the metadata: %w", err)
	case rows == 0:
		return nil, "", fmt.Errorf("%w: another process has swapped the metadata of %s", icebergtable.ErrCommitFailed, strings.Join(ident, "."))
	}
	c.keep(ident, head{metadata, location, h.files})
	return metadata, location, nil
}

// nextLocation is where the next version of the metadata goes; false where its name
// or its form are not those that lake's own tables have.
func nextLocation(metadata icebergtable.Metadata, before string) (string, bool, error) {
	version, ok := versionOf(before)
	props := metadata.Properties()
	if !ok || compressed(props) {
		return "", false, nil
	}
	provider, err := icebergtable.LoadLocationProvider(metadata.Location(), props)
	if err != nil {
		return "", false, err
	}
	location, err := provider.NewTableMetadataFileLocation(version + 1)
	return location, true, err
}

// compressed tells metadata that is not plain JSON, which lake's own tables have.
func compressed(props iceberg.Properties) bool {
	return props.Get(icebergtable.MetadataCompressionKey, icebergtable.MetadataCompressionDefault) != icebergtable.MetadataCompressionCodecNone
}

// versionOf is the number that the metadata's name begins with; false where it has none.
func versionOf(location string) (int, bool) {
	number, _, _ := strings.Cut(path.Base(location), "-")
	version, err := strconv.Atoi(number)
	return version, err == nil
}

func writeMetadata(files icebergio.WriteFileIO, location string, metadata icebergtable.Metadata) error {
	text, err := json.Marshal(metadata)
	if err != nil {
		return err
	}
	w, err := files.Create(location)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return errors.Join(err, w.Close())
}
