//go:build cgo

package bqtest

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	bq "google.golang.org/api/bigquery/v2"
)

const mostURIs = 10_000 // of a job

// acceptLoad checks what is checked before a load job is taken.
func (s *Server) acceptLoad(l *bq.JobConfigurationLoad) error {
	if len(l.SourceUris) == 0 {
		return invalid("Load configuration must specify at least one source URI")
	}
	if len(l.SourceUris) > mostURIs {
		return invalid("Too many source URIs: %d. Maximum allowed is %d", len(l.SourceUris), mostURIs)
	}
	for _, uri := range l.SourceUris {
		if !strings.HasPrefix(uri, "gs://") {
			return invalid("Source URI must be a Google Cloud Storage location: %s", uri)
		}
		if strings.Count(uri, "*") > 1 {
			return invalid("Source URI must not contain more than one '*': %s", uri)
		}
	}
	switch l.SourceFormat {
	case "PARQUET", "NEWLINE_DELIMITED_JSON":
	default:
		return invalid("bqtest loads PARQUET and NEWLINE_DELIMITED_JSON, not %q", l.SourceFormat)
	}
	switch l.WriteDisposition {
	case "", "WRITE_APPEND", "WRITE_TRUNCATE", "WRITE_TRUNCATE_DATA", "WRITE_EMPTY":
	default:
		return invalid("Invalid value for writeDisposition: %s", l.WriteDisposition)
	}
	_, _, decorated := strings.Cut(l.DestinationTable.TableId, "$")
	if len(l.SchemaUpdateOptions) > 0 && !slices.Contains([]string{"WRITE_APPEND", "WRITE_TRUNCATE_DATA"}, l.WriteDisposition) && (l.WriteDisposition != "WRITE_TRUNCATE" || !decorated) {
		return invalid("Schema update options should only be specified with WRITE_APPEND disposition, or with WRITE_TRUNCATE disposition on a table partition.")
	}
	for _, option := range l.SchemaUpdateOptions {
		if option != "ALLOW_FIELD_ADDITION" && option != "ALLOW_FIELD_RELAXATION" {
			return invalid("Invalid value for schemaUpdateOptions: %s", option)
		}
	}
	if l.Schema != nil {
		return checkFields(l.Schema.Fields, "")
	}
	return nil
}

// load runs a load job: all of its rows are there afterwards, or nothing changed.
func (s *Server) load(l *bq.JobConfigurationLoad) (_ *bq.JobStatistics3, err error) {
	d, err := s.datasetByID(l.DestinationTable.DatasetId)
	if err != nil {
		return nil, err
	}
	id, decorator, decorated := strings.Cut(l.DestinationTable.TableId, "$")
	t := d.tables[id]
	if t != nil {
		if t.loads++; t.loads > s.opts.LoadsPerTable {
			return nil, failure(http.StatusForbidden, "quotaExceeded", "load_job_per_table.long", "Quota exceeded: Your table exceeded quota for imports or query appends per table. For more information, see https://cloud.google.com/bigquery/docs/troubleshoot-quotas")
		}
		if t.day() != "" {
			if t.writes++; t.writes > s.opts.PartitionWrites {
				return nil, failure(http.StatusForbidden, "quotaExceeded", "partition_modifications_per_column_partitioned_table.long", "Quota exceeded: Your table exceeded quota for Number of partition modifications to a column partitioned table. For more information, see https://cloud.google.com/bigquery/docs/troubleshoot-quotas")
			}
		}
	}
	allowed := schemaChange{slices.Contains(l.SchemaUpdateOptions, "ALLOW_FIELD_ADDITION"), slices.Contains(l.SchemaUpdateOptions, "ALLOW_FIELD_RELAXATION")}
	if t != nil && l.Schema != nil && (decorated || l.WriteDisposition != "WRITE_TRUNCATE") { // before any file is read
		if _, err := allowed.compare(s.name(t), t.meta.Schema.Fields, l.Schema.Fields, ""); err != nil {
			return nil, err
		}
	}
	paths, err := s.files(l.SourceUris)
	if err != nil {
		return nil, err
	}
	if err := checkBomb(paths); err != nil {
		return nil, err
	}
	in, err := s.openInput(l, paths)
	if err != nil {
		return nil, err
	}
	defer in.close()

	made := t == nil
	if made {
		if l.CreateDisposition == "CREATE_NEVER" {
			return nil, notFound("Table %s:%s.%s", s.opts.Project, d.id, id)
		}
		if t, err = s.makeTable(d, &bq.Table{TableReference: &bq.TableReference{TableId: id}, Schema: &bq.TableSchema{Fields: in.schema}, TimePartitioning: l.TimePartitioning, Clustering: l.Clustering}); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				delete(d.tables, id)
				_, dropped := s.db.ExecContext(s.ctx, "DROP TABLE "+t.sql())
				err = errors.Join(err, dropped)
			}
		}()
	}
	date := ""
	if decorated {
		if date, err = t.partition(decorator); err != nil {
			return nil, err
		}
	}
	before := t.meta.Schema.Fields
	truncate := strings.HasPrefix(l.WriteDisposition, "WRITE_TRUNCATE")
	switch {
	case made:
	case l.WriteDisposition == "WRITE_TRUNCATE" && !decorated: // the table gets the job's schema
		if _, err := s.db.ExecContext(s.ctx, "CREATE OR REPLACE TABLE "+quote("main", "bqtest_before")+" AS FROM "+t.sql()); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				_, back := s.db.ExecContext(s.ctx, "CREATE OR REPLACE TABLE "+t.sql()+" AS FROM "+quote("main", "bqtest_before"))
				err = errors.Join(err, back)
			}
			_, dropped := s.db.ExecContext(s.ctx, "DROP TABLE "+quote("main", "bqtest_before"))
			err = errors.Join(err, dropped)
		}()
		columns := make([]string, len(in.schema))
		for i, f := range in.schema {
			columns[i] = quote(f.Name) + " " + duckType(f)
		}
		if _, err := s.db.ExecContext(s.ctx, fmt.Sprintf("CREATE OR REPLACE TABLE %s (%s)", t.sql(), strings.Join(columns, ", "))); err != nil {
			return nil, err
		}
		t.meta.Schema.Fields = in.schema
	default:
		if err := s.loadSchema(t, l, in, allowed); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			t.meta.Schema.Fields = before
		}
	}()
	rows, err := s.fill(t, in, date, truncate, l.WriteDisposition == "WRITE_EMPTY")
	if err != nil {
		return nil, err
	}
	t.modified = s.tick()
	if err := s.note(t, decorator, in.schema); err != nil {
		return nil, err
	}
	stats := &bq.JobStatistics3{InputFiles: int64(len(paths)), OutputRows: rows}
	for _, p := range paths {
		info, err := os.Stat(p.path)
		if err != nil {
			return nil, err
		}
		stats.InputFileBytes += info.Size()
	}
	return stats, nil
}

