package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"lake/compact"
	"lake/table"
)

// droppedDates is what table.retain takes out of the table.
type droppedDates struct {
	Retain string `json:"retain,omitempty"` // as the job file's duration in hours; "": it has none
	Before string `json:"before,omitempty"` // first date that is kept
	First  string `json:"first,omitempty"`
	Last   string `json:"last,omitempty"`
	Dates  int    `json:"dates"`
	Files  int    `json:"files"`
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
}

// retention plans what table.retain drops. It looks at all dates, whatever
// --from and --to say: the newest one decides.
func (r *resolved) retention(ctx context.Context, t *table.Table, o compactOptions, snapshot int64) (compact.Retention, error) {
	keep := r.Table.Retain.Duration
	if !o.expire || keep <= 0 {
		return compact.Retain(nil, 0, time.Time{}), nil
	}
	files, err := t.Files(ctx, table.FileFilter{Snapshot: snapshot})
	if err != nil {
		return compact.Retention{}, err
	}
	return compact.Retain(files, keep, time.Now().In(r.zone)), nil
}

func summarizeDropped(p compact.Retention, keep time.Duration) droppedDates {
	out := droppedDates{Dates: len(p.Dates)}
	if keep > 0 {
		out.Retain = keep.String()
	}
	if len(p.Dates) > 0 {
		out.Before, out.First, out.Last = dateText(p.Before), dateText(p.Dates[0].Date), dateText(p.Dates[len(p.Dates)-1].Date)
	}
	out.Files, out.Rows, out.Bytes = p.Total()
	return out
}

// dateText is a date, in days since 1970, as people write it.
func dateText(days int32) string {
	return time.Unix(int64(days)*86400, 0).UTC().Format(time.DateOnly)
}

func printDropped(w io.Writer, d droppedDates) {
	if d.Dates > 0 {
		fmt.Fprintf(w, "out of retention: %s, %s to %s, %s in %s, %s\n", formatCounted(int64(d.Dates), "date"), d.First, d.Last,
			formatCounted(d.Rows, "row"), formatCounted(int64(d.Files), "file"), formatBytes(d.Bytes))
	}
}
