// Package jobs is the job file: one pipeline, from its source to its warehouses,
// as a person writes it. Parsing is strict and reports all errors at once, each
// with its place and how to mend it. What an adapter's options mean is the
// adapter's: they stay undecoded until Adapter.Decode. The files beside this
// package are the jobs that ship.
package jobs

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Version is the job file's version that this lake reads.
const Version = 1

// Job is a job file. What the file leaves out has its default.
type Job struct {
	Path       string     `yaml:"-"` // absolute
	Version    int        `yaml:"version"`
	Name       Text       `yaml:"name"` // the pipeline's identity
	Source     Adapter    `yaml:"source"`
	Decode     Decode     `yaml:"decode"`
	Schema     []Field    `yaml:"schema"` // in the file's order
	Time       Time       `yaml:"time"`
	Storage    Adapters   `yaml:"storage"` // of the stores that URIs name; none: as the environment has them
	Catalog    Adapter    `yaml:"catalog"` // zero: SQLite in the warehouse
	Table      Table      `yaml:"table"`
	Commit     Commit     `yaml:"commit"`
	Compact    Compact    `yaml:"compact"`
	Rules      []Rule     `yaml:"rules"` // in the file's order
	DeadLetter DeadLetter `yaml:"dead_letter"`
	Load       []Adapter  `yaml:"load"`
	Publish    Publish    `yaml:"publish"`
}

// Decode is how records are read.
type Decode struct {
	Format Text `yaml:"format"` // json, the default
}

// Time is the event time.
type Time struct {
	Field           Text     `yaml:"field"`            // a timestamp column, or _timestamp: the record's own time
	Zone            Text     `yaml:"zone"`             // IANA zone of dt, of answers, and of texts without a zone; "" is UTC
	Format          Text     `yaml:"format"`           // strftime codes of Field, where its column has none
	AllowedLateness Duration `yaml:"allowed_lateness"` // that the watermark stays behind the largest time; default 0
	IdleAfter       Duration `yaml:"idle_after"`       // without records a partition steps aside; default 30s
	MaxFuture       Duration `yaml:"max_future"`       // ahead of the clock that an event may move the watermark; default 24h, 0s: any
	Future          Text     `yaml:"future"`           // what becomes of a record beyond it: keep (default), dead_letter
}

// Table is where rows land.
type Table struct {
	Name        Text     `yaml:"name"`         // namespace.table
	Location    Text     `yaml:"location"`     // URI or path; "" is inside the warehouse
	PartitionBy []Text   `yaml:"partition_by"` // dt, a column, hour(ts), bucket(16, user_id); default dt where there is an event time
	SortBy      []Text   `yaml:"sort_by"`      // columns by which compaction sorts a partition's rows; none: it leaves them as they come
	Retain      Duration `yaml:"retain"`       // dates that are wholly older are dropped by lake compact --expire; 0: none ever
}

// Commit says when a run commits: whichever comes first. A run that ends with
// its source commits there, and before at bounds of its own unless the file has some.
type Commit struct {
	Interval   Duration `yaml:"interval"`    // of a run that follows; default 10s
	MaxRecords int64    `yaml:"max_records"` // default 1,000,000 where it follows; 0: the file has none
	MaxBytes   int64    `yaml:"max_bytes"`   // of records as they come; default 256 MiB where it follows; 0: the file has none
}

// Compact says how the table is kept in shape by a run that follows its source.
type Compact struct {
	Auto      bool     `yaml:"auto"`      // default true
	Snapshots Duration `yaml:"snapshots"` // how long snapshots are kept, the newest hundred always; default 24h
	// MaxSnapshots bounds them where a job commits often: each commit reads and
	// writes the list of them. Default 100, the least; readers who go back further need more.
	MaxSnapshots int64 `yaml:"max_snapshots"`
	MinFiles     int64 `yaml:"min_files"` // small files of a partition that are worth a rewrite; default 5
}

