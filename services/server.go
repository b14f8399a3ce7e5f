package services

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"
)

// server is one program that serves at one port and keeps its data in one
// folder. Its methods may be called at the same time.
type server struct {
	name string // for messages
	home home
	port int
	// run starts the program on its data and waits until it answers. It returns
	// the process also where that does not answer.
	run func(context.Context) (*process, error)
	// stop ends the program cleanly; end does it for good, its data may go.
	stop, end func(*process) error

	mu sync.Mutex
	p  *process
}

// newServer is one that is ended by a signal, within the limit, and killed where
// its data go with it. Its run is the caller's to set.
func newServer(name string, h home, by syscall.Signal, limit time.Duration) server {
	stop := asked(by, limit)
	return server{name: name, home: h, stop: stop, end: h.killedIfTemporary(stop)}
}

// asked ends a process by a signal, and by force where it takes longer.
func asked(by syscall.Signal, limit time.Duration) func(*process) error {
	return func(p *process) error { return p.stop(by, limit) }
}

// killedIfTemporary kills a process whose data nobody reads any more, and stops others.
func (h home) killedIfTemporary(stop func(*process) error) func(*process) error {
	if h.temporary {
		return (*process).kill
	}
	return stop
}

// attempts starts a server in a folder of its own, and anew where another process
// was faster to take a port. What first returns beside an error is closed.
func attempts[S interface{ Close() error }](name string, o Options, first func(home) (S, error)) (S, error) {
	for attempt := 1; ; attempt++ {
		var none S
		h, err := newHome(name, o)
		if err != nil {
			return none, err
		}
		s, err := first(h)
		if err == nil {
			return s, nil
		}
		taken := strings.Contains(strings.ToLower(err.Error()), "address already in use")
		err = errors.Join(err, s.Close())
		if !taken || attempt == 3 || !h.temporary {
			return none, err
		}
	}
}

func (s *server) start(ctx context.Context) error {
	p, err := s.run(ctx)
	if p != nil {
		s.p = p
	}
	return err
}

// Log is the path of the server's log.
func (s *server) Log() string { return s.home.log() }

// PID is the server's first process, while it runs.
func (s *server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.p.pid
}

// Kill ends the server with SIGKILL; its data stay. Restart brings it back.
func (s *server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.p.kill()
}

// Restart stops the server, cleanly where it runs, starts it on the same port
// and data, and waits until it answers.
func (s *server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.stop(s.p)
	if err == nil {
		err = s.start(ctx)
	}
	if err != nil {
		return fmt.Errorf("restart %s: %w", s.name, err)
	}
	return nil
}

// Suspend stops the server with SIGSTOP: its connections stay and nobody
// answers. Children that serve connections (PostgreSQL's) go on.
func (s *server) Suspend() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.p.signal(syscall.SIGSTOP)
}

// Resume lets a suspended server go on.
func (s *server) Resume() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.p.signal(syscall.SIGCONT)
}

// Close stops the server, and removes its data where Options.Dir was "".
func (s *server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.p != nil {
		err = s.end(s.p)
	}
	if err := errors.Join(err, s.home.remove()); err != nil {
		return fmt.Errorf("stop %s: %w", s.name, err)
	}
	return nil
}
