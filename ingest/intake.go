package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"golang.org/x/sync/errgroup"

	"lake/ingest/decode"
	"lake/schemas"
)

// Event times outside of this range are refused: a zero or a wrong unit makes
// dates like 1970-01-01 and 53871-03-02, which would be partitions for ever.
var (
	earliestTime = time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC).UnixMicro()
	latestTime   = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
)

// RecordTime is the time field that stands for the record's own timestamp.
const RecordTime = "_timestamp"

// decoded is a batch after its decoder, with the columns that lake makes.
type decoded struct {
	source  Batch // its records are gone but for the positions
	records int   // how many there were
	bytes   int64
	rows    arrow.RecordBatch // nil: none
	offsets []int64           // of each row
	times   []int64           // event time of each row; nil: the job has none
	dates   []int32           // local date of each row; nil likewise
	letters []Letter
	err     error
}

func (d *decoded) release() {
	if d.rows != nil {
		d.rows.Release()
		d.rows = nil
	}
}

// intake polls the source and decodes on several goroutines, in order.
type intake struct {
	source     Source
	newDecoder func() (decode.Decoder, error)
	time       *EventTime
	mem        memory.Allocator
	workers    int

	out chan *decoded // in the source's order; closed at its end or after an error
}

// job is a polled batch on its way through a decoder.
type job struct {
	batch Batch
	done  chan *decoded
}

// start runs the intake until the source ends, fails or ctx ends. The group
// waits for its goroutines. What the source holds back is bounded by the
// channels: three batches a worker, polled or decoded and not yet taken.
func (in *intake) start(ctx context.Context, group *errgroup.Group) {
	in.out = make(chan *decoded)
	work := make(chan *job)
	ordered := make(chan *job, 2*in.workers) // the writer takes its time where pages of all columns end at once

	group.Go(func() error { // poll
		defer close(work)
		defer close(ordered)
		for {
			batch, err := in.source.Poll(ctx)
			j := &job{batch: batch, done: make(chan *decoded, 1)}
			if err != nil {
				if !errors.Is(err, io.EOF) && ctx.Err() == nil {
					j.done <- &decoded{err: fmt.Errorf("read the source: %w", err)}
					select {
					case ordered <- j:
					case <-ctx.Done():
					}
				}
				return nil
			}
			select {
			case ordered <- j:
			case <-ctx.Done():
				release(batch)
				return nil
			}
			select {
			case work <- j:
			case <-ctx.Done():
				release(batch)
				j.done <- &decoded{err: ctx.Err()}
				return nil
			}
		}
	})
	for range in.workers {
		group.Go(func() error {
			w, err := in.newWorker()
			for j := range work {
				if err != nil {
					release(j.batch)
					j.done <- &decoded{err: err}
					continue
				}
				j.done <- w.decode(j.batch)
			}
			if err == nil {
				w.decoder.Release()
			}
			return nil
		})
	}
	group.Go(func() error { // put in order
		defer close(in.out)
		for j := range ordered {
			d := <-j.done
			select {
			case in.out <- d:
			case <-ctx.Done():
				d.release()
			}
		}
		return nil
	})
}

func release(b Batch) {
	if b.Release != nil {
		b.Release()
	}
}

// worker decodes batches; it is one goroutine's.
type worker struct {
	decoder decode.Decoder
	time    *EventTime
	column  int // of the event time in the decoder's schema
	clock   *schemas.ZoneClock
	mem     memory.Allocator
}

func (in *intake) newWorker() (*worker, error) {
	decoder, err := in.newDecoder()
	if err != nil {
		return nil, err
	}
	w := &worker{decoder: decoder, time: in.time, mem: in.mem}
	if in.time != nil {
		w.clock = schemas.NewZoneClock(in.time.Zone)
		w.column = in.time.Column
	}
	return w, nil
}

// decode turns a batch into rows and dead letters and hands its buffers back.
func (w *worker) decode(batch Batch) *decoded {
	d := &decoded{source: batch, records: len(batch.Records)}
	defer func() {
		release(batch)
		d.source.Records, d.source.Offsets, d.source.Times, d.source.Release = nil, nil, nil, nil
	}()
	if len(batch.Records) == 0 {
		return d
	}
	rows := make([]int32, 0, len(batch.Records)) // record of each row
	for i, record := range batch.Records {
		d.bytes += int64(len(record))
		err := w.decoder.Append(record)
		if err == nil {
			rows = append(rows, int32(i))
			continue
		}
		var refused *decode.Error
		if !errors.As(err, &refused) {
			d.err = fmt.Errorf("decode %s at %d: %w", batch.Partition, batch.Offsets[i], err)
			return d
		}
		d.letters = append(d.letters, w.letter(batch, i, refused.Stage, refused.Error()))
	}
	out, err := w.decoder.Flush()
	if err != nil {
		d.err = fmt.Errorf("decode %s: %w", batch.Partition, err)
		return d
	}
	d.rows = out
	if w.time != nil {
		if err := w.makeColumns(d, batch, rows); err != nil {
			d.err = err
			d.release()
			return d
		}
		return d
	}
	d.offsets = make([]int64, len(rows))
	for i, r := range rows {
		d.offsets[i] = batch.Offsets[r]
	}
	return d
}

