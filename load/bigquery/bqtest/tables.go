//go:build cgo

package bqtest

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	bq "google.golang.org/api/bigquery/v2"
)

type dataset struct {
	id, location string
	tables       map[string]*table
}

// table is a table's metadata; its rows are DuckDB's table of the same name.
type table struct {
	dataset  *dataset
	id       string
	meta     *bq.Table // schema, partitioning, clustering, labels, description
	made     time.Time
	modified time.Time // of data or metadata
	written  map[string]time.Time
	loads    int // jobs, failed ones, too
	writes   int // of partitions
}

// whole is the key in written of a table without partitions.
const whole = ""

func (t *table) sql() string { return quote(t.dataset.id, t.id) }

// day is the column by whose days it is partitioned, "": none.
func (t *table) day() string {
	if p := t.meta.TimePartitioning; p != nil {
		return p.Field
	}
	return ""
}

func (s *Server) dataset(r *http.Request) (*dataset, error) {
	return s.datasetByID(r.PathValue("dataset"))
}

func (s *Server) datasetByID(id string) (*dataset, error) {
	if d := s.datasets[id]; d != nil {
		return d, nil
	}
	return nil, notFound("Dataset %s:%s", s.opts.Project, id)
}

func (s *Server) table(d *dataset, id string) (*table, error) {
	if t := d.tables[id]; t != nil {
		return t, nil
	}
	return nil, notFound("Table %s:%s.%s", s.opts.Project, d.id, id)
}

func (s *Server) insertDataset(r *http.Request) (any, error) {
	in, err := read[bq.Dataset](r)
	if err != nil {
		return nil, err
	}
	id := in.DatasetReference.DatasetId
	if !datasetID.MatchString(id) || len(id) > 1024 {
		return nil, invalid("Invalid dataset ID %q. Dataset IDs must be alphanumeric (plus underscores) and must be at most 1024 characters long.", id)
	}
	if s.datasets[id] != nil {
		return nil, failure(http.StatusConflict, "duplicate", "", "Already Exists: Dataset %s:%s", s.opts.Project, id)
	}
	d := &dataset{id: id, location: in.Location, tables: map[string]*table{}}
	if d.location == "" {
		d.location = s.opts.Location
	}
	if _, err := s.db.ExecContext(s.ctx, "CREATE SCHEMA "+quote(id)); err != nil {
		return nil, err
	}
	s.datasets[id] = d
	return s.describeDataset(d), nil
}

func (s *Server) getDataset(r *http.Request) (any, error) {
	d, err := s.dataset(r)
	if err != nil {
		return nil, err
	}
	return s.describeDataset(d), nil
}

func (s *Server) describeDataset(d *dataset) *bq.Dataset {
	return &bq.Dataset{Kind: "bigquery#dataset", Id: s.opts.Project + ":" + d.id, Location: d.location,
		DatasetReference: &bq.DatasetReference{ProjectId: s.opts.Project, DatasetId: d.id}}
}

