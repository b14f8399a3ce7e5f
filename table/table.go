package table

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/apache/iceberg-go"
	icebergtable "github.com/apache/iceberg-go/table"

	"lake/schemas"
	"lake/storage"
)

// jsonProperty lists the ids of the json fields, which Iceberg has as string.
const jsonProperty = "lake.json-fields"

// Table is a table as it was when it was loaded, refreshed or last committed to
// through this handle. Many goroutines may use it.
type Table struct {
	catalog *Catalog
	name    string
	now     atomic.Pointer[state]
}

// state is one version of the table's metadata; it does not change.
type state struct {
	ice        *icebergtable.Table
	schema     schemas.Schema
	partitions []Partition
}

func (c *Catalog) newTable(ice *icebergtable.Table) (*Table, error) {
	t := &Table{catalog: c, name: nameOf(ice.Identifier())}
	s, err := newState(ice)
	if err != nil {
		return nil, fmt.Errorf("load table %s: %w", t.name, err)
	}
	t.now.Store(s)
	return t, nil
}

func newState(ice *icebergtable.Table) (*state, error) {
	schema, err := schemas.FromIceberg(ice.Schema())
	if err != nil {
		return nil, err
	}
	if text := ice.Properties()[jsonProperty]; text != "" {
		var ids []int
		if err := json.Unmarshal([]byte(text), &ids); err != nil {
			return nil, fmt.Errorf("read property %s: %w", jsonProperty, err)
		}
		schema = schema.WithJSON(ids)
	}
	partitions, err := partitionsOf(ice.Spec(), ice.Schema())
	if err != nil {
		return nil, err
	}
	return &state{ice: ice, schema: schema, partitions: partitions}, nil
}

// setJSON records which fields of the fresh schema are json in the declared one.
func setJSON(props iceberg.Properties, declared schemas.Schema, fresh *iceberg.Schema) error {
	typed, err := schemas.FromIceberg(fresh)
	if err != nil {
		return err
	}
	ids := withKinds(typed, declared).JSONFields()
	if len(ids) == 0 {
		return nil
	}
	text, err := json.Marshal(ids)
	if err != nil {
		return fmt.Errorf("write property %s: %w", jsonProperty, err)
	}
	props[jsonProperty] = string(text)
	return nil
}

// withKinds is a table's schema whose string fields are json where the declared schema says so.
func withKinds(typed, declared schemas.Schema) schemas.Schema {
	var ids []int
	var walk func(a, b schemas.Field)
	walk = func(a, b schemas.Field) {
		if b.Type.Kind == schemas.JSON {
			ids = append(ids, a.ID)
		}
		if a.Type.Key != nil && b.Type.Key != nil {
			walk(*a.Type.Key, *b.Type.Key)
		}
		if a.Type.Elem != nil && b.Type.Elem != nil {
			walk(*a.Type.Elem, *b.Type.Elem)
		}
		for _, member := range b.Type.Fields {
			if i := (schemas.Schema{Fields: a.Type.Fields}).Index(member.Name); i >= 0 {
				walk(a.Type.Fields[i], member)
			}
		}
	}
	walk(schemas.Field{Type: schemas.Type{Kind: schemas.Struct, Fields: typed.Fields}},
		schemas.Field{Type: schemas.Type{Kind: schemas.Struct, Fields: declared.Fields}})
	return typed.WithJSON(ids)
}

// Refresh loads the table as it is now.
func (t *Table) Refresh(ctx context.Context) error {
	_, err := t.reload(ctx)
	return err
}

func (t *Table) reload(ctx context.Context) (*state, error) {
	was := t.now.Load()
	ice, err := t.catalog.ice.LoadTable(ctx, was.ice.Identifier())
	if err != nil {
		return nil, fmt.Errorf("reload table %s: %w", t.name, err)
	}
	if ice.Metadata().TableUUID() != was.ice.Metadata().TableUUID() {
		return nil, fmt.Errorf("reload table %s: it was dropped and made anew meanwhile", t.name)
	}
	s, err := newState(ice)
	if err != nil {
		return nil, fmt.Errorf("reload table %s: %w", t.name, err)
	}
	t.now.CompareAndSwap(was, s) // a commit meanwhile knows better
	return s, nil
}

// Name is the table's name: namespace.table.
func (t *Table) Name() string { return t.name }

// Location is the URI of the table's folder.
func (t *Table) Location() string { return t.now.Load().ice.Location() }

// IsRemote tells that the folder is not on the local filesystem.
func (t *Table) IsRemote() bool { return storage.IsRemote(t.Location()) }

// Metadata is the URI of the metadata file that the table was read from.
func (t *Table) Metadata() string { return t.now.Load().ice.MetadataLocation() }

// Folder is the table's folder as File.Path has it: on disk, or a URI where the
// table is remote.
func (t *Table) Folder() (string, error) { return storage.Path(t.catalog.fs, t.Location()) }

// Schema is the table's current schema, with field ids.
func (t *Table) Schema() schemas.Schema { return t.now.Load().schema }

// IcebergSchema is the same in Iceberg's types.
func (t *Table) IcebergSchema() *iceberg.Schema { return t.now.Load().ice.Schema() }

// Spec is the table's current partition spec.
func (t *Table) Spec() iceberg.PartitionSpec { return t.now.Load().ice.Spec() }

// Partitions is the table's partitioning.
func (t *Table) Partitions() []Partition { return t.now.Load().partitions }

// Properties are the table's properties.
func (t *Table) Properties() map[string]string { return t.now.Load().ice.Properties() }

// FS is the filesystem that has the table's files.
func (t *Table) FS() storage.FS { return t.catalog.fs }

// Snapshot is one version of the table's rows.
type Snapshot struct {
	ID        int64
	Parent    int64 // 0: none
	Sequence  int64
	Time      time.Time
	Operation string // append, replace, overwrite, delete
	Summary   map[string]string
}

// Snapshots lists the snapshots that the table still has, oldest first.
func (t *Table) Snapshots() []Snapshot {
	all := t.now.Load().ice.Metadata().Snapshots()
	out := make([]Snapshot, len(all))
	for i, s := range all {
		out[i] = newSnapshot(s)
	}
	return out
}

// Current is the newest snapshot; false where the table has none yet.
func (t *Table) Current() (Snapshot, bool) {
	s := t.now.Load().ice.CurrentSnapshot()
	if s == nil {
		return Snapshot{}, false
	}
	return newSnapshot(*s), true
}

func newSnapshot(s icebergtable.Snapshot) Snapshot {
	out := Snapshot{ID: s.SnapshotID, Sequence: s.SequenceNumber, Time: time.UnixMilli(s.TimestampMs)}
	if s.ParentSnapshotID != nil {
		out.Parent = *s.ParentSnapshotID
	}
	if s.Summary != nil {
		out.Operation, out.Summary = string(s.Summary.Operation), s.Summary.Properties
	}
	return out
}

// ancestry is the snapshots from the newest back to the oldest that is kept.
func (s *state) ancestry() []Snapshot {
	head := s.ice.CurrentSnapshot()
	if head == nil {
		return nil
	}
	var out []Snapshot
	for _, each := range icebergtable.AncestorsOf(head.SnapshotID, s.ice.SnapshotByID) {
		out = append(out, newSnapshot(each))
	}
	return out
}
