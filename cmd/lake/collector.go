package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// headroom is how much garbage may lie however much lives, unless half of that is
// more: without it the peak of a long run would be three times what it holds. What lives
// is mostly rows and pages, without pointers, so that a collection costs little.
const headroom = 40 << 20

// perScanned is how many times as much garbage may lie as a collection has to look
// through for pointers, which is what it costs: the records of a Kafka client and the
// open windows of a rule took it 7 % of the processors' time without.
const perScanned = 3

// collector says after each collection of garbage how much may lie before the next.
type collector struct {
	most    int // percent of what lives
	percent atomic.Int64
	ended   atomic.Bool
}

// collect has a say from the first collection on: startup has said when that is. The caller ends it.
func collect(most int) *collector {
	c := &collector{most: most}
	c.watch()
	return c
}

// garbage is the percentage of the live bytes that may lie as garbage beside them;
// scanned are those of them that a collection looks through.
func (c *collector) garbage(live, scanned int64) int {
	return int(min(max(100*max(headroom, perScanned*scanned)/max(live, 1), 50), int64(c.most)))
}

func (c *collector) set(percent int) {
	if c.percent.Swap(int64(percent)) != int64(percent) {
		debug.SetGCPercent(percent)
	}
}

// watch has the runtime call back after the next collection, and again after each: what
// nothing refers to is found by it.
func (c *collector) watch() {
	type unused struct{ _ *int }
	runtime.AddCleanup(&unused{}, func(c *collector) {
		if c.ended.Load() {
			return
		}
		heap := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/heap:bytes"}}
		metrics.Read(heap)
		c.set(c.garbage(int64(heap[0].Value.Uint64()), int64(heap[1].Value.Uint64())))
		c.watch()
	}, c)
}

// end leaves the percentage as it is. There may be no collector.
func (c *collector) end() {
	if c != nil {
		c.ended.Store(true)
	}
}
