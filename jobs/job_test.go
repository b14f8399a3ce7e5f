package jobs

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write what is found as what is expected")

var testEnv = map[string]string{"LAKE_CATALOG": "postgres://lake:s3cr3t@db/lake", "PROJECT": "acme", "SPEC": "clicks",
	"EMPTY": "", "LINES": "a\nb: c", "NUMBER": "42", "SECRET": "hunter2", "YAML": "{a: 1}", "FLAG": "false"}

func lookup(name string) (string, bool) {
	v, ok := testEnv[name]
	return v, ok
}

func parseFile(t *testing.T, path string) (*Job, error) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return Parse(filepath.Base(path), data, lookup)
}

func values(texts []Text) []string {
	var out []string
	for _, t := range texts {
		out = append(out, t.Value)
	}
	return out
}

func TestDesignJob(t *testing.T) {
	job, err := parseFile(t, "testdata/good/design.yaml")
	require.NoError(t, err)
	require.Equal(t, "nobroker", job.Name.Value)
	require.Equal(t, Pos{2, 7}, job.Name.Pos)
	require.Equal(t, "kafka", job.Source.Kind)
	var kafka struct {
		Brokers []string `yaml:"brokers"`
		Topics  []string `yaml:"topics"`
		Start   string   `yaml:"start"`
	}
	require.NoError(t, job.Source.Decode(&kafka))
	require.Equal(t, []string{"localhost:9092"}, kafka.Brokers)
	require.Equal(t, []string{"Events"}, kafka.Topics)
	require.Equal(t, "earliest", kafka.Start)
	require.Equal(t, "json", job.Decode.Format.Value)

	type column struct {
		name, typ string
		required  bool
	}
	var columns []column
	for _, f := range job.Schema {
		columns = append(columns, column{f.Name.Value, f.Type.Value, f.Required})
	}
	require.Equal(t, []column{{"user_id", "int64", true}, {"property_id", "int64", false}, {"date", "timestamp", true}, {"event", "string", false}}, columns)

	require.Equal(t, "date", job.Time.Field.Value)
	require.Equal(t, "Asia/Kolkata", job.Time.Zone.Value)
	require.Equal(t, "%Y-%m-%d %H:%M:%S", job.Time.Format.Value)
	require.Equal(t, 5*time.Minute, job.Time.AllowedLateness.Duration)
	require.Equal(t, 30*time.Second, job.Time.IdleAfter.Duration)
	require.Equal(t, 24*time.Hour, job.Time.MaxFuture.Duration)
	require.Equal(t, "keep", job.Time.Future.Value)
	require.Equal(t, "postgres", job.Catalog.Kind)
	var dsn string
	require.NoError(t, job.Catalog.Decode(&dsn))
	require.Equal(t, testEnv["LAKE_CATALOG"], dsn)
	require.Equal(t, "nobroker.events", job.Table.Name.Value)
	require.Equal(t, "gs://case-study/events", job.Table.Location.Value)
	require.Equal(t, []string{"dt"}, values(job.Table.PartitionBy))
	require.Equal(t, 10*time.Second, job.Commit.Interval.Duration)
	require.Equal(t, int64(1000000), job.Commit.MaxRecords)
	require.Zero(t, job.Commit.MaxBytes, "the file has none")
	require.True(t, job.Compact.Auto)
	require.Equal(t, 24*time.Hour, job.Compact.Snapshots.Duration)
	require.Equal(t, 0.01, job.DeadLetter.MaxRatio)

	require.Len(t, job.Rules, 2)
	require.Equal(t, "paid_user", job.Rules[0].Name.Value)
	require.Equal(t, "possible_broker", job.Rules[1].Name.Value)
	require.Equal(t, "on_change", job.Rules[1].Emit.Value)
	require.Equal(t, "all", job.Rules[1].Scope.Value)
	require.True(t, strings.HasPrefix(job.Rules[1].SQL.Value, "SELECT TIMESTAMP_BUCKET(date"))
	require.Len(t, job.Rules[1].To, 2)
	var topic struct {
		Topic  string            `yaml:"topic"`
		Rename map[string]string `yaml:"rename"`
	}
	require.NoError(t, job.Rules[1].To[0].Decode(&topic))
	require.Equal(t, map[string]string{"window_start": "window.start"}, topic.Rename)
	require.Len(t, job.Load, 2)
	var load struct{ Table, Rule string }
	require.NoError(t, job.Load[1].Decode(&load))
	require.Equal(t, "acme.nobroker.paid_user", load.Table)
	require.Equal(t, "paid_user", load.Rule)

	// every byte of the SQL knows its place
	data, err := os.ReadFile("testdata/good/design.yaml")
	require.NoError(t, err)
	lines := strings.Split(string(data), "\n")
	for _, r := range job.Rules {
		for i := range r.SQL.Value {
			if r.SQL.Value[i] != '\n' {
				at := r.SQL.At(i)
				require.Equal(t, r.SQL.Value[i], lines[at.Line-1][at.Col-1], "byte %d of %s", i, r.Name.Value)
			}
		}
	}
}

