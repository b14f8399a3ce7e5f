package table

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/apache/iceberg-go"

	"lake/storage"
	"lake/table/parquet"
)

// Merging merges data files, each partition's by a Merger. They share what it
// takes to encode. Several goroutines may use it.
type Merging struct {
	table    *Table
	snapshot int64
	opts     WriterOptions
	unpack   *parquet.Unpacker
	buffers  sync.Pool // *[]byte, of files that were read in one piece

	mu     sync.Mutex
	schema int // that the format is of
	format *parquet.Format
}

// NewMerging prepares merges of files of a snapshot. Name and MemoryBytes of the
// options are each Merger's own.
func (t *Table) NewMerging(snapshot int64, o WriterOptions) *Merging {
	return &Merging{table: t, snapshot: snapshot, opts: o, unpack: parquet.NewUnpacker()}
}

// Merger writes rows of one partition's files into new ones, by dictionary and
// indices, without Arrow. A file that has deletes, or columns of another form,
// is read as Scan does. It is for one goroutine at a time.
type Merger struct {
	merging  *Merging
	writer   *Writer
	part     *partition
	defaults bool // the schema has initial defaults
}

// Discard removes files that Flush returned and nobody will commit.
func (m *Merging) Discard(ctx context.Context, files []iceberg.DataFile) error {
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = f.FilePath()
	}
	return m.table.catalog.fs.Remove(ctx, names...)
}

// wholeFile is the size up to which a file is read in one piece.
const wholeFile = 4 << 20

// Open begins a merge of files; false where their rows may belong to several
// partitions now, since the table is partitioned in another way than they are.
func (m *Merging) Open(files []File, name string, memoryBytes int64) (*Merger, bool, error) {
	o := m.opts
	o.Name, o.MemoryBytes = name, memoryBytes
	w, err := m.table.NewWriter(o)
	if err != nil {
		return nil, false, err
	}
	current := w.state.ice.Spec()
	spec := int32(current.ID())
	if len(files) == 0 || slices.ContainsFunc(files, func(f File) bool {
		return f.DataFile().SpecID() != spec || f.Partition != files[0].Partition
	}) {
		return nil, false, nil
	}
	m.mu.Lock()
	if id := w.state.ice.Schema().ID; m.format == nil || m.schema != id {
		m.schema, m.format = id, w.format
	}
	w.format = m.format
	m.mu.Unlock()
	g := &Merger{merging: m, writer: w, part: &partition{values: files[0].DataFile().Partition(), path: files[0].Partition}}
	g.defaults = slices.ContainsFunc(w.state.ice.Schema().Fields(), func(f iceberg.NestedField) bool { return f.InitialDefault != nil })
	w.parts = []*partition{g.part}
	return g, true, nil
}

// Copy appends all rows of files, in order, and tells how many they are. Of
// files that are read ahead not more than aheadBytes are in memory.
func (g *Merger) Copy(ctx context.Context, files []File, aheadBytes int64) (rows int64, err error) {
	reading, cancel := context.WithCancel(ctx) // new files become durable after the return
	var opening sync.WaitGroup
	var open []chan opened
	defer func() {
		cancel()
		opening.Wait()
		for _, each := range open {
			o := <-each
			g.merging.close(o)
		}
	}()
	held := int64(0)
	for next := 0; next < len(files) || len(open) > 0; {
		for next < len(files) && readNow(files[next], len(open), held, aheadBytes) {
			expectFiles(ctx, g.writer.fs, files, next)
			f, out := files[next], make(chan opened, 1)
			held += f.Bytes
			opening.Go(func() { out <- g.open(reading, f) })
			open = append(open, out)
			next++
		}
		f, source := files[next-len(open)], <-open[0]
		open, held = open[1:], held-f.Bytes
		n, err := g.copyFile(ctx, f, source)
		g.merging.close(source)
		if rows += n; err != nil {
			return rows, fmt.Errorf("merge %s: %w", f.Path, err)
		}
	}
	return rows, nil
}

