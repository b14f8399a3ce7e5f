package table

import (
	"math"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
)

// TestFloatOrder: nulls first, -0 before 0, NaN last, and what is equal as it came.
func TestFloatOrder(t *testing.T) {
	nan, minus := math.NaN(), math.Copysign(0, -1)
	values := []float64{nan, 1, 0, minus, math.Inf(1), -1, 7, math.Inf(-1), math.MaxFloat64, -5e-324, 1}
	b := array.NewFloat64Builder(memory.DefaultAllocator)
	b.AppendValues(values, []bool{true, true, true, true, true, true, false, true, true, true, true})
	other := array.NewInt64Builder(memory.DefaultAllocator)
	for range values {
		other.Append(3)
	}
	batch := array.NewRecordBatch(arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int64}, {Name: "x", Type: arrow.PrimitiveTypes.Float64}}, nil),
		[]arrow.Array{other.NewArray(), b.NewArray()}, int64(len(values)))
	for _, columns := range [][]int{{1}, {0, 1}} { // by its prefix, and by comparing
		k, err := newKeys(batch, columns)
		require.NoError(t, err)
		require.Equal(t, []int32{6, 7, 5, 9, 3, 2, 1, 10, 8, 4, 0}, k.sort(len(values)))
		require.False(t, k.rising(len(values)))
	}
}
