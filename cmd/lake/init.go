package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/cloudspannerecosystem/memefish/token"
	"github.com/spf13/cobra"

	"lake/ingest/files"
	"lake/schemas"
)

type initOptions struct {
	sample string
	name   string
	out    string
	lines  int
}

func newInit(a *app) *cobra.Command {
	o := initOptions{}
	cmd := &cobra.Command{
		Use:   "init SAMPLE",
		Short: "write a job file from a sample of your JSON",
		Long: `Init reads JSON lines (plain, gzip or zstd), a file or - for stdin, and writes a job
file for them: the columns with their types, the event's time with its format, and a comment at each
place where something was guessed or left open. Nothing is guessed silently: read
the comments, then run lake lint.`,
		Example: `  lake init in/events.jsonl > events.yaml
  kcat -C -b localhost:9092 -t Events -c 1000 -e |
      lake init - --name events > events.yaml`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError("lake init takes a file of JSON lines, or - for stdin\nhint: lake init in/events.jsonl > events.yaml")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.sample = args[0]
			return a.runInit(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.name, "name", "", "the pipeline's name (default: the file's)")
	f.StringVarP(&o.out, "out", "o", "", "write to this file, which must not be there (default: stdout)")
	f.IntVar(&o.lines, "lines", 10_000, "look at so many lines")
	return cmd
}

func (a *app) runInit(ctx context.Context, o initOptions) (err error) {
	in := a.stdin
	if o.sample != "-" {
		f, err := os.Open(o.sample)
		if err != nil {
			return fmt.Errorf("read the sample: %w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := files.Text(in)
	if err != nil {
		return fmt.Errorf("read the sample %s: %w", o.sample, err)
	}
	defer text.Close()
	var failed error
	inferred, err := schemas.Infer(firstOf(ctx, text, o.lines, &failed))
	if failed != nil {
		return fmt.Errorf("read the sample %s: %w", o.sample, failed)
	}
	if err != nil {
		return withCode(exitConfig, fmt.Errorf("%s: %w", o.sample, err))
	}
	if o.name == "" {
		o.name = jobName(o.sample)
	}
	job := jobText(o, inferred)
	if o.out == "" {
		_, err := a.stdout.Write(job)
		return err
	}
	f, err := os.OpenFile(o.out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("write the job file: %w", err)
	}
	if _, err := f.Write(job); err != nil {
		f.Close()
		return fmt.Errorf("write the job file: %w", err)
	}
	return f.Close()
}

// samplePath is the sample as the job file names it: from the folder that it is in.
func samplePath(o initOptions) string {
	if o.sample == "-" {
		return "in/*.jsonl"
	}
	if o.out == "" || filepath.IsAbs(o.sample) {
		return o.sample
	}
	path, err := filepath.Rel(filepath.Dir(o.out), o.sample)
	if err != nil { // one of them is absolute
		if path, err = filepath.Abs(o.sample); err != nil {
			return o.sample
		}
	}
	return filepath.ToSlash(path)
}

// exampleRule is a column that a rule may group by, in SQL, and a name for the count.
func exampleRule(columns []schemas.InferredColumn) (key, quoted, count string) {
	key, count = "some_column", "n"
	taken := map[string]bool{}
	for _, c := range slices.Backward(columns) {
		taken[strings.ToLower(c.Field.Name)] = true
		if k := c.Field.Type.Kind; k < schemas.List && k != schemas.JSON && k != schemas.Timestamp {
			key = c.Field.Name
		}
	}
	for taken[count] {
		count += "n"
	}
	return key, token.QuoteSQLIdent(key), count
}

// firstOf are the first n lines.
func firstOf(ctx context.Context, in io.Reader, n int, failed *error) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		lines := bufio.NewScanner(in)
		lines.Buffer(nil, 16<<20)
		for range n {
			if ctx.Err() != nil || !lines.Scan() || !yield(lines.Bytes()) {
				break
			}
		}
		*failed = lines.Err()
	}
}

var notName = regexp.MustCompile(`[^a-z0-9_]+`)

// jobName makes a pipeline's name of a file's.
func jobName(path string) string {
	base, _, _ := strings.Cut(filepath.Base(path), ".")
	name := strings.Trim(notName.ReplaceAllString(strings.ToLower(base), "_"), "_")
	if name == "" || name[0] < 'a' {
		return "events"
	}
	return name
}

// jobText is the job file: what was inferred, with a comment where a person
// should look.
func jobText(o initOptions, in schemas.Inferred) []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Written by lake init from %d records of %s. Read the comments marked ?, then:", in.Records, o.sample)
	line("#   lake lint THIS FILE; lake ingest THIS FILE; lake tables scan THIS FILE --limit 5")
	for _, r := range in.Remarks {
		line("# ? %s", r)
	}
	line("version: 1")
	line("name: %-30s # the pipeline's identity: offsets and rule state belong to it", o.name)
	line("source:")
	line("  files: {paths: [%s]}", quoteYAML(samplePath(o)))
	line("  # or a topic; lake ingest --follow goes on reading it:")
	line("  # kafka: {brokers: [\"localhost:9092\"], topics: [Events], start: earliest}")
	line("schema:                              # ! is required: a record without it becomes a dead letter")
	for _, c := range in.Columns {
		for _, r := range c.Remarks {
			line("  # ? %s: %s", c.Field.Name, r)
		}
		line("  %s", columnText(c.Field))
	}
	writeTime(line, in)
	line("# Where the table lies: in the folder warehouse beside this file, or in a bucket or HDFS, with a catalog that")
	line("# other machines reach. Credentials, and what storage: leaves out, are as the environment has them.")
	line("# storage: {s3: {endpoint: \"https://minio.example.com:9000\", region: us-east-1}}   # or gs:, hdfs:")
	line("# catalog: {postgres: \"${LAKE_CATALOG}\"}   # or {hive: {uri: \"thrift://metastore:9083\"}}")
	key, quoted, count := exampleRule(in.Columns)
	line("table:")
	line("  name: %s.events", strings.ReplaceAll(o.name, "-", "_"))
	line("  # location: s3://bucket/events     # or gs://…, hdfs://…")
	if len(in.Times) > 0 {
		line("  partition_by: [dt]                 # dt: the event's date in time.zone, made by lake")
	}
	line("  # sort_by: [%s]   # compaction sorts by it: queries for few values read less", key)
	line("dead_letter: {max_ratio: 1%%}         # above it a run stops with exit code 7 and commits nothing more")
	line("# rules:                             # queries in GoogleSQL; lake rules run answers them over the table")
	line("#   busy:")
	line("#     sql: SELECT %s, COUNT(*) AS %s FROM events GROUP BY %s HAVING %s >= 10", quoted, count, quoted, count)
	line("#     emit: on_cross                 # or on_change, on_close")
	line("#     to: [{files: {path: out/busy}}]")
	line("load:")
	line("  - duckdb: {table: events}          # lake load brings the table here, a date at a time")
	return b.Bytes()
}

// columnText is a schema entry.
func columnText(f schemas.Field) string {
	required := ""
	if f.Required {
		required = "!"
	}
	t := quoteYAML(f.Type.String() + required)
	if f.Format == "" && f.Zone == "" && f.From == "" {
		return quoteYAML(f.Name) + ": " + t
	}
	parts := []string{"type: " + t}
	for _, each := range [][2]string{{"format", f.Format}, {"zone", f.Zone}, {"from", f.From}} {
		if each[1] != "" {
			parts = append(parts, each[0]+": "+quoteYAML(each[1]))
		}
	}
	return quoteYAML(f.Name) + ": {" + strings.Join(parts, ", ") + "}"
}

// writeTime writes time:, with the other candidates as comments.
func writeTime(line func(string, ...any), in schemas.Inferred) {
	if len(in.Times) == 0 {
		line("# ? no column looks like the event's time; without time: there are no dates and no windows.")
		line("# time: {field: some_timestamp, zone: UTC}   # or field: _timestamp, a Kafka record's own time")
		return
	}
	for i, t := range in.Times {
		text := "field: " + quoteYAML(t.Column)
		if t.Zoned {
			text += ", zone: UTC"
			line("# ? %s: %s; zone decides where a day begins", t.Column, t.Why)
		} else {
			text += ", zone: UTC"
			line("# ? %s: %s; its texts have no zone: say which one they are in", t.Column, t.Why)
		}
		text += ", allowed_lateness: 5m"
		if i == 0 {
			line("time: {%s}", text)
		} else {
			line("# time: {%s}", text)
		}
	}
}

var plainYAML = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_./-]*!?$`)

// quoteYAML quotes a scalar where it needs quotes.
func quoteYAML(text string) string {
	if plainYAML.MatchString(text) {
		return text
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == ' ' || unicode.IsGraphic(r) && !unicode.IsSpace(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default: // a line's end, for one, would be read as a space
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
