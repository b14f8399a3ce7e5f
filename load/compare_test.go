package load

import (
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"lake/schemas"
)

func TestCompare(t *testing.T) {
	schema := schemas.Schema{Fields: []schemas.Field{
		{Name: "user", Type: schemas.Type{Kind: schemas.String}},
		{Name: "n", Type: schemas.Type{Kind: schemas.Int64}},
		{Name: "mean", Type: schemas.Type{Kind: schemas.Float64}},
	}}
	for name, c := range map[string]struct {
		a, b string
		want []Mismatch
	}{
		"another order": {
			`[{"user":"x","n":1,"mean":0.5},{"user":"y","n":2,"mean":null},{"user":"x","n":1,"mean":7}]`,
			`[{"user":"x","n":1,"mean":7},{"user":"x","n":1,"mean":0.5},{"user":"y","n":2,"mean":null}]`, nil},
		"sums in another order":    {`[{"user":"x","n":1,"mean":0.30000000000000004}]`, `[{"user":"x","n":1,"mean":0.3}]`, nil},
		"another number":           {`[{"user":"x","n":1,"mean":0.3}]`, `[{"user":"x","n":1,"mean":0.3000001}]`, []Mismatch{{true, 0}, {false, 0}}},
		"null is not nought":       {`[{"user":"x","n":0,"mean":0}]`, `[{"user":"x","n":null,"mean":0}]`, []Mismatch{{true, 0}, {false, 0}}},
		"null is not a number":     {`[{"user":"x","n":0,"mean":0}]`, `[{"user":"x","n":0,"mean":null}]`, []Mismatch{{true, 0}, {false, 0}}},
		"once and twice":           {`[{"user":"x","n":1,"mean":1}]`, `[{"user":"x","n":1,"mean":1},{"user":"x","n":1,"mean":1}]`, []Mismatch{{false, 1}}},
		"one is missing":           {`[{"user":"x","n":1,"mean":1},{"user":"y","n":1,"mean":1}]`, `[{"user":"y","n":1,"mean":1}]`, []Mismatch{{true, 0}}},
		"one of a key's floats":    {`[{"user":"x","n":1,"mean":1},{"user":"x","n":1,"mean":3}]`, `[{"user":"x","n":1,"mean":2},{"user":"x","n":1,"mean":3}]`, []Mismatch{{true, 0}, {false, 0}}},
		"a text and its neighbour": {`[{"user":"x,1","n":1,"mean":1}]`, `[{"user":"x","n":1,"mean":1}]`, []Mismatch{{true, 0}, {false, 0}}},
	} {
		t.Run(name, func(t *testing.T) {
			read := func(text string) arrow.RecordBatch {
				batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema.Arrow(), strings.NewReader(text))
				require.NoError(t, err)
				t.Cleanup(batch.Release)
				return batch
			}
			got, err := Compare(schema, read(c.a), read(c.b))
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}