// loadSchema brings the schemas of load and table together. Where the job has
// none and the file lacks columns of the table, they are NULL.
func (s *Server) loadSchema(t *table, l *bq.JobConfigurationLoad, in *input, allowed schemaChange) error {
	if l.Schema != nil {
		return s.changeSchema(t, in.schema, allowed)
	}
	fresh := slices.Clone(in.schema)
	for i, f := range fresh {
		if has := findField(t.meta.Schema.Fields, f.Name); has != nil && has.Mode != "REPEATED" && f.Mode != "REPEATED" {
			same := *f // the values decide, not the file's mode
			same.Mode = has.Mode
			fresh[i] = &same
		}
	}
	for _, f := range t.meta.Schema.Fields {
		if findField(fresh, f.Name) == nil {
			if f.Mode == "REQUIRED" {
				return invalid("Provided Schema does not match Table %s. Field %s is missing in new schema", s.name(t), f.Name)
			}
			fresh = append(fresh, f)
		}
	}
	return s.changeSchema(t, fresh, allowed)
}

// fill writes the rows in one transaction.
func (s *Server) fill(t *table, in *input, date string, truncate, empty bool) (rows int64, err error) {
	tx, err := s.db.BeginTx(s.ctx, nil)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			if back := tx.Rollback(); !errors.Is(back, sql.ErrTxDone) {
				err = errors.Join(err, back)
			}
		}
	}()
	if empty {
		var n int64
		if err := tx.QueryRowContext(s.ctx, "SELECT count(*) FROM "+t.sql()).Scan(&n); err != nil {
			return 0, err
		}
		if n > 0 {
			return 0, failure(http.StatusConflict, "duplicate", "", "Already Exists: Table %s", s.name(t))
		}
	}
	where := ""
	if date != "" {
		where = fmt.Sprintf(" WHERE %s = DATE '%s'", quote(t.day()), date)
	}
	if _, err := tx.ExecContext(s.ctx, "CREATE OR REPLACE TEMP TABLE bqtest_rows AS FROM "+t.sql()+" LIMIT 0"); err != nil {
		return 0, err
	}
	for _, statement := range in.inserts {
		if _, err := tx.ExecContext(s.ctx, "INSERT INTO bqtest_rows BY NAME "+statement.sql); err != nil {
			return 0, failure(http.StatusBadRequest, "invalid", statement.uri, "Error while reading data, error message: %v File: %s", err, statement.uri)
		}
	}
	for _, f := range t.meta.Schema.Fields {
		if f.Mode != "REQUIRED" {
			continue
		}
		var missing int64
		if err := tx.QueryRowContext(s.ctx, "SELECT count(*) FROM bqtest_rows WHERE "+quote(f.Name)+" IS NULL").Scan(&missing); err != nil {
			return 0, err
		}
		if missing > 0 {
			return 0, invalid("Error while reading data, error message: Only optional fields can be set to NULL. Field: %s; Value: NULL File: %s", f.Name, in.inserts[0].uri)
		}
	}
	if date != "" {
		var others int64
		if err := tx.QueryRowContext(s.ctx, fmt.Sprintf("SELECT count(*) FROM bqtest_rows WHERE %s IS DISTINCT FROM DATE '%s'", quote(t.day()), date)).Scan(&others); err != nil {
			return 0, err
		}
		if others > 0 {
			return 0, invalid("Some rows belong to different partitions rather than destination partition %s", s.name(t)+"$"+strings.ReplaceAll(date, "-", ""))
		}
	}
	if truncate {
		if _, err := tx.ExecContext(s.ctx, "DELETE FROM "+t.sql()+where); err != nil {
			return 0, err
		}
	}
	result, err := tx.ExecContext(s.ctx, "INSERT INTO "+t.sql()+" BY NAME FROM bqtest_rows")
	if err != nil {
		return 0, err
	}
	if rows, err = result.RowsAffected(); err != nil {
		return 0, err
	}
	if _, err := tx.ExecContext(s.ctx, "DROP TABLE bqtest_rows"); err != nil {
		return 0, err
	}
	return rows, tx.Commit()
}

