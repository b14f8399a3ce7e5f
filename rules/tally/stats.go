package tally

import (
	"fmt"
	"maps"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/zeebo/xxh3"

	"lake/schemas"
)

// DateStats is what a rule did with the rows of one date: what compaction
// compares with a recount of the date from the table. A recount is a new Tally
// of the same rule that is given all rows of the date and then CloseAll.
//
// Matched and Late are by the row's date (Rows.Date; where that is not given,
// by the UTC date of the row's window). Closed, Answers and Sum are of the
// windows that closed and lie within one date of the source's zone; with scope
// partition the date itself is the window.
type DateStats struct {
	Matched int64 // rows that passed the filter and were added
	Late    int64 // rows that passed the filter but came after their window was closed
	Closed  int64 // windows closed
	Answers int64 // groups of these that satisfied HAVING when they closed, whatever Emit is
	// Sum adds up the 64-bit hashes of these groups' answers, in any order.
	// FLOAT64 and FLOAT32 columns are left out: a sum of floats depends on the
	// order of its rows.
	Sum uint64
}

// Stats are the statistics by date (days since 1970) since the rule began, less
// the dates dropped. The map is the caller's.
func (t *Tally) Stats() map[int32]DateStats {
	out := make(map[int32]DateStats, len(t.stats.dates))
	for date, s := range t.stats.dates {
		out[date] = *s
	}
	return out
}

// DropStats forgets the statistics of dates before the given one.
func (t *Tally) DropStats(before int32) {
	t.stats.drop(before)
	t.stats.dropped = max(t.stats.dropped, before)
}

// Late is the number of rows that came after their window was closed.
func (t *Tally) Late() int64 { return t.late }

// Matched is the number of rows that passed the filter and were added (or, in a
// rule that does not group, that were answers).
func (t *Tally) Matched() int64 { return t.matched }

// ledger keeps the statistics and which of them a checkpoint lacks.
type ledger struct {
	dates   map[int32]*DateStats
	changed map[int32]bool
	dropped int32 // dates before it were dropped since the last checkpoint
}

func newLedger() ledger {
	return ledger{dates: map[int32]*DateStats{}, changed: map[int32]bool{}, dropped: math.MinInt32}
}

// of is the entry to change for a date.
func (l *ledger) of(date int32) *DateStats {
	l.changed[date] = true
	s := l.dates[date]
	if s == nil {
		s = &DateStats{}
		l.dates[date] = s
	}
	return s
}

func (l *ledger) drop(before int32) {
	maps.DeleteFunc(l.dates, func(date int32, _ *DateStats) bool { return date < before })
	maps.DeleteFunc(l.changed, func(date int32, _ bool) bool { return date < before })
}

func (l *ledger) saved() {
	clear(l.changed)
	l.dropped = math.MinInt32
}

// countMatched counts rows by date, a run of equal dates at a time.
func (l *ledger) countMatched(dates []int32, rows []int32) {
	for i := 0; i < len(rows); {
		date, from := dates[rows[i]], i
		for i++; i < len(rows) && dates[rows[i]] == date; i++ {
		}
		l.of(date).Matched += int64(i - from)
	}
}

// countLate is countMatched of rows that came too late.
func (l *ledger) countLate(dates []int32, rows []int32) {
	for i := 0; i < len(rows); {
		date, from := dates[rows[i]], i
		for i++; i < len(rows) && dates[rows[i]] == date; i++ {
		}
		l.of(date).Late += int64(i - from)
	}
}

// rowHasher hashes the rows of answers: a value's place counts, and which
// values are NULL.
type rowHasher struct {
	columns []column
	places  []byte
	scratch []byte
}

// newRowHasher hashes the columns of answers; floats only where they count.
func newRowHasher(schema schemas.Schema, rows arrow.RecordBatch, floats bool) (*rowHasher, error) {
	h := &rowHasher{}
	for i, f := range schema.Fields {
		if !floats && storageOf(f.Type.Kind) == asFloat {
			continue
		}
		c, err := read(f.Type, rows.Column(i))
		if err != nil {
			return nil, fmt.Errorf("hash column %s of the answers: %w", f.Name, err)
		}
		h.columns, h.places = append(h.columns, c), append(h.places, byte(i))
	}
	return h, nil
}

func (h *rowHasher) encode(row int32) []byte {
	h.scratch = h.scratch[:0]
	for i := range h.columns {
		h.scratch = append(h.scratch, h.places[i])
		h.scratch = h.columns[i].appendSortable(h.scratch, row)
	}
	return h.scratch
}

func (h *rowHasher) sum64(row int32) uint64        { return xxh3.Hash(h.encode(row)) }
func (h *rowHasher) sum128(row int32) xxh3.Uint128 { return xxh3.Hash128(h.encode(row)) }
