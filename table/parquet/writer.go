package parquet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// Writer writes one Parquet file. It is for one goroutine at a time. After an
// error the file cannot be completed: every later call returns that error.
type Writer struct {
	format  *Format
	out     io.Writer
	offset  int64 // bytes written to out
	leaves  []*leaf
	full    []*leaf       // whose pages are to be encoded now
	checked *arrow.Schema // the last schema that was found to fit
	rows    int64         // of the complete row groups
	open    int64         // rows of the one being filled
	raw     int64         // bytes of its values, not encoded
	held    int64
	encoded int64 // of held, encoded pages
	groups  []rowGroup
	splits  []int64
	err     error
}

// Metrics are what Iceberg keeps of a data file.
type Metrics struct {
	Rows, Bytes  int64
	SplitOffsets []int64 // where the row groups begin
	Columns      map[int]ColumnMetrics
}

// ColumnMetrics are those of a leaf column, by its field id. Values counts nulls
// and NaNs in, and in lists and maps the empty ones.
type ColumnMetrics struct {
	Size, Values, Nulls, NaNs int64
	Float                     bool   // NaNs has a meaning
	Lower, Upper              []byte // Iceberg's binary form of a single value; nil: none
}

// Append copies rows of batch, in the order given, or all where rows is nil.
// The batch's columns must be those of the file, by position; it stays the caller's.
func (w *Writer) Append(batch arrow.RecordBatch, rows []int32) error {
	if w.err != nil {
		return w.err
	}
	if err := w.append(batch, rows); err != nil {
		w.err = err
		return err
	}
	return nil
}

func (w *Writer) append(batch arrow.RecordBatch, rows []int32) error {
	if err := w.check(batch); err != nil {
		return err
	}
	total := int(batch.NumRows())
	if rows != nil {
		total = len(rows)
		for _, r := range rows {
			if int64(uint32(r)) >= batch.NumRows() {
				return fmt.Errorf("append to Parquet: row %d of a batch of %d", r, batch.NumRows())
			}
		}
	}
	if total == 0 {
		return nil
	}
	s := w.format.borrow()
	defer w.format.giveBack(s)
	step := chunkFor(batch)
	for done := 0; done < total; done += step {
		n := min(step, total-done)
		at := span{start: done, n: n}
		if rows != nil {
			at = span{index: rows[done : done+n], n: n}
		}
		if err := w.appendChunk(batch, at, s); err != nil {
			return fmt.Errorf("append to Parquet: %w", err)
		}
		if w.raw >= w.format.rowGroup {
			if err := w.flush(s); err != nil {
				return err
			}
		}
	}
	w.count()
	return nil
}

// chunkFor is how many rows may be copied before the pages' sizes are looked at.
func chunkFor(batch arrow.RecordBatch) int {
	rows := int(batch.NumRows())
	step := chunkRows
	for _, column := range batch.Columns() {
		if size := variableBytes(column.Data(), 0, rows) / int64(max(rows, 1)); size > 0 {
			step = min(step, max(1, int(pageBytes/size)))
		}
	}
	return step
}

// variableBytes is about what the values of variable length among an array's
// elements from start to end take.
func variableBytes(d arrow.ArrayData, start, end int) int64 {
	start, end = start+d.Offset(), end+d.Offset()
	switch d.DataType().ID() {
	case arrow.STRING, arrow.BINARY, arrow.LIST, arrow.MAP:
		b := d.Buffers()[1]
		if start == end || b == nil {
			return 0
		}
		offsets := arrow.GetData[int32](b.Bytes())
		first, last := int(offsets[start]), int(offsets[end])
		if len(d.Children()) == 0 {
			return int64(last - first)
		}
		return 8*int64(last-first) + variableBytes(d.Children()[0], first, last)
	case arrow.STRUCT:
		var size int64
		for _, c := range d.Children() {
			size += variableBytes(c, start, end)
		}
		return size
	}
	return 0
}

func (w *Writer) check(batch arrow.RecordBatch) error {
	schema := batch.Schema()
	if schema == w.checked || schema == w.format.schema {
		return nil
	}
	if schema.NumFields() != len(w.format.root) {
		return fmt.Errorf("append to Parquet: the batch has %d columns and the file %d", schema.NumFields(), len(w.format.root))
	}
	for i, n := range w.format.root {
		if got := schema.Field(i); !arrow.TypeEqual(got.Type, n.dtype) {
			return fmt.Errorf("append to Parquet: column %s is %s in the file and %s (%s) in the batch", n.path[0], n.dtype, got.Type, got.Name)
		}
	}
	w.checked = schema
	return nil
}

