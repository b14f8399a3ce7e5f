package publish

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"lake/schemas"
	"lake/storage"
	"lake/table"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const day = int32(18961) // 2021-11-30

// world is a table and a folder for its publications.
type world struct {
	t       *testing.T
	catalog *table.Catalog
	table   *table.Table
	options Options
	seq     int64
}

func newWorld(t *testing.T, columns ...schemas.Field) *world {
	t.Helper()
	root := t.TempDir()
	c, err := table.OpenCatalog(t.Context(), table.CatalogConfig{Warehouse: filepath.Join(root, "warehouse")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	if len(columns) == 0 {
		columns = []schemas.Field{
			{Name: "id", Type: schemas.Type{Kind: schemas.Int64}, Required: true},
			{Name: "text", Type: schemas.Type{Kind: schemas.String}},
			{Name: "at", Type: schemas.Type{Kind: schemas.Timestamp}},
		}
	}
	columns = append(columns, schemas.Field{Name: "dt", Type: schemas.Type{Kind: schemas.Date}, Required: true})
	tbl, err := c.Create(t.Context(), "shop.events", table.Definition{Schema: schemas.Schema{Fields: columns},
		PartitionBy: []table.Partition{{Source: "dt", Transform: "identity", Name: "dt"}}})
	require.NoError(t, err)
	w := &world{t: t, catalog: c, table: tbl}
	kolkata, err := time.LoadLocation("Asia/Kolkata")
	require.NoError(t, err)
	w.options = Options{Pipeline: "p", FS: tbl.FS(), Data: tbl.FS(), To: filepath.Join(root, "out"), Format: Parquet, Zone: kolkata,
		TargetBytes: 512 << 20, MemoryBytes: 64 << 20, Now: func() time.Time { return time.Unix(1_700_000_000, 0) }}
	w.layout(DefaultLayout)
	return w
}

func (w *world) layout(text string) {
	w.t.Helper()
	var err error
	w.options.Layout, err = ParseLayout(text, w.table.Schema().Names())
	require.NoError(w.t, err)
}

// land adds a file with rows of a date: ids, texts "t<id>".
func (w *world) land(date int32, ids ...int64) {
	w.t.Helper()
	b := array.NewRecordBuilder(memory.DefaultAllocator, w.table.Schema().Arrow())
	defer b.Release()
	for _, id := range ids {
		b.Field(0).(*array.Int64Builder).Append(id)
		b.Field(1).(*array.StringBuilder).Append(fmt.Sprint("t", id))
		b.Field(2).(*array.TimestampBuilder).Append(arrow.Timestamp(int64(date)*86400e6 + id*1e6))
		b.Field(3).(*array.Date32Builder).Append(arrow.Date32(date))
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	w.landBatch(batch)
}

func (w *world) landBatch(batch arrow.RecordBatch) {
	w.t.Helper()
	w.seq++
	writer, err := w.table.NewWriter(table.WriterOptions{Name: fmt.Sprint("land-", w.seq)})
	require.NoError(w.t, err)
	require.NoError(w.t, writer.Write(w.t.Context(), batch))
	files, err := writer.Flush(w.t.Context())
	require.NoError(w.t, err)
	require.NoError(w.t, w.table.Append(w.t.Context(), "k", w.seq, files))
}

func (w *world) plan(date int32, o Options) (Plan, error) {
	w.t.Helper()
	current, ok := w.table.Current()
	require.True(w.t, ok)
	files, err := w.table.Files(w.t.Context(), table.FileFilter{Snapshot: current.ID, From: date, To: date + 1})
	require.NoError(w.t, err)
	return Make(w.t.Context(), w.table, current.ID, date, files, o)
}

func (w *world) run(date int32, o Options) (Result, error) {
	w.t.Helper()
	p, err := w.plan(date, o)
	if err != nil {
		return Result{}, err
	}
	return Run(w.t.Context(), w.table, p, o)
}

func (w *world) mustRun(date int32) Result {
	w.t.Helper()
	r, err := w.run(date, w.options)
	require.NoError(w.t, err)
	return r
}

func (w *world) folder(date int32) string {
	return filepath.Join(w.options.To, filepath.FromSlash(w.options.Layout.Folder(date)))
}

// read is what a reader finds who takes the folder as it lies there: nil where
// there is no _SUCCESS; else the ids in all files whose names engines read.
func (w *world) read(date int32) []int64 {
	w.t.Helper()
	folder := w.folder(date)
	success, err := os.ReadFile(filepath.Join(folder, successName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	require.NoError(w.t, err)
	var m Manifest
	data, err := os.ReadFile(filepath.Join(folder, manifestName))
	require.NoError(w.t, err)
	require.NoError(w.t, json.Unmarshal(data, &m))
	require.Equal(w.t, m.ID+"\n", string(success))
	entries, err := os.ReadDir(folder)
	require.NoError(w.t, err)
	var names, listed []string
	for _, e := range entries {
		if e.Name()[0] != '_' && e.Name()[0] != '.' {
			names = append(names, e.Name())
		}
	}
	ids := []int64{}
	for _, f := range m.Files {
		listed = append(listed, f.Name)
		data, err := os.ReadFile(filepath.Join(folder, f.Name))
		require.NoError(w.t, err)
		sum := sha256.Sum256(data)
		require.Equal(w.t, f.SHA256, hex.EncodeToString(sum[:]))
		require.EqualValues(w.t, f.Bytes, len(data))
		require.Equal(w.t, JSONL, m.Format, "this reader knows JSON lines only")
		for line := range strings.Lines(string(data)) {
			var row struct{ ID int64 }
			require.NoError(w.t, json.Unmarshal([]byte(line), &row))
			ids = append(ids, row.ID)
		}
		require.EqualValues(w.t, f.Rows, strings.Count(string(data), "\n"))
	}
	require.Equal(w.t, names, listed, "the folder has the files of one publication")
	require.EqualValues(w.t, m.Rows, len(ids))
	slices.Sort(ids)
	return ids
}

var errKilled = errors.New("killed")

// steps is a filesystem that tells of each change before and after it is made,
// and is dead from one of them on.
type steps struct {
	storage.FS
	left  int  // changes until the kill; negative: never
	after bool // the last change is made
	count int
	seen  func()
}

func (s *steps) step(change func() error) error {
	s.count++
	if s.left == 0 {
		return errKilled
	}
	if s.left--; s.left == 0 && !s.after {
		return errKilled
	}
	err := change()
	s.seen()
	if err == nil && s.left == 0 {
		err = errKilled
	}
	return err
}

func (s *steps) Remove(ctx context.Context, uris ...string) error {
	for _, uri := range uris {
		if err := s.step(func() error { return s.FS.Remove(ctx, uri) }); err != nil {
			return err
		}
	}
	return nil
}

func (s *steps) Create(ctx context.Context, uri string) (storage.Writer, error) {
	if s.left == 0 {
		return nil, errKilled
	}
	w, err := s.FS.Create(ctx, uri)
	return &stepWriter{w, s}, err
}

type stepWriter struct {
	storage.Writer
	steps *steps
}

func (w *stepWriter) Close() error { return w.steps.step(w.Writer.Close) }
func (w *stepWriter) Abort() error { return nil } // a dead process drops nothing

// Killed at each change that a publication makes, before and after it: a reader
// never finds a mixture, and the next run makes it whole.
func TestKilledAtEachStep(t *testing.T) {
	newer := []int64{1, 2, 3, 4}
	for _, first := range []bool{true, false} {
		for _, after := range []bool{false, true} {
			killed := 0
			for at := 1; ; at++ {
				w := newWorld(t)
				w.options.Format, w.options.TargetBytes = JSONL, 1 // a file a batch
				w.land(day, 1, 2)
				var older []int64
				if !first {
					older = []int64{1, 2}
					w.mustRun(day)
				}
				w.land(day, 3, 4)
				require.NoError(t, os.MkdirAll(w.folder(day), 0o755))
				require.NoError(t, os.WriteFile(filepath.Join(w.folder(day), storage.TempPrefix+"left"), nil, 0o644))
				changing := &steps{FS: w.options.FS, left: at, after: after, seen: func() {
					if got := w.read(day); got != nil {
						require.Contains(t, [][]int64{older, newer}, got)
					}
				}}
				o := w.options
				o.FS, o.Data = changing, changing
				_, err := w.run(day, o)
				if err == nil {
					require.Greater(t, killed, 5)
					require.Equal(t, newer, w.read(day))
					break
				}
				require.ErrorIs(t, err, errKilled)
				killed++
				if got := w.read(day); got != nil {
					require.Contains(t, [][]int64{older, newer}, got)
				}
				r := w.mustRun(day)
				require.Contains(t, []string{Completed, Published, Unchanged}, r.State)
				require.Equal(t, newer, w.read(day), "killed at change %d, after %v: %+v", at, after, r)

				quiet := &steps{FS: w.options.FS, left: -1, seen: func() { t.Error("a change where nothing is to do") }}
				o.FS, o.Data = quiet, quiet
				r, err = w.run(day, o)
				require.NoError(t, err)
				require.Equal(t, Unchanged, r.State)
				require.Zero(t, quiet.count)
				entries, err := os.ReadDir(w.folder(day))
				require.NoError(t, err)
				require.Len(t, entries, 3+2, "owner, manifest, _SUCCESS and two files")
			}
		}
	}
}

// What makes a date be published anew: a late row, a broken file, another form.
// Another date does not.
func TestUnchangedOrNot(t *testing.T) {
	w := newWorld(t)
	w.options.Format = JSONL
	w.land(day, 1, 2)
	w.land(day+1, 9)
	r := w.mustRun(day)
	require.Equal(t, Result{Date: "2021-11-30", Folder: w.options.To + "/data_2021_11_30", State: Published, Rows: 2, Files: 1, Bytes: r.Bytes}, r)
	r = w.mustRun(day)
	require.Equal(t, Unchanged, r.State)
	require.Equal(t, 1, r.Files)
	w.land(day+1, 10)
	require.Equal(t, Unchanged, w.mustRun(day).State, "another date's row")
	w.land(day, 3)
	require.Equal(t, Published, w.mustRun(day).State, "a late row")
	require.Equal(t, []int64{1, 2, 3}, w.read(day))

	names, err := filepath.Glob(filepath.Join(w.folder(day), "part-*"))
	require.NoError(t, err)
	require.Len(t, names, 1)
	require.NoError(t, os.Truncate(names[0], 10))
	require.Equal(t, Published, w.mustRun(day).State, "a file that is cut")
	require.Equal(t, []int64{1, 2, 3}, w.read(day))
	require.NoError(t, os.Remove(filepath.Join(w.folder(day), successName)))
	require.Equal(t, Completed, w.mustRun(day).State)
	require.NoError(t, os.WriteFile(filepath.Join(w.folder(day), manifestName), []byte("{"), 0o644))
	require.Equal(t, Published, w.mustRun(day).State)
	w.options.Format = CSV
	r = w.mustRun(day)
	require.Equal(t, Published, r.State, "another format")
	require.Equal(t, 1, r.Removed)
	left, err := filepath.Glob(filepath.Join(w.folder(day), "*.jsonl"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// Folders that are not this publication's stay as they are.
func TestRefused(t *testing.T) {
	w := newWorld(t)
	w.land(day, 1)
	refused := func(o Options, reason string) {
		t.Helper()
		before := tree(t, w.options.To)
		_, err := w.run(day, o)
		var r *Refused
		require.ErrorAs(t, err, &r)
		require.ErrorContains(t, err, reason)
		require.Equal(t, before, tree(t, w.options.To))
	}
	require.NoError(t, os.MkdirAll(w.folder(day), 0o755))
	mine := filepath.Join(w.folder(day), "mine.parquet")
	require.NoError(t, os.WriteFile(mine, []byte("x"), 0o644))
	refused(w.options, `it holds "mine.parquet" and 0 more that lake publish did not write`)
	require.NoError(t, os.Remove(mine))
	require.NoError(t, os.MkdirAll(filepath.Join(w.folder(day), "sub"), 0o755))
	inner := filepath.Join(w.folder(day), "sub", successName)
	require.NoError(t, os.WriteFile(inner, nil, 0o644))
	refused(w.options, `it holds "sub/_SUCCESS"`)
	require.NoError(t, os.Remove(inner))
	require.NoError(t, os.WriteFile(filepath.Join(w.folder(day), successName), nil, 0o644))
	refused(w.options, "it holds published files and no _LAKE.json")
	require.NoError(t, os.Remove(filepath.Join(w.folder(day), successName)))
	w.mustRun(day)
	other := w.options
	other.Pipeline = "q"
	refused(other, "it is that of job p, table shop.events, date 2021-11-30")

	// A newer lake's manifest is not replaced.
	manifest := filepath.Join(w.folder(day), manifestName)
	text, err := os.ReadFile(manifest)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(manifest, []byte(strings.Replace(string(text), `"version": 1`, `"version": 2`, 1)), 0o644))
	refused(w.options, "it is of version 2, this lake knows version 1")

	location := w.table.Location()
	for folder, overlaps := range map[string]bool{location: true, location + "/data": true, filepath.Dir(strings.TrimPrefix(location, "file://")): true, location + "_2": false, w.options.To: false} {
		err := checkPlace(w.table.FS(), folder, []Place{{What: "table shop.events", URI: location}})
		require.Equal(t, overlaps, err != nil, folder)
	}
}

func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		out[path] = string(data)
		return err
	}))
	return out
}

// Another run that no lock kept away: one of the two says so, and no _SUCCESS
// stands over the files of both.
func TestTogether(t *testing.T) {
	w := newWorld(t)
	w.options.Format = JSONL
	w.land(day, 1, 2)
	w.mustRun(day)
	w.land(day, 3)
	late, err := w.plan(day, w.options)
	require.NoError(t, err)
	w.mustRun(day)
	_, err = Run(t.Context(), w.table, late, w.options) // planned before the other ran
	require.ErrorIs(t, err, ErrTogether)
	require.Nil(t, w.read(day))
	r := w.mustRun(day)
	require.Equal(t, Completed, r.State)
	require.Equal(t, []int64{1, 2, 3}, w.read(day))
}

func TestLayouts(t *testing.T) {
	columns := []string{"id", "dt", "user"}
	for text, want := range map[string]string{"data_%Y_%m_%d": "data_2021_11_30", "dt=%Y-%m-%d": "dt=2021-11-30", "%Y/%m/%d": "2021/11/30",
		"a/dt=%F": "a/dt=2021-11-30", "day=%Y%m%d": "day=20211130", "%Y-%j": "2021-334"} {
		l, err := ParseLayout(text, columns)
		require.NoError(t, err, text)
		require.Equal(t, want, l.Folder(day))
		require.Equal(t, strings.Contains(text, "dt="), l.omits)
	}
	for text, reason := range map[string]string{"": "it is empty", "data_%Y_%m": "tells no full date", "dt=%Y_%m_%d": "hint: dt=%Y-%m-%d", "user=%Y-%m-%d": "would take the folder's user",
		"%Y-%m-%d_%H": "tells a time of day", "../%F": "a folder's name", "/%F": "a folder's name", "%F/": "a folder's name", "a b%F": "a folder's name", "_%F": "begins with _",
		"%F/.x": "begins with .", "%q": "unknown code", "x*%F": "a folder's name", "%s": "tells a time of day", "./%F": "a folder's name"} {
		_, err := ParseLayout(text, columns)
		require.ErrorContains(t, err, reason, text)
	}
}
