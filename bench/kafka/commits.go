package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"lake/bench/portal"
)

// commits follows a topic and commits as often as it can, with compaction and
// expiry beside it, and shows how long the commits take from the first ones to the last.
func commits(ctx context.Context, o *options) (err error) {
	k, err := broker(ctx, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	job, err := o.job(k, schema+"commit: {interval: 1ms}\ncompact: {auto: true}\n"+portal.Rules)
	if err != nil {
		return err
	}
	sending, stop := context.WithCancel(ctx)
	sent := make(chan error, 1)
	go func() {
		_, err := produce(sending, k, o.rate, time.Hour)
		sent <- err
	}()
	defer func() {
		stop()
		if failed := <-sent; !errors.Is(failed, context.Canceled) {
			err = errors.Join(err, failed)
		}
	}()
	lake := exec.CommandContext(ctx, o.lake, "ingest", "--follow", "--log-level", "debug", "--log-format", "json", job)
	said, err := lake.StderrPipe()
	if err != nil {
		return err
	}
	if err := lake.Start(); err != nil {
		return err
	}
	fmt.Printf("commits one after another, %d records a second, three rules, compaction and expiry beside them:\n| commits | median ms | p99 ms |\n|--:|--:|--:|\n", o.rate)
	const edge, block = 100, 1000
	of := func(took []time.Duration, from int) float64 {
		some := slices.Sorted(slices.Values(took[from:]))
		ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
		fmt.Printf("| %d to %d | %.1f | %.1f |\n", from+1, len(took), ms(some[len(some)/2]), ms(some[len(some)*99/100]))
		return ms(some[len(some)/2])
	}
	var first float64
	took, failed := readCommits(said, o.commits, func(took []time.Duration) { // shown as they come: it takes long
		switch n := len(took); {
		case n == edge:
			first = of(took, 0)
		case n%block == 0:
			of(took, max(n-block, edge))
		}
	})
	err = errors.Join(failed, lake.Process.Signal(syscall.SIGTERM))
	_, _ = io.Copy(io.Discard, said) // until its end
	if err := errors.Join(err, lake.Wait()); err != nil {
		return err
	}
	if len(took) > edge {
		last := of(took, len(took)-edge)
		fmt.Printf("the last %d take %.2f times the first %d\n", edge, last/first, edge)
	}
	return nil
}

// readCommits reads from lake's log how long so many commits took, and tells of each.
func readCommits(log io.Reader, many int, tell func([]time.Duration)) ([]time.Duration, error) {
	var took []time.Duration
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for len(took) < many && lines.Scan() {
		var line struct {
			Message string        `json:"message"`
			Took    time.Duration `json:"took"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return nil, fmt.Errorf("%s: %w", lines.Bytes(), err)
		}
		if line.Message == "committed" {
			took = append(took, line.Took)
			tell(took)
		}
	}
	if err := lines.Err(); err != nil || len(took) == many {
		return took, err
	}
	return nil, errors.New("lake ended early")
}
