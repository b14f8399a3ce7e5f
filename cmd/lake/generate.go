package main

import (
	"bufio"
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"lake/ingest/generate"
)

type generateOptions struct {
	spec  string
	rows  int64
	rate  float64
	seed  int64
	start string
}

func newGenerate(a *app) *cobra.Command {
	var o generateOptions
	cmd := &cobra.Command{
		Use:   "generate NAME|SPEC.yaml",
		Short: "write made-up events as JSON lines",
		Long: `Generate writes JSON lines from a generator spec: a YAML file in which each field
has its type and distribution (uniform, zipf, sequence, choice with weights,
names and addresses, event time with disorder). nobroker and clicks are shipped;
write one for your own schema beside them. The same seed gives the same bytes.

source: {generate: {spec: …}} in a job feeds it from a spec.`,
		Example: `  lake generate nobroker --rows 1000000 --seed 7 > in/events.jsonl
  lake generate clicks --rate 1000 | kcat -P -b localhost:9092 -t clicks`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError("lake generate takes a spec\nhint: lake generate nobroker --rows 10")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.spec = args[0]
			return a.runGenerate(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.Int64Var(&o.rows, "rows", 0, "so many rows; 0: until interrupted")
	f.Float64Var(&o.rate, "rate", 0, "rows a second; 0: as fast as it goes")
	f.Int64Var(&o.seed, "seed", 1, "another seed, other events")
	f.StringVar(&o.start, "start", "", "event time of the first row, RFC 3339 (default: the spec's)")
	return cmd
}

func (a *app) runGenerate(ctx context.Context, o generateOptions) error {
	if o.rows < 0 || o.rate < 0 {
		return usageError("--rows and --rate are 0 or more")
	}
	source, err := generate.New(generate.Config{Spec: o.spec, Rows: o.rows, Rate: o.rate, Seed: o.seed, Start: o.start}, generate.Options{Dir: "."})
	if err != nil {
		return withCode(exitConfig, err)
	}
	defer source.Close()
	out := bufio.NewWriterSize(a.stdout, 1<<16)
	err = writeLines(ctx, out, source, o.rate > 0)
	if ctx.Err() != nil {
		err = nil // an interrupt ends it, as --rows does
	}
	return errors.Join(err, out.Flush())
}

// writeLines writes a source's records as lines until its end, each batch at
// once where somebody waits for it.
func writeLines(ctx context.Context, out *bufio.Writer, source *generate.Source, atOnce bool) error {
	for {
		batch, err := source.Poll(ctx)
		if errors.Is(err, io.EOF) {
			return out.Flush()
		}
		if err != nil {
			return err
		}
		for _, record := range batch.Records {
			if _, err := out.Write(record); err != nil {
				return err
			}
			if err := out.WriteByte('\n'); err != nil {
				return err
			}
		}
		if batch.Release != nil {
			batch.Release()
		}
		if atOnce {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
}