func (w *Writer) appendChunk(batch arrow.RecordBatch, at span, s *scratch) error {
	w.full = w.full[:0]
	s.walker.put = func(n *node, arr arrow.Array, lv levels) error {
		l := w.leaves[n.leaf]
		before := l.pageBytes()
		l.add(arr, lv, at.n)
		w.raw += int64(l.pageBytes() - before)
		if l.rows >= pageRows || l.pageBytes() >= pageBytes {
			w.full = append(w.full, l)
		}
		return nil
	}
	for i, n := range w.format.root {
		s.walker.bytes.reset()
		s.walker.ints.reset()
		if err := s.walker.walk(n, batch.Column(i), 0, levels{slots: at.n, at: at}); err != nil {
			return err
		}
	}
	s.walker.put = nil
	w.open += int64(at.n)
	return w.share(s, w.full, w.endPage)
}

// endPage encodes the page that a leaf is filling.
func (w *Writer) endPage(l *leaf, s *scratch) error { return l.endPage(w.format.codec, s, false) }

func (w *Writer) count() {
	w.held, w.encoded = 0, 0
	for _, l := range w.leaves {
		w.held += l.heldBytes()
		w.encoded += l.held
	}
}

// Buffered is the memory held after the last call, in bytes: pages being filled, dictionaries, and
// the encoded pages of the row group that is not written yet.
func (w *Writer) Buffered() int64 { return w.held }

// Encoded is, of the memory held after the last call, what the encoded pages of the row group that
// is not written yet take, in bytes.
func (w *Writer) Encoded() int64 { return w.encoded }

// Rows is how many rows were appended.
func (w *Writer) Rows() int64 { return w.rows + w.open }

// Written is how many bytes went to the file.
func (w *Writer) Written() int64 { return w.offset }

// Pending estimates what the rows that are held will take in the file, in bytes.
func (w *Writer) Pending() int64 {
	var size int64
	for _, l := range w.leaves {
		size += l.held + int64(l.pageBytes()/4)
	}
	return size
}

// EndPages encodes the pages being filled before they are full, and gives back
// the memory that they took.
func (w *Writer) EndPages() error {
	if w.err != nil {
		return w.err
	}
	s := w.format.borrow()
	defer w.format.giveBack(s)
	if err := w.share(s, slices.Clone(w.leaves), w.endPage); err != nil {
		w.err = err
		return err
	}
	for _, l := range w.leaves {
		l.release()
	}
	w.count()
	return nil
}

// FlushRowGroup ends the row group and writes it.
func (w *Writer) FlushRowGroup() error {
	if w.err != nil {
		return w.err
	}
	s := w.format.borrow()
	defer w.format.giveBack(s)
	if err := w.flush(s); err != nil {
		w.err = err
		return err
	}
	w.count()
	return nil
}

func (w *Writer) flush(s *scratch) (err error) {
	if w.open == 0 {
		return nil
	}
	s.out.Reset(w.out)
	defer s.out.Reset(nil)
	if err := w.begin(s); err != nil {
		return err
	}
	end := func(l *leaf, s *scratch) error { return l.endChunk(w.format.codec, s) }
	if err := w.share(s, slices.Clone(w.leaves), end); err != nil {
		return err
	}
	g := rowGroup{NumRows: w.open, FileOffset: w.offset, Ordinal: int16(min(len(w.groups), 1<<15-1))}
	for _, l := range w.leaves {
		chunk, err := w.writeChunk(l, s)
		if err != nil {
			return err
		}
		g.TotalByteSize += chunk.MetaData.TotalUncompressedSize
		g.TotalCompressedSize += chunk.MetaData.TotalCompressedSize
		g.Columns = append(g.Columns, chunk)
	}
	if err := s.out.Flush(); err != nil {
		return fmt.Errorf("write a row group: %w", err)
	}
	w.splits = append(w.splits, g.FileOffset)
	w.groups = append(w.groups, g)
	w.rows, w.open, w.raw = w.rows+w.open, 0, 0
	w.keepChoices()
	return nil
}

