package services

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// gcsVersion is fake-gcs-server's, the emulator of Google Cloud Storage.
const gcsVersion = "v1.56.1"

// GCS is fake-gcs-server, which keeps objects as files. It takes 0.1 s and 30 MB.
// It looks at preconditions of uploads only, and keeps no lifecycle and no
// classes of buckets. Its methods may be called at the same time.
type GCS struct{ objects }

// StartGCS starts an emulator of Google Cloud Storage and waits until it
// answers. Clients reach it by STORAGE_EMULATOR_HOST=<Endpoint>. The caller closes it.
func StartGCS(ctx context.Context, o Options) (*GCS, error) {
	program, err := goProgram(ctx, "fake-gcs-server", "github.com/fsouza/fake-gcs-server", gcsVersion, o)
	if err != nil {
		return nil, fmt.Errorf("start fake-gcs-server: %w", err)
	}
	g, err := attempts("fake-gcs-server", o, func(h home) (*GCS, error) {
		g := &GCS{newObjects("fake-gcs-server", h)}
		return g, g.first(ctx, storeProgram{long: o.Long, healthy: "/_internal/healthcheck", makeBucket: g.MakeBucket, command: func(s *objects) command {
			args := []string{program, "-scheme", "http", "-host", "127.0.0.1", "-port", fmt.Sprint(s.port), "-backend", "filesystem",
				"-filesystem-root", s.Data(), "-public-host", fmt.Sprint("127.0.0.1:", s.port), "-external-url", s.Endpoint(), "-log-level", "warn"}
			for key, value := range o.Settings {
				args = append(args, "-"+key, value)
			}
			return command{args: args}
		}})
	})
	if err != nil {
		return nil, fmt.Errorf("start fake-gcs-server: %w", err)
	}
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
