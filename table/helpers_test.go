package table

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/apache/iceberg-go"
	icebergio "github.com/apache/iceberg-go/io"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"lake/schemas"
	"lake/services/servicetest"
	ours "lake/table/parquet"
)

// servers are started by the first test that needs one.
var servers servicetest.Shared

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(servers.Around(m))
}

// warehouse is an empty folder and catalog; what opens it is a process of its own.
type warehouse struct {
	config CatalogConfig
	empty  func(*testing.T) CatalogConfig // of the same kind
}

// another is one more of the kind, for a test within the test.
func (w warehouse) another(t *testing.T) warehouse { return warehouse{w.empty(t), w.empty} }

// onEachCatalog runs tests on each kind of catalog, each on an empty one.
func onEachCatalog(t *testing.T, tests map[string]func(*testing.T, warehouse)) {
	kinds := map[string]func(t *testing.T) CatalogConfig{
		"sqlite": func(t *testing.T) CatalogConfig { return CatalogConfig{Warehouse: t.TempDir()} },
		"postgres": func(t *testing.T) CatalogConfig {
			return CatalogConfig{Warehouse: t.TempDir(), Postgres: newDatabase(t)}
		},
		"hive": func(t *testing.T) CatalogConfig {
			dropTables(t, servers.Metastore(t).URI())
			return CatalogConfig{Warehouse: t.TempDir(), Hive: servers.Metastore(t).URI()}
		},
	}
	for kind, config := range kinds {
		t.Run(kind, func(t *testing.T) {
			switch kind { // skips once
			case "postgres":
				servers.Postgres(t)
			case "hive":
				servers.Metastore(t)
			}
			for _, name := range slices.Sorted(maps.Keys(tests)) {
				t.Run(name, func(t *testing.T) { tests[name](t, warehouse{config(t), config}) })
			}
		})
	}
}

// newDatabase is the URL of an empty PostgreSQL database.
func newDatabase(t *testing.T) string {
	t.Helper()
	address, err := servers.Postgres(t).CreateDatabase(t.Context(), uuid.NewString())
	require.NoError(t, err)
	return address
}

// dropTables empties a metastore: it is one, and its tables have one name each.
func dropTables(t *testing.T, uri string) {
	t.Helper()
	client, ice, err := openHive(t.Context(), CatalogConfig{Hive: uri}, iceberg.Properties{"warehouse": "file:///none"})
	require.NoError(t, err)
	defer client.Close()
	namespaces, err := ice.ListNamespaces(t.Context(), nil)
	require.NoError(t, err)
	for _, ns := range namespaces {
		names, err := client.GetTables(t.Context(), ns[0], "*")
		require.NoError(t, err)
		for _, name := range names {
			require.NoError(t, client.DropTable(t.Context(), ns[0], name, false))
		}
	}
}

