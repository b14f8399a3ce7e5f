package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/spf13/cobra"

	"lake/rules"
	"lake/schemas"
	"lake/table"
)

func newTables(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tables",
		Short: "list, show, scan tables, their snapshots and files",
		Long: `Tables looks into the warehouse. A table is named by a job file that fills it,
or by its own name in the folder that --warehouse says (default: ./warehouse).`,
		Example: `  lake tables list --warehouse jobs/warehouse
  lake tables scan jobs/nobroker.yaml --where "user_id = 1" --limit 10`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTablesList(a), newTablesShow(a), newTablesScan(a), newTablesHistory(a), newTablesFiles(a))
	return cmd
}

// oneTable is the argument check of commands that take a job file or a table.
func oneTable(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError("%s takes one job file or table\nhint: %s jobs/nobroker.yaml", cmd.CommandPath(), cmd.CommandPath())
	}
	return nil
}

// onTable runs a command on the table that its argument names.
func (a *app) onTable(run func(context.Context, *table.Table) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) (err error) {
		t, _, err := a.openArg(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, t.Close()) }()
		return run(cmd.Context(), t.Table)
	}
}

type tableLine struct {
	Name     string `json:"name"`
	Rows     int64  `json:"rows"`
	Files    int    `json:"files"`
	Bytes    int64  `json:"bytes"`
	Snapshot int64  `json:"snapshot,omitempty"`
	Location string `json:"location"`
}

func newTablesList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list [JOB]",
		Short:   "the tables of a warehouse",
		Long:    "List names the tables of a warehouse with their rows, files and bytes.",
		Example: "  lake tables list jobs/nobroker.yaml",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 || len(args) == 1 && !isJobFile(args[0]) {
				return usageError("lake tables list takes a job file or nothing\nhint: lake tables list --warehouse FOLDER, or --catalog URL")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runTablesList(cmd.Context(), args)
		},
	}
}

func (a *app) runTablesList(ctx context.Context, args []string) (err error) {
	var catalog *table.Catalog
	if len(args) == 1 {
		r, err := a.loadJob(args[0])
		if err != nil {
			return err
		}
		if catalog, err = a.openCatalog(ctx, r); err != nil {
			return err
		}
	} else if catalog, err = a.openWarehouse(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, catalog.Close()) }()
	names, err := catalog.List(ctx)
	if err != nil {
		return err
	}
	lines := []tableLine{}
	for _, name := range names {
		t, err := catalog.Load(ctx, name)
		if err != nil {
			return err
		}
		line, err := summarize(ctx, t)
		if err != nil {
			return err
		}
		lines = append(lines, line)
	}
	return a.report(lines, func(w io.Writer) {
		g := newGrid("table", "rows", "files", "bytes", "location").numbers(1, 2, 3)
		for _, l := range lines {
			g.add(l.Name, formatCount(l.Rows), formatCount(int64(l.Files)), formatBytes(l.Bytes), l.Location)
		}
		g.print(w)
	})
}

func summarize(ctx context.Context, t *table.Table) (tableLine, error) {
	line := tableLine{Name: t.Name(), Location: t.Location()}
	if s, ok := t.Current(); ok {
		line.Snapshot = s.ID
	}
	files, err := t.Files(ctx, table.FileFilter{})
	if err != nil {
		return line, err
	}
	line.Files = len(files)
	for _, f := range files {
		line.Rows += f.Rows
		line.Bytes += f.Bytes
	}
	return line, nil
}

type columnLine struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Required bool   `json:"required,omitempty"`
	Doc      string `json:"doc,omitempty"`
}

type showResult struct {
	tableLine
	Columns     []columnLine `json:"columns"`
	PartitionBy []string     `json:"partition_by,omitempty"`
}

func newTablesShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "show JOB|TABLE",
		Short:   "a table's columns, partitions and size",
		Long:    "Show prints a table's columns with their types, how it is partitioned, and how large it is.",
		Example: "  lake tables show jobs/nobroker.yaml",
		Args:    oneTable,
		RunE: a.onTable(func(ctx context.Context, t *table.Table) error {
			line, err := summarize(ctx, t)
			if err != nil {
				return err
			}
			out := showResult{tableLine: line}
			for _, f := range t.Schema().Fields {
				out.Columns = append(out.Columns, columnLine{Name: f.Name, Type: f.Type.String(), Required: f.Required, Doc: f.Doc})
			}
			for _, p := range t.Partitions() {
				out.PartitionBy = append(out.PartitionBy, p.String())
			}
			return a.report(out, func(w io.Writer) { printShow(w, out) })
		}),
	}
}

