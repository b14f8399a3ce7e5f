package schemas

import "encoding/binary"

// DateTimes reads texts of the layout %Y-%m-%d %H:%M:%S, one after the other: most
// have the date of the one before. One goroutine uses it.
type DateTimes struct {
	first    uint64 // bytes of the last date
	rest     uint16
	midnight int64 // that it begins with
}

// DateTimes makes a reader of the layout's texts; nil where it is another layout.
func (l Layout) DateTimes() *DateTimes {
	if l.plan == nil || l.plan.form != formDateTime {
		return nil
	}
	const epoch = "1970-01-01"
	return &DateTimes{first: binary.LittleEndian.Uint64([]byte(epoch)), rest: binary.LittleEndian.Uint16([]byte(epoch[8:]))}
}

// Read is what the wall clock reads, in µs since 1970-01-01 00:00:00; it is false
// where Layout.Read returns an error.
func (d *DateTimes) Read(text []byte) (local int64, ok bool) {
	if len(text) != 19 {
		return 0, false
	}
	first, rest := binary.LittleEndian.Uint64(text), binary.LittleEndian.Uint16(text[8:])
	if first != d.first || rest != d.rest {
		days, reason := readDate(text)
		if reason != "" {
			return 0, false
		}
		d.first, d.rest, d.midnight = first, rest, days*dayMicros
	}
	clock, reason := readClock(text[11:])
	return d.midnight + clock, reason == "" && text[10] == ' '
}
