package ingest

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lake/ingest/decode"
	"lake/schemas"
)

// StageRule is the stage of a dead letter for a row or a group that a rule could
// not evaluate. The row itself has landed; only its answer is missing.
const StageRule decode.Stage = "rule"

// maxPayload bounds what a dead letter keeps of its record.
const maxPayload = 1 << 20

// Letter is a dead letter: a record that did not become a row, or an answer
// that a rule could not give.
type Letter struct {
	Partition string
	Offset    int64
	Time      int64 // the record's own, µs; noTime: none
	Stage     decode.Stage
	Reason    string
	Payload   []byte
}

// String is one line for a person.
func (l Letter) String() string {
	payload := l.Payload
	const shown = 120
	more := ""
	if len(payload) > shown {
		payload, more = payload[:shown], "…"
	}
	return fmt.Sprintf("%s:%d: %s: %s: %q%s", l.Partition, l.Offset, l.Stage, l.Reason, payload, more)
}

func newLetter(partition string, offset, time int64, stage decode.Stage, reason string, payload []byte) Letter {
	if len(payload) > maxPayload {
		reason = fmt.Sprintf("%s (payload cut to %d bytes)", reason, maxPayload)
		payload = payload[:maxPayload]
	}
	return Letter{Partition: partition, Offset: offset, Time: time, Stage: stage, Reason: reason, Payload: append([]byte(nil), payload...)}
}

// LetterSchema is the schema of a dead-letter table. A record is known by
// source, partition and offset; time is the record's own, where it has one.
func LetterSchema() schemas.Schema {
	typed := func(name string, kind schemas.Kind, required bool, doc string) schemas.Field {
		return schemas.Field{Name: name, Type: schemas.Type{Kind: kind}, Required: required, Doc: doc}
	}
	return schemas.Schema{Fields: []schemas.Field{
		typed("source", schemas.String, true, "the kind of source, as in the job file"),
		typed("partition", schemas.String, true, "the source's partition: topic/number, a file's path"),
		typed("offset", schemas.Int64, true, "the record's offset in it: a number, a byte in the file"),
		typed("time", schemas.Timestamp, false, "the record's own time, where its source has one"),
		typed("stage", schemas.String, true, "decode, convert or rule"),
		typed("reason", schemas.String, true, "why it was refused"),
		typed("payload", schemas.Bytes, false, "the record as read; its first 1 MiB"),
		typed("seq", schemas.Int64, true, "the commit of the main table that it belongs to"),
	}}
}

// letterBatch is the letters as rows of LetterSchema; the caller releases it.
func letterBatch(letters []Letter, source string, seq int64, mem memory.Allocator) arrow.RecordBatch {
	b := array.NewRecordBuilder(mem, LetterSchema().Arrow())
	defer b.Release()
	for _, l := range letters {
		b.Field(0).(*array.StringBuilder).Append(source)
		b.Field(1).(*array.StringBuilder).Append(l.Partition)
		b.Field(2).(*array.Int64Builder).Append(l.Offset)
		if l.Time == noTime {
			b.Field(3).AppendNull()
		} else {
			b.Field(3).(*array.TimestampBuilder).Append(arrow.Timestamp(l.Time))
		}
		b.Field(4).(*array.StringBuilder).Append(string(l.Stage))
		b.Field(5).(*array.StringBuilder).Append(l.Reason)
		b.Field(6).(*array.BinaryBuilder).Append(l.Payload)
		b.Field(7).(*array.Int64Builder).Append(seq)
	}
	return b.NewRecordBatch()
}
