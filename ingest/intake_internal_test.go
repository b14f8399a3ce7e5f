package ingest

import (
	"fmt"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"lake/ingest/decode"
	"lake/ingest/decode/json"
	"lake/schemas"
)

// TestBuffersOfBatchesComeBack decodes batches whose rows somebody keeps, as a rehearsal does, and
// others that are let go: the columns that lake makes stay as they are for the one and their
// memory comes back from the other. Of some batches rows are refused for their time.
func TestBuffersOfBatchesComeBack(t *testing.T) {
	const rows, day = 5000, 24 * time.Hour
	begin := time.Date(2021, 11, 1, 0, 0, 0, 0, time.UTC)
	for name, field := range map[string]string{"a column's time": "ts", "the record's time": RecordTime} {
		t.Run(name, func(t *testing.T) {
			mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
			defer mem.AssertSize(t, 0)
			of := &EventTime{Name: field, Zone: time.UTC, Made: []schemas.Field{
				{Name: RecordTime, Type: schemas.Type{Kind: schemas.Timestamp}}, {Name: "dt", Type: schemas.Type{Kind: schemas.Date}}}}
			in := &intake{time: of, mem: mem, newDecoder: func() (decode.Decoder, error) {
				return json.NewDecoder(schemas.Schema{Fields: []schemas.Field{{Name: "ts", Type: schemas.Type{Kind: schemas.Timestamp}}}}, json.Options{Mem: mem})
			}}
			w, err := in.newWorker()
			require.NoError(t, err)
			// Every third record of an odd batch is of a time that is refused.
			decodeBatch := func(number int) *decoded {
				b := Batch{Partition: "p"}
				for i := range rows {
					at := begin.Add(time.Duration(number) * day).Add(time.Duration(i) * time.Second)
					if number%2 == 1 && i%3 == 0 {
						at = time.Unix(0, 0)
					}
					b.Records = append(b.Records, fmt.Appendf(nil, `{"ts":%q}`, at.Format(time.RFC3339)))
					b.Offsets, b.Times = append(b.Offsets, int64(number*rows+i)), append(b.Times, at.UnixMicro())
				}
				d := w.decode(b)
				require.NoError(t, d.err)
				return d
			}
			check := func(batch arrow.RecordBatch, number int) {
				row := 0
				for i := range rows {
					if number%2 == 1 && i%3 == 0 {
						continue
					}
					at := begin.Add(time.Duration(number) * day).Add(time.Duration(i) * time.Second)
					require.Equal(t, arrow.Timestamp(at.UnixMicro()), batch.Column(0).(*array.Timestamp).Value(row))
					require.Equal(t, arrow.Timestamp(at.UnixMicro()), batch.Column(1).(*array.Timestamp).Value(row))
					require.Equal(t, arrow.Date32(at.Unix()/86400), batch.Column(2).(*array.Date32).Value(row))
					row++
				}
				require.Equal(t, int64(row), batch.NumRows())
			}
			dates := func(d *decoded) *arrow.Date32 { return &d.rows.Column(2).(*array.Date32).Date32Values()[0] }

			var kept []arrow.RecordBatch
			for number := range 4 {
				d := decodeBatch(number)
				require.Len(t, d.offsets, int(d.rows.NumRows()))
				require.Equal(t, int64(number*rows+rows-1), d.offsets[len(d.offsets)-1])
				for i, at := range d.times {
					require.Equal(t, int64(d.rows.Column(0).(*array.Timestamp).Value(i)), at)
					require.Equal(t, at, d.marks[i])
				}
				d.rows.Retain()
				kept = append(kept, d.rows)
				d.release()
			}
			let := decodeBatch(4)
			first := dates(let)
			let.release()
			again := decodeBatch(6)
			require.Same(t, first, dates(again), "the dates of the batch that was released")
			check(again.rows, 6)
			for number, batch := range kept {
				check(batch, number)
				batch.Release()
			}
			w.release()
			again.release() // later than the worker
		})
	}
}
