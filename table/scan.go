package table

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"runtime"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	icebergtable "github.com/apache/iceberg-go/table"

	"lake/schemas"
	"lake/storage"
	"lake/table/parquet"
)

// ScanOptions choose what a scan reads.
type ScanOptions struct {
	Snapshot   int64    // 0: the current one
	Columns    []string // in this order; empty: all
	From, To   int32    // dates, as in FileFilter
	BatchRows  int      // of a batch at most; 0: 32Ki
	AheadBytes int64    // that the files which are read at a time have together, unless it is one; 0: no bound
	Files      []File   // only these, in this order, as Files or a plan gave them; nil: by the fields above

	// Where lets the scan pass over rows that are not in all ranges of one of these lists, as
	// far as statistics of files and pages tell; others of them may come all the same. None: all.
	Where [][]Range
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
		p, err := t.newProjection(s, o)
		files := o.Files
		if err == nil && files == nil {
			files, err = t.files(ctx, s, FileFilter{Snapshot: o.Snapshot, From: o.From, To: o.To})
		}
		if err != nil {
			yield(nil, fmt.Errorf("scan table %s: %w", t.name, err))
			return
		}
		scanInOrder(ctx, p.wanted(files), p, o.AheadBytes, func(batch arrow.RecordBatch, err error) bool {
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
			expectFiles(ctx, p.fs, files, next)
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

// expectedFiles are announced to the storage at a time: so many are opened before what
// it was told is out of date.
const expectedFiles = 256

// expectFiles tells the storage, from time to time, which files are opened from the next one on.
func expectFiles(ctx context.Context, fs storage.FS, files []File, next int) {
	if next%expectedFiles > 0 || len(files) == 1 {
		return
	}
	files = files[next:min(next+expectedFiles, len(files))]
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = f.task.File.FilePath()
	}
	storage.Expect(ctx, fs, names)
}

// projection reads chosen columns in lake's Arrow types.
type projection struct {
	ice       *icebergtable.Table
	fs        storage.FS
	unpack    *parquet.Unpacker
	defaults  bool // a column has a value for files that lack it
	where     [][]parquet.Range
	batchRows int
	names     []string
	schema    *arrow.Schema
	columns   []int // position of each in what iceberg-go returns; found at the first batch
	once      sync.Once
	err       error
}

func (t *Table) newProjection(s *state, o ScanOptions) (*projection, error) {
	p := &projection{ice: s.ice, fs: t.catalog.fs, unpack: parquet.NewUnpacker(), defaults: hasDefaults(s.ice.Schema().Fields()), batchRows: cmp.Or(o.BatchRows, scanBatchRows)}
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
	p.where = rangesOf(s.schema, o.Where)
	return p, nil
}
