// Package ingest is the loop from a source to a table: poll, decode, evaluate
// rules, write, commit, deliver. One folder below it is one source.
package ingest

import "context"

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
	// Revoked names partitions that another process owns from now on.
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

// LagReader is a source that knows how many records (or bytes, where records
// cannot be counted) lie between offsets and its end, by partition.
type LagReader interface {
	Lag(ctx context.Context, offsets Offsets) (map[string]int64, error)
}
