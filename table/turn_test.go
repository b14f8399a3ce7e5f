package table

import (
	"context"
	"testing"

	icebergtable "github.com/apache/iceberg-go/table"
	"github.com/stretchr/testify/require"
)

// swapping tells of each commit before it takes place.
type swapping struct {
	icebergCatalog
	before func()
}

func (s *swapping) LoadTable(ctx context.Context, ident icebergtable.Identifier) (*icebergtable.Table, error) {
	tbl, err := s.icebergCatalog.LoadTable(ctx, ident)
	if err != nil {
		return nil, err
	}
	fs, err := tbl.FS(ctx)
	return icebergtable.New(ident, tbl.Metadata(), tbl.MetadataLocation(), func(context.Context) (icebergIO, error) { return fs, nil }, s), err
}

func (s *swapping) CommitTable(ctx context.Context, ident icebergtable.Identifier, reqs []icebergtable.Requirement, updates []icebergtable.Update) (icebergtable.Metadata, string, error) {
	s.before()
	return s.icebergCatalog.CommitTable(ctx, ident, reqs, updates)
}

// A compaction that lost to a commit of its own process does not lose to the next
// one, however closely they follow each other.
func TestCompactionHasItsTurn(t *testing.T) {
	c, _ := newEvents(t)
	o := takeOver(t, c, "shop.events")
	o.mustCommit(writeEvents(t, o.table, day, 0))
	o.mustCommit(writeEvents(t, o.table, day, 1))
	tries := 0
	next := make(chan error, 1)
	compactor := load(t, &Catalog{ice: &swapping{icebergCatalog: c.ice, before: func() {
		switch tries++; tries {
		case 1:
			require.Len(t, c.turn.free, 1, "nobody waits while a compaction is built")
			o.mustCommit(writeEvents(t, o.table, day, 2))
		case 2:
			require.Empty(t, c.turn.free)
			late := writeEvents(t, o.table, day, 3)
			go func() { next <- o.commit(context.WithoutCancel(t.Context()), late) }()
		}
	}}, fs: c.fs, root: c.root, turn: c.turn}, "shop.events")
	plan, _ := compactor.Current()
	require.NoError(t, compactor.Rewrite(t.Context(), Rewrite{Snapshot: plan.ID, Old: filesOf(t, compactor, FileFilter{}), New: []dataFile{writeEvents(t, compactor, day, 0, 1)}}))
	require.NoError(t, <-next)
	require.Equal(t, 2, tries)
	tbl := load(t, c, "shop.events")
	var operations []string
	for _, s := range tbl.Snapshots()[3:] {
		operations = append(operations, s.Operation)
	}
	require.Equal(t, []string{"append", "replace", "append"}, operations)
	require.Equal(t, []int64{0, 1, 2, 3}, sorted(ids(t, tbl, ScanOptions{})))
	require.Len(t, c.turn.free, 1)

	// Who waits gives up with its context, and leaves the turn as it is.
	release, err := c.turn.take(t.Context())
	require.NoError(t, err)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, o.commit(ended, writeEvents(t, o.table, day, 4)), context.Canceled)
	require.Empty(t, c.turn.free)
	release()
	require.Len(t, c.turn.free, 1)
}
