package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"lake/compact"
)

// upkeepEvery is how often a following ingest looks for compaction debt. A look
// costs a read of the manifests; it writes only where there are enough small files
// of about the same size.
const upkeepEvery = time.Minute

// upkeepCommits of this process make it look at once: each commit reads the list of
// snapshots and of manifests, so that where commits are many these grow no longer
// than where they are few.
const upkeepCommits = 100

// debt counts the commits since the last look. It is for one goroutine that
// commits and one that looks.
type debt struct {
	commits atomic.Int64
	due     chan struct{}
}

func newDebt() *debt { return &debt{due: make(chan struct{}, 1)} }

// add tells of a commit.
func (d *debt) add() {
	if d.commits.Add(1) < upkeepCommits {
		return
	}
	d.commits.Store(0)
	select {
	case d.due <- struct{}{}:
	default: // it is told already
	}
}

// cleanEvery is how often it looks for files that nothing refers to. They are
// left alone for a day anyway, and each look lists all of the table's files.
const cleanEvery = time.Hour

// upkeep compacts and expires beside a following ingest, as compact: in the job
// says, until ctx ends. Its failures are logged: the ingest goes on without it.
func (a *app) upkeep(ctx context.Context, r *resolved, owed *debt, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var cleaned time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-owed.due:
		}
		turn, err := r.take(ctx, r.Name.Value+".upkeep", false)
		if errors.Is(err, errHeld) {
			continue // another process of the job does it
		}
		if err != nil {
			a.log.Warn("compaction waits", "table", r.Table.Name.Value, "error", err)
			continue
		}
		clean := time.Since(cleaned) >= cleanEvery
		out, err := a.compact(ctx, r, compactOptions{bySize: true, expire: true, clean: clean, grace: orphanGrace}, func(droppedDates, compact.Plan) {})
		err = errors.Join(err, turn.Close())
		if clean && err == nil {
			cleaned = time.Now()
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			a.log.Warn("compaction failed; it is tried again", "table", r.Table.Name.Value, "error", err)
		case out.Groups > 0 || out.Dropped.Dates > 0 || out.Expired > 0 || out.Deleted > 0:
			a.log.Info("compacted", "table", out.Table, "files_in", out.FilesIn, "files_out", out.FilesOut, "rows", out.Rows, "dropped_dates", out.Dropped.Dates,
				"expired_snapshots", out.Expired, "deleted_files", out.Deleted, "seconds", out.Seconds)
		}
		for _, d := range out.Differences {
			a.log.Error("a rule's recount differs from the stream's answer", "rule", d.Rule, "date", d.Date, "reason", d.Reason)
		}
	}
}
