package tally

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"lake/rules"
)

const (
	scaleGroups  = 10_000_000
	scaleChanged = 100_000 // rows between two checkpoints
)

// keyed is a batch of one key column: an int, or a text of 16 bytes.
func keyed(plan *rules.Plan, text bool, users []int) Rows {
	builder := array.NewRecordBuilder(memory.DefaultAllocator, plan.Source.Schema.Arrow())
	defer builder.Release()
	for _, user := range users {
		if text {
			builder.Field(0).(*array.StringBuilder).Append(fmt.Sprintf("user-%011d", user*7919))
		} else {
			builder.Field(0).(*array.Int64Builder).Append(int64(user) * 7919)
		}
	}
	return Rows{Batch: builder.NewRecordBatch()}
}

// BenchmarkTenMillionGroups fills COUNT(*) by key with ten million groups, then
// makes a whole walk of checkpoints with 100,000 rows of random groups between
// two, and a restart from what is needed then.
func BenchmarkTenMillionGroups(b *testing.B) {
	for _, text := range []bool{false, true} {
		typ := map[bool]string{false: "int64", true: "string"}[text]
		b.Run(typ, func(b *testing.B) {
			for range b.N {
				benchScale(b, text)
			}
		})
	}
}

func benchScale(b *testing.B, text bool) {
	typ := intType
	if text {
		typ = textType
	}
	rule := Rule{Name: "r", Emit: OnCross, Plan: testPlan(rules.Plan{Source: source("user", typ),
		Keys: []rules.Column{col("user", typ)}, Aggs: []rules.Agg{{Func: rules.Count}}, Having: int64AtLeast{"agg0", 1_000_000}})}
	heap := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	empty := heap()
	tally, err := New(rule, Options{})
	require.NoError(b, err)
	add := func(users []int) time.Duration {
		rows := keyed(rule.Plan, text, users)
		defer rows.Batch.Release()
		started := time.Now()
		require.NoError(b, tally.Add(rows))
		return time.Since(started)
	}
	var slowestAdd, slowestKnown, filling time.Duration
	users := make([]int, 0, 1<<16)
	for user := range scaleGroups {
		if users = append(users, user); len(users) == cap(users) || user == scaleGroups-1 {
			took := add(users)
			filling += took
			slowestAdd = max(slowestAdd, took)
			users = users[:0]
		}
	}
	var parts [][]byte
	checkpoint := func() (time.Duration, int) {
		started := time.Now()
		part, needs := tally.Checkpoint(nil)
		took := time.Since(started)
		parts = append(parts, part)
		parts = slices.Clone(parts[len(parts)-needs:])
		return took, len(part)
	}
	wholeTook, wholeBytes := checkpoint()
	r := rand.New(rand.NewPCG(1, 2))
	var slowest, total time.Duration
	var size, commits int
	for range 2 * walkCommits {
		for left := scaleChanged; left > 0; left -= len(users) {
			users = users[:0]
			for range min(left, cap(users)) {
				users = append(users, r.IntN(scaleGroups))
			}
			slowestKnown = max(slowestKnown, add(users))
		}
		took, n := checkpoint()
		slowest, total, size, commits = max(slowest, took), total+took, max(size, n), commits+1
	}
	onDisk := 0
	for _, part := range parts {
		onDisk += len(part)
	}
	held := heap() - empty - float64(onDisk)
	again, err := New(rule, Options{})
	require.NoError(b, err)
	started := time.Now()
	require.NoError(b, again.Restore(parts...))
	restart := time.Since(started)
	require.Equal(b, scaleGroups, again.Groups())

	b.ReportMetric(held/scaleGroups, "heapB/group")
	b.ReportMetric(float64(tally.Bytes())/scaleGroups, "countedB/group")
	b.ReportMetric(float64(wholeBytes)/scaleGroups, "wholeB/group")
	b.ReportMetric(float64(onDisk)/scaleGroups, "diskB/group")
	b.ReportMetric(float64(len(parts)), "files")
	b.ReportMetric(float64(size)/1e6, "MB/commit-max")
	b.ReportMetric(milli(slowest), "ms/commit-max")
	b.ReportMetric(milli(total)/float64(commits), "ms/commit-mean")
	b.ReportMetric(milli(wholeTook), "ms/first-commit")
	b.ReportMetric(milli(slowestAdd), "ms/add-max")         // of 65,536 rows, all new groups
	b.ReportMetric(milli(slowestKnown), "ms/add-known-max") // of as many, of random groups: each waits for memory
	b.ReportMetric(milli(filling), "ms/fill")
	b.ReportMetric(milli(restart), "ms/restart")
	tally.Release()
	again.Release()
}

func milli(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