// opened is a file whose footer was read.
type opened struct {
	source *parquet.Source // nil: its rows have to be scanned
	file   storage.File    // nil: closed
	data   *[]byte         // all of the file, which source points into; nil: it is read by parts
	err    error
}

// close ends the use of a file.
func (m *Merging) close(o opened) {
	if o.file != nil {
		_ = o.file.Close() // it was read only
	}
	if o.data != nil {
		m.buffers.Put(o.data)
	}
}

// buffer is one of n bytes, for close to give back.
func (m *Merging) buffer(n int) *[]byte {
	b, ok := m.buffers.Get().(*[]byte)
	if !ok || cap(*b) < n {
		// Files that are merged are about as large as each other.
		made := make([]byte, n, min(n+n/4, wholeFile))
		return &made
	}
	*b = (*b)[:n]
	return b
}

func (g *Merger) open(ctx context.Context, f File) opened {
	if f.Deletes > 0 || f.DataFile().FileFormat() != iceberg.ParquetFile {
		return opened{}
	}
	var o opened
	var from io.ReaderAt
	size := f.Bytes
	if size > 0 && size <= wholeFile {
		o.data = g.merging.buffer(int(size))
		o.err = storage.ReadWhole(ctx, g.writer.fs, f.DataFile().FilePath(), *o.data)
		if o.err != nil && !errors.Is(o.err, storage.ErrSize) {
			return o
		}
		from = parquet.Memory(*o.data)
	}
	if from == nil || o.err != nil { // it is large, or the manifest has a wrong size
		if o.file, o.err = g.writer.fs.Open(ctx, f.DataFile().FilePath()); o.err != nil {
			return o
		}
		from, size = o.file, o.file.Size()
	}
	file, err := parquet.Open(from, size, g.merging.unpack)
	if err == nil {
		o.source, err = g.writer.format.NewSource(file)
	}
	switch {
	case errors.Is(err, parquet.ErrForm):
		o.source = nil
	case err != nil:
		o.err = errors.Join(o.err, err)
	case o.source.Lacks() && g.defaults:
		o.source = nil
	}
	return o
}

// copyFile appends a file's rows.
func (g *Merger) copyFile(ctx context.Context, f File, o opened) (rows int64, err error) {
	if o.err != nil {
		return 0, o.err
	}
	if o.source == nil {
		for batch, err := range g.merging.table.Scan(ctx, ScanOptions{Snapshot: g.merging.snapshot, Files: []File{f}, BatchRows: mergeBatch}) {
			if err != nil {
				return rows, err
			}
			rows += batch.NumRows()
			err = g.step(ctx, func(w *parquet.Writer) error { return w.Append(batch, nil) })
			batch.Release()
			if err != nil {
				return rows, err
			}
		}
		return rows, nil
	}
	for k := range o.source.Groups() {
		if err := context.Cause(ctx); err != nil {
			return rows, err
		}
		rows += o.source.GroupRows(k)
		if err := g.step(ctx, func(w *parquet.Writer) error { return w.AppendGroup(o.source, k) }); err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// mergeBatch rows are few: in batches lie the rows as they are in memory.
const mergeBatch = 4 << 10

// step appends to the file that is being written, and keeps sizes and the budget.
func (g *Merger) step(ctx context.Context, add func(*parquet.Writer) error) error {
	w, p := g.writer, g.part
	if p.writer == nil {
		p.begin(w)
		p.writer = w.format.NewMerger(p.file)
	}
	p.file.ctx = ctx
	if err := add(p.writer); err != nil {
		return err
	}
	w.count()
	if p.size() >= w.opts.TargetBytes {
		return w.complete(ctx, p)
	}
	return w.keepBudget(ctx)
}

// Flush completes the files and returns them, as Writer.Flush does.
func (g *Merger) Flush(ctx context.Context) ([]iceberg.DataFile, error) { return g.writer.Flush(ctx) }

// Abort removes what was written and not returned by Flush.
func (g *Merger) Abort(ctx context.Context) error { return g.writer.Abort(ctx) }
