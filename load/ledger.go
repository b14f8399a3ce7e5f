package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/uuid"

	"lake/schemas"
	"lake/table"
)

// LedgerVersion is the version of the lines that this binary writes. It refuses newer ones.
const LedgerVersion = 1

// ledgerPipeline is whose records the ledger's table has: one shard a target.
const ledgerPipeline = "load"

// Line is one line of the ledger: a partition of a target was loaded.
type Line struct {
	Target      string
	Incarnation string // of the target table
	Partition   string
	ID          string // of the load
	Fingerprint string // of the partition in the lake
	Snapshot    int64  // of the lake's table
	Rows        int64
	Bytes       int64
	Held        string // the target's version of the partition afterwards (Held.Version)
	Started     time.Time
	Finished    time.Time
}

// LedgerSchema are the columns of the ledger's table.
func LedgerSchema() schemas.Schema {
	column := func(name string, kind schemas.Kind, doc string) schemas.Field {
		return schemas.Field{Name: name, Type: schemas.Type{Kind: kind}, Required: true, Doc: doc}
	}
	return schemas.Schema{Fields: []schemas.Field{
		column("version", schemas.Int32, "of the line's form"),
		column("seq", schemas.Int64, "of the commit among those of the target: of two lines of a partition the higher one counts"),
		column("target", schemas.String, "as the job file names it"),
		column("incarnation", schemas.String, "of the target: another one once it was dropped and made anew"),
		column("partition", schemas.String, "the date, or all"),
		column("load_id", schemas.String, "of the load, as the target has it, too, where it can"),
		column("fingerprint", schemas.String, "of the partition's files in the lake"),
		column("snapshot", schemas.Int64, "of the table that was loaded"),
		column("rows", schemas.Int64, "that the target has of the partition"),
		column("bytes", schemas.Int64, "of the files"),
		column("held", schemas.String, "the target's version of the partition, where it tells one"),
		column("started", schemas.Timestamp, "of the load"),
		column("finished", schemas.Timestamp, "of the load"),
	}}
}

// Ledger says what a target has, in an Iceberg table of the lake's own catalog. It is
// one target's and one goroutine's.
//
// A loader claims the target by a commit that raises the epoch of the target's
// record; from then on a commit of an older loader fails (table.Commit). The
// claim is looked at before each load, too.
type Ledger struct {
	target string
	make   func(context.Context) (*table.Table, error)
	t      *table.Table // nil: there is none yet
	record table.Record // of the last read, or our own since Claim
	mine   bool
	lines  map[string]map[string]Line // by incarnation and partition
}

// OpenLedger reads the lines of a target. There may be no table yet, t is nil
// then; make makes it at the first claim.
func OpenLedger(ctx context.Context, target string, t *table.Table, make func(context.Context) (*table.Table, error)) (*Ledger, error) {
	l := &Ledger{target: target, make: make, t: t, lines: map[string]map[string]Line{}}
	if t == nil {
		return l, nil
	}
	if err := t.Refresh(ctx); err != nil {
		return nil, err
	}
	var err error
	if l.record, _, err = t.Record(ledgerPipeline, target); err != nil {
		return nil, err
	}
	return l, l.read(ctx)
}

// Lines are the newest of each partition of an incarnation. The caller does not change them.
func (l *Ledger) Lines(incarnation string) map[string]Line { return l.lines[incarnation] }

func (l *Ledger) read(ctx context.Context) error {
	seqs := map[[2]string]int64{}
	var snapshot int64
	if s, ok := l.t.Current(); ok {
		snapshot = s.ID
	} else {
		return nil
	}
	for batch, err := range l.t.Scan(ctx, table.ScanOptions{Snapshot: snapshot, Columns: LedgerSchema().Names()}) {
		if err != nil {
			return fmt.Errorf("read the ledger: %w", err)
		}
		err = l.take(batch, seqs)
		batch.Release()
		if err != nil {
			return fmt.Errorf("read the ledger %s: %w", l.t.Name(), err)
		}
	}
	return nil
}

// take keeps the newest lines of a batch that are this target's.
func (l *Ledger) take(batch arrow.RecordBatch, seqs map[[2]string]int64) error {
	text := func(column, row int) string { return batch.Column(column).(*array.String).Value(row) }
	number := func(column, row int) int64 { return batch.Column(column).(*array.Int64).Value(row) }
	instant := func(column, row int) time.Time {
		return time.UnixMicro(int64(batch.Column(column).(*array.Timestamp).Value(row))).UTC()
	}
	for row := range int(batch.NumRows()) {
		if v := batch.Column(0).(*array.Int32).Value(row); v > LedgerVersion {
			return fmt.Errorf("it has lines of version %d and this lake knows %d: use the newer lake that wrote them", v, LedgerVersion)
		}
		if text(2, row) != l.target {
			continue
		}
		line := Line{Target: l.target, Incarnation: text(3, row), Partition: text(4, row), ID: text(5, row), Fingerprint: text(6, row),
			Snapshot: number(7, row), Rows: number(8, row), Bytes: number(9, row), Held: text(10, row), Started: instant(11, row), Finished: instant(12, row)}
		key := [2]string{line.Incarnation, line.Partition}
		if seq, ok := seqs[key]; ok && seq > number(1, row) {
			continue
		}
		seqs[key] = number(1, row)
		l.put(line)
	}
	return nil
}

