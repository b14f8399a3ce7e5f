package table

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/iceberg-go"
	icebergtable "github.com/apache/iceberg-go/table"
	"github.com/stretchr/testify/require"
)

// TestFiltersOfIceberg has Iceberg's own scan evaluate each operation that its
// filters have and Arrow evaluates (it has no starts_with): replaced/substrait
// holds the definitions of them all.
func TestFiltersOfIceberg(t *testing.T) {
	c, tbl := newEvents(t)
	takeOver(t, c, "shop.events").mustCommit(writeEvents(t, tbl, 18_961, 1, 2, 3, 10, 20))
	tbl = load(t, c, "shop.events")
	id, text := iceberg.Reference("id"), iceberg.Reference("text")
	for name, each := range map[string]struct {
		filter iceberg.BooleanExpression
		want   []int64
	}{
		"equal":       {iceberg.EqualTo(id, int64(3)), []int64{3}},
		"not equal":   {iceberg.NotEqualTo(id, int64(3)), []int64{1, 2, 10, 20}},
		"above":       {iceberg.GreaterThan(id, int64(3)), []int64{10, 20}},
		"from":        {iceberg.GreaterThanEqual(id, int64(3)), []int64{3, 10, 20}},
		"below":       {iceberg.LessThan(id, int64(3)), []int64{1, 2}},
		"to":          {iceberg.LessThanEqual(id, int64(3)), []int64{1, 2, 3}},
		"in":          {iceberg.IsIn(id, int64(2), 20), []int64{2, 20}},
		"not in":      {iceberg.NotIn(id, int64(2), 20), []int64{1, 3, 10}},
		"is null":     {iceberg.IsNull(text), nil},
		"is not null": {iceberg.NotNull(text), []int64{1, 2, 3, 10, 20}},
		"both":        {iceberg.NewAnd(iceberg.GreaterThan(id, int64(1)), iceberg.EqualTo(text, "t10")), []int64{10}},
		"either":      {iceberg.NewOr(iceberg.EqualTo(id, int64(1)), iceberg.NewNot(iceberg.LessThan(id, int64(20)))), []int64{1, 20}},
	} {
		t.Run(name, func(t *testing.T) {
			scan := tbl.now.Load().ice.Scan(icebergtable.WithRowFilter(each.filter))
			_, batches, err := scan.ToArrowRecords(t.Context())
			require.NoError(t, err)
			var got []int64
			for batch, err := range batches {
				require.NoError(t, err)
				got = append(got, batch.Column(0).(*array.Int64).Int64Values()...)
				batch.Release()
			}
			require.Equal(t, each.want, got)
		})
	}
}
