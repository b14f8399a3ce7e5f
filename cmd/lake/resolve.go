package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"lake/ingest"
	"lake/jobs"
	"lake/rules"
	"lake/rules/tally"
	"lake/schemas"
	"lake/storage"
	"lake/table"
)

// resolved is a job file whose schema, rules and adapters are checked and
// compiled; nothing has been connected to.
type resolved struct {
	*jobs.Job
	decoder   schemas.Schema // what the decoder makes
	columns   schemas.Schema // the table's: the decoder's and the made ones
	time      *ingest.EventTime
	zone      *time.Location // of time.zone, UTC where there is none
	partition []table.Partition
	sortBy    []string // names of columns
	rules     []tally.Rule
	source    sourcePlan
	keys      *ingest.Keys // nil: one process at a time
	sinks     []sinkPlan
	loads     []loadPlan
	stores    storeConfigs
	turn      *table.Turn // of the commits of this process
	warehouse string      // a folder, or a URI
	folder    string      // on this host: the warehouse, or .lake beside the job file where that is remote
	broken    []string    // columns whose type is wrong
	record    int         // bytes that a record may have; a longer one is a dead letter
}

// maxRecord bounds a record where the memory does not.
const maxRecord = 16 << 20

// problems collects the errors of a job file.
type problems struct {
	file string
	list jobs.Errors
}

func (p *problems) add(at jobs.Pos, hint, format string, args ...any) {
	p.list = append(p.list, &jobs.Error{File: p.file, Line: at.Line, Col: at.Col, Msg: fmt.Sprintf(format, args...), Hint: hint})
}

// take adds err: errors of a job file as they are, another one at at.
func (p *problems) take(at jobs.Pos, err error) {
	var list jobs.Errors
	switch {
	case err == nil:
	case errors.As(err, &list):
		p.list = append(p.list, list...)
	default:
		p.add(at, "", "%v", err)
	}
}

// loadJob reads, checks and compiles a job file: all its errors at once.
func (a *app) loadJob(path string) (*resolved, error) {
	if a.flags.inArgs {
		return nil, usageError("--catalog is for commands without a job file: %s says which catalog is its own\nhint: leave --catalog out; in the job: catalog: {postgres: \"${LAKE_CATALOG}\"}", path)
	}
	job, err := jobs.Load(path)
	var list jobs.Errors
	if err != nil && !errors.As(err, &list) {
		return nil, withCode(exitConfig, err)
	}
	if job == nil {
		return nil, list
	}
	p := &problems{file: path, list: list}
	r := a.resolve(job, p)
	if len(p.list) > 0 {
		slices.SortStableFunc(p.list, func(x, y *jobs.Error) int {
			if x.Line != y.Line {
				return x.Line - y.Line
			}
			return x.Col - y.Col
		})
		return nil, p.list
	}
	return r, nil
}

func (a *app) resolve(job *jobs.Job, p *problems) *resolved {
	r := &resolved{Job: job, zone: time.UTC, turn: table.NewTurn(), warehouse: a.flags.warehouse, record: min(maxRecord, int(a.flags.memory/64))}
	if r.warehouse == "" {
		r.warehouse = job.Resolve("warehouse")
	}
	if storage.IsRemote(r.warehouse) {
		r.folder = job.Resolve(".lake")
	} else {
		if folder, err := filepath.Abs(r.warehouse); err == nil {
			r.warehouse = folder // the catalog keeps absolute paths
		}
		r.folder = r.warehouse
	}
	if zone, err := time.LoadLocation(job.Time.Zone.Value); err == nil { // the parser reports the others
		r.zone = zone
	}
	r.resolveSchema(p)
	r.resolvePartition(p)
	r.resolveTime(p)
	r.columns = schemas.Schema{Fields: slices.Clone(r.decoder.Fields)}
	if r.time != nil {
		for _, made := range r.time.Made {
			if r.columns.Index(made.Name) < 0 { // a column of that name is reported by the parser
				r.columns.Fields = append(r.columns.Fields, made)
			}
		}
	}
	r.resolveSort(p)
	r.resolveRules(p)
	r.stores = resolveStorage(job, p)
	resolveCatalog(job, r.warehouse, p)
	r.source = resolveSource(job, p)
	r.resolveKeys(p)
	r.sinks = resolveSinks(r, p)
	r.loads = resolveLoads(r, p)
	r.resolvePublish(p)
	return r
}

