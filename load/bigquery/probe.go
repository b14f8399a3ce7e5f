package bigquery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"cloud.google.com/go/bigquery"
)

// Probe tells what there is, for lake doctor, and changes nothing.
func Probe(ctx context.Context, cfg Config) (found string, err error) {
	w, err := Open(ctx, cfg, Options{Patience: 20 * time.Second})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	return w.probe(ctx)
}

// probe also checks a query, which is not run: that shows that jobs may be.
func (w *Warehouse) probe(ctx context.Context) (found string, err error) {
	meta, err := w.metadata(ctx)
	if err != nil {
		return "", err
	}
	found = fmt.Sprintf("table %s in %s", w.name(), w.location)
	if meta == nil {
		var set *bigquery.DatasetMetadata
		err := w.call(ctx, callTime, func(ctx context.Context) (err error) {
			set, err = w.client.DatasetInProject(w.project, w.dataset).Metadata(ctx)
			return err
		})
		switch {
		case is(err, http.StatusNotFound) && w.cfg.Location != "":
			found = fmt.Sprintf("no dataset yet: lake load makes it in %s", w.cfg.Location)
		case err != nil:
			return "", fmt.Errorf("look at dataset %s.%s: %w", w.project, w.dataset, meaning(err))
		default:
			w.location = set.Location
			found = fmt.Sprintf("no table yet: lake load makes it, in %s", set.Location)
		}
	}
	err = w.call(ctx, callTime, func(ctx context.Context) error {
		q := w.client.Query("SELECT 1")
		q.DryRun, q.Location = true, w.location
		_, err := q.Run(ctx)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("run a job in project %s: %w", w.cfg.Project, meaning(err))
	}
	return found + "; jobs may run", nil
}
