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
		live, scanned int64 // MiB
		percent       int
	}{
		{0, 0, 200}, {10, 0, 200}, {20, 0, 200}, {32, 0, 125}, {40, 0, 100}, {80, 0, 50}, {4096, 0, 50},
		{80, 13, 50}, {80, 20, 75}, {80, 40, 150}, {80, 80, 200}, {100, 35, 105}, {4096, 512, 50}, {4096, 1024, 75},
	} {
		require.Equal(t, each.percent, c.garbage(each.live<<20, each.scanned<<20), "%d MiB live, %d of them looked through", each.live, each.scanned)
	}
	require.Equal(t, 100, (&collector{most: 100}).garbage(10<<20, 10<<20), "where memory is scarce")
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
