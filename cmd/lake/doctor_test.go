package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"lake/load/duckdb"
)

const doctorJob = `version: 1
name: doctor
source: {kafka: {brokers: ["%s"], topics: [%s]}}
schema: {id: int64!, ts: timestamp!}
time: {field: ts}
table: {name: d.events}
rules:
  each:
    sql: SELECT id FROM events
    to: [{kafka: {topic: %s}}, {kafka: {topic: made-by-the-run, create: {partitions: 1}}}, {files: {path: out}}]
`

// doctor runs lake doctor and gives its checks by role and thing.
func doctor(t *testing.T, dir, job string) (code int, checks map[string]check, said string) {
	t.Helper()
	path := filepath.Join(dir, "job.yaml")
	require.NoError(t, os.WriteFile(path, []byte(job), 0o644))
	var out, errs bytes.Buffer
	code = run(t.Context(), []string{"doctor", path, "--output", "json", "--limit", "5s"}, strings.NewReader(""), &out, &errs)
	require.Empty(t, errs.String())
	var result doctorResult
	require.NoError(t, json.Unmarshal(out.Bytes(), &result), out.String())
	checks = map[string]check{}
	for _, c := range result.Checks {
		checks[strings.TrimSpace(c.Role+" "+c.Thing)] = c
	}
	return code, checks, out.String()
}

// A job on a cluster: all works, and nothing is left behind by the doctor.
func TestDoctorOnKafka(t *testing.T) {
	onKafka(t, func(t *testing.T, brokers []string) {
		createTopics(t, brokers, 3, "doctor-in", "doctor-out")
		dir := t.TempDir()
		at := brokers[0]
		code, checks, said := doctor(t, dir, fmt.Sprintf(doctorJob, at, "doctor-in", "doctor-out"))
		require.Equal(t, exitDone, code, said)
		require.Contains(t, checks["source kafka topic doctor-in"].Found, "3 partitions")
		require.Equal(t, "3 partitions", checks["output kafka topic doctor-out"].Found)
		require.Equal(t, "not there yet: the run makes it", checks["output kafka topic made-by-the-run"].Found)
		require.Contains(t, checks["catalog SQLite "+dir+"/warehouse/catalog.db"].Found, "not there yet")
		require.True(t, checks["output files folder "+dir+"/out"].OK)
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, 1, "the job file alone")
		client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
		require.NoError(t, err)
		defer client.Close()
		topics, err := kadm.NewClient(client).ListTopics(t.Context())
		require.NoError(t, err)
		require.False(t, topics.Has("made-by-the-run"))
		require.False(t, topics.Has("lake-doctor-delivered"))
		groups, err := kadm.NewClient(client).ListGroups(t.Context())
		require.NoError(t, err)
		require.NotContains(t, groups.Groups(), "lake-doctor")

		// Missing topics: configuration, with the command that makes them.
		code, checks, said = doctor(t, dir, fmt.Sprintf(doctorJob, at, "Evnts", "Answrs"))
		require.Equal(t, exitConfig, code, said)
		for _, name := range []string{"source kafka topic Evnts", "output kafka topic Answrs"} {
			require.False(t, checks[name].OK)
			require.Equal(t, exitConfig, checks[name].Code)
			require.Contains(t, checks[name].Mend, "kafka-topics.sh --bootstrap-server "+at+" --create --topic "+name[strings.LastIndexByte(name, ' ')+1:])
		}
		require.True(t, checks["source kafka brokers "+at].OK)
	})
}

// Servers that are away, or silent, or refuse: 5 or 78, and no secret is printed.
func TestDoctorServersAway(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	require.NoError(t, err)
	defer silent.Close()
	dir := t.TempDir()
	const away = "127.0.0.1:1" // nobody listens there
	job := fmt.Sprintf(doctorJob, away, "a", "b")
	job = strings.Replace(job, "topics: [a]}", "topics: [a], sasl: {mechanism: plain, user: u, password: hunter2}}", 1)
	code, checks, said := doctor(t, dir, job+"catalog: {postgres: \"postgres://lake:hunter2@"+silent.Addr().String()+"/lake\"}\n")
	require.Equal(t, exitRetry, code, said)
	require.NotContains(t, said, "hunter2")
	require.Equal(t, exitRetry, checks["source kafka brokers "+away].Code)
	require.Contains(t, checks["source kafka brokers "+away].Error, "does not answer")
	pg := checks["catalog PostgreSQL "+silent.Addr().String()+"/lake"]
	require.Equal(t, exitRetry, pg.Code)
	require.Contains(t, pg.Mend, "is PostgreSQL up at 127.0.0.1:")
	require.True(t, checks["warehouse "+dir+"/warehouse"].OK, "the others are tried all the same")
}

