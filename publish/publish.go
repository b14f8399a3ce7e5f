// Package publish writes plain copies of a table's dates for consumers that do
// not read Iceberg: a folder a date with Parquet, CSV or JSON lines, a manifest
// of counts and checksums, and _SUCCESS, which is written last.
//
// While there is a _SUCCESS in a folder, the folder holds the files of one
// publication and no others: it goes before anything else changes, and comes
// when the files of the one before are gone. It carries the publication's id. Who
// reads it before and after the files, and finds the same id, has read one
// version; who reads the files that the manifest names does so, too, or fails
// where they are gone. A run that was killed is continued by the next one.
package publish

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"lake/storage"
	"lake/table"
)

// Format is how rows are written.
type Format string

// The formats.
const (
	Parquet Format = "parquet"
	CSV     Format = "csv"   // RFC 4180 with a header; null is nothing, an empty text is ""
	JSONL   Format = "jsonl" // rows as rule answers have them
)

// Formats are all of them.
func Formats() []string { return []string{string(Parquet), string(CSV), string(JSONL)} }

// Options are where and how dates are published.
type Options struct {
	Pipeline    string
	FS          storage.FS     // of the folder; manifests and marks are in its usual class
	Data        storage.FS     // the same, in the class that the data has
	To          string         // URI of the folder that has the dates' folders
	Layout      Layout         // of their names
	Format      Format         //
	Class       string         // storage class of the data, as its store calls it; "": its own default
	Zone        *time.Location // of timestamps in CSV and JSON lines
	TargetBytes int64          // a file that reaches this size is completed
	MemoryBytes int64          // budget of the rows being written, not encoded
	Occupied    []Place        // folders of tables, checkpoints: a date's folder overlaps with none
	Now         func() time.Time
}

// Result is what became of one date.
type Result struct {
	Date    string `json:"date"`
	Folder  string `json:"folder"`
	State   string `json:"state"` // unchanged, completed or published
	Rows    int64  `json:"rows"`
	Files   int    `json:"files"`
	Bytes   int64  `json:"bytes"`
	Copied  int    `json:"copied_files,omitempty"` // of Files: the table's own, byte for byte
	Removed int    `json:"removed_files,omitempty"`
}

// Expected is what Run would do, as far as a plan tells.
func (p Plan) Expected() Result {
	r := Result{Date: dateText(p.Date), Folder: p.Folder, State: p.State, Rows: p.Rows}
	if p.State != Published {
		r.Files, r.Bytes = len(p.found.manifest.Files), p.found.manifest.Bytes
	}
	return r
}

// Run executes a plan. After an error, or a kill, the folder has no _SUCCESS, or
// the one that it had with all that belongs to it; the next Make goes on from there.
func Run(ctx context.Context, t *table.Table, p Plan, o Options) (Result, error) {
	r := p.Expected()
	var err error
	switch p.State {
	case Completed:
		r.Removed, err = complete(ctx, p, o, p.found.manifest)
	case Published:
		err = publish(ctx, t, p, o, &r)
	}
	if err != nil {
		return r, fmt.Errorf("publish %s to %s: %w", r.Date, p.Folder, err)
	}
	return r, nil
}

// publish writes all of a date anew.
func publish(ctx context.Context, t *table.Table, p Plan, o Options, r *Result) error {
	if !p.found.owned {
		mark, err := encode(owner{Version: ManifestVersion, Pipeline: o.Pipeline, Table: t.Name(), Date: r.Date})
		if err != nil {
			return err
		}
		if err := create(ctx, o.FS, p.Folder, ownerName, mark); err != nil {
			return err
		}
	}
	// From here on no reader takes the folder for whole.
	if err := o.FS.Remove(ctx, p.Folder+"/"+successName); err != nil {
		return err
	}
	id := make([]byte, 8)
	if _, err := rand.Read(id); err != nil {
		return err
	}
	m := &Manifest{Version: ManifestVersion, ID: hex.EncodeToString(id), Pipeline: o.Pipeline, Table: t.Name(), Date: r.Date, Snapshot: p.snapshot,
		Published: o.Now().UTC(), Format: o.Format, Class: o.Class, Columns: columnsOf(t, o.Layout), Content: p.content}
	for _, f := range p.files {
		m.DataFiles = append(m.DataFiles, f.Path)
	}
	w := &writer{ctx: ctx, options: o, table: t, plan: p, id: m.ID}
	if err := w.write(); err != nil {
		return errors.Join(err, w.abort())
	}
	m.Files = w.files
	for _, f := range m.Files {
		m.Rows += f.Rows
		m.Bytes += f.Bytes
	}
	if !w.deletes && m.Rows != p.Rows {
		return errors.Join(fmt.Errorf("its files hold %d rows and the table says %d; check the table with lake tables files", m.Rows, p.Rows), w.abort())
	}
	text, err := encode(m)
	if err != nil {
		return err
	}
	// The old files are still there: the old manifest is true until the new one is.
	if err := o.FS.Remove(ctx, p.Folder+"/"+manifestName); err != nil {
		return err
	}
	if err := create(ctx, o.FS, p.Folder, manifestName, text); err != nil {
		return err
	}
	r.Rows, r.Files, r.Bytes, r.Copied = m.Rows, len(m.Files), m.Bytes, w.copied
	r.Removed, err = complete(ctx, p, o, m)
	return err
}

// complete removes what is not in the manifest, and says that the folder is whole.
func complete(ctx context.Context, p Plan, o Options, m *Manifest) (removed int, err error) {
	if p.State == Completed { // else it is gone already
		if err := o.FS.Remove(ctx, p.Folder+"/"+successName); err != nil {
			return 0, err
		}
	}
	var others []string
	for _, info := range p.found.data {
		if !m.has(path.Base(info.URI)) {
			others = append(others, info.URI)
		}
	}
	if err := o.FS.Remove(ctx, append(others, p.found.rests...)...); err != nil {
		return 0, err
	}
	if err := create(ctx, o.FS, p.Folder, successName, []byte(m.ID+"\n")); err != nil {
		return 0, err
	}
	return len(others), alone(ctx, o, p.Folder, m)
}

// alone makes sure that no other run, which no lock kept away, published the
// same at the same time: a reader would find the files of both.
func alone(ctx context.Context, o Options, folder string, m *Manifest) error {
	foreign := ""
	err := o.FS.List(ctx, folder, func(info storage.Info) error {
		if name := path.Base(info.URI); dataName.MatchString(name) && !m.has(name) {
			foreign = name
		}
		return nil
	})
	if err != nil || foreign == "" {
		return err
	}
	err = fmt.Errorf("%w: %s is not of this one", ErrTogether, foreign)
	return errors.Join(err, o.FS.Remove(ctx, folder+"/"+successName))
}

// ErrTogether says that another run publishes to the same folder: what it leaves
// is not whole, and the next run mends it.
var ErrTogether = errors.New("another run publishes the same date")

func (m *Manifest) has(name string) bool {
	return slices.ContainsFunc(m.Files, func(f File) bool { return f.Name == name })
}

// create makes a small file, which must not be there.
func create(ctx context.Context, files storage.FS, folder, name string, data []byte) error {
	err := storage.WriteFile(ctx, files, folder+"/"+name, data)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: %s came meanwhile", ErrTogether, name)
	}
	return err
}
