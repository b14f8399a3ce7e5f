package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// inputs are the files that are read.
type inputs struct {
	flat, nested         string // JSON lines
	flatRows, nestedRows int64
}

// piece is how many of the flat events make a commit of small files. They come by date,
// some an hour late, so that a commit is a file or two: of five million, 451 commits
// are 500 files of 10,000 rows each on average.
func (in inputs) piece() int64 { return in.flatRows * 11_102 / 5_000_000 }

// pieces is the folder of the flat events by pieces.
func (b *bench) pieces() string { return filepath.Join(b.work, "pieces") }

// cut makes the pieces where they are not there yet.
func (b *bench) cut(ctx context.Context, in inputs) error {
	if _, err := os.Stat(b.pieces()); err == nil {
		return nil
	}
	if err := os.Mkdir(b.pieces(), 0o755); err != nil {
		return err
	}
	_, err := b.output(ctx, "split", "-a", "5", "-l", fmt.Sprint(in.piece()), "--additional-suffix=.jsonl", in.flat, b.pieces()+"/")
	return err
}

// inputs makes what is not there yet.
func (b *bench) inputs(ctx context.Context) (inputs, error) {
	in := inputs{flatRows: int64(5_000_000 * b.scale), nestedRows: int64(500_000 * b.scale)}
	var err error
	if in.flat, err = b.generated(ctx, "flat", "bench/flat.yaml", in.flatRows); err != nil {
		return in, err
	}
	in.nested, err = b.generated(ctx, "nested", "clicks", in.nestedRows)
	return in, err
}

// generated is a file of a spec's events; it is made where it is not there yet.
func (b *bench) generated(ctx context.Context, name, spec string, rows int64) (string, error) {
	path := filepath.Join(b.data, fmt.Sprintf("%s-%d.jsonl", name, rows))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	_, err := b.output(ctx, "sh", "-c", `"$1" generate "$2" --rows "$3" --seed 1 > "$4.part" && mv "$4.part" "$4"`, "sh", b.lake, spec, fmt.Sprint(rows), path)
	return path, err
}

const flatSchema = `schema: {user_id: int64!, property_id: int64, date: timestamp!, event: string}
time: {field: date, zone: Asia/Kolkata, format: "%%Y-%%m-%%d %%H:%%M:%%S"}
`

const flatJob = `version: 1
name: %s
source: {files: {paths: ["%s"]}}
` + flatSchema + `table: {name: bench.events, partition_by: [dt]}
`

const smallFiles = `commit: {max_records: %d}
`

const nestedJob = `version: 1
name: nested
source: {files: {paths: ["%s"]}}
schema:
  event_id: uuid!
  ts: timestamp!
  user: "struct<id: int64!, country: string, plan: string>"
  page: "struct<url: string, referrer: string, ms: int32>"
  session_id: string
  device: "struct<os: string, browser: string, screen: list<int32>>"
  items: "list<struct<sku: string, price: decimal(10,2), qty: int32>>"
  tags: list<string>
  props: map<string, string>
  gps: "struct<lat: float64, lon: float64>"
time: {field: ts, zone: UTC}
table: {name: bench.clicks, partition_by: [dt]}
`

// job writes a job file in a folder of its own.
func (b *bench) job(name, format string, args ...any) (path string, err error) {
	folder := filepath.Join(b.work, name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	path = filepath.Join(folder, "job.yaml")
	return path, os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o644)
}

func warehouse(job string) string { return filepath.Join(filepath.Dir(job), "warehouse") }

// clean removes a job's warehouse.
func clean(job string) func() error {
	return func() error { return os.RemoveAll(warehouse(job)) }
}

// prepare ingests a job once, for works that read its table.
func (b *bench) prepare(ctx context.Context, job string) error {
	if err := clean(job)(); err != nil {
		return err
	}
	_, err := b.output(ctx, b.lake, "ingest", job)
	return err
}

// files are the paths of the newest snapshot's files.
func (b *bench) files(ctx context.Context, job string) ([]string, error) {
	said, err := b.output(ctx, b.lake, "tables", "files", job, "--output", "json")
	if err != nil {
		return nil, err
	}
	var files []struct{ Path string }
	if err := json.Unmarshal([]byte(said), &files); err != nil {
		return nil, fmt.Errorf("the list of files: %w", err)
	}
	paths := make([]string, len(files))
	for i, f := range files {
		paths[i] = strings.TrimPrefix(f.Path, "file://")
	}
	return paths, nil
}

// fileList writes them as a list in JSON, beside the job, and returns the list's path.
func (b *bench) fileList(ctx context.Context, job string) (string, error) {
	paths, err := b.files(ctx, job)
	if err != nil {
		return "", err
	}
	list, err := json.Marshal(paths)
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(job), "files.json")
	return path, os.WriteFile(path, list, 0o644)
}

// agree returns what compares a job's table with what a peer made, a folder or a list of files: bench/peers/check.py says how.
func (b *bench) agree(what, job, made string) func(context.Context) error {
	return func(ctx context.Context) error {
		files, err := b.fileList(ctx, job)
		if err != nil {
			return err
		}
		_, err = b.output(ctx, b.python, "bench/peers/check.py", what, files, made)
		return err
	}
}
