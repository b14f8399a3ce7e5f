package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"lake/load/duckdb"
	"lake/services"
)

// store is a server of objects that keeps them as files: what is read there is
// read past lake.
type store struct {
	name, scheme string
	env          map[string]string
	data         string // folder of the buckets
	bucket       string
	pyiceberg    map[string]string // properties that lead it there
}

// stores starts the servers, with a bucket for the test, and leads lake to them.
func stores(t *testing.T) []store {
	t.Helper()
	return storesOn(t, servers.GCS(t), servers.S3(t))
}

func storesOn(t *testing.T, gcs *services.GCS, s3 *services.S3) []store {
	t.Helper()
	all := []store{
		{name: "Google Cloud Storage", scheme: "gs", env: gcs.Env(), data: gcs.Data(),
			pyiceberg: map[string]string{"py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO", "gcs.service.host": gcs.Endpoint(), "gcs.oauth2.token": "none", "gcs.oauth2.token-expires-at": "4102444800000"}},
		{name: "S3", scheme: "s3", env: s3.Env(), data: s3.Data(),
			pyiceberg: map[string]string{"py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO", "s3.endpoint": s3.Endpoint(), "s3.region": "us-east-1",
				"s3.access-key-id": s3.Env()["AWS_ACCESS_KEY_ID"], "s3.secret-access-key": s3.Env()["AWS_SECRET_ACCESS_KEY"]}},
	}
	for i := range all {
		all[i].bucket = "test-" + uuid.NewString()
		for key, value := range all[i].env {
			t.Setenv(key, value)
		}
	}
	require.NoError(t, gcs.MakeBucket(t.Context(), all[0].bucket))
	require.NoError(t, s3.MakeBucket(t.Context(), all[1].bucket))
	return all
}

func (s store) uri(name string) string { return s.scheme + "://" + s.bucket + "/" + name }

// path is where the server keeps an object.
func (s store) path(t *testing.T, uri string) string {
	rest, ok := strings.CutPrefix(uri, s.scheme+"://")
	require.True(t, ok, "%s is not in %s", uri, s.name)
	return filepath.Join(s.data, rest)
}