// Rule is a query with when and whither it answers.
type Rule struct {
	Name  Text      `yaml:"-"`
	SQL   Text      `yaml:"sql"`
	Emit  Text      `yaml:"emit"`  // on_cross (default), on_change, on_close
	Scope Text      `yaml:"scope"` // all (default), partition
	To    []Adapter `yaml:"to"`
}

// DeadLetter says how many bad records a run bears.
type DeadLetter struct {
	MaxRatio float64 `yaml:"max_ratio"` // of all records, 0 to 1; default 0.01
}

// Publish says what lake publish writes where its flags do not.
type Publish struct {
	To           Text `yaml:"to"`            // URI or path of the folder that has the dates' folders; "" is beside the table
	Layout       Text `yaml:"layout"`        // strftime codes of a date's folder: data_%Y_%m_%d, dt=%Y-%m-%d
	Format       Text `yaml:"format"`        // parquet (default), csv, jsonl
	StorageClass Text `yaml:"storage_class"` // of the data, on stores that have classes: ARCHIVE
}

// defaults is a job that says nothing.
func defaults() *Job {
	return &Job{
		Time:       Time{IdleAfter: Duration{Duration: 30 * time.Second}, MaxFuture: Duration{Duration: 24 * time.Hour}},
		Commit:     Commit{Interval: Duration{Duration: 10 * time.Second}},
		Compact:    Compact{Auto: true, Snapshots: Duration{Duration: 24 * time.Hour}, MaxSnapshots: 100, MinFiles: 5},
		DeadLetter: DeadLetter{MaxRatio: 0.01},
	}
}

// Load parses the job file at path with this process's environment. Where the
// file can be read, errors are Errors, and the job, unless nil, has what is right.
func Load(path string) (*Job, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the job file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the job file %s: %w", path, err)
	}
	return Parse(path, data, os.LookupEnv)
}

// Parse reads a job file. file names it in errors, which are Errors, in the
// file's order. Beside errors the job, unless nil, has what is right: who checks
// further finds the rest. Values that errors are about are left out of it.
func Parse(file string, data []byte, env func(string) (string, bool)) (*Job, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("find the job file %s: %w", file, err)
	}
	d := &document{findings: findings{file: file}, env: env, texts: map[ast.Node]Text{}, broken: map[ast.Node]bool{},
		places: map[string]Pos{}, faulty: map[string]bool{}}
	body := d.read(data)
	if body == nil {
		return nil, d.err()
	}
	if shapeOf(body) != isMapping {
		d.wrong(body, "", "a mapping", "a job file begins with version: 1")
		return nil, d.err()
	}
	if !d.version(body) {
		return nil, d.err()
	}
	job := defaults()
	job.Path = path
	d.decode(body, reflect.ValueOf(job).Elem(), "")
	d.check(job, position(body))
	return job, d.err()
}

// version refuses a file of another version before its keys are read: they may
// mean something else.
func (d *document) version(body ast.Node) bool {
	for _, e := range d.sub().entries(body, "") {
		if e.key != "version" {
			continue
		}
		if s := shapeOf(e.value); s > isBool {
			d.wrong(e.value, "version", "a number", "write version: 1")
			return false
		}
		t := d.text(e.value)
		n, err := parseInteger(t.Value)
		switch {
		case err != nil:
			d.add(t.Pos, "write version: 1", "version: %v: %q", err, clip(t.Written))
		case n > Version:
			d.add(t.Pos, "run a newer lake", "version: the file is of version %d, this lake reads version %d", n, Version)
		case n < Version:
			d.add(t.Pos, "write version: 1", "version: there is no version %d", n)
		default:
			return true
		}
		return false
	}
	d.add(position(body), "begin the file with version: 1", "version: is missing")
	return true
}

// Resolve is path as seen from the job file's folder; absolute paths stay.
func (j *Job) Resolve(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(filepath.Dir(j.Path), path)
}
