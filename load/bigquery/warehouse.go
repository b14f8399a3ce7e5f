package bigquery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/bigquery"
	bq "google.golang.org/api/bigquery/v2"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
	htransport "google.golang.org/api/transport/http"

	"lake/load"
	"lake/schemas"
)

// Options are what a job file does not say. Zero values choose the defaults.
type Options struct {
	// Rows tells a Parquet file's number of rows by its footer, so that a file that
	// is not what the table says is found before its rows are in BigQuery. nil: only
	// BigQuery counts, and what does not fit is found when it is there.
	Rows     func(ctx context.Context, uri string) (int64, error)
	Patience time.Duration // how long a call that fails is repeated; 5 minutes
	Pause    time.Duration // before the first repetition and look at a job; 1 second
	Attempts int           // load jobs of one load in a run; 5
	Log      *slog.Logger  // nil drops
}

// Warehouse is one target table in BigQuery. It implements load.Warehouse.
type Warehouse struct {
	cfg                     Config
	opts                    Options
	project, dataset, table string
	client                  *bigquery.Client
	jobs                    *bq.JobsService // the client above cannot say mapTargetType
	idle                    func()
	location                string          // of the dataset; "" until it is known
	schema                  *bq.TableSchema // of the target, with which jobs load; nil until Prepare
	dated                   bool            // the target is partitioned
	grown                   bigquery.Schema // schema where it has columns that the target lacks: the next load job adds them
}

var _ load.Warehouse = (*Warehouse)(nil)

// headerTime is how long a server that has a request may take to begin its answer:
// jobs.query waits for the query, ten seconds unless told otherwise.
const headerTime = 50 * time.Second

// Open makes a client for one target; it asks BigQuery nothing. The caller closes it.
func Open(ctx context.Context, cfg Config, o Options) (*Warehouse, error) {
	if err := cfg.Check(); err != nil {
		return nil, fmt.Errorf("bigquery: %w", err)
	}
	if o.Patience <= 0 {
		o.Patience = patience
	}
	if o.Pause <= 0 {
		o.Pause = firstPause
	}
	if o.Attempts <= 0 {
		o.Attempts = 5
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Format == "" {
		cfg.Format = Parquet
	}
	w := &Warehouse{cfg: cfg, opts: o, location: cfg.Location}
	var err error
	if w.project, w.dataset, w.table, err = cfg.name(); err != nil {
		return nil, err
	}
	if w.cfg.Project == "" {
		w.cfg.Project = w.project
	}
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.ResponseHeaderTimeout = headerTime
	w.idle = base.CloseIdleConnections
	transport := http.RoundTripper(base)
	var options []option.ClientOption
	if cfg.Endpoint != "" {
		options = append(options, option.WithEndpoint(apiPath(cfg.Endpoint)))
	}
	if !strings.HasPrefix(cfg.Endpoint, "http://") { // no credentials over a line that others hear
		if transport, err = htransport.NewTransport(ctx, base, option.WithScopes(bigquery.Scope)); err != nil {
			return nil, fmt.Errorf("reach BigQuery: %w: %w; hint: gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS=key.json", load.ErrDenied, err)
		}
	}
	options = append(options, option.WithHTTPClient(&http.Client{Transport: transport}))
	if w.client, err = bigquery.NewClient(ctx, w.cfg.Project, options...); err != nil {
		return nil, fmt.Errorf("reach BigQuery: %w", err)
	}
	service, err := bq.NewService(ctx, options...)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reach BigQuery: %w", err), w.client.Close())
	}
	w.jobs = service.Jobs
	return w, nil
}

// apiPath is an endpoint with the API's path, which people leave out.
func apiPath(endpoint string) string {
	endpoint = strings.TrimRight(endpoint, "/")
	if !strings.HasSuffix(endpoint, "/bigquery/v2") {
		endpoint += "/bigquery/v2"
	}
	return endpoint + "/"
}

// Close ends the client's idle connections.
func (w *Warehouse) Close() error {
	err := w.client.Close()
	w.idle()
	if err != nil {
		return fmt.Errorf("close BigQuery: %w", err)
	}
	return nil
}

