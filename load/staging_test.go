package load

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"lake/schemas"
	"lake/storage"
	"lake/table/parquet"
)

// reader is a target that notes what it is given.
type reader struct {
	Warehouse
	loads []Load
	texts []string
	fail  error
	end   func() // in the middle of a load
}

func (r *reader) Prepare(context.Context, Table) (string, error) { return "1", nil }

func (r *reader) Replace(ctx context.Context, l Load) (Held, error) {
	r.loads = append(r.loads, l)
	for _, f := range l.Files {
		data, err := os.ReadFile(f.URI)
		if err != nil {
			return Held{}, err
		}
		r.texts = append(r.texts, string(data))
	}
	if r.end != nil {
		r.end()
		return Held{}, context.Cause(ctx)
	}
	return Held{ID: l.ID, Rows: l.Rows}, r.fail
}

func names(t *testing.T, dir string) []string {
	var found []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = append(found, filepath.Base(path))
		}
		return err
	}))
	return found
}

func TestStaging(t *testing.T) {
	source, folder := t.TempDir(), t.TempDir()
	path := func(name string) string {
		file := filepath.Join(source, name)
		require.NoError(t, os.WriteFile(file, []byte("rows of "+name), 0o644))
		return file
	}
	target := &reader{}
	staging := func() *Staging {
		return &Staging{Warehouse: target, Files: storage.Local{}, Folder: folder, Target: "bigquery p.d.events", Reads: func(uri string) bool { return strings.HasSuffix(uri, "b") }}
	}
	l := Load{ID: strings.Repeat("a", 24), Partition: Partition{Name: All, Rows: 3, Files: []File{{URI: path("a"), Rows: 1}, {URI: path("b"), Rows: 1}, {URI: path("c"), Rows: 1}}}}
	held, err := staging().Replace(t.Context(), l)
	require.NoError(t, err)
	require.Equal(t, Held{ID: l.ID, Rows: 3}, held)
	require.Equal(t, []string{"rows of a", "rows of b", "rows of c"}, target.texts)
	given := target.loads[0].Files
	require.Equal(t, l.Files[1].URI, given[1].URI, "what the target reads itself stays where it is")
	require.Equal(t, []string{"00000.parquet", "00002.parquet"}, []string{filepath.Base(given[0].URI), filepath.Base(given[2].URI)})
	require.Contains(t, given[0].URI, l.ID)
	require.EqualValues(t, 9, given[0].Bytes)
	require.Equal(t, filepath.Join(source, "a"), l.Files[0].URI, "the caller's load is as it was")
	require.Empty(t, names(t, folder))

	target.fail = errors.New("refused")
	_, err = staging().Replace(t.Context(), l)
	require.ErrorIs(t, err, target.fail)
	require.Empty(t, names(t, folder), "it is cleaned after a load that failed, too")
	target.fail = nil
	broken := l
	broken.Files = append(broken.Files[:1:1], File{URI: filepath.Join(source, "none")})
	_, err = staging().Replace(t.Context(), broken)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Empty(t, names(t, folder))
}

// A run that ends in the middle of a load leaves the copies to what the target
// still does with them. The next run of the load uses them, another one removes them.
func TestStagingOfKilledRuns(t *testing.T) {
	source, folder := t.TempDir(), t.TempDir()
	file := filepath.Join(source, "a")
	require.NoError(t, os.WriteFile(file, []byte("rows"), 0o644))
	target := &reader{}
	run := func(name, id string) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		target.end = cancel
		s := &Staging{Warehouse: target, Files: storage.Local{}, Folder: folder, Target: name}
		_, err := s.Replace(ctx, Load{ID: strings.Repeat(id, 24), Partition: Partition{Files: []File{{URI: file}}}})
		require.ErrorIs(t, err, context.Canceled)
	}
	run("one", "a")
	run("other", "a")
	require.Equal(t, []string{"00000.parquet", "00000.parquet"}, names(t, folder))
	copied := target.loads[0].Files[0].URI
	before, err := os.Stat(copied)
	require.NoError(t, err)
	run("one", "a")
	after, err := os.Stat(copied)
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after), "the copy is used again")
	target.end = nil
	s := &Staging{Warehouse: target, Files: storage.Local{}, Folder: folder, Target: "one"}
	_, err = s.Replace(t.Context(), Load{ID: strings.Repeat("b", 24), Partition: Partition{Files: []File{{URI: file}}}})
	require.NoError(t, err)
	require.Equal(t, []string{"00000.parquet"}, names(t, folder), "the other target's is not touched")
	require.NoFileExists(t, copied)
}

func TestStagingAsJSON(t *testing.T) {
	dir, folder := t.TempDir(), t.TempDir()
	kinds := []string{"int64", "string", "json", "uuid", "decimal(10,2)", "timestamp", "list<int64>", "bytes", "float64"}
	var schema schemas.Schema
	for _, k := range kinds {
		typ, err := schemas.ParseType(k)
		require.NoError(t, err)
		schema.Fields = append(schema.Fields, schemas.Field{Name: string(rune('a' + len(schema.Fields))), Type: typ})
	}
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema.Arrow(), strings.NewReader(
		`[{"a": 9007199254740993, "b": "x\n", "c": "{\"k\": [1]}", "d": "AAECAwQFBgcICQoLDA0ODw==", "e": "1.50", "f": "2021-11-30T12:00:00.000001Z", "g": [1, 2], "h": "AP8=", "i": 0.1}, {}]`))
	require.NoError(t, err)
	defer batch.Release()
	var data bytes.Buffer
	w, err := parquet.NewWriter(&data, batch.Schema(), parquet.Options{})
	require.NoError(t, err)
	require.NoError(t, w.Append(batch, nil))
	_, err = w.Close()
	require.NoError(t, err)
	file := filepath.Join(dir, "a.parquet")
	require.NoError(t, os.WriteFile(file, data.Bytes(), 0o644))
	target := &reader{}
	s := &Staging{Warehouse: target, Files: storage.Local{}, Folder: folder, Target: "t", JSON: true, Reads: func(string) bool { return true }}
	wider := schema
	wider.Fields = append(wider.Fields[:len(kinds):len(kinds)], schemas.Field{Name: "new", Type: schemas.Type{Kind: schemas.String}})
	_, err = s.Prepare(t.Context(), Table{Schema: wider})
	require.NoError(t, err)
	l := Load{ID: strings.Repeat("a", 24), Partition: Partition{Rows: 2, Files: []File{{URI: file, Rows: 2}}}}
	_, err = s.Replace(t.Context(), l)
	require.NoError(t, err)
	require.Equal(t, []string{`{"a":9007199254740993,"b":"x\n","c":{"k": [1]},"d":"00010203-0405-0607-0809-0a0b0c0d0e0f","e":"1.50","f":"2021-11-30T12:00:00.000001Z","g":[1,2],"h":"AP8=","i":0.1}
{"a":null,"b":null,"c":null,"d":null,"e":null,"f":null,"g":null,"h":null,"i":null}
`}, target.texts)
	require.True(t, strings.HasSuffix(target.loads[0].Files[0].URI, "00000.jsonl"))
	l.Files[0].Rows = 3
	_, err = s.Replace(t.Context(), l)
	require.ErrorIs(t, err, ErrRejected)
	require.Empty(t, names(t, folder))
}
