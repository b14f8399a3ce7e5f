// Package faults names the moments at which a crash is most interesting, so that
// a test can end or suspend a process exactly there. Without the environment
// variables a point is one check for nil.
//
//	LAKE_CRASH_AT=table.built:3   the third time this point is reached: SIGKILL
//	LAKE_STOP_AT=table.built      the first time: SIGSTOP; SIGCONT lets it go on
//
// Neither changes what lake does: both do what any process can be met with at
// any time.
package faults

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
)

// The points, in the order in which a commit reaches them.
const (
	Polled       = "ingest.polled"       // records were read, nothing is written
	ParquetBegun = "table.parquet-begun" // a data file has some bytes and no name
	Checkpointed = "ingest.checkpointed" // the checkpoint file is durable, the table does not point to it
	Built        = "table.built"         // manifests and manifest list are written
	Staged       = "table.staged"        // the metadata file is written, the catalog still has the old one
	Swapped      = "table.swapped"       // the catalog has the commit, this process has not looked at the reply
	Sent         = "kafka.sent"          // answers and marker are written, the transaction is open
	Ended        = "kafka.ended"         // the transaction is committed
	Delivered    = "ingest.delivered"    // all deliveries are done, the offset hint is not
)

// The points of a load into a warehouse. A commit of its ledger has Built to Swapped, too.
const (
	Claimed  = "load.claimed"  // the ledger names this loader, the warehouse was not touched
	Replaced = "load.replaced" // the warehouse has a partition, the ledger does not say so
	Noted    = "load.noted"    // the ledger says so
)

// The points of a load into Hive.
const (
	Copied  = "hive.copied"  // a file is copied, the partition still has the old ones
	Placed  = "hive.placed"  // all are, and marked
	Pointed = "hive.pointed" // the partition has the new files, nobody has looked
)

// Names are all points of an ingest.
func Names() []string {
	return []string{Polled, ParquetBegun, Checkpointed, Built, Staged, Swapped, Sent, Ended, Delivered}
}

// fault is what this process is to meet.
type fault struct {
	name string
	left atomic.Int64 // times until it strikes
	do   func()
}

// faults of this process; nil in all but test runs. The environment is read
// once, so that a point costs nothing.
var armed = append(parse(os.Getenv("LAKE_CRASH_AT"), crash), parse(os.Getenv("LAKE_STOP_AT"), suspend)...)

// Point is reached.
func Point(name string) {
	if armed == nil {
		return
	}
	for _, f := range armed {
		if f.name == name && f.left.Add(-1) == 0 {
			f.do()
		}
	}
}

// parse reads name[:nth].
func parse(text string, do func()) []*fault {
	if text == "" {
		return nil
	}
	name, nth, _ := strings.Cut(text, ":")
	n, err := strconv.ParseInt(nth, 10, 64)
	if err != nil || n < 1 {
		n = 1
	}
	f := &fault{name: name, do: do}
	f.left.Store(n)
	return []*fault{f}
}
