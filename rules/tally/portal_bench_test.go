package tally

import (
	"math"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"lake/rules"
)

const (
	portalRows   = 3_000_000
	portalChunk  = 12_000                  // rows of a MiB of JSON
	portalCommit = 1_000_000 / portalChunk // batches between two commits
)

// zipf draws numbers of 0 to n, exclusive, with a weight of rank^-s, shuffled.
type zipf struct {
	sums  []float64
	names []int64
}

func newZipf(r *rand.Rand, n int, s float64) zipf {
	z := zipf{sums: make([]float64, n), names: make([]int64, n)}
	total := 0.0
	for i := range n {
		total += math.Pow(float64(i+1), -s)
		z.sums[i], z.names[i] = total, int64(i)
	}
	r.Shuffle(n, func(i, j int) { z.names[i], z.names[j] = z.names[j], z.names[i] })
	return z
}

func (z zipf) draw(r *rand.Rand) int64 {
	i, _ := slices.BinarySearch(z.sums, r.Float64()*z.sums[len(z.sums)-1])
	return z.names[min(i, len(z.names)-1)]
}

func portalSource(b testing.TB) rules.Source {
	zone, err := time.LoadLocation("Asia/Kolkata")
	require.NoError(b, err)
	s := source("user_id", intType, "property_id", intType, "date", timeType, "event", textType)
	s.Names, s.TimeField, s.Zone = []string{"events"}, "date", zone
	return s
}

// portalRules are those of jobs/nobroker.yaml.
func portalRules(b testing.TB, emit Emit) []Rule {
	var out []Rule
	for name, sql := range map[string]string{
		"paid_user": "SELECT user_id AS user, COUNT(*) AS n FROM events WHERE event = 'Interaction' GROUP BY user_id HAVING n >= 9",
		"property":  "SELECT property_id AS property, COUNT(*) AS n FROM events WHERE event = 'Interaction' GROUP BY property_id HAVING n > 5",
		"broker":    "SELECT TIMESTAMP_BUCKET(date, INTERVAL 1 MINUTE) AS w, user_id, COUNT(*) AS n FROM events WHERE event = 'Interaction' GROUP BY 1, user_id HAVING n > 10",
	} {
		plan, errs := rules.Compile(sql, portalSource(b))
		require.Empty(b, errs)
		out = append(out, Rule{Name: name, Plan: plan, Emit: emit})
	}
	slices.SortFunc(out, func(x, y Rule) int { return len(x.Name) - len(y.Name) })
	return out
}

// portalBatches are the events of bench/flat.yaml: 116 a minute, each up to an
// hour late, with the watermark so far behind the latest.
func portalBatches(b *testing.B, lateness time.Duration) []Rows {
	b.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	src := portalSource(b)
	users, properties := newZipf(r, 20_000, 0.7), newZipf(r, 5000, 0.9)
	start, mark := at("2021-11-01T01:00:00Z"), int64(minClock)
	var out []Rows
	for first := 0; first < portalRows; first += portalChunk {
		n := min(portalChunk, portalRows-first)
		user, property, times := make([]int64, n), make([]int64, n), make([]arrow.Timestamp, n)
		rows := Rows{Date: make([]int32, n), Watermark: make([]int64, n)}
		builder := array.NewRecordBuilder(memory.DefaultAllocator, src.Schema.Arrow())
		for i := range n {
			user[i], property[i] = users.draw(r), properties.draw(r)
			ts := start + int64(first+i)*60_000_000/116 - r.Int64N(3_600_000_000)
			ts -= ts % 1_000_000
			times[i], rows.Date[i], rows.Watermark[i] = arrow.Timestamp(ts), dateOf(src.Zone, ts), mark
			mark = max(mark, ts-lateness.Microseconds())
			event := "Interaction"
			switch k := r.IntN(100); {
			case k >= 97:
				event = "Login"
			case k >= 90:
				event = "Search"
			case k >= 80:
				event = "View"
			}
			builder.Field(3).(*array.StringBuilder).Append(event)
		}
		builder.Field(0).(*array.Int64Builder).AppendValues(user, nil)
		builder.Field(1).(*array.Int64Builder).AppendValues(property, nil)
		builder.Field(2).(*array.TimestampBuilder).AppendValues(times, nil)
		rows.Batch = builder.NewRecordBatch()
		builder.Release()
		out = append(out, rows)
	}
	return out
}

// benchPortal feeds the batches to rules as ingest does, with a commit every
// million rows, and reports the time of a row.
func benchPortal(b *testing.B, ruled []Rule, batches []Rows) {
	b.ReportAllocs()
	b.ResetTimer()
	used := processorTime()
	for range b.N {
		var tallies []*Tally
		var shared Where
		for _, rule := range ruled {
			tally, err := New(rule, Options{})
			require.NoError(b, err)
			tallies = append(tallies, tally)
		}
		for i, rows := range batches {
			shared.Reset()
			rows.Where = &shared
			for _, each := range tallies {
				if err := each.Add(rows); err != nil {
					b.Fatal(err)
				}
				if err := each.Advance(rows.Watermark[len(rows.Watermark)-1]); err != nil {
					b.Fatal(err)
				}
			}
			if (i+1)%portalCommit != 0 {
				continue
			}
			for _, each := range tallies {
				a, err := each.Answers()
				require.NoError(b, err)
				a.Release()
				each.Checkpoint(nil)
			}
		}
		for _, each := range tallies {
			each.Release()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/portalRows, "ns/row")
	b.ReportMetric(float64(processorTime()-used)/float64(b.N)/portalRows, "cpu-ns/row")
}

// processorTime is what the process took of all cores, which a busy machine
// disturbs less than the time.
func processorTime() int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

// BenchmarkPortal has the three rules of the portal's job, together and each by
// itself, with a watermark for which no row is late, most are, and nearly all.
func BenchmarkPortal(b *testing.B) {
	for _, lateness := range []time.Duration{time.Hour, 5 * time.Minute, 0} {
		batches := portalBatches(b, lateness)
		for _, emit := range []Emit{OnChange, OnCross} {
			ruled := portalRules(b, emit)
			name := "lateness_" + lateness.String() + "/" + emit.String()
			b.Run(name+"/all", func(b *testing.B) { benchPortal(b, ruled, batches) })
			for _, rule := range ruled {
				b.Run(name+"/"+rule.Name, func(b *testing.B) { benchPortal(b, []Rule{rule}, batches) })
			}
		}
	}
}

// BenchmarkPortalTable is lake rules run: all rows without a watermark, and then
// each group's answer.
func BenchmarkPortalTable(b *testing.B) {
	batches := portalBatches(b, 0)
	for _, rule := range portalRules(b, OnChange) {
		b.Run(rule.Name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				tally, err := New(rule, Options{})
				require.NoError(b, err)
				for _, rows := range batches {
					if err := tally.Add(Rows{Batch: rows.Batch, Date: rows.Date}); err != nil {
						b.Fatal(err)
					}
				}
				a, err := tally.Final()
				require.NoError(b, err)
				a.Release()
				tally.Release()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/portalRows, "ns/row")
		})
	}
}
