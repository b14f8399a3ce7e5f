package table

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/apache/iceberg-go/catalog/hive"
	hm "github.com/beltran/gohive/hive_metastore"
)

// ErrRegisteredOtherwise says that a name of a metastore is not the Iceberg table, or not
// at the metadata, that was expected.
var ErrRegisteredOtherwise = errors.New("the Hive Metastore has something else under this name")

// Registration is a table as a Hive Metastore tells other engines of it: it is read by a
// metadata file of Iceberg, whichever catalog that one is of.
type Registration struct {
	Metadata   string // URI of the file
	Location   string // of the table's folder
	Columns    []RegisteredColumn
	Properties map[string]string
}

// RegisteredColumn is a column, with its type as Hive writes it.
type RegisteredColumn struct{ Name, Type, Doc string }

// Registry registers tables in a Hive Metastore. Many goroutines may use it.
type Registry struct{ client *hiveClient }

// OpenRegistry is the registry of cfg.Hive. It does not connect. The caller closes it.
func OpenRegistry(cfg CatalogConfig) (*Registry, error) {
	client, err := newHiveClient(cfg)
	if err != nil {
		return nil, fmt.Errorf("open the Hive Metastore: %w", err)
	}
	return &Registry{client}, nil
}

// Close ends its connections.
func (r *Registry) Close() error { return r.client.Close() }

// Get is what the metastore has under a name, database.table; found is false where it has
// nothing. It fails with ErrRegisteredOtherwise where that is no Iceberg table.
func (r *Registry) Get(ctx context.Context, name string) (reg Registration, found bool, err error) {
	t, err := r.get(ctx, name)
	if err != nil || t == nil {
		return reg, false, err
	}
	reg.Metadata, reg.Properties = t.Parameters[hive.MetadataLocationKey], t.Parameters
	if !strings.EqualFold(t.Parameters[hive.TableTypeKey], hive.TableTypeIceberg) || reg.Metadata == "" {
		return reg, false, fmt.Errorf("table %s: %w: it is no Iceberg table", name, ErrRegisteredOtherwise)
	}
	if t.Sd != nil {
		reg.Location = t.Sd.Location
		for _, c := range t.Sd.Cols {
			reg.Columns = append(reg.Columns, RegisteredColumn{Name: c.Name, Type: c.Type, Doc: c.Comment})
		}
	}
	return reg, true, nil
}

// get is nil where there is none.
func (r *Registry) get(ctx context.Context, name string) (*hm.Table, error) {
	database, table, _ := strings.Cut(name, ".")
	t, err := r.client.GetTable(ctx, database, table)
	var none *hm.NoSuchObjectException
	if errors.As(err, &none) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for table %s: %w", name, err)
	}
	return t, nil
}

// Put registers a table, where before is "", or moves one that is at the metadata file
// before to another: in one call of the metastore, which compares. Where it is
// elsewhere by now that fails with ErrRegisteredOtherwise.
func (r *Registry) Put(ctx context.Context, name string, reg Registration, before string) error {
	database, table, _ := strings.Cut(name, ".")
	if before == "" {
		return r.create(ctx, database, table, reg)
	}
	t, err := r.get(ctx, name)
	if err != nil {
		return err
	}
	if t == nil || t.Parameters[hive.MetadataLocationKey] != before {
		return fmt.Errorf("move table %s: %w", name, ErrRegisteredOtherwise)
	}
	parameters := maps.Clone(t.Parameters)
	maps.Copy(parameters, reg.parameters())
	parameters[hive.PreviousMetadataLocationKey] = before
	t.Parameters = parameters
	if t.Sd == nil {
		t.Sd = &hm.StorageDescriptor{SerdeInfo: &hm.SerDeInfo{}}
	}
	t.Sd.Cols, t.Sd.Location = reg.columns(), reg.Location
	err = r.client.swap(ctx, database, table, t, before)
	var refused *hm.InvalidOperationException
	switch {
	case err == nil:
		return nil
	case isStale(err):
		return fmt.Errorf("move table %s: %w: %w", name, ErrRegisteredOtherwise, err)
	case errors.As(err, &refused):
		return fmt.Errorf("move table %s: the Hive Metastore says: %s", name, strings.TrimSpace(refused.Message))
	default:
		return fmt.Errorf("move table %s: %w", name, err)
	}
}

func (r *Registry) create(ctx context.Context, database, table string, reg Registration) error {
	err := r.client.CreateDatabase(ctx, &hm.Database{Name: database})
	var there *hm.AlreadyExistsException
	if err != nil && !errors.As(err, &there) {
		return fmt.Errorf("make database %s: %w", database, err)
	}
	if err := r.client.proveSwap(ctx, database); err != nil {
		return err
	}
	err = r.client.CreateTable(ctx, &hm.Table{DbName: database, TableName: table, TableType: hive.TableTypeExternalTable, Parameters: reg.parameters(),
		Sd: &hm.StorageDescriptor{Cols: reg.columns(), Location: reg.Location,
			InputFormat: "org.apache.iceberg.mr.hive.HiveIcebergInputFormat", OutputFormat: "org.apache.iceberg.mr.hive.HiveIcebergOutputFormat",
			SerdeInfo: &hm.SerDeInfo{SerializationLib: "org.apache.iceberg.mr.hive.HiveIcebergSerDe"}}})
	if errors.As(err, &there) {
		return fmt.Errorf("register table %s.%s: %w", database, table, ErrRegisteredOtherwise)
	}
	if err != nil {
		return fmt.Errorf("register table %s.%s: %w", database, table, err)
	}
	return nil
}

// parameters are those by which Iceberg's engines know a table. Dropping it there
// deletes no file.
func (reg Registration) parameters() map[string]string {
	p := maps.Clone(reg.Properties)
	if p == nil {
		p = map[string]string{}
	}
	p[hive.TableTypeKey], p[hive.MetadataLocationKey] = hive.TableTypeIceberg, reg.Metadata
	p[hive.ExternalKey], p[hive.StorageHandlerKey] = "TRUE", hive.IcebergStorageHandler
	p[hive.ExternalTablePurgeKey] = "false"
	return p
}

func (reg Registration) columns() []*hm.FieldSchema {
	out := make([]*hm.FieldSchema, len(reg.Columns))
	for i, c := range reg.Columns {
		out[i] = &hm.FieldSchema{Name: c.Name, Type: c.Type, Comment: c.Doc}
	}
	return out
}
