package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lake/publish"
	"lake/storage"
	"lake/table"
)

type publishOptions struct {
	date   string
	dates  dateRange // its end is --to-date: --to is the target
	layout string
	to     string
	format string
	class  string
	dryRun bool
}

func newPublish(a *app) *cobra.Command {
	o := publishOptions{dates: dateRange{end: "--to-date"}}
	cmd := &cobra.Command{
		Use:   "publish JOB",
		Short: "plain copies of a date, for consumers without Iceberg",
		Long: `Publish writes the rows of a date, as the table's current snapshot has them, into a
folder of their own: Parquet, CSV (RFC 4180) or JSON lines, with _MANIFEST.json
(snapshot, counts, a SHA-256 for each file) and, last of all, _SUCCESS. Without --to
the folders lie beside the table's.

--layout names the folder by strftime codes. dt=%Y-%m-%d is Hive's: engines make the
column dt of the folder's name, and the files leave it out.

The same content again writes nothing. A date that changed is written anew: _SUCCESS
goes first and comes back last, when the files of the version before are gone. Its
text is the publication's id: who finds the same one before and after reading has
read one version. --date also publishes a date without rows; a range, the dates that
have some.

A folder that holds other files, a table's or another job's, is refused (exit 78).
The job file's publish: may say the same as the flags, which win:

  publish: {to: gs://case-study, layout: "dt=%Y-%m-%d", storage_class: ARCHIVE}`,
		Example: `  lake publish jobs/nobroker.yaml --date 2021-11-30
  lake publish jobs/nobroker.yaml --date 2021-11-30 \
      --layout dt=%Y-%m-%d --to /exports/events --format csv
  lake publish jobs/nobroker.yaml --from 2021-11-01 --to-date 2021-12-01 \
      --to gs://case-study --storage-class ARCHIVE`,
		Args: oneJob,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runPublish(cmd.Context(), args[0], o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.date, "date", "", "the date: 2021-11-30, or an instant, RFC 3339, whose date in the job's zone it is")
	f.StringVar(&o.dates.from, "from", "", "instead of --date: first date, or an instant, of a range")
	f.StringVar(&o.dates.to, "to-date", "", "the date behind the last one of the range")
	f.StringVar(&o.layout, "layout", "", "a date's folder (default "+publish.DefaultLayout+")")
	f.StringVar(&o.to, "to", "", "URI or path of the folder that has the dates' folders (default: beside the table)")
	f.StringVar(&o.format, "format", "", "parquet (default), csv or jsonl")
	f.StringVar(&o.class, "storage-class", "", "storage class of the data on gs:// and s3://: ARCHIVE, NEARLINE, GLACIER_IR …")
	f.BoolVar(&o.dryRun, "dry-run", false, "print what would be done, change nothing")
	return cmd
}

type publishResult struct {
	Command  string           `json:"command"`
	Job      string           `json:"job"`
	Table    string           `json:"table"`
	Snapshot int64            `json:"snapshot"`
	DryRun   bool             `json:"dry_run,omitempty"`
	Dates    []publish.Result `json:"dates"`
	Seconds  float64          `json:"seconds"`
}

func (a *app) runPublish(ctx context.Context, path string, o publishOptions) error {
	r, err := a.loadJob(path)
	if err != nil {
		return err
	}
	out, err := a.publish(ctx, r, o)
	if err != nil {
		return err
	}
	return a.report(out, func(w io.Writer) { printPublish(w, out) })
}

func (a *app) publish(ctx context.Context, r *resolved, o publishOptions) (out publishResult, err error) {
	out = publishResult{Command: "publish", Job: r.Name.Value, Table: r.Table.Name.Value, DryRun: o.dryRun, Dates: []publish.Result{}}
	from, to, err := o.parse(r)
	if err != nil {
		return out, err
	}
	started := time.Now()
	if !o.dryRun {
		turn, err := r.take(ctx, r.Name.Value+".publish", false)
		if errors.Is(err, errHeld) {
			err = withCode(exitHeld, fmt.Errorf("job %s: another run publishes (%s)", r.Name.Value, r.locks(r.Name.Value+".publish")))
		}
		if err != nil {
			return out, err
		}
		defer func() { err = errors.Join(err, turn.Close()) }()
	}
	t, err := a.openTable(ctx, r)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	options, err := a.publishTo(ctx, r, t.Table, o)
	if err != nil {
		return out, err
	}
	current, ok := t.Current()
	if !ok {
		return out, withCode(exitPerson, fmt.Errorf("table %s has no rows yet\nhint: lake ingest %s", t.Name(), r.Path))
	}
	out.Snapshot = current.ID
	byDate, err := filesByDate(ctx, t.Table, table.FileFilter{Snapshot: current.ID, From: from, To: to})
	if err != nil {
		return out, err
	}
	if o.date != "" && byDate[from] == nil {
		byDate[from] = []table.File{}
	}
	if options.Occupied, err = occupied(ctx, r, t); err != nil {
		return out, err
	}
	gone, err := t.DroppedBefore()
	if err != nil {
		return out, err
	}
	for _, date := range sortedDates(byDate) {
		if date < gone {
			return out, withCode(exitPerson, fmt.Errorf("publish %s: the table's rows of dates before %s were dropped, as table.retain says; what was published of them stays as it is",
				dateText(date), dateText(gone)))
		}
		one, err := publishOne(ctx, t.Table, current.ID, date, byDate[date], options, o.dryRun)
		if err != nil {
			return out, explainPublish(err)
		}
		out.Dates = append(out.Dates, one)
	}
	out.Seconds = seconds(time.Since(started))
	return out, nil
}

func publishOne(ctx context.Context, t *table.Table, snapshot int64, date int32, files []table.File, o publish.Options, dryRun bool) (publish.Result, error) {
	plan, err := publish.Make(ctx, t, snapshot, date, files, o)
	if err != nil {
		return publish.Result{}, err
	}
	if dryRun {
		return plan.Expected(), nil
	}
	return publish.Run(ctx, t, plan, o)
}

// explainPublish gives a refusal its exit code.
func explainPublish(err error) error {
	var refused *publish.Refused
	switch {
	case errors.As(err, &refused):
		return withCode(exitConfig, err)
	case errors.Is(err, publish.ErrTogether):
		return withCode(exitRetry, fmt.Errorf("%w\nhint: run it again: it makes whole what the two left", err))
	}
	return err
}

// parse is the range of dates, [from, to).
func (o publishOptions) parse(r *resolved) (from, to int32, err error) {
	if r.dateColumn() == "" {
		return 0, 0, withCode(exitConfig, fmt.Errorf("%s: publish needs a table that is partitioned by dt\nhint: time: {field: …} makes it so", r.Path))
	}
	ranged := o.dates.from != "" || o.dates.to != ""
	switch {
	case o.date == "" && !ranged:
		return 0, 0, usageError("which date? hint: --date 2021-11-30, or --from and --to-date")
	case o.date != "" && ranged:
		return 0, 0, usageError("--date is one date, --from and --to-date are a range: give one of both")
	case ranged:
		from, to, err = o.dates.parse(r.zone)
		return from, to, err
	}
	if from, _, err = parseDate(o.date, r.zone); err != nil {
		return 0, 0, usageError("--date %w", err)
	}
	return from, from + 1, nil
}

func filesByDate(ctx context.Context, t *table.Table, filter table.FileFilter) (map[int32][]table.File, error) {
	files, err := t.Files(ctx, filter)
	if err != nil {
		return nil, err
	}
	by := map[int32][]table.File{}
	for _, f := range files {
		if date, ok := f.Date(); ok { // rows without a date are of none
			by[date] = append(by[date], f)
		}
	}
	return by, nil
}

func sortedDates(by map[int32][]table.File) []int32 {
	var dates []int32
	for date := range by {
		dates = append(dates, date)
	}
	slices.Sort(dates)
	return dates
}

// publishTo is where and how: the flags, else the job file's publish:, else the defaults.
func (a *app) publishTo(ctx context.Context, r *resolved, t *table.Table, o publishOptions) (publish.Options, error) {
	say := func(flag, key, otherwise string) string {
		if flag != "" {
			return flag
		}
		if key != "" {
			return key
		}
		return otherwise
	}
	to := o.to
	if to != "" && !strings.Contains(to, "://") {
		absolute, err := filepath.Abs(to)
		if err != nil {
			return publish.Options{}, usageError("--to %w", err)
		}
		to = absolute
	}
	if to == "" {
		var err error
		if to, err = r.publishTarget(t); err != nil {
			return publish.Options{}, err
		}
	}
	format := say(o.format, r.Publish.Format.Value, string(publish.Parquet))
	if !slices.Contains(publish.Formats(), format) {
		return publish.Options{}, usageError("--format %q: %s", format, nearest(format, publish.Formats()))
	}
	layout, err := publish.ParseLayout(say(o.layout, r.Publish.Layout.Value, publish.DefaultLayout), t.Schema().Names())
	if err != nil {
		return publish.Options{}, usageError("--layout %w", err)
	}
	class := strings.ToUpper(say(o.class, r.Publish.StorageClass.Value, ""))
	if err := checkTarget(to); err != nil {
		return publish.Options{}, usageError("--to %w", err)
	}
	if err := checkClass(to, class); err != nil {
		return publish.Options{}, usageError("--storage-class %w", err)
	}
	files, err := ofScheme(ctx, t.FS(), to)
	if err != nil {
		return publish.Options{}, err
	}
	data := files
	if class != "" {
		classed, ok := files.(storage.Classed)
		if !ok {
			return publish.Options{}, usageError("--storage-class: %s has no storage classes", to)
		}
		data = classed.WithClass(class)
	}
	return publish.Options{Pipeline: r.Name.Value, FS: files, Data: data, To: strings.TrimRight(to, "/"), Layout: layout, Format: publish.Format(format), Class: class,
		Zone: r.zone, TargetBytes: r.targetBytes(), MemoryBytes: int64(a.flags.memory) / 8, Now: time.Now}, nil
}

// ofScheme is the filesystem of a URI, where there are several.
func ofScheme(ctx context.Context, files storage.FS, uri string) (storage.FS, error) {
	if several, ok := files.(interface {
		Of(ctx context.Context, uri string) (storage.FS, error)
	}); ok {
		return several.Of(ctx, uri)
	}
	if _, err := storage.Path(files, uri); err != nil {
		return nil, usageError("--to %w", err)
	}
	return files, nil
}

// publishTarget is what the job file says, or beside the table's folder.
func (r *resolved) publishTarget(t *table.Table) (string, error) {
	if to := r.Publish.To.Value; strings.Contains(to, "://") {
		return to, nil
	} else if to != "" {
		return r.Resolve(to), nil
	}
	folder, err := t.Folder()
	if err != nil {
		return "", err
	}
	at := strings.LastIndexByte(strings.TrimRight(folder, "/"), '/')
	if at <= 0 || strings.HasSuffix(folder[:at], "/") {
		return "", withCode(exitConfig, fmt.Errorf("the table lies in %s, and there is no folder beside it\nhint: lake publish --to", folder))
	}
	return folder[:at], nil
}

// resolvePublish checks publish:.
func (r *resolved) resolvePublish(p *problems) {
	o := r.Publish
	if o.Layout.Given() {
		if _, err := publish.ParseLayout(o.Layout.Value, r.columns.Names()); err != nil {
			p.add(o.Layout.Pos, "", "publish.layout: %v", err)
		}
	}
	to := o.To.Value
	if o.To.Given() {
		if err := checkTarget(to); err != nil {
			p.add(o.To.Pos, "", "publish.to: %v", err)
			return
		}
	} else {
		to = r.Table.Location.Value
	}
	if o.StorageClass.Given() {
		if err := checkClass(to, strings.ToUpper(o.StorageClass.Value)); err != nil {
			p.add(o.StorageClass.Pos, "", "publish.storage_class: %v", err)
		}
	}
	if (o.To.Given() || o.Layout.Given() || o.StorageClass.Given()) && r.dateColumn() == "" && r.Time.Field.Value == "" {
		p.add(o.To.Pos, "time: {field: …}", "publish: dates are published, and the table is not partitioned by dt")
	}
}

// checkTarget says what is wrong with the URI of a target.
func checkTarget(to string) error {
	scheme, rest, remote := strings.Cut(to, "://")
	switch u, err := url.Parse(to); {
	case to == "":
		return errors.New("it is empty")
	case !remote:
		return nil
	case err == nil && u.User != nil:
		return errors.New("credentials belong to the environment, not into a URI")
	case !slices.Contains([]string{"file", "gs", "s3", "hdfs"}, scheme):
		return fmt.Errorf("%q has an unknown scheme: there are file, gs, s3, hdfs", to)
	case err != nil || rest == "":
		return fmt.Errorf("%q is not a URI: write %s://bucket/folder", to, scheme)
	}
	return nil
}

// storageClasses are those of a scheme's store; nil where it has none.
func storageClasses(scheme string) []string {
	switch scheme {
	case "gs":
		return []string{"STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"}
	case "s3":
		return []string{"STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER", "GLACIER_IR", "DEEP_ARCHIVE", "REDUCED_REDUNDANCY", "EXPRESS_ONEZONE"}
	}
	return nil
}

// checkClass says whether a target's store has a class.
func checkClass(to, class string) error {
	if class == "" {
		return nil
	}
	scheme, _, remote := strings.Cut(to, "://")
	classes := storageClasses(scheme)
	switch {
	case !remote || classes == nil:
		return fmt.Errorf("only gs:// and s3:// have storage classes, not %q", to)
	case !slices.Contains(classes, class):
		return fmt.Errorf("%s:// has no class %q; %s", scheme, class, nearest(class, classes))
	}
	return nil
}

// occupied are the folders that publications stay out of: the catalog's tables
// and the checkpoints.
func occupied(ctx context.Context, r *resolved, t *opened) ([]publish.Place, error) {
	places := []publish.Place{{What: "the checkpoints", URI: r.blobs(t.Table).Folder}}
	names, err := t.catalog.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		other, err := t.catalog.Load(ctx, name)
		if errors.Is(err, table.ErrNoTable) {
			continue // dropped meanwhile
		}
		if err != nil {
			return nil, err
		}
		places = append(places, publish.Place{What: "table " + name, URI: other.Location()})
	}
	return places, nil
}

func printPublish(w io.Writer, out publishResult) {
	if len(out.Dates) == 0 {
		fmt.Fprintf(w, "%s: no rows in these dates\n", out.Table)
		return
	}
	g := newGrid("date", "", "rows", "files", "bytes", "folder").numbers(2, 3, 4)
	for _, d := range out.Dates {
		state, files, bytes := d.State, formatCount(int64(d.Files)), formatBytes(d.Bytes)
		if out.DryRun && d.State != publish.Unchanged {
			state = map[string]string{publish.Published: "would be published", publish.Completed: "would be completed"}[d.State]
		}
		if out.DryRun && d.State == publish.Published {
			files, bytes = "", ""
		}
		g.add(d.Date, state, formatCount(d.Rows), files, bytes, d.Folder)
	}
	g.print(w)
}
