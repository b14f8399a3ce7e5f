package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/colinmarc/hdfs/v2"
	"github.com/stretchr/testify/require"

	"lake/publish"
	"lake/services"
	"lake/services/servicetest"
	"lake/storage"
	lakehdfs "lake/storage/hdfs"
)

// portal is the portal's job with its table on HDFS, where etl may write to one
// folder, and its catalog in a Hive Metastore. The job file alone says where
// HDFS is.
type portal struct {
	h    *services.HDFS
	m    *services.Metastore
	root string // URI of the folder that is etl's
}

func newPortal(t *testing.T) portal {
	h := servicetest.HDFS(t, services.Options{Settings: map[string]string{"dfs.permissions.enabled": "true"}})
	p := portal{h: h, m: servicetest.Metastore(t, services.Options{}), root: h.URI() + "/case-study"}
	t.Setenv("HADOOP_CONF_DIR", "")
	t.Setenv("HADOOP_USER_NAME", "nobody")
	client, err := hdfs.New(h.Address()) // as who started the namenode
	require.NoError(t, err)
	defer client.Close()
	require.NoError(t, client.Mkdir("/case-study", 0o750))
	require.NoError(t, client.Chown("/case-study", "etl", "etl"))
	return p
}

// keys are what a job has to be there, with its table in a folder.
func (p portal) keys(user string) string {
	return fmt.Sprintf("storage: {hdfs: {namenodes: [%q], user: %s, patience: 2s}}\ncatalog: {hive: {uri: %q}}\n", p.h.Address(), user, p.m.URI())
}

// files is HDFS as etl sees it.
func (p portal) files(t *testing.T) *lakehdfs.FS {
	f, err := lakehdfs.Open(lakehdfs.Config{User: "etl"}, func(string) string { return "" })
	require.NoError(t, err)
	return f
}

// names are the files below a folder, without it.
func (p portal) names(t *testing.T, folder string) (names []string) {
	f := p.files(t)
	defer f.Close()
	at := strings.TrimRight(p.root+"/"+folder, "/")
	require.NoError(t, f.List(t.Context(), at, func(i storage.Info) error {
		names = append(names, strings.TrimPrefix(i.URI, at+"/"))
		return nil
	}))
	slices.Sort(names)
	return names
}

func temporary(names []string) (found []string) {
	for _, name := range names {
		if strings.HasPrefix(filepath.Base(name), storage.TempPrefix) {
			found = append(found, name)
		}
	}
	return found
}

