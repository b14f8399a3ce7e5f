package table

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"sort"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lake/table/parquet"
)

// Rows that are to be in order are sorted a part at a time, as much as the
// memory takes. Where that is not all, each part is a run, in a temporary file,
// and the runs are merged. Large files that have the order already are runs as they are.

// Order is a sort order of the table: SortOrder's id, and its columns.
type Order struct {
	ID      int
	Columns []string
}

// errUnordered says that a file is not in the order that it says it has.
var errUnordered = errors.New("a file is not in the order that the manifest says")

// CopySorted appends all rows of files in an order, and tells how many they are.
// It takes the place of Copy and is called once. What is in memory to be sorted is an eighth of the
// merger's memory, not more by much; a merge of runs holds a small row group of each.
func (g *Merger) CopySorted(ctx context.Context, files []File, order Order) (rows int64, err error) {
	g.part.order = order.ID
	rows, err = g.copySorted(ctx, files, order, true)
	if !errors.Is(err, errUnordered) {
		return rows, err
	}
	if err := g.writer.Abort(ctx); err != nil {
		return 0, err
	}
	g.part = &partition{values: g.part.values, path: g.part.path, order: order.ID}
	g.writer.parts = []*partition{g.part}
	return g.copySorted(ctx, files, order, false)
}

func (g *Merger) copySorted(ctx context.Context, files []File, order Order, trust bool) (rows int64, err error) {
	s := &rowSorter{merger: g, room: max(g.writer.opts.MemoryBytes/8, 1<<20)}
	for _, name := range order.Columns {
		s.columns = append(s.columns, g.writer.state.schema.Index(name))
	}
	defer s.close()
	var mixed []File
	streamed := int64(0)
	for _, f := range files {
		if !trust || f.SortOrder != order.ID || f.Bytes <= wholeFile || streamed+min(f.Bytes, parquet.DefaultRowGroupBytes) > g.writer.opts.MemoryBytes/4 {
			mixed = append(mixed, f)
			continue
		}
		streamed += min(f.Bytes, parquet.DefaultRowGroupBytes)
		s.stream(g.merging.table.Scan(ctx, ScanOptions{Snapshot: g.merging.snapshot, Files: []File{f}, BatchRows: mergeBatch}))
	}
	if len(mixed) > 0 {
		for batch, err := range g.merging.table.Scan(ctx, ScanOptions{Snapshot: g.merging.snapshot, Files: mixed, AheadBytes: g.writer.opts.MemoryBytes / 8}) {
			if err != nil {
				return 0, err
			}
			if err := s.add(batch); err != nil {
				return 0, err
			}
		}
	}
	if len(s.runs) == 0 { // all of it is in memory
		return s.part(func(batch arrow.RecordBatch, order []int32) error {
			return g.step(ctx, func(w *parquet.Writer) error { return w.Append(batch, order) })
		})
	}
	if err := s.spill(); err != nil {
		return 0, err
	}
	return s.merge(ctx)
}

// rowSorter sorts rows of one schema.
type rowSorter struct {
	merger  *Merger
	columns []int // that are sorted by
	room    int64 // bytes in memory
	held    int64
	batches []arrow.RecordBatch
	runs    []*sortedRun
}

// sortedRun is rows in order, a batch at a time.
type sortedRun struct {
	next  func() (arrow.RecordBatch, error, bool)
	stop  func()
	file  *os.File          // temporary; nil: none
	batch arrow.RecordBatch // nil: to be fetched
	keys  keys
	at    int // rows of the batch that are done
}

// add takes a batch over.
func (s *rowSorter) add(batch arrow.RecordBatch) error {
	s.batches = append(s.batches, batch)
	for _, c := range batch.Columns() {
		s.held += dataBytes(c.Data())
	}
	if s.held < s.room {
		return nil
	}
	return s.spill()
}

func dataBytes(d arrow.ArrayData) (n int64) {
	for _, b := range d.Buffers() {
		if b != nil {
			n += int64(b.Len())
		}
	}
	for _, c := range d.Children() {
		n += dataBytes(c)
	}
	return n
}

// part hands what is in memory to take, with the order of its rows, and forgets it.
func (s *rowSorter) part(take func(arrow.RecordBatch, []int32) error) (rows int64, err error) {
	if len(s.batches) == 0 {
		return 0, nil
	}
	batch, err := joined(s.batches)
	s.forget()
	if err != nil {
		return 0, err
	}
	defer batch.Release()
	k, err := newKeys(batch, s.columns)
	if err != nil {
		return 0, err
	}
	return batch.NumRows(), take(batch, k.sort(int(batch.NumRows())))
}

func (s *rowSorter) forget() {
	for _, b := range s.batches {
		b.Release()
	}
	s.batches, s.held = nil, 0
}

