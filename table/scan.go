package table

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	icebergtable "github.com/apache/iceberg-go/table"

	"lake/schemas"
	"lake/storage"
)

// ScanOptions choose what a scan reads.
type ScanOptions struct {
	Snapshot   int64    // 0: the current one
	Columns    []string // in this order; empty: all
	From, To   int32    // dates, as in FileFilter
	BatchRows  int      // of a batch at most; 0: 32Ki
	AheadBytes int64    // that the files which are read at a time have together, unless it is one; 0: no bound
	Files      []File   // only these, in this order, as Files or a plan gave them; nil: by the fields above
}

const (
	scanBatchRows = 32 << 10
	scanAhead     = 2 // batches that wait for the consumer, a reader
	scanReaders   = 4 // files read at a time, at most

	// Small files of a store are more at a time: to open them is mostly waiting.
	storeReaders = 8
	storeAhead   = 4 << 20 // bytes of the files that are, together
)

// Scan reads rows in the schema that the table has now: columns that a file
// lacks are null, and rows that delete files name are left out. The order is
// that of Files, and within a file its own, so that two scans of a snapshot are
// equal. Each batch is the consumer's to release. An error ends the scan.
//
// Memory: for each of at most four files that are read at a time one row group,
// as it lies in the file, and a few batches; AheadBytes bounds the files. Of files
// in a store up to eight are, where they have not more than 4 MiB together.
func (t *Table) Scan(ctx context.Context, o ScanOptions) iter.Seq2[arrow.RecordBatch, error] {
	return func(yield func(arrow.RecordBatch, error) bool) {
		s := t.now.Load()
		p, err := newProjection(s, o)
		files := o.Files
		if err == nil && files == nil {
			files, err = t.files(ctx, s, FileFilter{Snapshot: o.Snapshot, From: o.From, To: o.To})
		}
		if err != nil {
			yield(nil, fmt.Errorf("scan table %s: %w", t.name, err))
			return
		}
		scanInOrder(ctx, files, p, o.AheadBytes, func(batch arrow.RecordBatch, err error) bool {
			if err != nil {
				err = fmt.Errorf("scan table %s: %w", t.name, err)
			}
			return yield(batch, err)
		})
	}
}

type scanned struct {
	batch arrow.RecordBatch
	err   error
}

// scanInOrder reads some files ahead, each in a goroutine with a bounded
// channel, and yields their batches file after file.
func scanInOrder(ctx context.Context, files []File, p *projection, most int64, yield func(arrow.RecordBatch, error) bool) {
	ctx, cancel := context.WithCancel(ctx)
	var readers sync.WaitGroup
	var open []chan scanned
	defer func() {
		cancel()
		for _, out := range open {
			for r := range out {
				if r.batch != nil {
					r.batch.Release()
				}
			}
		}
		readers.Wait()
	}()
	ahead := int64(0) // bytes of the open ones
	for next := 0; next < len(files) || len(open) > 0; {
		for next < len(files) && readNow(files[next], len(open), ahead, most) {
			out := make(chan scanned, scanAhead)
			f := files[next]
			ahead += f.Bytes
			readers.Go(func() {
				defer close(out)
				p.read(ctx, f, out)
			})
			open = append(open, out)
			next++
		}
		for r := range open[0] {
			if !yield(r.batch, r.err) || r.err != nil {
				return
			}
		}
		ahead -= files[next-len(open)].Bytes
		open = open[1:]
		if ctx.Err() != nil {
			yield(nil, context.Cause(ctx))
			return
		}
	}
}

// readNow tells whether a file is read beside the open ones, which have so many
// bytes together and may have most.
func readNow(f File, open int, bytes, most int64) bool {
	if open > 0 && most > 0 && bytes+f.Bytes > most {
		return false
	}
	if open < min(runtime.GOMAXPROCS(0), scanReaders) {
		return true
	}
	return open < storeReaders && bytes+f.Bytes <= storeAhead && storage.IsRemote(f.Path)
}

// projection reads chosen columns in lake's Arrow types.
type projection struct {
	ice       *icebergtable.Table
	batchRows int
	names     []string
	schema    *arrow.Schema
	columns   []int // position of each in what iceberg-go returns; found at the first batch
	once      sync.Once
	err       error
}

