package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lake/compact"
	"lake/ingest/generate"
	"lake/jobs"
	"lake/load"
	"lake/load/duckdb"
	"lake/schemas"
)

type demoOptions struct {
	dir  string
	rows int64
}

func newDemo(a *app) *cobra.Command {
	o := demoOptions{dir: "lake-demo", rows: 600_000}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "see what lake is for, in a folder to play with",
		Long: `Demo makes a folder with a job file and a property portal's events, ingests them,
shows the answers of three rules as they come, compacts the table, loads it into
DuckDB and asks it three questions. The folder stays: it says what to try next.`,
		Example: "  lake demo --dir /tmp/lake-demo",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.runDemo(cmd.Context(), o) },
	}
	cmd.Flags().StringVar(&o.dir, "dir", o.dir, "the folder; it must not be there yet, or be an older demo")
	cmd.Flags().Int64Var(&o.rows, "rows", o.rows, "so many made-up events beside the sample")
	return cmd
}

// demoMark is in a demo's folder, so that only such a folder is replaced.
const demoMark = ".lake-demo"

// demoDays are the first instants of the made-up events.
var demoDays = [...]string{"2021-11-30T00:05:00+05:30", "2021-12-01T09:00:00+05:30", "2021-12-02T18:30:00+05:30"}

// demo is a run of lake demo.
type demo struct {
	*app
	demoOptions
	started time.Time
	shown   map[string]int // answers by rule
}

// leastDemoRows keep the demo's three broken records below one in a hundred of a run's.
const leastDemoRows = 1000

func (a *app) runDemo(ctx context.Context, o demoOptions) error {
	if o.rows < leastDemoRows {
		return usageError("--rows %d: the demo takes %d or more", o.rows, leastDemoRows)
	}
	d := &demo{app: a, demoOptions: o, started: time.Now(), shown: map[string]int{}}
	if err := d.makeFolder(); err != nil {
		return err
	}
	a.flags.warehouse = "" // beside the demo's job file
	for _, step := range []func(context.Context) error{d.ingestSample, d.ingestEvents, d.compactAll, d.loadAll, d.ask} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
	}
	d.next()
	return nil
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.stdout, format+"\n", args...) }

func (d *demo) head(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if _, plain := d.env("NO_COLOR"); terminal(d.stdout) && !plain {
		text = "\x1b[1m" + text + "\x1b[0m"
	}
	fmt.Fprintf(d.stdout, "\n%s\n", text)
}

func (d *demo) jobFile() string { return filepath.Join(d.dir, "nobroker.yaml") }

// makeFolder writes the job and the sample.
func (d *demo) makeFolder() error {
	if entries, err := os.ReadDir(d.dir); err == nil && len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(d.dir, demoMark)); err != nil {
			return usageError("--dir %s: the folder is there and no demo made it; name another one", d.dir)
		}
		if err := os.RemoveAll(d.dir); err != nil {
			return fmt.Errorf("replace the older demo: %w", err)
		}
	}
	if err := os.MkdirAll(filepath.Join(d.dir, "data", "nobroker"), 0o755); err != nil {
		return fmt.Errorf("make the demo's folder: %w", err)
	}
	if err := os.WriteFile(filepath.Join(d.dir, demoMark), nil, 0o644); err != nil {
		return fmt.Errorf("make the demo's folder: %w", err)
	}
	for _, name := range []string{"nobroker.yaml", "nobroker.test.yaml"} {
		if err := d.copyShipped(name, name); err != nil {
			return err
		}
	}
	d.head("A property portal's events: %s", d.jobFile())
	return nil
}

func (d *demo) copyShipped(name, to string) error {
	data, err := fs.ReadFile(jobs.Shipped(), name)
	if err != nil {
		return fmt.Errorf("unpack %s: %w", name, err)
	}
	return os.WriteFile(filepath.Join(d.dir, filepath.FromSlash(to)), data, 0o644)
}

