package load

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"lake/faults"
)

// Result is what a load did, or would do.
type Result struct {
	Target  string `json:"target"`
	Loaded  int    `json:"loaded"`
	Current int    `json:"current"`           // partitions that were there already
	Found   int    `json:"found,omitempty"`   // there, from a run that ended before its ledger said so
	Left    int    `json:"left,omitempty"`    // partitions that a stopped run did not come to
	Kept    int    `json:"kept,omitempty"`    // that the lake has dropped
	Changed int    `json:"changed,omitempty"` // past lake, and left alone
	Rows    int64  `json:"rows"`
	Bytes   int64  `json:"bytes"`
	// Partitions are those that are not current, for a dry run.
	Partitions []Listed `json:"partitions,omitempty"`
}

// Listed is a step for a person or a machine to read.
type Listed struct {
	Partition string `json:"partition"`
	State     State  `json:"state"`
	Rows      int64  `json:"rows"`
	Bytes     int64  `json:"bytes"`
	Files     int    `json:"files"`
	Why       string `json:"why,omitempty"`
}

// Count is what a plan would do.
func Count(target string, steps []Step) Result {
	r := Result{Target: target}
	for _, s := range steps {
		switch s.State {
		case Current:
			r.Current++
			continue
		case Found:
			r.Found++
		case Changed:
			r.Changed++
		case Kept:
			r.Kept++
		case Due:
			r.Loaded++
			r.Rows += max(s.Rows, 0)
			r.Bytes += s.Bytes
		}
		r.Partitions = append(r.Partitions, Listed{Partition: s.Name, State: s.State, Rows: s.Rows, Bytes: s.Bytes, Files: len(s.Files), Why: s.Why})
	}
	return r
}

// Idle reports whether a plan has nothing to do: all is there, and the ledger says so.
func Idle(steps []Step) bool {
	for _, s := range steps {
		if s.State != Current && s.State != Kept {
			return false
		}
	}
	return true
}

const (
	// The ledger's lines are written so often, and at the end: what a crash loses of
	// them is found again in the target.
	lineBatch = 20
	lineTime  = 10 * time.Second
	// lastTime bounds the last lines of a run that was told to stop.
	lastTime = 6 * time.Second
)

// Work is a plan that is executed.
type Work struct {
	Target      string
	Incarnation string
	Snapshot    int64 // of the lake's table
	Steps       []Step
	Warehouse   Warehouse // prepared
	Ledger      *Ledger   // claimed
	// Fill, where it is not nil, makes the files of a load right before it. What it
	// returns removes them again.
	Fill func(ctx context.Context, l *Load) (remove func() error, err error)
	// Each is told of each partition that was loaded; nil: nobody is.
	Each func(s Step, took time.Duration)
}

// Run executes a plan, a partition at a time. What is loaded stays loaded where
// a later partition fails or ctx ends; the next run goes on from there. Partitions that
// were changed past lake are left alone, the others loaded, and the error is ErrChanged.
func Run(ctx context.Context, w Work) (r Result, err error) {
	r.Target = w.Target
	var lines []Line
	flushed := time.Now()
	flush := func(ctx context.Context) error {
		err := w.Ledger.Append(ctx, lines)
		if err == nil && lines != nil {
			faults.Point(faults.Noted)
			lines, flushed = nil, time.Now()
		}
		return err
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTime)
		defer cancel()
		if !errors.Is(err, ErrBusy) { // then nobody would take them
			err = errors.Join(err, flush(last))
		}
	}()
	var changed []string
	for i, s := range w.Steps {
		switch s.State {
		case Current:
			r.Current++
			continue
		case Kept:
			r.Kept++
			continue
		case Changed:
			r.Changed++
			changed = append(changed, s.Name+": "+s.Why)
			continue
		case Found:
			r.Found++
			lines = append(lines, w.line(s.Load, s.Held, time.Now()))
			continue
		}
		if ctx.Err() != nil {
			r.Left = left(w.Steps[i:])
			return r, fmt.Errorf("load: stopped before partition %s, %d to go: %w", s.Name, r.Left, context.Cause(ctx))
		}
		line, err := w.one(ctx, s)
		if err != nil {
			r.Left = left(w.Steps[i:])
			if ctx.Err() != nil { // whatever the target made of that
				return r, fmt.Errorf("load: stopped in partition %s, %d to go: %w (%s)", s.Name, r.Left, context.Cause(ctx), err.Error())
			}
			return r, fmt.Errorf("load partition %s: %w", s.Name, err)
		}
		faults.Point(faults.Replaced)
		r.Loaded++
		r.Rows += line.Rows
		r.Bytes += line.Bytes
		if lines = append(lines, line); len(lines) >= lineBatch || time.Since(flushed) > lineTime {
			if err := flush(ctx); err != nil {
				return r, err
			}
		}
	}
	if changed != nil {
		return r, fmt.Errorf("%w: %s\nhint: look who did it; --force loads it again", ErrChanged, strings.Join(changed, "; "))
	}
	return r, nil
}

// one loads a partition.
func (w Work) one(ctx context.Context, s Step) (line Line, err error) {
	if err := w.Ledger.Mine(ctx); err != nil {
		return line, err
	}
	started := time.Now()
	l := s.Load
	if w.Fill != nil {
		remove, err := w.Fill(ctx, &l)
		if err != nil {
			return line, err
		}
		defer func() { err = errors.Join(err, remove()) }()
	}
	held, err := w.Warehouse.Replace(ctx, l)
	if err != nil {
		return line, err
	}
	if w.Each != nil {
		w.Each(s, time.Since(started))
	}
	return w.line(l, held, started), nil
}

func (w Work) line(l Load, held Held, started time.Time) Line {
	rows := l.Rows
	if rows < 0 {
		rows = held.Rows
	}
	return Line{Target: w.Target, Incarnation: w.Incarnation, Partition: l.Name, ID: l.ID, Fingerprint: l.Fingerprint,
		Snapshot: w.Snapshot, Rows: rows, Bytes: l.Bytes, Held: held.Version, Started: started, Finished: time.Now()}
}

// left counts the steps that were due.
func left(steps []Step) int {
	n := 0
	for _, s := range steps {
		if s.State == Due {
			n++
		}
	}
	return n
}
