package faults

import (
	"os"
	"runtime"
	"syscall"
)

// crash ends the process as kill -9 does: nothing is flushed, nothing deferred.
func crash() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way
}

// suspend stops the process here. A signal to the process might be taken by
// another thread, and this one go on for a while; one to this thread is taken
// before the call returns.
func suspend() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = syscall.Tgkill(os.Getpid(), syscall.Gettid(), syscall.SIGSTOP)
}
