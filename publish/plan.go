package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"lake/storage"
	"lake/table"
)

// Refused says that a folder is not to be written to: it has files of others, or
// lies where tables lie. Nothing was changed.
type Refused struct {
	Folder, Reason, Hint string
}

// Error implements error.
func (r *Refused) Error() string {
	return fmt.Sprintf("publish to %s: %s; hint: %s", r.Folder, r.Reason, r.Hint)
}

// Place is a folder that publications stay out of.
type Place struct {
	What string // "table shop.events"
	URI  string
}

// checkPlace refuses a folder that lies within one of the places, or holds one.
func checkPlace(files storage.FS, folder string, places []Place) error {
	own, err := storage.Path(files, folder)
	if err != nil {
		return err
	}
	for _, p := range places {
		other, err := storage.Path(files, p.URI)
		if err != nil {
			return err
		}
		a, b := strings.TrimRight(own, "/")+"/", strings.TrimRight(other, "/")+"/"
		if strings.HasPrefix(a, b) || strings.HasPrefix(b, a) {
			return &Refused{Folder: own, Reason: "it overlaps with " + p.What + ", " + other, Hint: "publish somewhere else: --to, or another --layout"}
		}
	}
	return nil
}

// What becomes of a date's folder.
const (
	Unchanged = "unchanged" // it has this content
	Completed = "completed" // it has this content, and lacks the end of a run that was killed
	Published = "published" // it is written anew
)

// Plan is what is done for one date.
type Plan struct {
	Date   int32  // days since 1970
	Folder string // URI
	State  string // Unchanged, Completed or Published
	Rows   int64

	snapshot int64
	files    []table.File // the table's, of the date
	content  string
	found    found
}

// found is what a folder has.
type found struct {
	owned    bool
	manifest *Manifest
	success  string         // text of _SUCCESS
	marked   bool           // there is a _SUCCESS
	data     []storage.Info // data files of this package's making
	rests    []string       // URIs of unfinished files
}

// Folder is the URI of a date's folder.
func (o Options) Folder(date int32) (string, error) { return storage.Join(o.To, o.Layout.Folder(date)) }

// Make plans one date of a snapshot. files are the table's files of that date.
// It reads the date's folder and changes nothing. The error is a Refused where
// the folder is not this publication's to write.
func Make(ctx context.Context, t *table.Table, snapshot int64, date int32, files []table.File, o Options) (Plan, error) {
	folder, err := o.Folder(date)
	if err != nil {
		return Plan{}, err
	}
	if err := checkPlace(o.FS, folder, o.Occupied); err != nil {
		return Plan{}, err
	}
	p := Plan{Date: date, Folder: folder, snapshot: snapshot, files: files, content: content(files, columnsOf(t, o.Layout), o)}
	for _, f := range files {
		p.Rows += f.Rows
	}
	if p.found, err = look(ctx, o, folder, owner{Version: ManifestVersion, Pipeline: o.Pipeline, Table: t.Name(), Date: dateText(date)}); err != nil {
		return p, err
	}
	p.State = p.found.state(p.content)
	return p, nil
}

// state compares a folder with the content that it should have.
func (f found) state(content string) string {
	m := f.manifest
	if m == nil || m.Content != content {
		return Published
	}
	have := map[string]int64{}
	for _, info := range f.data {
		have[path.Base(info.URI)] = info.Bytes
	}
	for _, file := range m.Files {
		if size, ok := have[file.Name]; !ok || size != file.Bytes {
			return Published
		}
	}
	if f.marked && f.success == m.ID && len(f.data) == len(m.Files) {
		return Unchanged
	}
	return Completed
}

// look reads a folder and refuses one that has files of others.
func look(ctx context.Context, o Options, folder string, self owner) (found, error) {
	var f found
	var known []string
	refuse := func(reason, hint string) error { return &Refused{Folder: folder, Reason: reason, Hint: hint} }
	var foreign []string
	err := o.FS.List(ctx, folder, func(info storage.Info) error {
		name := strings.TrimPrefix(strings.TrimPrefix(info.URI, folder), "/")
		switch {
		case name == ownerName || name == manifestName || name == successName:
			known = append(known, name)
		case dataName.MatchString(name):
			f.data = append(f.data, info)
		case strings.HasPrefix(name, storage.TempPrefix) && !strings.Contains(name, "/"):
			f.rests = append(f.rests, info.URI)
		default:
			foreign = append(foreign, name)
		}
		return nil
	})
	if err != nil {
		return f, fmt.Errorf("look into %s: %w", folder, err)
	}
	if len(foreign) > 0 {
		slices.Sort(foreign)
		return f, refuse(fmt.Sprintf("it holds %q and %d more that lake publish did not write", foreign[0], len(foreign)-1), "publish somewhere else, or move them away")
	}
	var was owner
	data, err := read(ctx, o.FS, folder, ownerName)
	switch {
	case err != nil:
		return f, err
	case data == nil && len(known)+len(f.data) > 0:
		return f, refuse("it holds published files and no "+ownerName+" that says whose they are", "remove the folder if nobody needs it")
	case data == nil:
		return f, nil
	}
	if err := decode(data, &was, func(w *owner) int { return w.Version }); err != nil {
		return f, refuse(fmt.Sprintf("its %s cannot be read: %v", ownerName, err), "remove the folder if nobody needs it")
	}
	if was != self {
		return f, refuse(fmt.Sprintf("it is that of job %s, table %s, date %s", was.Pipeline, was.Table, was.Date), "another --to or --layout")
	}
	f.owned = true
	if data, err = read(ctx, o.FS, folder, manifestName); err != nil {
		return f, err
	}
	if data != nil {
		var m Manifest
		err := decode(data, &m, func(m *Manifest) int { return m.Version })
		var syntax *json.SyntaxError
		switch {
		case err == nil:
			f.manifest = &m
		case !errors.As(err, &syntax): // another lake's; one that is cut is written anew
			return f, refuse(fmt.Sprintf("its %s cannot be read: %v", manifestName, err), "publish with the lake that wrote it, or remove the folder")
		}
	}
	if data, err = read(ctx, o.FS, folder, successName); err != nil {
		return f, err
	}
	f.marked, f.success = data != nil, strings.TrimSpace(string(data))
	return f, nil
}

// read is a small file of the folder; nil where there is none.
func read(ctx context.Context, files storage.FS, folder, name string) ([]byte, error) {
	data, err := storage.ReadFile(ctx, files, folder+"/"+name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && data == nil {
		data = []byte{}
	}
	return data, err
}

// columnsOf are the columns that the files get.
func columnsOf(t *table.Table, l Layout) []Column {
	schema := t.Schema()
	var out []Column
	for _, name := range l.columns(schema) {
		out = append(out, Column{Name: name, Type: schema.Fields[schema.Index(name)].Type.String()})
	}
	return out
}
