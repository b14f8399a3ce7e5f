package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"lake/ingest"
	"lake/load"
)

type ingestOptions struct {
	job          string
	follow       bool
	maxDuration  time.Duration
	backfill     bool
	closeWindows bool
	standby      bool
	resetOffsets string
	answered     func(load.Delivery) // for lake demo; nil: nobody looks
}

func newIngest(a *app) *cobra.Command {
	var o ingestOptions
	cmd := &cobra.Command{
		Use:   "ingest JOB",
		Short: "read the source into the table, and answer the rules",
		Long: `Ingest reads all that the job's source holds at the start, lands it in the
table, answers the rules, and ends. With --follow it goes on, and commits by
interval, records or bytes, whichever comes first (commit: in the job).

Offsets, rule state and rows become visible in one commit of the table. A run
that was killed is continued by the next one: no row is lost, none doubled.
SIGTERM and SIGINT end it after a last commit.

A record that cannot be read goes to the dead-letter table (lake dlq). Each run
ends by printing that records in = rows landed + dead letters.

A Kafka job runs in one process or, where no rule groups or each groups by the
source's partitioned_by, in as many as you start: the consumer group divides the
partitions among them, or CLOUD_RUN_TASK_INDEX and CLOUD_RUN_TASK_COUNT do.
Otherwise a second run ends with 75, or waits with --standby; so does a run that
another one took the job from.

A new or changed rule is counted from the table's rows. Where partitions are shared
that takes that each row lies where Kafka's usual partitioner (murmur2) puts its key,
which is checked as rows are read; otherwise the rule is refused (78).

Ingest stops rather than guess when the topic was made anew, when its offsets are
gone, or when the table was rolled back. --reset-offsets is the way on: rows that
are read again are in the table twice, rows that are passed over are not in it.

Exit codes: 0 done, 5 worth a retry, 7 needs a person (dead letters above
dead_letter.max_ratio, rule state that does not fit --memory), 75 another run
holds the job, 78 configuration.`,
		Example: `  lake ingest jobs/nobroker.yaml
  lake ingest --follow --max-duration 55m jobs/nobroker-kafka.yaml
  lake ingest --reset-offsets earliest jobs/nobroker-kafka.yaml`,
		Args: oneJob,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.job = args[0]
			return a.runIngest(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.follow, "follow", false, "go on after the source's present end")
	f.DurationVar(&o.maxDuration, "max-duration", 0, "end after this time with a last commit, as SIGTERM does")
	f.BoolVar(&o.backfill, "backfill", false, "a new or changed rule answers for the rows that are there, too")
	f.BoolVar(&o.standby, "standby", false, "where another run holds the job, wait for it to end")
	f.StringVar(&o.resetOffsets, "reset-offsets", "", "move the source before reading, to earliest, latest, a time, or Events/0=120,Events/1=7")
	f.BoolVar(&o.closeWindows, "close-windows", false, "close all windows at the end of a bounded run")
	return cmd
}

// oneJob is the argument check of commands that take one job file.
func oneJob(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError("%s takes one job file, got %d arguments\nhint: %s jobs/nobroker.yaml", cmd.CommandPath(), len(args), cmd.CommandPath())
	}
	return nil
}

// ingestResult is the run's result for machines.
type ingestResult struct {
	Command string `json:"command"`
	Job     string `json:"job"`
	Table   string `json:"table"`
	ingest.Result
	Watermark string  `json:"watermark,omitempty"`
	Seconds   float64 `json:"seconds"`
	Error     string  `json:"error,omitempty"`
}

func (a *app) runIngest(ctx context.Context, o ingestOptions) error {
	if o.maxDuration < 0 {
		return usageError("--max-duration %s: it is a time to come", o.maxDuration)
	}
	r, err := a.loadJob(o.job)
	if err != nil {
		return err
	}
	result, err := a.ingest(ctx, r, o)
	out := ingestResult{Command: "ingest", Job: r.Name.Value, Table: r.Table.Name.Value, Result: result, Seconds: seconds(result.Elapsed)}
	if result.Watermark > 0 {
		out.Watermark = time.UnixMicro(result.Watermark).In(r.zone).Format(time.RFC3339)
	}
	if err != nil {
		out.Error = err.Error()
	} else if len(r.rules) > 0 { // each rule by name, also where it had nothing to say
		answers := map[string]int64{}
		for _, rule := range r.rules {
			answers[rule.Name] = result.Answers[rule.Name]
		}
		out.Answers = answers
	}
	return errors.Join(err, a.report(out, func(w io.Writer) { printIngest(w, r, out) }))
}

