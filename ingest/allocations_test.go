package ingest_test

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"lake/ingest"
	"lake/ingest/decode"
	"lake/ingest/decode/json"
)

// again is a source that hands out the same records so many times; it makes nothing.
type again struct {
	lines
	records [][]byte
	offsets []int64
	times   int
}

func (a *again) Poll(context.Context) (ingest.Batch, error) {
	if a.times == 0 {
		return ingest.Batch{}, io.EOF
	}
	a.times--
	a.offset += int64(len(a.records))
	return ingest.Batch{Partition: "p", Records: a.records, Offsets: a.offsets, Position: ingest.Position{Next: a.offset, Records: a.offset}}, nil
}

// TestNoAllocationForARow takes more batches and fewer through the whole pipeline, with a rule:
// decode, count, route, encode. What each batch more has allocated is for the batch
// and the pages that it fills, and nothing for a row.
func TestNoAllocationForARow(t *testing.T) {
	const rows, few, many = 20_000, 10, 40
	source := again{offsets: make([]int64, rows)}
	for i := range rows {
		source.records = append(source.records, fmt.Appendf(nil, `{"user":%d,"ts":"2021-11-%02dT%02d:%02d:00Z"}`, i%977, 29+i%2, i%24, i%60))
		source.offsets[i] = int64(i)
	}
	allocated := func(batches int) (n int64) {
		t.Run(fmt.Sprintf("%d batches", batches), func(t *testing.T) { n = allocations(t, source, batches) })
		return n
	}
	allocated(few) // what is made once a process
	more := allocated(many) - allocated(few)
	t.Logf("%.1f allocations a batch of %d rows", float64(more)/(many-few), rows)
	require.Less(t, more/(many-few), int64(rows/40))
}

// allocations is how many a run over so many batches makes.
func allocations(t *testing.T, source again, batches int) int64 {
	r := newRig(t)
	taken := source
	taken.times = batches
	cfg := r.config(&taken, &recorder{}, counted)
	cfg.Mem = memory.DefaultAllocator // the checked one makes a note of each buffer
	cfg.NewDecoder = func() (decode.Decoder, error) { return json.NewDecoder(r.columns, json.Options{}) }
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	result, err := ingest.Run(t.Context(), cfg, nil)
	runtime.ReadMemStats(&after)
	require.NoError(t, err)
	require.Equal(t, ingest.Totals{Records: int64(batches * len(source.records)), Rows: int64(batches * len(source.records)), Commits: 1}, result.Run)
	return int64(after.Mallocs - before.Mallocs)
}
