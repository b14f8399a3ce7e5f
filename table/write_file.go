package table

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/apache/iceberg-go"

	"lake/faults"
	"lake/storage"
	"lake/table/parquet"
)

// partition is what a writer holds of one partition's rows.
type partition struct {
	values map[int]any // Iceberg's values, by the partition field's id
	path   string      // dt=2021-11-30; "" where the table is not partitioned
	writer *parquet.Writer
	file   *lazyFile

	order int // sort order of its rows, by id; 0: none

	last    int64 // rows that the writer had when the partition last got some
	settled bool  // its file was completed since no more rows seemed to come
}

func (p *partition) begin(w *Writer) {
	folder := w.folder
	if p.path != "" {
		folder += "/" + p.path
	}
	p.file = &lazyFile{fs: w.fs, uri: fmt.Sprintf("%s/%s-%05d.parquet", folder, w.opts.Name, w.files)}
	p.writer = w.format.NewWriter(p.file)
	w.folders.expect(folder)
	w.files++
}

func (p *partition) held() int64 {
	if p.writer == nil {
		return 0
	}
	return p.writer.Buffered()
}

// encoded are the bytes of pages that wait for their row group's end.
func (p *partition) encoded() int64 {
	if p.writer == nil {
		return 0
	}
	return p.writer.Encoded()
}

// size is about what the file will take.
func (p *partition) size() int64 {
	if p.writer == nil {
		return 0
	}
	return p.writer.Written() + p.writer.Pending()
}

// ended is a file that is written to its end, and durable under its name once
// publish has returned.
type ended struct {
	file      *lazyFile
	values    map[int]any // of its partition
	order     int
	metrics   parquet.Metrics
	described iceberg.DataFile // by publish
}

// end writes the rest of the partition's file and lets go of it.
func (p *partition) end(ctx context.Context) (*ended, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	p.file.ctx = ctx
	m, err := p.writer.Close()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.file.uri, err)
	}
	e := &ended{file: p.file, values: p.values, order: p.order, metrics: m}
	p.writer, p.file = nil, nil
	return e, nil
}

func (e *ended) publish(s *state) (err error) {
	if err := e.file.close(); err != nil {
		return err
	}
	e.described, err = e.describe(s)
	return err
}

// describe is the file as Iceberg's manifest will have it.
func (e *ended) describe(s *state) (iceberg.DataFile, error) {
	m := e.metrics
	b, err := iceberg.NewDataFileBuilder(s.ice.Spec(), iceberg.EntryContentData, e.file.uri, iceberg.ParquetFile,
		e.values, nil, nil, m.Rows, m.Bytes)
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", e.file.uri, err)
	}
	sizes, values, nulls, nans := map[int]int64{}, map[int]int64{}, map[int]int64{}, map[int]int64{}
	lower, upper := map[int][]byte{}, map[int][]byte{}
	for id, c := range m.Columns {
		sizes[id], values[id], nulls[id] = c.Size, c.Values, c.Nulls
		if c.Float {
			nans[id] = c.NaNs
		}
		if c.Lower != nil {
			lower[id] = c.Lower
		}
		if c.Upper != nil {
			upper[id] = c.Upper
		}
	}
	if e.order != 0 {
		b.SortOrderID(e.order)
	}
	return b.ColumnSizes(sizes).ValueCounts(values).NullValueCounts(nulls).NaNValueCounts(nans).
		LowerBoundValues(lower).UpperBoundValues(upper).SplitOffsets(m.SplitOffsets).Build(), nil
}

// lazyFile is a file that is begun with its first byte, so that a partition
// whose rows are all in memory has no file open.
type lazyFile struct {
	fs  storage.FS
	uri string
	ctx context.Context // of the call that writes now
	out storage.Writer
}

// begin makes the file where it is not there yet.
func (f *lazyFile) begin() error {
	if f.out != nil {
		return nil
	}
	out, err := f.fs.Create(f.ctx, f.uri)
	if err != nil {
		return withMend(err)
	}
	f.out = out
	return nil
}

func (f *lazyFile) Write(data []byte) (int, error) {
	if err := f.begin(); err != nil {
		return 0, err
	}
	n, err := f.out.Write(data)
	faults.Point(faults.ParquetBegun)
	return n, withMend(err)
}

func (f *lazyFile) close() error {
	out := f.out
	f.out = nil
	if out == nil {
		return nil
	}
	if err := out.Close(); err != nil {
		return withMend(errors.Join(err, out.Abort()))
	}
	return nil
}

// abort drops what was written.
func (f *lazyFile) abort() error {
	out := f.out
	f.out = nil
	if out == nil {
		return nil
	}
	return out.Abort()
}

// withMend says what a person can do about a full disk.
func withMend(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w; hint: make room on the disk of the warehouse and run again: nothing is committed, nothing is lost", err)
	}
	return err
}
