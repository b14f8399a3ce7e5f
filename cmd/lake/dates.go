package main

import (
	"cmp"
	"time"

	"github.com/spf13/pflag"
)

// dateRange is --from and --to: half-open, as a scheduler's data interval is.
type dateRange struct {
	from, to string
	end      string // flag of to; "" is --to
}

func (d *dateRange) endFlag() string { return cmp.Or(d.end, "--to") }

func (d *dateRange) flags(f *pflag.FlagSet) {
	f.StringVar(&d.from, "from", "", "first date, 2021-11-30, or an instant, RFC 3339, whose date in the job's zone it is")
	f.StringVar(&d.to, "to", "", "the date behind the last one: the range is half-open")
}

// openEnd stands for a range without an end.
const (
	firstDate = int32(-1 << 31)
	lastDate  = int32(1<<31 - 1)
)

// parse is the range in days since 1970, [from, to).
func (d *dateRange) parse(zone *time.Location) (from, to int32, err error) {
	from, to = firstDate, lastDate
	if d.from != "" {
		if from, _, err = parseDate(d.from, zone); err != nil {
			return 0, 0, usageError("--from %w", err)
		}
	}
	if d.to != "" {
		var whole bool
		if to, whole, err = parseDate(d.to, zone); err != nil {
			return 0, 0, usageError("%s %w", d.endFlag(), err)
		}
		if !whole {
			to++ // an interval that ends within a date touches it
		}
	}
	if to <= from {
		return 0, 0, usageError("--from %s %s %s: the range is half-open and holds no date; %s is the date behind the last one", d.from, d.endFlag(), d.to, d.endFlag())
	}
	return from, to, nil
}

// parseDate is a date's number, and whether text is its very beginning.
func parseDate(text string, zone *time.Location) (date int32, whole bool, err error) {
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return int32(t.Unix() / 86400), true, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0, false, usageError("%q: write a date, 2021-11-30, or an instant, 2021-11-30T00:00:00+05:30", text)
	}
	local := t.In(zone)
	day := time.Date(local.Year(), local.Month(), local.Day(), 0, 0, 0, 0, time.UTC)
	return int32(day.Unix() / 86400), local.Hour() == 0 && local.Minute() == 0 && local.Second() == 0 && local.Nanosecond() == 0, nil
}
