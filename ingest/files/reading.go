package files

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// reading is a file being read, up to the size that it had when the round began.
type reading struct {
	file  *file
	lines lineReader
	mark  mark
	from  int64 // offset at which this reading began
	open  bool  // the line before from has no end so far
	gone  bool  // nothing is there to read

	handle *os.File
	packed io.Closer // of a compressed text, which has memory to hand back; nil: plain
}

// newReading takes over h, unless it fails.
func newReading(h *os.File, f *file, opts *Options, stop func() error) (*reading, error) {
	info, err := h.Stat()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.name, err)
	}
	if info.Size() < f.size {
		return nil, shrank(f)
	}
	m, err := identify(h, f)
	if err != nil {
		return nil, err
	}
	r := &reading{file: f, mark: m, from: f.position.Next, handle: h}
	r.lines = lineReader{offset: r.from, maxRecord: opts.MaxRecordBytes}
	if m.kind != plain {
		r.lines.takeOpen = func() (bool, error) { return true, nil } // the stream has its own end
		if err := r.unpack(stop); err != nil {
			if r.packed != nil {
				_ = r.packed.Close()
			}
			return nil, err
		}
		return r, nil
	}
	if f.mark.open {
		if err := r.closeLine(); err != nil {
			return nil, err
		}
	}
	r.lines.text = &exactReader{text: io.NewSectionReader(h, r.from, f.size-r.from), left: f.size - r.from}
	r.lines.takeOpen = func() (bool, error) {
		if opts.Follow {
			return false, nil
		}
		now, err := h.Stat() // is someone writing it?
		return err == nil && now.Size() == f.size, err
	}
	return r, nil
}

// closeLine reads the end of a last line that was taken without one.
func (r *reading) closeLine() error {
	next := make([]byte, min(2, r.file.size-r.from))
	if _, err := r.handle.ReadAt(next, r.from); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: %w", r.file.name, err)
	}
	switch string(next) {
	case "", "\r":
		r.open = true
		return nil
	case "\r\n":
		r.from += 2
	default:
		if next[0] != '\n' {
			return &InputError{Path: r.file.name,
				Reason: fmt.Sprintf("its last line, which had no end when it was read, grew behind byte %d", r.from),
				Hint:   "the record read then is in the table; write whole lines, or read a file that is being written with --follow"}
		}
		r.from++
	}
	r.lines.offset = r.from
	return nil
}

// unpack begins to read a compressed text, where it stood.
func (r *reading) unpack(stop func() error) error {
	raw := bufio.NewReaderSize(&exactReader{text: io.NewSectionReader(r.handle, 0, r.file.size), left: r.file.size}, 64<<10)
	text, err := unpack(r.mark.kind, raw)
	if err != nil {
		return r.explain(err)
	}
	r.lines.text, r.packed = text, text
	skip := make([]byte, 64<<10)
	for left := r.from; left > 0; {
		if err := stop(); err != nil {
			return err
		}
		n, err := r.lines.text.Read(skip[:min(left, int64(len(skip)))])
		left -= int64(n)
		if err != nil && left > 0 {
			if errors.Is(err, io.EOF) {
				return &InputError{Path: r.file.name, Reason: fmt.Sprintf("its text ends before byte %d, up to which it was read before", r.from)}
			}
			return r.explain(err)
		}
	}
	return nil
}

// explain says what a failed read means for the file.
func (r *reading) explain(err error) error {
	var system *fs.PathError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, fs.ErrClosed):
		return err
	case errors.As(err, &system):
		return fmt.Errorf("read %s: %w", r.file.name, err)
	case r.mark.kind == plain:
		return shrank(r.file)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return &InputError{Path: r.file.name, Reason: fmt.Sprintf("the %s file is cut off behind byte %d of its text; the lines before it were read", r.mark.kind, r.lines.offset),
			Hint: "write it whole under another name, then take this one away; a file still being written is given its name when it is done", Err: err}
	}
	return &InputError{Path: r.file.name, Reason: fmt.Sprintf("the %s file is damaged behind byte %d of its text; the lines before it were read", r.mark.kind, r.lines.offset), Err: err}
}

func shrank(f *file) error {
	return &InputError{Path: f.name, Reason: fmt.Sprintf("it had %d bytes and was cut while it was being read", f.size),
		Hint: "put the file back, or write new data to a new file"}
}

// Close lets go of the file.
func (r *reading) Close() error {
	if r.packed != nil {
		_ = r.packed.Close() // what failed is known by now
	}
	if r.handle == nil {
		return nil
	}
	return r.handle.Close()
}

// exactReader fails where its text ends early.
type exactReader struct {
	text io.Reader
	left int64
}

func (e *exactReader) Read(p []byte) (int, error) {
	n, err := e.text.Read(p)
	e.left -= int64(n)
	if errors.Is(err, io.EOF) && e.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
