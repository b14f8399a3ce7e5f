package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
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
	source   Batch // its records are gone but for the positions
	records  int   // how many there were
	bytes    int64
	rows     arrow.RecordBatch // nil: none
	offsets  []int64           // of each row
	times    []int64           // event time of each row; nil: the job has none
	marks    []int64           // times, less those too far ahead of the clock: noTime
	ahead    int               // how many these are
	dates    []int32           // local date of each row; nil as times
	null     []bool            // of each row: its key has a NULL; nil: none has
	nullKeys int               // how many these are
	astray   bool              // a row is not in the partition that its key's hash says
	letters  []Letter
	err      error

	held []*memory.Buffer // behind offsets, times and dates; the worker's next batches get them
}

// release gives up the rows and all that is said of each.
func (d *decoded) release() {
	if d.rows != nil {
		d.rows.Release()
		d.rows = nil
	}
	for _, b := range d.held {
		b.Release()
	}
	d.offsets, d.times, d.marks, d.dates, d.held = nil, nil, nil, nil, nil
}

// intake polls the source and decodes on several goroutines, in order.
type intake struct {
	source     Source
	newDecoder func() (decode.Decoder, error)
	time       *EventTime
	keys       *Keys
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
				w.release()
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
	keys    *Keys
	column  int // of the event time in the decoder's schema
	clock   *schemas.ZoneClock
	mem     memory.Allocator

	room    *decode.Recycler
	records []int32       // of each row of a batch; scratch
	base    *arrow.Schema // of the last rows that columns were added to
	made    *arrow.Schema // base with them
}

func (in *intake) newWorker() (*worker, error) {
	decoder, err := in.newDecoder()
	if err != nil {
		return nil, err
	}
	w := &worker{decoder: decoder, time: in.time, keys: in.keys, mem: in.mem, room: decode.NewRecycler(in.mem)}
	if in.time != nil {
		w.clock = schemas.NewZoneClock(in.time.Zone)
		w.column = in.time.Column
	}
	return w, nil
}

func (w *worker) release() {
	w.decoder.Release()
	w.room.Close()
}

// buffer is memory that is d's until it is released; it is not cleared.
func (w *worker) buffer(d *decoded, size int) []byte {
	b := memory.NewBufferWithAllocator(w.room.Allocate(size), w.room)
	b.ResizeNoShrink(size)
	d.held = append(d.held, b)
	return b.Bytes()
}

// decode turns a batch into rows and dead letters and hands its buffers back.
func (w *worker) decode(batch Batch) *decoded {
	d := &decoded{source: batch, records: len(batch.Records)}
	defer func() {
		release(batch)
		d.source.Records, d.source.Offsets, d.source.Times, d.source.Keys, d.source.Release = nil, nil, nil, nil, nil
	}()
	if len(batch.Records) == 0 {
		return d
	}
	rows := slices.Grow(w.records[:0], len(batch.Records)) // record of each row
	w.records = rows
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
	d.offsets = arrow.Int64Traits.CastFromBytes(w.buffer(d, len(rows)*arrow.Int64SizeBytes))
	for i, r := range rows {
		d.offsets[i] = batch.Offsets[r]
	}
	if err := w.finish(d, batch, rows); err != nil {
		d.err = err
		d.release()
	}
	return d
}

// finish refuses rows that do not keep what the job says of event times and
// keys, and adds the columns that lake makes. rows has the record of each row.
func (w *worker) finish(d *decoded, batch Batch, rows []int32) error {
	refused := map[int]bool{}
	refuse := func(row int, reason string) {
		if !refused[row] {
			refused[row] = true
			d.letters = append(d.letters, w.letter(batch, int(rows[row]), decode.StageConvert, reason))
		}
	}
	if w.time != nil {
		w.readTimes(d, batch, rows, refuse)
	}
	if w.keys != nil {
		bad, reasons, null := w.keys.check(d, batch.Keys, rows)
		for i, row := range bad {
			refuse(row, reasons[i])
		}
		d.null = null
	}
	if len(refused) > 0 {
		if err := w.drop(d, refused); err != nil {
			return err
		}
	}
	for _, null := range d.null {
		if null {
			d.nullKeys++
		}
	}
	if w.time != nil {
		w.lookAhead(d)
		w.append(d)
	}
	return nil
}

func (w *worker) letter(batch Batch, record int, stage decode.Stage, reason string) Letter {
	at := int64(noTime)
	if batch.Times != nil {
		at = batch.Times[record]
	}
	return newLetter(batch.Partition, batch.Offsets[record], at, stage, reason, batch.Records[record])
}

// readTimes fills in each row's event time and date; one that is null or
// implausible is refused.
func (w *worker) readTimes(d *decoded, batch Batch, rows []int32, refuse func(row int, reason string)) {
	d.dates = arrow.Int32Traits.CastFromBytes(w.buffer(d, len(rows)*arrow.Int32SizeBytes))
	var sure bool // that every row has a time
	switch {
	case w.time.Name != RecordTime:
		d.times = w.columnTimes(d.rows)
		sure = d.rows.Column(w.column).NullN() == 0
	default:
		d.times = arrow.Int64Traits.CastFromBytes(w.buffer(d, len(rows)*arrow.Int64SizeBytes))
		if sure = batch.Times != nil; sure {
			for i, r := range rows {
				d.times[i] = batch.Times[r]
			}
		}
	}
	d.marks = d.times
	ahead := w.time.refusedFrom()
	if sure && plausible(d.times, ahead) {
		w.clock.Dates(d.times, d.dates)
		return
	}
	for i, t := range d.times {
		if reason := w.implausible(d, batch, i, t, ahead); reason != "" {
			refuse(i, w.time.Name+": "+reason)
			continue
		}
		d.dates[i] = w.clock.Date(t)
	}
}

