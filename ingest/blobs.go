package ingest

import (
	"context"
	"errors"
	"io"
	"net/url"
	"path"

	"lake/storage"
)

// Blobs is the folder of a pipeline's checkpoint files. It lies outside every
// table's location, or orphan clean-up would delete them.
type Blobs struct {
	FS     storage.FS
	Folder string // URI
}

// of is the folder of a shard, which its owner alone cleans.
func (b Blobs) of(shard string) Blobs {
	return Blobs{FS: b.FS, Folder: b.Folder + "/" + url.PathEscape(shard)}
}

func (b Blobs) uri(name string) string { return b.Folder + "/" + name }

// create makes name durable, whole or not at all; the name is new.
func (b Blobs) create(ctx context.Context, name string, data []byte) error {
	w, err := b.FS.Create(ctx, b.uri(name))
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return errors.Join(err, w.Abort())
	}
	return w.Close()
}

func (b Blobs) read(ctx context.Context, name string) ([]byte, error) {
	f, err := b.FS.Open(ctx, b.uri(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data := make([]byte, f.Size())
	_, err = io.ReadFull(f, data)
	return data, err
}

func (b Blobs) names(ctx context.Context) (names []string, err error) {
	err = b.FS.List(ctx, b.Folder, func(i storage.Info) error {
		names = append(names, path.Base(i.URI))
		return nil
	})
	return names, err
}

func (b Blobs) remove(ctx context.Context, name string) error {
	return b.FS.Remove(ctx, b.uri(name))
}
