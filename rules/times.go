package rules

import (
	"fmt"
	"strings"
	"time"

	"lake/schemas"
)

const (
	second = int64(1_000_000)
	minute = 60 * second
	hour   = 60 * minute
	day    = 24 * hour
)

// loadZone takes the names of the IANA database, UTC and offsets such as +05:30.
func loadZone(name string) (*time.Location, error) {
	if offset, rest, ok := readOffset(name); ok && rest == "" && name != "" {
		return time.FixedZone(name, int(offset/second)), nil
	}
	if name == "" || strings.EqualFold(name, "local") {
		return nil, fmt.Errorf("unknown time zone %q", name)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("unknown time zone %q", name)
	}
	return zone, nil
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// civil is the date of a number of days since 1970-01-01 in the proleptic
// Gregorian calendar.
func civil(days int64) (year, month, dayOfMonth int64) {
	z := days + 719468 // since 0000-03-01
	era := floorDiv(z, 146097)
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	year, month, dayOfMonth = yoe+era*400, mp+3, doy-(153*mp+2)/5+1
	if month > 12 {
		month -= 12
		year++
	}
	return year, month, dayOfMonth
}

func daysOf(year, month, dayOfMonth int64) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	era := floorDiv(year, 400)
	yoe := year - era*400
	doy := (153*(month-3)+2)/5 + dayOfMonth - 1
	return era*146097 + yoe*365 + yoe/4 - yoe/100 + doy - 719468
}

func validDate(year, month, dayOfMonth int64) bool {
	if year < 1 || year > 9999 || month < 1 || month > 12 || dayOfMonth < 1 || dayOfMonth > 31 {
		return false
	}
	_, m, _ := civil(daysOf(year, month, dayOfMonth))
	return m == month
}

// weekday is 0 for Sunday.
func weekday(days int64) int64 { return ((days+4)%7 + 7) % 7 }

// isoWeek is the year and the week, which begins on Monday, of ISO 8601.
func isoWeek(days int64) (year, week int64) {
	thursday := days - (weekday(days)+6)%7 + 3
	year, _, _ = civil(thursday)
	return year, (thursday-daysOf(year, 1, 1))/7 + 1
}

// extractLocal is EXTRACT of a wall clock's reading in µs.
func extractLocal(part string, local int64) int64 {
	days := floorDiv(local, day)
	clock := local - days*day
	switch part {
	case "MICROSECOND":
		return clock % second
	case "MILLISECOND":
		return clock % second / 1000
	case "SECOND":
		return clock % minute / second
	case "MINUTE":
		return clock % hour / minute
	case "HOUR":
		return clock / hour
	case "DAYOFWEEK":
		return weekday(days) + 1
	case "ISOWEEK":
		_, week := isoWeek(days)
		return week
	case "ISOYEAR":
		year, _ := isoWeek(days)
		return year
	}
	year, month, dayOfMonth := civil(days)
	yearday := days - daysOf(year, 1, 1)
	switch part {
	case "DAY":
		return dayOfMonth
	case "DAYOFYEAR":
		return yearday + 1
	case "WEEK": // from Sunday; days before the year's first Sunday are in week 0
		return (yearday + 7 - weekday(days)) / 7
	case "MONTH":
		return month
	case "QUARTER":
		return (month + 2) / 3
	default:
		return year
	}
}