// name is the target as people write it, and BigQuery's SQL in backquotes.
func (w *Warehouse) name() string { return w.project + "." + w.dataset + "." + w.table }

func (w *Warehouse) target() *bigquery.Table {
	return w.client.DatasetInProject(w.project, w.dataset).Table(w.table)
}

// metadata is the target's, nil where there is no such table.
func (w *Warehouse) metadata(ctx context.Context) (*bigquery.TableMetadata, error) {
	var meta *bigquery.TableMetadata
	err := w.call(ctx, callTime, func(ctx context.Context) (err error) {
		meta, err = w.target().Metadata(ctx)
		return err
	})
	if is(err, http.StatusNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at table %s: %w", w.name(), meaning(err))
	}
	if meta.Type != "" && meta.Type != bigquery.RegularTable {
		return nil, fmt.Errorf("%s is no table but a %s: %w", w.name(), meta.Type, load.ErrTargetSchema)
	}
	if meta.Location != "" { // an emulator may not say
		if w.cfg.Location != "" && !strings.EqualFold(w.cfg.Location, meta.Location) {
			return nil, fmt.Errorf("table %s is in %s and not in %s, as location: says: %w; hint: a dataset stays where it was made", w.name(), meta.Location, w.cfg.Location, load.ErrTargetSchema)
		}
		w.location = meta.Location
	}
	w.dated = meta.TimePartitioning != nil
	return meta, nil
}

// incarnation is the time at which a table was made: one that is dropped and
// made anew has another.
func incarnation(meta *bigquery.TableMetadata) string {
	return strconv.FormatInt(meta.CreationTime.UnixMilli(), 10)
}

// Inspect implements load.Warehouse.
func (w *Warehouse) Inspect(ctx context.Context) (string, error) {
	meta, err := w.metadata(ctx)
	if err != nil || meta == nil {
		return "", err
	}
	return incarnation(meta), nil
}

// Prepare implements load.Warehouse. Columns that a table of dates lacks are added by the
// next load job, together with its rows (ALLOW_FIELD_ADDITION). Other changes, of
// descriptions and of what is REQUIRED, are made here, and so are those of a table
// without dates, whose loads take no such options. All jobs but one change no schema:
// one that meets a target that somebody changed meanwhile fails.
func (w *Warehouse) Prepare(ctx context.Context, t load.Table) (string, error) {
	want, err := fieldsOf(t.Schema.Fields, w.cfg.Format, "")
	if err != nil {
		return "", fmt.Errorf("prepare table %s: %w", w.name(), err)
	}
	const tries = 4 // others may make or change it at the same time
	for try := 1; ; try++ {
		meta, err := w.metadata(ctx)
		if err != nil {
			return "", err
		}
		w.grown = nil
		if meta == nil {
			meta, err = w.create(ctx, t, want)
		} else {
			meta, err = w.adapt(ctx, t, meta, want)
		}
		switch {
		case err == nil:
			if w.schema, err = raw(meta.Schema); err != nil {
				return "", fmt.Errorf("prepare table %s: %w", w.name(), err)
			}
			return incarnation(meta), nil
		case try < tries && (is(err, http.StatusConflict) || is(err, http.StatusPreconditionFailed)):
			continue
		}
		return "", fmt.Errorf("prepare table %s: %w", w.name(), meaning(err))
	}
}

