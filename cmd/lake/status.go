package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lake/compact"
	"lake/ingest"
	"lake/storage"
	"lake/table"
)

func newStatus(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status [JOB]",
		Short: "where a job stands: offsets, lag, commits, files, rules",
		Long: `Status reads where a job stands from its table: the offsets of its source and how
far they lag behind, the last commit, snapshots, small files, the state of its
rules, its dead letters, and what was loaded into warehouses. It changes nothing and disturbs no run. Without a
job it lists what fills the tables of --warehouse or --catalog.`,
		Example: "  lake status jobs/nobroker.yaml",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError("lake status takes a job file or nothing")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.runStatusAll(cmd.Context())
			}
			return a.runStatus(cmd.Context(), args[0])
		},
	}
}

type partitionStatus struct {
	Partition string `json:"partition"`
	Next      int64  `json:"next"`
	Records   int64  `json:"records"`
	Lag       *int64 `json:"lag,omitempty"`
}

type ruleStatus struct {
	Name   string `json:"name"`
	Groups int    `json:"groups"`
	Bytes  int64  `json:"bytes"`
	Late   int64  `json:"late"`
	Known  bool   `json:"known"`
}

type statusResult struct {
	Job         string            `json:"job"`
	Table       string            `json:"table"`
	Seq         int64             `json:"seq"`
	Epoch       int64             `json:"epoch"`
	Shards      int               `json:"shards"` // that have an owner of their own
	Commit      string            `json:"last_commit,omitempty"`
	Watermark   string            `json:"watermark,omitempty"`
	Totals      ingest.Totals     `json:"totals"`
	Partitions  []partitionStatus `json:"partitions"`
	LagError    string            `json:"lag_error,omitempty"`
	Snapshots   int               `json:"snapshots"`
	Files       int               `json:"files"`
	SmallFiles  int               `json:"small_files"`
	Bytes       int64             `json:"bytes"`
	Rules       []ruleStatus      `json:"rules"`
	DeadLetters int64             `json:"dead_letters"`
	Loads       []loadedStatus    `json:"loads"`
	Running     bool              `json:"running"`
}

func (a *app) runStatus(ctx context.Context, path string) error {
	r, err := a.loadJob(path)
	if err != nil {
		return err
	}
	s, err := a.status(ctx, r)
	if err != nil {
		return err
	}
	return a.report(s, func(w io.Writer) { printStatus(w, s) })
}

func (a *app) status(ctx context.Context, r *resolved) (s statusResult, err error) {
	s = statusResult{Job: r.Name.Value, Table: r.Table.Name.Value, Partitions: []partitionStatus{}, Rules: []ruleStatus{}}
	t, err := a.openTable(ctx, r)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	state, found, err := ingest.ReadState(ctx, t.Table, r.blobs(t.Table), r.Name.Value, r.rules)
	if err != nil {
		return s, err
	}
	s.Totals, s.DeadLetters, s.Shards = state.Totals, state.Totals.DeadLetters, len(state.Records)
	for _, record := range state.Records {
		s.Seq, s.Epoch = max(s.Seq, record.Seq), max(s.Epoch, record.Epoch)
	}
	if found {
		s.Commit = state.Time.UTC().Format(time.RFC3339)
	}
	if state.Watermark != nil {
		s.Watermark = time.UnixMicro(*state.Watermark).In(r.zone).Format(time.RFC3339)
	}
	a.addLag(ctx, r, state.Offsets, &s)
	for _, rule := range state.Rules {
		s.Rules = append(s.Rules, ruleStatus{Name: rule.Name, Groups: rule.Groups, Bytes: rule.Bytes, Late: rule.Late, Known: rule.Known})
	}
	files, err := t.Files(ctx, table.FileFilter{From: firstDate, To: lastDate})
	if err != nil {
		return s, err
	}
	s.Snapshots, s.Files = len(t.Snapshots()), len(files)
	small, _ := compact.Make(0, files, compact.Policy{TargetBytes: r.targetBytes(), MinFiles: 2}).Rewrites()
	s.SmallFiles = small
	for _, f := range files {
		s.Bytes += f.Bytes
	}
	if s.Loads, err = a.loadedStatus(ctx, r, t.catalog); err != nil {
		return s, err
	}
	s.Running, err = a.isHeld(r)
	return s, err
}

// addLag asks the source how far its end is; a source that does not answer is no failure of status.
func (a *app) addLag(ctx context.Context, r *resolved, offsets ingest.Offsets, s *statusResult) {
	asking, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	lag := map[string]int64{}
	source, err := r.source.open(a, r, false)
	if err == nil {
		if reader, ok := source.(ingest.LagReader); ok {
			lag, err = reader.Lag(asking, offsets)
		}
		err = errors.Join(err, source.Close())
	}
	if err != nil {
		s.LagError = err.Error()
	}
	names := map[string]bool{}
	for name := range offsets {
		names[name] = true
	}
	for name := range lag {
		names[name] = true
	}
	for name := range names {
		p := partitionStatus{Partition: name, Next: offsets[name].Next, Records: offsets[name].Records}
		if n, ok := lag[name]; ok {
			p.Lag = &n
		}
		s.Partitions = append(s.Partitions, p)
	}
	slices.SortFunc(s.Partitions, func(a, b partitionStatus) int {
		if a.Partition < b.Partition {
			return -1
		}
		return 1
	})
}

// partitionsShown bounds what a person is shown of many files.
const partitionsShown = 20

