package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/google/uuid"

	"lake/rules/tally"
	"lake/schemas"
	"lake/table"
)

// commitTime bounds one commit, its retries included.
const commitTime = 5 * time.Minute

// open takes the shard over and restores what the table's record points to.
func (p *pipeline) open(ctx context.Context) error {
	id, err := p.Source.ID(ctx)
	if err != nil {
		return fmt.Errorf("identify the source: %w", err)
	}
	record, found, err := p.Table.Record(p.Pipeline, Shard)
	if err != nil {
		return err
	}
	if err := p.Table.CheckLineage(p.Pipeline, Shard); err != nil {
		return err
	}
	if found && record.Blob != "" {
		if p.last, err = readCheckpoint(ctx, p.Blobs, record.Blob, record.SHA256); err != nil {
			return err
		}
		if err := p.unchanged(id); err != nil {
			return err
		}
	}
	p.Job.Source = id

	// The takeover: from its snapshot on, any late commit of an older owner fails.
	next := record
	next.Version, next.Pipeline, next.Shard = table.RecordVersion, p.Pipeline, Shard
	next.Epoch, next.CommitID, next.SourceID = record.Epoch+1, uuid.NewString(), id
	taking, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	p.record, err = p.Table.Commit(taking, table.Commit{Record: next, Base: record})
	if err != nil {
		return fmt.Errorf("take over pipeline %s: %w", p.Pipeline, err)
	}
	p.Log.Debug("took over", "pipeline", p.Pipeline, "epoch", p.record.Epoch, "seq", p.record.Seq)

	if err := p.restore(ctx); err != nil {
		return err
	}
	if err := p.openSinks(ctx); err != nil {
		return err
	}
	if len(p.offsets) > 0 {
		if err := p.Source.Seek(ctx, p.offsets); err != nil {
			return fmt.Errorf("continue the source where the table ends: %w", err)
		}
	}
	return p.newWriter()
}

// unchanged refuses a job that no longer is what filled the table.
func (p *pipeline) unchanged(source string) error {
	was, is := p.last.Job, p.Job
	is.Source = source
	for _, each := range []Changed{
		{"the source", was.Source, is.Source},
		{"time.zone", was.Zone, is.Zone},
		{"time.field", was.TimeField, is.TimeField},
		{"table.partition_by", strings.Join(was.PartitionBy, ", "), strings.Join(is.PartitionBy, ", ")},
	} {
		if each.Was != each.Is {
			return &each
		}
	}
	return nil
}

// restore makes the rules' state and the offsets those of the last commit.
func (p *pipeline) restore(ctx context.Context) error {
	states := map[string][][]byte{}
	if p.last != nil {
		p.offsets = p.last.Offsets
		if p.mark != nil {
			p.mark.restore(p.last.Mark)
			p.advance = p.mark.current
		}
		var err error
		if states, err = p.last.states(ctx, p.Blobs); err != nil {
			return err
		}
		p.chain = p.last.linkTo(p.record.SHA256)
	}
	if err := p.newTallies(); err != nil {
		return err
	}
	for i, r := range p.Rules {
		t := p.tallies[i]
		switch known := p.known(r); {
		case known:
			if err := t.Restore(states[r.Name]...); err != nil {
				return fmt.Errorf("restore the state of rule %s: %w", r.Name, err)
			}
		case p.last != nil:
			if err := p.rebuild(ctx, r, t); err != nil {
				return fmt.Errorf("rebuild the state of rule %s from the table: %w", r.Name, err)
			}
		}
	}
	return nil
}

// newTallies makes an empty state for each rule. Together they may hold a
// quarter of the memory.
func (p *pipeline) newTallies() error {
	for _, r := range p.Rules {
		t, err := tally.New(r.Rule, tally.Options{Mem: p.Mem, MaxBytes: p.Memory / 4 / int64(len(p.Rules))})
		if err != nil {
			return fmt.Errorf("rule %s: %w", r.Name, err)
		}
		p.tallies = append(p.tallies, t)
	}
	return nil
}

// known reports whether the last checkpoint has the rule's state as it is now.
func (p *pipeline) known(r Rule) bool {
	return p.last != nil && slices.ContainsFunc(p.last.Rules, func(s ruleState) bool {
		return s.Name == r.Name && s.Fingerprint == fingerprint(r)
	})
}

// fingerprint changes with all that a rule's state and its emitted answers depend on.
func fingerprint(r Rule) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%d\n%d", r.Plan.Fingerprint(), r.Plan, r.Emit, r.Scope))
	return hex.EncodeToString(sum[:])
}

// rebuild reads the table's rows through a new or changed rule. It emits nothing
// for the past but where Backfill is set.
func (p *pipeline) rebuild(ctx context.Context, r Rule, t *tally.Tally) error {
	p.Log.Info("rebuilding a rule's state from the table", "rule", r.Name)
	columns := r.Plan.Columns()
	if p.Time != nil && !slices.Contains(columns, p.Time.Name) {
		columns = append(columns, p.Time.Name)
	}
	var clock *schemas.ZoneClock
	if p.Time != nil {
		clock = schemas.NewZoneClock(p.Time.Zone)
	}
	for batch, err := range p.Table.Scan(ctx, table.ScanOptions{Columns: columns}) {
		if err != nil {
			return err
		}
		rows := tally.Rows{Batch: batch}
		if clock != nil {
			rows.Date = dates(batch, p.Time.Name, clock)
		}
		err := t.Add(rows)
		t.RowFailures()
		batch.Release()
		if err != nil {
			return err
		}
	}
	if p.advance != noTime {
		if err := t.Advance(p.advance); err != nil {
			return err
		}
	}
	if p.Backfill {
		return nil
	}
	past, err := t.Answers()
	if err != nil {
		return err
	}
	past.Release()
	return nil
}

// dates are the local dates of a batch's event times.
func dates(batch arrow.RecordBatch, column string, clock *schemas.ZoneClock) []int32 {
	out := make([]int32, batch.NumRows())
	for _, i := range batch.Schema().FieldIndices(column) {
		if times, ok := batch.Column(i).(*array.Timestamp); ok {
			for row := range out {
				out[row] = clock.Date(int64(times.Value(row)))
			}
		}
	}
	return out
}

func (p *pipeline) newWriter() (err error) {
	p.writer, err = p.Table.NewWriter(table.WriterOptions{
		Mem: p.Mem, TargetBytes: p.TargetBytes, MemoryBytes: p.Memory / 4, Name: uuid.NewString(),
	})
	if err != nil {
		return fmt.Errorf("open a writer for %s: %w", p.Table.Name(), err)
	}
	p.rows = p.writer
	return nil
}

// openSinks delivers what the last commit owes and a crash may have held back.
func (p *pipeline) openSinks(ctx context.Context) error {
	var errs []error
	for _, s := range p.Sinks {
		opening, cancel := context.WithTimeout(ctx, deliveryTime)
		seq, err := s.Open(opening, p.Pipeline, Shard, p.record.Epoch)
		cancel()
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("open %s: %w", s.Name, err))
		case seq > p.record.Seq:
			errs = append(errs, fmt.Errorf("open %s: it has the answers of commit %d, and the table is at %d: the table was restored or the output belongs to another table; use a new output or pipeline name", s.Name, seq, p.record.Seq))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if p.last == nil {
		return nil
	}
	return p.deliver(ctx, p.last, nil)
}
