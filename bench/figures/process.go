package figures

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is a command to be timed as a whole.
type Process struct {
	Args   []string
	Env    []string     // beside this process's own
	Before func() error // not timed; nil: nothing to do
	Says   string       // what its output must have
}

// inside is how a process says how long its work alone took, on a line of its own.
var inside = regexp.MustCompile(`(?m)^inside ([0-9.]+) s$`)

// Time runs the process and reads the system's own account of it. What the run
// before left to be written to the disk is written first: lake waits for the
// disk, and would wait for its peer's files, too.
func (p Process) Time(ctx context.Context) (Run, error) {
	if p.Before != nil {
		if err := p.Before(); err != nil {
			return Run{}, err
		}
	}
	syscall.Sync()
	cmd := exec.CommandContext(ctx, p.Args[0], p.Args[1:]...)
	cmd.Env = append(os.Environ(), p.Env...)
	// Ctrl-C and a time limit end what the process started, too: a Spark is a grandchild.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	started := time.Now()
	err := cmd.Run()
	run := Run{Wall: time.Since(started)}
	switch {
	case err != nil:
		return Run{}, fmt.Errorf("%s: %w: %s", strings.Join(p.Args, " "), err, said.String())
	case !strings.Contains(said.String(), p.Says):
		return Run{}, fmt.Errorf("%s: its output lacks %q: %s", strings.Join(p.Args, " "), p.Says, said.String())
	}
	if found := inside.FindStringSubmatch(said.String()); found != nil {
		took, err := strconv.ParseFloat(found[1], 64)
		if err != nil {
			return Run{}, err
		}
		run.Inside = time.Duration(took * float64(time.Second))
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return Run{}, errors.New("the system does not say what a process used")
	}
	run.CPU, run.Memory = cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime(), usage.Maxrss<<10
	return run, nil
}

// Pairs times two works in turn, for processes their methods Time: one pair to warm
// up, after which check compares what both made (nil: nothing to compare), then
// those that count.
func Pairs(ctx context.Context, many int, lake, peer func(context.Context) (Run, error), check func(context.Context) error) ([]Pair, error) {
	var pairs []Pair
	for i := range many + 1 {
		l, err := lake(ctx)
		if err != nil {
			return nil, err
		}
		p, err := peer(ctx)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			pairs = append(pairs, Pair{l, p})
			continue
		}
		if check != nil {
			if err := check(ctx); err != nil {
				return nil, err
			}
		}
	}
	return pairs, nil
}
