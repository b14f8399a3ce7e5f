package parquet

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// worthSharing is how many bytes of pages are encoded by more than one
// goroutine: below, that takes as long as to wake one.
const worthSharing = 128 << 10

// share calls do for each leaf. Pages of all columns end at about the same row,
// and the columns know nothing of one another, so that other goroutines help
// where not as many work for the format as may. The leaf that took longest last time comes
// first: begun last, it would be waited for alone.
func (w *Writer) share(s *scratch, leaves []*leaf, do func(*leaf, *scratch) error) error {
	size := 0
	for _, l := range leaves {
		size += l.pageBytes()
	}
	return w.spread(s, leaves, int64(size), do)
}

// spread is share where the work is size bytes.
func (w *Writer) spread(s *scratch, leaves []*leaf, size int64, do func(*leaf, *scratch) error) error {
	if w.format.parallel < 2 || len(leaves) < 2 || size < worthSharing {
		for _, l := range leaves {
			if err := do(l, s); err != nil {
				return err
			}
		}
		return nil
	}
	slices.SortStableFunc(leaves, func(a, b *leaf) int { return cmp.Compare(b.took, a.took) })
	var next atomic.Int64
	work := func(s *scratch) error {
		for {
			i := int(next.Add(1)) - 1
			if i >= len(leaves) {
				return nil
			}
			started := time.Now()
			if err := do(leaves[i], s); err != nil {
				return err
			}
			leaves[i].took = time.Since(started)
		}
	}
	var helping errgroup.Group
	for range len(leaves) - 1 {
		s := w.format.borrowSpare()
		if s == nil {
			break
		}
		helping.Go(func() error {
			defer w.format.giveBack(s)
			return work(s)
		})
	}
	mine := work(s)
	if err := helping.Wait(); err != nil {
		return err
	}
	return mine
}