// ingestSample brings the four micro-batches one after the other, so that each
// rule is seen to answer.
func (d *demo) ingestSample(ctx context.Context) error {
	d.say("Four small batches arrive. paid_user: a user with 9 interactions or more. property_status: a")
	d.say("property with more than 5. possible_broker: a user with more than 10 in one minute.")
	for i := range 4 {
		name := fmt.Sprintf("data/nobroker/batch-%d.jsonl", i+1)
		if err := d.copyShipped(name, name); err != nil {
			return err
		}
		d.say("\n$ lake ingest %s    # %s", d.jobFile(), name)
		if err := d.ingestOnce(ctx, d.showAnswers); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) ingestOnce(ctx context.Context, answered func(load.Delivery)) error {
	r, err := d.loadJob(d.jobFile())
	if err != nil {
		return err
	}
	result, err := d.ingest(ctx, r, ingestOptions{job: d.jobFile(), answered: answered})
	if err != nil {
		return err
	}
	printIngest(d.stdout, r, ingestResult{Result: result, Seconds: seconds(result.Elapsed)})
	return nil
}

// showAnswers prints answers as they are delivered.
func (d *demo) showAnswers(delivery load.Delivery) {
	for _, answers := range delivery.Answers {
		zone, err := time.LoadLocation("Asia/Kolkata")
		if err != nil {
			return
		}
		w, err := schemas.NewJSONWriter(answers.Rows.Schema(), zone, nil)
		if err != nil {
			return
		}
		for row := range int(answers.Rows.NumRows()) {
			fmt.Fprintf(d.stdout, "  → %-16s %s\n", answers.Rule, w.AppendRow(nil, answers.Rows, row))
		}
	}
}

// ingestEvents brings three days of made-up events, and a few broken records.
func (d *demo) ingestEvents(ctx context.Context) error {
	d.head("Three days of made-up events, and three records that nobody can read")
	per := d.rows / int64(len(demoDays)) / 2
	for i, start := range demoDays {
		for part := range 2 {
			name := filepath.Join(d.dir, "data", "nobroker", fmt.Sprintf("day-%d-%d.jsonl", i+1, part+1))
			if err := writeEvents(ctx, name, per, int64(10*i+part+1), start); err != nil {
				return err
			}
		}
		bad := filepath.Join(d.dir, "data", "nobroker", "day-3-broken.jsonl")
		broken := `{"user_id":"seven","property_id":1,"date":"2021-12-02 18:30:00","event":"Interaction"}` + "\n" +
			`{"user_id":7,"property_id":1,"date":"0000-00-00 00:00:00","event":"Interaction"}` + "\n" + `{"user_id":7,"prop` + "\n"
		if i == len(demoDays)-1 {
			if err := os.WriteFile(bad, []byte(broken), 0o644); err != nil {
				return err
			}
		}
		d.say("\n$ lake ingest %s", d.jobFile())
		if err := d.ingestOnce(ctx, nil); err != nil {
			return err
		}
	}
	return nil
}

// writeEvents makes a file of generated events.
func writeEvents(ctx context.Context, path string, rows, seed int64, start string) (err error) {
	source, err := generate.New(generate.Config{Spec: "nobroker", Rows: rows, Seed: seed, Start: start}, generate.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return writeLines(ctx, bufio.NewWriterSize(f, 1<<18), source, false)
}

func (d *demo) compactAll(ctx context.Context) error {
	d.head("Few large files instead of many small ones")
	d.say("$ lake compact %s", d.jobFile())
	r, err := d.loadJob(d.jobFile())
	if err != nil {
		return err
	}
	out, err := d.compact(ctx, r, compactOptions{}, func(_ droppedDates, p compact.Plan) { printPlan(d.stdout, p) })
	if err != nil {
		return err
	}
	printCompact(d.stdout, out)
	return nil
}

func (d *demo) loadAll(ctx context.Context) error {
	if !duckdb.Available {
		d.head("This lake was built without DuckDB: the warehouse is left out")
		return nil
	}
	d.head("Into the warehouse, a date at a time; a second load would change nothing")
	d.say("$ lake load %s", d.jobFile())
	r, err := d.loadJob(d.jobFile())
	if err != nil {
		return err
	}
	result, err := d.load(ctx, r, loadOptions{})
	if err != nil {
		return err
	}
	for _, t := range result.Targets {
		d.say("%s: loaded %s rows in %s", t.Target, formatCount(t.Rows), formatCounted(int64(t.Loaded), "partition"))
	}
	return nil
}

// demoQuestions are asked of DuckDB.
var demoQuestions = [...]struct{ text, sql string }{
	{"How many events a day?", "SELECT dt::VARCHAR AS dt, count(*) AS events, count(DISTINCT user_id) AS users FROM events GROUP BY dt ORDER BY dt"},
	{"Who paid the most attention?", "SELECT \"user\", interactions_count FROM paid_user ORDER BY interactions_count DESC, \"user\" LIMIT 5"},
	{"Which events are there?", "SELECT event, count(*) AS n, round(100.0 * count(*) / sum(count(*)) OVER (), 1) AS percent FROM events GROUP BY event ORDER BY n DESC"},
}

func (d *demo) ask(ctx context.Context) (err error) {
	if !duckdb.Available {
		return nil
	}
	r, err := d.loadJob(d.jobFile())
	if err != nil {
		return err
	}
	path := r.duckDBPath(duckdb.Config{})
	d.head("Three questions to %s", path)
	w, err := duckdb.Open(ctx, duckdb.Config{Path: path}, d.duckDBOptions(r))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for _, q := range demoQuestions {
		columns, cells, err := w.Query(ctx, q.sql)
		if err != nil {
			return fmt.Errorf("%s: %w", q.text, err)
		}
		d.say("\n%s\n  %s", q.text, q.sql)
		g := newGrid(columns...)
		for i := 1; i < len(columns); i++ {
			g.numbers(i)
		}
		for _, row := range cells {
			g.add(row...)
		}
		var out strings.Builder
		g.print(&out)
		d.say("%s", indent(out.String()))
	}
	return nil
}

func (d *demo) next() {
	job := d.jobFile()
	d.head("Done in %.1f s. The folder %s is yours to play with", time.Since(d.started).Seconds(), d.dir)
	g := newGrid("try", "to")
	for _, each := range [][2]string{
		{"lake status " + job, "see where the job stands"},
		{"lake tables scan " + job + " --limit 5", "look at rows"},
		{"lake tables history " + job, "see each commit"},
		{"lake dlq show " + job, "see the three broken records"},
		{"lake rules run " + job + " possible_broker", "answer a rule over the table"},
		{"lake rules verify " + job, "have DuckDB answer the rules, too, and compare"},
		{"lake audit " + job, "compare source, table and warehouse"},
		{"lake rules sql " + job + " --dialect bigquery", "take the rules elsewhere"},
		{"lake test " + job, "run the rules' own tests"},
		{"lake ingest --follow " + job, "go on; drop files into " + filepath.Join(d.dir, "data", "nobroker")},
		{"lake init --help", "write a job for your own events"},
	} {
		g.add(each[0], each[1])
	}
	var out strings.Builder
	g.print(&out)
	d.say("%s", indent(out.String()))
	if path, err := os.Executable(); err == nil {
		if found, err := exec.LookPath("lake"); err != nil || !sameFile(found, path) {
			d.say("so that the shell finds lake:\n  export PATH=%s:$PATH", filepath.Dir(path))
		}
	}
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