func (w *worker) letter(batch Batch, record int, stage decode.Stage, reason string) Letter {
	at := int64(noTime)
	if batch.Times != nil {
		at = batch.Times[record]
	}
	return newLetter(batch.Partition, batch.Offsets[record], at, stage, reason, batch.Records[record])
}

// makeColumns adds the columns that lake makes and refuses rows whose event
// time is null or implausible.
func (w *worker) makeColumns(d *decoded, batch Batch, rows []int32) error {
	times := make([]int64, len(rows))
	d.offsets = make([]int64, len(rows))
	d.dates = make([]int32, len(rows))
	var column *array.Timestamp
	if w.time.Name != RecordTime {
		column = d.rows.Column(w.column).(*array.Timestamp)
		copy(times, arrow.Int64Traits.CastFromBytes(arrow.TimestampTraits.CastToBytes(column.Values())))
	}
	var bad []int // rows
	for i, r := range rows {
		d.offsets[i] = batch.Offsets[r]
		reason := ""
		switch {
		case column == nil && batch.Times == nil:
			reason = "the source gives records no time of their own"
		case column == nil:
			times[i] = batch.Times[r]
		case column.IsNull(i):
			reason = "the event time is null"
		}
		if t := times[i]; reason == "" && (t < earliestTime || t >= latestTime) {
			reason = "the event time " + time.UnixMicro(t).UTC().Format(time.RFC3339) + " is outside of 1970-01-02 to 2200-01-01"
		}
		if reason != "" {
			d.letters = append(d.letters, w.letter(batch, int(r), decode.StageConvert, w.time.Name+": "+reason))
			bad = append(bad, i)
			continue
		}
		d.dates[i] = w.clock.Date(times[i])
	}
	d.times = times
	if len(bad) > 0 {
		if err := w.drop(d, bad); err != nil {
			return err
		}
	}
	w.append(d)
	return nil
}

// drop removes rows, ascending, from a decoded batch.
func (w *worker) drop(d *decoded, bad []int) error {
	keep := array.NewBooleanBuilder(w.mem)
	defer keep.Release()
	next, n := 0, 0
	for i := range d.offsets {
		if next < len(bad) && bad[next] == i {
			next++
			keep.Append(false)
			continue
		}
		keep.Append(true)
		d.offsets[n], d.times[n], d.dates[n] = d.offsets[i], d.times[i], d.dates[i]
		n++
	}
	d.offsets, d.times, d.dates = d.offsets[:n], d.times[:n], d.dates[:n]
	mask := keep.NewArray()
	defer mask.Release()
	ctx := compute.WithAllocator(context.Background(), w.mem)
	kept, err := compute.FilterRecordBatch(ctx, d.rows, mask, compute.DefaultFilterOptions())
	if err != nil {
		return fmt.Errorf("leave out rows without a plausible event time: %w", err)
	}
	d.rows.Release()
	d.rows = kept
	return nil
}

// append puts dt, and _timestamp where it is the event time, behind the rows' columns.
func (w *worker) append(d *decoded) {
	n := len(d.dates)
	fields := append([]arrow.Field{}, d.rows.Schema().Fields()...)
	columns := append([]arrow.Array{}, d.rows.Columns()...)
	add := func(f schemas.Field, values []byte) {
		field := f.Arrow()
		data := array.NewData(field.Type, n, []*memory.Buffer{nil, memory.NewBufferBytes(values)}, nil, 0, 0)
		column := array.MakeFromData(data)
		data.Release()
		fields, columns = append(fields, field), append(columns, column)
	}
	made := len(columns)
	for _, f := range w.time.Made {
		if f.Name == RecordTime {
			add(f, arrow.Int64Traits.CastToBytes(d.times))
		} else {
			add(f, arrow.Int32Traits.CastToBytes(d.dates))
		}
	}
	rows := array.NewRecordBatch(arrow.NewSchema(fields, nil), columns, int64(n))
	for _, c := range columns[made:] {
		c.Release()
	}
	d.rows.Release()
	d.rows = rows
}
