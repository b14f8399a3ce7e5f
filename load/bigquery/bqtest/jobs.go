//go:build cgo

package bqtest

import (
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	bq "google.golang.org/api/bigquery/v2"
)

// job is a load or query job.
type job struct {
	id, location string
	config       *bq.JobConfiguration
	polls        int  // that find it unfinished
	held         bool // it waits for Release
	made         time.Time
	started      time.Time
	ended        time.Time // zero: it is not DONE
	err          *apiError
	loaded       *bq.JobStatistics3
	answer       *answer // of a query
}

var jobID = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func key(location, id string) string { return strings.ToUpper(location) + "/" + id }

// insertJob takes a job. What is wrong with its configuration is an error at
// once; what is found when it runs is the job's.
func (s *Server) insertJob(r *http.Request) (any, error) {
	in, err := read[bq.Job](r)
	if err != nil {
		return nil, err
	}
	if in.Configuration == nil || (in.Configuration.Load == nil) == (in.Configuration.Query == nil) {
		return nil, invalid("Required parameter is missing: bqtest takes load and query jobs")
	}
	j := &job{config: in.Configuration, polls: s.opts.Polls}
	if ref := in.JobReference; ref != nil {
		j.id, j.location = ref.JobId, ref.Location
	}
	if j.id == "" {
		s.results++
		j.id = fmt.Sprintf("job_bqtest_%d", s.results)
	}
	if !jobID.MatchString(j.id) || len(j.id) > 1024 {
		return nil, invalid("Invalid job ID %q", j.id)
	}
	for key, value := range in.Configuration.Labels {
		if !labelKey.MatchString(key) || !labelValue.MatchString(value) {
			return nil, invalid("Invalid label %s: %s", key, value)
		}
	}
	home, err := s.locate(in.Configuration)
	if err != nil {
		return nil, err
	}
	if j.location != "" && home != "" && !strings.EqualFold(j.location, home) {
		return nil, notFound("Dataset was not found in location %s", j.location)
	}
	j.location = cmp.Or(j.location, home, s.opts.Location)
	// Of jobs with one id the first is taken, however it went.
	if s.jobs[key(j.location, j.id)] != nil {
		return nil, failure(http.StatusConflict, "duplicate", "", "Already Exists: Job %s:%s.%s", s.opts.Project, j.location, j.id)
	}
	if j.config.Load != nil {
		if err := s.acceptLoad(j.config.Load); err != nil {
			return nil, err
		}
	}
	j.made = s.tick()
	if j.config.DryRun { // it is checked, not run, and cannot be asked for
		j.ended = j.made
		return s.describeJob(j), nil
	}
	s.jobs[key(j.location, j.id)] = j
	s.order = append(s.order, j)
	if s.holdNext {
		s.holdNext, j.held = false, true
	}
	if j.polls == 0 && !j.held {
		s.finish(j)
	}
	return s.describeJob(j), nil
}

var (
	labelKey   = regexp.MustCompile(`^[\p{Ll}\p{Lo}][\p{Ll}\p{Lo}\p{N}_-]{0,62}$`)
	labelValue = regexp.MustCompile(`^[\p{Ll}\p{Lo}\p{N}_-]{0,63}$`)
)

// locate is the location of the dataset that a job is about.
func (s *Server) locate(c *bq.JobConfiguration) (string, error) {
	if c.Load == nil {
		return "", nil
	}
	to := c.Load.DestinationTable
	if to == nil {
		return "", invalid("Required parameter is missing: destinationTable")
	}
	if to.ProjectId != s.opts.Project {
		return "", failure(http.StatusForbidden, "accessDenied", "", "Access Denied: Project %s", to.ProjectId)
	}
	d, err := s.datasetByID(to.DatasetId)
	if err != nil {
		return "", err
	}
	return d.location, nil
}

// finish runs a job to its end.
func (s *Server) finish(j *job) {
	if !j.ended.IsZero() {
		return
	}
	j.started = s.tick()
	var err error
	if fault := s.faultOf("job"); fault != nil {
		err = failure(fault.Code, fault.Reason, "", "%s", fault.Message)
	} else if j.config.Load != nil {
		j.loaded, err = s.load(j.config.Load)
	} else {
		j.answer, err = s.query(j.config.Query)
	}
	if err != nil {
		j.err = asAPI(err)
	}
	j.ended = s.tick()
}

func (s *Server) findJob(r *http.Request) (*job, error) {
	// Without a location only the multi-regions US and EU are searched.
	for _, location := range []string{r.URL.Query().Get("location"), "US", "EU"} {
		if location == "" {
			continue
		}
		if j := s.jobs[key(location, r.PathValue("job"))]; j != nil {
			return j, nil
		}
		if r.URL.Query().Get("location") != "" {
			break
		}
	}
	return nil, notFound("Job %s:%s", s.opts.Project, r.PathValue("job"))
}

