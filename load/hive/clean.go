package hive

import (
	"context"
	"path"
	"slices"
	"strings"
	"time"

	"lake/load"
	"lake/storage"
)

// loadFiles is what lies in one load's folder.
type loadFiles struct {
	name   string
	uris   []string
	marked time.Time // when it was put in its place; zero where it was not
	newest time.Time
}

// clean removes files of earlier loads: of this partition, and once after Held
// of all that it was asked for.
func (w *Warehouse) clean(ctx context.Context, p placement) error {
	live := map[string][]string{}
	under := w.partitionFolder(p.Name)
	if w.held != nil {
		live, under = w.held, w.location()
		w.held = nil
	}
	live[p.Name] = []string{path.Base(p.folder)}
	found := map[string]map[string]*loadFiles{} // by partition and folder
	err := w.files.List(ctx, under, func(i storage.Info) error {
		partition, folder, ok := w.belongs(i.URI)
		if _, asked := live[partition]; !ok || !asked {
			return nil
		}
		if found[partition] == nil {
			found[partition] = map[string]*loadFiles{}
		}
		f := found[partition][folder]
		if f == nil {
			f = &loadFiles{name: folder}
			found[partition][folder] = f
		}
		f.uris = append(f.uris, i.URI)
		if i.Modified.After(f.newest) {
			f.newest = i.Modified
		}
		if path.Base(i.URI) == markerFile {
			f.marked = i.Modified
		}
		return nil
	})
	if err != nil {
		return err
	}
	var gone []string
	for partition, folders := range found {
		for _, f := range replaced(folders, live[partition], time.Now().Add(-w.cfg.grace())) {
			gone = append(gone, f.uris...)
		}
	}
	return w.files.Remove(ctx, gone...)
}

// belongs tells the partition and the load's folder of a file below the location.
func (w *Warehouse) belongs(uri string) (partition, folder string, ok bool) {
	rest, ok := strings.CutPrefix(pathOf(uri), pathOf(w.location())+"/")
	if !ok {
		return "", "", false
	}
	parts := strings.Split(rest, "/")
	partition = load.All
	if w.target.DateColumn != "" {
		if partition, ok = strings.CutPrefix(parts[0], w.target.DateColumn+"="); !ok {
			return "", "", false
		}
		parts = parts[1:]
	}
	if len(parts) != 2 || !loadFolder.MatchString(parts[0]) {
		return "", "", false
	}
	return partition, parts[0], true
}

// replaced are the folders that nobody reads any more: not the live load's, and
// replaced before a moment, which the next one's mark tells. Where the target
// has no rows the live one is the last that was marked. One that never was in
// its place is a load that ended before, or one that is under way.
func replaced(folders map[string]*loadFiles, live []string, before time.Time) []*loadFiles {
	var marked, gone []*loadFiles
	for _, f := range folders {
		switch {
		case !f.marked.IsZero():
			marked = append(marked, f)
		case !slices.Contains(live, f.name) && f.newest.Before(before):
			gone = append(gone, f)
		}
	}
	slices.SortFunc(marked, func(a, b *loadFiles) int { return a.marked.Compare(b.marked) })
	for i, f := range marked {
		if i+1 < len(marked) && !slices.Contains(live, f.name) && marked[i+1].marked.Before(before) {
			gone = append(gone, f)
		}
	}
	return gone
}
