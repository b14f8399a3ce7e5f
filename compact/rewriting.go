package compact

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/google/uuid"

	"lake/table"
)

// batchRows are few: in batches lie the rows as they are in memory, several a
// file that is read, and they were most of what a compaction held.
const batchRows = 4 << 10

// written is a group whose rows are in new files, not committed yet.
type written struct {
	group   Group
	files   []iceberg.DataFile
	recount Result // what is in it of the recount
}

// sink takes a group's rows.
type sink interface {
	Flush(ctx context.Context) ([]iceberg.DataFile, error)
	Abort(ctx context.Context) error
}

// rewriting is a group that is worked on.
type rewriting struct {
	beside int // so many others may be
	done   chan struct{}
	written
	sink sink // nil: it could not be opened
	err  error
}

// begin works on a group in a goroutine, for whose end wait waits. It then says so on ended.
func begin(ctx context.Context, t *table.Table, merging *table.Merging, snapshot int64, g Group, o Options, memoryBytes int64, beside int, ended chan<- struct{}) *rewriting {
	r := &rewriting{beside: beside, done: make(chan struct{}), written: written{group: g}}
	go func() {
		defer func() {
			close(r.done)
			ended <- struct{}{} // it has room for all groups
		}()
		if r.err = r.fill(ctx, t, merging, snapshot, o, memoryBytes); r.err == nil {
			r.files, r.err = r.sink.Flush(ctx)
		}
		if r.err != nil && r.sink != nil {
			r.err = errors.Join(r.err, r.abort(ctx))
		}
	}()
	return r
}

// over tells whether wait returns at once.
func (r *rewriting) over() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

func (r *rewriting) wait() (written, error) {
	<-r.done
	return r.written, r.err
}

// abort removes what was written and not returned by Flush.
func (r *rewriting) abort(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return r.sink.Abort(ctx)
}

// drop waits for the end and removes the files. What cannot be removed is left for
// the clean-up.
func (r *rewriting) drop(ctx context.Context, merging *table.Merging) {
	if _, err := r.wait(); err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	_ = merging.Discard(ctx, r.files)
}

// fill writes a group's rows, and counts them again where its date is closed.
func (r *rewriting) fill(ctx context.Context, t *table.Table, merging *table.Merging, snapshot int64, o Options, memoryBytes int64) error {
	g := r.group
	counts, err := newRecount(g, o, &r.recount)
	if err != nil {
		return err
	}
	defer counts.release()
	name := "compact-" + uuid.NewString()
	merger, ok, err := merging.Open(g.Files, name, memoryBytes)
	if err != nil {
		return err
	}
	var rows int64
	if ok {
		r.sink = merger
		if len(o.Order.Columns) > 0 {
			rows, err = merger.CopySorted(ctx, g.Files, o.Order)
		} else {
			rows, err = merger.Copy(ctx, g.Files, memoryBytes/2)
		}
		if err != nil {
			return err
		}
		err = counts.scan(ctx, t, snapshot, g, memoryBytes/2)
	} else {
		rows, err = r.scan(ctx, t, snapshot, counts, table.WriterOptions{Mem: o.Mem, TargetBytes: o.TargetBytes, MemoryBytes: memoryBytes, Name: name})
	}
	if err != nil {
		return err
	}
	if rows != g.Rows && !slices.ContainsFunc(g.Files, hasDeletes) {
		return fmt.Errorf("its files hold %d rows and the manifest says %d; nothing was changed: check the table with lake tables files", rows, g.Rows)
	}
	return counts.compare(&r.recount)
}

// scan writes the rows of files that are of another partitioning than the table's.
func (r *rewriting) scan(ctx context.Context, t *table.Table, snapshot int64, counts *recount, o table.WriterOptions) (rows int64, err error) {
	w, err := t.NewWriter(o)
	if err != nil {
		return 0, err
	}
	r.sink = w
	for batch, err := range t.Scan(ctx, table.ScanOptions{Snapshot: snapshot, Files: r.group.Files, BatchRows: batchRows, AheadBytes: o.MemoryBytes / 2}) {
		if err != nil {
			return rows, err
		}
		rows += batch.NumRows()
		err = errors.Join(counts.add(batch), w.Write(ctx, batch))
		batch.Release()
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}
