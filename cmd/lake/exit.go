package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"lake/brokers"
	"lake/ingest"
	"lake/jobs"
	"lake/load"
	kafkasink "lake/load/kafka"
	"lake/rules/tally"
	"lake/storage"
	"lake/table"
)

// The exit codes, as `lake help exit-codes` lists them.
const (
	exitDone       = 0  // done, also after SIGTERM with a clean last commit
	exitDifference = 1  // a check found a difference
	exitUsage      = 2  // the command line
	exitRetry      = 5  // failed, worth a retry
	exitPerson     = 7  // failed, needs a person
	exitHeld       = 75 // another run holds the job
	exitConfig     = 78 // the job file, or what it says against what is there
	exitEmpty      = 99 // with --skip-if-empty: there was nothing to do; Airflow shows the task as skipped
)

// coded is an error with its exit code.
type coded struct {
	code int
	err  error
}

func (c *coded) Error() string { return c.err.Error() }
func (c *coded) Unwrap() error { return c.err }

func withCode(code int, err error) error {
	if err == nil {
		return nil
	}
	return &coded{code: code, err: err}
}

func usageError(format string, args ...any) error {
	return withCode(exitUsage, fmt.Errorf(format, args...))
}

// errDifference ends a command whose output already says what differs.
var errDifference = &coded{code: exitDifference, err: errSaid}

// errEmpty ends a command that was told to say by its code that it had nothing to do.
var errEmpty = &coded{code: exitEmpty, err: errSaid}

// errSaid stands for what has been printed already.
var errSaid = errors.New("")

// exitCode maps an error to the table above.
func exitCode(err error) int {
	var (
		c       *coded
		config  jobs.Errors
		changed *ingest.Changed
		bad     *ingest.TooManyBad
	)
	switch {
	case errors.As(err, &c):
		return c.code
	case errors.As(err, &config), errors.As(err, &changed):
		return exitConfig
	case errors.Is(err, table.ErrFenced), errors.Is(err, kafkasink.ErrFenced), errors.Is(err, load.ErrBusy):
		return exitHeld
	case errors.Is(err, brokers.ErrUnreachable), errors.Is(err, load.ErrAway), errors.Is(err, table.ErrCleaned), errors.Is(err, storage.ErrUnavailable), table.IsUnavailable(err):
		return exitRetry
	case errors.Is(err, brokers.ErrRefused), errors.Is(err, storage.ErrRefused), errors.Is(err, table.ErrHiveRefused), errors.Is(err, brokers.ErrUnknownTopic), errors.Is(err, load.ErrDenied):
		return exitConfig
	case errors.As(err, &bad), errors.Is(err, tally.ErrStateTooLarge),
		errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOSPC):
		return exitPerson
	case table.IsNetwork(err), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return exitRetry
	default:
		return exitPerson
	}
}

// describe is what a person reads of an error: the job file's errors stand a
// line each, others behind the program's name.
func describe(err error) string {
	var config jobs.Errors
	if errors.As(err, &config) {
		return config.Error()
	}
	text := err.Error()
	if text == "" {
		return ""
	}
	if errors.Is(err, syscall.ENOSPC) {
		text += "\nhint: the disk is full: nothing of the failed commit is visible; free space and run the command again"
	}
	return "lake: " + strings.TrimRight(text, "\n")
}
