package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"lake/brokers"
	"lake/ingest"
	"lake/ingest/decode"
	"lake/ingest/decode/json"
	"lake/ingest/files"
	"lake/ingest/generate"
	"lake/ingest/kafka"
	"lake/jobs"
	"lake/load"
	"lake/load/bigquery"
	"lake/load/duckdb"
	filesink "lake/load/files"
	kafkasink "lake/load/kafka"
	"lake/schemas"
	"lake/storage"
	"lake/table"
)

// This file, and wire_storage.go for stores, is the only map from a kind in a job
// file to its constructor.

// sourcePlan is a source whose options are checked.
type sourcePlan struct {
	kind    string
	endless bool           // a bounded run would not end
	cluster brokers.Config // of a Kafka source: where its rules' answers go, too
	// Of a source that several processes may share:
	shareable     bool
	topics        int
	partitionedBy []string
	unchecked     bool
	open          func(a *app, r *resolved, follow bool) (ingest.Source, error)
}

// sourceKinds decodes an adapter's options into a source to be opened.
func sourceKinds() map[string]func(jobs.Adapter) (sourcePlan, error) {
	return map[string]func(jobs.Adapter) (sourcePlan, error){
		"files": func(options jobs.Adapter) (sourcePlan, error) {
			var cfg files.Config
			err := options.Decode(&cfg)
			if err == nil { // it touches no file
				_, err = files.New(cfg, files.Options{})
			}
			return sourcePlan{open: func(a *app, r *resolved, follow bool) (ingest.Source, error) {
				return files.New(cfg, files.Options{Dir: r.Resolve("."), Follow: follow, MaxRecordBytes: r.record, Log: a.log})
			}}, err
		},
		"generate": func(options jobs.Adapter) (sourcePlan, error) {
			var cfg generate.Config
			err := options.Decode(&cfg)
			return sourcePlan{endless: cfg.Rows == 0, open: func(_ *app, r *resolved, _ bool) (ingest.Source, error) {
				return generate.New(cfg, generate.Options{Dir: r.Resolve(".")})
			}}, err
		},
		"kafka": func(options jobs.Adapter) (sourcePlan, error) {
			var cfg kafka.Config
			err := options.Decode(&cfg)
			return sourcePlan{cluster: cfg.Config, shareable: true, topics: len(cfg.Topics), partitionedBy: cfg.PartitionedBy, unchecked: cfg.Unchecked,
				open: func(a *app, r *resolved, follow bool) (ingest.Source, error) {
					share, err := a.share()
					if err != nil {
						return nil, err
					}
					return kafka.New(cfg, kafka.Options{Pipeline: r.Name.Value, Dir: r.Resolve("."), Follow: follow,
						Shared: r.keys != nil, Share: share, BufferBytes: int64(a.flags.memory) / 8, Log: a.log})
				}}, errors.Join(err, cfg.Check())
		},
	}
}

func resolveSource(job *jobs.Job, p *problems) sourcePlan {
	kinds := sourceKinds()
	make, ok := kinds[job.Source.Kind]
	if !ok {
		if job.Source.Kind != "" { // a missing one is reported by the parser
			p.add(job.Source.Pos, nearest(job.Source.Kind, slices.Sorted(maps.Keys(kinds))), "source: this lake has no kind %q", job.Source.Kind)
		}
		return sourcePlan{}
	}
	plan, err := make(job.Source)
	p.take(job.Source.Pos, err)
	plan.kind = job.Source.Kind
	return plan
}

// newDecoder is the job's decoder.
func (r *resolved) newDecoder() (decode.Decoder, error) {
	return json.NewDecoder(r.decoder, json.Options{Mem: memory.DefaultAllocator, MaxRecordBytes: r.record})
}

// sinkPlan is a destination of rule answers whose options are checked.
type sinkPlan struct {
	name  string
	rules []string
	open  func(a *app, r *resolved) (load.Sink, error)
}

