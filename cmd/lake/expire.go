package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"lake/storage"
	"lake/table"
)

// minSnapshots are kept however old they are.
const minSnapshots = 100

// expire drops old snapshots, then what nothing refers to any more.
func (a *app) expire(ctx context.Context, r *resolved, t *opened, o compactOptions, out *compactResult) error {
	expired, err := t.Expire(ctx, table.Keep{Age: r.Compact.Snapshots.Duration, Least: minSnapshots, Most: int(r.Compact.MaxSnapshots)})
	if err != nil {
		return fmt.Errorf("expire snapshots of %s: %w", t.Name(), err)
	}
	out.Expired = expired
	if !o.clean {
		return nil
	}
	began := time.Now()
	deleted, err := t.Clean(ctx, o.grace)
	if err != nil {
		return fmt.Errorf("clean up %s: %w", t.Name(), err)
	}
	out.Deleted = len(deleted)
	folders, err := a.besideTable(ctx, r, t)
	if err != nil {
		return fmt.Errorf("clean up beside %s: %w", t.Name(), err)
	}
	for _, folder := range folders {
		if err := storage.Sweep(ctx, t.FS(), folder, began.Add(-o.grace)); err != nil {
			return fmt.Errorf("clean up %s: %w", folder, err)
		}
	}
	return nil
}

// besideTable are the folders outside of the table's that a killed run of the job
// may have left something unfinished in: those of its checkpoints, its dead
// letters, and of the dates that it publishes where the job file says. A date's
// folder is looked into, and nothing around it: others may write there.
func (a *app) besideTable(ctx context.Context, r *resolved, t *opened) ([]string, error) {
	folders := []string{r.blobs(t.Table).Folder}
	letters, err := t.catalog.Load(ctx, r.letterTable())
	switch {
	case err == nil:
		folders = append(folders, strings.TrimRight(letters.Location(), "/")+"/data", strings.TrimRight(letters.Location(), "/")+"/metadata")
	case !errors.Is(err, table.ErrNoTable):
		return nil, err
	}
	if r.dateColumn() == "" {
		return folders, nil
	}
	options, err := a.publishTo(ctx, r, t.Table, publishOptions{})
	if err != nil {
		return nil, err
	}
	if _, sweeps := options.FS.(storage.Sweeper); !sweeps {
		return folders, nil
	}
	dates, err := filesByDate(ctx, t.Table, table.FileFilter{})
	if err != nil {
		return nil, err
	}
	for _, date := range sortedDates(dates) {
		folder, err := options.Folder(date)
		if err != nil {
			return nil, err
		}
		folders = append(folders, folder)
	}
	return folders, nil
}
