package services

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a running server. Its goroutine ends with it.
type process struct {
	pid  int
	log  string // path
	done chan struct{}
	err  error // of the exit; read it once done is closed
}

// command is a program to be started as a server.
type command struct {
	args []string
	env  []string // added to this process's
	// without is a variable of this process's that the server does not get.
	without string
	dir     string
	log     string         // file that gets its output, appended
	death   syscall.Signal // that it gets when this process dies
	as      identity
}

// identity is who runs a program; the zero one is this process's user.
type identity struct{ user *syscall.Credential }

// attributes of a program in a process group of its own. Another user than this
// one keeps one right of root's: a temporary folder may lie below one that only
// root can enter. The right holds once the program runs, so not for its own path.
func (i identity) attributes() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true, Credential: i.user}
	if i.user != nil {
		a.AmbientCaps = []uintptr{unix.CAP_DAC_OVERRIDE}
	}
	return a
}

// start starts a server in a process group of its own, so that a terminal's
// Ctrl-C reaches only the one that is to stop it.
func start(c command) (*process, error) {
	out, err := os.OpenFile(c.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	p := &process{log: c.log, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel sends the death signal when the thread that started the child
		// ends, not only when the process does: this goroutine keeps the thread.
		runtime.LockOSThread()
		defer close(p.done)
		defer out.Close()
		cmd := exec.Command(c.args[0], c.args[1:]...) //nolint:noctx // it outlives the call; Close ends it
		cmd.Dir, cmd.Stdout, cmd.Stderr = c.dir, out, out
		cmd.Env = os.Environ()
		if c.without != "" {
			cmd.Env = slices.DeleteFunc(cmd.Env, func(v string) bool { return strings.HasPrefix(v, c.without+"=") })
		}
		cmd.Env = append(cmd.Env, c.env...)
		cmd.SysProcAttr = c.as.attributes()
		cmd.SysProcAttr.Pdeathsig = c.death
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid = cmd.Process.Pid
		started <- nil
		p.err = cmd.Wait()
	}()
	if err := <-started; err != nil {
		<-p.done
		return nil, err
	}
	return p, nil
}

// ended is how it ended; only after done.
func (p *process) ended() error {
	if p.err == nil {
		return errors.New("exit status 0")
	}
	return p.err
}

// signal goes to all of its group; to a server that is gone it is none.
func (p *process) signal(s syscall.Signal) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := syscall.Kill(-p.pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal %s to process %d: %w", s, p.pid, err)
	}
	return nil
}

// stop asks with the signal, and kills what has not ended within the limit.
func (p *process) stop(s syscall.Signal, limit time.Duration) error {
	err := errors.Join(p.signal(s), p.signal(syscall.SIGCONT)) // a suspended one hears nothing
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		return err
	case <-timer.C:
		return errors.Join(err, p.kill())
	}
}

// kill ends it at once and waits for it.
func (p *process) kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

// output runs a program to its end and returns what it printed, which is also
// part of the error.
func output(ctx context.Context, as identity, dir string, env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.SysProcAttr = as.attributes()
	// mvn is a shell script: its java goes with it.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		const most = 2000
		return "", fmt.Errorf("%s: %w: %s", args[0], err, out[max(0, len(out)-most):])
	}
	return string(out), nil
}
