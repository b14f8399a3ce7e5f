//go:build linux

package faults

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMain is the process that meets a fault where a test started it as such.
func TestMain(m *testing.M) {
	if os.Getenv("FAULTS_TEST_VICTIM") == "" {
		os.Exit(m.Run())
	}
	for range 3 {
		Point(Built)
		Point(Swapped)
		os.Stdout.WriteString("x")
	}
}

func TestCrashAtTheNth(t *testing.T) {
	for at, want := range map[string]string{
		Swapped + ":2": "x", Built: "", Swapped + ":3": "xx", Sent: "xxx", "": "xxx", Swapped + ":4": "xxx",
	} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "FAULTS_TEST_VICTIM=1", "LAKE_CRASH_AT="+at)
		out, err := cmd.Output()
		require.Equal(t, want, string(out), at)
		status := cmd.ProcessState.Sys().(syscall.WaitStatus)
		require.Equal(t, want != "xxx", status.Signaled() && status.Signal() == syscall.SIGKILL, "%s: %v", at, err)
	}
}

func TestStop(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FAULTS_TEST_VICTIM=1", "LAKE_STOP_AT="+Built+":2")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var status syscall.WaitStatus
	_, err = syscall.Wait4(cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
	require.NoError(t, err)
	require.True(t, status.Stopped(), "it is suspended and not gone")
	require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
	said := make([]byte, 8)
	n := 0
	for err == nil {
		var more int
		more, err = out.Read(said[n:])
		n += more
	}
	require.Equal(t, "xxx", string(said[:n]))
	require.NoError(t, cmd.Wait())
}

func BenchmarkPointOff(b *testing.B) {
	for b.Loop() {
		Point(Built)
	}
}