func (r *resolved) resolveSchema(p *problems) {
	for _, f := range r.Schema {
		field := schemas.Field{Name: f.Name.Value, Required: f.Required, Format: f.Format.Value, Zone: f.Zone.Value, From: f.From.Value, Doc: f.Doc.Value}
		t, err := schemas.ParseType(f.Type.Value)
		if err != nil {
			r.broken = append(r.broken, field.Name)
		}
		var bad *schemas.TypeError
		switch {
		case errors.As(err, &bad):
			p.add(f.Type.At(bad.Offset), bad.Hint, "column %s: %s", f.Name.Value, bad.Msg)
			continue
		case err != nil:
			p.add(f.Type.Pos, "", "column %s: %v", f.Name.Value, err)
			continue
		}
		field.Type = t
		format := f.Format
		if field.Name == r.Time.Field.Value && t.Kind == schemas.Timestamp {
			if field.Format == "" {
				format = r.Time.Format
				field.Format = format.Value
			}
			if field.Zone == "" {
				field.Zone = r.Time.Zone.Value
			}
		}
		if err := checkFormat(t, field.Format); err != nil {
			p.add(format.Pos, "formats are strftime codes: %Y-%m-%d %H:%M:%S", "column %s: %v", f.Name.Value, err)
		}
		r.decoder.Fields = append(r.decoder.Fields, field)
	}
}

// checkFormat checks a format against what it is for: a column's own values, or
// those within a list, a map or a struct, which take it over.
func checkFormat(t schemas.Type, format string) error {
	var inner []schemas.Field
	switch {
	case format == "":
		return nil
	case t.Kind.Temporal():
		_, err := schemas.LayoutFor(t.Kind, format)
		return err
	case t.Kind == schemas.List || t.Kind == schemas.Map:
		inner = []schemas.Field{*t.Elem}
	case t.Kind == schemas.Struct:
		inner = t.Fields
	}
	for _, f := range inner {
		if f.Type.Kind < schemas.List && !f.Type.Kind.Temporal() {
			continue
		}
		if err := checkFormat(f.Type, format); err != nil {
			return err
		}
	}
	_, err := schemas.ParseLayout(format)
	return err
}

// resolvePartition checks partition_by; dt is the column that lake makes.
func (r *resolved) resolvePartition(p *problems) {
	for _, text := range r.Table.PartitionBy {
		part, err := table.ParsePartition(text.Value)
		if err != nil {
			p.add(text.Pos, "write dt, a column, hour(ts), day(ts) or bucket(16, user_id)", "%v", err)
			continue
		}
		if part.Source == table.DateColumn {
			if r.Time.Field.Value == "" {
				p.add(text.Pos, "say which column is the event's time: time: {field: …, zone: …}", "partition_by dt needs time.field")
			}
		} else if f, ok := r.field(part.Source); !ok {
			p.add(text.Pos, nearest(part.Source, r.decoder.Names()), "partition_by: unknown column %q", part.Source)
		} else if f.Type.Kind >= schemas.List {
			p.add(text.Pos, "partition by a column of a plain type", "partition_by %s: column %s is a %s", text.Value, part.Source, f.Type)
		}
		r.partition = append(r.partition, part)
	}
}

// resolveSort checks sort_by, which may name the columns that lake makes.
func (r *resolved) resolveSort(p *problems) {
	for _, text := range r.Table.SortBy {
		i := r.columns.Index(text.Value)
		switch {
		case i < 0:
			p.add(text.Pos, nearest(text.Value, r.columns.Names()), "table.sort_by: unknown column %q", text.Value)
		case r.columns.Fields[i].Type.Kind >= schemas.List:
			p.add(text.Pos, "sort by columns of a plain type", "table.sort_by: column %s is a %s", text.Value, r.columns.Fields[i].Type)
		default:
			r.sortBy = append(r.sortBy, r.columns.Fields[i].Name)
		}
	}
}

// field finds a column, or a member of a struct by its path.
func (r *resolved) field(path string) (schemas.Field, bool) {
	fields := r.decoder.Fields
	names := strings.Split(path, ".")
	for i, name := range names {
		at := schemas.Schema{Fields: fields}.Index(name)
		if at < 0 {
			return schemas.Field{}, false
		}
		if i == len(names)-1 {
			return fields[at], true
		}
		fields = fields[at].Type.Fields
	}
	return schemas.Field{}, false
}

func (r *resolved) resolveTime(p *problems) {
	name := r.Time.Field.Value
	if name == "" {
		return
	}
	t := &ingest.EventTime{Name: name, Column: -1, Zone: r.zone, Lateness: r.Time.AllowedLateness.Duration, Idle: r.Time.IdleAfter.Duration,
		MaxFuture: r.Time.MaxFuture.Duration, RefuseFuture: r.Time.Future.Value == "dead_letter"}
	if name == ingest.RecordTime {
		t.Made = append(t.Made, schemas.Field{Name: name, Type: schemas.Type{Kind: schemas.Timestamp}, Required: true, Doc: "the record's own time"})
	} else {
		t.Column = r.decoder.Index(name)
		switch {
		case t.Column < 0:
			p.add(r.Time.Field.Pos, nearest(name, r.decoder.Names()), "time.field: unknown column %q", name)
		case r.decoder.Fields[t.Column].Type.Kind != schemas.Timestamp:
			p.add(r.Time.Field.Pos, "declare it as timestamp, with format: where it is not ISO 8601", "time.field: column %s is a %s, not a timestamp", name, r.decoder.Fields[t.Column].Type)
		default:
			t.Name = r.decoder.Fields[t.Column].Name
		}
	}
	if slices.ContainsFunc(r.partition, func(p table.Partition) bool { return p.Source == table.DateColumn }) {
		t.Made = append(t.Made, schemas.Field{Name: table.DateColumn, Type: schemas.Type{Kind: schemas.Date}, Required: true, Doc: "the event's date in " + r.zone.String()})
	}
	r.time = t
}

