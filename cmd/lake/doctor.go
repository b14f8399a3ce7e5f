package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/api/googleapi"

	"lake/load/duckdb"
	"lake/table"
)

type doctorOptions struct{ limit time.Duration }

func newDoctor(a *app) *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor JOB",
		Short: "try all that a job connects to, and say what mends it",
		Long: `Doctor connects to everything that a job names: source, catalog, warehouse and
table, outputs, loads, and publish's target. On each it tries the smallest
harmless operation: it describes topics, makes and removes a file beside the
table, begins a transaction and rolls it back. It reads no record, joins no
consumer group, begins no Kafka transaction, and makes nothing that stays.

Exit codes: 0 all works, 78 something is missing or not allowed, 5 something does
not answer, which may be over later.`,
		Example: "  lake doctor jobs/nobroker-kafka.yaml",
		Args:    oneJob,
		RunE:    func(cmd *cobra.Command, args []string) error { return a.runDoctor(cmd.Context(), args[0], o) },
	}
	cmd.Flags().DurationVar(&o.limit, "limit", 15*time.Second, "how long each of them is waited for")
	return cmd
}

// prober is an adapter that can be tried without anything that stays.
type prober interface {
	// Probe tries the smallest harmless operation on each thing that it reaches,
	// and tells what it tried, what it found, and what is wrong with it. It ends
	// with ctx, and calls tell from its own goroutine only.
	Probe(ctx context.Context, tell func(thing, found string, err error))
}

// probeFunc is a prober of one function.
type probeFunc func(ctx context.Context, tell func(thing, found string, err error))

// Probe implements prober.
func (f probeFunc) Probe(ctx context.Context, tell func(thing, found string, err error)) {
	f(ctx, tell)
}

// patient is what is tried under one name.
type patient struct {
	role string // source, catalog …
	open func(ctx context.Context) (prober, io.Closer, error)
}

// check is one line of the result.
type check struct {
	Role  string `json:"role"`
	Thing string `json:"thing"`
	OK    bool   `json:"ok"`
	Found string `json:"found,omitempty"`
	Error string `json:"error,omitempty"`
	Mend  string `json:"mend,omitempty"`
	Code  int    `json:"exit_code"`
}

type doctorResult struct {
	Command string  `json:"command"`
	Job     string  `json:"job"`
	Checks  []check `json:"checks"`
	Seconds float64 `json:"seconds"`
}

func (a *app) runDoctor(ctx context.Context, path string, o doctorOptions) error {
	r, err := a.loadJob(path)
	if err != nil {
		return err
	}
	if o.limit <= 0 {
		return usageError("--limit %s: more than 0 expected", o.limit)
	}
	started := time.Now()
	files := a.filesystems(r.folder, r.stores)
	out := doctorResult{Command: "doctor", Job: r.Name.Value, Checks: examine(ctx, a.patients(r, files), o.limit)}
	if err := files.Close(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	out.Seconds = seconds(time.Since(started))
	if err := a.report(out, func(w io.Writer) { printDoctor(w, out) }); err != nil {
		return err
	}
	code := exitDone
	for _, c := range out.Checks {
		if c.Code == exitConfig || code == exitDone {
			code = c.Code
		}
	}
	if code != exitDone {
		return withCode(code, errSaid)
	}
	return nil
}

// examine tries all of them side by side, each within its limit, and lists what
// they told in the patients' order.
func examine(ctx context.Context, patients []patient, limit time.Duration) []check {
	told := make([][]check, len(patients))
	var all sync.WaitGroup
	for i, p := range patients {
		all.Go(func() {
			ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %s: %w", limit, context.DeadlineExceeded))
			defer cancel()
			tell := func(thing, found string, err error) {
				told[i] = append(told[i], newCheck(ctx, p.role, thing, found, err))
			}
			probe, closer, err := p.open(ctx)
			if err != nil {
				tell("", "", err)
				return
			}
			if probe != nil { // else the adapter has nothing to be tried
				probe.Probe(ctx, tell)
			}
			if closer != nil {
				if err := closer.Close(); err != nil {
					tell("", "", err)
				}
			}
		})
	}
	all.Wait()
	checks := []check{}
	for _, t := range told {
		checks = append(checks, t...)
	}
	return checks
}

func newCheck(ctx context.Context, role, thing, found string, err error) check {
	c := check{Role: role, Thing: thing, OK: err == nil, Found: found}
	if err == nil {
		return c
	}
	if ctx.Err() != nil && !strings.Contains(err.Error(), "no answer within") {
		err = fmt.Errorf("%w (%w)", err, context.Cause(ctx))
	}
	c.Code, c.Found = exitConfig, ""
	if exitCode(err) == exitRetry || errors.Is(err, duckdb.ErrLocked) {
		c.Code = exitRetry
	}
	c.Error, c.Mend, _ = strings.Cut(strings.ReplaceAll(err.Error(), "\nhint: ", "; hint: "), "; hint: ")
	if c.Mend == "" {
		c.Mend = mend(err, c.Code)
	}
	return c
}

// mend is what a person can do where the error itself does not say it.
func mend(err error, code int) string {
	var google *googleapi.Error
	switch {
	case errors.As(err, &google) && google.Code == http.StatusNotFound: // an object is not asked for
		return "make the bucket: gcloud storage buckets create gs://…"
	case errors.Is(err, duckdb.ErrLocked):
		return "close the shell or notebook that has it open; fuser FILE names it"
	case table.IsDenied(err):
		return "ask the owner of the database for the right"
	case code == exitRetry:
		return "is the server up, and does a firewall let this machine through? run lake doctor again later"
	default:
		return "see what lake lint and lake help say of this key of the job file"
	}
}

func printDoctor(w io.Writer, out doctorResult) {
	g := newGrid("", "what", "which", "found")
	bad := 0
	for _, c := range out.Checks {
		state, says := "ok", c.Found
		if !c.OK {
			bad++
			state, says = "FAILS", "see below"
		}
		g.add(state, c.Role, c.Thing, says)
	}
	g.print(w)
	for _, c := range out.Checks {
		if !c.OK {
			fmt.Fprintf(w, "\n%s\n  %s\n  mend: %s\n", strings.TrimSpace(c.Role+" "+c.Thing), visible(c.Error), visible(c.Mend))
		}
	}
	if bad == 0 {
		fmt.Fprintf(w, "%s: all works (%.1f s)\n", out.Job, out.Seconds)
	} else {
		fmt.Fprintf(w, "\n%s: %d of %d do not work\n", out.Job, bad, len(out.Checks))
	}
}
