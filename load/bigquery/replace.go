package bigquery

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/bigquery"
	bq "google.golang.org/api/bigquery/v2"

	"lake/load"
	"lake/schemas"
)

const (
	mostFiles  = 10_000             // URIs of a job, by the quotas
	mostTried  = 1000               // attempts of one load, over all runs
	remembered = 7 * 24 * time.Hour // how far back jobs are looked through
	jobPages   = 10                 // of a thousand jobs
)

// Replace implements load.Warehouse.
func (w *Warehouse) Replace(ctx context.Context, l load.Load) (load.Held, error) {
	held, err := w.replace(ctx, l)
	if err != nil {
		return load.Held{}, fmt.Errorf("load into %s: %w", w.name()+decorator(l), err)
	}
	return held, nil
}

func decorator(l load.Load) string {
	if id := partitionID(l.Name); id != "" {
		return "$" + id
	}
	return ""
}

func (w *Warehouse) replace(ctx context.Context, l load.Load) (held load.Held, err error) {
	if len(l.Files) > mostFiles {
		return held, fmt.Errorf("%w: it has %d files and a job takes %d; hint: lake compact", load.ErrRejected, len(l.Files), mostFiles)
	}
	for _, f := range l.Files {
		if !strings.HasPrefix(f.URI, "gs://") {
			return held, fmt.Errorf("BigQuery does not read %s: %w; hint: staging: gs://bucket/tmp in the job file", f.URI, load.ErrRejected)
		}
	}
	if w.schema == nil {
		meta, err := w.metadata(ctx)
		if err != nil {
			return held, err
		}
		if meta == nil {
			return held, fmt.Errorf("there is no such table: %w; hint: run lake load again, it makes it", load.ErrTargetSchema)
		}
		if w.schema, err = raw(meta.Schema); err != nil {
			return held, err
		}
	}
	if err := w.checkRows(ctx, l); err != nil {
		return held, err
	}
	if err := w.settle(ctx, l); err != nil {
		return held, err
	}
	if len(l.Files) == 0 {
		return w.empty(ctx, l)
	}
	return w.attempt(ctx, l)
}

// checkRows compares the files with what the table says of them, before any row
// is in BigQuery: it takes what a file has.
func (w *Warehouse) checkRows(ctx context.Context, l load.Load) error {
	var sum int64
	for _, f := range l.Files {
		rows := f.Rows
		if w.opts.Rows != nil && w.cfg.Format == Parquet {
			var err error
			if rows, err = w.opts.Rows(ctx, f.URI); err != nil {
				return fmt.Errorf("count the rows of %s: %w", f.URI, err)
			}
		}
		sum += rows
	}
	if sum != l.Rows {
		return fmt.Errorf("its files have %d rows and the table says %d: %w; nothing was changed", sum, l.Rows, load.ErrRejected)
	}
	return nil
}

// empty takes away the rows of a partition that has none any more.
func (w *Warehouse) empty(ctx context.Context, l load.Load) (load.Held, error) {
	if id := partitionID(l.Name); id != "" {
		if w.grown != nil { // there is no job that could add them
			meta, err := w.metadata(ctx)
			if err == nil && meta != nil {
				_, err = w.change(ctx, meta, w.grown)
			}
			if err != nil {
				return load.Held{}, fmt.Errorf("add columns: %w", meaning(err))
			}
			w.grown = nil
		}
		err := w.call(ctx, callTime, func(ctx context.Context) error {
			return w.client.DatasetInProject(w.project, w.dataset).Table(w.table + "$" + id).Delete(ctx)
		})
		if err != nil && !is(err, http.StatusNotFound) {
			return load.Held{}, fmt.Errorf("drop the partition: %w", meaning(err))
		}
		return load.Held{ID: l.ID}, nil
	}
	err := w.query(ctx, "TRUNCATE TABLE "+schemas.BigQuery.Quote(w.name()), func([]bigquery.Value) error { return nil })
	if err != nil {
		return load.Held{}, fmt.Errorf("empty the table: %w", meaning(err))
	}
	all, err := w.partitions(ctx)
	if err != nil {
		return load.Held{}, err
	}
	return load.Held{ID: l.ID, Rows: all[""].rows, Version: all[""].version()}, nil
}

