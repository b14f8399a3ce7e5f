package schemas

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"time"
)

// Reading is what a text says.
type Reading struct {
	Local  int64 // µs since 1970-01-01 00:00:00, as the wall clock reads
	Offset int64 // µs that the wall clock is ahead of UTC
	Zoned  bool  // the text tells the offset
}

// Parse reads all of text as an instant, in µs since 1970. loc is the zone of
// a text that tells none; nil is UTC. A reading that a change of the zone's
// offset leaves out or repeats is taken as time.Date takes it.
func (l Layout) Parse(text []byte, loc *time.Location) (micros int64, err error) {
	r, err := l.Read(text)
	if err != nil {
		return 0, err
	}
	if r.Zoned {
		return r.Local - r.Offset, nil
	}
	if loc == nil || loc == time.UTC {
		return r.Local, nil
	}
	clock := ZoneClock{loc: loc} // knows no stretch yet
	return clock.Instant(r.Local), nil
}

// Read reads all of text. Fractions of a second are cut to µs. What a layout
// does not tell is that of 1970-01-01 00:00:00.
func (l Layout) Read(text []byte) (Reading, error) {
	r, reason := l.read(text)
	if reason != "" {
		return Reading{}, l.mismatch(text, reason)
	}
	return r, nil
}

func (l Layout) mismatch(text []byte, reason string) error {
	if len(text) > 40 {
		text = text[:40]
	}
	format := "ISO 8601"
	if l.plan != nil {
		format = l.plan.format
	}
	return fmt.Errorf("%q is not %s: %s", text, format, reason)
}

const (
	shortText = "it ends early"
	longText  = "it goes on"
	otherText = "another character is expected"
	noDigit   = "a digit is expected"
	noDay     = "there is no such day"
	noTime    = "there is no such time of day"
	noZone    = "there is no such zone"
)

// read is Read with a reason for the error, "" for none.
func (l Layout) read(text []byte) (Reading, string) {
	form := formISO
	if l.plan != nil {
		form = l.plan.form
	}
	switch form {
	case formDate:
		if len(text) != 10 {
			return Reading{}, lengthReason(text, 10)
		}
		days, reason := readDate(text)
		return Reading{Local: days * dayMicros}, reason
	case formDateTime:
		if len(text) != 19 {
			return Reading{}, lengthReason(text, 19)
		}
		days, reason := readDate(text)
		if reason != "" {
			return Reading{}, reason
		}
		if text[10] != ' ' {
			return Reading{}, otherText
		}
		clock, reason := readClock(text[11:])
		return Reading{Local: days*dayMicros + clock}, reason
	case formISO:
		return readISO(text)
	case formISOTime:
		clock, rest, reason := readISOClock(text)
		if reason == "" && len(rest) > 0 {
			reason = longText
		}
		return Reading{Local: clock}, reason
	}
	return l.plan.readOps(text)
}

func lengthReason(text []byte, want int) string {
	if len(text) < want {
		return shortText
	}
	return longText
}

// In a word of text whose digits and separators have been XORed with '0' and
// with themselves, adding these sets the high bit of a byte that is not a
// digit (0x76) or not the separator (0x7f).
const (
	dateShape  = 0x30_30_2d_30_30_2d_30_30 // "00-00-00", of "YYYY-MM-DD" from its third byte on
	dateBounds = 0x76_76_7f_76_76_7f_76_76
	timeShape  = 0x30_30_3a_30_30_3a_30_30 // "00:00:00"
	timeBounds = 0x76_76_7f_76_76_7f_76_76
	highBits   = 0x80_80_80_80_80_80_80_80
)

