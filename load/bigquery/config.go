// Package bigquery loads tables into BigQuery: a load job a partition, from the
// exact list of its files on Google Cloud Storage into table$YYYYMMDD with
// WRITE_TRUNCATE, which is atomic.
//
// A job's id is lake_<the load's ID>_<attempt>. BigQuery takes an id once, and a
// job that it took goes on whoever asks for it: so a reply that was lost, a process
// that was killed and a run that is repeated all find the job by its id, and only
// when that one is read to have failed another attempt begins.
package bigquery

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Config is a bigquery: entry under load: in a job file.
type Config struct {
	Table    string `yaml:"table"`    // "project.dataset.table"
	Rule     string `yaml:"rule"`     // load this rule's answers instead of the table's rows
	Project  string `yaml:"project"`  // runs and pays for the jobs; default: the table's
	Location string `yaml:"location"` // of the dataset, "EU", "asia-south1": it is made there where it does not exist
	// ClusterBy are up to four columns by which a new table is clustered.
	ClusterBy []string `yaml:"cluster_by"`
	// Labels are put on new tables and on all jobs.
	Labels map[string]string `yaml:"labels"`
	// Staging is a folder gs://bucket/path for copies of files that do not lie on
	// Google Cloud Storage, or as JSON. They are removed after the load.
	Staging string `yaml:"staging"`
	// Format is what BigQuery reads: "parquet" (default), or "json", lines that are
	// written to staging.
	Format string `yaml:"format"`
	// Endpoint is another server's address: an emulator's (http://, without
	// credentials) or a private one of Google's (https://).
	Endpoint string `yaml:"endpoint"`
}

// Formats of files that BigQuery reads.
const (
	Parquet = "parquet"
	JSON    = "json"
)

// ReadsItself says whether BigQuery reads a file where it is.
func (c Config) ReadsItself(uri string) bool {
	return c.Format != JSON && strings.HasPrefix(uri, "gs://")
}

var (
	// Documented names: cloud.google.com/resource-manager/docs/creating-managing-projects,
	// bigquery/docs/datasets#dataset-naming, /tables#table_naming, /schemas#column_names.
	projectName = compiled(`^([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$`)
	datasetName = compiled(`^[A-Za-z0-9_]+$`)
	tableName   = compiled(`^[\p{L}\p{M}\p{N}_\p{Pd} ]+$`)
	columnName  = compiled(`^[A-Za-z_][A-Za-z0-9_]{0,299}$`)
	bucketName  = compiled(`^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$`)
	region      = compiled(`^[A-Za-z]+(-[A-Za-z]+[0-9]+)?$`)
	labelKey    = compiled(`^[\p{Ll}\p{Lo}][\p{Ll}\p{Lo}\p{N}_-]{0,62}$`)
	labelValue  = compiled(`^[\p{Ll}\p{Lo}\p{N}_-]{0,63}$`)
)

// compiled compiles a pattern at its first use: those of Unicode's letters take
// milliseconds, and most runs ask for none.
func compiled(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}

