package table

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/iceberg-go"
	"golang.org/x/sync/errgroup"

	"lake/storage"
	"lake/table/parquet"
)

// WriterOptions say how data files are written. The zero value is good but for Name.
type WriterOptions struct {
	Mem           memory.Allocator // for Arrow memory, of which the writer takes none: rows are copied into its own buffers
	TargetBytes   int64            // a file that reaches this size is completed; 0 is 512 MiB
	RowGroupBytes int64            // values of a row group, not encoded; 0 is 128 MiB
	MemoryBytes   int64            // budget over all partitions; 0 is 256 MiB
	Codec         string           // zstd, snappy, none; "": as the table says, else zstd
	Name          string           // begins the names of the files; nobody else ever uses it for this table
	Parallel      int              // goroutines that encode; 0 is one a core
}

const (
	defaultTarget = 512 << 20
	defaultMemory = 256 << 20

	// maxOpenFiles bounds the files of one writer that are begun and not complete:
	// those with a row group written, since the rest is in memory only.
	maxOpenFiles = 256

	// syncing is how many files are made durable at a time at most: that is waiting,
	// not work.
	syncing = 16

	// A partition that got none of the last idleRows rows, and whose file is worth
	// it, has its file completed while the rest is still read: where events come
	// about in the order of their dates, little is left to be written at the end.
	idleRows  = 1 << 18
	idleBytes = 512 << 10
)

// Writer makes data files of rows: one file a partition, or several where they
// grow to the target. It is for one goroutine at a time.
//
// A file gets its name only when it is complete and durable, and no reader looks
// at it before a snapshot refers to it. What Flush returned is the caller's;
// after an error, Abort removes the rest and makes the writer fit for use again.
type Writer struct {
	opts   WriterOptions
	fs     storage.FS
	folder string // the table's data folder
	state  *state
	format *parquet.Format
	schema *arrow.Schema
	router *router
	encode chan struct{} // a token for each goroutine that may encode

	room    int64 // of the budget, for rows
	easy    bool  // a begun file takes no memory, so that row groups may be written early
	maxOpen int   // files begun

	fits    *arrow.Schema // the last batch schema that was checked
	columns []int         // its columns in the table's order; nil: as they are

	parts    []*partition // by the router's number
	numbers  []int32
	rows     rowLists
	files    int             // names given so far
	held     int64           // bytes in memory
	encoded  int64           // of them, pages that wait for their row group's end
	appended int64           // rows since the last flush
	opened   int             // files begun
	done     []*ended        // files completed, in the order in which that began
	ending   *errgroup.Group // makes those before the flush durable; nil: none yet
	folders  folders         // of the open files
	err      error
}

// NewWriter opens a writer for rows of the table's schema as it is now.
func (t *Table) NewWriter(opts WriterOptions) (*Writer, error) {
	s := t.now.Load()
	if opts.TargetBytes <= 0 {
		opts.TargetBytes = defaultTarget
	}
	if opts.MemoryBytes <= 0 {
		opts.MemoryBytes = defaultMemory
	}
	if opts.Parallel <= 0 {
		opts.Parallel = runtime.GOMAXPROCS(0)
	}
	if opts.Name == "" {
		return nil, fmt.Errorf("write to table %s: the files have no name", t.name)
	}
	folder, err := storage.Join(s.ice.Location(), "data")
	if err != nil {
		return nil, fmt.Errorf("write to table %s: %w", t.name, err)
	}
	schema := s.schema.Arrow()
	format, err := parquet.NewFormat(schema, parquet.Options{Codec: cmp.Or(opts.Codec, codecOf(s.ice.Properties())), RowGroupBytes: opts.RowGroupBytes, Parallel: opts.Parallel})
	if err != nil {
		return nil, fmt.Errorf("write to table %s: %w", t.name, err)
	}
	w := &Writer{opts: opts, fs: t.catalog.fs, folder: folder, state: s, format: format, schema: schema,
		encode: make(chan struct{}, opts.Parallel)}
	w.room, w.maxOpen, w.easy = opts.MemoryBytes, maxOpenFiles, true
	if each := storage.WriterBytes(w.fs, folder); each > 0 { // the parts of a store's uploads get half
		w.room /= 2
		w.maxOpen, w.easy = int(min(max(w.room/each, 2), maxOpenFiles)), false
	}
	if w.router, err = newRouter(s); err != nil {
		return nil, fmt.Errorf("write to table %s: %w", t.name, err)
	}
	return w, nil
}

