package compact

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"lake/table"
)

// sized are files of one date, older ones first.
func sized(date string, sizes ...int64) []table.File {
	var files []table.File
	for i, bytes := range sizes {
		files = append(files, table.File{Path: fmt.Sprintf("%s/%03d", date, i), Partition: "dt=" + date, Rows: 1, Bytes: bytes, Sequence: int64(i)})
	}
	return files
}

func deleted(files []table.File, at int) []table.File {
	files[at].Deletes = 1
	return files
}

func TestPlan(t *testing.T) {
	const day, open = "2021-11-30", math.MinInt32
	const closed = 18_962 // the date after
	for _, c := range []struct {
		name   string
		files  []table.File
		policy Policy
		groups map[string][]int64 // the sizes of a group's files, as they are read; none: nothing
		whole  bool
	}{
		{"all small files", sized(day, 1, 700, 2, 749, 3), Policy{}, map[string][]int64{day: {1, 700, 2, 749, 3}}, true},
		{"files of three quarters stay", sized(day, 1, 750, 2, 1900, 3, 4, 5), Policy{}, map[string][]int64{day: {1, 2, 3, 4, 5}}, false},
		{"four are no group", sized(day, 1, 2, 3, 4), Policy{}, nil, false},
		{"as many as before", sized(day, 700, 700, 700, 700, 740), Policy{}, map[string][]int64{day: {700, 700, 700, 700, 740}}, true},
		{"a group a date", append(sized(day, 1, 1, 1, 1, 1), sized("2021-12-01", 2, 2, 2, 2, 2)...), Policy{}, map[string][]int64{day: {1, 1, 1, 1, 1}, "2021-12-01": {2, 2, 2, 2, 2}}, true},
		{"a large file with deletes", deleted(sized(day, 1, 900, 2, 3, 4), 1), Policy{}, map[string][]int64{day: {1, 900, 2, 3, 4}}, true},

		{"by size: five of a size", sized(day, 9, 10, 11, 10, 9), Policy{BySize: true, Closed: open}, map[string][]int64{day: {9, 10, 11, 10, 9}}, true},
		{"by size: the day's file stays", sized(day, 300, 10, 10, 10, 10, 10), Policy{BySize: true, Closed: open}, map[string][]int64{day: {10, 10, 10, 10, 10}}, false},
		{"by size: a quarter of the merge goes along", sized(day, 16, 10, 10, 10, 10, 10), Policy{BySize: true, Closed: open}, map[string][]int64{day: {16, 10, 10, 10, 10, 10}}, true},
		{"by size: more than a quarter stays", sized(day, 17, 10, 10, 10, 10, 10), Policy{BySize: true, Closed: open}, map[string][]int64{day: {10, 10, 10, 10, 10}}, false},
		{"by size: one merge makes the next size full", sized(day, 50, 50, 50, 50, 9, 10, 10, 10, 11), Policy{BySize: true, Closed: open}, map[string][]int64{day: {50, 50, 50, 50, 9, 10, 10, 10, 11}}, true},
		{"by size: no five are alike", sized(day, 1, 4, 16, 64, 256), Policy{BySize: true, Closed: open}, nil, false},
		{"by size: two are enough where the job says so", sized(day, 300, 10, 10), Policy{BySize: true, Closed: open, MinFiles: 2}, map[string][]int64{day: {10, 10}}, false},
		{"by size: deletes are never left", deleted(sized(day, 1, 4, 16, 64, 900), 4), Policy{BySize: true, Closed: open}, map[string][]int64{day: {900}}, false},
		{"by size: deletes beside a merge", deleted(sized(day, 300, 10, 10, 10, 10, 10), 0), Policy{BySize: true, Closed: open}, map[string][]int64{day: {300, 10, 10, 10, 10, 10}}, true},

		{"closed: no five are alike", sized(day, 1, 4, 16, 64, 256), Policy{BySize: true, Closed: closed}, map[string][]int64{day: {1, 4, 16, 64, 256}}, true},
		{"closed: its last date is open", sized("2021-12-01", 1, 4, 16, 64, 256), Policy{BySize: true, Closed: closed}, nil, false},
		{"closed: few late rows", sized(day, 700, 20, 20, 20, 20, 19), Policy{BySize: true, Closed: closed}, map[string][]int64{day: {20, 20, 20, 20, 19}}, false},
		{"closed: enough late rows", sized(day, 700, 20, 20, 20, 20, 20), Policy{BySize: true, Closed: closed}, map[string][]int64{day: {700, 20, 20, 20, 20, 20}}, true},
		{"closed: four are no group", sized(day, 1, 4, 16, 64), Policy{BySize: true, Closed: closed}, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.policy.TargetBytes = 1000
			if c.policy.MinFiles == 0 {
				c.policy.MinFiles = 5
			}
			shuffled := append([]table.File{}, c.files...)
			rand.New(rand.NewPCG(1, 2)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			p := Make(7, shuffled, c.policy)
			require.Equal(t, len(c.files), p.Files)
			require.Len(t, p.Groups, len(c.groups))
			for _, g := range p.Groups {
				var sizes []int64
				sum := int64(0)
				for _, f := range g.Files {
					sizes, sum = append(sizes, f.Bytes), sum+f.Bytes
				}
				require.Equal(t, c.groups[g.Partition[len("dt="):]], sizes)
				require.Equal(t, c.whole, g.Whole)
				require.Equal(t, sum, g.Bytes)
				require.EqualValues(t, len(sizes), g.Rows)
				require.EqualValues(t, math.Ceil(float64(sum)/1000), g.Outputs)
			}
			require.Equal(t, c.whole, p.Recounts(closed))
			require.False(t, p.Recounts(closed-1), "the date itself is open")
		})
	}
}

