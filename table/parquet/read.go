package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// This is the reading side: a File is a footer and bytes by ranges; Pages are a
// column's values of one row group as they lie there, in dictionary and indices
// or plain; Rows (read_rows.go) makes Arrow batches of them.

// ErrForm says that a file is written in a way that this reader does not know.
// It may be a good file.
var ErrForm = errors.New("a form of Parquet that is not read here")

// Memory is a file of which all bytes are in memory. What is read of it points into
// them, so that they stay as they are while the File is used.
type Memory []byte

// ReadAt implements io.ReaderAt.
func (m Memory) ReadAt(p []byte, at int64) (int, error) {
	if at < 0 || at > int64(len(m)) {
		return 0, io.EOF
	}
	n := copy(p, m[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// File is a Parquet file that is read. Its methods may be called from several
// goroutines; it holds nothing but the footer, and is not closed.
type File struct {
	in      io.ReaderAt
	size    int64
	meta    format.FileMetaData
	root    *Column
	leaves  []*Column
	unpacks *Unpacker
}

// Sizes that no file has that anybody wrote on purpose.
const (
	maxFooter = 256 << 20
	maxPage   = 1 << 30 // bytes, not compressed
	tailBytes = 64 << 10
)

// Open reads the footer of a file of size bytes. in is read while the File is
// used; of a Memory nothing is copied. Files that are read one after the other share an Unpacker; nil is one
// for this file alone.
func Open(in io.ReaderAt, size int64, u *Unpacker) (*File, error) {
	if u == nil {
		u = NewUnpacker()
	}
	f := &File{in: in, size: size, unpacks: u}
	tail, err := f.footerBytes()
	if err != nil {
		return nil, fmt.Errorf("read the footer: %w", err)
	}
	if err := decodeThrift(tail, &f.meta); err != nil {
		return nil, fmt.Errorf("read the footer: %w", err)
	}
	if err := f.readSchema(); err != nil {
		return nil, fmt.Errorf("read the footer: %w", err)
	}
	for i := range f.meta.RowGroups {
		g := &f.meta.RowGroups[i]
		if len(g.Columns) != len(f.leaves) || g.NumRows < 0 {
			return nil, fmt.Errorf("read the footer: row group %d has %d columns and %d rows, and the schema says %d columns", i, len(g.Columns), g.NumRows, len(f.leaves))
		}
	}
	return f, nil
}

// footerBytes fetches the footer; one request does where it is small.
func (f *File) footerBytes() ([]byte, error) {
	if f.size < 12 {
		return nil, fmt.Errorf("%d bytes are too few for a Parquet file", f.size)
	}
	n := min(f.size, tailBytes)
	tail, err := f.read(nil, int(n), f.size-n)
	if err != nil {
		return nil, err
	}
	end := len(tail) - 8
	switch string(tail[end+4:]) {
	case magic:
	case "PARE":
		return nil, fmt.Errorf("%w: its footer is encrypted", ErrForm)
	default:
		return nil, errors.New("it does not end as a Parquet file does")
	}
	length := int64(binary.LittleEndian.Uint32(tail[end:]))
	if length > maxFooter || length > f.size-12 {
		return nil, fmt.Errorf("a footer of %d bytes in a file of %d", length, f.size)
	}
	if length <= int64(end) {
		return tail[end-int(length) : end], nil
	}
	return f.read(nil, int(length), f.size-8-length)
}

// inMemory tells whether what read gives is the file's.
func (f *File) inMemory() bool {
	_, ok := f.in.(Memory)
	return ok
}

// read gives n bytes of the file: in dst where it has room for them, or, of a file in
// memory, as they lie there.
func (f *File) read(dst []byte, n int, at int64) ([]byte, error) {
	if m, ok := f.in.(Memory); ok && at >= 0 && at <= int64(len(m)) && n <= len(m)-int(at) {
		return m[at : int(at)+n : int(at)+n], nil
	}
	dst = room(dst, n)
	return dst, f.readAt(dst, at)
}

// readAt reads all of p, which has to lie in the file.
func (f *File) readAt(p []byte, at int64) error {
	if at < 0 || int64(len(p)) > f.size-at {
		return fmt.Errorf("%d bytes at %d are not in a file of %d", len(p), at, f.size)
	}
	n, err := f.in.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// Columns are the file's columns.
func (f *File) Columns() []*Column { return f.root.Children }

// Leaves are the columns that have values, in the order of the file.
func (f *File) Leaves() []*Column { return f.leaves }

// NumRows is the number of rows of all row groups.
func (f *File) NumRows() (n int64) {
	for i := range f.meta.RowGroups {
		n += f.meta.RowGroups[i].NumRows
	}
	return n
}

// RowGroups is the number of row groups.
func (f *File) RowGroups() int { return len(f.meta.RowGroups) }

// GroupRows is the number of rows of a row group.
func (f *File) GroupRows(group int) int64 { return f.meta.RowGroups[group].NumRows }

// CreatedBy is what the file's writer calls itself.
func (f *File) CreatedBy() string { return f.meta.CreatedBy }

// chunk is a leaf's part of a row group.
func (f *File) chunk(group, leaf int) *format.ColumnChunk {
	return &f.meta.RowGroups[group].Columns[leaf]
}

// decodeThrift decodes what Parquet says about itself. The library makes as
// much room as the bytes ask for, so they are looked through before.
func decodeThrift[T any](data []byte, v *T) error {
	c := cursor{data: data}
	if c.skipStruct(0); c.err != nil {
		return c.err
	}
	var p thrift.CompactProtocol
	return thrift.NewDecoder(p.NewReaderFromBytes(data[:c.at])).Decode(v)
}