// begin writes what a file begins with.
func (w *Writer) begin(s *scratch) error {
	if w.offset > 0 {
		return nil
	}
	return w.write(s, []byte(magic))
}

func (w *Writer) write(s *scratch, p []byte) error {
	n, err := s.out.Write(p)
	w.offset += int64(n)
	if err != nil {
		return fmt.Errorf("write Parquet: %w", err)
	}
	return nil
}

// writeChunk writes the pages of a leaf's column chunk, which is complete.
func (w *Writer) writeChunk(l *leaf, s *scratch) (columnChunk, error) {
	m := columnMetaData{Type: l.physical, Codec: w.format.codec.id, PathInSchema: l.path}
	start := w.offset
	if l.entries != nil {
		m.DictionaryPageOffset = w.offset
		m.TotalUncompressedSize = int64(l.entriesPlain)
		m.EncodingStats = append(m.EncodingStats, format.PageEncodingStats{PageType: format.DictionaryPage, Encoding: format.Plain, Count: 1})
		if err := w.write(s, l.entries); err != nil {
			return columnChunk{}, err
		}
	}
	m.DataPageOffset = w.offset
	out := columnChunk{index: l.indexPages(l.pages)}
	var b bounds
	var nulls, row int64
	counts := make([]int32, len(l.encodings))
	for _, p := range l.pages {
		out.places.PageLocations = append(out.places.PageLocations, format.PageLocation{
			Offset: w.offset, CompressedPageSize: int32(len(p.data)), FirstRowIndex: row})
		if err := w.write(s, p.data); err != nil {
			return columnChunk{}, err
		}
		m.TotalUncompressedSize += int64(p.plain)
		m.NumValues += int64(p.slots)
		nulls += int64(p.nulls)
		row += int64(p.rows)
		b.merge(l.node, p.bounds)
		for i, e := range l.encodings {
			if e == p.coding {
				counts[i]++
			}
		}
	}
	m.TotalCompressedSize = w.offset - start
	m.Statistics = makeStatistics(nulls, b)
	for i, e := range l.encodings {
		m.EncodingStats = append(m.EncodingStats, format.PageEncodingStats{PageType: format.DataPage, Encoding: e, Count: counts[i]})
	}
	m.Encodings = append(thrift.Slice[format.Encoding]{format.RLE}, l.encodings...)
	if l.entries != nil && !slices.Contains(l.encodings, format.Plain) {
		m.Encodings = append(m.Encodings, format.Plain)
	}
	out.MetaData = m

	l.bounds.merge(l.node, b)
	l.metrics.Size += m.TotalCompressedSize
	l.metrics.Values += m.NumValues
	l.metrics.Nulls += nulls
	l.pages, l.encodings, l.entries, l.held = nil, nil, nil, 0
	l.release()
	l.values.endChunk()
	return out, nil
}

// Close writes what is held and the footer. It does not close the io.Writer.
func (w *Writer) Close() (Metrics, error) {
	if w.err != nil {
		return Metrics{}, w.err
	}
	m, err := w.close()
	w.err = errClosed
	if err != nil {
		w.err = err
	}
	w.leaves, w.groups, w.held, w.encoded = nil, nil, 0, 0
	return m, err
}

func (w *Writer) close() (Metrics, error) {
	s := w.format.borrow()
	defer w.format.giveBack(s)
	if err := w.flush(s); err != nil {
		return Metrics{}, err
	}
	s.out.Reset(w.out)
	defer s.out.Reset(nil)
	var tail bytes.Buffer
	if err := errors.Join(w.begin(s), w.format.footer(&tail, w.offset, w.rows, w.groups)); err != nil {
		return Metrics{}, err
	}
	if err := w.write(s, tail.Bytes()); err != nil {
		return Metrics{}, err
	}
	if err := s.out.Flush(); err != nil {
		return Metrics{}, fmt.Errorf("write the footer: %w", err)
	}
	m := Metrics{Rows: w.rows, Bytes: w.offset, SplitOffsets: w.splits, Columns: map[int]ColumnMetrics{}}
	for _, l := range w.leaves {
		if l.id == 0 {
			continue
		}
		c := l.metrics
		c.NaNs, c.Float = int64(l.bounds.nans), l.kind == floatKind
		c.Lower, c.Upper = l.icebergBounds(l.bounds)
		m.Columns[l.id] = c
	}
	return m, nil
}