// attempt finds the newest attempt of a load, or makes one.
func (w *Warehouse) attempt(ctx context.Context, l load.Load) (load.Held, error) {
	made := 0
	pause := w.opts.Pause
	for n := 1; n <= mostTried; n++ {
		job, err := w.job(ctx, jobID(l.ID, n))
		if err != nil {
			return load.Held{}, err
		}
		own := job == nil
		if own {
			if job, err = w.insert(ctx, l, n); err != nil {
				return load.Held{}, err
			}
			made++
		}
		if job, err = w.wait(ctx, job); err != nil {
			return load.Held{}, err
		}
		failed := job.Status.ErrorResult
		if failed == nil {
			if own { // one of an earlier run may have had another schema
				w.grown = nil
			}
			held, current, err := w.done(ctx, l, job, own)
			if err != nil || current {
				return held, err
			}
			continue // somebody wrote the partition after that job
		}
		w.opts.Log.Warn("a load job failed", "target", w.name(), "partition", l.Name, "job", job.JobReference.JobId, "reason", failed.Reason)
		if !own {
			continue // of an earlier run: what was wrong may be mended
		}
		if !passesAsJob(failed) || made == w.opts.Attempts {
			return load.Held{}, jobError(job)
		}
		if err := sleep(ctx, pause); err != nil {
			return load.Held{}, err
		}
		pause = min(2*pause, longestPause)
	}
	return load.Held{}, fmt.Errorf("%w: %d attempts of this load failed; hint: lake load --force", load.ErrRejected, mostTried)
}

func passesAsJob(e *bq.ErrorProto) bool {
	_, kind := kindOf(0, e.Reason, e.Message)
	return kind == load.ErrAway && e.Reason != "quotaExceeded" && e.Reason != "stopped"
}

func jobID(load string, attempt int) string { return "lake_" + load + "_" + strconv.Itoa(attempt) }

var ownID = compiled(`^lake_([0-9a-f]{24})_[0-9]+$`)

// job reads a job back, nil where there is none.
func (w *Warehouse) job(ctx context.Context, id string) (*bq.Job, error) {
	var job *bq.Job
	err := w.call(ctx, callTime, func(ctx context.Context) (err error) {
		job, err = w.jobs.Get(w.cfg.Project, id).Location(w.location).Context(ctx).Do()
		return err
	})
	if is(err, http.StatusNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at job %s: %w", id, meaning(err))
	}
	return job, nil
}

// insert hands BigQuery a job. Where the reply is lost the repetition is told that
// the id is in use, and the job is read back.
func (w *Warehouse) insert(ctx context.Context, l load.Load, n int) (*bq.Job, error) {
	id := jobID(l.ID, n)
	var job *bq.Job
	err := w.call(ctx, callTime, func(ctx context.Context) (err error) {
		job, err = w.jobs.Insert(w.cfg.Project, &bq.Job{
			JobReference:  &bq.JobReference{ProjectId: w.cfg.Project, JobId: id, Location: w.location},
			Configuration: w.configuration(l),
		}).Context(ctx).Do()
		return err
	})
	switch {
	case is(err, http.StatusConflict):
		if job, err = w.job(ctx, id); err == nil && job == nil {
			err = fmt.Errorf("the id of job %s is in use, and there is no such job in %s: %w", id, w.location, load.ErrAway)
		}
		return job, err
	case err != nil:
		return nil, fmt.Errorf("begin job %s: %w", id, meaning(err))
	}
	w.opts.Log.Debug("began a load job", "target", w.name(), "partition", l.Name, "job", id, "files", len(l.Files))
	return job, nil
}

