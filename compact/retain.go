package compact

import (
	"cmp"
	"math"
	"slices"
	"time"

	"lake/table"
)

// DroppedDate is a date that is out of retention.
type DroppedDate struct {
	Date  int32 // days since 1970
	Files int
	Rows  int64
	Bytes int64
}

// Retention is what a retention drops: all rows of dates before Before.
type Retention struct {
	Before int32 // first date that is kept, in days since 1970; math.MinInt32: nothing is dropped
	Dates  []DroppedDate
}

// Total is what the dates have together.
func (r Retention) Total() (files int, rows, bytes int64) {
	for _, d := range r.Dates {
		files += d.Files
		rows += d.Rows
		bytes += d.Bytes
	}
	return files, rows, bytes
}

// Retain plans which dates of files, all of one snapshot, are wholly older than
// keep: their last moment lies keep or more before the beginning of the newest
// date that the table has, and before now. The smaller of both counts, so that
// neither a clock that runs ahead nor a row of the far future wipes the table.
// now is the clock in the zone of the dates. It is pure.
func Retain(files []table.File, keep time.Duration, now time.Time) Retention {
	r := Retention{Before: math.MinInt32}
	newest := int64(math.MinInt64)
	dates := map[int32]*DroppedDate{}
	for _, f := range files {
		date, ok := f.Date()
		if !ok {
			continue // rows without a date have no age
		}
		newest = max(newest, int64(date))
		d := dates[date]
		if d == nil {
			d = &DroppedDate{Date: date}
			dates[date] = d
		}
		d.Files++
		d.Rows += f.Rows
		d.Bytes += f.Bytes
	}
	if keep <= 0 || len(dates) == 0 {
		return r
	}
	// By the calendar: a day is 24 hours here even where the zone's clock is turned.
	year, month, day := now.Date()
	hour, minute, second := now.Clock()
	clock := time.Date(year, month, day, hour, minute, second, now.Nanosecond(), time.UTC)
	end := min(newest*86400, clock.Unix()) - int64((keep+time.Second-1)/time.Second)
	r.Before = int32(floorDays(end))
	for date, d := range dates {
		if date < r.Before {
			r.Dates = append(r.Dates, *d)
		}
	}
	slices.SortFunc(r.Dates, func(a, b DroppedDate) int { return cmp.Compare(a.Date, b.Date) })
	return r
}

func floorDays(seconds int64) int64 {
	days := seconds / 86400
	if seconds%86400 < 0 {
		days--
	}
	return days
}
