package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"lake/jobs"
	"lake/load"
	"lake/table"
)

// The ledger's table stays small, and says the same afterwards.
func TestLedgerIsTidied(t *testing.T) {
	catalog, err := table.OpenCatalog(t.Context(), table.CatalogConfig{Warehouse: filepath.Join(t.TempDir(), "warehouse")})
	require.NoError(t, err)
	defer func() { require.NoError(t, catalog.Close()) }()
	a := &app{log: slog.New(slog.DiscardHandler)}
	r := &resolved{Job: &jobs.Job{}}
	r.Table.Name.Value = "k.events"
	require.NoError(t, a.tidyLedger(t.Context(), r, catalog), "there is none yet")
	l, err := load.OpenLedger(t.Context(), "a", nil, func(ctx context.Context) (*table.Table, error) {
		return catalog.Create(ctx, r.ledgerTable(), table.Definition{Schema: load.LedgerSchema()})
	})
	require.NoError(t, err)
	require.NoError(t, l.Claim(t.Context()))
	for i := range ledgerSnapshots {
		line := load.Line{Target: "a", Incarnation: "i", Partition: load.DateName(int32(i % 7)), ID: load.DateName(int32(i)), Rows: int64(i)}
		require.NoError(t, l.Append(t.Context(), []load.Line{line}))
	}
	require.NoError(t, a.tidyLedger(t.Context(), r, catalog))
	after, err := catalog.Load(t.Context(), r.ledgerTable())
	require.NoError(t, err)
	files, err := after.Files(t.Context(), table.FileFilter{})
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.Less(t, len(after.Snapshots()), ledgerSnapshots*2/3)
	read, err := load.OpenLedger(t.Context(), "a", after, nil)
	require.NoError(t, err)
	require.Len(t, read.Lines("i"), 7)
	for name, line := range read.Lines("i") {
		require.Equal(t, l.Lines("i")[name].ID, line.ID)
		require.GreaterOrEqual(t, line.Rows, int64(ledgerSnapshots-7))
	}
	require.NoError(t, l.Append(t.Context(), []load.Line{{Target: "a", Incarnation: "i", Partition: "all"}}), "the claim outlives it")
}