// resolveSinks checks the rules' outputs. The Kafka outputs of a cluster are
// one sink, so that the answers of a commit are one transaction there.
func resolveSinks(r *resolved, p *problems) []sinkPlan {
	var plans []sinkPlan
	var clusters []*cluster
	for i, rule := range r.Rules {
		for _, to := range rule.To {
			switch to.Kind {
			case "files":
				var cfg filesink.Config
				p.take(to.Pos, to.Decode(&cfg))
				checkOutput(r, i, cfg.Rename, cfg.Key, to.Pos, p)
				plans = append(plans, filesPlan(rule.Name.Value, cfg))
			case "kafka":
				var out kafkasink.Output
				err := to.Decode(&out)
				p.take(to.Pos, errors.Join(err, out.Check()))
				checkOutput(r, i, out.Rename, out.Key, to.Pos, p)
				at := out.Config
				if len(at.Brokers) == 0 {
					at = r.source.cluster
				}
				if len(at.Brokers) == 0 && err == nil {
					p.add(to.Pos, "brokers: [\"localhost:9092\"]", "rule %s: kafka: brokers is missing, and the source has none", rule.Name.Value)
				}
				known := slices.IndexFunc(clusters, func(c *cluster) bool { return c.Same(at) })
				if known < 0 {
					known = len(clusters)
					clusters = append(clusters, &cluster{Config: at, outputs: map[string][]kafkasink.Output{}})
				}
				c := clusters[known]
				c.outputs[rule.Name.Value] = append(c.outputs[rule.Name.Value], out)
			default:
				p.add(to.Pos, nearest(to.Kind, []string{"files", "kafka"}), "rule %s: this lake has no output %q", rule.Name.Value, to.Kind)
			}
		}
	}
	for _, c := range clusters {
		plans = append(plans, c.plan())
	}
	return plans
}

func filesPlan(rule string, cfg filesink.Config) sinkPlan {
	return sinkPlan{
		name:  "files " + cfg.Path,
		rules: []string{rule},
		open: func(_ *app, r *resolved) (load.Sink, error) {
			return filesink.New(cfg, filesink.Options{Dir: r.Resolve("."), Zone: r.zone.String()})
		},
	}
}

// cluster is a Kafka cluster and the outputs that go there, by rule.
type cluster struct {
	brokers.Config
	outputs map[string][]kafkasink.Output
}

func (c *cluster) plan() sinkPlan {
	return sinkPlan{
		name:  "kafka " + c.Name(),
		rules: slices.Sorted(maps.Keys(c.outputs)),
		open: func(a *app, r *resolved) (load.Sink, error) {
			return kafkasink.New(c.Config, c.outputs, kafkasink.Options{Dir: r.Resolve("."), Zone: r.zone.String(), Log: a.log})
		},
	}
}

// checkOutput checks what rename and key say of a rule's columns.
func checkOutput(r *resolved, rule int, rename map[string]string, key []string, at jobs.Pos, p *problems) {
	plan := r.rules[rule].Plan
	if plan == nil {
		return
	}
	var names []string
	for _, f := range plan.Output().Fields() {
		names = append(names, f.Name)
	}
	for _, column := range append(slices.Sorted(maps.Keys(rename)), key...) {
		if !slices.Contains(names, column) {
			p.add(at, nearest(column, names), "rule %s has no column %q", r.rules[rule].Name, column)
		}
	}
}

// loadPlan is a target of lake load whose options are checked.
type loadPlan struct {
	name string // the kind and the table; the ledger knows the target by it
	rule string // load this rule's answers; "": the table
	// local says that the target reads local files only: those of a remote table are copied first.
	local bool
	// whole says that the target reads the table itself: it is loaded as one, whatever its dates.
	whole bool
	// dialect is in what SQL it is asked.
	dialect schemas.Dialect
	open    func(ctx context.Context, a *app, r *resolved) (load.Warehouse, error)
	// located checks that the files of a table that lies somewhere reach it; nil: from anywhere.
	located func(location string) error
	// probe tries it for lake doctor, and changes nothing.
	probe func(ctx context.Context, r *resolved) (found string, err error)
}

// loadKinds decodes an adapter's options into a target to be opened.
func loadKinds() map[string]func(jobs.Adapter) (loadPlan, error) {
	return map[string]func(jobs.Adapter) (loadPlan, error){
		"bigquery": func(options jobs.Adapter) (loadPlan, error) {
			var cfg bigquery.Config
			err := options.Decode(&cfg)
			name := "bigquery " + cfg.Table
			return loadPlan{name: name, rule: cfg.Rule, dialect: schemas.BigQuery, located: cfg.CheckLocation,
				open: func(ctx context.Context, a *app, r *resolved) (load.Warehouse, error) {
					return a.openBigQuery(ctx, r, name, cfg)
				},
				probe: func(ctx context.Context, _ *resolved) (string, error) { return bigquery.Probe(ctx, cfg) },
			}, errors.Join(err, cfg.Check())
		},
		"duckdb": func(options jobs.Adapter) (loadPlan, error) {
			var cfg duckdb.Config
			err := options.Decode(&cfg)
			at := func(r *resolved) duckdb.Config {
				out := cfg
				out.Path = r.duckDBPath(cfg)
				return out
			}
			return loadPlan{name: strings.Join(strings.Fields("duckdb "+cfg.Path+" "+cfg.Table), " "), rule: cfg.Rule, local: true, dialect: schemas.DuckDB,
				open: func(ctx context.Context, a *app, r *resolved) (load.Warehouse, error) {
					return duckdb.Open(ctx, at(r), a.duckDBOptions(r))
				},
				probe: func(ctx context.Context, r *resolved) (string, error) { return duckdb.Probe(ctx, at(r)) },
			}, errors.Join(err, cfg.Check())
		},
		"hive": hivePlan,
	}
}

