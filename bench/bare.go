package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"golang.org/x/sync/errgroup"

	"lake/bench/portal"
	"lake/ingest/decode/json"
	"lake/ingest/files"
	"lake/schemas"
	"lake/table/parquet"
)

// bare decodes the flat events and writes them as Parquet by date, and nothing
// else: no rules, no offsets, no durability, no commit. It is what a full
// ingest is measured against: bare INPUT FOLDER.
func bare(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("usage: bare INPUT FOLDER")
	}
	schema, location, err := portal.Columns()
	if err != nil {
		return err
	}
	source, err := files.New(files.Config{Paths: []string{args[0]}}, files.Options{})
	if err != nil {
		return err
	}
	defer source.Close()
	if err := os.MkdirAll(args[1], 0o755); err != nil {
		return err
	}

	// As the ingest does it: decoders on every core, in order, then one writer.
	type piece struct{ done chan arrow.RecordBatch }
	group, ctx := errgroup.WithContext(ctx)
	work, ordered := make(chan func(*json.Decoder) error), make(chan piece, 2*runtime.GOMAXPROCS(0))
	group.Go(func() error {
		defer close(work)
		defer close(ordered)
		for {
			batch, err := source.Poll(ctx)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			p := piece{done: make(chan arrow.RecordBatch, 1)}
			ordered <- p
			work <- func(d *json.Decoder) error {
				defer close(p.done)
				for _, record := range batch.Records {
					if err := d.Append(record); err != nil {
						return err
					}
				}
				if batch.Release != nil {
					batch.Release()
				}
				rows, err := d.Flush()
				if err == nil {
					p.done <- rows
				}
				return err
			}
		}
	})
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			d, err := json.NewDecoder(schema, json.Options{Mem: memory.DefaultAllocator})
			if err != nil {
				return err
			}
			defer d.Release()
			var errs []error
			for each := range work {
				errs = append(errs, each(d))
			}
			return errors.Join(errs...)
		})
	}
	group.Go(func() error {
		w := &bareWriter{folder: args[1], clock: schemas.NewZoneClock(location), open: map[int32]*bareFile{}}
		for p := range ordered {
			rows, ok := <-p.done
			if !ok {
				continue
			}
			err := w.write(rows)
			rows.Release()
			if err != nil {
				return err
			}
		}
		return w.close()
	})
	return group.Wait()
}

// bareWriter writes a file a date.
type bareWriter struct {
	folder string
	clock  *schemas.ZoneClock
	open   map[int32]*bareFile
	format *parquet.Format // of all files; nil: no row came yet
}

type bareFile struct {
	file *os.File
	*parquet.Writer
	rows []int32
}

func (w *bareWriter) write(rows arrow.RecordBatch) error {
	times := rows.Column(2).(*array.Timestamp)
	var touched []*bareFile
	for i := range times.Len() {
		date := w.clock.Date(int64(times.Value(i)))
		f := w.open[date]
		if f == nil {
			var err error
			if f, err = w.newFile(date, rows.Schema()); err != nil {
				return err
			}
		}
		if len(f.rows) == 0 {
			touched = append(touched, f)
		}
		f.rows = append(f.rows, int32(i))
	}
	for _, f := range touched {
		if err := f.Append(rows, f.rows); err != nil {
			return err
		}
		f.rows = f.rows[:0]
	}
	return nil
}

func (w *bareWriter) newFile(date int32, schema *arrow.Schema) (*bareFile, error) {
	file, err := os.Create(filepath.Join(w.folder, fmt.Sprintf("dt=%s.parquet", time.Unix(int64(date)*86400, 0).UTC().Format(time.DateOnly))))
	if err != nil {
		return nil, err
	}
	if w.format == nil { // as table.Writer has it: one format, and columns encoded on every core
		if w.format, err = parquet.NewFormat(schema, parquet.Options{Parallel: runtime.GOMAXPROCS(0)}); err != nil {
			return nil, errors.Join(err, file.Close())
		}
	}
	f := &bareFile{file: file, Writer: w.format.NewWriter(file)}
	w.open[date] = f
	return f, nil
}

func (w *bareWriter) close() error {
	var errs []error
	for _, f := range w.open {
		_, err := f.Close()
		errs = append(errs, err, f.file.Close())
	}
	return errors.Join(errs...)
}
