package services

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// goProgram installs a Go program, pinned, and returns its path. The go command
// builds it with the user's own caches.
func goProgram(ctx context.Context, name, module, version string, o Options) (string, error) {
	cache, err := cacheFolder()
	if err != nil {
		return "", err
	}
	folder, err := install(ctx, cache, name+"-"+version, o, func(ctx context.Context, folder string) error {
		compiler, err := tool("go", "golang")
		if err != nil {
			return err
		}
		_, err = output(ctx, identity{}, folder, []string{"GOBIN=" + folder}, compiler, "install", module+"@"+version)
		return err
	})
	return filepath.Join(folder, name), err
}

// objects is a server of an object store: one program, one port, one folder.
type objects struct {
	name    string
	home    home
	port    int
	command func(port int, data string) command
	answers func(context.Context) error // nil once it is this very server that answers

	mu sync.Mutex
	p  *process
}

// startObjects starts the server that make describes, on another port where
// another process was faster to take one.
func startObjects(ctx context.Context, name string, o Options, describe func(s *objects)) (*objects, error) {
	for attempt := 1; ; attempt++ {
		h, err := newHome(name, o)
		if err != nil {
			return nil, err
		}
		s := &objects{name: name, home: h}
		describe(s)
		err = s.first(ctx)
		if err == nil {
			return s, nil
		}
		taken := strings.Contains(err.Error(), "address already in use")
		err = errors.Join(err, s.Close())
		if !taken || attempt == 3 || !h.temporary {
			return nil, err
		}
	}
}

func (s *objects) first(ctx context.Context) error {
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	s.port = ports[0]
	if err := os.MkdirAll(s.Data(), 0o755); err != nil {
		return err
	}
	return s.start(ctx)
}

// Data is the folder of the buckets, each of whose objects is a file.
func (s *objects) Data() string { return filepath.Join(s.home.dir, "data") }

func (s *objects) start(ctx context.Context) error {
	c := s.command(s.port, s.Data())
	c.dir, c.log, c.death = s.home.dir, s.Log(), syscall.SIGKILL
	p, err := start(c)
	if err != nil {
		return err
	}
	s.p = p
	return await(ctx, p, s.answers)
}

// healthy asks a server's own address for its health.
func healthy(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	reply, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return err
	}
	if err := reply.Body.Close(); err != nil {
		return err
	}
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, reply.Status)
	}
	return nil
}

// Endpoint is the server's address, http://127.0.0.1:port.
func (s *objects) Endpoint() string { return fmt.Sprint("http://127.0.0.1:", s.port) }

// Log is the path of the server's log.
func (s *objects) Log() string { return s.home.log() }

// PID is the server's process, while it runs.
func (s *objects) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.p.pid
}

// Kill ends the server with SIGKILL; its data stay. Restart brings it back.
func (s *objects) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.p.kill()
}

// Restart stops the server, cleanly where it runs, starts it on the same port
// and data, and waits until it answers.
func (s *objects) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(s.p.stop(syscall.SIGTERM, 10*time.Second), s.start(ctx)); err != nil {
		return fmt.Errorf("restart %s: %w", s.name, err)
	}
	return nil
}

// Suspend stops the server with SIGSTOP: its connections stay and nobody answers.
func (s *objects) Suspend() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.p.signal(syscall.SIGSTOP)
}

// Resume lets a suspended server go on.
func (s *objects) Resume() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.p.signal(syscall.SIGCONT)
}

// Close stops the server, and removes its data where Options.Dir was "".
func (s *objects) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.p != nil {
		err = s.p.kill() // it has nothing in memory that is not on disk
	}
	if err := errors.Join(err, s.home.remove()); err != nil {
		return fmt.Errorf("stop %s: %w", s.name, err)
	}
	return nil
}
