package main

import (
	"fmt"
	"io/fs"
	"net"
	"os"
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
