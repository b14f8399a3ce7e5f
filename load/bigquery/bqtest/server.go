//go:build cgo

package bqtest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/duckdb/duckdb-go/v2"
	bq "google.golang.org/api/bigquery/v2"
)

// Options of a server. Zero values choose the defaults.
type Options struct {
	Project  string // "lake-test"
	Location string // of new datasets that say none; "US"
	// Buckets is a folder of buckets, each a folder whose files are its objects, as
	// the emulator of Google Cloud Storage keeps them; "": there is no bucket.
	Buckets string
	// Polls is how often a job is asked for before it is DONE: half of them find it
	// PENDING, the others RUNNING. 0: it is DONE when insert answers.
	Polls int
	// LoadsPerTable is the quota of load jobs of a table, and PartitionWrites of
	// modifications of partitions; 0: 1,500 and 11,000, as in a day.
	LoadsPerTable, PartitionWrites int
	// Token, where not "", is what every request must bear.
	Token string
}

// Server is a BigQuery. Its methods may be called at the same time.
type Server struct {
	opts Options
	http *httptest.Server
	db   *sql.DB
	ctx  context.Context // ends with Close, and with it replies that hang
	end  context.CancelFunc

	mu       sync.Mutex // all below, and the database
	now      time.Time  // of the last event: times only grow
	datasets map[string]*dataset
	jobs     map[string]*job // by location and id
	order    []*job          // as they came
	faults   []*Fault
	calls    map[string]int
	results  int // of queries, for their ids
	holdNext bool
}

// New starts a server. The caller closes it.
func New(o Options) (*Server, error) {
	if o.Project == "" {
		o.Project = "lake-test"
	}
	if o.Location == "" {
		o.Location = "US"
	}
	if o.LoadsPerTable == 0 {
		o.LoadsPerTable = 1500
	}
	if o.PartitionWrites == 0 {
		o.PartitionWrites = 11000
	}
	connector, err := duckdb.NewConnector("", func(conn driver.ExecerContext) error {
		for _, statement := range append([]string{"SET TimeZone = 'UTC'", "SET threads = 2", "SET memory_limit = '512MiB'"}, macros...) {
			if _, err := conn.ExecContext(context.Background(), statement, nil); err != nil {
				return fmt.Errorf("%s: %w", statement, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("start a BigQuery for tests: %w", err)
	}
	s := &Server{opts: o, db: sql.OpenDB(connector), datasets: map[string]*dataset{}, jobs: map[string]*job{}, calls: map[string]int{}}
	s.ctx, s.end = context.WithCancel(context.Background())
	s.db.SetMaxOpenConns(1) // one database in memory, one transaction at a time
	if err := s.db.PingContext(s.ctx); err != nil {
		s.end()
		return nil, errors.Join(fmt.Errorf("start a BigQuery for tests: %w", err), s.db.Close())
	}
	s.http = httptest.NewServer(s.handler())
	return s, nil
}

// Close stops it.
func (s *Server) Close() error {
	s.end()
	s.http.CloseClientConnections()
	s.http.Close()
	return s.db.Close()
}

// Endpoint is what a client takes as its endpoint: http://127.0.0.1:port/bigquery/v2/.
func (s *Server) Endpoint() string { return s.http.URL + "/bigquery/v2/" }

// Project is the one project that it has.
func (s *Server) Project() string { return s.opts.Project }

// Calls is how often a method was called (Fault.Call has the names).
func (s *Server) Calls(call string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[call]
}

// Exec runs DuckDB's SQL on the rows, past all of BigQuery's bookkeeping; tables
// are "dataset"."table".
func (s *Server) Exec(statement string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.db.ExecContext(s.ctx, statement)
	return err
}

// Texts answers a query in DuckDB's SQL: each row's cells as text, NULL as "NULL".
func (s *Server) Texts(query string) ([][]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows, err := s.db.QueryContext(s.ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var all [][]string
	for rows.Next() {
		cells := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range cells {
			into[i] = &cells[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		line := make([]string, len(cells))
		for i, c := range cells {
			line[i] = "NULL"
			if c.Valid {
				line[i] = c.String
			}
		}
		all = append(all, line)
	}
	return all, rows.Err()
}

// tick is the time of an event, in whole microseconds, later than all before.
func (s *Server) tick() time.Time {
	now := time.Now().UTC().Truncate(time.Microsecond)
	if !now.After(s.now) {
		now = s.now.Add(time.Microsecond)
	}
	s.now = now
	return now
}

// endpointFunc answers a call: the body of the reply, or an error.
type endpointFunc func(r *http.Request) (reply any, err error)

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, e := range []struct {
		pattern, call string
		answer        endpointFunc
	}{
		{"POST /projects/{project}/datasets", "datasets.insert", s.insertDataset},
		{"GET /projects/{project}/datasets/{dataset}", "datasets.get", s.getDataset},
		{"POST /projects/{project}/datasets/{dataset}/tables", "tables.insert", s.insertTable},
		{"GET /projects/{project}/datasets/{dataset}/tables/{table}", "tables.get", s.getTable},
		{"PATCH /projects/{project}/datasets/{dataset}/tables/{table}", "tables.patch", s.patchTable},
		{"DELETE /projects/{project}/datasets/{dataset}/tables/{table}", "tables.delete", s.deleteTable},
		{"POST /projects/{project}/jobs", "jobs.insert", s.insertJob},
		{"GET /projects/{project}/jobs", "jobs.list", s.listJobs},
		{"GET /projects/{project}/jobs/{job}", "jobs.get", s.getJob},
		{"POST /projects/{project}/queries", "jobs.query", s.runQuery},
		{"GET /projects/{project}/queries/{job}", "jobs.getQueryResults", s.queryResults},
	} {
		mux.HandleFunc(e.pattern, func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, e.call, e.answer) })
	}
	return http.StripPrefix("/bigquery/v2", mux)
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, call string, do endpointFunc) {
	s.mu.Lock()
	s.calls[call]++
	fault := s.faultOf(call)
	s.mu.Unlock()
	var reply any
	var err error
	switch {
	case s.opts.Token != "" && r.Header.Get("Authorization") != "Bearer "+s.opts.Token:
		err = unauthorized()
	case fault != nil && !fault.Lost:
		err = fault.happen(r, s.ctx)
	case r.PathValue("project") != s.opts.Project:
		err = failure(http.StatusForbidden, "accessDenied", "", "Access Denied: Project %s: User does not have permission in project %s.", r.PathValue("project"), r.PathValue("project"))
	default:
		s.mu.Lock()
		reply, err = do(r)
		s.mu.Unlock()
	}
	if fault != nil && fault.Lost {
		err = errCut
	}
	if errors.Is(err, errCut) {
		panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's way to cut a connection
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	if err != nil {
		reply = replyOf(err, w)
	} else if reply == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	_ = json.NewEncoder(w).Encode(reply) // a client that is gone has no use for it
}

// read takes a request's body.
func read[T any](r *http.Request) (*T, error) {
	var v T
	if err := json.NewDecoder(r.Body).Decode(&v); err != nil {
		return nil, failure(http.StatusBadRequest, "parseError", "", "Parse Error: %v", err)
	}
	return &v, nil
}

// quote is a name in DuckDB's SQL.
func quote(parts ...string) string {
	for i, p := range parts {
		parts[i] = `"` + strings.ReplaceAll(p, `"`, `""`) + `"`
	}
	return strings.Join(parts, ".")
}

func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// jobRef is a reference in replies.
func (s *Server) jobRef(j *job) *bq.JobReference {
	return &bq.JobReference{ProjectId: s.opts.Project, JobId: j.id, Location: j.location}
}