var (
	datasetID = regexp.MustCompile(`^[A-Za-z0-9_]+$`)
	tableID   = regexp.MustCompile(`^[\p{L}\p{M}\p{N}\p{Pc}\p{Pd}\p{Zs}]+$`)
	columnID  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,299}$`) // without flexible column names
)

func (s *Server) insertTable(r *http.Request) (any, error) {
	d, err := s.dataset(r)
	if err != nil {
		return nil, err
	}
	in, err := read[bq.Table](r)
	if err != nil {
		return nil, err
	}
	t, err := s.makeTable(d, in)
	if err != nil {
		return nil, err
	}
	return s.describe(t)
}

// makeTable makes an empty table.
func (s *Server) makeTable(d *dataset, in *bq.Table) (*table, error) {
	id := in.TableReference.TableId
	if !tableID.MatchString(id) || len(id) > 1024 {
		return nil, invalid("Invalid table ID %q.", id)
	}
	if d.tables[id] != nil {
		return nil, failure(http.StatusConflict, "duplicate", "", "Already Exists: Table %s:%s.%s", s.opts.Project, d.id, id)
	}
	if in.Schema == nil || len(in.Schema.Fields) == 0 {
		return nil, invalid("bqtest makes no table without a schema")
	}
	if err := checkFields(in.Schema.Fields, ""); err != nil {
		return nil, err
	}
	if err := checkPartitioning(in); err != nil {
		return nil, err
	}
	columns := make([]string, len(in.Schema.Fields))
	for i, f := range in.Schema.Fields {
		columns[i] = quote(f.Name) + " " + duckType(f)
	}
	t := &table{dataset: d, id: id, meta: in, written: map[string]time.Time{}}
	if _, err := s.db.ExecContext(s.ctx, fmt.Sprintf("CREATE TABLE %s (%s)", t.sql(), strings.Join(columns, ", "))); err != nil {
		return nil, err
	}
	t.made = s.tick()
	t.modified = t.made
	if t.day() == "" {
		t.written[whole] = t.made
	}
	d.tables[id] = t
	return t, nil
}

func checkPartitioning(in *bq.Table) error {
	find := func(name string) *bq.TableFieldSchema {
		i := slices.IndexFunc(in.Schema.Fields, func(f *bq.TableFieldSchema) bool { return strings.EqualFold(f.Name, name) })
		if i < 0 {
			return nil
		}
		return in.Schema.Fields[i]
	}
	if p := in.TimePartitioning; p != nil {
		f := find(p.Field)
		switch {
		case p.Type != "DAY" || p.Field == "":
			return invalid("bqtest partitions by the days of a column only")
		case f == nil:
			return invalid("The field specified for partitioning cannot be found in the schema.")
		case f.Type != "DATE" || f.Mode == "REPEATED":
			return invalid("bqtest partitions by a DATE column; %s is %s", f.Name, f.Type)
		}
	}
	if c := in.Clustering; c != nil {
		if len(c.Fields) == 0 || len(c.Fields) > 4 {
			return invalid("Clustering: one to four columns")
		}
		for _, name := range c.Fields {
			f := find(name)
			if f == nil {
				return invalid("The field specified for clustering cannot be found in the schema. Invalid field: %s.", name)
			}
			if f.Mode == "REPEATED" || !slices.Contains([]string{"DATE", "BOOLEAN", "GEOGRAPHY", "INTEGER", "NUMERIC", "BIGNUMERIC", "STRING", "TIMESTAMP", "DATETIME"}, f.Type) {
				return invalid("Field %s of type %s cannot be used for clustering.", name, f.Type)
			}
		}
	}
	return nil
}

// tableOf is the table that a request names.
func (s *Server) tableOf(r *http.Request) (*table, error) {
	d, err := s.dataset(r)
	if err != nil {
		return nil, err
	}
	return s.table(d, r.PathValue("table"))
}

func (s *Server) getTable(r *http.Request) (any, error) {
	t, err := s.tableOf(r)
	if err != nil {
		return nil, err
	}
	return s.describe(t)
}

func (s *Server) describe(t *table) (*bq.Table, error) {
	out := *t.meta
	out.Kind, out.Type, out.Location = "bigquery#table", "TABLE", t.dataset.location
	out.Id = fmt.Sprintf("%s:%s.%s", s.opts.Project, t.dataset.id, t.id)
	out.TableReference = &bq.TableReference{ProjectId: s.opts.Project, DatasetId: t.dataset.id, TableId: t.id}
	out.CreationTime, out.LastModifiedTime = t.made.UnixMilli(), uint64(t.modified.UnixMilli())
	out.Etag = fmt.Sprintf("%x", t.modified.UnixMicro())
	var rows uint64
	if err := s.db.QueryRowContext(s.ctx, "SELECT count(*) FROM "+t.sql()).Scan(&rows); err != nil {
		return nil, err
	}
	out.NumRows = rows
	return &out, nil
}

// patchTable changes a schema: columns may be added, NULLABLE or REPEATED ones, REQUIRED
// may be relaxed, descriptions change.
func (s *Server) patchTable(r *http.Request) (any, error) {
	t, err := s.tableOf(r)
	if err != nil {
		return nil, err
	}
	in, err := read[bq.Table](r)
	if err != nil {
		return nil, err
	}
	if match := r.Header.Get("If-Match"); match != "" && match != fmt.Sprintf("%x", t.modified.UnixMicro()) {
		return nil, failure(http.StatusPreconditionFailed, "conditionNotMet", "If-Match", "Precondition Failed")
	}
	if in.Schema != nil {
		if err := checkFields(in.Schema.Fields, ""); err != nil {
			return nil, err
		}
		if err := s.changeSchema(t, in.Schema.Fields, schemaChange{add: true, relax: true}); err != nil {
			return nil, err
		}
	}
	if in.Description != "" {
		t.meta.Description = in.Description
	}
	if in.Labels != nil {
		t.meta.Labels = in.Labels
	}
	t.modified = s.tick()
	return s.describe(t)
}

// deleteTable deletes a table, or with a decorator one partition's rows.
func (s *Server) deleteTable(r *http.Request) (any, error) {
	d, err := s.dataset(r)
	if err != nil {
		return nil, err
	}
	id, decorator, decorated := strings.Cut(r.PathValue("table"), "$")
	t, err := s.table(d, id)
	if err != nil {
		return nil, err
	}
	if !decorated {
		delete(d.tables, id)
		_, err := s.db.ExecContext(s.ctx, "DROP TABLE "+t.sql())
		return nil, err
	}
	date, err := t.partition(decorator)
	if err != nil {
		return nil, err
	}
	if _, ok := t.written[decorator]; !ok {
		return nil, notFound("Table %s:%s.%s$%s", s.opts.Project, d.id, id, decorator)
	}
	if _, err := s.db.ExecContext(s.ctx, fmt.Sprintf("DELETE FROM %s WHERE %s = DATE '%s'", t.sql(), quote(t.day()), date)); err != nil {
		return nil, err
	}
	delete(t.written, decorator)
	t.modified = s.tick()
	return nil, nil
}

// partition is the date of a decorator, 2021-11-30.
func (t *table) partition(decorator string) (string, error) {
	if t.day() == "" {
		return "", invalid("Cannot use a partition decorator on the table %s, which is not partitioned: %s$%s", t.id, t.id, decorator)
	}
	date, err := time.Parse("20060102", decorator)
	if err != nil {
		return "", invalid("Invalid date partitioned table name %s$%s: a partition of it is $YYYYMMDD", t.id, decorator)
	}
	return date.Format(time.DateOnly), nil
}

// DropTable drops a table, as somebody in the console would.
func (s *Server) DropTable(dataset, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.datasetByID(dataset)
	if err != nil {
		return err
	}
	t, err := s.table(d, id)
	if err != nil {
		return err
	}
	delete(d.tables, id)
	_, err = s.db.ExecContext(s.ctx, "DROP TABLE "+t.sql())
	return err
}

// DropColumn drops a column, as ALTER TABLE would.
func (s *Server) DropColumn(dataset, id, column string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.table(s.datasets[dataset], id)
	if err != nil {
		return err
	}
	t.meta.Schema.Fields = slices.DeleteFunc(t.meta.Schema.Fields, func(f *bq.TableFieldSchema) bool { return f.Name == column })
	t.modified = s.tick()
	_, err = s.db.ExecContext(s.ctx, "ALTER TABLE "+t.sql()+" DROP COLUMN "+quote(column))
	return err
}

// Write runs DuckDB's SQL as somebody else's change of one date's rows ("2021-11-30",
// or "" of a table without partitions): its last write is now.
func (s *Server) Write(dataset, id, date, statement string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.table(s.datasets[dataset], id)
	if err != nil {
		return err
	}
	if _, err := s.db.ExecContext(s.ctx, statement); err != nil {
		return err
	}
	t.modified = s.tick()
	t.written[strings.ReplaceAll(date, "-", "")] = t.modified
	return nil
}