// The whole job on an object store: ingested and killed, ingested to its end,
// compacted, cleaned, scanned and loaded, it leaves what an undisturbed run
// leaves in a local folder.
func TestRemoteTable(t *testing.T) {
	all := stores(t)
	good, want := undisturbed(t)
	for _, s := range all {
		t.Run(s.name, func(t *testing.T) {
			dir := t.TempDir()
			writeKillInput(t, dir)
			job := strings.Replace(killJob, "table: {", "table: {location: \""+s.uri("case-study/events")+"\", ", 1) +
				"catalog: {sqlite: {}}\ncompact: {min_files: 2}\nload:\n  - duckdb: {table: events}\n"
			require.NoError(t, os.WriteFile(filepath.Join(dir, "job.yaml"), []byte(job), 0o644))
			kill(t, dir, 8, 4*time.Second)
			lakeOutput(t, dir, "ingest", "job.yaml")
			got := readOutcome(t, dir)
			requireOutcome(t, want, got)
			requireSame(t, modelChanged(good, commitRows(t, dir)), answersBySeq(t, dir, "changed"), "answers of changed")

			lakeOutput(t, dir, "compact", "job.yaml")
			requireSame(t, want.rows, readOutcome(t, dir).rows, "rows of the table")
			require.DirExists(t, s.path(t, s.uri("case-study/events.checkpoints/killed")))
			require.NotEmpty(t, objectsOf(t, s.path(t, s.uri("case-study/events_dead_letter"))))
			require.NoDirExists(t, filepath.Join(dir, "warehouse", "checkpoints"), "nothing but the catalog is local")
			require.NoDirExists(t, filepath.Join(dir, "warehouse", "k"))

			// A clean-up takes what the killed runs left and nothing else.
			lakeOutput(t, dir, "compact", "job.yaml", "--expire", "--grace", "0s")
			require.ElementsMatch(t, referenced(t, s, dir), objectsOf(t, s.path(t, s.uri("case-study/events/data"))))
			requireSame(t, want.rows, readOutcome(t, dir).rows, "rows of the table")
			used := filesOf(t, dir)

			said := lakeOutput(t, dir, "load", "job.yaml")
			require.Contains(t, said, fmt.Sprintf("loaded %s rows", formatCount(int64(len(good)))))
			require.Contains(t, lakeOutput(t, dir, "load", "job.yaml"), "loaded 0 rows")
			entries, err := os.ReadDir(filepath.Join(dir, "warehouse", "tmp"))
			require.NoError(t, err)
			require.Empty(t, entries, "the copies are gone")

			sum := int64(0)
			for _, r := range good {
				sum += r.N
			}
			paths := make([]string, len(used))
			for i, uri := range used {
				paths[i] = "'" + s.path(t, uri) + "'"
			}
			query := "SELECT count(*), count(DISTINCT n), sum(n)::BIGINT FROM "
			w, err := duckdb.Open(t.Context(), duckdb.Config{Path: filepath.Join(dir, "warehouse", "warehouse.duckdb"), Table: "x"}, duckdb.Options{MemoryBytes: 256 << 20, Threads: 1, TempDir: t.TempDir()})
			require.NoError(t, err)
			// Each date, published, has the same rows for who reads plain files.
			var published []string
			for _, date := range datesOf(t, dir) {
				lakeOutput(t, dir, "publish", "job.yaml", "--date", date)
				folder := s.path(t, s.uri("case-study/data_"+strings.ReplaceAll(date, "-", "_")))
				require.FileExists(t, filepath.Join(folder, "_SUCCESS"))
				published = append(published, "'"+folder+"/part-*'")
			}
			for _, from := range []string{"events", "read_parquet([" + strings.Join(paths, ", ") + "])", "read_parquet([" + strings.Join(published, ", ") + "])"} {
				_, rows, err := w.Query(t.Context(), query+from)
				require.NoError(t, err)
				require.Equal(t, [][]string{{fmt.Sprint(len(good)), fmt.Sprint(len(good)), fmt.Sprint(sum)}}, rows, from)
			}
			require.NoError(t, w.Close())
			require.Equal(t, []int64{int64(len(good)), int64(len(good)), sum}, readRemote(t, s, "case-study/events"))
		})
	}
}

// readRemote is what pyiceberg finds in a table: its rows, different n and their
// sum. It reads by the newest metadata file, from the server, without lake.
func readRemote(t *testing.T, s store, name string) (found []int64) {
	var newest string
	for _, path := range objectsOf(t, s.path(t, s.uri(name+"/metadata"))) {
		if base := filepath.Base(path); strings.HasSuffix(base, ".metadata.json") && base > newest {
			newest = base
		}
	}
	properties, err := json.Marshal(s.pyiceberg)
	require.NoError(t, err)
	out, err := exec.Command(python(t), "testdata/read_remote.py", s.uri(name+"/metadata/"+newest), string(properties)).CombinedOutput()
	require.NoError(t, err, string(out))
	require.NoError(t, json.Unmarshal(out, &found), string(out))
	return found
}

// kill ends an ingest at random moments within a time, some runs one after the other.
func kill(t *testing.T, dir string, times int, within time.Duration) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range times {
		cmd := lakeCommand(dir, "ingest", "job.yaml")
		var said bytes.Buffer
		cmd.Stderr = &said
		require.NoError(t, cmd.Start())
		timer := time.AfterFunc(time.Duration(random.Float64()*random.Float64()*float64(within)), func() { _ = cmd.Process.Kill() })
		err := cmd.Wait()
		timer.Stop()
		var exit *exec.ExitError
		if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != -1) {
			t.Fatalf("the run failed of itself: %v: %s", err, &said)
		}
	}
}

