package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// hold takes the job's lock in its warehouse, so that a second run of the same
// job on this host ends at once. The kernel lets go of it when the process ends,
// however it ends. It is a courtesy: what protects the table is the epoch in its
// record.
func (a *app) hold(r *resolved) (*os.File, error) {
	folder := filepath.Join(r.warehouse, "locks")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, fmt.Errorf("make the warehouse: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(folder, r.Name.Value+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock job %s: %w", r.Name.Value, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, withCode(exitHeld, fmt.Errorf("another run holds job %s (%s)\nhint: wait for it, or give a job of another kind another name", r.Name.Value, f.Name()))
		}
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
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
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}
