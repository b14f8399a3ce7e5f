package schemas

import (
	"strconv"
	"strings"
)

// timeForm is a way to write a date or a time that is recognised in samples.
type timeForm struct {
	kind   Kind
	format string // "" is ISO 8601
	layout Layout
	// digits: the text is all digits, so that only a column's name tells that it is a date.
	digits bool
	// day and month may be meant in the other order, that of twin.
	twin string
}

// timeForms are tried in this order; the first that fits all texts is taken.
var timeForms = makeTimeForms([]timeForm{
	{kind: Timestamp, format: "%Y-%m-%d %H:%M:%S"},
	{kind: Date},
	{kind: Timestamp},
	{kind: Timestamp, format: "%Y/%m/%d %H:%M:%S"},
	{kind: Date, format: "%Y/%m/%d"},
	{kind: Timestamp, format: "%d/%m/%Y %H:%M:%S", twin: "%m/%d/%Y %H:%M:%S"},
	{kind: Timestamp, format: "%m/%d/%Y %H:%M:%S", twin: "%d/%m/%Y %H:%M:%S"},
	{kind: Timestamp, format: "%d/%m/%Y %H:%M", twin: "%m/%d/%Y %H:%M"},
	{kind: Timestamp, format: "%m/%d/%Y %H:%M", twin: "%d/%m/%Y %H:%M"},
	{kind: Timestamp, format: "%m/%d/%Y %I:%M:%S %p", twin: "%d/%m/%Y %I:%M:%S %p"},
	{kind: Timestamp, format: "%d/%m/%Y %I:%M:%S %p", twin: "%m/%d/%Y %I:%M:%S %p"},
	{kind: Date, format: "%d/%m/%Y", twin: "%m/%d/%Y"},
	{kind: Date, format: "%m/%d/%Y", twin: "%d/%m/%Y"},
	{kind: Timestamp, format: "%d.%m.%Y %H:%M:%S"},
	{kind: Date, format: "%d.%m.%Y"},
	{kind: Date, format: "%d-%m-%Y", twin: "%m-%d-%Y"},
	{kind: Date, format: "%m-%d-%Y", twin: "%d-%m-%Y"},
	{kind: Timestamp, format: "%d/%b/%Y:%H:%M:%S %z"},
	{kind: Timestamp, format: "%a, %d %b %Y %H:%M:%S %z"},
	{kind: Timestamp, format: "%a, %d %b %Y %H:%M:%S %Z"},
	{kind: Timestamp, format: "%a %b %e %H:%M:%S %Y"},
	{kind: Date, format: "%d %b %Y"},
	{kind: Date, format: "%b %d, %Y"},
	{kind: Date, format: "%B %d, %Y"},
	{kind: Time},
	{kind: Timestamp, format: "%Y%m%dT%H%M%SZ"},
	{kind: Timestamp, format: "%Y%m%d%H%M%S", digits: true},
	{kind: Date, format: "%Y%m%d", digits: true},
	{kind: Timestamp, format: "%s", digits: true},
	{kind: Timestamp, format: "%Q", digits: true},
})

// makeTimeForms leaves out a form that the layouts do not have: its own test
// would say so.
func makeTimeForms(forms []timeForm) []timeForm {
	made := forms[:0]
	for _, f := range forms {
		layout, err := LayoutFor(f.kind, f.format)
		if err != nil {
			continue
		}
		f.layout = layout
		made = append(made, f)
	}
	return made
}

// textShapes is what the texts of a place have in common.
type textShapes struct {
	count, empty int
	other        uint64 // bit i: a text is not of timeForms[i]
	zoned, bare  int    // ISO 8601 texts with an offset, and without
	notUUID      bool
	notNumber    bool
	notBool      bool
	longest      int
	example      string
}

// look takes one text. Empty ones are counted and not looked at.
func (t *textShapes) look(text string) {
	t.count++
	if text == "" {
		t.empty++
		return
	}
	if t.example == "" {
		t.example = text[:min(len(text), 40)]
	}
	t.longest = max(t.longest, len(text))
	t.notUUID = t.notUUID || !uuidText(text)
	if !t.notNumber {
		_, err := strconv.ParseFloat(text, 64)
		t.notNumber = err != nil
	}
	t.notBool = t.notBool || !strings.EqualFold(text, "true") && !strings.EqualFold(text, "false")
	if len(text) > 64 {
		t.other = ^uint64(0)
	}
	if t.other == ^uint64(0) {
		return
	}
	for i := range timeForms {
		if t.other&(1<<i) != 0 {
			continue
		}
		f := &timeForms[i]
		if !f.fits(text) {
			t.other |= 1 << i
			continue
		}
		if f.kind == Timestamp && f.format == "" {
			if r, err := f.layout.Read([]byte(text)); err == nil && r.Zoned {
				t.zoned++
			} else {
				t.bare++
			}
		}
	}
}

// The years in which a number is taken for a time.
const (
	plausibleFrom = 631152000000000  // 1990-01-01
	plausibleTo   = 4102444800000000 // 2100-01-01
)

func (f *timeForm) fits(text string) bool {
	if f.kind == Timestamp && f.format == "" && len(text) <= len("2021-11-30") {
		return false // a date is a date
	}
	r, err := f.layout.Read([]byte(text))
	if err != nil {
		return false
	}
	return !f.digits || r.Local >= plausibleFrom && r.Local < plausibleTo
}

// form is the first form that all texts have.
func (t *textShapes) form() (timeForm, bool) {
	if t.count == t.empty {
		return timeForm{}, false
	}
	for i, f := range timeForms {
		if t.other&(1<<i) == 0 {
			return f, true
		}
	}
	return timeForm{}, false
}

// has reports whether all texts have a form by its format.
func (t *textShapes) has(format string) bool {
	for i, f := range timeForms {
		if f.format == format && t.other&(1<<i) == 0 {
			return true
		}
	}
	return false
}

func (t *textShapes) merge(u *textShapes) {
	t.count += u.count
	t.empty += u.empty
	t.other |= u.other
	t.zoned += u.zoned
	t.bare += u.bare
	t.notUUID = t.notUUID || u.notUUID
	t.notNumber = t.notNumber || u.notNumber
	t.notBool = t.notBool || u.notBool
	t.longest = max(t.longest, u.longest)
	if t.example == "" {
		t.example = u.example
	}
}

func uuidText(text string) bool {
	if len(text) != 36 {
		return false
	}
	for i := range len(text) {
		c := text[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}
