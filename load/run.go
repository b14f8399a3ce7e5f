package load

import (
	"context"
	"fmt"
	"time"
)

// Result is what a load did.
type Result struct {
	Target  string `json:"target"`
	Loaded  int    `json:"loaded"`
	Current int    `json:"current"` // partitions that were there already
	Rows    int64  `json:"rows"`
	Bytes   int64  `json:"bytes"`
}

// Run executes a plan. What is loaded stays loaded where a later partition
// fails; the next run goes on from there.
func Run(ctx context.Context, w Warehouse, steps []Step, each func(Step, time.Duration)) (Result, error) {
	var r Result
	for _, s := range steps {
		if s.Current {
			r.Current++
			continue
		}
		if err := ctx.Err(); err != nil {
			return r, fmt.Errorf("load: stopped before partition %s: %w", s.Name, context.Cause(ctx))
		}
		started := time.Now()
		held, err := w.Replace(ctx, s.Load)
		if err != nil {
			return r, fmt.Errorf("load partition %s: %w", s.Name, err)
		}
		r.Loaded++
		r.Rows += held.Rows
		r.Bytes += s.Bytes
		each(s, time.Since(started))
	}
	return r, nil
}
