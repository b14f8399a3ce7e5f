// Package load is where tables and answers go: what a Sink is, and the loads of
// a table into a warehouse. One folder below it is one kind of sink.
package load

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Answers are one rule's answers of one commit.
type Answers struct {
	Rule string
	// Rows has the rule's columns in SELECT order. The delivery owns it.
	Rows arrow.RecordBatch
	// Keys has the text of each row's group key, null where the rule does not group.
	Keys *array.String
	// Deleted is true for a row whose group no longer satisfies the rule (a
	// tombstone); nil where there is none.
	Deleted []bool
}

// Delivery is what one commit of one shard owes to a sink.
type Delivery struct {
	Pipeline string
	Shard    string
	Epoch    int64 // of the owner that delivers
	Seq      int64 // of the commit
	Answers  []Answers
}

// Sink takes rule answers. One goroutine uses it.
type Sink interface {
	// Open makes the shard's deliveries this owner's: an older owner's fail from
	// now on where the target can tell. It returns the newest Seq that the target
	// is known to have, or -1 where only repeating the delivery tells.
	Open(ctx context.Context, pipeline, shard string, epoch int64) (seq int64, err error)
	// Deliver makes the answers visible, all or none where the target can do it.
	// A delivery that the target already has changes nothing. The rows are the caller's.
	Deliver(ctx context.Context, d Delivery) error
	Close() error
}

// Output is what every answer's destination may say of its form.
type Output struct {
	Rename map[string]string // column → name in the output
	Key    []string          // columns that make the key; empty: the group's key
	Zone   string            // IANA zone in which timestamps are written
}