func TestDoctorPostgres(t *testing.T) {
	server := servers.Postgres(t)
	url, err := server.CreateDatabase(t.Context(), "doctor")
	require.NoError(t, err)
	dir := t.TempDir()
	job := "version: 1\nname: doctor\nsource: {files: {paths: [in.jsonl]}}\nschema: {id: int64!}\ntable: {name: d.events}\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "in.jsonl"), []byte(`{"id":1}`+"\n"), 0o644))
	find := func(checks map[string]check) check {
		for name, c := range checks {
			if strings.HasPrefix(name, "catalog PostgreSQL ") {
				return c
			}
		}
		return check{}
	}
	with := func(url string) string { return job + "catalog: {postgres: \"" + url + "\"}\n" }
	code, checks, said := doctor(t, dir, with(url))
	require.Equal(t, exitDone, code, said)
	require.Equal(t, "no tables yet: lake ingest makes them", find(checks).Found)
	code, checks, said = doctor(t, dir, with(url)) // the table of before was rolled back
	require.Equal(t, exitDone, code, said)
	require.Equal(t, "no tables yet: lake ingest makes them", find(checks).Found)
	lakeOutput(t, dir, "ingest", "job.yaml")
	_, checks, said = doctor(t, dir, with(url))
	require.Equal(t, "1 table, d.events with 1 row", find(checks).Found, said)

	code, checks, said = doctor(t, dir, with(strings.Replace(url, "/doctor", "/nowhere", 1)))
	require.Equal(t, exitConfig, code, said)
	require.Contains(t, find(checks).Mend, "createdb -h ")
	before, after, _ := strings.Cut(url, "@")
	code, checks, said = doctor(t, dir, with(before+"wr0ng@"+after))
	require.Equal(t, exitConfig, code, said)
	require.Contains(t, find(checks).Mend, "the user or the password")
	require.NotContains(t, said, "wr0ng")
}

// Files that are missing, a source's file that is, a database that is not one.
func TestDoctorFiles(t *testing.T) {
	dir := t.TempDir()
	job := `version: 1
name: doctor
source: {files: {paths: [in.jsonl, "more/*.jsonl"]}}
schema: {id: int64!, ts: timestamp!}
time: {field: ts}
table: {name: d.events}
load: [{duckdb: {table: events, path: w.duckdb}}]
publish: {to: in.jsonl/below}
`
	code, checks, said := doctor(t, dir, job)
	require.Equal(t, exitConfig, code, said)
	require.Contains(t, checks["source files files in.jsonl"].Error, "no such file")
	require.True(t, checks["source files files more/*.jsonl"].OK)
	require.True(t, checks["publish "+dir+"/in.jsonl/below"].OK)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "in.jsonl"), []byte(`{"id":1,"ts":"2021-11-30T00:00:00Z"}`+"\n"), 0o644))
	code, checks, said = doctor(t, dir, job)
	require.Equal(t, exitConfig, code, said)
	require.False(t, checks["publish "+dir+"/in.jsonl/below"].OK, "a file is where the folder would be")
	job = strings.Replace(job, "publish: {to: in.jsonl/below}", "publish: {to: below}", 1)
	code, checks, said = doctor(t, dir, job)
	require.Equal(t, exitDone, code, said)
	if !duckdb.Available {
		return
	}
	require.Contains(t, checks["load duckdb w.duckdb events"].Found, "not there yet")
	lakeOutput(t, dir, "ingest", "job.yaml")
	lakeOutput(t, dir, "load", "job.yaml")
	_, checks, said = doctor(t, dir, job)
	require.Equal(t, "a table could be made", checks["load duckdb w.duckdb events"].Found, said)
	require.Contains(t, checks["catalog SQLite "+dir+"/warehouse/catalog.db"].Found, "2 tables, d.events with 1 row")
	unlock := lockLikeAnother(t, filepath.Join(dir, "w.duckdb"))
	code, checks, said = doctor(t, dir, job)
	require.Equal(t, exitRetry, code, said)
	require.Contains(t, checks["load duckdb w.duckdb events"].Mend, "close the shell or notebook")
	unlock()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "w.duckdb"), []byte("not a database, but a text of some length"), 0o644))
	code, _, said = doctor(t, dir, job)
	require.Equal(t, exitConfig, code, said)

	text := lakeOutput(t, dir, "doctor", "--help")
	require.Contains(t, text, "78 something is missing")
}

// What does not end by itself is ended by its limit, and the others are not kept waiting.
func TestDoctorLimit(t *testing.T) {
	waits := probing("slow", func(ctx context.Context, tell func(thing, found string, err error)) {
		<-ctx.Done()
		tell("x", "", ctx.Err())
	})
	broken := patient{"broken", func(context.Context) (prober, io.Closer, error) { return nil, nil, os.ErrNotExist }}
	checks := examine(t.Context(), []patient{waits, broken, waits}, 50*time.Millisecond)
	require.Len(t, checks, 3)
	require.Equal(t, exitRetry, checks[0].Code)
	require.Contains(t, checks[0].Error, "no answer within 50ms")
	require.Equal(t, exitConfig, checks[1].Code)

	// Side by side: each waits for the other one.
	meet := make(chan struct{})
	pair := probing("pair", func(ctx context.Context, tell func(thing, found string, err error)) {
		select {
		case meet <- struct{}{}:
		case <-meet:
		case <-ctx.Done():
		}
		tell("x", "", ctx.Err())
	})
	for _, c := range examine(t.Context(), []patient{pair, pair}, time.Minute) {
		require.True(t, c.OK, c.Error)
	}
}
