// Package files is the sink that writes rule answers as JSON lines:
// <path>/<rule>-<shard>-<seq>.jsonl, one file a rule and a commit that has
// answers, so that a repeated delivery overwrites itself with the same bytes. A
// reader sees whole files only; names that begin with a dot are lake's own.
//
// A tombstone is a line that ends in "_deleted":true. It has the columns of key
// where the output names them, and the group's present row otherwise.
package files

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lake/load"
	"lake/schemas"
)

// Config is the sink as a job file has it.
type Config struct {
	Path   string            `yaml:"path"`   // a folder; made where it is not there
	Rename map[string]string `yaml:"rename"` // column → name in the output
	Key    []string          `yaml:"key"`    // columns of a tombstone
}

// Options are what a job file says elsewhere.
type Options struct {
	Dir  string // a relative path begins here; "" is the working directory
	Zone string // IANA zone in which timestamps are written; "" is UTC
}

const (
	deletedField = "_deleted"
	ownerFile    = ".lake-pipeline" // whose answers the folder has
	seqDigits    = 12               // names sort as seqs do
)

// Sink writes answers into a folder. It is a load.Sink.
type Sink struct {
	dir  string
	form load.Output
	zone *time.Location
	line []byte
}

var _ load.Sink = (*Sink)(nil)

// New makes a sink. It touches no file.
func New(cfg Config, opts Options) (*Sink, error) {
	if cfg.Path == "" {
		return nil, errors.New("output files: path is missing; hint: files: {path: out}")
	}
	zone, err := time.LoadLocation(opts.Zone)
	if err != nil {
		return nil, fmt.Errorf("output files: zone: %w", err)
	}
	dir := filepath.FromSlash(cfg.Path)
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(opts.Dir, dir)
	}
	return &Sink{dir: dir, zone: zone,
		form: load.Output{Rename: maps.Clone(cfg.Rename), Key: slices.Clone(cfg.Key), Zone: opts.Zone}}, nil
}

// Open makes the folder and marks it as the pipeline's: two pipelines in one
// would overwrite each other. It returns -1: only repeating a delivery tells
// whether it is there.
func (s *Sink) Open(ctx context.Context, pipeline, shard string, epoch int64) (int64, error) {
	if err := ctx.Err(); err != nil {
		return -1, err
	}
	if err := makeFolder(s.dir); err != nil {
		return -1, fmt.Errorf("open output files: %w", err)
	}
	if err := s.own(pipeline); err != nil {
		return -1, err
	}
	if err := s.sweep(shard, epoch); err != nil {
		return -1, fmt.Errorf("open output files: %w", err)
	}
	return -1, nil
}

// own marks the folder.
func (s *Sink) own(pipeline string) error {
	path := filepath.Join(s.dir, ownerFile)
	owner, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		temp := path + "." + escape(pipeline) + ".tmp"
		err = writeFile(temp, func(w io.Writer) error {
			_, err := io.WriteString(w, pipeline+"\n")
			return err
		})
		if err == nil {
			err = os.Rename(temp, path)
		}
		if err == nil {
			err = syncFolder(s.dir)
		}
		if err == nil {
			owner, err = os.ReadFile(path)
		}
	}
	if err != nil {
		return fmt.Errorf("mark output folder: %w", err)
	}
	if got := strings.TrimSpace(string(owner)); got != pipeline {
		return fmt.Errorf("open output files: %s has the answers of pipeline %q; hint: give pipeline %q a folder of its own, or remove this one", s.dir, got, pipeline)
	}
	return nil
}

