package table

import (
	"context"
	"fmt"
)

// Turn is had by one commit of this process at a time. A batch's commit takes it
// at once. Maintenance reads manifests and would lose against commits that follow
// each other closely, for ever: it takes the turn once it has lost, so that it
// loses to other processes at most. Many goroutines may use it; waiting is in order.
type Turn struct{ free chan struct{} }

// NewTurn makes a turn that is free.
func NewTurn() *Turn {
	t := &Turn{free: make(chan struct{}, 1)}
	t.free <- struct{}{}
	return t
}

// take waits for the turn. The caller gives it back by calling release once.
func (t *Turn) take(ctx context.Context) (release func(), err error) {
	select {
	case <-t.free:
		return func() { t.free <- struct{}{} }, nil
	case <-ctx.Done():
		return func() {}, fmt.Errorf("wait for another commit of this process: %w", context.Cause(ctx))
	}
}
