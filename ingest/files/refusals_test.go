package files

import (
	"bytes"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"lake/ingest"
)

func TestRefusals(t *testing.T) {
	head := strings.Repeat("h", headBytes)
	cases := []struct {
		name, before string
		change       func(t *testing.T, path string)
		want         string
	}{
		{"cut", "a\nb\n", func(t *testing.T, path string) { write(t, path, "a\n") }, "it has 2 bytes, and 4 were read before"},
		{"emptied", "a\nb\n", func(t *testing.T, path string) { write(t, path, "") }, "it has 0 bytes, and 4 were read before"},
		{"another file", "a\nb\n", func(t *testing.T, path string) { write(t, path, "x\nb\nc\n") }, "its first 4 bytes are not those"},
		{"another file with the same beginning", head + "\nb\n", func(t *testing.T, path string) { write(t, path, head+"cccc\nd\n") }, "no line ends at byte 4099"},
		{"a compressed file grew", gzipOf(t, "a\n"), func(t *testing.T, path string) { grow(t, path, gzipOf(t, "b\n")) }, "the compressed file changed"},
		{"a compressed file of the same size", gzipOf(t, "a\n"), func(t *testing.T, path string) { write(t, path, gzipOf(t, "b\n")) }, "the compressed file changed"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "f")
			write(t, path, c.before)
			old := time.Now().Add(-time.Hour)
			require.NoError(t, os.Chtimes(path, old, old))
			one := read(t, newSource(t, Options{Dir: dir}, "f"), nil)
			require.NoError(t, one.err)

			following := newSource(t, Options{Dir: dir, Follow: true, PollInterval: time.Millisecond}, "f")
			require.NoError(t, following.Seek(t.Context(), one.offsets))

			c.change(t, path)
			two := read(t, newSource(t, Options{Dir: dir}, "f"), one.offsets)
			for _, err := range []error{two.err, read(t, following, nil).err} {
				var input *InputError
				require.ErrorAs(t, err, &input)
				require.ErrorContains(t, err, c.want)
				require.ErrorContains(t, err, "read f: ")
				require.ErrorContains(t, err, "hint: ")
			}
		})
	}
}

func TestCutWhileRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	write(t, path, "a\nb\nc\n")
	s := newSource(t, Options{Dir: dir, ChunkBytes: 2}, "f")
	require.Equal(t, []string{"a"}, next(t, s))
	require.NoError(t, os.Truncate(path, 4))
	r := read(t, s, nil)
	require.EqualError(t, r.err, "read f: it had 6 bytes and was cut while it was being read; hint: put the file back, or write new data to a new file")
	require.Equal(t, []string{"f:2:b"}, r.records)
	require.EqualError(t, read(t, s, nil).err, r.err.Error())
}

func TestUnchangedFilesAreNotOpened(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	write(t, path, "a\n")
	one := read(t, newSource(t, Options{Dir: dir}, "f"), nil)
	info, err := os.Stat(path)
	require.NoError(t, err)
	// Same size and time, other bytes: only opening it would show.
	write(t, path, "b\n")
	require.NoError(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
	two := read(t, newSource(t, Options{Dir: dir}, "f"), one.offsets)
	require.NoError(t, two.err)
	require.Empty(t, two.records)
}

func TestTouchedFilesAreNotReadAgain(t *testing.T) {
	for name, text := range map[string]string{"plain": "a\n", "gzip": gzipOf(t, "a\n")} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "f"), text)
			one := read(t, newSource(t, Options{Dir: dir}, "f"), nil)
			require.Equal(t, []string{"f:0:a"}, one.records)
			then := time.Now().Add(-24 * time.Hour)
			require.NoError(t, os.Chtimes(filepath.Join(dir, "f"), then, then))
			two := read(t, newSource(t, Options{Dir: dir}, "f"), one.offsets)
			require.NoError(t, two.err)
			require.Empty(t, two.records)
			require.Equal(t, one.offsets["f"].Next, two.offsets["f"].Next)
		})
	}
}

func TestFilesTakenAway(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "f"), "a\nb\n")
	one := read(t, newSource(t, Options{Dir: dir}, "f"), nil)
	half := newSource(t, Options{Dir: dir, ChunkBytes: 2}, "f")
	b, err := half.Poll(t.Context())
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(dir, "f")))

	done := read(t, newSource(t, Options{Dir: dir}, "f"), one.offsets)
	require.NoError(t, done.err, "it was read to its end")

	lost := read(t, newSource(t, Options{Dir: dir}, "f"), ingest.Offsets{"f": b.Position})
	require.EqualError(t, lost.err, "read f: it is gone, and was read only up to byte 2; hint: put it back as it was to have the rest read")

	// The open handle still has the rest.
	require.Equal(t, []string{"b"}, next(t, half))
}