// getJob tells a job's state; to be asked for it is what makes it go on.
func (s *Server) getJob(r *http.Request) (any, error) {
	j, err := s.findJob(r)
	if err != nil {
		return nil, err
	}
	s.step(j)
	return s.describeJob(j), nil
}

func (s *Server) step(j *job) {
	if j.held || !j.ended.IsZero() {
		return
	}
	if j.polls--; j.polls <= 0 {
		s.finish(j)
	}
}

func (s *Server) state(j *job) string {
	switch {
	case !j.ended.IsZero():
		return "DONE"
	case j.polls*2 > s.opts.Polls:
		return "PENDING"
	default:
		return "RUNNING"
	}
}

func (s *Server) describeJob(j *job) *bq.Job {
	out := &bq.Job{Kind: "bigquery#job", Id: s.opts.Project + ":" + j.location + "." + j.id, JobReference: s.jobRef(j), Configuration: j.config, UserEmail: "lake@example.com",
		Status: &bq.JobStatus{State: s.state(j)}, Statistics: &bq.JobStatistics{CreationTime: j.made.UnixMilli()}}
	if !j.started.IsZero() {
		out.Statistics.StartTime, out.Statistics.EndTime = j.started.UnixMilli(), j.ended.UnixMilli()
	}
	if j.err != nil {
		out.Status.ErrorResult = &j.err.ErrorProto
		out.Status.Errors = []*bq.ErrorProto{&j.err.ErrorProto}
	}
	out.Statistics.Load = j.loaded
	if j.config.Query != nil {
		out.Statistics.Query = &bq.JobStatistics2{StatementType: "SELECT"}
	}
	return out
}

// listJobs lists jobs, the newest first, in pages.
func (s *Server) listJobs(r *http.Request) (any, error) {
	q := r.URL.Query()
	number := func(name string, otherwise int64) (int64, error) {
		if q.Get(name) == "" {
			return otherwise, nil
		}
		n, err := strconv.ParseInt(q.Get(name), 10, 64)
		if err != nil {
			return 0, invalid("Invalid value for %s: %s", name, q.Get(name))
		}
		return n, nil
	}
	since, err := number("minCreationTime", 0)
	if err != nil {
		return nil, err
	}
	size, err := number("maxResults", 50)
	if err != nil {
		return nil, err
	}
	from, err := number("pageToken", 0)
	if err != nil {
		return nil, err
	}
	out := &bq.JobList{Kind: "bigquery#jobList"}
	var at int64
	for _, j := range slices.Backward(s.order) {
		state := strings.ToLower(s.state(j))
		if states := q["stateFilter"]; len(states) > 0 && !slices.Contains(states, state) || j.made.UnixMilli() < since {
			continue
		}
		if at++; at <= from {
			continue
		}
		if int64(len(out.Jobs)) == size {
			out.NextPageToken = strconv.FormatInt(at-1, 10)
			break
		}
		one := s.describeJob(j)
		entry := &bq.JobListJobs{Id: one.Id, JobReference: one.JobReference, State: one.Status.State, Statistics: one.Statistics, ErrorResult: one.Status.ErrorResult, Status: one.Status}
		if q.Get("projection") == "full" {
			entry.Configuration = one.Configuration
		}
		out.Jobs = append(out.Jobs, entry)
	}
	return out, nil
}

// Hold keeps the next job from ending, until Release.
func (s *Server) Hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holdNext = true
}

// Release lets a held job end, now.
func (s *Server) Release(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.order {
		if j.id == id && j.held {
			j.held = false
			s.finish(j)
			return nil
		}
	}
	return fmt.Errorf("no job %s is held", id)
}

// Job is what a test sees of a job.
type Job struct {
	ID, Location, State string
	Reason              string // of its error; "": none
	Destination         string // dataset.table$partition
	URIs                []string
	Rows, Files         int64
	Labels              map[string]string
	Load                *bq.JobConfigurationLoad
}

// Loads are the load jobs, in the order in which they came.
func (s *Server) Loads() []Job {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Job
	for _, j := range s.order {
		if j.config.Load == nil {
			continue
		}
		to := j.config.Load.DestinationTable
		one := Job{ID: j.id, Location: j.location, State: s.state(j), Destination: to.DatasetId + "." + to.TableId, URIs: j.config.Load.SourceUris, Labels: j.config.Labels, Load: j.config.Load}
		if j.err != nil {
			one.Reason = j.err.Reason
		}
		if j.loaded != nil {
			one.Rows, one.Files = j.loaded.OutputRows, j.loaded.InputFiles
		}
		all = append(all, one)
	}
	return all
}
