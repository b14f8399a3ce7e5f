package files

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"lake/load"
	"lake/load/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answersIn reads a folder as a user would: *.jsonl by name.
func answersIn(t *testing.T, dir string) []sinktest.Answer {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	require.NoError(t, err)
	var out []sinktest.Answer
	for _, name := range names {
		parts := strings.Split(strings.TrimSuffix(filepath.Base(name), ".jsonl"), "-")
		require.Len(t, parts, 3, name)
		seq, err := strconv.ParseInt(parts[2], 10, 64)
		require.NoError(t, err)
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		require.True(t, strings.HasSuffix(string(data), "\n"), name)
		for line := range strings.SplitSeq(strings.TrimSuffix(string(data), "\n"), "\n") {
			var mark struct {
				Deleted bool `json:"_deleted"`
			}
			require.NoError(t, json.Unmarshal([]byte(line), &mark), line)
			out = append(out, sinktest.Answer{Rule: parts[0], Seq: seq, Deleted: mark.Deleted, Value: line})
		}
	}
	return out
}

func newSink(t *testing.T, cfg Config, opts Options) *Sink {
	t.Helper()
	s, err := New(cfg, opts)
	require.NoError(t, err)
	return s
}

func TestConformance(t *testing.T) {
	sinktest.Run(t, func(t *testing.T) sinktest.Harness {
		dir := t.TempDir()
		return sinktest.Harness{
			New: func(t *testing.T) load.Sink { return newSink(t, Config{Path: "deep/out"}, Options{Dir: dir}) },
			Read: func(t *testing.T) []sinktest.Answer {
				all, err := filepath.Glob(filepath.Join(dir, "deep/out/.*tmp"))
				require.NoError(t, err)
				require.Empty(t, all, "half-written files left")
				return answersIn(t, filepath.Join(dir, "deep/out"))
			},
		}
	})
}

func TestNames(t *testing.T) {
	require.Equal(t, "paid_user-all-000000000042.jsonl", Name("paid_user", "all", 42))
	require.Equal(t, "r-Events%2F0-000000000001.jsonl", Name("r", "Events/0", 1))
	require.Equal(t, "r-%2E.%2F%00%C3%A9%2D%25-000000000001.jsonl", Name("r", "../\x00é-%", 1))
	require.NotEqual(t, Name("a-b", "c", 1), Name("a", "b-c", 1))
	require.Less(t, Name("r", "all", 9), Name("r", "all", 10))
}

// answers makes one rule's answers: user, n.
func answers(t *testing.T, mem memory.Allocator, rule string, names []string, rows [][]int64, deleted []bool) load.Answers {
	var fields []arrow.Field
	for _, name := range names {
		fields = append(fields, arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Int64})
	}
	b := array.NewRecordBuilder(mem, arrow.NewSchema(fields, nil))
	defer b.Release()
	keys := array.NewStringBuilder(mem)
	defer keys.Release()
	for _, row := range rows {
		for i, v := range row {
			b.Field(i).(*array.Int64Builder).Append(v)
		}
		keys.Append(strconv.FormatInt(row[0], 10))
	}
	a := load.Answers{Rule: rule, Rows: b.NewRecordBatch(), Keys: keys.NewStringArray(), Deleted: deleted}
	t.Cleanup(func() { a.Rows.Release(); a.Keys.Release() })
	return a
}

func checked(t *testing.T) memory.Allocator {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	t.Cleanup(func() { mem.AssertSize(t, 0) })
	return mem
}

func read(t *testing.T, elements ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(elements...))
	require.NoError(t, err)
	return string(data)
}

func TestForms(t *testing.T) {
	mem := checked(t)
	a := answers(t, mem, "r", []string{"user", "n"}, [][]int64{{1, 9}, {2, 3}}, []bool{false, true})
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"plain":              {Config{}, `{"user":1,"n":9}` + "\n" + `{"user":2,"n":3,"_deleted":true}` + "\n"},
		"key":                {Config{Key: []string{"user"}}, `{"user":1,"n":9}` + "\n" + `{"user":2,"_deleted":true}` + "\n"},
		"rename":             {Config{Rename: map[string]string{"user": "user.id"}, Key: []string{"user"}}, `{"user.id":1,"n":9}` + "\n" + `{"user.id":2,"_deleted":true}` + "\n"},
		"rename of no key":   {Config{Rename: map[string]string{"n": "count"}, Key: []string{"user"}}, `{"user":1,"count":9}` + "\n" + `{"user":2,"_deleted":true}` + "\n"},
		"rename and no key":  {Config{Rename: map[string]string{"n": "count"}}, `{"user":1,"count":9}` + "\n" + `{"user":2,"count":3,"_deleted":true}` + "\n"},
		"key in other order": {Config{Key: []string{"n", "user"}}, `{"user":1,"n":9}` + "\n" + `{"n":3,"user":2,"_deleted":true}` + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c.cfg.Path = t.TempDir()
			s := newSink(t, c.cfg, Options{Zone: "Asia/Kolkata"})
			_, err := s.Open(t.Context(), "p", "all", 1)
			require.NoError(t, err)
			require.NoError(t, s.Deliver(t.Context(), load.Delivery{Pipeline: "p", Shard: "all", Epoch: 1, Seq: 7, Answers: []load.Answers{a}}))
			require.Equal(t, c.want, read(t, c.cfg.Path, "r-all-000000000007.jsonl"))
		})
	}
}

