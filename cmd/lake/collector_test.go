package main

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestGarbageHasRoom(t *testing.T) {
	c := &collector{most: 200}
	for _, each := range []struct {
		live    int64
		percent int
	}{
		{0, 200}, {10 << 20, 200}, {20 << 20, 200}, {32 << 20, 125}, {40 << 20, 100}, {80 << 20, 50}, {4 << 30, 50},
	} {
		require.Equal(t, each.percent, c.garbage(each.live), "%d MiB live", each.live>>20)
	}
	require.Equal(t, 100, (&collector{most: 100}).garbage(10<<20), "where memory is scarce")
}

// TestCollectorFollowsTheHeap holds much, and a collection tells.
func TestCollectorFollowsTheHeap(t *testing.T) {
	c := collect(200)
	defer c.end()
	held := make([]byte, 100<<20)
	require.Eventually(t, func() bool {
		runtime.GC()
		return c.percent.Load() == 50
	}, 10*time.Second, time.Millisecond)
	runtime.KeepAlive(held)
}