// closing is a warehouse with filesystems of its own.
type closing struct {
	load.Warehouse
	files io.Closer
}

// Close implements load.Warehouse.
func (c closing) Close() error { return errors.Join(c.Warehouse.Close(), c.files.Close()) }

// Unwrap is the target itself.
func (c closing) Unwrap() load.Warehouse { return c.Warehouse }

func resolveLoads(r *resolved, p *problems) []loadPlan {
	kinds := loadKinds()
	var plans []loadPlan
	for _, l := range r.Load {
		make, ok := kinds[l.Kind]
		if !ok {
			p.add(l.Pos, nearest(l.Kind, slices.Sorted(maps.Keys(kinds))), "load: this lake has no kind %q", l.Kind)
			continue
		}
		plan, err := make(l)
		p.take(l.Pos, err)
		if plan.rule != "" && !slices.ContainsFunc(r.Rules, func(rule jobs.Rule) bool { return rule.Name.Value == plan.rule }) {
			p.add(l.Pos, "", "load: there is no rule %q", plan.rule)
		}
		if plan.located != nil && err == nil {
			p.take(l.Pos, plan.located(cmp.Or(r.location(), r.warehouse)))
		}
		if slices.ContainsFunc(plans, func(other loadPlan) bool { return other.name == plan.name }) {
			p.add(l.Pos, "", "load: %s is a target twice", plan.name)
		}
		plans = append(plans, plan)
	}
	return plans
}

func (r *resolved) duckDBPath(cfg duckdb.Config) string {
	if cfg.Path == "" {
		return filepath.Join(r.folder, "warehouse.duckdb")
	}
	return r.Resolve(cfg.Path)
}

// duckDBOptions leave DuckDB half of --memory: the Go heap stays small meanwhile.
func (a *app) duckDBOptions(r *resolved) duckdb.Options {
	return duckdb.Options{MemoryBytes: int64(a.flags.memory) / 2, Threads: runtime.GOMAXPROCS(0), TempDir: filepath.Join(r.folder, "tmp")}
}

// targetBytes is the size that data files should have.
func (r *resolved) targetBytes() int64 { return 512 << 20 }

