package table

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/apache/iceberg-go"
	icebergtable "github.com/apache/iceberg-go/table"
	"github.com/google/uuid"
)

const (
	// droppedProperty is the first date that was never dropped: the stream counted
	// rows of older ones that the table no longer has.
	droppedProperty = "lake.dropped-before"
	// dropKey marks a drop's snapshot, so that a lost reply can be told from a failure.
	dropKey = "lake.drop-id"
)

// Dropped is what DropDates took out of the table.
type Dropped struct {
	Dates       int
	Files       int
	Rows, Bytes int64
}

// DroppedBefore is the date before which dates were dropped, in days since 1970;
// math.MinInt32 where none ever was.
func (t *Table) DroppedBefore() (int32, error) { return t.now.Load().droppedBefore() }

func (s *state) droppedBefore() (int32, error) {
	text, ok := s.ice.Properties()[droppedProperty]
	if !ok {
		return math.MinInt32, nil
	}
	day, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return 0, fmt.Errorf("read property %s: %w", droppedProperty, err)
	}
	return int32(day.Unix() / 86400), nil
}

// DropDates takes all dates before one (days since 1970) out of the table, as one
// change of its metadata: no file is written anew, and readers of older snapshots
// keep theirs until Expire and Clean. Rows without a date stay. It goes on beside
// other writers and never touches a record; what came to these dates since the
// caller looked goes with them. Where there is nothing to drop nothing is committed.
func (t *Table) DropDates(ctx context.Context, before int32) (Dropped, error) {
	if err := t.Refresh(ctx); err != nil { // a stale handle might see nothing to drop
		return Dropped{}, err
	}
	var dropped Dropped
	id := uuid.NewString()
	sequence := t.now.Load().ice.Metadata().LastSequenceNumber()
	day := time.Unix(int64(before)*86400, 0).UTC().Format(time.DateOnly)
	err := t.maintain(ctx, func(s *state) (bool, error) {
		for _, each := range s.ancestry() {
			if each.Sequence <= sequence {
				break
			}
			if each.Summary[dropKey] == id {
				return true, nil
			}
		}
		return false, nil
	}, func(ctx context.Context, s *state) (staged, error) {
		files, others, err := t.datesBefore(ctx, s, before)
		if err != nil {
			return nil, err
		}
		dropped = count(files)
		if len(files) == 0 {
			return nil, errNothing
		}
		was, err := s.droppedBefore()
		if err != nil {
			return nil, err
		}
		tx := s.ice.NewTransaction()
		if err := tx.AssertRefSnapshotID(icebergtable.MainBranch); err != nil {
			return nil, err
		}
		if before > was { // the clock may have been set back since
			if err := tx.SetProperties(iceberg.Properties{droppedProperty: day}); err != nil {
				return nil, err
			}
		}
		summary := iceberg.Properties{dropKey: id, noteKey: fmt.Sprintf("retention: %d dates before %s dropped", dropped.Dates, day)}
		return tx, dropFiles(ctx, s, tx, before, files, others, summary)
	})
	if errors.Is(err, errNothing) {
		return Dropped{}, nil
	}
	if err != nil {
		return Dropped{}, fmt.Errorf("drop dates before %s from table %s: %w", day, t.name, err)
	}
	return dropped, nil
}

// errNothing ends a drop that has nothing to drop.
var errNothing = errors.New("there is nothing to drop")

// datesBefore parts the table's files into those of dates before one, and others.
func (t *Table) datesBefore(ctx context.Context, s *state, before int32) (old, others []File, err error) {
	if err := s.checkDated(); err != nil {
		return nil, nil, err
	}
	files, err := t.files(ctx, s, FileFilter{})
	if err != nil {
		return nil, nil, err
	}
	for _, f := range files {
		if date, ok := f.Date(); ok && date < before {
			old = append(old, f)
		} else {
			others = append(others, f)
		}
	}
	return old, others, nil
}

func count(files []File) Dropped {
	d := Dropped{Files: len(files)}
	dates := map[int32]bool{}
	for _, f := range files {
		date, _ := f.Date()
		dates[date] = true
		d.Rows += f.Rows
		d.Bytes += f.Bytes
	}
	d.Dates = len(dates)
	return d
}

// dropFiles stages the removal: a delete by dates, as any engine writes it, where
// the metrics of all files tell which ones are meant and whole. Where they do not,
// or other engines deleted single rows, it names the files instead: a delete
// would read and write anew what it cannot tell.
func dropFiles(ctx context.Context, s *state, tx *icebergtable.Transaction, before int32, old, others []File, summary iceberg.Properties) error {
	dt, ok := s.ice.Schema().FindFieldByName(DateColumn)
	if !ok {
		return fmt.Errorf("there is no column %s", DateColumn)
	}
	if plain(dt.ID, old, others) {
		return tx.Delete(ctx, iceberg.LessThan(iceberg.Reference(DateColumn), iceberg.Date(before)), summary)
	}
	stays := map[string]File{}
	for _, f := range others {
		stays[f.Path] = f
	}
	dead := deadAfter(old, stays)
	data := make([]iceberg.DataFile, len(old))
	for i, f := range old {
		data[i] = f.DataFile()
	}
	return tx.ReplaceFiles(ctx, data, nil, slices.Concat(dead.positions, dead.equalities, dead.vectors), maps.Clone(summary), icebergtable.WithoutAutoNameMapping())
}

// plain tells whether the metrics of the column dt part the files as their
// partitions do.
func plain(dt int, old, others []File) bool {
	for i, f := range slices.Concat(old, others) {
		d := f.DataFile()
		nulls, counted := d.NullValueCounts()[dt]
		if !counted || nulls > 0 || d.LowerBoundValues()[dt] == nil || d.UpperBoundValues()[dt] == nil || i < len(old) && f.Deletes > 0 {
			return false
		}
	}
	return true
}
