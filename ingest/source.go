// Package ingest is the loop from a source to a table: poll, decode, evaluate
// rules, write, commit, deliver. One folder below it is one source.
package ingest

import (
	"context"
	"errors"
)

// Position is how far one source partition has been read.
type Position struct {
	// Next is the first offset not read: a Kafka offset, a row's number, a byte in a file.
	Next int64 `json:"next"`
	// Records is the number of records read so far.
	Records int64 `json:"records"`
	// Token is what the source needs to know the partition again (a file's
	// fingerprint, a topic's id). Only the source reads it.
	Token string `json:"token,omitempty"`
}

// Offsets maps a source partition ("Events/0", a file's path) to its position.
type Offsets map[string]Position

// Batch is a run of records of one source partition in offset order.
type Batch struct {
	Partition string
	// Position is where reading goes on after this batch.
	Position Position
	// Records are the raw records. They and what they point to are valid until Release.
	Records [][]byte
	// Offsets has the offset of each record, ascending.
	Offsets []int64
	// Keys has each record's key; nil where the source has none.
	Keys [][]byte
	// Times has each record's own timestamp in µs since 1970; nil where the source has none.
	Times []int64
	// Announce names partitions that the source has come to know. Each holds the
	// watermark back until it has a record, ends or goes idle.
	Announce []string
	// CaughtUp says that all that the partition held when it was polled has been read.
	// Partition may then come without records.
	CaughtUp bool
	// End says that the partition has no more records: it steps aside from the watermark.
	End bool
	// Assigned names partitions of a Shared that this process is to take over. The
	// batch has nothing else.
	Assigned []string
	// Revoked names partitions of a Shared that another process is about to own.
	// All that was polled of them came before; the batch has nothing else.
	Revoked []string
	// Release hands the buffers back; nil where there is nothing to hand back.
	Release func()
}

// Source reads records. One goroutine calls it, Close excepted.
//
// A source is made with where it starts; Seek, called at most once and before
// the first Poll, puts it behind what the table says was committed.
type Source interface {
	// ID identifies what is read (a topic's id, a generator's spec and seed). A
	// checkpoint of another id is refused: the source was made anew.
	ID(ctx context.Context) (string, error)
	// Seek continues behind offsets; partitions not in it start as configured.
	// It fails where a position no longer exists or never did.
	Seek(ctx context.Context, offsets Offsets) error
	// Poll waits for the next batch. A bounded source returns io.EOF after its end,
	// which is fixed at the first Poll. The caller owns the batch until Release.
	Poll(ctx context.Context) (Batch, error)
	// Ack tells the source what was committed: a hint for lag tools, or what
	// lets the source forget. Its failure loses nothing.
	Ack(ctx context.Context, offsets Offsets) error
	// Close stops reading; a Poll under way returns an error.
	Close() error
}

// Shared is a source whose partitions are spread over the processes of a
// pipeline. It reads a partition only between Begin and the batch that revokes
// it; Seek is not called. Begin and Leave may be called while a Poll is under way.
type Shared interface {
	Source
	// Begin reads partitions that were assigned, behind positions; one that is not
	// in positions starts as configured, or at its first record where late names it.
	// It fails where a position no longer exists or never did.
	Begin(ctx context.Context, partitions []string, positions Offsets, late map[string]bool) error
	// Leave says that what was read of revoked partitions is committed.
	Leave(partitions []string)
	// Partitions counts the partitions that there are, of all processes.
	Partitions(ctx context.Context) (int, error)
}

// ErrLost says that a Shared lost its partitions without notice: begin anew from the table.
var ErrLost = errors.New("another process has the source's partitions by now")

// Resetter is a source whose offsets a person may move.
type Resetter interface {
	// Resolve turns earliest, or what else the source knows (latest, a time in RFC
	// 3339, partition=offset,…), into the positions of these partitions, nil for all,
	// that now are at now.
	Resolve(ctx context.Context, to string, partitions []string, now Offsets) (Offsets, error)
}

// LagReader is a source that knows how many records (or bytes, where records
// cannot be counted) lie between offsets and its end, by partition.
type LagReader interface {
	Lag(ctx context.Context, offsets Offsets) (map[string]int64, error)
}
