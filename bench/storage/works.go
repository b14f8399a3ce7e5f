package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"lake/bench/portal"
)

const flatJob = `version: 1
name: flat
source: {files: {paths: [%q]}}
schema: {user_id: int64!, property_id: int64, date: timestamp!, event: string}
time: {field: date, zone: Asia/Kolkata, format: "%%Y-%%m-%%d %%H:%%M:%%S"}
catalog: {sqlite: {}}
table: {name: bench.events, partition_by: [dt]%s}
`

// work is what is done in both places.
type work struct {
	name, command string
	more          string // of the job file
	says          string // lake's output has it
	setup         func(context.Context, *bench, *job) error
	before        func(context.Context, *job) error // each run; not timed
}

func (b *bench) works() []work {
	nothing := func(context.Context, *bench, *job) error { return nil }
	again := func(ctx context.Context, j *job) error { return j.clear(ctx) }
	in := grouped(b.rows) + " records in"
	return []work{
		{name: "ingest", command: "ingest", says: in, setup: nothing, before: again},
		{name: "ingest, three rules", command: "ingest", more: portal.Rules, says: in, setup: nothing, before: again},
		{name: "compaction of %d small files", command: "compact", more: b.manyCommits(),
			setup: smallFiles, before: func(_ context.Context, j *job) error { return j.restore() }},
	}
}

// manyCommits is of a job whose ingest leaves small files.
func (b *bench) manyCommits() string {
	return fmt.Sprintf("commit: {max_records: %d}\n", b.rows/b.commits)
}

func grouped(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// job is a job file in a folder of its own, whose table lies in a place.
type job struct {
	place  *place
	folder string
	path   string
	files  int // of its table, once smallFiles has made them
}

func (b *bench) job(w work, p *place) (*job, error) {
	j := &job{place: p, folder: filepath.Join(b.work, p.name, strings.NewReplacer(" ", "-", "%d", "n", ",", "").Replace(w.name))}
	j.path = filepath.Join(j.folder, "job.yaml")
	location := ""
	if p.root != "" {
		location = fmt.Sprintf(", location: %q", j.root())
	}
	if err := os.MkdirAll(j.folder, 0o755); err != nil {
		return nil, err
	}
	return j, os.WriteFile(j.path, fmt.Appendf(nil, flatJob+w.more, b.events, location), 0o644)
}

// root is the table's folder in the store.
func (j *job) root() string { return j.place.root + "/" + filepath.Base(j.folder) + "/events" }

func (j *job) warehouse() string { return filepath.Join(j.folder, "warehouse") }

// clear removes all that the job has made.
func (j *job) clear(ctx context.Context) error {
	if j.place.root != "" {
		if err := j.place.remove(ctx, filepath.Base(j.folder)); err != nil {
			return err
		}
	}
	return os.RemoveAll(j.warehouse())
}

// smallFiles fills the job's table by many commits and keeps its catalog.
func smallFiles(ctx context.Context, b *bench, j *job) error {
	if err := j.clear(ctx); err != nil {
		return err
	}
	if _, _, err := b.timed(ctx, "", b.lake, "ingest", j.path); err != nil {
		return err
	}
	files, err := b.files(ctx, j)
	if err != nil {
		return err
	}
	j.files = len(files)
	return move(filepath.Join(j.warehouse(), "catalog.db*"), filepath.Join(j.folder, "saved"))
}

// restore lets the catalog know the small files again. A compaction deletes no
// file that the table had before it.
func (j *job) restore() error {
	old, err := filepath.Glob(filepath.Join(j.warehouse(), "catalog.db*"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return move(filepath.Join(j.folder, "saved", "catalog.db*"), j.warehouse())
}

// move copies files to a folder.
func move(pattern, folder string) error {
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		return fmt.Errorf("there is no %s: %w", pattern, err)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, filepath.Base(path)), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// files are the URIs of the newest snapshot's.
func (b *bench) files(ctx context.Context, j *job) ([]string, error) {
	cmd := exec.CommandContext(ctx, b.lake, "tables", "files", j.path, "--output", "json")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var found []struct {
		Path string `json:"path"`
	}
	if err := json.Unmarshal(out, &found); err != nil {
		return nil, fmt.Errorf("read what lake tables files says: %w", err)
	}
	paths := map[string]bool{}
	for _, f := range found {
		paths[f.Path] = true
	}
	return slices.Sorted(maps.Keys(paths)), nil
}

// check has DuckDB count what both tables hold, past lake.
func (b *bench) check(ctx context.Context, jobs [2]*job) error {
	var answers [2]string
	for i, j := range jobs {
		files, err := b.files(ctx, j)
		if err != nil {
			return err
		}
		for n, uri := range files {
			if files[n], err = j.place.fetch(ctx, uri); err != nil {
				return fmt.Errorf("read %s past lake: %w", uri, err)
			}
		}
		list, err := json.Marshal(files)
		if err != nil {
			return err
		}
		out, err := exec.CommandContext(ctx, b.python, "-c", `
import duckdb, json, sys
print(duckdb.execute("SELECT count(*), sum(user_id), sum(property_id), sum(epoch_us(date)), bit_xor(hash(user_id, property_id, date, event)) FROM read_parquet($files)", {"files": json.loads(sys.argv[1])}).fetchall())
`, string(list)).CombinedOutput()
		if err != nil {
			return fmt.Errorf("count the rows on %s: %w: %s", j.place.name, err, out)
		}
		answers[i] = strings.TrimSpace(string(out))
	}
	if answers[0] != answers[1] || !strings.HasPrefix(answers[0], fmt.Sprintf("[(%d,", b.rows)) {
		return fmt.Errorf("the tables differ: %s on the local disk, %s on %s, of %d rows", answers[0], answers[1], jobs[1].place.name, b.rows)
	}
	return nil
}