// A file that came and went between two looks is no loss that a run must end for.
func TestFollowedFileVanishesUnread(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "1\n")
	var log bytes.Buffer
	s := newSource(t, Options{Dir: dir, Follow: true, Log: slog.New(slog.NewTextHandler(&log, nil))}, "?")
	require.NoError(t, s.scan(t.Context()))
	require.NoError(t, os.Remove(filepath.Join(dir, "a")))
	b, err := s.Poll(t.Context())
	require.NoError(t, err)
	require.Equal(t, ingest.Batch{Partition: "a", Announce: []string{"a"}, CaughtUp: true, End: true}, b)
	require.Contains(t, log.String(), "file vanished before it was read")
	again := newSource(t, Options{Dir: dir, Follow: true}, "?")
	require.NoError(t, again.Seek(t.Context(), ingest.Offsets{"a": b.Position}))
	write(t, filepath.Join(dir, "a"), "2\n")
	require.Equal(t, []string{"2"}, next(t, again))

	bounded := newSource(t, Options{Dir: dir}, "?")
	require.NoError(t, bounded.scan(t.Context()))
	require.NoError(t, os.Remove(filepath.Join(dir, "a")))
	require.EqualError(t, read(t, bounded, nil).err, "read a: it vanished with its bytes behind 0 unread; hint: put it back as it was")
	require.ErrorContains(t, bounded.Seek(t.Context(), ingest.Offsets{"a": {Next: 2}}), "seek a: byte 2 comes without a token")
}

func TestMissing(t *testing.T) {
	dir := t.TempDir()
	s := newSource(t, Options{Dir: dir}, "in/events.jsonl")
	_, err := s.Poll(t.Context())
	var input *InputError
	require.ErrorAs(t, err, &input)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.EqualError(t, err, "read in/events.jsonl: no such file: file does not exist; hint: relative paths begin at "+dir+"; a pattern such as in/*.jsonl may match nothing")

	var log bytes.Buffer
	r := read(t, newSource(t, Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))}, "in/*.jsonl"), nil)
	require.NoError(t, r.err, "a pattern may match nothing")
	require.Empty(t, r.records)
	require.Contains(t, log.String(), `level=WARN msg="no file matches" path=in/*.jsonl`)

	write(t, filepath.Join(dir, "in/x"), "a\n")
	_, err = newSource(t, Options{Dir: dir}, "in").Poll(t.Context())
	require.EqualError(t, err, "read in: it is a folder; hint: write in/*.jsonl for the files in it")
}

func TestBrokenCompression(t *testing.T) {
	var text strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&text, "{\"row\":%d,\"x\":%d}\n", i, i*7919%10007)
	}
	for name, packed := range map[string]string{"gzip": gzipOf(t, text.String()), "zstd": zstdOf(t, text.String())} {
		t.Run(name+" cut", func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "f"), packed[:len(packed)*3/4])
			s := newSource(t, Options{Dir: dir, ChunkBytes: 4096}, "f")
			one := read(t, s, nil)
			var input *InputError
			require.ErrorAs(t, one.err, &input)
			require.ErrorContains(t, one.err, "the "+name+" file is cut off behind byte ")
			got := one.offsets["f"].Next
			require.Greater(t, len(one.records), 1000, "the lines before it were read")
			require.True(t, strings.HasPrefix(text.String()[got-1:], "\n"))
			require.Equal(t, strings.Count(text.String()[:got], "\n"), len(one.records))
			again := read(t, s, nil)
			require.EqualError(t, again.err, one.err.Error(), "it stays")
			require.Empty(t, again.records)
		})
		t.Run(name+" damaged", func(t *testing.T) {
			dir := t.TempDir()
			bad := []byte(packed)
			bad[len(bad)-3] ^= 0xff // in the checksum
			write(t, filepath.Join(dir, "f"), string(bad))
			one := read(t, newSource(t, Options{Dir: dir}, "f"), nil)
			var input *InputError
			require.ErrorAs(t, one.err, &input)
			require.ErrorContains(t, one.err, "the "+name+" file is damaged behind byte ")
		})
	}
}

// A zstd frame may ask for gigabytes of window.
func TestHugeWindowIsRefused(t *testing.T) {
	dir := t.TempDir()
	// Magic; no single segment, no checksum; window 2^(10+18): 256 MiB; the last block, empty.
	write(t, filepath.Join(dir, "f"), "\x28\xb5\x2f\xfd\x00\x90\x01\x00\x00")
	one := read(t, newSource(t, Options{Dir: dir}, "f"), nil)
	var input *InputError
	require.ErrorAs(t, one.err, &input)
	require.ErrorIs(t, one.err, zstd.ErrWindowSizeExceeded)
}

func TestSeekRefusesForeignTokens(t *testing.T) {
	for _, token := range []string{"2 plain 1:aa 1 1 -", "x", "1 lz4 1:aa 1 1 -", "1 plain 9999:aa 1 1 -", "1 plain a:aa 1 1 -", "1 plain 1: 1 1 -"} {
		err := newSource(t, Options{}, "f").Seek(t.Context(), ingest.Offsets{"f": {Next: 1, Token: token}})
		require.ErrorContains(t, err, "seek f: token ")
	}
	m := mark{kind: zstded, head: 12, hash: "ab", size: 5, modTime: -3, ended: true, open: true}
	back, err := parseMark(m.String())
	require.NoError(t, err)
	require.Equal(t, m, back)
	require.Equal(t, "1 zstd 12:ab 5 -3 eo", m.String())
}
