package ingest

import (
	"encoding/binary"
	"errors"
	"maps"
	"math"
	"slices"
)

// mostCounts bounds the numbers that a shard's RowCounts keep by partition and date, of a
// few bytes each in every checkpoint.
const mostCounts = 16384

// nearDates is how many dates around a batch's first are counted in an array.
const nearDates = 4096

// noDate is where rows without an event time are counted.
const noDate = math.MinInt32

// RowCounts are a pipeline's rows by source partition and date (days since 1970, in
// the job's zone), over its life. They are exact by date and by partition; where
// there are too many of both, the oldest dates are kept by date and by partition
// only, and no longer by the two together.
type RowCounts struct {
	Both map[string]map[int32]int64
	// Older are the rows that are not in Both: by partition, and once more by date.
	Older     map[string]int64
	OlderDays map[int32]int64
}

func newRowCounts() RowCounts {
	return RowCounts{Both: map[string]map[int32]int64{}, Older: map[string]int64{}, OlderDays: map[int32]int64{}}
}

// add counts rows of a partition; dates is nil where the job has no event time.
func (c RowCounts) add(partition string, rows int64, dates []int32) {
	days := c.Both[partition]
	if days == nil {
		days = map[int32]int64{}
		c.Both[partition] = days
	}
	if dates == nil {
		days[noDate] += rows
		return
	}
	if len(dates) == 0 {
		return
	}
	var near [nearDates]int64 // by date less base: a hash a row shows where dates are mixed
	base := dates[0] - nearDates/2
	for begin := 0; begin < len(dates); { // rows of a date mostly come together
		end := begin + 1
		for end < len(dates) && dates[end] == dates[begin] {
			end++
		}
		if at := uint32(dates[begin] - base); at < nearDates {
			near[at] += int64(end - begin)
		} else {
			days[dates[begin]] += int64(end - begin)
		}
		begin = end
	}
	for at, n := range near {
		if n > 0 {
			days[base+int32(at)] += n
		}
	}
}

func (c RowCounts) merge(o RowCounts) {
	for partition, days := range o.Both {
		if c.Both[partition] == nil {
			c.Both[partition] = map[int32]int64{}
		}
		for date, n := range days {
			c.Both[partition][date] += n
		}
	}
	for partition, n := range o.Older {
		c.Older[partition] += n
	}
	for date, n := range o.OlderDays {
		c.OlderDays[date] += n
	}
}

// Total counts all rows.
func (c RowCounts) Total() (n int64) {
	for _, rows := range c.Days() {
		n += rows
	}
	return n
}

// Days are the rows of each date.
func (c RowCounts) Days() map[int32]int64 {
	out := maps.Clone(c.OlderDays)
	for _, days := range c.Both {
		for date, n := range days {
			out[date] += n
		}
	}
	return out
}

// Of are the rows of a partition.
func (c RowCounts) Of(partition string) int64 {
	n := c.Older[partition]
	for _, rows := range c.Both[partition] {
		n += rows
	}
	return n
}

// fold takes the oldest dates out of Both where it has more than most numbers. Half of
// them stay, so that it is not done at each commit.
func (c RowCounts) fold(most int) {
	n := 0
	cells := map[int32]int{}
	for _, days := range c.Both {
		n += len(days)
		for date := range days {
			cells[date]++
		}
	}
	if n <= most {
		return
	}
	for _, date := range slices.Sorted(maps.Keys(cells)) {
		if n <= most/2 {
			return
		}
		n -= cells[date]
		for partition, days := range c.Both {
			if rows, ok := days[date]; ok {
				c.Older[partition] += rows
				c.OlderDays[date] += rows
				delete(days, date)
			}
		}
	}
}

// appendTo writes the counts: all numbers are varints, and names and dates are in
// their order.
func (c RowCounts) appendTo(dst []byte) []byte {
	names := map[string]bool{}
	for partition := range c.Both {
		names[partition] = true
	}
	for partition := range c.Older {
		names[partition] = true
	}
	dst = binary.AppendUvarint(dst, uint64(len(names)))
	for _, partition := range slices.Sorted(maps.Keys(names)) {
		dst = binary.AppendUvarint(dst, uint64(len(partition)))
		dst = append(dst, partition...)
		dst = binary.AppendUvarint(dst, uint64(c.Older[partition]))
		dst = appendDays(dst, c.Both[partition])
	}
	return appendDays(dst, c.OlderDays)
}

func appendDays(dst []byte, days map[int32]int64) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(days)))
	before := int64(0)
	for _, date := range slices.Sorted(maps.Keys(days)) {
		dst = binary.AppendVarint(dst, int64(date)-before)
		dst = binary.AppendUvarint(dst, uint64(days[date]))
		before = int64(date)
	}
	return dst
}

var errCounts = errors.New("the counts of rows by date are damaged")

// readRowCounts reads what appendTo wrote; nothing of a checkpoint that has none.
func readRowCounts(data []byte) (RowCounts, error) {
	c := newRowCounts()
	if len(data) == 0 {
		return c, nil
	}
	r := countReader{data: data}
	for range r.length() {
		partition := r.text()
		if n := r.number(); n > 0 {
			c.Older[partition] = n
		}
		c.Both[partition] = r.days()
	}
	c.OlderDays = r.days()
	if r.failed || len(r.data) > 0 {
		return c, errCounts
	}
	return c, nil
}

// countReader reads numbers until the data end too early.
type countReader struct {
	data   []byte
	failed bool
}

func (r *countReader) number() int64 {
	n, size := binary.Uvarint(r.data)
	if size <= 0 || n > math.MaxInt64 {
		r.failed, r.data = true, nil
		return 0
	}
	r.data = r.data[size:]
	return int64(n)
}

// length is a number of things that follow, of a byte or more each.
func (r *countReader) length() int64 {
	n := r.number()
	if n > int64(len(r.data)) {
		r.failed, r.data = true, nil
		return 0
	}
	return n
}

func (r *countReader) text() string {
	n := r.length()
	text := string(r.data[:n])
	r.data = r.data[n:]
	return text
}

func (r *countReader) days() map[int32]int64 {
	days := map[int32]int64{}
	date := int64(0)
	for range r.length() {
		step, size := binary.Varint(r.data)
		if size <= 0 {
			r.failed, r.data = true, nil
			return days
		}
		r.data = r.data[size:]
		date += step
		if date < math.MinInt32 || date > math.MaxInt32 {
			r.failed, r.data = true, nil
			return days
		}
		days[int32(date)] = r.number()
	}
	return days
}
