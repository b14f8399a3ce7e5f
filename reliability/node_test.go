package reliability

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lake/services/servicetest"
)

// node is a lake that runs as a process of its own, as on a machine of its own.
type node struct {
	name string
	pid  int
	said *safeBuffer   // stderr
	done chan struct{} // closed when it has ended
	err  error         // of the exit; read it once done is closed
}

// startNode starts lake in dir. It dies with the test, however that ends.
func startNode(binary, dir, name string, env []string, args ...string) (*node, error) {
	n := &node{name: name, said: &safeBuffer{}, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel sends the death signal when the thread that started the child
		// ends: this goroutine keeps it.
		runtime.LockOSThread()
		defer close(n.done)
		cmd := exec.Command(binary, args...)
		cmd.Dir, cmd.Stderr = dir, n.said
		cmd.Env = append(os.Environ(), env...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		err := cmd.Start()
		if err == nil {
			n.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			n.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return n, nil
}

// signal sends a signal; a process that has ended does not get it.
func (n *node) signal(s syscall.Signal) {
	if n.running() {
		_ = syscall.Kill(n.pid, s)
	}
}

func (n *node) running() bool {
	select {
	case <-n.done:
		return false
	default:
		return true
	}
}

// kill is kill -9; it returns when the process is gone.
func (n *node) kill() {
	n.signal(syscall.SIGKILL)
	<-n.done
}

// Ways to end.
const (
	killed = -1 // by SIGKILL, or by SIGTERM before it listens to that
	exit0  = 0
	retry  = 5  // a broker or a catalog did not answer
	person = 7  // needs a person
	held   = 75 // another process holds the job
	config = 78 // the job is not what filled the table
)

// exit waits for the end and returns the exit code, or killed.
func (n *node) exit(ctx context.Context) (int, error) {
	select {
	case <-n.done:
	case <-ctx.Done():
		return 0, fmt.Errorf("%s does not end: %w: %s", n.name, context.Cause(ctx), n.said)
	}
	var exit *exec.ExitError
	if n.err == nil {
		return exit0, nil
	}
	if errors.As(n.err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() != syscall.SIGKILL && status.Signal() != syscall.SIGTERM {
			return 0, fmt.Errorf("%s ended by %s: %s", n.name, status.Signal(), n.said)
		}
		return exit.ExitCode(), nil
	}
	return 0, fmt.Errorf("wait for %s: %w", n.name, n.err)
}

// suspended waits until the process has been stopped by LAKE_STOP_AT.
func (n *node) suspended(ctx context.Context) error {
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.pid))
		if err != nil || !n.running() {
			return fmt.Errorf("%s ended and was to be suspended: %s", n.name, n.said)
		}
		// pid (name) state …
		if _, rest, ok := bytes.Cut(stat, []byte(") ")); ok && len(rest) > 0 && rest[0] == 'T' {
			return nil
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("%s is not suspended: %w: %s", n.name, err, n.said)
		}
	}
}

// pause waits, or ends with the context.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// safeBuffer keeps the end of what a process says.
type safeBuffer struct {
	mu   sync.Mutex
	text []byte
}

const keptOutput = 64 << 10

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	if len(b.text) > 2*keptOutput {
		b.text = append([]byte(nil), b.text[len(b.text)-keptOutput:]...)
	}
	return len(p), nil
}

// String is the end of it, for a message.
func (b *safeBuffer) String() string { return servicetest.Tail(b.all()) }

func (b *safeBuffer) all() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.TrimSpace(string(b.text))
}

// mentions wants words in what the process said.
func (n *node) mentions(t testing.TB, words string) {
	t.Helper()
	require.True(t, strings.Contains(n.said.all(), words), "%s does not say %q; it said %s", n.name, words, n.said)
}

// peak is the most memory that the process had at once, in bytes.
func (n *node) peak(t testing.TB) (kib int64) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.pid))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	_, err = fmt.Sscan(rest, &kib)
	require.NoError(t, err)
	return kib << 10
}