func TestRefusals(t *testing.T) {
	mem := checked(t)
	deliver := func(cfg Config, a load.Answers) error {
		cfg.Path = t.TempDir()
		s := newSink(t, cfg, Options{})
		_, err := s.Open(t.Context(), "p", "all", 1)
		require.NoError(t, err)
		err = s.Deliver(t.Context(), load.Delivery{Shard: "all", Epoch: 1, Seq: 7, Answers: []load.Answers{a}})
		left, globErr := filepath.Glob(filepath.Join(cfg.Path, "*r-*"))
		require.NoError(t, globErr)
		require.Empty(t, left)
		return err
	}
	rows := [][]int64{{1, 2}}
	require.ErrorContains(t, deliver(Config{Key: []string{"x"}}, answers(t, mem, "r", []string{"a", "b"}, rows, nil)), `rule r: key column "x" is none of its columns`)
	require.ErrorContains(t, deliver(Config{}, answers(t, mem, "r", []string{"a", "_deleted"}, rows, nil)), `column "_deleted" has the name of the mark`)
	require.ErrorContains(t, deliver(Config{Rename: map[string]string{"b": "_deleted"}}, answers(t, mem, "r", []string{"a", "b"}, rows, nil)), `column "b" has the name of the mark`)
	require.NoError(t, func() error {
		cfg := Config{Path: t.TempDir(), Rename: map[string]string{"_deleted": "gone"}}
		s := newSink(t, cfg, Options{})
		_, err := s.Open(t.Context(), "p", "all", 1)
		require.NoError(t, err)
		return s.Deliver(t.Context(), load.Delivery{Shard: "all", Epoch: 1, Answers: []load.Answers{answers(t, mem, "r", []string{"a", "_deleted"}, rows, nil)}})
	}())
	require.ErrorContains(t, deliver(Config{}, answers(t, mem, "../r", []string{"a", "b"}, rows, nil)), `rule "../r" cannot be part of a file's name`)
	_, err := New(Config{}, Options{})
	require.ErrorContains(t, err, "path is missing")
	_, err = New(Config{Path: "x"}, Options{Zone: "Mars/Olympus"})
	require.ErrorContains(t, err, "zone: ")
}

func TestFolderHasOneOwner(t *testing.T) {
	dir := t.TempDir()
	open := func(pipeline string) error {
		_, err := newSink(t, Config{Path: dir}, Options{}).Open(t.Context(), pipeline, "all", 1)
		return err
	}
	require.NoError(t, open("one"))
	require.NoError(t, open("one"))
	require.EqualError(t, open("two"), "open output files: "+dir+` has the answers of pipeline "one"; hint: give pipeline "two" a folder of its own, or remove this one`)
}

// What a killed owner left half-written goes when the next one opens; a present
// one's, another shard's and the user's files stay.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".r-all-000000000001.1.tmp", ".r-all-000000000002.5.tmp", ".r-Events%2F0-000000000001.1.tmp", ".r.tmp", "r-all-000000000001.1.tmp", ".mine-all.tmp"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
	}
	_, err := newSink(t, Config{Path: dir}, Options{}).Open(t.Context(), "p", "all", 5)
	require.NoError(t, err)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	require.Equal(t, []string{".lake-pipeline", ".mine-all.tmp", ".r-Events%2F0-000000000001.1.tmp", ".r-all-000000000002.5.tmp", ".r.tmp", "r-all-000000000001.1.tmp"}, left)
}

// All files of a delivery are written before the first appears.
func TestNothingAppearsOfAFailedDelivery(t *testing.T) {
	mem := checked(t)
	dir := t.TempDir()
	s := newSink(t, Config{Path: dir, Key: []string{"user"}}, Options{})
	_, err := s.Open(t.Context(), "p", "all", 1)
	require.NoError(t, err)
	good := answers(t, mem, "good", []string{"user"}, [][]int64{{1}}, nil)
	bad := answers(t, mem, "bad", []string{"other"}, [][]int64{{1}}, nil)
	require.Error(t, s.Deliver(t.Context(), load.Delivery{Shard: "all", Epoch: 1, Seq: 1, Answers: []load.Answers{good, bad}}))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "the mark of the folder's owner")

	require.NoError(t, os.RemoveAll(dir))
	err = s.Deliver(t.Context(), load.Delivery{Shard: "all", Epoch: 1, Seq: 1, Answers: []load.Answers{good}})
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "deliver seq 1 to "+dir+": rule good: open ")

	over, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.Open(over, "p", "all", 1)
	require.ErrorIs(t, err, context.Canceled)
}
