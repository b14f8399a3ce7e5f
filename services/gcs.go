package services

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
)

// gcsVersion is fake-gcs-server's, the emulator of Google Cloud Storage.
const gcsVersion = "v1.56.1"

// GCS is fake-gcs-server, which keeps objects as files. It takes 0.1 s and 30 MB.
// It looks at preconditions of uploads only, and keeps no lifecycle and no
// classes of buckets. Its methods may be called at the same time.
type GCS struct{ *objects }

// StartGCS starts an emulator of Google Cloud Storage and waits until it
// answers. Clients reach it by STORAGE_EMULATOR_HOST=<Endpoint>. The caller closes it.
func StartGCS(ctx context.Context, o Options) (*GCS, error) {
	program, err := goProgram(ctx, "fake-gcs-server", "github.com/fsouza/fake-gcs-server", gcsVersion, o)
	if err != nil {
		return nil, fmt.Errorf("start fake-gcs-server: %w", err)
	}
	g := &GCS{}
	s, err := startObjects(ctx, "fake-gcs-server", o, func(s *objects) {
		g.objects = s
		s.command = func(port int, data string) command {
			address := fmt.Sprint("127.0.0.1:", port)
			args := []string{program, "-scheme", "http", "-host", "127.0.0.1", "-port", fmt.Sprint(port), "-backend", "filesystem",
				"-filesystem-root", data, "-public-host", address, "-external-url", "http://" + address, "-log-level", "warn"}
			for key, value := range o.Settings {
				args = append(args, "-"+key, value)
			}
			return command{args: args}
		}
		s.answers = func(ctx context.Context) error {
			if err := healthy(ctx, s.Endpoint()+"/_internal/healthcheck"); err != nil {
				return err
			}
			// A bucket that is in this folder shows that it is this server.
			name := "ready-" + uuid.NewString()
			if err := g.MakeBucket(ctx, name); err != nil {
				return err
			}
			if _, err := os.Stat(filepath.Join(s.Data(), name)); err != nil {
				return fmt.Errorf("port %d has another server: address already in use: %w", s.port, err)
			}
			return nil
		}
	})
	if err != nil {
		return nil, fmt.Errorf("start fake-gcs-server: %w", err)
	}
	g.objects = s
	return g, nil
}

// Env are the variables by which a client finds the server.
func (g *GCS) Env() map[string]string {
	return map[string]string{"STORAGE_EMULATOR_HOST": g.Endpoint()}
}

// MakeBucket makes a bucket.
func (g *GCS) MakeBucket(ctx context.Context, name string) error {
	body := strings.NewReader(fmt.Sprintf(`{"name": %q}`, name))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, g.Endpoint()+"/storage/v1/b?project=lake", body)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	reply, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return fmt.Errorf("make bucket %s: %w", name, err)
	}
	if err := reply.Body.Close(); err != nil {
		return err
	}
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("make bucket %s: %s", name, reply.Status)
	}
	return nil
}