func (w *Warehouse) create(ctx context.Context, t load.Table, want bigquery.Schema) (*bigquery.TableMetadata, error) {
	meta := &bigquery.TableMetadata{Schema: want, Labels: w.cfg.Labels}
	if t.DateColumn != "" {
		meta.TimePartitioning = &bigquery.TimePartitioning{Type: bigquery.DayPartitioningType, Field: t.DateColumn}
	}
	if len(w.cfg.ClusterBy) > 0 {
		for _, name := range w.cfg.ClusterBy {
			if t.Schema.Index(name) < 0 {
				return nil, fmt.Errorf("cluster_by: the table has no column %q: %w", name, load.ErrTargetSchema)
			}
		}
		meta.Clustering = &bigquery.Clustering{Fields: w.cfg.ClusterBy}
	}
	if w.cfg.Location != "" {
		dataset := w.client.DatasetInProject(w.project, w.dataset)
		err := w.call(ctx, callTime, func(ctx context.Context) error {
			_, err := dataset.Metadata(ctx)
			return err
		})
		if is(err, http.StatusNotFound) {
			err = w.call(ctx, callTime, func(ctx context.Context) error {
				return dataset.Create(ctx, &bigquery.DatasetMetadata{Location: w.cfg.Location, Labels: w.cfg.Labels})
			})
		}
		if err != nil && !is(err, http.StatusConflict) {
			return nil, err
		}
	}
	err := w.call(ctx, callTime, func(ctx context.Context) error { return w.target().Create(ctx, meta) })
	if err != nil {
		return nil, err
	}
	w.opts.Log.Info("made a table", "target", w.name())
	made, err := w.metadata(ctx)
	if err == nil && made == nil {
		err = fmt.Errorf("it is gone again: %w", load.ErrTargetSchema)
	}
	return made, err
}

// adapt brings a table that exists to the columns that are wanted.
func (w *Warehouse) adapt(ctx context.Context, t load.Table, meta *bigquery.TableMetadata, want bigquery.Schema) (*bigquery.TableMetadata, error) {
	by := ""
	if meta.TimePartitioning != nil {
		by = meta.TimePartitioning.Field
		if by == "" {
			by = "the time of loading"
		}
		if meta.TimePartitioning.Type != bigquery.DayPartitioningType {
			by += ", by " + strings.ToLower(string(meta.TimePartitioning.Type))
		}
	}
	switch {
	case meta.RangePartitioning != nil:
		return nil, fmt.Errorf("it is partitioned by ranges: %w", load.ErrTargetSchema)
	case !strings.EqualFold(by, t.DateColumn) && t.DateColumn != "":
		return nil, fmt.Errorf("it is partitioned by %s, and has to be by the days of %s: %w; hint: another target table, or drop this one", orNothing(by), t.DateColumn, load.ErrTargetSchema)
	case by != "" && t.DateColumn == "":
		return nil, fmt.Errorf("it is partitioned by %s, and all of its rows are replaced together: %w; hint: another target table", by, load.ErrTargetSchema)
	}
	merged, did, err := merge(meta.Schema, want, "")
	if err != nil || !did.adds && !did.alters {
		return meta, err
	}
	if t.DateColumn != "" && !did.alters {
		w.grown, meta.Schema = merged, merged
		return meta, nil
	}
	return w.change(ctx, meta, merged)
}

// change gives the target another schema; others have not changed it since meta was read.
func (w *Warehouse) change(ctx context.Context, meta *bigquery.TableMetadata, schema bigquery.Schema) (now *bigquery.TableMetadata, err error) {
	err = w.call(ctx, callTime, func(ctx context.Context) (err error) {
		now, err = w.target().Update(ctx, bigquery.TableMetadataToUpdate{Schema: schema}, meta.ETag)
		return err
	})
	if err != nil {
		return nil, err
	}
	w.opts.Log.Info("changed a table's columns", "target", w.name())
	return now, nil
}

func orNothing(text string) string {
	if text == "" {
		return "nothing"
	}
	return text
}

// partitionID is how BigQuery calls a partition: 20211130; "" is all of a table.
func partitionID(name string) string {
	if name == load.All {
		return ""
	}
	return strings.ReplaceAll(name, "-", "")
}

// written is what INFORMATION_SCHEMA.PARTITIONS tells of a partition.
type written struct {
	rows int64
	at   time.Time // of the last write of its data
}

func (p written) version() string { return strconv.FormatInt(p.at.UnixMicro(), 10) }

