// Package parquet writes Parquet files column by column from Arrow batches.
//
// A Format is the plan of files of one schema: what they have in common, shared
// by all their writers. A Writer writes one file. Rows are copied into a page
// for each column; a full page is encoded and compressed at once and kept until
// its row group is complete, since a column's pages must lie together.
package parquet

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"
)

// CreatedBy names the writer in the footer, in the form that readers parse:
// application, version, build. They doubt statistics that nobody signed.
const CreatedBy = "lake version 1.0.0 (build 1)"

// Sizes of what a file is made of.
const (
	DefaultRowGroupBytes = 128 << 20
	DefaultCodec         = "zstd"

	pageRows  = 16384   // a page ends with the chunk that brings it to this many rows …
	pageBytes = 1 << 20 // … or bytes, not encoded
	chunkRows = 4096    // rows that are copied at a time, so that what they pass through stays in the cache
)

// Options say how files are written. The zero value is good.
type Options struct {
	Codec         string // zstd (default), snappy or none
	RowGroupBytes int64  // a row group ends when its values, not encoded, take this much; 0 is 128 MiB
	Parallel      int    // goroutines of all writers of a Format together that may encode: what callers leave of it helps them
}

// Format is the plan of files that share a schema. Its methods may be called
// from several goroutines; so may the methods of different writers.
type Format struct {
	schema   *arrow.Schema
	root     []*node
	leaves   []*node
	elements []schemaElement
	codec    codec
	rowGroup int64
	scratch  sync.Pool    // *scratch
	busy     atomic.Int32 // goroutines that have one
	parallel int32

	choosing sync.Mutex
	choices  []choices // of the leaves of the file that last wrote a row group; nil: none has
}

// NewFormat plans files with the columns of schema: the Arrow types that
// schemas.Type.Arrow makes, with field ids in their metadata where there are ids.
func NewFormat(schema *arrow.Schema, opts Options) (*Format, error) {
	f := &Format{schema: schema, rowGroup: opts.RowGroupBytes, parallel: int32(opts.Parallel)}
	if f.rowGroup <= 0 {
		f.rowGroup = DefaultRowGroupBytes
	}
	var err error
	if f.codec, err = parseCodec(opts.Codec); err != nil {
		return nil, err
	}
	if err := f.plan(); err != nil {
		return nil, fmt.Errorf("plan a Parquet file: %w", err)
	}
	return f, nil
}

// NewWriter begins a file on w. Nothing is written before a row group is
// complete, so that w may be made as late as that.
func (f *Format) NewWriter(w io.Writer) *Writer {
	out := &Writer{format: f, out: w, leaves: make([]*leaf, len(f.leaves))}
	for i, n := range f.leaves {
		out.leaves[i] = newLeaf(n)
	}
	f.choosing.Lock()
	defer f.choosing.Unlock()
	for i := range f.choices {
		out.leaves[i].choices = f.choices[i]
	}
	return out
}

// keepChoices has the files that are begun next go by what this one found to be
// smallest: columns of one table are alike, and to look takes longer than to write a page.
func (w *Writer) keepChoices() {
	f := w.format
	f.choosing.Lock()
	defer f.choosing.Unlock()
	if f.choices == nil {
		f.choices = make([]choices, len(w.leaves))
	}
	for i, l := range w.leaves {
		f.choices[i] = l.choices
	}
}

// NewWriter begins a file on w whose columns are those of schema. Writers of
// many files of one schema share a Format instead.
func NewWriter(w io.Writer, schema *arrow.Schema, opts Options) (*Writer, error) {
	f, err := NewFormat(schema, opts)
	if err != nil {
		return nil, err
	}
	return f.NewWriter(w), nil
}

// scratch is what a writer needs only while it works.
type scratch struct {
	codec                codec
	walker               walker
	indices              []int32  // of a page's values in the dictionary
	seen                 []uint64 // a bit for each of them that the page has
	raw                  []byte   // a page, encoded
	other                []byte   // its values, encoded
	packed               []byte   // the page compressed
	joined               []uint64 // its values, where they lay in pieces
	ends                 []uint64 // the same of the ends of texts
	zstd                 *zstdEncoder
	numbers              numbers
	pages                Pages        // of a source that is merged
	levels               []uint8      // the same
	mapped               []int32      // of its dictionary's entries, their numbers here
	wideDictionary, wide Values       // of it, widened values
	fresh                []int32      // of them, those that are numbered now
	found                []int32      // their numbers
	header               bytes.Buffer // of a page
	out                  *bufio.Writer
}

func (f *Format) borrow() *scratch {
	f.busy.Add(1)
	return f.idleScratch()
}

// borrowSpare is borrow where fewer goroutines work than may; nil: none is spare.
func (f *Format) borrowSpare() *scratch {
	for {
		n := f.busy.Load()
		if n >= f.parallel {
			return nil
		}
		if f.busy.CompareAndSwap(n, n+1) {
			return f.idleScratch()
		}
	}
}

func (f *Format) idleScratch() *scratch {
	s, ok := f.scratch.Get().(*scratch)
	if !ok {
		s = &scratch{codec: f.codec, out: bufio.NewWriterSize(nil, 128<<10)}
	}
	return s
}

// maxKept bounds the buffers that a scratch keeps from one use to the next.
const maxKept = 4 << 20

func (f *Format) giveBack(s *scratch) {
	if cap(s.raw)+cap(s.other)+cap(s.packed)+cap(s.numbers.frame)+8*(cap(s.joined)+cap(s.ends)) > maxKept {
		s.raw, s.other, s.packed, s.numbers.frame, s.joined, s.ends = nil, nil, nil, nil, nil, nil
	}
	f.scratch.Put(s)
	f.busy.Add(-1)
}
