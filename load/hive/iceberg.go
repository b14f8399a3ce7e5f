package hive

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"lake/faults"
	"lake/load"
	"lake/schemas"
	"lake/storage"
)

// Registration is a table that a metastore has by its Iceberg metadata.
type Registration struct {
	Metadata   string // URI of the metadata file
	Location   string // of the table's folder
	Columns    []Column
	Properties map[string]string
}

// Column is a column, with its type as Hive writes it.
type Column struct{ Name, Type, Doc string }

// Registry is a metastore in which tables are registered.
type Registry interface {
	// Get is what there is under a name; found is false where there is nothing.
	Get(ctx context.Context, name string) (r Registration, found bool, err error)
	// Put registers a table, or moves the one that is at the metadata file before. It fails
	// with load.ErrBusy where that is elsewhere by now.
	Put(ctx context.Context, name string, r Registration, before string) error
	Close() error
}

// Registered is a target that the engine reads as the Iceberg table that it is: a load
// copies no row. It writes the table's metadata, as of its snapshot, to a file of its
// own, and has one call of the metastore point the name there. The file's name tells
// the load.
//
// The table's data files stay the lake's: who drops the name deletes none, and the lake
// keeps those of a snapshot for compact.snapshots. It implements load.Warehouse.
type Registered struct {
	*Warehouse
	tables Registry
	fresh  string // incarnation of a target that is to be made
}

var (
	_ load.Warehouse = (*Registered)(nil)
	_ load.Engine    = (*Registered)(nil)
)

// metadataFile is the name of a load's metadata.
var metadataFile = regexp.MustCompile(`^load-([0-9a-f]{24})\.metadata\.json$`)

// OpenRegistered connects to the server; tables is the metastore that it reads, and
// is the target's from now on. The caller closes the target.
func OpenRegistered(ctx context.Context, cfg Config, o Options, tables Registry) (*Registered, error) {
	w, err := Open(ctx, cfg, o)
	if err != nil {
		return nil, errors.Join(err, tables.Close())
	}
	return &Registered{Warehouse: w, tables: tables}, nil
}

// Close implements load.Warehouse.
func (r *Registered) Close() error { return errors.Join(r.Warehouse.Close(), r.tables.Close()) }

// Name implements load.Engine.
func (r *Registered) Name() string { return strings.TrimPrefix(r.cfg.Catalog+"."+r.cfg.Table, ".") }

// Answer implements load.Engine.
func (r *Registered) Answer(ctx context.Context, set []string, query string, row func(cells []sql.NullString) error) error {
	if err := r.refresh(ctx); err != nil {
		return err
	}
	return r.Warehouse.Answer(ctx, set, query, row)
}

// refresh has Spark forget what it remembers of the table, for half a minute otherwise.
func (r *Registered) refresh(ctx context.Context) error {
	s, err := r.session(ctx)
	if err != nil || s.dialect != schemas.Spark {
		return err
	}
	if err := s.exec(ctx, "REFRESH TABLE "+r.quoted(s)); err != nil {
		return fmt.Errorf("refresh table %s: %w", r.Name(), err)
	}
	return nil
}

// Inspect implements load.Warehouse.
func (r *Registered) Inspect(ctx context.Context) (string, error) {
	reg, found, err := r.tables.Get(ctx, r.cfg.Table)
	if err != nil || !found {
		return "", err
	}
	own := reg.Properties[incarnationProperty]
	if own == "" {
		return "", fmt.Errorf("table %s: %w: somebody else registered it; hint: another name, or drop it there", r.cfg.Table, load.ErrTargetSchema)
	}
	return own, nil
}

// Prepare implements load.Warehouse. A new target is registered by its first load.
func (r *Registered) Prepare(ctx context.Context, t load.Table) (string, error) {
	for _, f := range t.Schema.Fields {
		if !plainName(f.Name) {
			return "", fmt.Errorf("%w: column %q: the Hive Metastore takes letters, digits and _", load.ErrTargetSchema, f.Name)
		}
		if f.Type.Kind == schemas.Time {
			return "", fmt.Errorf("%w: column %s: the engines read no time of Iceberg's", load.ErrTargetSchema, f.Name)
		}
	}
	r.target = t
	own, err := r.Inspect(ctx)
	if err != nil || own != "" {
		return own, err
	}
	r.fresh = uuid.NewString()
	return r.fresh, nil
}

// Held implements load.Warehouse.
func (r *Registered) Held(ctx context.Context, _ load.Table, partitions []string) (map[string]load.Held, error) {
	reg, found, err := r.tables.Get(ctx, r.cfg.Table)
	if err != nil || !found {
		return nil, err
	}
	out := map[string]load.Held{}
	for _, p := range partitions {
		out[p] = r.held(reg.Metadata)
	}
	return out, nil
}

// held is what a metadata file tells: the load whose it is, "" where it is none of ours.
func (r *Registered) held(metadata string) load.Held {
	h := load.Held{Rows: -1, Version: pathOf(metadata)}
	if m := metadataFile.FindStringSubmatch(path.Base(metadata)); m != nil && path.Dir(pathOf(metadata)) == pathOf(r.location()) {
		h.ID = m[1]
	}
	return h
}