func newProjection(s *state, o ScanOptions) (*projection, error) {
	p := &projection{ice: s.ice, batchRows: cmp.Or(o.BatchRows, scanBatchRows)}
	columns := o.Columns
	if len(columns) == 0 {
		columns = s.schema.Names()
	}
	var chosen schemas.Schema
	for _, name := range columns {
		i := s.schema.Index(name)
		if i < 0 {
			return nil, fmt.Errorf("there is no column %q", name)
		}
		chosen.Fields = append(chosen.Fields, s.schema.Fields[i])
		p.names = append(p.names, s.schema.Fields[i].Name)
	}
	p.schema = chosen.Arrow()
	return p, nil
}

// read sends a file's batches until its end, an error, or the context's end.
func (p *projection) read(ctx context.Context, f File, out chan<- scanned) {
	send := func(r scanned) bool {
		select {
		case out <- r:
			return true
		case <-ctx.Done():
			if r.batch != nil {
				r.batch.Release()
			}
			return false
		}
	}
	fail := func(err error) { send(scanned{err: fmt.Errorf("read %s: %w", f.Path, err)}) }
	scan := p.ice.Scan(icebergtable.WithSelectedFields(p.names...), icebergtable.WithMaxConcurrency(1), icebergtable.WithArrowBatchSize(p.batchRows))
	defer func() { _ = scan.Close() }() // it holds resources of remote plans only
	_, batches, err := scan.ReadTasks(ctx, []icebergtable.FileScanTask{f.task})
	if err != nil {
		fail(err)
		return
	}
	for batch, err := range batches {
		if err != nil {
			if batch != nil {
				batch.Release()
			}
			fail(err)
			return
		}
		mine, err := p.convert(batch)
		batch.Release()
		if err != nil {
			fail(err)
			return
		}
		if !send(scanned{batch: mine}) {
			return
		}
	}
}

// convert gives a batch lake's types and order, without copying.
func (p *projection) convert(batch arrow.RecordBatch) (arrow.RecordBatch, error) {
	p.once.Do(func() {
		for _, name := range p.names {
			at := batch.Schema().FieldIndices(name)
			if len(at) != 1 {
				p.err = fmt.Errorf("column %q is there %d times", name, len(at))
				return
			}
			p.columns = append(p.columns, at[0])
		}
	})
	if p.err != nil {
		return nil, p.err
	}
	arrays := make([]arrow.Array, len(p.columns))
	defer func() {
		for _, a := range arrays {
			if a != nil {
				a.Release()
			}
		}
	}()
	for i, at := range p.columns {
		data, err := retype(batch.Column(at).Data(), p.schema.Field(i).Type)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", p.names[i], err)
		}
		arrays[i] = array.MakeFromData(data)
		data.Release()
	}
	return array.NewRecordBatch(p.schema, arrays, batch.NumRows()), nil
}

// retype is data under another type of the same layout: the names and ids of
// nested fields, or a uuid without its extension. The caller releases it.
func retype(data arrow.ArrayData, want arrow.DataType) (arrow.ArrayData, error) {
	is := data.DataType()
	if ext, ok := is.(arrow.ExtensionType); ok {
		is = ext.StorageType()
	}
	a, b := children(is), children(want)
	if is.ID() != want.ID() || len(a) != len(b) || len(a) == 0 && !arrow.TypeEqual(is, want) {
		return nil, fmt.Errorf("the file gives %s and the table's schema says %s", data.DataType(), want)
	}
	kids := make([]arrow.ArrayData, len(b))
	defer func() {
		for _, k := range kids {
			if k != nil {
				k.Release()
			}
		}
	}()
	if len(data.Children()) != len(b) {
		return nil, errors.New("a nested column lacks its children")
	}
	for i := range b {
		var err error
		if kids[i], err = retype(data.Children()[i], b[i]); err != nil {
			return nil, err
		}
	}
	return array.NewData(want, data.Len(), data.Buffers(), kids, data.NullN(), data.Offset()), nil
}

// children are the types of an array's child data.
func children(t arrow.DataType) []arrow.DataType {
	switch t := t.(type) {
	case *arrow.MapType:
		return []arrow.DataType{t.Elem()}
	case arrow.ListLikeType:
		return []arrow.DataType{t.Elem()}
	case *arrow.StructType:
		out := make([]arrow.DataType, t.NumFields())
		for i, f := range t.Fields() {
			out[i] = f.Type
		}
		return out
	default:
		return nil
	}
}