// filesOf are the URIs of the files of a job's table, or of one of its snapshots.
func filesOf(t *testing.T, dir string, args ...string) (uris []string) {
	var lines []fileLine
	args = append([]string{"tables", "files", "job.yaml", "--output", "json"}, args...)
	require.NoError(t, json.Unmarshal([]byte(lakeOutput(t, dir, args...)), &lines))
	for _, l := range lines {
		uris = append(uris, l.Path)
	}
	return uris
}

// datesOf are the dates of a job's table.
func datesOf(t *testing.T, dir string) (dates []string) {
	var lines []fileLine
	require.NoError(t, json.Unmarshal([]byte(lakeOutput(t, dir, "tables", "files", "job.yaml", "--output", "json")), &lines))
	for _, l := range lines {
		dates = append(dates, strings.TrimPrefix(l.Partition, "dt="))
	}
	slices.Sort(dates)
	return slices.Compact(dates)
}

// referenced are the paths of the files that any snapshot has.
func referenced(t *testing.T, s store, dir string) (paths []string) {
	var history []struct {
		Snapshot int64 `json:"snapshot"`
	}
	require.NoError(t, json.Unmarshal([]byte(lakeOutput(t, dir, "tables", "history", "job.yaml", "--output", "json")), &history))
	seen := map[string]bool{}
	for _, h := range history {
		require.NotZero(t, h.Snapshot)
		for _, uri := range filesOf(t, dir, "--snapshot", fmt.Sprint(h.Snapshot)) {
			if !seen[uri] {
				seen[uri] = true
				paths = append(paths, s.path(t, uri))
			}
		}
	}
	return paths
}

// objectsOf are the files below a folder of a server.
func objectsOf(t *testing.T, folder string) (paths []string) {
	require.NoError(t, filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			paths = append(paths, path)
		}
		return err
	}))
	return paths
}

// A warehouse in a store: tables lie there, the catalog has to lie elsewhere.
func TestRemoteWarehouse(t *testing.T) {
	for _, s := range stores(t) {
		t.Run(s.name, func(t *testing.T) {
			dir := t.TempDir()
			writeKillInput(t, dir)
			write := func(catalog string) {
				require.NoError(t, os.WriteFile(filepath.Join(dir, "job.yaml"), []byte(killJob+catalog), 0o644))
			}
			for _, catalog := range []string{"", "catalog: {sqlite: {}}\n"} {
				write(catalog)
				code, said := exitOf(t, dir, "ingest", "job.yaml", "--warehouse", s.uri("lake"))
				require.Equal(t, exitConfig, code, said)
				require.Contains(t, said, "SQLite cannot lie in the warehouse "+s.uri("lake"))
			}
			write("catalog: {sqlite: {path: catalog.db}}\n")
			code, said := exitOf(t, dir, "lint", "job.yaml", "--warehouse", s.scheme+"://"+s.bucket)
			require.Equal(t, exitConfig, code, said)
			require.Contains(t, said, "name a folder in it")
			t.Setenv("LAKE_WAREHOUSE", s.uri("lake"))
			lakeOutput(t, dir, "ingest", "job.yaml")
			require.Contains(t, lakeOutput(t, dir, "ingest", "job.yaml"), "0 records in")
			lakeOutput(t, dir, "compact", "job.yaml")
			require.NotEmpty(t, objectsOf(t, s.path(t, s.uri("lake/k/events/data"))))
			require.NotEmpty(t, objectsOf(t, s.path(t, s.uri("lake/k/events_dead_letter/data"))))
			require.NotEmpty(t, objectsOf(t, s.path(t, s.uri("lake/k/events.checkpoints/killed"))))
			require.Contains(t, lakeOutput(t, dir, "tables", "list", "job.yaml"), s.uri("lake/k/events"))
			require.Contains(t, lakeOutput(t, dir, "dlq", "show", "job.yaml"), "in/")
			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			var names []string
			for _, e := range entries {
				names = append(names, e.Name())
			}
			require.Equal(t, []string{".lake", "catalog.db", "in", "job.yaml", "out"}, names, "locks, catalog and answers are local, and nothing else")
		})
	}
}
