package services

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// objectServer is what both object stores offer.
type objectServer interface {
	MakeBucket(ctx context.Context, name string) error
	Endpoint() string
	Data() string
	PID() int
	Kill() error
	Restart(ctx context.Context) error
	Suspend() error
	Resume() error
	Close() error
}

func TestObjectStores(t *testing.T) {
	for name, start := range map[string]func(context.Context, Options) (objectServer, error){
		"gcs": func(ctx context.Context, o Options) (objectServer, error) { return StartGCS(ctx, o) },
		"s3":  func(ctx context.Context, o Options) (objectServer, error) { return StartS3(ctx, o) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "server")
			s, err := start(t.Context(), Options{Dir: dir})
			canStart(t, err)
			require.NoError(t, s.MakeBucket(t.Context(), "kept"))
			require.DirExists(t, filepath.Join(s.Data(), "kept"))
			require.Error(t, s.MakeBucket(t.Context(), "kept"), "twice")
			endpoint, pid := s.Endpoint(), s.PID()
			require.NoError(t, s.Kill())
			require.Error(t, s.MakeBucket(t.Context(), "dead"))
			require.NoError(t, s.Restart(t.Context()))
			require.Equal(t, endpoint, s.Endpoint())
			require.NotEqual(t, pid, s.PID())
			require.Error(t, s.MakeBucket(t.Context(), "kept"), "the data stay")
			require.NoError(t, s.Suspend())
			require.NoError(t, s.Resume())
			require.NoError(t, s.MakeBucket(t.Context(), "more"))
			require.NoError(t, s.Close())
			require.DirExists(t, filepath.Join(dir, "data", "more"), "a folder that is given stays")

			temporary, err := start(t.Context(), Options{})
			require.NoError(t, err)
			data := temporary.Data()
			require.NoError(t, temporary.Close())
			_, err = os.Stat(data)
			require.ErrorIs(t, err, os.ErrNotExist)
		})
	}
}