// ingest opens all that the job names, runs it, and closes it again.
func (a *app) ingest(ctx context.Context, r *resolved, o ingestOptions) (result ingest.Result, err error) {
	if r.source.endless && !o.follow && o.maxDuration == 0 {
		return result, usageError("%s: its generator has no end\nhint: give it rows:, or run with --follow or --max-duration", r.Path)
	}
	hard := context.WithoutCancel(ctx) // ctx's end asks for a last commit
	if err := a.announce(r); err != nil {
		return result, err
	}
	held, err := a.hold(ctx, r, o.standby)
	if err != nil {
		return result, err
	}
	defer func() {
		if held != nil {
			err = errors.Join(err, held.Close())
		}
	}()
	cfg, closeAll, err := a.pipeline(hard, r, o)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, closeAll()) }()

	polite, cancel := context.WithCancel(ctx)
	defer cancel()
	if o.maxDuration > 0 {
		timed, cancelTimed := context.WithTimeout(polite, o.maxDuration)
		defer cancelTimed()
		polite = timed
	}
	if o.follow && r.Compact.Auto {
		caring, stopCaring := context.WithCancel(polite)
		done, owed := make(chan struct{}), newDebt()
		cfg.Committed = owed.add
		go func() {
			defer close(done)
			a.upkeep(caring, r, owed, upkeepEvery)
		}()
		defer func() { stopCaring(); <-done }()
	}
	if o.standby && r.keys == nil {
		cfg.StandBy = func(lost error) (bool, error) {
			if exitCode(lost) != exitHeld {
				return false, nil
			}
			a.log.Info("another run took the job over; standing by", "job", r.Name.Value)
			err := held.Close() // it may be worth nothing: the other one did not see it
			held = nil
			if err == nil {
				held, err = a.hold(polite, r, true)
			}
			if err == nil {
				err = quiet(polite, cfg.Table, r.Name.Value, max(quietTime, 3*cfg.Interval))
			}
			return err == nil, err
		}
	}
	progress := a.newProgress(r)
	cfg.Progress, cfg.ProgressEvery = progress.show, progress.every
	result, err = ingest.Run(hard, cfg, polite.Done())
	progress.clear()
	var bad *ingest.TooManyBad
	if errors.As(err, &bad) {
		for _, l := range bad.Samples {
			fmt.Fprintln(a.stderr, l)
		}
	}
	return result, err
}

func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }

func printIngest(w io.Writer, r *resolved, out ingestResult) {
	if out.Error != "" {
		return
	}
	run := out.Run
	rate := ""
	if out.Seconds > 0 && run.Records > 0 {
		rate = fmt.Sprintf(", %s records/s", formatCount(int64(float64(run.Records)/out.Elapsed.Seconds())))
	}
	fmt.Fprintf(w, "%s: %s records in = %s rows landed + %s dead letters (%s, %.1f s%s)\n", r.Table.Name.Value,
		formatCount(run.Records), formatCount(run.Rows), formatCount(run.DeadLetters), formatCounted(run.Commits, "commit"), out.Elapsed.Seconds(), rate)
	for _, rule := range r.rules {
		late := ""
		if n := out.Late[rule.Name]; n > 0 {
			late = fmt.Sprintf(", %s left out", formatCounted(n, "late record"))
		}
		fmt.Fprintf(w, "  rule %s: %s%s\n", rule.Name, formatCounted(out.Answers[rule.Name], "answer"), late)
	}
	if run.DeadLetters > 0 {
		fmt.Fprintf(w, "  see them: lake dlq show %s\n", r.Path)
	}
	if len(r.loads) > 0 && run.Rows > 0 {
		fmt.Fprintf(w, "  next: lake load %s\n", r.Path)
	}
}
