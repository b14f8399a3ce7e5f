package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"lake/ingest"
	"lake/ingest/sourcetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

func grow(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(text)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func gzipOf(t *testing.T, text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.String()
}

func zstdOf(t *testing.T, text string) string {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b)
	require.NoError(t, err)
	_, err = w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.String()
}

func newSource(t *testing.T, opts Options, paths ...string) *Source {
	t.Helper()
	s, err := New(Config{Paths: paths}, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// run is what a source gave until its end or its error.
type run struct {
	records []string // path:offset:text
	offsets ingest.Offsets
	err     error
}

// read reads s up to io.EOF, which becomes nil, or an error.
func read(t *testing.T, s *Source, from ingest.Offsets) run {
	t.Helper()
	r := run{offsets: ingest.Offsets{}}
	for p, position := range from {
		r.offsets[p] = position
	}
	if from != nil {
		if r.err = s.Seek(t.Context(), from); r.err != nil {
			return r
		}
	}
	for {
		b, err := s.Poll(t.Context())
		if errors.Is(err, io.EOF) {
			return r
		}
		if err != nil {
			r.err = err
			return r
		}
		for i, record := range b.Records {
			r.records = append(r.records, fmt.Sprintf("%s:%d:%s", b.Partition, b.Offsets[i], record))
		}
		r.offsets[b.Partition] = b.Position
		if b.Release != nil {
			b.Release()
		}
	}
}

func TestConformance(t *testing.T) {
	t.Run("plain", func(t *testing.T) {
		sourcetest.Run(t, func(t *testing.T) sourcetest.Harness {
			dir := t.TempDir()
			want := sourcetest.Records{}
			for _, name := range []string{"in/a.jsonl", "in/b.jsonl", "in/deep/c.jsonl"} {
				for i := range 40 {
					want[name] = append(want[name], fmt.Sprintf(`{"file":%q,"row":%d}`, name, i))
				}
				write(t, filepath.Join(dir, name), strings.Join(want[name], "\n")+"\n")
			}
			write(t, filepath.Join(dir, "in/empty.jsonl"), "")
			make := func(follow bool) func(t *testing.T) ingest.Source {
				return func(t *testing.T) ingest.Source {
					s, err := New(Config{Paths: []string{"in/**/*.jsonl"}},
						Options{Dir: dir, Follow: follow, PollInterval: time.Millisecond, ChunkBytes: 128})
					require.NoError(t, err)
					return s
				}
			}
			round := 0
			return sourcetest.Harness{Bounded: make(false), Follow: make(true), Want: want,
				Grow: func(t *testing.T) sourcetest.Records {
					round++
					name := fmt.Sprintf("in/new-%d.jsonl", round)
					more := fmt.Sprintf(`{"grown":%d}`, round)
					grow(t, filepath.Join(dir, "in/a.jsonl"), more+"\n")
					write(t, filepath.Join(dir, name), more+"\n"+more+"\n")
					return sourcetest.Records{"in/a.jsonl": {more}, name: {more, more}}
				}}
		})
	})
	t.Run("compressed", func(t *testing.T) {
		sourcetest.Run(t, func(t *testing.T) sourcetest.Harness {
			dir := t.TempDir()
			want := sourcetest.Records{}
			text := func(name string) string {
				for i := range 40 {
					want[name] = append(want[name], fmt.Sprintf(`{"file":%q,"row":%d}`, name, i))
				}
				return strings.Join(want[name], "\n") + "\n"
			}
			write(t, filepath.Join(dir, "a.json"), gzipOf(t, text("a.json")))
			write(t, filepath.Join(dir, "b.json"), zstdOf(t, text("b.json")))
			members := text("c.json") // two gzip members, parted within a line
			write(t, filepath.Join(dir, "c.json"), gzipOf(t, members[:100])+gzipOf(t, members[100:]))
			make := func(follow bool) func(t *testing.T) ingest.Source {
				return func(t *testing.T) ingest.Source {
					s, err := New(Config{Paths: []string{dir + "/*.json"}}, Options{Follow: follow, PollInterval: time.Millisecond, ChunkBytes: 128})
					require.NoError(t, err)
					return s
				}
			}
			absolute := sourcetest.Records{}
			for name, records := range want {
				absolute[filepath.Join(dir, name)] = records
			}
			round := 0
			return sourcetest.Harness{Bounded: make(false), Follow: make(true), Want: absolute, EndUnread: true,
				Grow: func(t *testing.T) sourcetest.Records {
					round++
					name := filepath.Join(dir, fmt.Sprintf("new-%d.json", round))
					more := fmt.Sprintf(`{"grown":%d}`, round)
					write(t, filepath.Join(dir, "part"), gzipOf(t, more+"\n"))
					require.NoError(t, os.Rename(filepath.Join(dir, "part"), name))
					return sourcetest.Records{name: {more}}
				}}
		})
	})
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", 20)
	cases := []struct {
		name, text string
		want       []string
		next       int64
	}{
		{"lines", "a\nbb\nccc\n", []string{"f:0:a", "f:2:bb", "f:5:ccc"}, 9},
		{"carriage returns", "a\r\nb\r\n", []string{"f:0:a", "f:3:b"}, 6},
		{"empty lines are no records", "\n\r\na\n\n\nb\n\n", []string{"f:3:a", "f:7:b"}, 10},
		{"byte order mark", "\xef\xbb\xbfa\nb\n", []string{"f:3:a", "f:5:b"}, 7},
		{"byte order mark only", "\xef\xbb\xbf", nil, 3},
		{"no last end", "a\nb", []string{"f:0:a", "f:2:b"}, 3},
		{"no last end, one line", "\xef\xbb\xbfb", []string{"f:3:b"}, 4},
		{"no last end but a carriage return", "a\r", []string{"f:0:a"}, 2},
		{"empty", "", nil, 0},
		{"line feeds", "\n\n\n", nil, 3},
		{"as long as may be", long[:10] + "\nb\n", []string{"f:0:" + long[:10], "f:11:b"}, 13},
		{"as long as may be with a carriage return", long[:10] + "\r\nb\n", []string{"f:0:" + long[:10], "f:12:b"}, 14},
		{"one byte too long", long[:11] + "\nb\n", []string{"f:0:" + long[:11], "f:12:b"}, 14},
		{"too long", long + "\nb\n" + long + "\nc\n", []string{"f:0:" + long[:11], "f:21:b", "f:23:" + long[:11], "f:44:c"}, 46},
		{"too long behind a byte order mark", "\xef\xbb\xbf" + long + "\nb\n", []string{"f:3:" + long[:11], "f:24:b"}, 26},
		{"too long and last", "a\n" + long + long, []string{"f:0:a", "f:2:" + long[:11]}, 42},
		{"invalid UTF-8 is the decoder's business", "\xff\xfe\n\x00\n", []string{"f:0:\xff\xfe", "f:3:\x00"}, 5},
	}
	for _, c := range cases {
		for _, chunk := range []int{1, 2, 3, 7, 16, 1 << 20} {
			for pack, packed := range map[string]string{"plain": c.text, "gzip": gzipOf(t, c.text), "zstd": zstdOf(t, c.text)} {
				t.Run(fmt.Sprintf("%s/%d/%s", c.name, chunk, pack), func(t *testing.T) {
					dir := t.TempDir()
					write(t, filepath.Join(dir, "f"), packed)
					r := read(t, newSource(t, Options{Dir: dir, ChunkBytes: chunk, MaxRecordBytes: 10}, "f"), nil)
					require.NoError(t, r.err)
					require.Equal(t, c.want, r.records)
					require.Equal(t, c.next, r.offsets["f"].Next)
					require.EqualValues(t, len(c.want), r.offsets["f"].Records)
				})
			}
		}
	}
}

// A line of 100 MB must cost neither its size in memory nor the lines around it.
func TestLongLineIsBounded(t *testing.T) {
	const length, most = 100 << 20, 1 << 20
	dir := t.TempDir()
	write(t, filepath.Join(dir, "plain"), "a\n")
	require.NoError(t, os.Truncate(filepath.Join(dir, "plain"), 2+length)) // zeros, which cost no disk
	grow(t, filepath.Join(dir, "plain"), "\nb\n")
	part := zstdOf(t, strings.Repeat("y", 1<<20))
	write(t, filepath.Join(dir, "packed"), zstdOf(t, "a\n")+strings.Repeat(part, length>>20)+zstdOf(t, "\nb\n"))
	s := newSource(t, Options{Dir: dir, MaxRecordBytes: most}, "p*")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	lengths := map[string][]int{}
	for {
		b, err := s.Poll(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		for _, record := range b.Records {
			lengths[b.Partition] = append(lengths[b.Partition], len(record))
		}
		require.Contains(t, []int64{2, length + 3, length + 5}, b.Position.Next, "a position never lies within a line")
		b.Release()
	}
	runtime.ReadMemStats(&after)
	require.Equal(t, map[string][]int{"plain": {1, most + 1, 1}, "packed": {1, most + 1, 1}}, lengths)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(48<<20), "bytes allocated in all")
}

func TestGrownFiles(t *testing.T) {
	second := func(t *testing.T, first, more string, follow bool) (run, run) {
		dir := t.TempDir()
		path := filepath.Join(dir, "f")
		write(t, path, first)
		one := read(t, newSource(t, Options{Dir: dir}, "f"), nil)
		require.NoError(t, one.err)
		grow(t, path, more)
		return one, read(t, newSource(t, Options{Dir: dir}, "f"), one.offsets)
	}
	cases := []struct {
		name, first, more string
		want              []string
		next              int64
		refused           string
	}{
		{"whole lines", "a\n", "b\n", []string{"f:2:b"}, 4, ""},
		{"the head grows with the file", "a\n", strings.Repeat("b", 5000) + "\n", []string{"f:2:" + strings.Repeat("b", 5000)}, 5003, ""},
		{"an end for the last line", "a\nb", "\n", nil, 4, ""},
		{"an end with a carriage return", "a\nb", "\r\nc\n", []string{"f:5:c"}, 7, ""},
		{"an end for a carriage return", "a\nb\r", "\nc\n", []string{"f:5:c"}, 7, ""},
		{"half an end", "a\nb", "\r", nil, 4, ""},
		{"the rest of the last line", "a\nb", "b\n", nil, 0, "grew behind byte 3"},
		{"nothing", "a\nb", "", nil, 3, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			one, two := second(t, c.first, c.more, false)
			if c.refused != "" {
				var input *InputError
				require.ErrorAs(t, two.err, &input)
				require.Equal(t, "f", input.Path)
				require.ErrorContains(t, two.err, c.refused)
				return
			}
			require.NoError(t, two.err)
			require.Equal(t, c.want, two.records)
			require.Equal(t, c.next, two.offsets["f"].Next)
			require.Equal(t, one.offsets["f"].Records+int64(len(c.want)), two.offsets["f"].Records)
		})
	}
}

// A bounded run must not take half a line that someone is just writing.
func TestOpenLineOfAGrowingFileWaits(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	write(t, path, "aaaa\nbb")
	s := newSource(t, Options{Dir: dir, ChunkBytes: 5}, "f")
	b, err := s.Poll(t.Context())
	require.NoError(t, err)
	require.Equal(t, "aaaa", string(b.Records[0]))
	grow(t, path, "bb\ncc")
	one := read(t, s, nil)
	require.NoError(t, one.err)
	require.Empty(t, one.records)
	require.EqualValues(t, 5, one.offsets["f"].Next)
	two := read(t, newSource(t, Options{Dir: dir}, "f"), one.offsets)
	require.NoError(t, two.err)
	require.Equal(t, []string{"f:5:bbbb", "f:10:cc"}, two.records)
}

// next polls until a batch has records.
func next(t *testing.T, s *Source) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		b, err := s.Poll(ctx)
		require.NoError(t, err)
		var got []string
		for _, record := range b.Records {
			got = append(got, string(record))
		}
		if b.Release != nil {
			b.Release()
		}
		if got != nil {
			return got
		}
	}
}

