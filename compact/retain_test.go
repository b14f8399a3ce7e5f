package compact

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lake/table"
)

func onDates(dates ...string) []table.File {
	var files []table.File
	for i, d := range dates {
		files = append(files, table.File{Path: fmt.Sprint(i), Partition: "dt=" + d, Rows: 10, Bytes: 100})
	}
	return files
}

func TestRetain(t *testing.T) {
	kolkata, err := time.LoadLocation("Asia/Kolkata")
	require.NoError(t, err)
	day := 24 * time.Hour
	noon := time.Date(2021, 12, 10, 12, 0, 0, 0, kolkata)
	for _, c := range []struct {
		name  string
		dates []string
		keep  time.Duration
		now   time.Time
		drop  []string
	}{
		{"by the newest date, where the clock is later", []string{"2021-11-30", "2021-11-28", "2021-11-27"}, 2 * day, noon, []string{"2021-11-27"}},
		{"a second more than that date is old", []string{"2021-11-30", "2021-11-28", "2021-11-27"}, 2*day + time.Second, noon, nil},
		{"a clock a century ahead changes nothing", []string{"2021-11-30", "2021-11-28", "2021-11-27"}, 2 * day, noon.AddDate(100, 0, 0), []string{"2021-11-27"}},
		{"by the clock, where a row is of the far future", []string{"2099-01-01", "2021-12-10", "2021-12-08", "2021-12-07"}, 2 * day, noon, []string{"2021-12-07"}},
		{"the date in which the limit lies is not wholly older", []string{"2099-01-01", "2021-12-08", "2021-12-07"}, 60 * time.Hour, noon, []string{"2021-12-07"}},
		{"a second more, and it stays", []string{"2099-01-01", "2021-12-08", "2021-12-07"}, 60*time.Hour + time.Second, noon, nil},
		{"the zone's clock, not UTC's", []string{"2099-01-01", "2021-12-08"}, day, time.Date(2021, 12, 9, 20, 0, 0, 0, time.UTC).In(kolkata), []string{"2021-12-08"}},
		{"a clock before 1970", []string{"2021-11-30", "2021-11-28"}, day, time.Date(1960, 1, 1, 12, 0, 0, 0, time.UTC), nil},
		{"dates before 1970", []string{"1969-12-30", "1969-12-20", "1969-12-29"}, day, noon, []string{"1969-12-20"}},
		{"no retention", []string{"2021-11-30", "1999-01-01"}, 0, noon, nil},
	} {
		r := Retain(onDates(c.dates...), c.keep, c.now)
		var got []string
		for _, d := range r.Dates {
			got = append(got, time.Unix(int64(d.Date)*86400, 0).UTC().Format(time.DateOnly))
		}
		require.Equal(t, c.drop, got, c.name)
	}
	nulls := append(onDates("2021-11-30", "2021-01-01", "2021-01-01"), table.File{Partition: "dt=null"}, table.File{Partition: "user=2020-01-01"})
	r := Retain(nulls, day, noon)
	require.Equal(t, []DroppedDate{{Date: 18628, Files: 2, Rows: 20, Bytes: 200}}, r.Dates)
	files, rows, bytes := r.Total()
	require.Equal(t, []int64{2, 20, 200}, []int64{int64(files), rows, bytes})
	require.EqualValues(t, math.MinInt32, Retain(nulls[3:], day, noon).Before, "no date, no age")
}
