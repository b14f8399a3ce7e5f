//go:build unix

package faults

import (
	"os"
	"syscall"
)

// crash ends the process as kill -9 does: nothing is flushed, nothing deferred.
func crash() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way
}

func suspend() { _ = syscall.Kill(os.Getpid(), syscall.SIGSTOP) }