func TestFollowWaitsForTheEndOfALine(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	write(t, path, "a\nb")
	s := newSource(t, Options{Dir: dir, Follow: true, PollInterval: time.Millisecond}, "f")
	require.Equal(t, []string{"a"}, next(t, s))
	grow(t, path, "b")
	grow(t, path, "\nc")
	require.Equal(t, []string{"bb"}, next(t, s))

	// What following left, a bounded run takes, though the file stood still.
	grow(t, path, "\n")
	require.Equal(t, []string{"c"}, next(t, s))
}

func TestBoundedTakesWhatFollowingLeft(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "f"), "a\nb")
	s := newSource(t, Options{Dir: dir, Follow: true, PollInterval: time.Millisecond}, "f")
	b, err := s.Poll(t.Context())
	require.NoError(t, err)
	require.True(t, b.End)
	require.EqualValues(t, 2, b.Position.Next)
	two := read(t, newSource(t, Options{Dir: dir}, "f"), ingest.Offsets{"f": b.Position})
	require.NoError(t, two.err)
	require.Equal(t, []string{"f:2:b"}, two.records)
}

// A round reads each file as far as it reached when the round began, so that one
// which grows all the time does not keep the others waiting.
func TestRoundsAreFair(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "1\n2\n")
	write(t, filepath.Join(dir, "b"), "3\n")
	s := newSource(t, Options{Dir: dir, Follow: true, PollInterval: time.Millisecond, ChunkBytes: 2}, "?")
	var got []string
	for range 4 {
		got = append(got, next(t, s)...)
		grow(t, filepath.Join(dir, "a"), "x\n")
	}
	require.Equal(t, []string{"1", "2", "3", "x"}, got)
}

