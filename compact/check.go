package compact

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"lake/table"
)

// Check counts the rules of one date again, as a compaction does, and rewrites
// nothing. Files are all of the date's, in one snapshot. Each, where it is not nil, sees
// each batch of the rows, which it does not keep.
func Check(ctx context.Context, t *table.Table, files []table.File, o Options, each func(arrow.RecordBatch) error) (r Result, err error) {
	if len(files) == 0 {
		return r, nil
	}
	counts, err := newRecount(Group{Files: files, Whole: true}, o, &r)
	if err != nil {
		return r, err
	}
	defer counts.release()
	for batch, err := range t.Scan(ctx, table.ScanOptions{Files: files}) {
		if err != nil {
			return r, err
		}
		if each != nil {
			err = each(batch)
		}
		if err == nil {
			err = counts.add(batch)
		}
		r.Rows += batch.NumRows()
		batch.Release()
		if err != nil {
			return r, fmt.Errorf("check %s: %w", files[0].Partition, err)
		}
	}
	return r, counts.compare(&r)
}
