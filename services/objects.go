package services

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/uuid"
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

// objects is a server of an object store. Its data are files, one an object.
type objects struct{ server }

// storeProgram says what is particular to one.
type storeProgram struct {
	command func(s *objects) command
	healthy string // path that answers 200
	long    bool   // see Options
	// makeBucket makes a bucket, which is a folder of Data: that shows that it is
	// this very server that answers.
	makeBucket func(ctx context.Context, name string) error
}

func (s *objects) first(ctx context.Context, program storeProgram) error {
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	s.port = ports[0]
	if err := os.MkdirAll(s.Data(), 0o755); err != nil {
		return err
	}
	s.run = func(ctx context.Context) (*process, error) {
		c := program.command(s)
		c.dir, c.log, c.death = s.home.dir, s.Log(), syscall.SIGKILL
		if program.long { // its live heap is so small that it collects all the time
			c.env = append(c.env, "GOGC=400")
		}
		p, err := start(c)
		if err != nil {
			return nil, err
		}
		return p, await(ctx, p, func(ctx context.Context) error { return s.answers(ctx, program) })
	}
	return s.start(ctx)
}

// answers is nil once it is this server that answers.
func (s *objects) answers(ctx context.Context, program storeProgram) error {
	if err := healthy(ctx, s.Endpoint()+program.healthy); err != nil {
		return err
	}
	name := "ready-" + uuid.NewString()
	if err := program.makeBucket(ctx, name); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(s.Data(), name)); err != nil {
		return fmt.Errorf("port %d has another server: address already in use: %w", s.port, err)
	}
	return nil
}

func newObjects(name string, h home) objects {
	return objects{server{name: name, home: h, stop: asked(syscall.SIGTERM, 10*time.Second),
		end: (*process).kill}} // it has nothing in memory that is not on disk
}

// Data is the folder of the buckets, each of whose objects is a file.
func (s *objects) Data() string { return filepath.Join(s.home.dir, "data") }

// Endpoint is the server's address, http://127.0.0.1:port.
func (s *objects) Endpoint() string { return fmt.Sprint("http://127.0.0.1:", s.port) }

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