// sweep removes what former owners of the shard left half-written.
func (s *Sink) sweep(shard string, epoch int64) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".tmp")
		name, epochText, found := cutLast(name, ".")
		left, err := strconv.ParseInt(epochText, 10, 64)
		stem, _, _ := cutLast(name, "-") // less the seq
		if !ok || !found || err != nil || left >= epoch || !strings.HasPrefix(name, ".") || !strings.HasSuffix(stem, "-"+escape(shard)) {
			continue
		}
		if err := os.Remove(filepath.Join(s.dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func cutLast(text, by string) (before, after string, found bool) {
	i := strings.LastIndex(text, by)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(by):], true
}

// Name is the file of a rule's answers. The shard is escaped, so that no two
// (rule, shard, seq) share a name and none leaves the folder.
func Name(rule, shard string, seq int64) string {
	return fmt.Sprintf("%s-%s-%0*d.jsonl", rule, escape(shard), seqDigits, seq)
}

// escape writes all but letters, digits, _ and = as %XX; a dot not at all in
// front. Without a - in the shard, the last two of a name part its three parts.
func escape(shard string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(shard) {
		c := shard[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '=', c == '.' && i > 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

// Deliver writes one file a rule that has answers. Each appears whole; all of
// them are written before the first appears.
func (s *Sink) Deliver(ctx context.Context, d load.Delivery) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("deliver seq %d to %s: %w", d.Seq, s.dir, err)
		}
	}()
	type pending struct{ temp, path string }
	var files []pending
	defer func() {
		for _, f := range files { // those renamed are gone
			os.Remove(f.temp)
		}
	}()
	for _, a := range d.Answers {
		if a.Rows.NumRows() == 0 {
			continue
		}
		if strings.ContainsAny(a.Rule, `/\`) || strings.HasPrefix(a.Rule, ".") {
			return fmt.Errorf("rule %q cannot be part of a file's name", a.Rule)
		}
		name := Name(a.Rule, d.Shard, d.Seq)
		f := pending{temp: filepath.Join(s.dir, fmt.Sprintf(".%s.%d.tmp", strings.TrimSuffix(name, ".jsonl"), d.Epoch)), path: filepath.Join(s.dir, name)}
		files = append(files, f)
		if err := writeFile(f.temp, func(w io.Writer) error { return s.write(ctx, w, a) }); err != nil {
			return fmt.Errorf("rule %s: %w", a.Rule, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, f := range files {
		if err := os.Rename(f.temp, f.path); err != nil {
			return err
		}
	}
	if len(files) == 0 {
		return nil
	}
	return syncFolder(s.dir)
}

// write writes the lines of one rule.
func (s *Sink) write(ctx context.Context, w io.Writer, a load.Answers) error {
	lines, err := schemas.NewJSONWriter(a.Rows.Schema(), s.zone, s.form.Rename)
	if err != nil {
		return err
	}
	dead, rows, err := s.tombstones(a)
	if err != nil {
		return err
	}
	defer rows.Release()
	for i := range int(a.Rows.NumRows()) {
		if i%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		if a.Deleted != nil && a.Deleted[i] {
			s.line = dead.AppendRow(s.line[:0], rows, i)
			s.line = append(s.line[:len(s.line)-1], `,"`+deletedField+`":true}`...)
		} else {
			s.line = lines.AppendRow(s.line[:0], a.Rows, i)
		}
		s.line = append(s.line, '\n')
		if _, err := w.Write(s.line); err != nil {
			return err
		}
	}
	return nil
}

// tombstones makes what writes deleted rows, and the columns that it writes, which the caller releases.
func (s *Sink) tombstones(a load.Answers) (*schemas.JSONWriter, arrow.RecordBatch, error) {
	schema := a.Rows.Schema()
	for _, f := range schema.Fields() {
		if name, ok := s.form.Rename[f.Name]; f.Name == deletedField && !ok || name == deletedField {
			return nil, nil, fmt.Errorf("column %q has the name of the mark of deleted rows, %s; hint: rename it", f.Name, deletedField)
		}
	}
	var fields []arrow.Field
	var columns []arrow.Array
	for _, name := range s.form.Key {
		at := schema.FieldIndices(name)
		if len(at) != 1 {
			return nil, nil, fmt.Errorf("key column %q is none of its columns", name)
		}
		fields, columns = append(fields, schema.Field(at[0])), append(columns, a.Rows.Column(at[0]))
	}
	if len(fields) == 0 {
		fields, columns = schema.Fields(), a.Rows.Columns()
	}
	key := arrow.NewSchema(fields, nil)
	writer, err := schemas.NewJSONWriter(key, s.zone, s.renamed(fields))
	if err != nil {
		return nil, nil, err
	}
	return writer, array.NewRecordBatch(key, columns, a.Rows.NumRows()), nil
}

// renamed is the part of rename that concerns fields.
func (s *Sink) renamed(fields []arrow.Field) map[string]string {
	out := map[string]string{}
	for _, f := range fields {
		if name, ok := s.form.Rename[f.Name]; ok {
			out[f.Name] = name
		}
	}
	return out
}

// Close has nothing to let go of: each delivery is durable when it returns.
func (s *Sink) Close() error { return nil }

// writeFile makes path durable but for its entry in the folder.
func writeFile(path string, write func(io.Writer) error) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 64<<10)
	if err := write(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Sync()
}

// makeFolder makes dir and its parents durable.
func makeFolder(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeFolder(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(parent)
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