func (w *Warehouse) configuration(l load.Load) *bq.JobConfiguration {
	c := &bq.JobConfigurationLoad{
		DestinationTable: &bq.TableReference{ProjectId: w.project, DatasetId: w.dataset, TableId: w.table + decorator(l)},
		SourceUris:       sortedURIs(l.Files),
		SourceFormat:     "PARQUET",
		// The schema is the target's: a file's columns are matched with it by name.
		Schema:            w.schema,
		WriteDisposition:  "WRITE_TRUNCATE",
		CreateDisposition: "CREATE_NEVER", // one that was dropped is not made without its partitions
		ParquetOptions:    &bq.ParquetOptions{EnableListInference: true, MapTargetType: "ARRAY_OF_STRUCT"},
	}
	if w.grown != nil { // allowed with WRITE_TRUNCATE where the destination is a partition
		c.SchemaUpdateOptions = []string{"ALLOW_FIELD_ADDITION"}
	}
	if w.cfg.Format == JSON {
		c.SourceFormat, c.ParquetOptions = "NEWLINE_DELIMITED_JSON", nil
	}
	return &bq.JobConfiguration{Load: c, Labels: w.labels(map[string]string{"lake_load": l.ID, "lake_partition": l.Name})}
}

// wait looks at a job until it is DONE.
func (w *Warehouse) wait(ctx context.Context, job *bq.Job) (*bq.Job, error) {
	begin := time.Now()
	pause := w.opts.Pause
	id := job.JobReference.JobId
	for job.Status.State != "DONE" {
		if time.Since(begin) > jobTime {
			return nil, fmt.Errorf("job %s is %s after %s: %w; the next run looks at it", id, job.Status.State, jobTime, load.ErrAway)
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, fmt.Errorf("job %s is %s and goes on by itself; the next run looks at it: %w", id, job.Status.State, err)
		}
		pause = min(2*pause, longestPause)
		again, err := w.job(ctx, id)
		if err != nil {
			return nil, err
		}
		if again == nil {
			return nil, fmt.Errorf("job %s is gone: %w", id, load.ErrAway)
		}
		job = again
	}
	return job, nil
}

// done tells what is there after a job that succeeded. It is not current where
// somebody wrote the partition since: a job of an earlier run then says nothing.
func (w *Warehouse) done(ctx context.Context, l load.Load, job *bq.Job, own bool) (held load.Held, current bool, err error) {
	id := job.JobReference.JobId
	begin, end := time.UnixMilli(job.Statistics.StartTime), time.UnixMilli(job.Statistics.EndTime)
	var p written
	for try := 1; ; try++ { // what BigQuery tells of partitions may be a little behind
		all, err := w.partitions(ctx)
		if err != nil {
			return held, false, err
		}
		p = all[partitionID(l.Name)]
		if !p.at.Before(begin) || l.Rows == 0 || try == 5 {
			break
		}
		if err := sleep(ctx, w.opts.Pause); err != nil {
			return held, false, err
		}
	}
	if !own && p.at.Truncate(time.Millisecond).After(end) {
		return held, false, nil
	}
	if s := job.Statistics.Load; s != nil && s.OutputRows != l.Rows {
		return held, false, fmt.Errorf("job %s loaded %d rows and the table says %d: %w; hint: lake audit", id, s.OutputRows, l.Rows, load.ErrRejected)
	}
	if p.rows != l.Rows {
		return held, false, fmt.Errorf("job %s loaded %d rows and %d are there: %w; hint: somebody else writes this partition", id, l.Rows, p.rows, load.ErrBusy)
	}
	return load.Held{ID: l.ID, Rows: p.rows, Version: p.version()}, true, nil
}