var (
	clockParts = []string{"MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR"}
	dateParts  = []string{"DAYOFWEEK", "DAY", "DAYOFYEAR", "WEEK", "ISOWEEK", "MONTH", "QUARTER", "YEAR", "ISOYEAR"}
	truncParts = []string{"MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "ISOWEEK", "MONTH", "QUARTER", "YEAR"}
	partMicros = map[string]int64{"MICROSECOND": 1, "MILLISECOND": 1000, "SECOND": second, "MINUTE": minute, "HOUR": hour, "DAY": day}
)

// truncateDays is the first day of the part in which a day lies.
func truncateDays(part string, days int64) int64 {
	year, month, _ := civil(days)
	switch part {
	case "WEEK":
		return days - weekday(days)
	case "ISOWEEK":
		return days - (weekday(days)+6)%7
	case "MONTH":
		return daysOf(year, month, 1)
	case "QUARTER":
		return daysOf(year, (month-1)/3*3+1, 1)
	case "YEAR":
		return daysOf(year, 1, 1)
	default:
		return days
	}
}

// truncateTimestamp is TIMESTAMP_TRUNC. Parts up to the hour are taken off the
// instant; from the day on it is the instant at which the zone's part begins.
func truncateTimestamp(part string, zone *time.Location) kernel {
	return func(n int, args []vector) vector {
		clock := schemas.NewZoneClock(zone)
		return map1(func(at int64) int64 {
			local := clock.Local(at)
			if unit := partMicros[part]; unit > 0 && unit < day {
				return at - (local - floorDiv(local, unit)*unit)
			}
			return dayStart(clock, truncateDays(part, floorDiv(local, day)))
		})(n, args[:1])
	}
}

// dayStart is the first instant of a zone's day, which is not midnight where
// the clocks go forward then.
func dayStart(clock *schemas.ZoneClock, days int64) int64 {
	at := clock.Instant(days * day)
	for int64(clock.Date(at)) < days {
		at += 15 * minute // offsets change by quarters of an hour
	}
	return at
}

// onClock is a function of a timestamp that needs a zone's wall clock.
func onClock(zone *time.Location, f func(local int64) int64) kernel {
	return func(n int, args []vector) vector {
		clock := schemas.NewZoneClock(zone)
		return map1(func(at int64) int64 { return f(clock.Local(at)) })(n, args[:1])
	}
}

func dateOfLocal(local int64) int64 { return floorDiv(local, day) }

// bucketStart is TIMESTAMP_BUCKET.
func bucketStart(width, origin int64) kernel {
	return map1(func(at int64) int64 { return origin + floorDiv(at-origin, width)*width })
}

// bucketOrigin is BigQuery's default: 1950-01-01 00:00:00 UTC.
var bucketOrigin = daysOf(1950, 1, 1) * day

func madeDate(year, month, dayOfMonth int64) (int64, fault) {
	if !validDate(year, month, dayOfMonth) {
		return 0, fault(fmt.Sprintf("DATE(%d, %d, %d) is no date", year, month, dayOfMonth))
	}
	return daysOf(year, month, dayOfMonth), fine
}

// Texts of dates and times, as GoogleSQL reads and writes them.

func parseDate(s string) (int64, bool) {
	days, rest, ok := readDate(s)
	return days, ok && rest == ""
}

func readDate(s string) (days int64, rest string, ok bool) {
	year, s, ok1 := readDigits(s, 4, 4)
	s, dash1 := strings.CutPrefix(s, "-")
	month, s, ok2 := readDigits(s, 1, 2)
	s, dash2 := strings.CutPrefix(s, "-")
	dayOfMonth, s, ok3 := readDigits(s, 1, 2)
	if !ok1 || !ok2 || !ok3 || !dash1 || !dash2 || !validDate(year, month, dayOfMonth) {
		return 0, "", false
	}
	return daysOf(year, month, dayOfMonth), s, true
}

func readDigits(s string, least, most int) (n int64, rest string, ok bool) {
	i := 0
	for i < len(s) && i < most && s[i] >= '0' && s[i] <= '9' {
		n = n*10 + int64(s[i]-'0')
		i++
	}
	return n, s[i:], i >= least
}

// readClock reads [H]H:[M]M:[S]S[.DDDDDD].
func readClock(s string) (micros int64, rest string, ok bool) {
	h, s, ok1 := readDigits(s, 1, 2)
	s, colon1 := strings.CutPrefix(s, ":")
	m, s, ok2 := readDigits(s, 1, 2)
	s, colon2 := strings.CutPrefix(s, ":")
	sec, s, ok3 := readDigits(s, 1, 2)
	if !ok1 || !ok2 || !ok3 || !colon1 || !colon2 || h > 23 || m > 59 || sec > 59 {
		return 0, "", false
	}
	micros = h*hour + m*minute + sec*second
	if after, point := strings.CutPrefix(s, "."); point {
		fraction, rest, ok := readDigits(after, 1, 6)
		if !ok {
			return 0, "", false
		}
		for i := len(after) - len(rest); i < 6; i++ {
			fraction *= 10
		}
		return micros + fraction, rest, true
	}
	return micros, s, true
}

// readOffset reads Z or (+|-)H[H][:MM], in µs.
func readOffset(s string) (micros int64, rest string, ok bool) {
	if s == "Z" || s == "z" {
		return 0, "", true
	}
	if s == "" || s[0] != '+' && s[0] != '-' {
		return 0, s, false
	}
	h, rest, ok := readDigits(s[1:], 1, 2)
	m := int64(0)
	if after, colon := strings.CutPrefix(rest, ":"); colon && ok {
		m, rest, ok = readDigits(after, 2, 2)
	}
	if !ok || h > 14 || m > 59 {
		return 0, s, false
	}
	micros = h*hour + m*minute
	if s[0] == '-' {
		micros = -micros
	}
	return micros, rest, true
}

// readDateTime reads a date, and a clock behind T or a space where there is one.
func readDateTime(s string) (local int64, rest string, ok bool) {
	days, s, ok := readDate(s)
	if !ok {
		return 0, "", false
	}
	if len(s) > 1 && (s[0] == 'T' || s[0] == 't' || s[0] == ' ') && s[1] >= '0' && s[1] <= '9' {
		clock, rest, ok := readClock(s[1:])
		return days*day + clock, rest, ok
	}
	return days * day, s, true
}

func parseDatetime(s string) (int64, bool) {
	local, rest, ok := readDateTime(s)
	return local, ok && rest == ""
}

// parseTimestamp takes UTC where the text has no zone.
func parseTimestamp(s string) (int64, bool) {
	local, rest, ok := readDateTime(s)
	if !ok || rest == "" {
		return local, ok
	}
	if offset, rest, ok := readOffset(rest); ok && rest == "" {
		return local - offset, true
	}
	name, space := strings.CutPrefix(rest, " ")
	if !space {
		return 0, false
	}
	zone, err := loadZone(name)
	if err != nil {
		return 0, false
	}
	return schemas.NewZoneClock(zone).Instant(local), true
}

func parseTime(s string) (int64, bool) {
	clock, rest, ok := readClock(s)
	return clock, ok && rest == ""
}

func dateText(days int64) string {
	y, m, d := civil(days)
	return fmt.Sprintf("%04d-%02d-%02d", y, m, d)
}

// timeText has no fraction, three digits or six.
func timeText(clock int64) string {
	text := fmt.Sprintf("%02d:%02d:%02d", clock/hour, clock%hour/minute, clock%minute/second)
	switch fraction := clock % second; {
	case fraction == 0:
		return text
	case fraction%1000 == 0:
		return text + fmt.Sprintf(".%03d", fraction/1000)
	default:
		return text + fmt.Sprintf(".%06d", fraction)
	}
}

func datetimeText(local int64) string {
	days := floorDiv(local, day)
	return dateText(days) + " " + timeText(local-days*day)
}

func timestampText(at int64) string { return datetimeText(at) + "+00" }