// Check finds what is wrong without asking BigQuery; all errors are joined.
func (c Config) Check() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch project, dataset, table, err := c.name(); {
	case err != nil:
		errs = append(errs, err)
	case !projectName().MatchString(project):
		wrong("table: %q is not a project's id: 6 to 30 lower-case letters, digits and dashes", project)
	case !datasetName().MatchString(dataset) || len(dataset) > 1024:
		wrong("table: %q is not a dataset's name: letters, digits and underscores", dataset)
	case !tableName().MatchString(table) || len(table) > 1024:
		wrong("table: %q is not a table's name: letters, digits, underscores, dashes and spaces", table)
	}
	if c.Project != "" && !projectName().MatchString(c.Project) {
		wrong("project: %q is not a project's id: 6 to 30 lower-case letters, digits and dashes", c.Project)
	}
	if c.Location != "" && !region().MatchString(c.Location) {
		wrong("location: %q is no location; hint: US, EU, asia-south1", c.Location)
	}
	if c.Format != "" && c.Format != Parquet && c.Format != JSON {
		wrong("format: %q is not known: parquet or json", c.Format)
	}
	if len(c.ClusterBy) > 4 {
		wrong("cluster_by: BigQuery clusters by four columns at most, these are %d", len(c.ClusterBy))
	}
	if len(c.Labels) > 60 { // of 64; some are lake's
		wrong("labels: BigQuery has room for 60 beside lake's own, these are %d", len(c.Labels))
	}
	for _, key := range slices.Sorted(maps.Keys(c.Labels)) {
		if !labelKey().MatchString(key) || !labelValue().MatchString(c.Labels[key]) {
			wrong("labels: %s: %q: lower-case letters, digits, underscores and dashes, 63 at most; a key begins with a letter", key, c.Labels[key])
		}
		if strings.HasPrefix(key, "lake_") {
			wrong("labels: %s: keys that begin with lake_ are lake's own", key)
		}
	}
	if c.Staging != "" {
		errs = append(errs, checkStaging(c.Staging))
	}
	if c.Format == JSON && c.Staging == "" {
		wrong("staging: is missing: format: json writes the lines to a folder on Google Cloud Storage; hint: staging: gs://bucket/tmp")
	}
	if c.Endpoint != "" {
		if u, err := url.Parse(c.Endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			wrong("endpoint: it is not an address: http://localhost:9050")
		} else if u.User != nil {
			wrong("endpoint: it may hold no user or password")
		}
	}
	return errors.Join(errs...)
}

// CheckLocation says whether files below a location reach BigQuery; a rule's
// answers never lie there yet.
func (c Config) CheckLocation(location string) error {
	if c.Staging != "" || c.ReadsItself(location) && c.Rule == "" {
		return nil
	}
	what := fmt.Sprintf("the table lies in %s", location)
	switch {
	case c.Rule != "":
		what = "a rule's answers are made here"
	case location == "" || !strings.Contains(location, "://"):
		what = "the table lies on this machine"
	}
	return fmt.Errorf("staging: is missing: %s, and BigQuery reads Google Cloud Storage; hint: staging: gs://bucket/tmp", what)
}

func checkStaging(uri string) error {
	rest, ok := strings.CutPrefix(uri, "gs://")
	bucket, _, _ := strings.Cut(rest, "/")
	switch {
	case !ok:
		return fmt.Errorf("staging: %q: BigQuery reads Google Cloud Storage: write gs://bucket/folder", uri)
	case strings.ToLower(bucket) != bucket:
		return fmt.Errorf("staging: bucket %q: names of buckets are lower-case", bucket)
	case !bucketName().MatchString(bucket):
		return fmt.Errorf("staging: %q is not a bucket's name: 3 to 63 lower-case letters, digits, dashes, underscores and dots", bucket)
	case strings.ContainsAny(uri, "*?#"):
		return fmt.Errorf("staging: %q: a folder's name has no *, ? or #", uri)
	}
	return nil
}

// name takes the target's name apart.
func (c Config) name() (project, dataset, table string, err error) {
	if c.Table == "" {
		return "", "", "", errors.New("table: is missing; hint: table: project.dataset.table")
	}
	// A project of a domain has dots and a colon: example.com:project.
	at := strings.LastIndexByte(c.Table, '.')
	if at < 0 {
		return "", "", "", fmt.Errorf("table: %q: write project.dataset.table", c.Table)
	}
	rest, table := c.Table[:at], c.Table[at+1:]
	at = strings.LastIndexByte(rest, '.')
	if at < 0 {
		if c.Project == "" {
			return "", "", "", fmt.Errorf("table: %q: write project.dataset.table, or project: beside it", c.Table)
		}
		return c.Project, rest, table, nil
	}
	return rest[:at], rest[at+1:], table, nil
}