// note keeps when partitions were written.
func (s *Server) note(t *table, decorator string, schema []*field) error {
	switch {
	case t.day() == "":
		t.written[whole] = t.modified
		return nil
	case decorator != "":
		t.written[decorator] = t.modified
		return nil
	}
	// Without a decorator any may have been: those that are there.
	days, err := s.days(t)
	if err != nil {
		return err
	}
	t.written = map[string]time.Time{}
	for day := range days {
		t.written[day] = t.modified
	}
	return nil
}

// days are the rows of each partition, by its id.
func (s *Server) days(t *table) (map[string]int64, error) {
	expr := "''"
	if t.day() != "" {
		expr = "COALESCE(strftime(" + quote(t.day()) + ", '%Y%m%d'), '__NULL__')"
	}
	rows, err := s.db.QueryContext(s.ctx, "SELECT "+expr+", count(*) FROM "+t.sql()+" GROUP BY 1")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	days := map[string]int64{}
	for rows.Next() {
		var day string
		var n int64
		if err := rows.Scan(&day, &n); err != nil {
			return nil, err
		}
		days[day] = n
	}
	return days, rows.Err()
}

// object is a file of a bucket.
type object struct{ uri, path string }

// files finds the objects of URIs.
func (s *Server) files(uris []string) ([]object, error) {
	var all []object
	for _, uri := range uris {
		bucket, name, _ := strings.Cut(strings.TrimPrefix(uri, "gs://"), "/")
		folder := filepath.Join(s.opts.Buckets, bucket)
		if info, err := os.Stat(folder); s.opts.Buckets == "" || err != nil || !info.IsDir() {
			return nil, notFound("Bucket %s", bucket)
		}
		if before, after, ok := strings.Cut(name, "*"); ok {
			found, err := matching(folder, before, after)
			if err != nil {
				return nil, err
			}
			if len(found) == 0 {
				return nil, notFound("Uris %s", uri)
			}
			for _, f := range found {
				all = append(all, object{"gs://" + bucket + "/" + f, filepath.Join(folder, f)})
			}
			continue
		}
		path := filepath.Join(folder, filepath.FromSlash(name))
		if info, err := os.Stat(path); err != nil || info.IsDir() {
			return nil, notFound("URI %s", uri)
		}
		all = append(all, object{uri, path})
	}
	return all, nil
}

// matching are the objects of a bucket before*after; "*" crosses slashes.
func matching(folder, before, after string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if len(name) >= len(before)+len(after) && strings.HasPrefix(name, before) && strings.HasSuffix(name, after) {
			found = append(found, name)
		}
		return nil
	})
	return found, err
}

// checkBomb refuses what would fill this process: it is for tests.
func checkBomb(paths []object) error {
	var bytes int64
	for _, p := range paths {
		info, err := os.Stat(p.path)
		if err != nil {
			return err
		}
		bytes += info.Size()
	}
	if bytes > 1<<30 {
		return invalid("bqtest loads one GiB a job at most")
	}
	return nil
}

// input is what a job reads, ready to be inserted.
type input struct {
	schema  []*field
	inserts []insert
	folder  string // of files that were made for it; "": none
}

// insert is a SELECT that gives rows of a file.
type insert struct{ uri, sql string }

func (in *input) close() {
	if in.folder != "" {
		_ = os.RemoveAll(in.folder) // in the temporary folder
	}
}

func (s *Server) openInput(l *bq.JobConfigurationLoad, paths []object) (*input, error) {
	if l.SourceFormat == "PARQUET" {
		return s.parquet(l, paths)
	}
	return s.jsonLines(l, paths)
}

func lastByName(paths []object) object {
	return slices.MaxFunc(paths, func(a, b object) int { return cmp.Compare(a.uri, b.uri) })
}