// The whole portal job on HDFS with the Hive Metastore: ingested, compacted,
// scanned, published and looked at by doctor. Then what goes wrong there: rights
// that are missing, writers that were killed, a namenode that is away.
func TestHadoopPortal(t *testing.T) {
	p := newPortal(t)
	calm, dir := t.TempDir(), t.TempDir()
	job, err := os.ReadFile("../../jobs/nobroker.yaml")
	require.NoError(t, err)
	text := strings.Replace(string(job), "name: nobroker.events", "name: nobroker.events\n  location: hdfs:///case-study/events", 1)
	require.Contains(t, text, "location")
	text += "\n" + p.keys("etl")
	for folder, job := range map[string]string{calm: string(job), dir: text} {
		require.NoError(t, os.CopyFS(folder, os.DirFS("../../jobs")))
		require.NoError(t, os.WriteFile(filepath.Join(folder, "job.yaml"), []byte(job), 0o644))
		require.Contains(t, lakeOutput(t, folder, "ingest", "job.yaml"), "24 records in = 24 rows landed")
	}
	scan := func(folder string) []string {
		return sortedLines(lakeOutput(t, folder, "tables", "scan", "job.yaml", "--format", "jsonl"))
	}
	want := scan(calm)
	require.Len(t, want, 24)
	require.Equal(t, want, scan(dir))
	lakeOutput(t, dir, "compact", "job.yaml")
	require.Equal(t, want, scan(dir))
	for _, rule := range []string{"paid_user", "property_status", "possible_broker"} {
		require.Equal(t, sortedLines(answersBySeq(t, calm, rule)...), sortedLines(answersBySeq(t, dir, rule)...), rule)
	}

	var published publishResult
	all := []string{"publish", "job.yaml", "--from", "2000-01-01", "--to-date", "2100-01-01", "--output", "json"}
	require.NoError(t, json.Unmarshal([]byte(lakeOutput(t, dir, all...)), &published))
	require.NotEmpty(t, published.Dates)
	rows := int64(0)
	for _, d := range published.Dates {
		require.Equal(t, publish.Published, d.State)
		folder := strings.TrimPrefix(d.Folder, p.root+"/")
		require.Contains(t, p.names(t, folder), "_SUCCESS")
		rows += d.Rows
	}
	require.EqualValues(t, 24, rows)
	require.NoError(t, json.Unmarshal([]byte(lakeOutput(t, dir, all...)), &published))
	require.Equal(t, publish.Unchanged, published.Dates[0].State)
	day := strings.TrimPrefix(published.Dates[0].Folder, p.root+"/")

	before := p.names(t, "")
	text += "publish: {to: \"" + p.root + "\"}\n"
	code, checks, said := doctor(t, dir, text)
	require.Equal(t, exitDone, code, said)
	require.True(t, checks["table hdfs:///case-study"].OK, said)
	require.True(t, checks["publish "+p.root].OK, said)
	require.Contains(t, checks["catalog Hive Metastore "+strings.TrimPrefix(p.m.URI(), "thrift://")].Found, "nobroker.events with 24 rows")
	require.Equal(t, before, p.names(t, ""), "it leaves nothing")

	t.Run("rights", func(t *testing.T) {
		code, checks, said := doctor(t, t.TempDir(), strings.Replace(text, "user: etl", "user: guest", 1))
		require.Equal(t, exitConfig, code, said)
		for _, row := range []string{"table hdfs:///case-study", "publish " + p.root} {
			require.False(t, checks[row].OK, said)
			require.Equal(t, exitConfig, checks[row].Code, said)
			require.Contains(t, checks[row].Error, "permission denied", said)
			require.Contains(t, checks[row].Mend, "storage.hdfs.user in the job", said)
		}
		code, said = exitOf(t, dir, "ingest", "job.yaml")
		require.Equal(t, exitDone, code, said)
	})

	// Writers whose process is gone left files in each of the job's folders.
	t.Run("leftovers", func(t *testing.T) {
		killed := p.files(t)
		folders := []string{"events/data/dt=2021-11-30", "events/metadata", "events.checkpoints/nobroker/all", day}
		for _, folder := range append(folders, "other/data") {
			w, err := killed.Create(t.Context(), p.root+"/"+folder+"/unfinished")
			require.NoError(t, err)
			_, err = w.Write(make([]byte, 3<<20)) // some of it is sent before the end
			require.NoError(t, err)
			require.Len(t, temporary(p.names(t, folder)), 1, folder)
		}
		require.NoError(t, killed.Close())
		whole := slices.DeleteFunc(p.names(t, day), func(name string) bool { return strings.HasPrefix(name, storage.TempPrefix) })
		lakeOutput(t, dir, "compact", "job.yaml", "--expire", "--grace", "1h")
		require.Len(t, temporary(p.names(t, "")), len(folders)+1, "they may be at work")
		lakeOutput(t, dir, "compact", "job.yaml", "--expire", "--grace", "0s")
		left := temporary(p.names(t, ""))
		require.Len(t, left, 1)
		require.True(t, strings.HasPrefix(left[0], "other/data/"), "somebody else's: %s", left[0])
		require.Equal(t, whole, p.names(t, day))
		require.Equal(t, want, scan(dir))
	})

	t.Run("away", func(t *testing.T) { p.away(t, dir, text) })
}

// away has the namenode go away for longer than it is waited for: doctor says
// so, an ingest ends with what can be tried again and the cause, and one that
// follows is there when the namenode is.
func (p portal) away(t *testing.T, dir, text string) {
	follow := t.TempDir()
	good := writeKillInput(t, follow)
	inputs, err := filepath.Glob(filepath.Join(follow, "in", "*"))
	require.NoError(t, err)
	late := inputs[len(inputs)/2:]
	for _, name := range late {
		require.NoError(t, os.Rename(name, filepath.Join(follow, filepath.Base(name))))
	}
	job := strings.Replace(killJob, "table: {", "table: {location: \""+p.root+"/k/events\", ", 1) + p.keys("etl")
	job = strings.Replace(job, "commit: {max_records: 700}", "commit: {max_records: 700, interval: 200ms}", 1)
	require.NoError(t, os.WriteFile(filepath.Join(follow, "job.yaml"), []byte(job), 0o644))
	f := begin(t, follow, "ingest", "--follow", "job.yaml")
	answers := func() int { return len(answersBySeq(t, follow, "changed")) }
	require.Eventually(t, func() bool { return answers() > 3 }, time.Minute, 20*time.Millisecond, "it does not commit")
	require.NoError(t, p.h.KillNamenode())
	for _, name := range late {
		require.NoError(t, os.Rename(filepath.Join(follow, filepath.Base(name)), name))
	}

	code, checks, told := doctor(t, t.TempDir(), text)
	require.Equal(t, exitRetry, code, told)
	row := checks["table hdfs:///case-study"]
	require.Equal(t, exitRetry, row.Code, told)
	require.Contains(t, row.Error, "connection refused", told)
	require.Contains(t, row.Mend, "is the server up", told)

	began := time.Now()
	code, told = exitOf(t, dir, "ingest", "job.yaml")
	require.Equal(t, exitRetry, code, told)
	require.Contains(t, told, p.h.Address()+": connect: connection refused", "the cause")
	require.Less(t, time.Since(began), time.Minute, "the usual patience of 90 s is not this one's")

	require.Eventually(t, func() bool { return strings.Contains(f.said(), "beginning anew from the table") }, time.Minute, 20*time.Millisecond)
	require.NoError(t, p.h.RestartNamenode(t.Context()))
	landed := func() bool {
		code, out := exitOf(t, follow, "tables", "scan", "job.yaml", "--columns", "n", "--format", "jsonl")
		return code == exitDone && bytes.Count([]byte(out), []byte("\n")) >= len(good)
	}
	require.Eventually(t, landed, 2*time.Minute, 500*time.Millisecond)
	f.end(t, syscall.SIGTERM)
	got := sortedLines(lakeOutput(t, follow, "tables", "scan", "job.yaml", "--columns", "n", "--format", "jsonl"))
	require.Equal(t, len(good), len(got))
	require.Equal(t, len(good), len(slices.Compact(got)), "none is there twice")
	require.Equal(t, exitDone, first(exitOf(t, dir, "ingest", "job.yaml")))
}

