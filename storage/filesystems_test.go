package storage

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// elsewhere is a filesystem of URIs, kept in a local folder.
type elsewhere struct {
	Local
	folder string
	closed *int
}

func (e elsewhere) Create(ctx context.Context, uri string) (Writer, error) {
	return e.Local.Create(ctx, e.folder+uri[len("gs:/"):])
}

func (e elsewhere) Path(uri string) (string, error) { return "at " + uri, nil }

func (e elsewhere) Remove(ctx context.Context, uris ...string) error {
	for _, uri := range uris {
		if err := e.Local.Remove(ctx, e.folder+uri[len("gs:/"):]); err != nil {
			return err
		}
	}
	return nil
}

func (e elsewhere) Close() error { *e.closed++; return nil }

func TestFilesystems(t *testing.T) {
	root, far := t.TempDir(), t.TempDir()
	opened, closed, refuse := 0, 0, errors.New("no credentials")
	f := NewFilesystems(Local{Root: root}, map[string]Opener{
		"gs": func(context.Context) (FS, error) {
			opened++
			if opened == 1 {
				return nil, refuse
			}
			return elsewhere{folder: far, closed: &closed}, nil
		},
		"s3": func(context.Context) (FS, error) { return nil, errors.New("nobody asked for it") },
	})
	require.NoError(t, WriteFile(t.Context(), f, "file://"+root+"/a", nil))
	require.Zero(t, opened, "opened at its first use")
	err := WriteFile(t.Context(), f, "gs://bucket/x", nil)
	require.ErrorIs(t, err, refuse)
	require.ErrorContains(t, err, "gs://bucket/x")
	require.NoError(t, WriteFile(t.Context(), f, "gs://bucket/x", nil), "tried again")
	require.NoError(t, WriteFile(t.Context(), f, "GS://bucket/y", nil))
	require.Equal(t, 2, opened, "once for all URIs")
	require.FileExists(t, far+"/bucket/x")
	path, err := f.Path("gs://bucket/x")
	require.NoError(t, err)
	require.Equal(t, "at gs://bucket/x", path)
	path, err = f.Path("file://" + root + "/a")
	require.NoError(t, err)
	require.Equal(t, root+"/a", path)

	require.NoError(t, f.Remove(t.Context(), root+"/a", "gs://bucket/x", "file://"+root+"/none"))
	require.NoFileExists(t, root+"/a")
	require.NoFileExists(t, far+"/bucket/x")
	require.FileExists(t, far+"/bucket/y")

	_, err = f.Open(t.Context(), "ftp://host/x")
	require.ErrorIs(t, err, ErrScheme)
	require.ErrorContains(t, err, "file, gs, s3")
	require.NoError(t, f.Close())
	require.Equal(t, 1, closed)
	_, err = f.Stat(t.Context(), "gs://bucket/y")
	require.ErrorContains(t, err, "closed")
}
