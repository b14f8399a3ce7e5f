package table

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Files whose statistics have no row in a range are passed over; what is in it comes.
func TestScanWhere(t *testing.T) {
	c, _ := newEvents(t)
	o := takeOver(t, c, "shop.events")
	o.mustCommit(writeEvents(t, o.table, day, 1, 5), writeEvents(t, o.table, day, 10, 20), writeEvents(t, o.table, day, 30))
	number := func(x int64) Limit { return Limit{Set: true, Int: x} }
	for _, each := range []struct {
		where []Range
		want  []int64
	}{
		{[]Range{{Column: "id", Low: number(11), High: number(12)}}, []int64{10, 20}},
		{[]Range{{Column: "ID", Low: number(20)}}, []int64{10, 20, 30}},
		{[]Range{{Column: "id", High: number(4)}}, []int64{1, 5}},
		{[]Range{{Column: "text", Low: Limit{Set: true, Text: []byte("t3")}}}, []int64{1, 5, 30}},
		{[]Range{{Column: "id", Low: number(31)}}, nil},
		{[]Range{{Column: "nobody", Low: number(31)}}, []int64{1, 5, 10, 20, 30}},
	} {
		require.ElementsMatch(t, each.want, ids(t, o.table, ScanOptions{Where: each.where}), "%v", each.where)
	}
}
