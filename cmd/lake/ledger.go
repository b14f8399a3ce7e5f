package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"lake/compact"
	"lake/table"
)

// When the ledger is tidied: each run of lake load adds a snapshot or two, and
// mostly a file.
const (
	ledgerFiles     = 32
	ledgerSnapshots = 100
)

// tidyLedger keeps the ledger's table small, since nobody else looks after it.
func (a *app) tidyLedger(ctx context.Context, r *resolved, catalog *table.Catalog) error {
	t, err := catalog.Load(ctx, r.ledgerTable())
	if errors.Is(err, table.ErrNoTable) {
		return nil
	}
	if err != nil {
		return err
	}
	current, ok := t.Current()
	if !ok {
		return nil
	}
	files, err := t.Files(ctx, table.FileFilter{Snapshot: current.ID})
	if err != nil {
		return err
	}
	if len(files) >= ledgerFiles {
		plan := compact.Make(current.ID, files, compact.Policy{TargetBytes: r.targetBytes(), MinFiles: 2})
		if _, err := compact.Run(ctx, t, plan, compact.Options{Mem: memory.DefaultAllocator, MemoryBytes: 64 << 20, TargetBytes: r.targetBytes(), Log: a.log}); err != nil {
			return fmt.Errorf("compact the ledger: %w", err)
		}
	}
	if len(t.Snapshots()) >= ledgerSnapshots {
		if _, err := t.Expire(ctx, table.Keep{Age: time.Hour, Least: 10, Most: ledgerSnapshots / 2}); err != nil {
			return fmt.Errorf("expire snapshots of the ledger: %w", err)
		}
		if _, err := t.Clean(ctx, orphanGrace); err != nil {
			return fmt.Errorf("clean up the ledger: %w", err)
		}
	}
	return nil
}

// loadedStatus is what the ledger says of a target. The target itself is not asked.
type loadedStatus struct {
	Target     string `json:"target"`
	Partitions int    `json:"partitions"`
	Rows       int64  `json:"rows"`
	Last       string `json:"last_load,omitempty"`
}

func (a *app) loadedStatus(ctx context.Context, r *resolved, catalog *table.Catalog) ([]loadedStatus, error) {
	out := []loadedStatus{}
	for _, l := range r.loads {
		ledger, err := a.openLedger(ctx, r, catalog, l.name)
		if err != nil {
			return nil, err
		}
		s := loadedStatus{Target: l.name}
		var last time.Time
		_, lines := ledger.Last()
		for _, line := range lines {
			if line.Rows > 0 {
				s.Partitions++
			}
			s.Rows += line.Rows
			if line.Finished.After(last) {
				last = line.Finished
			}
		}
		if !last.IsZero() {
			s.Last = last.UTC().Format(time.RFC3339)
		}
		out = append(out, s)
	}
	return out, nil
}