func printStatus(w io.Writer, s statusResult) {
	running := "not running on this host"
	if s.Running {
		running = "running"
	}
	fmt.Fprintf(w, "%s → %s  (%s)\n", s.Job, s.Table, running)
	if s.Commit == "" {
		fmt.Fprintln(w, "  no commit yet")
	} else {
		shards := ""
		if s.Shards > 1 {
			shards = fmt.Sprintf(", the highest of %d shards", s.Shards)
		}
		fmt.Fprintf(w, "  last commit   %s (seq %d, epoch %d%s)\n", s.Commit, s.Seq, s.Epoch, shards)
		fmt.Fprintf(w, "  records       %s in = %s rows + %s dead letters\n", formatCount(s.Totals.Records), formatCount(s.Totals.Rows), formatCount(s.Totals.DeadLetters))
	}
	if s.Watermark != "" {
		fmt.Fprintf(w, "  watermark     %s\n", s.Watermark)
	}
	fmt.Fprintf(w, "  table         %s (%s small), %s, %s\n", formatCounted(int64(s.Files), "file"), formatCount(int64(s.SmallFiles)), formatBytes(s.Bytes), formatCounted(int64(s.Snapshots), "snapshot"))
	if s.LagError != "" {
		fmt.Fprintf(w, "  lag           unknown: %s\n", s.LagError)
	}
	if len(s.Partitions) > 0 {
		fmt.Fprintln(w)
		g := newGrid("  partition", "next", "records", "lag").numbers(1, 2, 3)
		for _, p := range s.Partitions[:min(len(s.Partitions), partitionsShown)] {
			lag := "?"
			if p.Lag != nil {
				lag = formatCount(*p.Lag)
			}
			g.add("  "+p.Partition, formatCount(p.Next), formatCount(p.Records), lag)
		}
		g.print(w)
		if more := len(s.Partitions) - partitionsShown; more > 0 {
			fmt.Fprintf(w, "  and %d more (--output json has them all)\n", more)
		}
	}
	if len(s.Rules) > 0 {
		fmt.Fprintln(w)
		g := newGrid("  rule", "groups", "memory", "late", "").numbers(1, 2, 3)
		for _, r := range s.Rules {
			note := ""
			if !r.Known {
				note = "new or changed: the next ingest rebuilds it from the table"
			}
			g.add("  "+r.Name, formatCount(int64(r.Groups)), formatBytes(r.Bytes), formatCount(r.Late), note)
		}
		g.print(w)
	}
	printLoads(w, s.Loads)
}

func printLoads(w io.Writer, loads []loadedStatus) {
	if len(loads) == 0 {
		return
	}
	fmt.Fprintln(w)
	g := newGrid("  loaded into", "partitions", "rows", "last").numbers(1, 2)
	for _, l := range loads {
		g.add("  "+l.Target, formatCount(int64(l.Partitions)), formatCount(l.Rows), cmp.Or(l.Last, "never"))
	}
	g.print(w)
}

type warehouseLine struct {
	Table    string `json:"table"`
	Pipeline string `json:"pipeline"`
	Seq      int64  `json:"seq"`
	Epoch    int64  `json:"epoch"`
	Commit   string `json:"last_snapshot"`
	Files    int    `json:"files"`
	Rows     int64  `json:"rows"`
}

func (a *app) runStatusAll(ctx context.Context) (err error) {
	catalog, err := a.openWarehouse(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, catalog.Close()) }()
	names, err := catalog.List(ctx)
	if err != nil {
		return err
	}
	lines := []warehouseLine{}
	for _, name := range names {
		t, err := catalog.Load(ctx, name)
		if err != nil {
			return err
		}
		sum, err := summarize(ctx, t)
		if err != nil {
			return err
		}
		line := warehouseLine{Table: name, Files: sum.Files, Rows: sum.Rows}
		if s, ok := t.Current(); ok {
			line.Commit = s.Time.UTC().Format(time.RFC3339)
		}
		records, err := t.Records()
		if err != nil {
			return err
		}
		for _, record := range records {
			line.Pipeline, line.Seq, line.Epoch = record.Pipeline, record.Seq, record.Epoch
		}
		lines = append(lines, line)
	}
	return a.report(lines, func(w io.Writer) {
		g := newGrid("table", "filled by", "commits", "last snapshot", "files", "rows").numbers(2, 4, 5)
		for _, l := range lines {
			g.add(l.Table, l.Pipeline, formatCount(l.Seq), l.Commit, formatCount(int64(l.Files)), formatCount(l.Rows))
		}
		g.print(w)
	})
}

// dateOf is the local date of an instant in days since 1970.
func dateOf(micros int64, zone *time.Location) int32 {
	local := time.UnixMicro(micros).In(zone)
	return int32(math.Floor(float64(time.Date(local.Year(), local.Month(), local.Day(), 0, 0, 0, 0, time.UTC).Unix()) / 86400))
}

// blobs is the folder of the job's checkpoints: never within a table. Those of a
// remote table lie beside it, where the next host finds them.
func (r *resolved) blobs(t *table.Table) ingest.Blobs {
	folder := storage.LocalURI(filepath.Join(r.folder, "checkpoints", r.Name.Value))
	if storage.IsRemote(t.Location()) {
		folder = strings.TrimRight(t.Location(), "/") + ".checkpoints/" + r.Name.Value
	}
	return ingest.Blobs{FS: t.FS(), Folder: folder}
}