func TestFullJob(t *testing.T) {
	job, err := parseFile(t, "testdata/good/full.yaml")
	require.NoError(t, err)
	types := map[string]string{}
	for _, f := range job.Schema {
		types[f.Name.Value] = f.Type.Value
		if f.Required {
			types[f.Name.Value] += "!"
		}
	}
	require.Equal(t, map[string]string{
		"id": "uuid!", "at": "timestamp!", "price": "decimal(10, 2)!", "tags": "list<string>", "ids": "list<int64!>!",
		"gps":   "struct<lat: float64!, lon: float64, names: map<string, list<string!>>>",
		"props": "map<string, string>", "nested": "struct<a: string, b: struct<c: int32>>",
	}, types)
	at := job.Schema[1]
	require.Equal(t, []string{"%s", "UTC", "meta.at", "when it's sent"}, values([]Text{at.Format, at.Zone, at.From, at.Doc}))
	require.Equal(t, "full-job_2", job.Name.Value)
	require.Equal(t, 90*time.Second, job.Time.AllowedLateness.Duration)
	require.Equal(t, 500*time.Millisecond, job.Time.IdleAfter.Duration)
	require.Equal(t, 2*time.Hour, job.Time.MaxFuture.Duration)
	require.Equal(t, "dead_letter", job.Time.Future.Value)
	require.Equal(t, []string{"dt", "bucket(16, id)"}, values(job.Table.PartitionBy))
	require.Equal(t, "sqlite", job.Catalog.Kind)
	require.Equal(t, 2*time.Second, job.Commit.Interval.Duration)
	require.Equal(t, int64(5000), job.Commit.MaxRecords)
	require.Equal(t, int64(64<<20), job.Commit.MaxBytes)
	require.False(t, job.Compact.Auto)
	require.Equal(t, 7*24*time.Hour, job.Compact.Snapshots.Duration)
	require.Equal(t, int64(3), job.Compact.MinFiles)
	require.Equal(t, 0.25, job.DeadLetter.MaxRatio)
	require.Equal(t, []string{"z_first", "a_second"}, values([]Text{job.Rules[0].Name, job.Rules[1].Name}))
	require.Equal(t, []string{"on_close", "partition"}, values([]Text{job.Rules[0].Emit, job.Rules[0].Scope}))
	require.Equal(t, []string{"on_cross", "all"}, values([]Text{job.Rules[1].Emit, job.Rules[1].Scope}))
	var files struct{ Path string }
	require.NoError(t, job.Rules[0].To[0].Decode(&files))
	require.Equal(t, "out/z", files.Path)
	var generate struct {
		Spec string
		Rows int64
	}
	require.NoError(t, job.Source.Decode(&generate))
	require.Equal(t, "clicks", generate.Spec)
	require.Equal(t, int64(1000), generate.Rows)
	require.Equal(t, "duckdb", job.Load[1].Kind)
	require.NoError(t, job.Load[1].Decode(&files))
}

func TestDefaults(t *testing.T) {
	job, err := parseFile(t, "testdata/good/small.yaml")
	require.NoError(t, err)
	require.Equal(t, 10*time.Second, job.Commit.Interval.Duration)
	require.Zero(t, job.Commit.MaxRecords, "the file has none")
	require.Equal(t, 0.01, job.DeadLetter.MaxRatio)
	require.Equal(t, "json", job.Decode.Format.Value)
	require.Empty(t, job.Table.PartitionBy, "no event time, no dt")
	require.Equal(t, "", job.Catalog.Kind)
	require.False(t, job.Catalog.Pos != Pos{})

	with := "version: 1\nname: a\nsource: {files: {}}\nschema: {t: timestamp}\ntime: {field: t}\ntable: {name: a.b}\n"
	job, err = Parse("a.yaml", []byte(with), lookup)
	require.NoError(t, err)
	require.Equal(t, []string{"dt"}, values(job.Table.PartitionBy))
	job, err = Parse("a.yaml", []byte(strings.Replace(with, "a.b}", "a.b, partition_by: []}", 1)), lookup)
	require.NoError(t, err)
	require.Empty(t, job.Table.PartitionBy)
}

// Each bad file has its expected errors beside it.
func TestBadFiles(t *testing.T) {
	paths, err := filepath.Glob("testdata/bad/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			_, err := parseFile(t, path)
			var list Errors
			require.True(t, errors.As(err, &list), "an error is expected")
			got := err.Error() + "\n"
			for name, secret := range testEnv {
				if len(secret) > 5 {
					require.NotContains(t, got, secret, "the value of %s", name)
				}
			}
			expected := strings.TrimSuffix(path, ".yaml") + ".errors"
			if *update {
				require.NoError(t, os.WriteFile(expected, []byte(got), 0o644))
			}
			want, err := os.ReadFile(expected)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
		})
	}
}

func TestShippedJobs(t *testing.T) {
	for _, name := range []string{"nobroker.yaml", "nobroker-kafka.yaml", "clicks.yaml"} {
		job, err := Load(name)
		require.NoError(t, err)
		require.Equal(t, strings.TrimSuffix(name, ".yaml"), job.Name.Value)
		require.NotEmpty(t, job.Rules, name)
		require.True(t, filepath.IsAbs(job.Path))
	}
}

func TestLoad(t *testing.T) {
	_, err := Load("testdata/nothing.yaml")
	require.ErrorIs(t, err, fs.ErrNotExist)
	big := filepath.Join(t.TempDir(), "big.yaml")
	require.NoError(t, os.WriteFile(big, []byte(strings.Repeat("# ten bytes\n", 100_000)), 0o644))
	_, err = Load(big)
	require.EqualError(t, err, big+":1:1: a job file has at most 1048576 bytes")
}

func TestResolve(t *testing.T) {
	job := &Job{Path: "/etc/lake/job.yaml"}
	require.Equal(t, "/etc/lake/in/a.jsonl", job.Resolve("in/a.jsonl"))
	require.Equal(t, "/etc/in", job.Resolve("../in"))
	require.Equal(t, "/data", job.Resolve("/data/"))
	require.Equal(t, "/etc/lake", job.Resolve("."))
}
