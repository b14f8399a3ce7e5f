// Package decode is what a decoder is: raw records in, an Arrow batch out. One
// folder below it is one format.
package decode

import "github.com/apache/arrow-go/v18/arrow"

// Decoder appends records to the columns of a batch. One goroutine uses it.
type Decoder interface {
	// Append decodes one record. On an error, an *Error, the columns are as before.
	// The record's bytes are not kept.
	Append(record []byte) error
	// Len is the number of rows since the last Flush, Bytes what they hold in memory.
	Len() int
	Bytes() int64
	// Flush returns the rows since the last Flush as a batch of the decoder's
	// schema, in the order appended. The caller releases it.
	Flush() (arrow.RecordBatch, error)
	// Release drops what Flush has not returned.
	Release()
}

// Stage says how far a bad record came.
type Stage string

// The stages of a dead letter.
const (
	StageDecode  Stage = "decode"  // it is not of the format
	StageConvert Stage = "convert" // it is, and a value does not fit its column
)

// Error is why a record was refused.
type Error struct {
	Stage  Stage
	Column string // path of the column, "" where none is at fault
	Reason string // short; of the data at most a few dozen bytes, quoted
}

func (e *Error) Error() string {
	if e.Column == "" {
		return e.Reason
	}
	return e.Column + ": " + e.Reason
}