// Write copies the rows of batch, whose columns are the table's, by name, in any
// order. The batch stays the caller's.
func (w *Writer) Write(ctx context.Context, batch arrow.RecordBatch) error {
	if w.err != nil {
		return w.err
	}
	if err := w.write(ctx, batch); err != nil {
		w.err = fmt.Errorf("write rows: %w", err)
		return w.err
	}
	return nil
}

func (w *Writer) write(ctx context.Context, batch arrow.RecordBatch) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	batch, err := w.arrange(batch)
	if err != nil {
		return err
	}
	defer batch.Release()
	if batch.NumRows() == 0 {
		return nil
	}
	if w.numbers, err = w.router.route(batch, w.numbers); err != nil {
		return err
	}
	for number := len(w.parts); number < w.router.partitions(); number++ {
		w.parts = append(w.parts, &partition{values: w.router.values(number), path: w.router.path(number)})
	}
	touched := w.rows.sort(w.numbers, len(w.parts))
	if err := w.append(ctx, batch, touched); err != nil {
		return err
	}
	w.folders.make(ctx, w.fs)
	w.appended += batch.NumRows()
	w.count()
	for _, number := range touched {
		p := w.parts[number]
		p.last = w.appended
		if p.size() >= w.opts.TargetBytes {
			if err := w.complete(ctx, p); err != nil {
				return err
			}
		}
	}
	if err := w.completeIdle(ctx); err != nil {
		return err
	}
	if err := w.ease(ctx); err != nil {
		return err
	}
	return w.keepBudget(ctx)
}