// joined is the rows of batches in one. The caller releases it.
func joined(batches []arrow.RecordBatch) (arrow.RecordBatch, error) {
	if len(batches) == 1 {
		batches[0].Retain()
		return batches[0], nil
	}
	columns := make([]arrow.Array, batches[0].NumCols())
	defer func() {
		for _, c := range columns {
			if c != nil {
				c.Release()
			}
		}
	}()
	rows := int64(0)
	for _, b := range batches {
		rows += b.NumRows()
	}
	parts := make([]arrow.Array, len(batches))
	for i := range columns {
		for j, b := range batches {
			parts[j] = b.Column(i)
		}
		var err error
		if columns[i], err = array.Concatenate(parts, memory.DefaultAllocator); err != nil {
			return nil, fmt.Errorf("join batches: %w", err)
		}
	}
	return array.NewRecordBatch(batches[0].Schema(), columns, rows), nil
}

// spillGroup is the size of a row group in a temporary file, not encoded: one of each run is in memory.
const spillGroup = 2 << 20

// spill makes a run of what is in memory, in a temporary file that has no name.
func (s *rowSorter) spill() error {
	if len(s.batches) == 0 {
		return nil
	}
	out, err := os.CreateTemp("", "lake-sort-")
	if err != nil {
		return fmt.Errorf("make a temporary file to sort rows: %w", err)
	}
	if err := os.Remove(out.Name()); err != nil {
		return errors.Join(fmt.Errorf("make a temporary file to sort rows: %w", err), out.Close())
	}
	schema := s.batches[0].Schema()
	w, err := parquet.NewWriter(out, schema, parquet.Options{Codec: "snappy", RowGroupBytes: spillGroup})
	if err == nil {
		_, err = s.part(w.Append)
	}
	var written parquet.Metrics
	if err == nil {
		written, err = w.Close()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write a temporary file to sort rows: %w", withMend(err)), out.Close())
	}
	batches, err := s.spilled(out, written.Bytes, schema)
	if err != nil {
		return errors.Join(fmt.Errorf("read a temporary file of sorted rows: %w", err), out.Close())
	}
	s.stream(batches).file = out
	return nil
}

// spilled reads a temporary file back.
func (s *rowSorter) spilled(in *os.File, size int64, schema *arrow.Schema) (iter.Seq2[arrow.RecordBatch, error], error) {
	f, err := parquet.Open(in, size, s.merger.merging.unpack)
	if err != nil {
		return nil, err
	}
	rows, err := f.Rows(schema, parquet.RowsOptions{Mem: memory.DefaultAllocator, Batch: mergeBatch})
	if err != nil {
		return nil, err
	}
	return rows.All(), nil
}

func (s *rowSorter) stream(batches iter.Seq2[arrow.RecordBatch, error]) *sortedRun {
	r := &sortedRun{}
	r.next, r.stop = iter.Pull2(batches)
	s.runs = append(s.runs, r)
	return r
}

func (s *rowSorter) close() {
	s.forget()
	for _, r := range s.runs {
		r.close()
	}
}

func (r *sortedRun) close() {
	r.done()
	r.stop()
	if r.file != nil {
		_ = r.file.Close() // it has no name, and what it had is read
	}
}

func (r *sortedRun) done() {
	if r.batch != nil {
		r.batch.Release()
		r.batch = nil
	}
}

// fetch makes sure that there are rows; false at the end.
func (r *sortedRun) fetch(columns []int) (bool, error) {
	for r.batch == nil || r.at == int(r.batch.NumRows()) {
		batch, err, ok := r.next()
		if err != nil || !ok {
			r.done()
			return false, err
		}
		if batch.NumRows() == 0 {
			batch.Release()
			continue
		}
		k, err := newKeys(batch, columns)
		if err == nil && (!k.rising(int(batch.NumRows())) || r.batch != nil && r.keys.compare(int(r.batch.NumRows())-1, k, 0) > 0) {
			err = errUnordered
		}
		if err != nil {
			batch.Release()
			return false, err
		}
		r.done()
		r.batch, r.keys, r.at = batch, k, 0
	}
	return true, nil
}

// merge appends the rows of the runs. What is not above the least of their
// batches' last rows is complete: it is sorted and written.
func (s *rowSorter) merge(ctx context.Context) (rows int64, err error) {
	g := s.merger
	for {
		least := -1
		for i := 0; i < len(s.runs); {
			r := s.runs[i]
			ok, err := r.fetch(s.columns)
			if err != nil {
				return rows, err
			}
			if !ok {
				r.close()
				s.runs = slices.Delete(s.runs, i, i+1)
				continue
			}
			if least < 0 || r.keys.compare(int(r.batch.NumRows())-1, s.runs[least].keys, int(s.runs[least].batch.NumRows())-1) < 0 {
				least = i
			}
			i++
		}
		if least < 0 {
			return rows, nil
		}
		cut := s.runs[least]
		last := int(cut.batch.NumRows()) - 1
		for _, r := range s.runs {
			n := sort.Search(int(r.batch.NumRows())-r.at, func(i int) bool { return r.keys.compare(r.at+i, cut.keys, last) > 0 })
			if n > 0 {
				s.batches = append(s.batches, r.batch.NewSlice(int64(r.at), int64(r.at+n)))
				r.at += n
			}
		}
		n, err := s.part(func(batch arrow.RecordBatch, order []int32) error {
			return g.step(ctx, func(w *parquet.Writer) error { return w.Append(batch, order) })
		})
		if rows += n; err != nil {
			return rows, err
		}
	}
}
