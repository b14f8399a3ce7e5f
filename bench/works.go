package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"lake/bench/portal"
)

// inputs are the files that are read.
type inputs struct {
	flat, nested         string // JSON lines
	flatRows, nestedRows int64
	self                 string // this program, for bare
}

// inputs makes what is not there yet.
func (b *bench) inputs(ctx context.Context) (inputs, error) {
	in := inputs{flatRows: int64(5_000_000 * b.scale), nestedRows: int64(500_000 * b.scale)}
	if err := os.MkdirAll(b.data, 0o755); err != nil {
		return in, err
	}
	in.flat = filepath.Join(b.data, fmt.Sprintf("flat-%d.jsonl", in.flatRows))
	in.nested = filepath.Join(b.data, fmt.Sprintf("nested-%d.jsonl", in.nestedRows))
	for _, each := range []struct {
		path, spec string
		rows       int64
	}{{in.flat, "bench/flat.yaml", in.flatRows}, {in.nested, "clicks", in.nestedRows}} {
		if _, err := os.Stat(each.path); err == nil {
			continue
		}
		script := fmt.Sprintf("%s generate %s --rows %d --seed 1 > %s.part && mv %s.part %s", b.lake, each.spec, each.rows, each.path, each.path, each.path)
		if _, err := b.output(ctx, "sh", "-c", script); err != nil {
			return in, err
		}
	}
	self, err := os.Executable()
	in.self = self
	return in, err
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

const duckFlat = `
import duckdb
duckdb.sql("SET preserve_insertion_order = false")
duckdb.sql("""COPY (SELECT *, (date::TIMESTAMP)::DATE AS dt FROM read_json('%s', format = 'newline_delimited',
  columns = {user_id: 'BIGINT', property_id: 'BIGINT', date: 'TIMESTAMP', event: 'VARCHAR'}))
  TO '%s' (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (dt), OVERWRITE true)""")
`

const duckNested = `
import duckdb
duckdb.sql("SET preserve_insertion_order = false")
duckdb.sql("SET TimeZone = 'UTC'")
duckdb.sql("""COPY (SELECT *, ts::DATE AS dt FROM read_json('%s', format = 'newline_delimited', columns = {
  event_id: 'UUID', ts: 'TIMESTAMPTZ', user: 'STRUCT(id BIGINT, country VARCHAR, plan VARCHAR)',
  page: 'STRUCT(url VARCHAR, referrer VARCHAR, ms INTEGER)', session_id: 'VARCHAR',
  device: 'STRUCT(os VARCHAR, browser VARCHAR, screen INTEGER[])',
  items: 'STRUCT(sku VARCHAR, price DECIMAL(10,2), qty INTEGER)[]', tags: 'VARCHAR[]', props: 'MAP(VARCHAR, VARCHAR)',
  gps: 'STRUCT(lat DOUBLE, lon DOUBLE)'})) TO '%s' (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (dt), OVERWRITE true)""")
`

const duckCompact = `
import duckdb
duckdb.sql("SET preserve_insertion_order = false")
duckdb.sql("COPY (SELECT * FROM read_parquet(%s)) TO '%s' (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (dt), OVERWRITE true)")
`

const duckQuery = `
import duckdb
print(duckdb.sql("SELECT count(*) FROM (%s)").fetchall())
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

// clean removes a job's warehouse.
func clean(job string) func() error {
	return func() error { return os.RemoveAll(filepath.Join(filepath.Dir(job), "warehouse")) }
}

// works are the lines of the table.
func (b *bench) works(in inputs) ([]work, error) {
	flat, err := b.job("flat", flatJob, "flat", in.flat)
	if err != nil {
		return nil, err
	}
	nested, err := b.job("nested", nestedJob, in.nested)
	if err != nil {
		return nil, err
	}
	ruled, err := b.job("ruled", flatJob+portal.Rules, "ruled", in.flat)
	if err != nil {
		return nil, err
	}
	small, err := b.job("small", flatJob+smallFiles, "small", in.flat, in.flatRows/500) // events come by date: a commit is a file or two
	if err != nil {
		return nil, err
	}
	duck := func(name string) string { return filepath.Join(b.work, "duck-"+name) }
	python := func(name, script string, args ...any) process {
		return process{name: name, args: []string{b.python, "-c", fmt.Sprintf(script, args...)}}
	}
	ingest := func(job string) process {
		return process{name: "lake ingest", before: clean(job), args: []string{b.lake, "ingest", job}}
	}
	parquet := func(folder string) string { return filepath.Join(folder, "**", "*.parquet") }
	table := func(job string) string { return parquet(filepath.Join(filepath.Dir(job), "warehouse")) }
	counted := func(column, glob string) string {
		return fmt.Sprintf("SELECT dt::VARCHAR, count(*), count(DISTINCT %s) FROM read_parquet('%s', hive_partitioning = true) GROUP BY 1 ORDER BY 1", column, glob)
	}
	works := []work{
		{
			name: "flat JSON → date-partitioned Parquet, against DuckDB COPY", rows: in.flatRows, target: 1.2, memory: true,
			lake: ingest(flat), peer: python("duckdb", duckFlat, in.flat, duck("flat")),
			checkSQL: [2]string{counted("user_id", table(flat)), counted("user_id", parquet(duck("flat")))},
		},
		{
			name: "nested JSON → date-partitioned Parquet, against DuckDB COPY", rows: in.nestedRows, target: 0.8,
			lake: ingest(nested), peer: python("duckdb", duckNested, in.nested, duck("nested")),
			checkSQL: [2]string{counted("event_id", table(nested)), counted("event_id", parquet(duck("nested")))},
		},
		{
			name: "full ingest with three rules, against bare decode and write", rows: in.flatRows, target: 0.7,
			lake: ingest(ruled),
			peer: process{name: "bare", before: func() error { return os.RemoveAll(duck("bare")) }, args: []string{in.self, "bare", in.flat, duck("bare")}},
		},
	}
	overFiles := func(sql string) func(context.Context, *work) error {
		return func(ctx context.Context, w *work) error {
			if err := b.prepare(ctx, ruled); err != nil {
				return err
			}
			files, err := b.fileList(ctx, ruled)
			w.peer = python("duckdb", duckQuery, fmt.Sprintf(sql, files))
			return err
		}
	}
	run := func(rule string) process {
		return process{name: "lake rules run", args: []string{b.lake, "rules", "run", ruled, rule, "--format", "jsonl"}}
	}
	return append(works,
		work{
			name: "count a key over the table, against DuckDB SQL on its files", rows: in.flatRows, lake: run("paid_user"),
			setup: overFiles("SELECT user_id, count(*) AS n FROM read_parquet(%s) WHERE event = 'Interaction' GROUP BY user_id HAVING count(*) >= 9"),
		},
		work{
			name: "count a key and minute over the table, against DuckDB SQL on its files", rows: in.flatRows, lake: run("possible_broker"),
			setup: overFiles("SELECT time_bucket(INTERVAL 1 MINUTE, date) AS w, user_id, count(*) AS n FROM read_parquet(%s) WHERE event = 'Interaction' GROUP BY 1, 2 HAVING count(*) > 10"),
		},
		work{
			name: "compaction of small files, against DuckDB COPY", rows: in.flatRows,
			lake:  process{name: "lake compact", args: []string{b.lake, "compact", small}},
			setup: func(ctx context.Context, w *work) error { return b.smallFiles(ctx, w, small, duck("compact")) },
		}), nil
}

// smallFiles fills a job's table with small files, and has them put back before each run.
func (b *bench) smallFiles(ctx context.Context, w *work, job, out string) error {
	if err := b.prepare(ctx, job); err != nil {
		return err
	}
	files, err := b.fileList(ctx, job)
	if err != nil {
		return err
	}
	saved, warehouse := filepath.Join(filepath.Dir(job), "saved"), filepath.Join(filepath.Dir(job), "warehouse")
	if err := os.Rename(warehouse, saved); err != nil {
		return err
	}
	fresh := func() error { // the catalog holds absolute paths: the warehouse is put back where it was
		if err := os.RemoveAll(warehouse); err != nil {
			return err
		}
		_, err := b.output(ctx, "cp", "-a", saved, warehouse)
		return err
	}
	w.name = fmt.Sprintf("compaction of %d small files, against DuckDB COPY", strings.Count(files, ".parquet"))
	w.lake.before = fresh
	w.peer = process{name: "duckdb", before: fresh, args: []string{b.python, "-c", fmt.Sprintf(duckCompact, files, out)}}
	return nil
}

// prepare ingests a job once, for works that read its table.
func (b *bench) prepare(ctx context.Context, job string) error {
	if err := clean(job)(); err != nil {
		return err
	}
	_, err := b.output(ctx, b.lake, "ingest", job)
	return err
}

// fileList is the newest snapshot's files as a list in SQL.
func (b *bench) fileList(ctx context.Context, job string) (string, error) {
	return b.output(ctx, b.python, "-c", `
import json, subprocess, sys
files = json.loads(subprocess.check_output([sys.argv[1], "tables", "files", sys.argv[2], "--output", "json"]))
print([f["path"].removeprefix("file://") for f in files])
`, b.lake, job)
}