// Replace implements load.Warehouse: all rows are one partition.
func (r *Registered) Replace(ctx context.Context, l load.Load) (load.Held, error) {
	if l.Name != load.All || l.Metadata == "" {
		return load.Held{}, fmt.Errorf("register table %s: %w: it is loaded as a whole, by its metadata", r.cfg.Table, load.ErrRejected)
	}
	before, found, err := r.tables.Get(ctx, r.cfg.Table)
	if err != nil {
		return load.Held{}, err
	}
	to := r.location() + "/" + loadPrefix + l.ID + ".metadata.json"
	if found && pathOf(before.Metadata) == pathOf(to) {
		return r.counted(ctx, to, l)
	}
	own := before.Properties[incarnationProperty]
	if !found {
		own = r.fresh
	}
	text, location, err := r.metadata(ctx, l, own)
	if err != nil {
		return load.Held{}, fmt.Errorf("read the metadata %s: %w", l.Metadata, storeError(err))
	}
	// One of a try that ended before may name files that are gone by now.
	if err := r.files.Remove(ctx, to); err != nil {
		return load.Held{}, fmt.Errorf("remove %s: %w", to, storeError(err))
	}
	if err := storage.WriteFile(ctx, r.files, to, text); err != nil {
		return load.Held{}, fmt.Errorf("write %s: %w", to, storeError(err))
	}
	faults.Point(faults.Placed)
	reg := Registration{Metadata: to, Location: location, Columns: r.columns(), Properties: map[string]string{incarnationProperty: own}}
	if err := r.tables.Put(ctx, r.cfg.Table, reg, before.Metadata); err != nil {
		return load.Held{}, err
	}
	faults.Point(faults.Pointed)
	if err := r.sweep(ctx, to); err != nil {
		r.log.Warn("metadata of earlier loads is left; the next load tries again", "table", r.cfg.Table, "error", err)
	}
	return r.counted(ctx, to, l)
}

func (r *Registered) columns() []Column {
	out := make([]Column, len(r.target.Schema.Fields))
	for i, f := range r.target.Schema.Fields {
		out[i] = Column{Name: f.Name, Type: typeText(asIceberg(f.Type), func(name string) string { return name }), Doc: f.Doc}
	}
	return out
}

// asIceberg is a type whose text in the metastore is that of Iceberg's own engines: they
// write a uuid as a string, and the metastore refuses another type in its place.
func asIceberg(t schemas.Type) schemas.Type {
	in := func(f *schemas.Field) *schemas.Field {
		if f == nil {
			return nil
		}
		out := *f
		out.Type = asIceberg(f.Type)
		return &out
	}
	if t.Kind == schemas.UUID {
		return schemas.Type{Kind: schemas.String}
	}
	t.Key, t.Elem = in(t.Key), in(t.Elem)
	fields := make([]schemas.Field, len(t.Fields))
	for i := range t.Fields {
		fields[i] = *in(&t.Fields[i])
	}
	t.Fields = fields
	return t
}

// counted is what is there, with the number of its rows: the lake does not know it
// where delete files apply.
func (r *Registered) counted(ctx context.Context, metadata string, l load.Load) (load.Held, error) {
	h := r.held(metadata)
	if h.Rows = l.Rows; l.Rows >= 0 {
		return h, nil
	}
	if err := r.refresh(ctx); err != nil {
		return h, err
	}
	s, err := r.session(ctx)
	if err != nil {
		return h, err
	}
	rows, err := s.query(ctx, "SELECT COUNT(*) FROM "+r.quoted(s))
	if err != nil {
		return h, fmt.Errorf("count the rows of %s: %w", r.Name(), err)
	}
	h.Rows, err = strconv.ParseInt(rows[0][0].String, 10, 64)
	return h, err
}

// maxMetadata bounds a metadata file: one of 10,000 snapshots has a few megabytes.
const maxMetadata = 256 << 20

// metadata is the table's as this target shows it: with its incarnation, and such that
// no engine deletes files, which are the lake's.
func (r *Registered) metadata(ctx context.Context, l load.Load, own string) (text []byte, location string, err error) {
	in, err := r.files.Open(ctx, l.Metadata)
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	if in.Size() > maxMetadata {
		return nil, "", fmt.Errorf("it has %d bytes", in.Size())
	}
	if text, err = io.ReadAll(in); err != nil {
		return nil, "", err
	}
	var known struct {
		Location   string            `json:"location"`
		Current    *int64            `json:"current-snapshot-id"`
		Properties map[string]string `json:"properties"`
		Snapshots  []struct {
			ID      int64             `json:"snapshot-id"`
			Summary map[string]string `json:"summary"`
		} `json:"snapshots"`
	}
	var all map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(text, &known), json.Unmarshal(text, &all)); err != nil {
		return nil, "", err
	}
	for _, s := range known.Snapshots {
		rows := s.Summary["total-records"]
		if known.Current != nil && s.ID == *known.Current && rows != "" && l.Rows >= 0 && rows != strconv.FormatInt(l.Rows, 10) {
			return nil, "", fmt.Errorf("%w: its snapshot has %s rows, and %d are to be loaded; nothing was changed", load.ErrRejected, rows, l.Rows)
		}
	}
	if known.Properties == nil {
		known.Properties = map[string]string{}
	}
	known.Properties["gc.enabled"], known.Properties[incarnationProperty] = "false", own
	if all["properties"], err = json.Marshal(known.Properties); err != nil {
		return nil, "", err
	}
	text, err = json.Marshal(all)
	return text, known.Location, err
}

// sweep removes metadata that was replaced before the grace.
func (r *Registered) sweep(ctx context.Context, live string) error {
	var gone []string
	before := time.Now().Add(-r.cfg.grace())
	err := r.files.List(ctx, r.location(), func(i storage.Info) error {
		if metadataFile.MatchString(path.Base(i.URI)) && path.Base(i.URI) != path.Base(live) && i.Modified.Before(before) {
			gone = append(gone, i.URI)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.files.Remove(ctx, gone...)
}

// Digest implements load.Warehouse.
func (r *Registered) Digest(ctx context.Context, t load.Table, partitions []string) (map[string]load.Digest, error) {
	if err := r.refresh(ctx); err != nil {
		return nil, err
	}
	return r.Warehouse.Digest(ctx, t, partitions)
}