// day is a table of one date that gets files and is compacted by the plans.
type day struct {
	files              []table.File
	made               int
	written, rewritten int64
	most               int // files at a time
}

func (d *day) add(bytes int64) {
	d.made++
	d.files = append(d.files, table.File{Path: fmt.Sprint(d.made), Partition: "dt=2021-11-30", Bytes: bytes, Sequence: int64(d.made)})
}

func (d *day) compact(policy Policy) {
	for _, g := range Make(1, d.files, policy).Groups {
		gone := map[string]bool{}
		for _, f := range g.Files {
			gone[f.Path] = true
		}
		kept := d.files[:0]
		for _, f := range d.files {
			if !gone[f.Path] {
				kept = append(kept, f)
			}
		}
		d.files = kept
		d.rewritten += g.Bytes
		for left := g.Bytes; left > 0; left -= policy.TargetBytes {
			d.add(min(left, policy.TargetBytes))
		}
	}
	d.most = max(d.most, len(d.files))
}

// TestPlanBySizeOverADay: what a date costs that grows by many commits. A row is
// written anew log4(size of the date / size of a commit) times at most, and the
// files stay few. Merging each time all that is small costs more with each commit.
func TestPlanBySizeOverADay(t *testing.T) {
	even := func(*rand.Rand) int64 { return 10_000 }
	uneven := func(r *rand.Rand) int64 { return 1 + int64(math.Exp(12*r.Float64())) }
	for _, c := range []struct {
		name           string
		commits, every int
		target         int64
		bySize         bool
		size           func(*rand.Rand) int64
		least, most    float64 // bytes rewritten, of those written
		files          int     // that a compaction leaves, at most
	}{
		{"a look a commit", 1000, 1, 1 << 40, true, even, 3, 3.2, 15},
		{"a look a minute", 1000, 60, 1 << 40, true, even, 2, 2.5, 6},
		{"ten files of the target", 1000, 1, 1_000_000, true, even, 2, 2.5, 21},
		{"commits of any size", 1000, 1, 1 << 40, true, uneven, 2, 2.6, 31},
		{"a day of a commit a second", 86_400, 60, 512 << 20, true, even, 4, 4.5, 15},
		{"a minute's look at all that is small", 1000, 60, 1 << 40, false, even, 8, 9, 1},
		{"a commit's look at all that is small", 1000, 1, 1 << 40, false, even, 120, 130, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 1))
			d := &day{}
			for n := range c.commits {
				bytes := c.size(random)
				d.add(bytes)
				d.written += bytes
				if n%c.every == c.every-1 {
					d.compact(Policy{TargetBytes: c.target, MinFiles: 5, BySize: c.bySize, Closed: math.MinInt32})
				}
			}
			sum := int64(0)
			for _, f := range d.files {
				sum += f.Bytes
			}
			require.Equal(t, d.written, sum)
			factor := float64(d.rewritten) / float64(d.written)
			require.GreaterOrEqual(t, factor, c.least, "it compacts")
			require.LessOrEqual(t, factor, c.most)
			require.LessOrEqual(t, d.most, c.files)
			if c.bySize {
				require.LessOrEqual(t, factor, math.Log2(float64(d.written)/10_000)/2, "log4")
			}
		})
	}
}

// Groups that wait for a store are more than those that wait for a disk; each has the memory
// that it needs.
func TestShare(t *testing.T) {
	cores := runtime.GOMAXPROCS(0)
	small, large := Group{Bytes: 1 << 20}, Group{Bytes: 100 << 20}
	for _, each := range []struct {
		g      Group
		memory int64
		remote bool
		most   int
	}{
		{small, 64 << 30, false, 2 * cores},
		{small, 64 << 30, true, 4 * cores},
		{small, 32 << 20, true, min(4*cores, 2)}, // 8 MiB for each of half of it
		{large, 1 << 30, true, 1},
	} {
		memory, beside := Options{MemoryBytes: each.memory}.share(each.g, each.remote)
		require.Equal(t, each.most, beside+1)
		require.LessOrEqual(t, memory*int64(beside+1), each.memory/2)
		require.GreaterOrEqual(t, memory, 4*each.g.Bytes)
	}
}