// completeIdle completes the files of partitions that seem to have all their
// rows. Each partition is taken for that once a flush, so that late rows make
// one more file and not many.
func (w *Writer) completeIdle(ctx context.Context) error {
	for _, p := range w.parts {
		if p.settled || p.writer == nil || w.appended-p.last < idleRows || p.size() < idleBytes {
			continue
		}
		p.settled = true
		if err := w.complete(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// append hands each partition its rows, several at a time.
func (w *Writer) append(ctx context.Context, batch arrow.RecordBatch, touched []int32) error {
	for _, number := range touched {
		p := w.parts[number]
		if p.writer == nil {
			p.begin(w)
		}
		p.file.ctx = ctx
	}
	one := func(number int32) error {
		p := w.parts[number]
		rows := w.rows.of(number)
		if len(rows) == int(batch.NumRows()) {
			rows = nil // all: no gather
		}
		return p.writer.Append(batch, rows)
	}
	workers := min(w.opts.Parallel, len(touched))
	if workers <= 1 || batch.NumRows() < 1024 {
		for _, number := range touched {
			if err := one(number); err != nil {
				return err
			}
		}
		return nil
	}
	CountNulls(batch)
	var g errgroup.Group
	var next atomic.Int64
	for range workers {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(touched) {
					return nil
				}
				if err := one(touched[i]); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// CountNulls makes the arrays of a batch count their nulls now: they do it when
// first asked and keep the number, which is a race among goroutines that read it.
func CountNulls(batch arrow.RecordBatch) {
	var walk func(arr arrow.Array)
	walk = func(arr arrow.Array) {
		arr.NullN()
		switch arr := arr.(type) {
		case *array.Struct:
			for i := range arr.NumField() {
				walk(arr.Field(i))
			}
		case array.ListLike:
			walk(arr.ListValues())
		}
	}
	for _, column := range batch.Columns() {
		walk(column)
	}
}

// arrange returns the batch with its columns in the table's order, retained.
func (w *Writer) arrange(batch arrow.RecordBatch) (arrow.RecordBatch, error) {
	schema := batch.Schema()
	if schema != w.fits {
		columns, err := w.match(schema)
		if err != nil {
			return nil, err
		}
		w.fits, w.columns = schema, columns
	}
	if w.columns == nil {
		batch.Retain()
		return batch, nil
	}
	columns := make([]arrow.Array, len(w.columns))
	for i, at := range w.columns {
		columns[i] = arranged(batch.Column(at), w.schema.Field(i).Type)
		defer columns[i].Release()
	}
	return array.NewRecordBatch(w.schema, columns, batch.NumRows()), nil
}

// match finds the table's columns among a batch's; nil where they lie in order.
func (w *Writer) match(schema *arrow.Schema) ([]int, error) {
	var errs []error
	columns := make([]int, w.schema.NumFields())
	inOrder := schema.NumFields() == len(columns)
	for i, want := range w.schema.Fields() {
		found := schema.FieldIndices(want.Name)
		switch {
		case len(found) == 0:
			errs = append(errs, fmt.Errorf("the batch has no column %q", want.Name))
		case len(found) > 1:
			errs = append(errs, fmt.Errorf("the batch has column %q %d times", want.Name, len(found)))
		case !sameMembers(schema.Field(found[0]).Type, want.Type):
			errs = append(errs, fmt.Errorf("column %q is %s in the table and %s in the batch", want.Name, want.Type, schema.Field(found[0]).Type))
		default:
			columns[i] = found[0]
			inOrder = inOrder && found[0] == i && arrow.TypeEqual(schema.Field(found[0]).Type, want.Type)
		}
	}
	for _, f := range schema.Fields() {
		if !w.schema.HasField(f.Name) {
			errs = append(errs, fmt.Errorf("the table has no column %q", f.Name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if inOrder {
		columns = nil
	}
	return columns, nil
}

// complete ends a partition's file before the flush, which waits until it is
// durable; the partition's next row begins another.
func (w *Writer) complete(ctx context.Context, p *partition) error {
	held, encoded, begun := p.held(), p.encoded(), p.file.out != nil
	e, err := p.end(ctx)
	if err != nil {
		return err
	}
	w.encoded -= encoded
	if w.held -= held; begun {
		w.opened--
	}
	w.done = append(w.done, e)
	if w.ending == nil {
		w.ending = &errgroup.Group{}
		w.ending.SetLimit(min(syncing, w.maxOpen))
	}
	w.ending.Go(func() error { return e.publish(w.state) })
	return nil
}

// Buffered is the memory held, in bytes.
func (w *Writer) Buffered() int64 { return w.held }

// Rows is how many rows were written since the last flush.
func (w *Writer) Rows() int64 { return w.appended }

// Flush completes all files and returns them, with their metrics, in the order
// in which they were completed. The writer is then ready for more rows.
func (w *Writer) Flush(ctx context.Context) ([]iceberg.DataFile, error) {
	if w.err != nil {
		return nil, w.err
	}
	if err := w.folders.finish(ctx, w.fs); err != nil {
		w.err = fmt.Errorf("flush data files: %w", withMend(err))
		return nil, w.err
	}
	open := slices.DeleteFunc(slices.Clone(w.parts), func(p *partition) bool { return p.writer == nil })
	last := make([]*ended, len(open))
	g, flushing := errgroup.WithContext(ctx)
	g.SetLimit(max(min(syncing, w.maxOpen), w.opts.Parallel))
	for i, p := range open {
		g.Go(func() (err error) {
			p.file.ctx = flushing
			if err := p.file.begin(); err != nil { // that waits for the disk as well: not with a token
				return err
			}
			w.encode <- struct{}{}
			last[i], err = p.end(flushing)
			<-w.encode
			if err != nil {
				return err
			}
			return last[i].publish(w.state)
		})
	}
	err := errors.Join(g.Wait(), w.wait())
	for _, e := range last {
		if e != nil {
			w.done = append(w.done, e)
		}
	}
	if err != nil {
		w.err = fmt.Errorf("flush data files: %w", err)
		return nil, w.err
	}
	files := make([]iceberg.DataFile, len(w.done))
	for i, e := range w.done {
		files[i] = e.described
	}
	return files, w.reset()
}

// wait waits for the files that are being made durable.
func (w *Writer) wait() error {
	if w.ending == nil {
		return nil
	}
	err := w.ending.Wait()
	w.ending = nil
	return err
}

// reset forgets the partitions and what belongs to the caller now.
func (w *Writer) reset() (err error) {
	w.parts, w.done, w.err = nil, nil, nil
	w.held, w.encoded, w.appended, w.opened = 0, 0, 0, 0
	w.router, err = newRouter(w.state)
	return err
}

// Abort removes what was written and not returned by Flush. The writer is then
// empty and may be used again.
func (w *Writer) Abort(ctx context.Context) error {
	var errs []error
	_ = w.wait()         // a file that did not become durable has removed itself
	_ = w.folders.drop() // nothing will lie in them
	for _, p := range w.parts {
		if p.file != nil {
			errs = append(errs, p.file.abort())
		}
	}
	uris := make([]string, len(w.done))
	for i, e := range w.done {
		uris[i] = e.file.uri
	}
	errs = append(errs, w.fs.Remove(ctx, uris...), w.reset())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove unfinished data files: %w; lake tables clean removes what is left", err)
	}
	return nil
}