// The bill of a commit on HDFS, in calls of the namenode by kind, as the namenode
// counts them. ARCHITECTURE.md has the numbers.
func TestHadoopRequests(t *testing.T) {
	h, m := servers.HDFS(t), servers.Metastore(t)
	onHDFS(t, h)
	// What is asked each second is not a commit's; nor is how often lake asks anew whether
	// a datanode has reported a file's last block: a file is counted to be completed once.
	const completed, created = "complete", "create"
	daemon := []string{"renewLease", "sendHeartbeat", "blockReport", "blockReceivedAndDeleted", "registerDatanode", "versionRequest", "cacheReport", "getTransactionId"}
	var each [2]map[string]int
	var commits [2]int
	var last string // folder
	for i, records := range []string{"1200", "400"} {
		dir := t.TempDir()
		last = dir
		writeKillInput(t, dir)
		job := strings.Replace(hadoopJob(h, m), "max_records: 700", "max_records: "+records, 1)
		job = strings.Replace(job, "k.events", "k"+records+".events", 1)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "job.yaml"), []byte(job), 0o644))
		before, err := h.Calls(t.Context())
		require.NoError(t, err)
		lakeOutput(t, dir, "ingest", "job.yaml")
		if each[i], err = h.Calls(t.Context()); err != nil {
			require.NoError(t, err)
		}
		for method, n := range before {
			each[i][method] -= n
		}
		maps.DeleteFunc(each[i], func(method string, _ int) bool { // the namenode counts each once more as overall…
			return strings.HasPrefix(method, "overall") || slices.Contains(daemon, method)
		})
		each[i][completed] = min(each[i][completed], each[i][created])
		commits[i] = len(commitRows(t, dir))
	}
	require.Greater(t, commits[1], commits[0]+10)
	total := 0.0
	for method, n := range each[1] {
		perCommit := float64(n-each[0][method]) / float64(commits[1]-commits[0])
		if perCommit > 0.05 {
			t.Logf("%-24s %5.1f a commit (%d in %d commits, %d in %d)", method, perCommit, each[0][method], commits[0], n, commits[1])
		}
		total += perCommit
	}
	t.Logf("%-24s %5.1f", "all", total)
	require.Less(t, total, 48.0)
	require.Zero(t, each[1]["updateBlockForPipeline"], "no pipeline is mended")
	require.Equal(t, each[0]["getFileInfo"], each[1]["getFileInfo"], "the locations of its blocks open a file")
	creates := float64(each[1][created]-each[0][created]) / float64(commits[1]-commits[0])
	renames := float64(each[1]["rename2"]-each[0]["rename2"]) / float64(commits[1]-commits[0])
	require.InDelta(t, creates, renames, 0.5, "each file gets its name once")
	require.Less(t, creates, 12.0)

	// A compaction asks for many files at a time.
	files := len(filesOf(t, last))
	before, err := h.Calls(t.Context())
	require.NoError(t, err)
	lakeOutput(t, last, "compact", "job.yaml")
	after, err := h.Calls(t.Context())
	require.NoError(t, err)
	opened, listed := after["getBlockLocations"]-before["getBlockLocations"], after["getListing"]-before["getListing"]
	t.Logf("a compaction of %d files of %d commits: %d getBlockLocations, %d getListing", files, commits[1], opened, listed)
	require.Greater(t, files, 20)
	require.Less(t, opened+listed, files/2)
}