// pipeline opens all that a job names. The caller runs what it returns and then
// calls closeAll.
func (a *app) pipeline(ctx context.Context, r *resolved, o ingestOptions) (cfg ingest.Config, closeAll func() error, err error) {
	var closers []func() error
	closeOpened := func() error {
		var errs []error
		for _, each := range slices.Backward(closers) {
			errs = append(errs, each())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil { // the caller gets no closeAll then
			err = errors.Join(err, closeOpened())
		}
	}()
	catalog, err := a.openCatalog(ctx, r)
	if err != nil {
		return cfg, nil, err
	}
	closers = append(closers, catalog.Close)
	t, err := a.ensureTable(ctx, r, catalog)
	if err != nil {
		return cfg, nil, err
	}
	cfg = ingest.Config{
		Pipeline: r.Name.Value, SourceKind: r.source.kind, NewDecoder: r.newDecoder, Keys: r.keys, Time: r.time, Table: t, Blobs: r.blobs(t),
		NewSource: func() (ingest.Source, error) { return r.source.open(a, r, o.follow) },
		Job:       ingest.Identity{Zone: r.zone.String(), PartitionBy: r.partitionTexts(), PartitionedBy: r.source.partitionedBy},
		Retry:     retry(r, o), Patience: sessionPatience, Reset: o.resetOffsets,
		MaxBadRatio: r.DeadLetter.MaxRatio, Backfill: o.backfill, CloseWindows: o.closeWindows,
		Memory: int64(a.flags.memory), TargetBytes: r.targetBytes(), Mem: memory.DefaultAllocator, Log: a.log, Answered: o.answered,
		Letters: func(ctx context.Context) (*table.Table, error) { return a.ensureLetters(ctx, r, catalog) },
	}
	if r.time != nil {
		cfg.Job.TimeField = r.time.Name
	}
	cfg.Interval, cfg.MaxRecords, cfg.MaxBytes = r.commitBounds(o.follow)
	for _, rule := range r.rules {
		each := ingest.Rule{Rule: rule}
		for i, s := range r.sinks {
			if slices.Contains(s.rules, rule.Name) {
				each.Sinks = append(each.Sinks, i)
			}
		}
		cfg.Rules = append(cfg.Rules, each)
	}
	for _, s := range r.sinks {
		cfg.Sinks = append(cfg.Sinks, ingest.Sink{Name: s.name, New: func() (load.Sink, error) { return s.open(a, r) }})
	}
	return cfg, closeOpened, nil
}

// sessionPatience is how long a run goes on without a commit when what it needs
// is away, before it ends with the cause.
const sessionPatience = 5 * time.Minute

// retry says after which errors a run begins anew from its table: another
// process took shared partitions over; and where it follows what may pass by itself.
func retry(r *resolved, o ingestOptions) func(error) bool {
	return func(err error) bool {
		switch code := exitCode(err); {
		case errors.Is(err, ingest.ErrLost):
			return true
		case code == exitHeld:
			return r.keys != nil
		default:
			return code == exitRetry && o.follow
		}
	}
}

// share is the fixed part of the source's partitions that the environment gives
// this process, as Cloud Run's jobs do; zero: it gives none.
func (a *app) share() (kafka.Share, error) {
	count, index := os.Getenv("CLOUD_RUN_TASK_COUNT"), os.Getenv("CLOUD_RUN_TASK_INDEX")
	if count == "" || index == "" {
		return kafka.Share{}, nil
	}
	n, err := strconv.Atoi(count)
	i, wrong := strconv.Atoi(index)
	if err != nil || wrong != nil || n < 1 || i < 0 || i >= n {
		return kafka.Share{}, usageError("CLOUD_RUN_TASK_INDEX %q of CLOUD_RUN_TASK_COUNT %q: an index is 0 to count - 1", index, count)
	}
	return kafka.Share{Index: i, Count: n}, nil
}

// Bounds of a commit where the job file has none: somebody waits for the rows of
// a run that follows; a run that ends should make few large files.
const (
	followRecords, followBytes = 1_000_000, 256 << 20
	wholeRecords, wholeBytes   = 20_000_000, 4 << 30
)

// commitBounds are when a run commits.
func (r *resolved) commitBounds(follow bool) (interval time.Duration, records, bytes int64) {
	records, bytes = wholeRecords, wholeBytes
	if follow {
		interval, records, bytes = r.Commit.Interval.Duration, followRecords, followBytes
	}
	return interval, cmp.Or(r.Commit.MaxRecords, records), cmp.Or(r.Commit.MaxBytes, bytes)
}

func (r *resolved) partitionTexts() []string {
	texts := make([]string, len(r.partition))
	for i, p := range r.partition {
		texts[i] = p.String()
	}
	return texts
}

// ensureTable opens the job's table, makes it, or adds the columns that are new.
func (a *app) ensureTable(ctx context.Context, r *resolved, catalog *table.Catalog) (*table.Table, error) {
	name := r.Table.Name.Value
	definition := table.Definition{Schema: r.columns, PartitionBy: r.partition, Location: r.location()}
	t, made, err := loadOrCreate(ctx, catalog, name, definition)
	if err != nil {
		return nil, err
	}
	if made {
		a.log.Debug("made a table", "table", name, "location", t.Location())
		return t, nil
	}
	is := make([]string, 0, 2)
	for _, p := range t.Partitions() {
		is = append(is, p.String())
	}
	if !slices.Equal(is, r.partitionTexts()) {
		return nil, &ingest.Changed{What: "table.partition_by", Was: strings.Join(is, ", "), Is: strings.Join(r.partitionTexts(), ", ")}
	}
	t, err = catalog.EvolveTo(ctx, t, r.columns)
	return t, withCodeOf[*table.SchemaError](exitConfig, err)
}

// withCodeOf gives errors of type E an exit code.
func withCodeOf[E error](code int, err error) error {
	var kind E
	if errors.As(err, &kind) {
		return withCode(code, err)
	}
	return err
}

// ensureLetters opens or makes the dead-letter table.
func (a *app) ensureLetters(ctx context.Context, r *resolved, catalog *table.Catalog) (*table.Table, error) {
	definition := table.Definition{Schema: ingest.LetterSchema()}
	if location := r.location(); storage.IsRemote(location) { // who finds the table finds them, too
		definition.Location = strings.TrimRight(location, "/") + "_dead_letter"
	}
	t, _, err := loadOrCreate(ctx, catalog, r.letterTable(), definition)
	return t, err
}

// loadOrCreate opens a table or makes it; another process may be making it, too.
func loadOrCreate(ctx context.Context, catalog *table.Catalog, name string, definition table.Definition) (t *table.Table, made bool, err error) {
	if t, err = catalog.Load(ctx, name); !errors.Is(err, table.ErrNoTable) {
		return t, false, err
	}
	if t, err = catalog.Create(ctx, name, definition); err == nil {
		return t, true, nil
	}
	if other, loaded := catalog.Load(ctx, name); loaded == nil {
		return other, false, nil
	}
	return nil, false, fmt.Errorf("make table %s: %w", name, err)
}

// location is table.location as a URI or an absolute path; "" is in the warehouse.
func (r *resolved) location() string {
	text := r.Table.Location.Value
	if text == "" || strings.Contains(text, "://") {
		return text
	}
	return r.Resolve(text)
}
