package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/spf13/cobra"

	"lake/table"
)

// letterTable is the name of the dead-letter table beside the job's.
func (r *resolved) letterTable() string { return r.Table.Name.Value + "_dead_letter" }

func newDLQ(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dlq",
		Short: "the records that could not be read",
		Long: `A record that cannot be decoded or converted goes to the dead-letter table beside
the job's (<table>_dead_letter), with where it came from and why it was refused.
It is an Iceberg table as any other: lake tables scan reads it, too.`,
		Example: "  lake dlq show jobs/nobroker.yaml --limit 5",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var limit int64
	show := &cobra.Command{
		Use:     "show JOB",
		Short:   "the dead letters, each with its reason",
		Long:    "Show prints dead letters: source, partition, offset, stage, reason and the record as it was read.",
		Example: "  lake dlq show jobs/nobroker.yaml --output json",
		Args:    oneJob,
		RunE:    func(cmd *cobra.Command, args []string) error { return a.runDLQShow(cmd.Context(), args[0], limit) },
	}
	show.Flags().Int64Var(&limit, "limit", 100, "at most so many")
	var most int
	list := &cobra.Command{
		Use:     "list JOB",
		Short:   "how many dead letters there are, by reason",
		Long:    "List counts dead letters by partition, stage and reason, the most frequent first.\nJSON has all of them.",
		Example: "  lake dlq list jobs/nobroker.yaml",
		Args:    oneJob,
		RunE:    func(cmd *cobra.Command, args []string) error { return a.runDLQList(cmd.Context(), args[0], most) },
	}
	list.Flags().IntVar(&most, "limit", 50, "print at most so many; 0: all") // a reason may name a value
	cmd.AddCommand(list, show)
	return cmd
}

// letter is a dead letter as it is shown.
type letter struct {
	Partition string `json:"partition"`
	Offset    int64  `json:"offset"`
	Time      string `json:"time,omitempty"`
	Stage     string `json:"stage"`
	Reason    string `json:"reason"`
	Payload   string `json:"payload"`
}

// letters calls each for every dead letter of the job until it returns false.
func (a *app) letters(ctx context.Context, r *resolved, each func(letter) bool) (err error) {
	t, err := a.openNamed(ctx, r, r.letterTable())
	if errors.Is(err, table.ErrNoTable) {
		return nil // there was none yet
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	for batch, err := range t.Scan(ctx, table.ScanOptions{From: firstDate, To: lastDate}) {
		if err != nil {
			return err
		}
		more := eachLetter(batch, r.zone, each)
		batch.Release()
		if !more {
			return nil
		}
	}
	return nil
}

func eachLetter(batch arrow.RecordBatch, zone *time.Location, each func(letter) bool) bool {
	column := func(name string) arrow.Array { return batch.Column(batch.Schema().FieldIndices(name)[0]) }
	text := func(name string, row int) string { return column(name).(*array.String).Value(row) }
	for row := range int(batch.NumRows()) {
		l := letter{Partition: text("partition", row), Offset: column("offset").(*array.Int64).Value(row), Stage: text("stage", row), Reason: text("reason", row)}
		if times := column("time").(*array.Timestamp); times.IsValid(row) {
			l.Time = time.UnixMicro(int64(times.Value(row))).In(zone).Format(time.RFC3339Nano)
		}
		if payload := column("payload").(*array.Binary); payload.IsValid(row) {
			l.Payload = strings.ToValidUTF8(string(payload.Value(row)), "\uFFFD")
		}
		if !each(l) {
			return false
		}
	}
	return true
}

func (a *app) runDLQShow(ctx context.Context, path string, limit int64) error {
	r, err := a.loadJob(path)
	if err != nil {
		return err
	}
	lines := []letter{}
	if err := a.letters(ctx, r, func(l letter) bool {
		if limit <= 0 || int64(len(lines)) < limit {
			lines = append(lines, l)
		}
		return limit <= 0 || int64(len(lines)) < limit
	}); err != nil {
		return err
	}
	return a.report(lines, func(w io.Writer) {
		if len(lines) == 0 {
			fmt.Fprintln(w, "no dead letters")
			return
		}
		g := newGrid("partition", "offset", "stage", "reason", "payload").numbers(1)
		for _, l := range lines {
			g.add(l.Partition, formatCount(l.Offset), l.Stage, l.Reason, cut(l.Payload, 200))
		}
		g.print(w)
	})
}

type letterCount struct {
	Partition string `json:"partition"`
	Stage     string `json:"stage"`
	Reason    string `json:"reason"`
	Count     int64  `json:"count"`
}

func (a *app) runDLQList(ctx context.Context, path string, most int) error {
	r, err := a.loadJob(path)
	if err != nil {
		return err
	}
	counts := map[letterCount]int64{}
	if err := a.letters(ctx, r, func(l letter) bool {
		counts[letterCount{Partition: l.Partition, Stage: l.Stage, Reason: l.Reason}]++
		return true
	}); err != nil {
		return err
	}
	lines := sortedCounts(counts)
	return a.report(lines, func(w io.Writer) {
		if len(lines) == 0 {
			fmt.Fprintln(w, "no dead letters")
			return
		}
		shown := lines
		if most > 0 && len(lines) > most {
			shown = lines[:most]
		}
		g := newGrid("count", "partition", "stage", "reason").numbers(0)
		for _, l := range shown {
			g.add(formatCount(l.Count), l.Partition, l.Stage, l.Reason)
		}
		g.print(w)
		if n := len(lines) - len(shown); n > 0 {
			fmt.Fprintf(w, "and %s more; --limit 0 prints all\n", formatCount(int64(n)))
		}
	})
}

// sortedCounts has the most frequent first.
func sortedCounts(counts map[letterCount]int64) []letterCount {
	lines := make([]letterCount, 0, len(counts))
	for l, n := range counts {
		l.Count = n
		lines = append(lines, l)
	}
	slices.SortFunc(lines, func(a, b letterCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Reason, b.Reason))
	})
	return lines
}