func (w warehouse) open(t *testing.T) *Catalog {
	t.Helper()
	c, err := OpenCatalog(t.Context(), w.config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func (w warehouse) events(t *testing.T) (*Catalog, *Table) {
	t.Helper()
	c := w.open(t)
	tbl, err := c.Create(t.Context(), "shop.events", Definition{Schema: eventSchema, PartitionBy: []Partition{{Source: "dt", Transform: "identity", Name: "dt"}}})
	require.NoError(t, err)
	return c, tbl
}

func column(name, kind string, required bool) schemas.Field {
	t, err := schemas.ParseType(kind)
	if err != nil {
		panic(err)
	}
	return schemas.Field{Name: name, Type: t, Required: required}
}

var eventSchema = schemas.Schema{Fields: []schemas.Field{
	column("id", "int64", true), column("text", "string", false), column("dt", "date", true),
}}

func openTest(t *testing.T, root string) *Catalog {
	t.Helper()
	return warehouse{config: CatalogConfig{Warehouse: root}}.open(t)
}

func newEvents(t *testing.T) (*Catalog, *Table) {
	t.Helper()
	return warehouse{config: CatalogConfig{Warehouse: t.TempDir()}}.events(t)
}

func load(t *testing.T, c *Catalog, name string) *Table {
	t.Helper()
	tbl, err := c.Load(t.Context(), name)
	require.NoError(t, err)
	return tbl
}

// parquetWriter writes a batch as a file's bytes.
type parquetWriter func(w io.Writer, batch arrow.RecordBatch) error

// byArrow is arrow-go's writer: its reader gives back all memory of such files.
// Of delta-packed pages it does not (64 bytes each, which Go's collector takes).
func byArrow(w io.Writer, batch arrow.RecordBatch) error {
	pw, err := pqarrow.NewFileWriter(batch.Schema(), plainWriter{w}, parquet.NewWriterProperties(), pqarrow.DefaultWriterProps())
	if err != nil {
		return err
	}
	return errors.Join(pw.Write(batch), pw.Close())
}

func byLake(w io.Writer, batch arrow.RecordBatch) error {
	pw, err := ours.NewWriter(w, batch.Schema(), ours.Options{})
	if err != nil {
		return err
	}
	err = pw.Append(batch, nil)
	_, closing := pw.Close()
	return errors.Join(err, closing)
}

func writeBatch(t *testing.T, tbl *Table, write parquetWriter, batch arrow.RecordBatch, folder string, partition map[int]any, logical map[int]string) iceberg.DataFile {
	t.Helper()
	uri := tbl.Location() + "/data/" + folder + uuid.NewString() + ".parquet"
	w, err := tbl.FS().Create(t.Context(), uri)
	require.NoError(t, err)
	require.NoError(t, write(w, batch))
	require.NoError(t, w.Close())
	info, err := tbl.FS().Stat(t.Context(), uri)
	require.NoError(t, err)
	b, err := iceberg.NewDataFileBuilder(tbl.Spec(), iceberg.EntryContentData, uri, iceberg.ParquetFile, partition, logical, nil, batch.NumRows(), info.Bytes)
	require.NoError(t, err)
	return b.Build()
}

// plainWriter hides Close: the file outlives pqarrow's writer.
type plainWriter struct {
	w interface{ Write([]byte) (int, error) }
}

func (p plainWriter) Write(b []byte) (int, error) { return p.w.Write(b) }

// writeEvents writes a file of events of one date: ids, and "t<id>".
func writeEvents(t *testing.T, tbl *Table, day int32, ids ...int64) iceberg.DataFile {
	t.Helper()
	b := array.NewRecordBuilder(memory.DefaultAllocator, tbl.Schema().Arrow())
	defer b.Release()
	for _, id := range ids {
		b.Field(0).(*array.Int64Builder).Append(id)
		b.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("t%d", id))
		b.Field(2).(*array.Date32Builder).Append(arrow.Date32(day))
		for i := 3; i < len(b.Fields()); i++ {
			b.Field(i).AppendNull()
		}
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	folder := "dt=" + arrow.Date32(day).FormattedString() + "/"
	return writeBatch(t, tbl, byArrow, batch, folder, map[int]any{1000: iceberg.Date(day)}, map[int]string{1000: "date"})
}

// ids scans a table's ids with a checked allocator.
func ids(t *testing.T, tbl *Table, o ScanOptions) []int64 {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	o.Columns = []string{"id"}
	var out []int64
	for batch, err := range tbl.Scan(compute.WithAllocator(t.Context(), mem), o) {
		require.NoError(t, err)
		out = append(out, batch.Column(0).(*array.Int64).Int64Values()...)
		batch.Release()
	}
	return out
}

// owner is a pipeline's process as the table sees it.
type owner struct {
	t      *testing.T
	table  *Table
	record Record
}

// oneStep is a commit that moves one shard.
func oneStep(record, base Record, files ...iceberg.DataFile) Commit {
	return Commit{Steps: []Step{{Record: record, Base: base}}, Files: files}
}

// takeOver reads the record through its own handle and raises the epoch.
func takeOver(t *testing.T, c *Catalog, name string) *owner {
	t.Helper()
	o := &owner{t: t, table: load(t, c, name)}
	base, _, err := o.table.Record("p", "all")
	require.NoError(t, err)
	require.NoError(t, o.table.CheckLineage("p", "all"))
	next := base
	next.Pipeline, next.Shard, next.Epoch, next.CommitID = "p", "all", base.Epoch+1, uuid.NewString()
	records, err := o.table.Commit(t.Context(), oneStep(next, base))
	require.NoError(t, err)
	o.record = records[0]
	return o
}

func (o *owner) next(files ...iceberg.DataFile) Commit {
	next := o.record
	next.Seq, next.CommitID, next.Blob = o.record.Seq+1, uuid.NewString(), fmt.Sprintf("%020d.ckpt", o.record.Seq+1)
	return oneStep(next, o.record, files...)
}

func (o *owner) commit(ctx context.Context, files ...iceberg.DataFile) error {
	records, err := o.table.Commit(ctx, o.next(files...))
	if err == nil {
		o.record = records[0]
	}
	return err
}

func (o *owner) mustCommit(files ...iceberg.DataFile) {
	o.t.Helper()
	require.NoError(o.t, o.commit(o.t.Context(), files...))
}

// parquetFiles are the names of the data files on disk.
func parquetFiles(t *testing.T, tbl *Table) []string {
	t.Helper()
	folder, err := tbl.Folder()
	require.NoError(t, err)
	names, err := filepath.Glob(filepath.Join(folder, "data", "*", "*.parquet"))
	require.NoError(t, err)
	return names
}

type (
	dataFile  = iceberg.DataFile
	icebergIO = icebergio.IO
)

func sorted(in []int64) []int64 { return slices.Sorted(slices.Values(in)) }

func join(parts []string) string { return strings.Join(parts, ",") }

func withFields(fields ...schemas.Field) schemas.Schema { return schemas.Schema{Fields: fields} }

func newRows(tbl *Table) *array.RecordBuilder {
	return array.NewRecordBuilder(memory.DefaultAllocator, tbl.Schema().Arrow())
}

func appendID(b *array.RecordBuilder, id int64) { b.Field(0).(*array.Int64Builder).Append(id) }

func appendText(b *array.RecordBuilder, at int, text string) {
	b.Field(at).(*array.StringBuilder).Append(text)
}

func escape(value string) string { return url.QueryEscape(value) }

// writeGroups writes a file of row groups of so many rows.
func writeGroups(t *testing.T, tbl *Table, batch arrow.RecordBatch, rows int64) iceberg.DataFile {
	t.Helper()
	uri := tbl.Location() + "/data/" + uuid.NewString() + ".parquet"
	w, err := tbl.FS().Create(t.Context(), uri)
	require.NoError(t, err)
	pw, err := pqarrow.NewFileWriter(batch.Schema(), plainWriter{w}, parquet.NewWriterProperties(parquet.WithMaxRowGroupLength(rows)), pqarrow.DefaultWriterProps())
	require.NoError(t, err)
	require.NoError(t, pw.Write(batch))
	require.NoError(t, pw.Close())
	require.NoError(t, w.Close())
	f, err := tbl.FS().Open(t.Context(), uri)
	require.NoError(t, err)
	r, err := file.NewParquetReader(f)
	require.NoError(t, err)
	var offsets []int64
	for _, g := range r.MetaData().RowGroups {
		offsets = append(offsets, g.Columns[0].MetaData.DataPageOffset)
	}
	require.Greater(t, len(offsets), 1)
	require.NoError(t, r.Close())
	b, err := iceberg.NewDataFileBuilder(tbl.Spec(), iceberg.EntryContentData, uri, iceberg.ParquetFile, nil, nil, nil, batch.NumRows(), f.Size())
	require.NoError(t, err)
	return b.SplitOffsets(offsets).Build()
}