// settle waits for load jobs of this partition that an earlier run began and left:
// one that ended after ours would put its older rows there.
func (w *Warehouse) settle(ctx context.Context, l load.Load) error {
	var open []*bq.Job
	err := w.listJobs(ctx, func(c *bq.JobsListCall) { c.StateFilter("pending", "running") }, func(j *bq.JobListJobs) bool {
		id, partition, own := w.ours(j)
		if own && partition == partitionID(l.Name) && id != l.ID {
			open = append(open, &bq.Job{JobReference: j.JobReference, Status: j.Status})
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, job := range open {
		w.opts.Log.Info("waiting for an older load of this partition", "target", w.name(), "partition", l.Name, "job", job.JobReference.JobId)
		if _, err := w.wait(ctx, job); err != nil {
			return err
		}
	}
	return nil
}

// ours tells a load job into the target: the load's ID and the partition.
func (w *Warehouse) ours(j *bq.JobListJobs) (id, partition string, own bool) {
	if j.JobReference == nil || j.Status == nil || j.Statistics == nil || j.Configuration == nil || j.Configuration.Load == nil || j.Configuration.Load.DestinationTable == nil {
		return "", "", false
	}
	m := ownID().FindStringSubmatch(j.JobReference.JobId)
	to := j.Configuration.Load.DestinationTable
	table, partition, _ := strings.Cut(to.TableId, "$")
	if m == nil || to.ProjectId != w.project || to.DatasetId != w.dataset || table != w.table {
		return "", "", false
	}
	return m[1], partition, true
}

// listJobs goes through this account's jobs, the newest first, until each has enough.
func (w *Warehouse) listJobs(ctx context.Context, which func(*bq.JobsListCall), each func(*bq.JobListJobs) bool) error {
	token := ""
	for range jobPages {
		var page *bq.JobList
		err := w.call(ctx, callTime, func(ctx context.Context) (err error) {
			call := w.jobs.List(w.cfg.Project).Projection("full").MaxResults(1000).PageToken(token).Context(ctx)
			which(call)
			page, err = call.Do()
			return err
		})
		if is(err, http.StatusForbidden) && !passes(err) {
			// Who may run jobs need not be allowed to list them.
			w.opts.Log.Warn("cannot list the jobs: loads that an earlier run left are not waited for; hint: roles/bigquery.user", "project", w.cfg.Project)
			return nil
		}
		if err != nil {
			return fmt.Errorf("list the jobs of project %s: %w", w.cfg.Project, meaning(err))
		}
		for _, j := range page.Jobs {
			if !each(j) {
				return nil
			}
		}
		if token = page.NextPageToken; token == "" {
			return nil
		}
	}
	return nil
}

// recentLoads are the IDs of the loads that wrote partitions last.
func (w *Warehouse) recentLoads(ctx context.Context, since time.Time, partitions map[string]written) (map[string]string, error) {
	ids := map[string]string{}
	ended := map[string]int64{}
	// A load that began before may have ended since.
	from := uint64(since.Add(-jobTime).UnixMilli())
	err := w.listJobs(ctx, func(c *bq.JobsListCall) { c.MinCreationTime(from).StateFilter("done") }, func(j *bq.JobListJobs) bool {
		id, partition, own := w.ours(j)
		p, asked := partitions[partition]
		if !own || !asked || j.Status.ErrorResult != nil || j.ErrorResult != nil {
			return true
		}
		// A job's rows are there before its end, which is in milliseconds.
		at := p.at.UnixMilli()
		rows := j.Statistics.Load == nil || j.Statistics.Load.OutputRows == p.rows
		if j.Statistics.CreationTime <= at && at <= j.Statistics.EndTime && rows && j.Statistics.EndTime > ended[partition] {
			ids[partition], ended[partition] = id, j.Statistics.EndTime
		}
		return true
	})
	return ids, err
}

// sortedURIs are a load's files.
func sortedURIs(files []load.File) []string {
	uris := make([]string, len(files))
	for i, f := range files {
		uris[i] = f.URI
	}
	slices.Sort(uris)
	return uris
}