func (l *Ledger) put(line Line) {
	if l.lines[line.Incarnation] == nil {
		l.lines[line.Incarnation] = map[string]Line{}
	}
	l.lines[line.Incarnation][line.Partition] = line
}

// Claim makes this process the target's only loader. ErrBusy: another one has claimed
// it since the ledger was read.
func (l *Ledger) Claim(ctx context.Context) error {
	if l.t == nil {
		var err error
		if l.t, err = l.make(ctx); err != nil {
			return fmt.Errorf("make the ledger: %w", err)
		}
	}
	next := l.record
	next.Pipeline, next.Shard, next.Epoch, next.CommitID = ledgerPipeline, l.target, next.Epoch+1, uuid.NewString()
	if err := l.commit(ctx, next, nil); err != nil {
		return err
	}
	l.mine = true
	return nil
}

// Mine checks that no other loader has claimed the target meanwhile: ErrBusy.
func (l *Ledger) Mine(ctx context.Context) error {
	if !l.mine {
		return errors.New("the target was not claimed")
	}
	if err := l.t.Refresh(ctx); err != nil {
		return err
	}
	now, _, err := l.t.Record(ledgerPipeline, l.target)
	if err != nil {
		return err
	}
	if now.Epoch != l.record.Epoch {
		return fmt.Errorf("%w: epoch %d of the ledger %s, this run has %d", ErrBusy, now.Epoch, l.t.Name(), l.record.Epoch)
	}
	return nil
}

// Append adds lines in one commit. ErrBusy: another loader has claimed the target.
func (l *Ledger) Append(ctx context.Context, lines []Line) error {
	if len(lines) == 0 {
		return nil
	}
	next := l.record
	next.Seq, next.CommitID = next.Seq+1, uuid.NewString()
	if err := l.commit(ctx, next, lines); err != nil {
		return err
	}
	for _, line := range lines {
		l.put(line)
	}
	return nil
}

func (l *Ledger) commit(ctx context.Context, next table.Record, lines []Line) (err error) {
	c := table.Commit{Steps: []table.Step{{Record: next, Base: l.record}}}
	if len(lines) > 0 {
		w, err := l.t.NewWriter(table.WriterOptions{Mem: memory.DefaultAllocator, MemoryBytes: 8 << 20, Name: next.CommitID})
		if err != nil {
			return err
		}
		batch := newLines(next.Seq, lines)
		defer batch.Release()
		if err = w.Write(ctx, batch); err == nil {
			c.Files, err = w.Flush(ctx)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("write the ledger: %w", err), w.Abort(context.WithoutCancel(ctx)))
		}
	}
	records, err := l.t.Commit(ctx, c)
	if errors.Is(err, table.ErrFenced) {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	if err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	l.record = records[0]
	return nil
}

func newLines(seq int64, lines []Line) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, LedgerSchema().Arrow())
	defer b.Release()
	text := func(column int, value string) { b.Field(column).(*array.StringBuilder).Append(value) }
	number := func(column int, value int64) { b.Field(column).(*array.Int64Builder).Append(value) }
	instant := func(column int, value time.Time) {
		b.Field(column).(*array.TimestampBuilder).Append(arrow.Timestamp(value.UnixMicro()))
	}
	for _, l := range lines {
		b.Field(0).(*array.Int32Builder).Append(LedgerVersion)
		number(1, seq)
		for i, value := range []string{l.Target, l.Incarnation, l.Partition, l.ID, l.Fingerprint} {
			text(2+i, value)
		}
		number(7, l.Snapshot)
		number(8, l.Rows)
		number(9, l.Bytes)
		text(10, l.Held)
		instant(11, l.Started)
		instant(12, l.Finished)
	}
	return b.NewRecordBatch()
}

// Last is the incarnation of the newest line, and its lines; "" where there is none.
func (l *Ledger) Last() (incarnation string, lines map[string]Line) {
	var at time.Time
	for name, each := range l.lines {
		for _, line := range each {
			if line.Finished.After(at) {
				at, incarnation, lines = line.Finished, name, each
			}
		}
	}
	return incarnation, lines
}
