package jobs

import (
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// The columns that lake makes.
const (
	dateColumn = "dt"         // the event's date
	recordTime = "_timestamp" // the record's own time
)

// rules reads rules: a mapping of names, in the file's order.
func (d *document) rules(n ast.Node, into *[]Rule, what string) {
	if shapeOf(n) != isMapping {
		d.wrong(n, what, "a mapping of rules", "write rules: {name: {sql: …, to: […]}}")
		return
	}
	for _, e := range d.entries(n, what) {
		rule := Rule{Name: Text{Value: e.key, Written: e.key, Pos: e.at, anchors: []anchor{{pos: e.at}}}}
		path := join(what, e.key)
		if !identifier(e.key) {
			d.add(e.at, nameHint, "%s: %q is not a rule's name", what, clip(e.key))
		}
		if shapeOf(e.value) == isText {
			d.wrong(e.value, path, "a mapping", "write "+clip(e.key)+": {sql: …}")
			continue
		}
		d.decode(e.value, reflect.ValueOf(&rule).Elem(), path)
		if strings.TrimSpace(rule.SQL.Value) == "" {
			at, written := d.places[path+".sql"]
			if !written {
				at = e.at
			}
			if !d.faulty[path] && !d.faulty[path+".sql"] {
				d.add(at, "sql: SELECT … FROM … WHERE …", "%s: sql: is missing", path)
			}
			continue
		}
		d.oneOf(&rule.Emit, path+".emit", "on_cross", "on_change", "on_close")
		d.oneOf(&rule.Scope, path+".scope", "all", "partition")
		*into = append(*into, rule)
	}
}

// oneOf checks a word; the first is the default and takes a wrong one's place.
func (d *document) oneOf(t *Text, what string, words ...string) {
	if t.Given() && slices.Contains(words, t.Value) {
		return
	}
	if t.Given() {
		hint := suggest(t.Value, words)
		d.add(t.Pos, hint, "%s: %q is none of %s", what, clip(t.Written), strings.Join(words, ", "))
	}
	t.Value = words[0]
}

const nameHint = "lower-case letters, digits, _ and -, a letter first, at most 63"

// identifier is a name that topics, files and consumer groups can carry.
func identifier(name string) bool {
	if name == "" || len(name) > 63 || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == ""
}

// check is what can be said of a job without its adapters and its SQL. Values
// that are wrong are taken out, so that nobody says it again.
func (d *document) check(j *Job, top Pos) {
	d.require("name", j.Name.Given(), top, "name: clicks")
	if j.Name.Given() && !identifier(j.Name.Value) {
		d.add(j.Name.Pos, nameHint, "name: %q is not a pipeline's name", clip(j.Name.Written))
	}
	d.require("source", j.Source.Kind != "", top, `source: {files: {paths: ["in/*.jsonl"]}}`)
	d.require("schema", len(j.Schema) > 0, top, "lake init writes one from a sample of your data")
	d.oneOf(&j.Decode.Format, "decode.format", "json")
	d.checkTime(j)
	d.checkTable(j, top)
	d.checkColumns(j)
	d.oneOf(&j.Publish.Format, "publish.format", "parquet", "csv", "jsonl")
	d.positive("commit.interval", j.Commit.Interval.Duration > 0)
	d.positive("commit.max_records", j.Commit.MaxRecords > 0)
	d.positive("commit.max_bytes", j.Commit.MaxBytes > 0)
	d.positive("compact.snapshots", j.Compact.Snapshots.Duration > 0)
	if at, ok := d.places["compact.max_snapshots"]; ok && j.Compact.MaxSnapshots < 100 {
		d.add(at, "the newest hundred are always kept", "compact.max_snapshots: 100 or more expected, not %d", j.Compact.MaxSnapshots)
	}
	if at, ok := d.places["compact.min_files"]; ok && j.Compact.MinFiles < 2 {
		d.add(at, "one file cannot be made fewer", "compact.min_files: 2 or more expected, not %d", j.Compact.MinFiles)
	}
}

// require says that a key is missing, unless an error says already what is wrong with it.
func (d *document) require(key string, there bool, top Pos, example string) {
	if _, written := d.places[key]; !there && !written {
		d.add(top, example, "%s: is missing", key)
	}
}

func (d *document) positive(key string, is bool) {
	if at, ok := d.places[key]; ok && !is && !d.faulty[key] {
		d.add(at, "", "%s: more than 0 expected", key)
	}
}

func (d *document) checkTime(j *Job) {
	if at, ok := d.places["time"]; ok && !j.Time.Field.Given() && !d.faulty["time"] && !d.faulty["time.field"] {
		d.add(at, "name a timestamp column, or _timestamp: the record's own time", "time.field: is missing")
	}
	d.zone(&j.Time.Zone, "time.zone")
	d.oneOf(&j.Time.Future, "time.future", "keep", "dead_letter")
	for i := range j.Schema {
		d.zone(&j.Schema[i].Zone, "schema."+j.Schema[i].Name.Value+".zone")
	}
}

// zone checks that the time zone exists.
func (d *document) zone(t *Text, what string) {
	if !t.Given() {
		return
	}
	if _, err := time.LoadLocation(t.Value); err != nil || t.Value == "" || t.Value == "Local" {
		d.add(t.Pos, "use a name of the IANA database: Asia/Kolkata, Europe/Berlin, UTC", "%s: unknown zone %q", what, clip(t.Written))
		*t = Text{}
	}
}

func (d *document) checkTable(j *Job, top Pos) {
	at, written := d.places["table"]
	switch {
	case !written:
		d.require("table", false, top, "table: {name: shop.events}")
	case !j.Table.Name.Given():
		if !d.faulty["table"] && !d.faulty["table.name"] {
			d.add(at, "name: shop.events", "table.name: is missing")
		}
	default:
		d.tableName(j.Table.Name)
	}
	d.location(j)
	for i, p := range j.Table.PartitionBy {
		if strings.Count(p.Value, "(") != strings.Count(p.Value, ")") {
			d.add(p.Pos, `quote an entry that has a comma: "bucket(16, user_id)"`, "table.partition_by: %q has a parenthesis without its other", clip(p.Written))
			j.Table.PartitionBy = slices.Clone(j.Table.PartitionBy[:i])
			return
		}
		if slices.ContainsFunc(j.Table.PartitionBy[:i], func(o Text) bool { return o.Value == p.Value }) {
			d.add(p.Pos, "", "table.partition_by: %q is there twice", clip(p.Written))
		}
	}
	for i, c := range j.Table.SortBy {
		if slices.ContainsFunc(j.Table.SortBy[:i], func(o Text) bool { return o.Value == c.Value }) {
			d.add(c.Pos, "", "table.sort_by: %q is there twice", clip(c.Written))
		}
	}
	if _, said := d.places["table.partition_by"]; !said && j.Time.Field.Given() {
		j.Table.PartitionBy = []Text{{Value: dateColumn, Written: dateColumn, Pos: j.Time.Field.Pos}}
	}
	d.positive("table.retain", j.Table.Retain.Duration > 0)
	if at, ok := d.places["table.retain"]; ok && !slices.ContainsFunc(j.Table.PartitionBy, func(p Text) bool { return p.Value == dateColumn }) {
		d.add(at, "partition_by: [dt], with time: {field: …}", "table.retain: whole dates are dropped, and the table is not partitioned by dt")
	}
}

func (d *document) tableName(name Text) {
	parts := strings.Split(name.Value, ".")
	good := len(parts) == 2
	for _, p := range parts {
		good = good && columnName(p) && strings.ToLower(p) == p
	}
	if good {
		return
	}
	hint := "write namespace.table: shop.events"
	if lower := strings.ToLower(name.Value); lower != name.Value && name.Value == name.Written {
		hint = "some catalogs know only lower case: " + lower
	}
	d.add(name.Pos, hint, "table.name: %q is not namespace.table in lower-case letters, digits and _", clip(name.Written))
}

// location checks what a URI says before anybody connects.
func (d *document) location(j *Job) {
	l := j.Table.Location
	if !l.Given() {
		return
	}
	scheme, rest, remote := strings.Cut(l.Value, "://")
	switch {
	case l.Value == "":
		d.add(l.Pos, "leave location: out for a folder inside the warehouse", "table.location: it is empty")
	case !remote || scheme == "file":
		return
	case !slices.Contains([]string{"gs", "s3", "hdfs"}, scheme):
		d.add(l.Pos, "there are: file, gs, s3, hdfs", "table.location: unknown scheme in %q", clip(l.Written))
	default:
		u, err := url.Parse(l.Value)
		bucket, _, _ := strings.Cut(rest, "/")
		switch {
		case err != nil || u.Host == "" && scheme != "hdfs":
			d.add(l.Pos, "write "+scheme+"://bucket/folder", "table.location: %q is not a URI", clip(l.Written))
		case u.User != nil:
			d.add(l.Pos, "credentials belong to the environment, not to the job file", "table.location: it has a user or a password")
		case scheme != "hdfs" && strings.ToLower(bucket) != bucket:
			d.add(l.Pos, "write the bucket's name in lower case", "table.location: bucket names are in lower case")
		case j.Catalog.Kind == "" && d.places["catalog"] == Pos{}:
			d.add(l.Pos, "name a catalog that other machines reach, or write catalog: {sqlite: {}} when only this one will", "table.location: the table is remote and its catalog would be a local file")
		default:
			return
		}
	}
	j.Table.Location = Text{}
}

// checkColumns refuses columns that lake makes itself.
func (d *document) checkColumns(j *Job) {
	for i := range j.Schema {
		name := j.Schema[i].Name
		switch strings.ToLower(name.Value) {
		case dateColumn:
			d.add(name.Pos, "rename it: event_dt: {type: date, from: dt}", "schema: lake makes the column dt itself, the event's date")
		case recordTime:
			d.add(name.Pos, "rename it: sent_at: {type: timestamp, from: _timestamp}", "schema: lake makes the column _timestamp itself, the record's own time")
		}
	}
}
