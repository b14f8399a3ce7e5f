package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"lake/ingest"
	"lake/table"
)

// errHeld says that another run holds the job.
var errHeld = errors.New("another run holds the job")

// hold takes the job's lock, so that a second run of the same job ends at once,
// or with wait stands by. Runs that share their source share the lock. It is a
// courtesy: what protects the table is the epoch in its record.
func (a *app) hold(ctx context.Context, r *resolved, wait bool) (io.Closer, error) {
	held, err := r.take(ctx, r.Name.Value+".lock", r.keys != nil)
	if errors.Is(err, errHeld) && wait {
		a.log.Info("another run holds the job; standing by", "job", r.Name.Value)
		held, err = standBy(ctx, func() (io.Closer, error) { return r.take(ctx, r.Name.Value+".lock", r.keys != nil) })
	}
	if errors.Is(err, errHeld) {
		err = withCode(exitHeld, fmt.Errorf("job %s: %w (%s)\nhint: wait for it, let this run stand by with --standby, or give a job of another kind another name",
			r.Name.Value, err, r.locks(r.Name.Value+".lock")))
	}
	return held, err
}

// standBy tries until it does not fail with errHeld, or ctx ends.
func standBy(ctx context.Context, try func() (io.Closer, error)) (io.Closer, error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		held, err := try()
		if !errors.Is(err, errHeld) {
			return held, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// quietTime is how long a job's record must have stood still before a run that
// lost it, and did not see the other's lock, takes it for free.
const quietTime = 15 * time.Second

// quiet returns when nobody has committed to the pipeline's one shard for a time.
// An owner that merely has nothing to read loses it: that is safe, as any
// takeover is.
func quiet(ctx context.Context, t *table.Table, pipeline string, wait time.Duration) error {
	tick := time.NewTicker(max(min(wait/10, time.Second), time.Millisecond))
	defer tick.Stop()
	var last table.Record
	since := time.Now()
	for {
		err := t.Refresh(ctx)
		var now table.Record
		if err == nil {
			now, _, err = t.Record(pipeline, ingest.Whole)
		}
		switch {
		case table.IsUnavailable(err):
			since = time.Now() // nobody knows how it stands
		case err != nil:
			return fmt.Errorf("stand by: %w", err)
		case now != last:
			last, since = now, time.Now()
		case time.Since(since) >= wait:
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return withCode(exitHeld, fmt.Errorf("job %s: stopped while %w", pipeline, errHeld))
		}
	}
}

func (r *resolved) locks(name string) string { return filepath.Join(r.folder, "locks", name) }

// take takes a lock by name or fails at once with errHeld: a file's in the
// warehouse, for the processes of this host, and where the catalog is in
// PostgreSQL one there, for all hosts. The system lets go of both when the
// process ends, however it ends. A Hive Metastore has no such lock: its own are
// left behind by a process that is killed. There a second host's run takes the
// job over, the first one's next commit fails by the epoch, and it ends with 75.
func (r *resolved) take(ctx context.Context, name string, shared bool) (io.Closer, error) {
	path := r.locks(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the warehouse: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	how := syscall.LOCK_EX
	if shared {
		how = syscall.LOCK_SH
	}
	if err := lock(f, how); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if !shared { // who looks finds the process; the lock itself is the kernel's
		err = f.Truncate(0)
		if err == nil {
			_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lock: %w", err), f.Close())
		}
	}
	cfg, err := r.catalogConfig()
	if err != nil || cfg.Postgres == "" {
		return f, err
	}
	everywhere, err := table.TryLock(ctx, cfg.Postgres, name, shared)
	if errors.Is(err, table.ErrLocked) {
		err = fmt.Errorf("%w, on another host", errHeld)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return both{f, everywhere}, nil
}

// both closes two.
type both [2]io.Closer

// Close closes the last first.
func (b both) Close() error { return errors.Join(b[1].Close(), b[0].Close()) }

// lock takes a lock on a file, or fails at once with errHeld.
func lock(f *os.File, how int) error {
	err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return errHeld
	case err != nil:
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return nil
}

// isHeld reports whether a run on this host holds the job.
func (a *app) isHeld(r *resolved) (bool, error) {
	f, err := os.Open(r.locks(r.Name.Value + ".lock"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = lock(f, syscall.LOCK_EX) // let go of at once, by Close
	if errors.Is(err, errHeld) {
		return true, nil
	}
	return false, err
}