// sourceOfRules is what a rule may read.
func (r *resolved) sourceOfRules() rules.Source {
	name := r.Table.Name.Value
	src := rules.Source{Schema: r.columns, Zone: r.zone}
	if name != "" { // that it is missing is said once
		src.Names = append(src.Names, name)
	}
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		src.Names = append(src.Names, name[i+1:])
	}
	if r.time != nil {
		src.TimeField = r.time.Name
	}
	return src
}

func (r *resolved) resolveRules(p *problems) {
	for _, rule := range r.Rules {
		out := tally.Rule{Name: rule.Name.Value}
		plan, errs := rules.Compile(rule.SQL.Value, r.sourceOfRules())
		for _, e := range errs {
			if slices.ContainsFunc(r.broken, func(column string) bool { return strings.Contains(e.Msg, strconv.Quote(column)) }) {
				continue // it follows from the column's own error
			}
			p.add(rule.SQL.At(e.Offset), e.Hint, "rule %s: %s", rule.Name.Value, e.Msg)
		}
		switch rule.Emit.Value {
		case "on_change":
			out.Emit = tally.OnChange
		case "on_close":
			out.Emit = tally.OnClose
			if plan != nil && plan.Window == nil {
				p.add(rule.Emit.Pos, "group by TIMESTAMP_BUCKET(ts, INTERVAL 1 MINUTE) or DATE(ts, zone), or emit on_change", "rule %s: emit: on_close needs a window", rule.Name.Value)
			}
		}
		if rule.Scope.Value == "partition" {
			out.Scope = tally.Partition
			if r.time == nil {
				p.add(rule.Scope.Pos, "", "rule %s: scope: partition needs time.field: it restarts with each date", rule.Name.Value)
			}
		}
		if plan != nil && plan.Window != nil && r.time != nil && plan.Window.Time.String() != r.time.Name {
			p.add(rule.SQL.Pos, fmt.Sprintf("take %s: the watermark that closes windows follows it", r.time.Name),
				"rule %s: its window is on %s, and the job's event time is %s", rule.Name.Value, plan.Window.Time, r.time.Name)
		}
		if plan != nil && plan.Window != nil && r.time == nil {
			p.add(rule.SQL.Pos, "say which column is the event's time: time: {field: …, zone: …}", "rule %s: a window needs time.field", rule.Name.Value)
		}
		out.Plan = plan
		r.rules = append(r.rules, out)
	}
}

// resolveKeys decides whether several processes may run the job at once: where
// no rule groups, or each groups by what decides a record's source partition.
func (r *resolved) resolveKeys(p *problems) {
	if !r.source.shareable {
		return
	}
	by, at := r.source.partitionedBy, r.Source.Pos
	keys := &ingest.Keys{Names: by, Unchecked: r.source.unchecked}
	for _, name := range by {
		column := r.decoder.Index(name)
		if column < 0 {
			p.add(at, nearest(name, r.decoder.Names()), "partitioned_by: unknown column %q", name)
			return
		}
		if field := r.decoder.Fields[column]; !ingest.KeyText(field.Arrow().Type) {
			p.add(at, "a string, an integer, bytes or a bool", "partitioned_by: column %s is a %s, which has no one text", name, field.Type)
			return
		}
		keys.Columns = append(keys.Columns, column)
	}
	grouped := false
	for i, rule := range r.rules {
		if rule.Plan == nil || !rule.Plan.Grouped {
			continue
		}
		grouped = true
		for _, name := range by {
			if !slices.ContainsFunc(rule.Plan.Keys, func(k rules.Column) bool { return k.Expr.String() == name }) {
				p.add(r.Rules[i].SQL.Pos, "group by "+strings.Join(by, ", ")+" too, or leave partitioned_by out: then one process runs the job",
					"rule %s does not group by %s, which partitioned_by says decides a record's partition: its groups would be spread over processes", rule.Name, name)
			}
		}
	}
	switch {
	case grouped && len(by) == 0: // one process has all partitions
	case grouped && r.source.topics > 1:
		p.add(at, "one job a topic, or leave partitioned_by out", "partitioned_by: a rule's group may lie in %d topics, which different processes read", r.source.topics)
	default:
		r.keys = keys
	}
}

// nearest is a hint that names the known word closest to word.
func nearest(word string, known []string) string {
	if near := schemas.Nearest(word, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if len(known) == 0 {
		return ""
	}
	return "there are: " + strings.Join(known, ", ")
}
