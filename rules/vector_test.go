package rules

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
)

// TestTextEqualsOfEachLength compares column = 'text' with Go's own comparison:
// texts of all lengths around the words that are compared, that differ in one byte
// at any place, lie at the very end of the batch, are NULL, or in a slice of it, evaluated and listed.
func TestTextEqualsOfEachLength(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 5))
	source := testSource()
	at := source.Schema.Index("event")
	for length := range 20 {
		want := strings.Repeat("abcdefghij", 2)[:length]
		var texts []string
		var valid []bool
		for range 300 {
			text := []byte(want)
			switch r.IntN(4) {
			case 0:
				if length > 0 {
					text[r.IntN(length)] ^= 1 << r.IntN(6)
				}
			case 1:
				text = append(text, 'x')
			case 2:
				text = text[:r.IntN(length+1)]
			}
			texts, valid = append(texts, string(text)), append(valid, r.IntN(10) > 0 || length%2 == 0)
		}
		build := array.NewRecordBuilder(memory.DefaultAllocator, source.Schema.Arrow())
		for k, f := range build.Fields() {
			if k == at {
				f.(*array.StringBuilder).AppendValues(texts, valid)
			} else {
				f.AppendNulls(len(texts))
			}
		}
		whole := build.NewRecordBatch()
		build.Release()
		for _, where := range []string{fmt.Sprintf("event = '%s'", want), fmt.Sprintf("event != '%s'", want)} {
			e, errs := CompileFilter(where, source)
			require.Empty(t, errs)
			for _, from := range []int64{0, 1, 7} {
				rows := whole.NewSlice(from, int64(len(texts)))
				got, err := e.Eval(&Eval{Mem: memory.DefaultAllocator}, rows)
				require.NoError(t, err)
				require.Equal(t, arrow.FixedWidthTypes.Boolean, got.DataType())
				var holds []int32
				for i := range got.Len() {
					if got.IsValid(i) && got.(*array.Boolean).Value(i) {
						holds = append(holds, int32(i))
					}
					text := texts[int(from)+i]
					require.Equal(t, !valid[int(from)+i], got.IsNull(i), "%s of %q", where, text)
					if got.IsValid(i) {
						require.Equal(t, (text == want) == strings.Contains(where, " = "), got.(*array.Boolean).Value(i), "%s of %q", where, text)
					}
				}
				listed, ok, err := e.(Selector).Select(rows, []int32{-7})
				require.NoError(t, err)
				require.Equal(t, got.NullN() == 0, ok)
				require.Equal(t, int32(-7), listed[0])
				if ok {
					require.Equal(t, append([]int32{-7}, holds...), listed, where)
				}
				got.Release()
				rows.Release()
			}
		}
		whole.Release()
	}
}