func printShow(w io.Writer, out showResult) {
	fmt.Fprintf(w, "%s in %s\n%s, %s, %s", out.Name, out.Location, formatCounted(out.Rows, "row"), formatCounted(int64(out.Files), "file"), formatBytes(out.Bytes))
	if len(out.PartitionBy) > 0 {
		fmt.Fprintf(w, ", partitioned by %s", strings.Join(out.PartitionBy, ", "))
	}
	fmt.Fprint(w, "\n\n")
	g := newGrid("column", "type", "", "doc")
	for _, c := range out.Columns {
		required := ""
		if c.Required {
			required = "required"
		}
		g.add(c.Name, c.Type, required, c.Doc)
	}
	g.print(w)
}

type historyLine struct {
	Snapshot  int64             `json:"snapshot"`
	Time      string            `json:"time"`
	Operation string            `json:"operation"`
	Added     int64             `json:"added_rows"`
	Files     int64             `json:"added_files"`
	Removed   int64             `json:"removed_files"`
	Total     int64             `json:"total_rows"`
	Summary   map[string]string `json:"summary"`
}

func newTablesHistory(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "history JOB|TABLE",
		Short:   "a table's snapshots",
		Long:    "History lists the snapshots that a table still has, oldest first. scan --snapshot reads one of them.",
		Example: "  lake tables history jobs/nobroker.yaml",
		Args:    oneTable,
		RunE: a.onTable(func(ctx context.Context, t *table.Table) error {
			lines := []historyLine{}
			for _, s := range t.Snapshots() {
				number := func(key string) int64 {
					n, err := strconv.ParseInt(s.Summary[key], 10, 64)
					if err != nil {
						return 0 // not every operation writes every counter
					}
					return n
				}
				lines = append(lines, historyLine{Snapshot: s.ID, Time: s.Time.UTC().Format(time.RFC3339), Operation: s.Operation, Added: number("added-records"),
					Files: number("added-data-files"), Removed: number("deleted-data-files"), Total: number("total-records"), Summary: s.Summary})
			}
			return a.report(lines, func(w io.Writer) {
				g := newGrid("snapshot", "time", "operation", "added rows", "added files", "removed files", "rows", "note").numbers(3, 4, 5, 6)
				for _, l := range lines {
					g.add(strconv.FormatInt(l.Snapshot, 10), l.Time, l.Operation, formatCount(l.Added), formatCount(l.Files), formatCount(l.Removed), formatCount(l.Total), l.Summary["lake.note"])
				}
				g.print(w)
			})
		}),
	}
}

type fileLine struct {
	Path      string `json:"path"`
	Partition string `json:"partition"`
	Rows      int64  `json:"rows"`
	Bytes     int64  `json:"bytes"`
}

func newTablesFiles(a *app) *cobra.Command {
	var snapshot int64
	cmd := &cobra.Command{
		Use:     "files JOB|TABLE",
		Short:   "a snapshot's data files",
		Long:    "Files lists the data files of a snapshot, by default the newest: exactly what a reader without Iceberg may read.",
		Example: "  lake tables files jobs/nobroker.yaml --output json",
		Args:    oneTable,
		RunE: a.onTable(func(ctx context.Context, t *table.Table) error {
			files, err := t.Files(ctx, table.FileFilter{Snapshot: snapshot})
			if err != nil {
				return err
			}
			folder, err := t.Folder()
			if err != nil {
				return err
			}
			lines := []fileLine{}
			for _, f := range files {
				lines = append(lines, fileLine{Path: f.Path, Partition: f.Partition, Rows: f.Rows, Bytes: f.Bytes})
			}
			return a.report(lines, func(w io.Writer) {
				g := newGrid("partition", "rows", "bytes", "file").numbers(1, 2)
				for _, l := range lines {
					g.add(l.Partition, formatCount(l.Rows), formatBytes(l.Bytes), strings.TrimPrefix(l.Path, folder+"/"))
				}
				g.print(w)
			})
		}),
	}
	cmd.Flags().Int64Var(&snapshot, "snapshot", 0, "of this snapshot (lake tables history lists them)")
	return cmd
}

type scanOptions struct {
	format   rowFormat
	where    string
	columns  []string
	limit    int64
	snapshot int64
	dates    dateRange
}

func newTablesScan(a *app) *cobra.Command {
	var o scanOptions
	cmd := &cobra.Command{
		Use:   "scan JOB|TABLE",
		Short: "print a table's rows",
		Long: `Scan prints rows: as a table on a terminal, as JSON lines elsewhere, or as
--format says. --where takes a condition in the language of the rules.`,
		Example: `  lake tables scan jobs/nobroker.yaml --limit 5
  lake tables scan jobs/nobroker.yaml --where "event = 'Interaction'" \
      --columns user_id,date --format csv`,
		Args: oneTable,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runScan(cmd.Context(), args[0], o) },
	}
	f := cmd.Flags()
	f.Var(&o.format, "format", "table, jsonl or csv")
	f.StringVar(&o.where, "where", "", "only rows for which this holds")
	f.StringSliceVar(&o.columns, "columns", nil, "only these columns")
	f.Int64Var(&o.limit, "limit", 0, "at most so many rows")
	f.Int64Var(&o.snapshot, "snapshot", 0, "as of this snapshot (lake tables history lists them)")
	o.dates.flags(f)
	return cmd
}