// A compressed file is taken when it stood still from one look to the next.
func TestFollowWaitsForCompressedFiles(t *testing.T) {
	dir := t.TempDir()
	packed := gzipOf(t, "a\nb\n")
	path := filepath.Join(dir, "f.gz")
	write(t, path, packed[:1])
	s := newSource(t, Options{Dir: dir, Follow: true}, "*.gz")
	look := func() int {
		require.NoError(t, s.scan(t.Context()))
		return len(s.queue)
	}
	require.Zero(t, look(), "one byte tells nothing")
	grow(t, path, packed[1:10])
	require.Zero(t, look(), "it grew")
	grow(t, path, packed[10:])
	require.Zero(t, look(), "it grew")
	require.Equal(t, 1, look(), "it stood still")
	require.Equal(t, []string{"a", "b"}, next(t, s))
}

func TestIDTellsPathsApart(t *testing.T) {
	id := func(paths ...string) string {
		id, err := newSource(t, Options{Dir: t.TempDir()}, paths...).ID(t.Context())
		require.NoError(t, err)
		return id
	}
	require.Equal(t, id("a", "b"), id("b", "a", "b"))
	require.NotEqual(t, id("a"), id("a", "b"))
	_, err := New(Config{}, Options{})
	require.ErrorContains(t, err, "no paths")
	_, err = New(Config{Paths: []string{"in/[a"}}, Options{})
	require.ErrorContains(t, err, `path "in/[a"`)
}
