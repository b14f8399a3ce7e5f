package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// errHeld says that another run holds the job.
var errHeld = errors.New("another run holds the job")

// hold takes the job's lock in its warehouse, so that a second run of the same
// job on this host ends at once, or with wait stands by. Runs that share their
// source share the lock. The kernel lets go of it when the process ends, however
// it ends. It is a courtesy: what protects the table is the epoch in its record.
func (a *app) hold(ctx context.Context, r *resolved, wait bool) (*os.File, error) {
	folder := filepath.Join(r.warehouse, "locks")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, fmt.Errorf("make the warehouse: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(folder, r.Name.Value+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock job %s: %w", r.Name.Value, err)
	}
	how := syscall.LOCK_EX
	if r.keys != nil {
		how = syscall.LOCK_SH
	}
	err = lock(f, how)
	if errors.Is(err, errHeld) && wait {
		a.log.Info("another run holds the job; standing by", "job", r.Name.Value)
		err = standBy(ctx, func() error { return lock(f, how) })
	}
	if err != nil {
		err = errors.Join(err, f.Close())
		if errors.Is(err, errHeld) {
			return nil, withCode(exitHeld, fmt.Errorf("job %s: %w (%s)\nhint: wait for it, let this run stand by with --standby, or give a job of another kind another name", r.Name.Value, err, f.Name()))
		}
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	if r.keys != nil {
		return f, nil
	}
	// Who looks finds the process; the lock itself is the kernel's.
	if err := f.Truncate(0); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
	}
	if _, err := fmt.Fprintf(f, "%d\n", os.Getpid()); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
	}
	return f, nil
}

// lock takes a lock on a file, or fails at once with errHeld.
func lock(f *os.File, how int) error {
	err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errHeld
	}
	return err
}

// standBy tries until it does not fail with errHeld, or ctx ends.
func standBy(ctx context.Context, try func() error) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		err := try()
		if !errors.Is(err, errHeld) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// isHeld reports whether a run on this host holds the job.
func (a *app) isHeld(r *resolved) (bool, error) {
	f, err := os.Open(filepath.Join(r.warehouse, "locks", r.Name.Value+".lock"))
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
