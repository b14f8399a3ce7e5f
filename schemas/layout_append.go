package schemas

import (
	"strconv"
	"time"
)

// Append writes an instant, in µs since 1970, as loc's clock reads it; nil is
// UTC. A layout with %Z is written in UTC.
func (l Layout) Append(dst []byte, micros int64, loc *time.Location) []byte {
	var offset int64
	if loc != nil && loc != time.UTC {
		_, seconds := time.UnixMicro(micros).In(loc).Zone()
		offset = int64(seconds) * secondMicros
	}
	if l.plan == nil || l.plan.parts&partZone != 0 {
		if offset%minuteMicros != 0 || l.plan != nil && l.plan.hasCode('Z') {
			offset = 0 // the text has no way to tell it
		}
	}
	local := micros + offset
	days := floorDiv(local, dayMicros)
	clock := local - days*dayMicros
	form := formISO
	if l.plan != nil {
		form = l.plan.form
	}
	switch form {
	case formISO:
		dst = appendDatetime(dst, local)
		if offset == 0 {
			return append(dst, 'Z')
		}
		return appendOffset(dst, offset, ":")
	case formISOTime:
		return appendClock(dst, clock)
	case formDate:
		return appendDate(dst, days)
	}
	year, month, day := civil(days)
	for i := range l.plan.ops {
		op := &l.plan.ops[i]
		switch op.code {
		case 0:
			dst = append(dst, op.literal...)
		case 'Y':
			dst = appendPadded(dst, int64(year), 4)
		case 'y':
			dst = appendPadded(dst, int64(year%100), 2)
		case 'm':
			dst = op.number(dst, int64(month))
		case 'd':
			dst = op.number(dst, int64(day))
		case 'e':
			dst = op.number(dst, int64(day))
		case 'j':
			first, _ := daysOf(year, 1, 1)
			dst = appendPadded(dst, days-first+1, 3)
		case 'b':
			dst = append(dst, monthNames[month-1][:3]...)
		case 'B':
			dst = append(dst, monthNames[month-1]...)
		case 'a':
			dst = append(dst, dayNames[weekday(days)][:3]...)
		case 'A':
			dst = append(dst, dayNames[weekday(days)]...)
		case 'H':
			dst = op.number(dst, clock/hourMicros)
		case 'I':
			dst = op.number(dst, (clock/hourMicros+11)%12+1)
		case 'p':
			dst = append(dst, halves[clock/(12*hourMicros)]...)
		case 'M':
			dst = op.number(dst, clock%hourMicros/minuteMicros)
		case 'S':
			dst = op.number(dst, clock%minuteMicros/secondMicros)
		case 'f':
			dst = op.fraction(dst, l.plan.fractionOf(micros, clock))
		case 'z':
			dst = appendOffset(dst, offset, "")
		case 'Z':
			dst = append(dst, "UTC"...)
		case 's', 'Q':
			dst = appendUnix(dst, micros, unixUnit(op.code), l.plan.parts&partFraction != 0)
		}
	}
	return dst
}

func (p *layoutPlan) hasCode(code byte) bool {
	for i := range p.ops {
		if p.ops[i].code == code {
			return true
		}
	}
	return false
}

// weekday counts from Sunday; 1970-01-01 was a Thursday.
func weekday(days int64) int64 { return (days%7 + 4 + 7) % 7 }

// appendUnix writes a number of units, cut towards 1970 where a fraction follows.
func appendUnix(dst []byte, micros, unit int64, fraction bool) []byte {
	if !fraction {
		return strconv.AppendInt(dst, floorDiv(micros, unit), 10)
	}
	if micros < 0 && micros > -unit {
		dst = append(dst, '-')
	}
	return strconv.AppendInt(dst, micros/unit, 10)
}

// fractionOf is the part of micros that %f tells.
func (p *layoutPlan) fractionOf(micros, clock int64) int64 {
	if p.parts&partUnix == 0 {
		return clock % secondMicros
	}
	return max(micros, -micros) % secondMicros
}

func (op *layoutOp) fraction(dst []byte, micros int64) []byte {
	if op.digits == 3 {
		return appendPadded(dst, micros/1000, 3)
	}
	return appendPadded(dst, micros, 6)
}

func (op *layoutOp) number(dst []byte, n int64) []byte {
	if op.short {
		return strconv.AppendInt(dst, n, 10)
	}
	return append(dst, byte('0'+n/10), byte('0'+n%10))
}

func appendPadded(dst []byte, n int64, width int) []byte {
	at := len(dst)
	for range width {
		dst = append(dst, '0')
	}
	for i := at + width - 1; i >= at; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
	return dst
}

func appendOffset(dst []byte, micros int64, colon string) []byte {
	sign := byte('+')
	if micros < 0 {
		sign, micros = '-', -micros
	}
	dst = appendPadded(append(dst, sign), micros/hourMicros, 2)
	return appendPadded(append(dst, colon...), micros%hourMicros/minuteMicros, 2)
}

// civil is the date of a day since 1970: H. Hinnant, "chrono-Compatible
// Low-Level Date Algorithms".
func civil(days int64) (year, month, day int) {
	z := days + 719468
	era := floorDiv(z, 146097)
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	day = int(doy - (153*mp+2)/5 + 1)
	month = int(mp + 3)
	if month > 12 {
		month -= 12
	}
	year = int(yoe + era*400)
	if month <= 2 {
		year++
	}
	return year, month, day
}
