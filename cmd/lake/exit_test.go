package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A file's error has the methods of a network's: it must not be taken for one
// that passes by itself.
func TestExitCodesOfTheSystem(t *testing.T) {
	for errno, code := range map[syscall.Errno]int{syscall.ENOSPC: exitPerson, syscall.EROFS: exitPerson, syscall.EIO: exitPerson, syscall.EACCES: exitPerson} {
		require.Equal(t, code, exitCode(fmt.Errorf("commit: %w", &fs.PathError{Op: "write", Path: "x", Err: errno})), errno)
		require.Equal(t, code, exitCode(fmt.Errorf("commit: %w", &os.LinkError{Op: "link", Old: "x", New: "y", Err: errno})), errno)
	}
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	require.Equal(t, exitRetry, exitCode(fmt.Errorf("open the catalog: %w", refused)))
	require.Equal(t, exitRetry, exitCode(&net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}))
}

// TestInterrupted: who stops a command reads that, and not where it was stopped.
func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	job := filepath.Join(dir, "job.yaml")
	require.NoError(t, os.WriteFile(job, []byte("version: 1\nname: stopped\nsource: {generate: {spec: clicks, rows: 10}}\nschema: {session_id: string}\ntable: {name: t.stopped}\n"), 0o644))
	require.Zero(t, run(t.Context(), []string{"ingest", job}, nil, io.Discard, io.Discard))
	stopped, stop := context.WithCancel(t.Context())
	stop()
	var said bytes.Buffer
	require.Equal(t, exitRetry, run(stopped, []string{"tables", "scan", job}, nil, io.Discard, &said))
	require.Equal(t, "lake: interrupted; run the command again to go on\n", said.String())
}
