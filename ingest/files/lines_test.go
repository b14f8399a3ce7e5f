package files

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// linesOf is the oracle: bufio's lines and the rules of the package's doc.
func linesOf(t *testing.T, text []byte, most int) (records []string, offsets []int64) {
	r := bufio.NewReader(bytes.NewReader(text))
	at := int64(0)
	for {
		line, err := r.ReadString('\n')
		start, body := at, strings.TrimSuffix(line, "\n")
		if start == 0 && strings.HasPrefix(line, byteOrderMark) {
			start, body = 3, body[3:]
		}
		body = strings.TrimSuffix(body, "\r")
		if body != "" {
			records, offsets = append(records, body[:min(len(body), most+1)]), append(offsets, start)
		}
		at += int64(len(line))
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			return records, offsets
		}
	}
}

// unevenReader gives a few bytes at a time, now and then none, as decompressors do.
type unevenReader struct {
	text []byte
	n    int
}

func (u *unevenReader) Read(p []byte) (int, error) {
	if len(u.text) == 0 {
		return 0, io.EOF
	}
	u.n = (u.n*7 + 3) % 11
	n := min(u.n, len(p), len(u.text))
	copy(p, u.text[:n])
	u.text = u.text[n:]
	if len(u.text) == 0 && u.n%2 == 0 {
		return n, io.EOF
	}
	return n, nil
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\r\n\n\nc"), uint8(3), uint8(2))
	f.Add([]byte("\xef\xbb\xbfaaaaaaaaaaaaaaaa\nb\n"), uint8(1), uint8(4))
	f.Add([]byte("\xef\xbb\xbf\n\r\r\n\xef\xbb\xbfb\n"), uint8(1), uint8(0))
	f.Add([]byte(strings.Repeat("x", 300)+"\n"+strings.Repeat("y", 17)+"\r\n"), uint8(8), uint8(16))
	f.Add([]byte(strings.Repeat("0123456789\r\n", 40)), uint8(60), uint8(10))
	f.Fuzz(func(t *testing.T, text []byte, chunkBytes, most uint8) {
		wantRecords, wantOffsets := linesOf(t, text, int(most)+1)
		l := lineReader{text: &unevenReader{text: text, n: int(most)}, maxRecord: int(most) + 1, takeOpen: func() (bool, error) { return true, nil }}
		var records []string
		var offsets []int64
		for {
			c := &chunk{buf: make([]byte, int(chunkBytes)+1)}
			before := l.offset
			end, err := l.fill(c, func() error { return nil })
			require.NoError(t, err)
			require.LessOrEqual(t, len(c.buf), max(int(chunkBytes)+1, int(most)+1+64<<10), "memory is bounded")
			for i, record := range c.records {
				records, offsets = append(records, string(record)), append(offsets, c.offsets[i])
				require.GreaterOrEqual(t, c.offsets[i], before)
			}
			if end {
				break
			}
			if l.offset > 0 {
				require.Equal(t, byte('\n'), text[l.offset-1], "a position lies at a line's start")
			}
		}
		require.Equal(t, wantRecords, records)
		require.Equal(t, wantOffsets, offsets)
		require.EqualValues(t, len(text), l.offset)
	})
}

type endless struct{ block []byte }

func (e *endless) Read(p []byte) (int, error) { return copy(p, e.block), nil }

func BenchmarkLines(b *testing.B) {
	line := `{"user_id":12345,"property_id":1234,"date":"2021-11-30 00:00:00","event":"Interaction"}` + "\n"
	block := []byte(strings.Repeat(line, 1<<20/len(line)))
	l := lineReader{text: &endless{block}, maxRecord: 16 << 20}
	c := &chunk{buf: make([]byte, 1<<20)}
	b.SetBytes(int64(len(block)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.fill(c, func() error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSource reads a file of 64 MiB in the page cache from end to end.
func BenchmarkSource(b *testing.B) {
	line := `{"user_id":12345,"property_id":1234,"date":"2021-11-30 00:00:00","event":"Interaction"}` + "\n"
	text := strings.Repeat(line, 64<<20/len(line))
	dir := b.TempDir()
	require.NoError(b, os.WriteFile(filepath.Join(dir, "f"), []byte(text), 0o644))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		s, err := New(Config{Paths: []string{"f"}}, Options{Dir: dir})
		require.NoError(b, err)
		rows := 0
		for {
			batch, err := s.Poll(b.Context())
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(b, err)
			rows += len(batch.Records)
			batch.Release()
		}
		require.Equal(b, len(text)/len(line), rows)
		require.NoError(b, s.Close())
	}
}