// columnTimes are the event times as the rows have them; they live as long as these.
func (w *worker) columnTimes(rows arrow.RecordBatch) []int64 {
	values := rows.Column(w.column).(*array.Timestamp).TimestampValues()
	return arrow.Int64Traits.CastFromBytes(arrow.TimestampTraits.CastToBytes(values))
}

// plausible reports whether no time is refused.
func plausible(times []int64, ahead int64) bool {
	least, most := latestTime, earliestTime
	for _, t := range times {
		least, most = min(least, t), max(most, t)
	}
	return least >= earliestTime && most < min(latestTime, ahead)
}

// implausible says why a row's time is refused; "": it is not.
func (w *worker) implausible(d *decoded, batch Batch, row int, t, ahead int64) string {
	switch {
	case w.time.Name != RecordTime && d.rows.Column(w.column).IsNull(row):
		return "the event time is null"
	case w.time.Name == RecordTime && batch.Times == nil:
		return "the source gives records no time of their own"
	case t < earliestTime || t >= latestTime:
		return "the event time " + time.UnixMicro(t).UTC().Format(time.RFC3339) + " is outside of 1970-01-02 to 2200-01-01"
	case t >= ahead:
		return "the event time " + time.UnixMicro(t).UTC().Format(time.RFC3339) + " is more than time.max_future ahead of the clock"
	}
	return ""
}

// lookAhead keeps the watermark from event times that are too far ahead of the
// clock: one wrong clock would close every window. Their rows land.
func (w *worker) lookAhead(d *decoded) {
	if w.time.MaxFuture == 0 {
		return
	}
	bound := time.Now().Add(w.time.MaxFuture).UnixMicro()
	if len(d.times) == 0 || slices.Max(d.times) <= bound {
		return
	}
	for i, t := range d.times {
		if t <= bound {
			continue
		}
		if d.ahead == 0 {
			d.marks = slices.Clone(d.times)
		}
		d.marks[i] = noTime
		d.ahead++
	}
}

// refusedFrom is the first event time that makes its row a dead letter, by the clock of now.
func (t *EventTime) refusedFrom() int64 {
	if !t.RefuseFuture || t.MaxFuture <= 0 {
		return math.MaxInt64
	}
	return time.Now().Add(t.MaxFuture).UnixMicro() + 1
}

// drop removes rows from a decoded batch.
func (w *worker) drop(d *decoded, refused map[int]bool) error {
	keep := array.NewBooleanBuilder(w.mem)
	defer keep.Release()
	ofColumn := w.time != nil && w.time.Name != RecordTime // the times then move with the rows
	n := 0
	for i := range d.offsets {
		keep.Append(!refused[i])
		if refused[i] {
			continue
		}
		d.offsets[n] = d.offsets[i]
		if d.dates != nil {
			d.dates[n] = d.dates[i]
			if !ofColumn {
				d.times[n] = d.times[i]
			}
		}
		if d.null != nil {
			d.null[n] = d.null[i]
		}
		n++
	}
	d.offsets = d.offsets[:n]
	if d.dates != nil {
		d.times, d.dates = d.times[:n], d.dates[:n]
	}
	if d.null != nil {
		d.null = d.null[:n]
	}
	mask := keep.NewArray()
	defer mask.Release()
	ctx := compute.WithAllocator(context.Background(), w.mem)
	kept, err := compute.FilterRecordBatch(ctx, d.rows, mask, compute.DefaultFilterOptions())
	if err != nil {
		return fmt.Errorf("leave out refused rows: %w", err)
	}
	d.rows.Release()
	d.rows = kept
	if ofColumn {
		d.times = w.columnTimes(kept)
	}
	d.marks = d.times
	return nil
}

// append puts dt, and _timestamp where it is the event time, behind the rows' columns.
func (w *worker) append(d *decoded) {
	if len(w.time.Made) == 0 {
		return
	}
	n := len(d.dates)
	columns := slices.Grow(slices.Clone(d.rows.Columns()), len(w.time.Made))
	have := len(columns)
	for _, f := range w.time.Made {
		values := arrow.Int32Traits.CastToBytes(d.dates)
		if f.Name == RecordTime {
			values = arrow.Int64Traits.CastToBytes(d.times)
		}
		data := array.NewData(f.Type.Arrow(), n, []*memory.Buffer{nil, d.behind(values)}, nil, 0, 0)
		columns = append(columns, array.MakeFromData(data))
		data.Release()
	}
	if base := d.rows.Schema(); base != w.base {
		fields := slices.Clone(base.Fields())
		for _, f := range w.time.Made {
			fields = append(fields, f.Arrow())
		}
		w.base, w.made = base, arrow.NewSchema(fields, nil)
	}
	rows := array.NewRecordBatch(w.made, columns, int64(n))
	for _, c := range columns[have:] {
		c.Release()
	}
	d.rows.Release()
	d.rows = rows
}

// behind is the buffer that has these values, for an array that may outlive d; where no
// buffer of d has them, the garbage collector keeps them.
func (d *decoded) behind(values []byte) *memory.Buffer {
	for _, b := range d.held {
		if have := b.Bytes(); len(have) > 0 && len(values) > 0 && &have[0] == &values[0] {
			return b
		}
	}
	return memory.NewBufferBytes(values)
}
