package load

import (
	"context"

	"lake/schemas"
)

// All is the name of the one partition of a table without dates, and of a rule's answers.
const All = "all"

// File is a data file of a partition.
type File struct {
	URI   string
	Rows  int64
	Bytes int64
}

// Partition is what a warehouse replaces at a time: the rows of one date, or
// all rows of a table without dates.
type Partition struct {
	Name  string // "2021-11-30", or "all"
	Date  int32  // days since 1970; meaningless for "all"
	Files []File // exactly these have its rows: Parquet; none where it has no rows any more
	Rows  int64  // -1 in a plan: not counted yet
	Bytes int64
	// Deletes are delete files of the table's that apply to its files: a target that
	// reads the files would not know of them.
	Deletes int
	// Fingerprint is of the files: the same one means the same rows.
	Fingerprint string
}

// Table is what a target must be able to hold.
type Table struct {
	Schema     schemas.Schema // with docs and what is required
	DateColumn string         // the DATE column that partitions it; "" where there is none
}

// Load is one partition on its way into a target.
type Load struct {
	Partition
	// ID names the load: [0-9a-f]{24}. It is made of the target, its incarnation, the
	// partition and what is loaded, so that a load that is tried again, by
	// whatever process, has the same one. --force makes another.
	ID string
	// Metadata is the URI of the table's Iceberg metadata whose current snapshot this is,
	// for a target that reads the table itself; "" for others.
	Metadata string
}

// Held is what a target has of a partition.
type Held struct {
	// ID is of the load that put it there, where the target keeps it; "" where it
	// does not, or where somebody else put it there.
	ID   string
	Rows int64 // -1 where only counting tells
	// Version differs once anybody changed the partition, by lake or past it; ""
	// where the target cannot tell.
	Version string
}

// Warehouse is a target table: it loads a table's files itself. One goroutine uses it.
//
// The ledger lies in the lake (Ledger), not in the warehouse. Between a load
// and its line in the ledger a process may end; the next one asks the warehouse
// by Held, or repeats the load with the same ID, which does nothing twice.
type Warehouse interface {
	// Inspect changes nothing. The incarnation is a text that differs once the
	// target was dropped and made anew, "" where there is no such table yet.
	Inspect(ctx context.Context) (incarnation string, err error)
	// Prepare makes the target, or adds the columns that it lacks, and returns its
	// incarnation. It fails with ErrTargetSchema where the target has other types.
	Prepare(ctx context.Context, t Table) (incarnation string, err error)
	// Held tells what the target has of the partitions, all in few requests. One that
	// it has no rows of may be left out. It changes nothing, and needs no Prepare.
	Held(ctx context.Context, t Table, partitions []string) (map[string]Held, error)
	// Replace makes the partition's rows those of its files, whole or not at all, and
	// tells what is there then. A load with an ID that the target has already done
	// is not done again. It fails, with the rows as they were, where the number of
	// rows is not l.Rows.
	Replace(ctx context.Context, l Load) (Held, error)
	// Digest has the target count and sum its rows by partition, in its own SQL (see Digest).
	Digest(ctx context.Context, t Table, partitions []string) (map[string]Digest, error)
	Close() error
}
