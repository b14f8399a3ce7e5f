package main

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"lake/storage/storagetest"
)

// through leads lake to a store by way of a proxy.
func (s store) through(t *testing.T) *storagetest.Proxy {
	endpoint := map[string]string{"gs": "STORAGE_EMULATOR_HOST", "s3": "AWS_ENDPOINT_URL"}[s.scheme]
	p := storagetest.NewProxy(t, s.env[endpoint])
	t.Setenv(endpoint, p.URL)
	return p
}

// remoteJob is the kill test's job with its table in a store.
func remoteJob(t *testing.T, s store, dir string) {
	job := strings.Replace(killJob, "table: {", "table: {location: \""+s.uri("x/events")+"\", ", 1) + "catalog: {sqlite: {}}\ncompact: {min_files: 2}\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "job.yaml"), []byte(job), 0o644))
}

// exitOf runs lake and returns its exit code and what it said.
func exitOf(t *testing.T, dir string, args ...string) (int, string) {
	cmd := lakeCommand(dir, args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), said.String()
}

// Cases 15 and 17 of the catalogue: a store that answers 5xx or 429, resets, is
// slow, cuts the connection after it did what was asked, or refuses a name
// because of one's own success. Nothing is lost, nothing doubled.
func TestRemoteFaults(t *testing.T) {
	all := stores(t)
	_, want := undisturbed(t)
	for _, s := range all {
		t.Run(s.name, func(t *testing.T) {
			dir := t.TempDir()
			writeKillInput(t, dir)
			remoteJob(t, s, dir)
			p := s.through(t)
			random := rand.New(rand.NewPCG(21, 22))
			kinds := slices.DeleteFunc(storagetest.Faults(), func(f storagetest.Fault) bool { return f == storagetest.Slow })
			p.Decide(func(*http.Request) storagetest.Fault {
				if random.IntN(12) == 0 {
					return kinds[random.IntN(len(kinds))]
				}
				return storagetest.None
			})
			code, said := exitOf(t, dir, "ingest", "job.yaml")
			require.Equal(t, exitDone, code, said)
			code, said = exitOf(t, dir, "compact", "job.yaml", "--expire", "--grace", "0s")
			require.Equal(t, exitDone, code, said)
			done := p.Done()
			for _, f := range kinds {
				require.NotZero(t, done[f], "%s never came", f)
			}
			p.Decide(nil)
			requireOutcome(t, want, readOutcome(t, dir))
			require.ElementsMatch(t, referenced(t, s, dir), objectsOf(t, s.path(t, s.uri("x/events/data"))), "no file is doubled, none left")
		})
	}
}

// A store that refuses ends the run as a matter of configuration, with place and
// mend and without a secret; the next run, where it is mended, does it all.
func TestRemoteRefusals(t *testing.T) {
	for _, s := range stores(t) {
		t.Run(s.name, func(t *testing.T) {
			dir := t.TempDir()
			writeKillInput(t, dir)
			remoteJob(t, s, dir)
			p := s.through(t)
			p.Decide(func(r *http.Request) storagetest.Fault { return storagetest.Denied })
			code, said := exitOf(t, dir, "ingest", "job.yaml")
			require.Equal(t, exitConfig, code, said)
			require.Contains(t, said, s.uri("x/events"), "the place")
			require.Contains(t, said, "hint: the", "the mend")
			for _, secret := range s.env {
				if strings.Contains(secret, "secret") {
					require.NotContains(t, said, secret)
				}
			}
			p.Decide(nil)
			require.Equal(t, exitDone, first(exitOf(t, dir, "ingest", "job.yaml")))
		})
	}
}

func first(code int, _ string) int { return code }

// The bill of a commit: what it asks of the store, by kind. ARCHITECTURE.md has
// the numbers; a request that creeps in shows here.
func TestRemoteRequests(t *testing.T) {
	for _, s := range stores(t) {
		t.Run(s.name, func(t *testing.T) {
			dir := t.TempDir()
			good := writeKillInput(t, dir)
			remoteJob(t, s, dir)
			job, err := os.ReadFile(filepath.Join(dir, "job.yaml"))
			require.NoError(t, err)
			p := s.through(t)
			var each [2]map[string]int
			var commits [2]int
			for i, records := range []string{"600", "300"} { // some commits, and twice as many
				text := strings.Replace(string(job), "max_records: 700", "max_records: "+records, 1)
				text = strings.ReplaceAll(text, "x/events", "x"+records+"/events")
				text = strings.Replace(text, "k.events", "k"+records+".events", 1)
				text = strings.Replace(text, "name: killed", "name: killed"+records, 1)
				text = strings.ReplaceAll(text, "path: out/", "path: out"+records+"/")
				require.NoError(t, os.WriteFile(filepath.Join(dir, "job.yaml"), []byte(text), 0o644))
				p.Requests()
				code, said := exitOf(t, dir, "ingest", "job.yaml")
				require.Equal(t, exitDone, code, said)
				each[i] = p.Requests()
				commits[i] = len(commitRows(t, dir))
			}
			require.Greater(t, commits[1], commits[0]+10, "%d records", len(good))
			total := 0.0
			for kind, n := range each[1] {
				perCommit := float64(n-each[0][kind]) / float64(commits[1]-commits[0])
				t.Logf("%-8s %5.1f a commit (%d in %d commits, %d in %d)", kind, perCommit, each[0][kind], commits[0], n, commits[1])
				total += perCommit
			}
			require.Less(t, total, 40.0)
			require.Zero(t, each[1]["part"], "small files are one request each")
		})
	}
}
