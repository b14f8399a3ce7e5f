package table

import (
	"testing"

	"github.com/apache/iceberg-go"
	icebergtable "github.com/apache/iceberg-go/table"
	"github.com/stretchr/testify/require"
)

// testHeadIsWhatIsStored: a handle that never reads back what it commits knows what
// another process reads.
func testHeadIsWhatIsStored(t *testing.T, w warehouse) {
	c, _ := w.events(t)
	o := takeOver(t, c, "shop.events")
	stored := func() icebergtable.Metadata { return load(t, w.open(t), "shop.events").now.Load().ice.Metadata() }
	same := func() {
		t.Helper()
		ours, theirs := o.table.now.Load().ice, stored()
		require.True(t, ours.Metadata().Equals(theirs))
		require.Equal(t, theirs.LastUpdatedMillis(), ours.Metadata().LastUpdatedMillis())
		require.Equal(t, theirs.LastSequenceNumber(), ours.Metadata().LastSequenceNumber())
		require.Equal(t, theirs.Snapshots(), ours.Metadata().Snapshots())
	}
	for range 5 {
		o.mustCommit()
		same()
	}
	_, err := o.table.Expire(t.Context(), Keep{Least: 2})
	require.NoError(t, err)
	same()
	require.Len(t, stored().Snapshots(), 2)
	o.mustCommit()
	same()

	// Another process commits: the version that this one knows is old.
	other := load(t, w.open(t), "shop.events")
	require.NoError(t, other.Append(t.Context(), "k", 1, []iceberg.DataFile{writeEvents(t, other, day, 3)}))
	before := len(stored().Snapshots())
	o.mustCommit()
	same()
	require.Len(t, stored().Snapshots(), before+1)
	delivered, err := o.table.Delivered("k")
	require.NoError(t, err)
	require.Equal(t, int64(1), delivered)
}

// testCompressedMetadata: a table whose metadata another engine compresses stays one.
func testCompressedMetadata(t *testing.T, w warehouse) {
	c := w.open(t)
	tbl, err := c.Create(t.Context(), "shop.packed", Definition{Schema: eventSchema, Properties: map[string]string{icebergtable.MetadataCompressionKey: "gzip"}})
	require.NoError(t, err)
	require.NoError(t, tbl.Append(t.Context(), "k", 1, nil))
	require.NoError(t, tbl.Append(t.Context(), "k", 2, nil))
	stored := load(t, w.open(t), "shop.packed").now.Load().ice
	require.Contains(t, stored.MetadataLocation(), ".gz.")
	require.Len(t, stored.Metadata().Snapshots(), 2)
}