// partitions are those of the target, by id; those of "" where it has none. It is
// one query, whose price is the least that there is.
func (w *Warehouse) partitions(ctx context.Context) (map[string]written, error) {
	sql := fmt.Sprintf("SELECT partition_id, SUM(total_rows), MAX(last_modified_time) FROM %s.INFORMATION_SCHEMA.PARTITIONS WHERE table_name = %s GROUP BY partition_id",
		schemas.BigQuery.Quote(w.project+"."+w.dataset), schemas.BigQuery.Literal(w.table))
	all := map[string]written{}
	err := w.query(ctx, sql, func(row []bigquery.Value) error {
		var id string
		if row[0] != nil {
			id = fmt.Sprint(row[0])
		}
		rows, ok := row[1].(int64)
		at, known := row[2].(time.Time)
		if !ok || !known {
			return fmt.Errorf("the partition %s has no number of rows or time", id)
		}
		all[id] = written{rows, at}
		return nil
	})
	if err != nil && !is(err, http.StatusNotFound) {
		return nil, fmt.Errorf("look at the partitions of %s: %w", w.name(), meaning(err))
	}
	if _, told := all[""]; !told && !w.dated { // the view may leave such a table out
		meta, err := w.metadata(ctx)
		if err != nil {
			return nil, err
		}
		if meta != nil && !w.dated {
			all[""] = written{int64(meta.NumRows), meta.LastModifiedTime}
		}
	}
	return all, nil
}

// query runs SQL where the target is and hands each row to a function.
func (w *Warehouse) query(ctx context.Context, sql string, each func([]bigquery.Value) error) error {
	return w.call(ctx, queryTime, func(ctx context.Context) error {
		q := w.client.Query(sql)
		q.Location, q.Labels = w.location, w.labels(nil)
		rows, err := q.Read(ctx)
		if err != nil {
			return err
		}
		for {
			var row []bigquery.Value
			switch err := rows.Next(&row); {
			case errors.Is(err, iterator.Done):
				return nil
			case err != nil:
				return err
			}
			if err := each(row); err != nil {
				return err
			}
		}
	})
}

// labels are a job's.
func (w *Warehouse) labels(own map[string]string) map[string]string {
	all := maps.Clone(w.cfg.Labels)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, own)
	return all
}

// Held implements load.Warehouse. The Version is the time of a partition's last
// write. The ID is that of the load job during which it was, found among this
// account's jobs of the last week; older ones have none.
func (w *Warehouse) Held(ctx context.Context, _ load.Table, partitions []string) (map[string]load.Held, error) {
	if meta, err := w.metadata(ctx); err != nil || meta == nil { // queries run where the target is
		return nil, err
	}
	all, err := w.partitions(ctx)
	if err != nil {
		return nil, err
	}
	held := map[string]load.Held{}
	recent := map[string]written{}
	since := time.Now().Add(-remembered)
	for _, name := range partitions {
		if p, ok := all[partitionID(name)]; ok {
			held[name] = load.Held{Rows: p.rows, Version: p.version()}
			if p.at.After(since) {
				recent[partitionID(name)] = p
			}
		}
	}
	if len(recent) == 0 {
		return held, nil
	}
	ids, err := w.recentLoads(ctx, since, recent)
	if err != nil {
		return nil, err
	}
	for name, h := range held {
		h.ID = ids[partitionID(name)]
		held[name] = h
	}
	return held, nil
}

// Digest implements load.Warehouse.
func (w *Warehouse) Digest(ctx context.Context, t load.Table, partitions []string) (map[string]load.Digest, error) {
	meta, err := w.metadata(ctx)
	if err != nil || meta == nil {
		return nil, err
	}
	target := load.DigestTarget{Dialect: schemas.BigQuery, Name: schemas.BigQuery.Quote(w.name()), Text: digestText(w.cfg.Format)}
	for _, f := range meta.Schema {
		target.Columns = append(target.Columns, f.Name)
	}
	q := load.NewDigestQuery(target, t, partitions)
	var digests map[string]load.Digest
	err = w.query(ctx, q.SQL, func(row []bigquery.Value) error {
		cells := make([]string, len(row))
		for i, v := range row {
			if v != nil {
				cells[i] = fmt.Sprint(v)
			}
		}
		if digests == nil {
			digests = map[string]load.Digest{}
		}
		return q.Add(digests, cells)
	})
	if err != nil {
		return nil, fmt.Errorf("digest %s: %w", w.name(), meaning(err))
	}
	return digests, nil
}
