package schemas

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func micros(t *testing.T, text string) int64 {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, text)
	require.NoError(t, err)
	return at.UnixMicro()
}

func TestLayoutParse(t *testing.T) {
	kolkata, err := time.LoadLocation("Asia/Kolkata")
	require.NoError(t, err)
	for _, c := range []struct{ format, text, want string }{
		{"", "2021-11-30", "2021-11-30T00:00:00+05:30"},
		{"", "2021-11-30T10:20", "2021-11-30T10:20:00+05:30"},
		{"", "2021-11-30 10:20:30", "2021-11-30T10:20:30+05:30"},
		{"", "2021-11-30T10:20:30Z", "2021-11-30T10:20:30Z"},
		{"", "2021-11-30t10:20:30z", "2021-11-30T10:20:30Z"},
		{"", "2021-11-30T10:20:30.1234567+02:00", "2021-11-30T10:20:30.123456+02:00"},
		{"", "2021-11-30T10:20:30.999999999-0930", "2021-11-30T10:20:30.999999-09:30"},
		{"", "2021-11-30T10:20:30+02", "2021-11-30T10:20:30+02:00"},
		{"", "2021-11-30T10:20+02:00", "2021-11-30T10:20:00+02:00"},
		{"%Y-%m-%d %H:%M:%S", "2021-11-30 23:59:59", "2021-11-30T23:59:59+05:30"},
		{"%Y-%m-%d", "2024-02-29", "2024-02-29T00:00:00+05:30"},
		{"%F %T", "2021-11-30 23:59:59", "2021-11-30T23:59:59+05:30"},
		{"%d/%m/%Y %I:%M %p", "30/11/2021 12:05 am", "2021-11-30T00:05:00+05:30"},
		{"%d/%m/%Y %I:%M %p", "30/11/2021 12:05 PM", "2021-11-30T12:05:00+05:30"},
		{"%-d.%-m.%Y %-H:%M", "1.2.2021 7:05", "2021-02-01T07:05:00+05:30"},
		{"%-d.%-m.%Y %-H:%M", "01.12.2021 17:05", "2021-12-01T17:05:00+05:30"},
		{"%a, %d %b %Y %T %Z", "Tue, 30 nov 2021 10:20:30 GMT", "2021-11-30T10:20:30Z"},
		{"%A %e %B %Y", "Wednesday  1 December 2021", "2021-12-01T00:00:00+05:30"},
		{"%A %e %B %Y", "TUESDAY 30 November 2021", "2021-11-30T00:00:00+05:30"},
		{"%Y%j", "2024366", "2024-12-31T00:00:00+05:30"},
		{"%y%m%d", "690101", "1969-01-01T00:00:00+05:30"},
		{"%y%m%d", "681231", "2068-12-31T00:00:00+05:30"},
		{"%Y-%m-%dT%H:%M:%S.%f%z", "2021-11-30T10:20:30.5+0530", "2021-11-30T10:20:30.5+05:30"},
		{"%Y-%m-%d %H:%M:%S,%3f", "2021-11-30 10:20:30,123", "2021-11-30T10:20:30.123+05:30"},
		{"%s", "1638246030", "2021-11-30T04:20:30Z"},
		{"%s", "-1", "1969-12-31T23:59:59Z"},
		{"%s.%f", "-0.25", "1969-12-31T23:59:59.75Z"},
		{"%Q", "1638246030123", "2021-11-30T04:20:30.123Z"},
		{"100%% %Y-%m-%d", "100% 2021-11-30", "2021-11-30T00:00:00+05:30"},
		{"", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"},
		{"", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"},
	} {
		l, err := ParseLayout(c.format)
		require.NoError(t, err, c.format)
		got, err := l.Parse([]byte(c.text), kolkata)
		require.NoError(t, err, "%q as %q", c.text, c.format)
		require.Equal(t, c.want, time.UnixMicro(got).In(mustZone(t, c.want)).Format(time.RFC3339Nano), "%q as %q", c.text, c.format)
	}
}

func mustZone(t *testing.T, text string) *time.Location {
	at, err := time.Parse(time.RFC3339Nano, text)
	require.NoError(t, err)
	_, offset := at.Zone()
	if offset == 0 {
		return time.UTC
	}
	return time.FixedZone("", offset)
}

func TestLayoutRefuses(t *testing.T) {
	for _, c := range []struct{ format, text, reason string }{
		{"", "2021-11-31", noDay},
		{"", "2021-02-29", noDay},
		{"", "1900-02-29", noDay},
		{"", "2021-00-01", noDay},
		{"", "2021-13-01", noDay},
		{"", "2021-01-00", noDay},
		{"", "0000-01-01", noDay},
		{"", "2021-11-30 24:00:00", noTime},
		{"", "2021-11-30 23:60:00", noTime},
		{"", "2021-11-30 23:59:60", noTime},
		{"", "2021-11-30 24:00", noTime},
		{"", "2021-11-30T10:20:30.", noDigit},
		{"", "2021-11-30T10:20:30.1234567890", noDigit},
		{"", "2021-11-30T10:20:30+24:00", noZone},
		{"", "2021-11-30T10:20:30+02:60", noZone},
		{"", "2021-11-30T10:20:30+2", noZone},
		{"", "2021-11-30T10:20:30UTC", noZone},
		{"", "2021-11-30T10:20:30Zx", longText},
		{"", "2021-11-30T10:20:30zz", noZone},
		{"", "2021-11-30T", shortText},
		{"", "2021-11-30_10:20:30", otherText},
		{"", "2021-11-3", shortText},
		{"", "", shortText},
		{"", "20x1-11-30", "YYYY-MM-DD is expected"},
		{"", "2021-11-3\x8a", "YYYY-MM-DD is expected"}, // would carry out of its byte
		{"", "2021-11\x8a30", "YYYY-MM-DD is expected"},
		{"", "2021-1:-30", "YYYY-MM-DD is expected"},
		{"", "2021-11-30 10:2\x8a:30", "hh:mm:ss is expected"},
		{"%Y-%m-%d %H:%M:%S", "2021-11-30 23:59:59 ", longText},
		{"%Y-%m-%d %H:%M:%S", "2021-11-30 23:59:5", shortText},
		{"%Y-%m-%d %H:%M:%S", "2021-11-30T23:59:59", otherText},
		{"%Y-%m-%d %H:%M:%S", "2021-11-31 23:59:59", noDay},
		{"%Y-%m-%d %H:%M:%S", "2021-11-30 24:00:00", noTime},
		{"%Y-%m-%d", "2021-11-30 ", longText},
		{"%d/%m/%Y", "1/11/2021", noDigit},
		{"%d/%m/%Y", "31/04/2021", noDay},
		{"%d/%m/%Y", "30/11/2021x", longText},
		{"%I:%M %p", "13:00 PM", noTime},
		{"%I:%M %p", "00:00 AM", noTime},
		{"%A %F", "Monday 2021-11-30", "that day is another day of the week"},
		{"%F %T.%3f", "2021-11-30 10:20:30.12", "another number of digits is expected"},
		{"%F %T.%3f", "2021-11-30 10:20:30.1234", "another number of digits is expected"},
		{"%Y%j", "2023366", noDay},
		{"%F %T %Z", "2021-11-30 10:20:30 IST", noZone},
		{"%s", "9223372036855", "the number is too large"},
		{"%s", "1e9", longText},
		{"%s", "-", noDigit},
		{"%b %Y", "Novembr 2021", otherText},
	} {
		l, err := ParseLayout(c.format)
		require.NoError(t, err, c.format)
		_, err = l.Parse([]byte(c.text), time.UTC)
		require.ErrorContains(t, err, ": "+c.reason, "%q as %q", c.text, c.format)
	}
}

func TestParseLayoutErrors(t *testing.T) {
	for format, reason := range map[string]string{
		"%K":          `unknown code "%K"`,
		"%-Y":         `unknown code "%-Y"`,
		"%4f":         `unknown code "%4"`,
		"%":           "write %% for a percent sign",
		"%Y %F":       "tells one thing twice",
		"%m %b":       "tells one thing twice",
		"%I:%M":       "needs %I and %p together",
		"%H %p":       "needs %I and %p together",
		"%H %I %p":    "tells the hour twice",
		"%Y-%m %j":    "tells the day twice",
		"%s %Y":       "tells the time twice",
		"%F %H:%S":    "leaves a part of the time out",
		"%F %M":       "leaves a part of the time out",
		"%F %H:%M.%f": "leaves a part of the time out",
		"%Q.%f":       "leaves a part of the time out",
	} {
		_, err := ParseLayout(format)
		require.ErrorContains(t, err, reason, format)
	}
}

func TestLayoutFor(t *testing.T) {
	for _, c := range []struct {
		kind   Kind
		format string
		reason string // "" is fine
	}{
		{Timestamp, "", ""}, {Date, "", ""}, {Time, "", ""}, {Datetime, "", ""},
		{Timestamp, "%s", ""}, {Timestamp, "%Y%j", ""}, {Date, "%d.%m.%Y", ""}, {Time, "%I %p", ""},
		{Timestamp, "%H:%M", "tells no full date"}, {Date, "%Y-%m", "tells no full date"},
		{Time, "%M", "leaves a part"}, {Time, "%F", "tells no time of day"}, {Time, "%F %T", "tells more than a time of day"},
		{Datetime, "%F %T%z", "make it a timestamp"}, {Date, "%q", "unknown code"},
	} {
		_, err := LayoutFor(c.kind, c.format)
		if c.reason == "" {
			require.NoError(t, err, "%s %q", c.kind, c.format)
		} else {
			require.ErrorContains(t, err, c.reason, "%s %q", c.kind, c.format)
		}
	}
	clock, err := LayoutFor(Time, "")
	require.NoError(t, err)
	r, err := clock.Read([]byte("12:34:56.789"))
	require.NoError(t, err)
	require.Equal(t, Reading{Local: 45296_789_000}, r)
	_, err = clock.Read([]byte("12:34:56Z"))
	require.ErrorContains(t, err, longText)
	day, err := LayoutFor(Date, "")
	require.NoError(t, err)
	_, err = day.Read([]byte("2021-11-30T00:00:00"))
	require.ErrorContains(t, err, longText)
	require.Equal(t, 10, day.Width())
}

func TestLayoutWidthAndUnit(t *testing.T) {
	for format, want := range map[string][2]int64{
		"": {0, 0}, "%F %T": {19, 0}, "%F %T.%3f": {23, 0}, "%F %T.%f": {0, 0}, "%-d.%m.%Y": {0, 0}, "%d %b %Y": {11, 0},
		"%s": {0, 1_000_000}, "%Q": {0, 1000}, "%s.%f": {0, 0},
	} {
		l, err := ParseLayout(format)
		require.NoError(t, err)
		require.Equal(t, want, [2]int64{int64(l.Width()), l.Unit()}, format)
	}
}

// The same texts as package time writes, and read back as it reads them.
func TestLayoutAgainstTime(t *testing.T) {
	layouts := []struct{ format, goLayout string }{
		{"%Y-%m-%d %H:%M:%S", "2006-01-02 15:04:05"},
		{"%Y-%m-%d", "2006-01-02"},
		{"%d/%m/%y %I:%M:%S.%6f %p", "02/01/06 03:04:05.000000 PM"},
		{"%a, %d %b %Y %H:%M:%S %z", "Mon, 02 Jan 2006 15:04:05 -0700"},
		{"%A, %-d %B %Y %-I:%M%p", "Monday, 2 January 2006 3:04PM"},
		{"%Y%j %H%M%S.%3f", "2006002 150405.000"},
		{"%-m/%-d/%Y %H:%M", "1/2/2006 15:04"},
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, zone := range []string{"UTC", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"} {
		loc, err := time.LoadLocation(zone)
		require.NoError(t, err)
		for range 300 {
			at := time.UnixMicro(random.Int64N(4e15) - 1e15).In(loc) // 1938 to 2065
			for _, layout := range layouts {
				l, err := ParseLayout(layout.format)
				require.NoError(t, err)
				want := at.Format(layout.goLayout)
				require.Equal(t, want, string(l.Append(nil, at.UnixMicro(), loc)), layout.format)
				if layout.format == "%d/%m/%y %I:%M:%S.%6f %p" && at.Year() < 1969 {
					continue // two digits of a year tell no century
				}
				read, err := time.ParseInLocation(layout.goLayout, want, loc)
				require.NoError(t, err)
				got, err := l.Parse([]byte(want), loc)
				require.NoError(t, err)
				require.Equal(t, read.UnixMicro(), got, "%s in %s", want, zone)
			}
			iso := Layout{}.Append(nil, at.UnixMicro(), loc)
			require.Equal(t, at.UnixMicro(), micros(t, string(iso)), "%s", iso)
			back, err := Layout{}.Parse(iso, nil)
			require.NoError(t, err)
			require.Equal(t, at.UnixMicro(), back)
		}
	}
}

// Every day of 400 years and each way of being wrong around its end.
func TestLayoutDays(t *testing.T) {
	l, err := ParseLayout("%Y-%m-%d")
	require.NoError(t, err)
	day := time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	text := make([]byte, 0, 10)
	for range 366 * 401 {
		text = day.AppendFormat(text[:0], time.DateOnly)
		got, err := l.Parse(text, nil)
		if err != nil || got != day.UnixMicro() {
			t.Fatalf("%s is %d, %v; not %d", text, got, err, day.UnixMicro())
		}
		if back := l.Append(nil, got, nil); string(back) != string(text) {
			t.Fatalf("%s is written as %s", text, back)
		}
		next := day.AddDate(0, 0, 1)
		if next.Month() != day.Month() {
			beyond := fmt.Sprintf("%s%02d", text[:8], day.Day()+1)
			if _, err := l.Parse([]byte(beyond), nil); err == nil {
				t.Fatalf("%s is taken", beyond)
			}
		}
		day = next
	}
}

func TestLayoutAppend(t *testing.T) {
	kolkata, err := time.LoadLocation("Asia/Kolkata")
	require.NoError(t, err)
	at := micros(t, "2021-11-30T04:20:30.123Z")
	for format, want := range map[string]string{
		"":             "2021-11-30T09:50:30.123+05:30",
		"%F %T %Z":     "2021-11-30 04:20:30 UTC", // no name for another zone that could be read
		"%F %T%z":      "2021-11-30 09:50:30+0530",
		"%s":           "1638246030",
		"%Q":           "1638246030123",
		"%s.%3f":       "1638246030.123",
		"%j|100%%":     "334|100%",
		"%T.%f":        "09:50:30.123000",
		"%y %p %I":     "21 AM 09",
		"%e at %-H:%M": "30 at 9:50",
	} {
		l, err := ParseLayout(format)
		require.NoError(t, err)
		require.Equal(t, want, string(l.Append(nil, at, kolkata)), format)
	}
	seconds, err := ParseLayout("%s.%f")
	require.NoError(t, err)
	require.Equal(t, "-1.250000", string(seconds.Append(nil, -1_250_000, nil)))
	require.Equal(t, "-0.250000", string(seconds.Append(nil, -250_000, nil)))
}

func TestLayoutAllocates(t *testing.T) {
	kolkata, err := time.LoadLocation("Asia/Kolkata")
	require.NoError(t, err)
	dst := make([]byte, 0, 64)
	for format, text := range map[string]string{
		"": "2021-11-30T10:20:30.123456+05:30", "%Y-%m-%d %H:%M:%S": "2021-11-30 10:20:30", "%d %b %Y %I:%M %p": "30 Nov 2021 10:20 PM",
	} {
		l, err := ParseLayout(format)
		require.NoError(t, err)
		in := []byte(text)
		require.Zero(t, testing.AllocsPerRun(100, func() {
			at, err := l.Parse(in, kolkata)
			if err != nil {
				t.Error(err)
			}
			dst = l.Append(dst[:0], at, kolkata)
		}), format)
	}
}

// ZoneClock against package time, at random times and around every change of
// the offset, in random order.
func TestZoneClock(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, zone := range []string{"UTC", "Asia/Kolkata", "America/New_York", "Europe/London", "Australia/Lord_Howe", "Pacific/Apia",
		"America/Sao_Paulo", "Africa/Monrovia", "Asia/Gaza"} {
		loc, err := time.LoadLocation(zone)
		require.NoError(t, err)
		times := []int64{-62135596800_000000, 253402300799_999999}
		for at := time.Date(1890, 1, 1, 0, 0, 0, 0, loc); at.Year() < 2040; {
			_, end := at.ZoneBounds()
			if end.IsZero() {
				break
			}
			for _, d := range []int64{-1, 0, 1, 3600_000000, -3600_000000, 1800_000000, random.Int64N(86400_000000)} {
				times = append(times, end.UnixMicro()+d)
			}
			at = end
		}
		for range 2000 {
			times = append(times, random.Int64N(4e15)-2e15)
		}
		random.Shuffle(len(times), func(i, j int) { times[i], times[j] = times[j], times[i] })
		clock := NewZoneClock(loc)
		dates := make([]int32, len(times))
		NewZoneClock(loc).Dates(times, dates)
		for i, micros := range times {
			at := time.UnixMicro(micros).In(loc)
			year, month, day := at.Date()
			local := time.Date(year, month, day, at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), time.UTC)
			require.Equal(t, local.UnixMicro(), clock.Local(micros), "%s", at)
			require.Equal(t, int32(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix()/86400), dates[i], "%s", at)
			// the dates around it, which the clock knows by then, or should not think that it knows
			for _, near := range []int64{0, 1, -3600_000000, 3600_000000, -1} {
				at := time.UnixMicro(micros + near).In(loc)
				year, month, day := at.Date()
				require.Equal(t, int32(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix()/86400), clock.Date(micros+near), "%s", at)
			}
			// micros taken as a wall clock's reading: also those that a change leaves out or repeats
			read := time.UnixMicro(micros).UTC()
			for _, shift := range []time.Duration{0, local.Sub(at)} {
				r := read.Add(shift)
				want := time.Date(r.Year(), r.Month(), r.Day(), r.Hour(), r.Minute(), r.Second(), r.Nanosecond(), loc)
				require.Equal(t, want.UnixMicro(), clock.Instant(r.UnixMicro()), "%s in %s", r, zone)
			}
		}
	}
}

// DateTimes against Layout.Read, on texts that are right and texts that are not, whose date
// is the one before or another.
func TestDateTimes(t *testing.T) {
	l, err := ParseLayout("%Y-%m-%d %H:%M:%S")
	require.NoError(t, err)
	random := rand.New(rand.NewPCG(5, 6))
	dates := []string{"1970-01-01", "2021-11-30", "2021-11-31", "2020-02-29", "2021-02-29", "0001-01-01", "0000-01-01", "9999-12-31",
		"2021-1-030", "2021/11/30", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "202a-11-30", "2021-11-3a"}
	rests := []string{" 00:00:00", " 23:59:59", " 24:00:00", " 23:60:00", " 12:34:60", "T12:34:56", " 12:34:5", " 12:34:567", "", " 12-34-56"}
	r := l.DateTimes()
	for range 5000 {
		text := []byte(dates[random.IntN(len(dates))] + rests[random.IntN(len(rests))])
		for range 1 + random.IntN(2) {
			want, err := l.Read(text)
			local, ok := r.Read(text)
			require.Equal(t, err == nil, ok, "%q", text)
			if ok {
				require.Equal(t, want.Local, local, "%q", text)
			}
		}
	}
	for _, other := range []string{"%Y-%m-%d", "%d.%m.%Y %H:%M:%S", "%s"} {
		l, err := ParseLayout(other)
		require.NoError(t, err)
		require.Nil(t, l.DateTimes(), other)
	}
	require.Nil(t, Layout{}.DateTimes())
}

func BenchmarkLayoutParse(b *testing.B) {
	kolkata, err := time.LoadLocation("Asia/Kolkata")
	require.NoError(b, err)
	for format, text := range map[string]string{
		"": "2021-11-30T10:20:30.123456Z", "%Y-%m-%d %H:%M:%S": "2021-11-30 10:20:30", "%d.%m.%Y %H:%M:%S": "30.11.2021 10:20:30",
	} {
		l, err := ParseLayout(format)
		require.NoError(b, err)
		in := []byte(text)
		clock := NewZoneClock(kolkata)
		b.Run(text, func(b *testing.B) {
			for b.Loop() {
				r, err := l.Read(in)
				if err != nil {
					b.Fatal(err)
				}
				clock.Instant(r.Local)
			}
		})
	}
}
