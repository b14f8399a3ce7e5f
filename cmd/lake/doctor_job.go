package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"lake/storage"
	"lake/table"
)

// patients are all that the job connects to, in the way of the data. files has
// what its URIs name.
func (a *app) patients(r *resolved, files storage.FS) []patient {
	list := []patient{
		{"source " + r.source.kind, func(context.Context) (prober, io.Closer, error) {
			s, err := r.source.open(a, r, false)
			if err != nil {
				return nil, nil, err
			}
			p, _ := s.(prober)
			return p, s, nil
		}},
		probing("catalog", func(ctx context.Context, tell func(thing, found string, err error)) { tell(a.probeCatalog(ctx, r)) }),
		probing("warehouse", func(ctx context.Context, tell func(thing, found string, err error)) {
			found, err := probeStorage(ctx, files, r.warehouse)
			tell(r.warehouse, found, err)
		}),
	}
	if location := r.Table.Location.Value; location != "" {
		list = append(list, folderOf(files, "table", parentOf(r.location())))
	}
	for _, s := range r.sinks {
		kind, _, _ := strings.Cut(s.name, " ")
		list = append(list, patient{"output " + kind, func(context.Context) (prober, io.Closer, error) {
			sink, err := s.open(a, r)
			if err != nil {
				return nil, nil, err
			}
			p, _ := sink.(prober)
			return p, sink, nil
		}})
	}
	for _, l := range r.loads {
		list = append(list, probing("load", func(ctx context.Context, tell func(thing, found string, err error)) {
			found, err := l.probe(ctx, r)
			tell(l.name, found, err)
		}))
	}
	if to := r.Publish.To.Value; to != "" {
		if !strings.Contains(to, "://") {
			to = r.Resolve(to)
		}
		list = append(list, folderOf(files, "publish", to))
	}
	return list
}

// probing is a patient of one function.
func probing(role string, probe probeFunc) patient {
	return patient{role, func(context.Context) (prober, io.Closer, error) { return probe, nil, nil }}
}

// folderOf is a folder of any storage.
func folderOf(files storage.FS, role, uri string) patient {
	return probing(role, func(ctx context.Context, tell func(thing, found string, err error)) {
		found, err := probeStorage(ctx, files, uri)
		tell(uri, found, err)
	})
}

// parentOf is the folder that a table's folder lies in: what is tried there
// cannot be taken for the table's.
func parentOf(uri string) string {
	trimmed := strings.TrimRight(uri, "/")
	if at := strings.LastIndexByte(trimmed, '/'); at > 0 && !strings.HasSuffix(trimmed[:at], "/") {
		return trimmed[:at]
	}
	return trimmed
}

// probeCatalog tries the catalog's database, and the job's table in it.
func (a *app) probeCatalog(ctx context.Context, r *resolved) (thing, found string, err error) {
	cfg, err := r.catalogConfig()
	if err != nil {
		return "", "", err
	}
	if thing, found, err = table.ProbeCatalog(ctx, cfg); err != nil {
		return thing, found, err
	}
	if strings.Contains(found, "yet") {
		return thing, found, nil
	}
	t, err := a.openTable(ctx, r)
	var code *coded
	switch {
	case errors.Is(err, table.ErrNoTable), errors.As(err, &code) && code.code == exitPerson:
		return thing, found + ", not yet " + r.Table.Name.Value, nil
	case err != nil:
		return thing, "", err
	}
	line, err := summarize(ctx, t.Table)
	return thing, fmt.Sprintf("%s, %s with %s", found, r.Table.Name.Value, formatCounted(line.Rows, "row")), errors.Join(err, t.Close())
}

// probeStorage makes a file in a folder, reads it, lists it and removes it. Of a
// local folder that is not there yet it tries the nearest one above.
func probeStorage(ctx context.Context, files storage.FS, folder string) (found string, err error) {
	if !storage.IsRemote(folder) {
		path, err := storage.Path(files, folder)
		if err != nil {
			return "", err
		}
		for {
			_, err := os.Stat(path)
			parent := filepath.Dir(path)
			if !errors.Is(err, fs.ErrNotExist) || parent == path {
				break
			}
			path, found = parent, "not there yet: the run makes it"
		}
		folder = path
	}
	name, err := storage.Join(folder, ".lake-probe-"+uuid.NewString())
	if err != nil {
		return "", err
	}
	defer func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second) // also where ctx is over
		defer cancel()
		if removal := files.Remove(late, name); err == nil && removal != nil {
			err = removal
		}
		if errors.Is(err, fs.ErrPermission) && !strings.Contains(err.Error(), "hint:") {
			err = fmt.Errorf("%w; hint: the user that runs lake needs to write to %s: chown or chmod", err, folder)
		}
	}()
	if err := storage.WriteFile(ctx, files, name, []byte("lake")); err != nil {
		return "", err
	}
	data, err := storage.ReadFile(ctx, files, name)
	if err != nil {
		return "", err
	}
	if string(data) != "lake" {
		return "", fmt.Errorf("%s: what was written is not what is read", name)
	}
	if err := files.List(ctx, name, func(storage.Info) error { return nil }); err != nil {
		return "", err
	}
	if found == "" {
		found = "a file was made, read and removed"
	}
	return found, nil
}
