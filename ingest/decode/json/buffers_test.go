package json

import (
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"lake/schemas"
)

// TestBatchesTakeOverBuffers holds one batch and lets others go: theirs come
// back, its own stay as they are, and in the end all memory is given back.
func TestBatchesTakeOverBuffers(t *testing.T) {
	const rows = 10_000
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	d, err := NewDecoder(schemas.Schema{Fields: []schemas.Field{
		{Name: "n", Type: schemas.Type{Kind: schemas.Int64}},
		{Name: "s", Type: schemas.Type{Kind: schemas.String}},
	}}, Options{Mem: mem})
	require.NoError(t, err)
	decode := func(from int) arrow.RecordBatch {
		for i := range rows {
			require.NoError(t, d.Append(fmt.Appendf(nil, `{"n":%d,"s":"text %d"}`, from+i, from+i)))
		}
		batch, err := d.Flush()
		require.NoError(t, err)
		return batch
	}
	numbers := func(b arrow.RecordBatch) []int64 { return b.Column(0).(*array.Int64).Int64Values() }

	decode(0).Release() // from now on the buffers have their size
	held := decode(100_000)
	second := decode(200_000)
	where := &numbers(second)[0]
	second.Release()
	third := decode(300_000)
	require.Same(t, where, &numbers(third)[0], "the buffer of the batch that was released")
	before := mem.CurrentAlloc()
	third.Release()
	for i := range 20 {
		decode(400_000 + i*rows).Release()
	}
	require.Equal(t, before, mem.CurrentAlloc())
	for i := range rows {
		require.Equal(t, int64(100_000+i), numbers(held)[i])
		require.Equal(t, fmt.Sprint("text ", 100_000+i), held.Column(1).(*array.String).Value(i))
	}
	d.Release()
	held.Release() // later than the decoder
}