func (a *app) runScan(ctx context.Context, arg string, o scanOptions) (err error) {
	t, r, err := a.openArg(ctx, arg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	zone := time.UTC
	if r != nil {
		zone = r.zone
	}
	schema := t.Schema()
	scan, filter, shown, err := o.plan(schema, zone)
	if err != nil {
		return err
	}
	out, err := newRowPrinter(a.stdout, o.format, project(schema.Arrow(), shown), zone)
	if err != nil {
		return err
	}
	left := o.limit
	for batch, err := range t.Scan(ctx, scan) {
		if err != nil {
			return err
		}
		kept, err := filterBatch(batch, filter)
		batch.Release()
		if err != nil {
			return err
		}
		if o.limit > 0 && kept.NumRows() > left {
			head := kept.NewSlice(0, left)
			kept.Release()
			kept = head
		}
		left -= kept.NumRows()
		columns := projectBatch(kept, shown)
		kept.Release()
		err = out.write(columns)
		columns.Release()
		if err != nil {
			return err
		}
		if o.limit > 0 && left <= 0 {
			break
		}
	}
	return out.close()
}

// plan says what a scan reads, which of its rows are kept (nil: all), and which
// columns are printed.
func (o scanOptions) plan(schema schemas.Schema, zone *time.Location) (scan table.ScanOptions, filter rules.Expr, shown []string, err error) {
	if o.limit < 0 {
		return scan, nil, nil, usageError("--limit %d: it is a number of rows; hint: leave it out for all", o.limit)
	}
	scan = table.ScanOptions{Snapshot: o.snapshot}
	if scan.From, scan.To, err = o.dates.parse(zone); err != nil {
		return scan, nil, nil, err
	}
	for _, c := range o.columns {
		if schema.Index(c) < 0 {
			return scan, nil, nil, usageError("--columns: there is no column %q; hint: %s", c, nearest(c, schema.Names()))
		}
	}
	shown = o.columns
	if len(shown) == 0 {
		shown = schema.Names()
	}
	if o.where != "" {
		var errs rules.Errors
		if filter, errs = rules.CompileFilter(o.where, rules.Source{Schema: schema, Zone: zone}); len(errs) > 0 {
			return scan, nil, nil, usageError("--where: %w", errs)
		}
		scan.Where = rangesOf(filter)
	}
	if len(o.columns) > 0 { // each once, though it is printed twice
		read := slices.Clone(o.columns)
		if filter != nil {
			read = append(read, rules.ColumnsOf(schema, filter)...)
		}
		scan.Columns = slices.DeleteFunc(schema.Names(), func(name string) bool {
			return !slices.ContainsFunc(read, func(other string) bool { return strings.EqualFold(name, other) })
		})
	}
	return scan, filter, shown, nil
}

func project(schema *arrow.Schema, columns []string) *arrow.Schema {
	fields := make([]arrow.Field, 0, len(columns))
	for _, name := range columns {
		for _, f := range schema.Fields() {
			if strings.EqualFold(f.Name, name) {
				fields = append(fields, f)
			}
		}
	}
	return arrow.NewSchema(fields, nil)
}

func projectBatch(batch arrow.RecordBatch, columns []string) arrow.RecordBatch {
	schema := project(batch.Schema(), columns)
	arrays := make([]arrow.Array, 0, len(columns))
	for _, f := range schema.Fields() {
		arrays = append(arrays, batch.Column(batch.Schema().FieldIndices(f.Name)[0]))
	}
	return array.NewRecordBatch(schema, arrays, batch.NumRows())
}

// filterBatch keeps the rows for which filter holds; the caller releases both batches.
func filterBatch(batch arrow.RecordBatch, filter rules.Expr) (arrow.RecordBatch, error) {
	if filter == nil {
		batch.Retain()
		return batch, nil
	}
	eval := &rules.Eval{Mem: memory.DefaultAllocator}
	mask, err := filter.Eval(eval, batch)
	if err != nil {
		return nil, err
	}
	defer mask.Release()
	if failed := eval.Failures(); len(failed) > 0 {
		return nil, fmt.Errorf("--where: %s", failed[0].Reason)
	}
	return rules.Keep(batch, mask.(*array.Boolean), memory.DefaultAllocator)
}
