package files

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

const byteOrderMark = "\xef\xbb\xbf"

// chunk is the memory of one batch.
type chunk struct {
	buf     []byte
	records [][]byte
	offsets []int64
}

// chunkPool keeps chunks of the usual size for the next batch.
type chunkPool struct {
	pool  sync.Pool
	bytes int
	most  atomic.Int64 // records that a chunk held so far
}

func (p *chunkPool) get() *chunk {
	if c, ok := p.pool.Get().(*chunk); ok {
		return c
	}
	n := p.most.Load() + p.most.Load()/8
	return &chunk{buf: make([]byte, p.bytes), records: make([][]byte, 0, n), offsets: make([]int64, 0, n)}
}

func (p *chunkPool) put(c *chunk) {
	if len(c.buf) != p.bytes {
		return // a long line's: too much to keep
	}
	if n := int64(len(c.records)); n > p.most.Load() {
		p.most.Store(n)
	}
	c.records, c.offsets = c.records[:0], c.offsets[:0]
	p.pool.Put(c)
}

// lineReader cuts a text into lines, a chunk at a time.
type lineReader struct {
	text      io.Reader
	offset    int64 // in the text, of the first byte that no chunk has: a line's start
	maxRecord int
	// takeOpen says whether the end of the text ends its last line too; asked at the end.
	takeOpen     func() (bool, error)
	tookOpenLine bool

	carry []byte // what was read behind offset
	err   error  // of text, told once the lines before it are
}

// fill puts whole lines into c: about len(c.buf) bytes of them, or one longer
// line. It returns true at the end of the text. stop is asked between reads.
func (l *lineReader) fill(c *chunk, stop func() error) (end bool, err error) {
	c.records, c.offsets = c.records[:0], c.offsets[:0]
	if len(l.carry) > len(c.buf) {
		c.buf = make([]byte, len(l.carry))
	}
	n := copy(c.buf, l.carry)
	newline := bytes.LastIndexByte(c.buf[:n], '\n')
	for l.err == nil && (n < len(c.buf) || newline < 0) {
		if err := stop(); err != nil {
			return false, err
		}
		if n == len(c.buf) { // and no line ends in it
			longest := len(byteOrderMark) + l.maxRecord + len("\r")
			if n > longest {
				return l.cutLine(c, stop)
			}
			grown := make([]byte, min(2*n, longest+1))
			copy(grown, c.buf)
			c.buf = grown
		}
		var m int
		m, l.err = l.text.Read(c.buf[n:])
		if i := bytes.LastIndexByte(c.buf[n:n+m], '\n'); i >= 0 {
			newline = n + i
		}
		n += m
	}
	l.split(c, c.buf[:newline+1])
	rest := c.buf[newline+1 : n]
	switch {
	case l.err == nil:
		l.carry = append(l.carry[:0], rest...)
		return false, nil
	case !errors.Is(l.err, io.EOF):
		l.carry = l.carry[:0]
		if len(c.records) > 0 {
			return false, nil
		}
		return false, l.err
	}
	l.carry = l.carry[:0]
	return true, l.lastLine(c, rest)
}

// split cuts lines, each of which has its end, into records.
func (l *lineReader) split(c *chunk, lines []byte) {
	at := 0
	if l.offset == 0 && bytes.HasPrefix(lines, []byte(byteOrderMark)) {
		at = len(byteOrderMark)
	}
	for at < len(lines) {
		n := bytes.IndexByte(lines[at:], '\n')
		l.add(c, lines[at:at+n:at+n], l.offset+int64(at))
		at += n + 1
	}
	l.offset += int64(len(lines))
}

// add takes one line, less its line feed.
func (l *lineReader) add(c *chunk, line []byte, offset int64) {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	if len(line) == 0 {
		return
	}
	if len(line) > l.maxRecord {
		line = line[:l.maxRecord+1]
	}
	c.records = append(c.records, line)
	c.offsets = append(c.offsets, offset)
}

// lastLine takes what stands behind the last line feed, where it may.
func (l *lineReader) lastLine(c *chunk, rest []byte) error {
	if len(rest) == 0 {
		return nil
	}
	take, err := l.takeOpen()
	if err != nil || !take {
		return err
	}
	at := 0
	if l.offset == 0 && bytes.HasPrefix(rest, []byte(byteOrderMark)) {
		at = len(byteOrderMark)
	}
	l.tookOpenLine = at < len(rest)
	l.add(c, rest[at:], l.offset+int64(at))
	l.offset += int64(len(rest))
	return nil
}

// cutLine takes a line that is longer than a record may be: its beginning, which
// fills c, becomes the record, and the rest is read past.
func (l *lineReader) cutLine(c *chunk, stop func() error) (end bool, err error) {
	at := 0
	if l.offset == 0 && bytes.HasPrefix(c.buf, []byte(byteOrderMark)) {
		at = len(byteOrderMark)
	}
	keep := min(at+l.maxRecord+1, len(c.buf))
	length := int64(len(c.buf))
	past := make([]byte, 64<<10)
	l.carry = l.carry[:0]
	for {
		if err := stop(); err != nil {
			return false, err
		}
		n, err := l.text.Read(past)
		if i := bytes.IndexByte(past[:n], '\n'); i >= 0 {
			l.err = err
			l.carry = append(l.carry, past[i+1:n]...)
			length += int64(i) + 1
			break
		}
		length += int64(n)
		if errors.Is(err, io.EOF) {
			take, err := l.takeOpen()
			if err != nil || !take {
				return true, err
			}
			l.tookOpenLine, end = true, true
			break
		}
		if err != nil {
			return false, err
		}
	}
	c.records = append(c.records, c.buf[at:keep:keep])
	c.offsets = append(c.offsets, l.offset+int64(at))
	l.offset += length
	return end, nil
}