// readDate reads YYYY-MM-DD from the first 10 bytes of text, which has them.
func readDate(text []byte) (days int64, reason string) {
	c1, c2 := text[0]-'0', text[1]-'0'
	x := binary.LittleEndian.Uint64(text[2:10]) ^ dateShape
	if c1 > 9 || c2 > 9 || (x|(x+dateBounds))&highBits != 0 {
		return 0, "YYYY-MM-DD is expected"
	}
	x = x*10 + x>>8 // a pair of digits is where its first one was
	year := int(c1)*1000 + int(c2)*100 + int(x&0xff)
	month, day := int(x>>24&0xff), int(x>>48&0xff)
	return daysOf(year, month, day)
}

// readClock reads hh:mm:ss from the first 8 bytes of text, which has them.
func readClock(text []byte) (micros int64, reason string) {
	x := binary.LittleEndian.Uint64(text) ^ timeShape
	if (x|(x+timeBounds))&highBits != 0 {
		return 0, "hh:mm:ss is expected"
	}
	x = x*10 + x>>8
	hour, minute, second := int64(x&0xff), int64(x>>24&0xff), int64(x>>48&0xff)
	if hour > 23 || minute > 59 || second > 59 {
		return 0, noTime
	}
	return ((hour*60+minute)*60 + second) * secondMicros, ""
}

var daysBefore = [...]int16{0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334}

func leap(year int) bool { return year%4 == 0 && (year%100 != 0 || year%400 == 0) }

func daysIn(month, year int) int {
	switch month {
	case 2:
		if leap(year) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// daysOf is the number of days from 1970-01-01 to a date of the years 1 to 9999.
func daysOf(year, month, day int) (int64, string) {
	if month < 1 || month > 12 || day < 1 || day > 28 && day > daysIn(month, year) || year < 1 {
		return 0, noDay
	}
	before := year - 1
	days := before*365 + before/4 - before/100 + before/400 + int(daysBefore[month]) + day - 1 - 719162
	if month > 2 && leap(year) {
		days++
	}
	return int64(days), ""
}

// readISO reads YYYY-MM-DD[(T| )hh:mm[:ss[.fraction]][zone]].
func readISO(text []byte) (Reading, string) {
	if len(text) < 10 {
		return Reading{}, shortText
	}
	days, reason := readDate(text)
	if reason != "" {
		return Reading{}, reason
	}
	r := Reading{Local: days * dayMicros}
	if len(text) == 10 {
		return r, ""
	}
	if c := text[10]; c != 'T' && c != ' ' && c != 't' {
		return Reading{}, otherText
	}
	clock, rest, reason := readISOClock(text[11:])
	if reason != "" {
		return Reading{}, reason
	}
	r.Local += clock
	if len(rest) == 0 {
		return r, ""
	}
	r.Zoned = true
	if rest[0] == 'z' && len(rest) == 1 {
		return r, ""
	}
	r.Offset, rest, reason = readOffset(rest)
	if reason == "" && len(rest) > 0 {
		reason = longText
	}
	return r, reason
}

// readISOClock reads hh:mm[:ss[.fraction]] and returns what follows.
func readISOClock(text []byte) (micros int64, rest []byte, reason string) {
	if len(text) >= 8 && text[5] == ':' {
		if micros, reason = readClock(text); reason != "" {
			return 0, nil, reason
		}
		rest = text[8:]
		if len(rest) > 0 && rest[0] == '.' {
			fraction, n := readFraction(rest[1:])
			if n == 0 {
				return 0, nil, noDigit
			}
			return micros + fraction, rest[1+n:], ""
		}
		return micros, rest, ""
	}
	if len(text) < 5 {
		return 0, nil, shortText
	}
	hour, minute := pair(text), pair(text[3:])
	if text[2] != ':' || hour > 23 || minute > 59 {
		return 0, nil, noTime
	}
	return int64(hour)*hourMicros + int64(minute)*minuteMicros, text[5:], ""
}

// pair is the number that the first two bytes of text, which has them, are; 100 or more where
// they are no digits.
func pair(text []byte) int {
	a, b := text[0]-'0', text[1]-'0'
	if a > 9 || b > 9 {
		return 100
	}
	return int(a)*10 + int(b)
}

// readFraction reads 1 to 9 digits as a fraction of a second; n is how many there are, 0
// where there are none or more.
func readFraction(text []byte) (micros int64, n int) {
	for unit := int64(100000); n < len(text) && text[n]-'0' <= 9; n++ {
		micros += int64(text[n]-'0') * unit
		unit /= 10
	}
	if n > 9 {
		return 0, 0
	}
	return micros, n
}

// readOffset reads Z, ±hh:mm, ±hhmm or ±hh and returns what follows.
func readOffset(text []byte) (micros int64, rest []byte, reason string) {
	if len(text) == 0 {
		return 0, nil, shortText
	}
	if text[0] == 'Z' {
		return 0, text[1:], ""
	}
	if text[0] != '+' && text[0] != '-' || len(text) < 3 {
		return 0, nil, noZone
	}
	hour, minute := pair(text[1:]), 0
	rest = text[3:]
	switch {
	case len(rest) >= 3 && rest[0] == ':':
		minute, rest = pair(rest[1:]), rest[3:]
	case len(rest) >= 2 && rest[0]-'0' <= 9:
		minute, rest = pair(rest), rest[2:]
	}
	if hour > 23 || minute > 59 {
		return 0, nil, noZone
	}
	micros = int64(hour)*hourMicros + int64(minute)*minuteMicros
	if text[0] == '-' {
		micros = -micros
	}
	return micros, rest, ""
}

// moment collects what the codes of a layout tell.
type moment struct {
	year, month, day, yearDay, weekday, hour, minute, second int
	micros, unix                                             int64
	afternoon, negative                                      bool
	reading                                                  Reading
}

func (p *layoutPlan) readOps(text []byte) (Reading, string) {
	m := moment{year: 1970, month: 1, day: 1}
	for i := range p.ops {
		var reason string
		if text, reason = m.take(&p.ops[i], text); reason != "" {
			return Reading{}, reason
		}
	}
	if len(text) > 0 {
		return Reading{}, longText
	}
	return m.result(p.parts)
}

// take reads the text of one op and returns what follows.
func (m *moment) take(op *layoutOp, text []byte) (rest []byte, reason string) {
	switch op.code {
	case 0:
		if len(text) < len(op.literal) {
			return nil, shortText
		}
		if string(text[:len(op.literal)]) != op.literal {
			return nil, otherText
		}
		return text[len(op.literal):], ""
	case 'Y':
		m.year, text, reason = digits(text, 4, 4)
	case 'y':
		m.year, text, reason = digits(text, 2, 2)
		m.year += 1900
		if m.year < 1969 {
			m.year += 100
		}
	case 'm':
		m.month, text, reason = digits(text, op.least(), 2)
	case 'd':
		m.day, text, reason = digits(text, op.least(), 2)
	case 'e':
		if len(text) > 1 && text[0] == ' ' && text[1] != ' ' {
			m.day, text, reason = digits(text[1:], 1, 1)
			break
		}
		m.day, text, reason = digits(text, 1, 2)
	case 'j':
		m.yearDay, text, reason = digits(text, 3, 3)
	case 'H', 'I':
		m.hour, text, reason = digits(text, op.least(), 2)
		if reason == "" && op.code == 'I' && (m.hour < 1 || m.hour > 12) {
			reason = noTime
		}
	case 'M':
		m.minute, text, reason = digits(text, op.least(), 2)
	case 'S':
		m.second, text, reason = digits(text, op.least(), 2)
	case 'f':
		var n int
		m.micros, n = readFraction(text)
		if n == 0 || op.digits > 0 && n != int(op.digits) {
			return nil, "another number of digits is expected"
		}
		text = text[n:]
	case 'b', 'B':
		m.month, text, reason = name(text, monthNames[:], op.code == 'b')
		m.month++
	case 'a', 'A':
		m.weekday, text, reason = name(text, dayNames[:], op.code == 'a')
	case 'p':
		var half int
		half, text, reason = name(text, halves[:], false)
		m.afternoon = half == 1
	case 'z':
		m.reading.Zoned = true
		m.reading.Offset, text, reason = readOffset(text)
	case 'Z':
		m.reading.Zoned = true
		_, text, reason = name(text, utcNames[:], false)
		if reason != "" {
			reason = noZone
		}
	case 's', 'Q':
		m.reading.Zoned, m.negative = true, len(text) > 0 && text[0] == '-'
		m.unix, text, reason = integer(text, unixUnit(op.code))
	}
	return text, reason
}

func (op *layoutOp) least() int {
	if op.short {
		return 1
	}
	return 2
}

func (m *moment) result(parts layoutParts) (Reading, string) {
	r := m.reading
	if parts&partUnix != 0 {
		r.Local = m.unix + m.micros
		if m.negative {
			r.Local = m.unix - m.micros // -1.5 is a second and a half before 1970
		}
		return r, ""
	}
	if parts&partHalf != 0 {
		m.hour %= 12
		if m.afternoon {
			m.hour += 12
		}
	}
	if m.hour > 23 || m.minute > 59 || m.second > 59 {
		return r, noTime
	}
	days, reason := daysOf(m.year, m.month, m.day)
	if reason != "" {
		return r, reason
	}
	if parts&partYearDay != 0 {
		if m.yearDay < 1 || m.yearDay > 366 || m.yearDay == 366 && !leap(m.year) {
			return r, noDay
		}
		days += int64(m.yearDay - 1)
	}
	if parts&partWeekday != 0 && parts.fullDate() && weekday(days) != int64(m.weekday) {
		return r, "that day is another day of the week"
	}
	r.Local = days*dayMicros + (int64(m.hour*60+m.minute)*60+int64(m.second))*secondMicros + m.micros
	return r, ""
}

// digits reads a number of least to most digits.
func digits(text []byte, least, most int) (n int, rest []byte, reason string) {
	i := 0
	for i < most && i < len(text) && text[i]-'0' <= 9 {
		n = n*10 + int(text[i]-'0')
		i++
	}
	if i < least {
		if i == len(text) {
			return 0, nil, shortText
		}
		return 0, nil, noDigit
	}
	return n, text[i:], ""
}

// integer reads a whole number of units.
func integer(text []byte, unit int64) (micros int64, rest []byte, reason string) {
	i, negative := 0, len(text) > 0 && text[0] == '-'
	if negative {
		i++
	}
	from := i
	var n uint64
	for ; i < len(text) && text[i]-'0' <= 9; i++ {
		high, low := bits.Mul64(n, 10)
		if n = low + uint64(text[i]-'0'); high != 0 || n > math.MaxInt64/uint64(unit) {
			return 0, nil, "the number is too large"
		}
	}
	if i == from {
		return 0, nil, noDigit
	}
	if negative {
		return -int64(n) * unit, text[i:], ""
	}
	return int64(n) * unit, text[i:], ""
}

var (
	monthNames = [...]string{"January", "February", "March", "April", "May", "June", "July", "August", "September",
		"October", "November", "December"}
	dayNames = [...]string{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"}
	halves   = [...]string{"AM", "PM"}
	utcNames = [...]string{"UTC", "GMT", "Z"}
)

// name reads one of names, or its first three letters where short.
func name(text []byte, names []string, short bool) (index int, rest []byte, reason string) {
	for i, n := range names {
		if short {
			n = n[:3]
		}
		if len(text) >= len(n) && sameLetters(text[:len(n)], n) {
			return i, text[len(n):], ""
		}
	}
	return 0, nil, "a name is expected"
}

func sameLetters(text []byte, name string) bool {
	for i := range name {
		if text[i]|0x20 != name[i]|0x20 {
			return false
		}
	}
	return true
}
