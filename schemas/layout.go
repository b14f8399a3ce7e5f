package schemas

import (
	"errors"
	"fmt"
	"strings"
)

// Layout is how a date or a time is written as text, from strftime codes:
//
//	%Y year, 4 digits     %m month    %d day       %F is %Y-%m-%d
//	%H hour, 00 to 23     %M minute   %S second    %T is %H:%M:%S
//	%I hour, 01 to 12, with %p AM or PM
//	%f fraction of a second, 1 to 9 digits read and 6 written; %3f, %6f exactly that many
//	%y year, 2 digits: 69 to 99 are 1969 to 1999, 00 to 68 are 2000 to 2068
//	%e day, without a leading zero    %j day of the year, 001 to 366
//	%b Jan, %B January, %a Mon, %A Monday: English, read without regard to case
//	%z +0530, +05:30 or Z, written +0530; %Z UTC, GMT or Z: a time with it is written in UTC
//	%s seconds since 1970, %Q milliseconds since 1970; %% a percent sign
//
// A minus, as in %-d, reads one or two digits and writes no leading zero.
// Everything else stands for itself. The empty format, and the zero Layout, is
// ISO 8601: 2021-11-30, 2021-11-30 12:00 or 2021-11-30T12:00:00.123456+05:30,
// written as RFC 3339. Layouts are values that goroutines may share.
type Layout struct{ plan *layoutPlan }

type layoutPlan struct {
	format string
	form   layoutForm
	ops    []layoutOp
	parts  layoutParts
	width  int
}

// layoutForm is what a layout that is read without its ops looks like.
type layoutForm uint8

const (
	formOps      layoutForm = iota
	formISO                 // any ISO 8601 date and time
	formISOTime             // hh:mm[:ss[.fraction]]
	formDate                // %Y-%m-%d
	formDateTime            // %Y-%m-%d %H:%M:%S
)

// layoutParts says what the text of a layout tells.
type layoutParts uint32

const (
	partYear layoutParts = 1 << iota
	partMonth
	partDay
	partYearDay
	partWeekday
	partHour
	partHour12
	partHalf
	partMinute
	partSecond
	partFraction
	partZone
	partUnix
)

const (
	partsDate  = partYear | partMonth | partDay
	partsClock = partHour | partHour12 | partMinute | partSecond | partFraction
)

func (p layoutParts) fullDate() bool {
	return p&partsDate == partsDate || p&(partYear|partYearDay) == partYear|partYearDay
}

// layoutOp is a code, or a literal where code is 0.
type layoutOp struct {
	code    byte
	digits  int8 // %f: exactly that many, 0 is up to 9
	short   bool // written with a minus: no leading zero
	literal string
}

type layoutCode struct {
	part  layoutParts
	width int // in bytes, of every text; 0 where they differ
}

var layoutCodes = map[byte]layoutCode{
	'Y': {partYear, 4}, 'y': {partYear, 2}, 'm': {partMonth, 2}, 'b': {partMonth, 3}, 'B': {partMonth, 0},
	'd': {partDay, 2}, 'e': {partDay, 0}, 'j': {partYearDay, 3}, 'a': {partWeekday, 3}, 'A': {partWeekday, 0},
	'H': {partHour, 2}, 'I': {partHour12, 2}, 'p': {partHalf, 2}, 'M': {partMinute, 2}, 'S': {partSecond, 2},
	'f': {partFraction, 0}, 'z': {partZone, 0}, 'Z': {partZone, 0}, 's': {partUnix, 0}, 'Q': {partUnix, 0},
}

// ParseLayout reads strftime codes. The error names the code at fault.
func ParseLayout(format string) (Layout, error) {
	if format == "" {
		return Layout{}, nil
	}
	p := &layoutPlan{format: format}
	expanded := strings.NewReplacer("%%", "%%", "%F", "%Y-%m-%d", "%T", "%H:%M:%S").Replace(format)
	fixed := true
	for rest := expanded; rest != ""; {
		if rest[0] != '%' {
			end := strings.IndexByte(rest, '%')
			if end < 0 {
				end = len(rest)
			}
			p.literal(rest[:end])
			rest = rest[end:]
			continue
		}
		op, length, err := parseCode(rest)
		if err != nil {
			return Layout{}, err
		}
		rest = rest[length:]
		if op.code == '%' {
			p.literal("%")
			continue
		}
		code := layoutCodes[op.code]
		if p.parts&code.part != 0 {
			return Layout{}, fmt.Errorf("%q tells one thing twice: leave out one %%%c", format, op.code)
		}
		p.parts |= code.part
		p.ops = append(p.ops, op)
		width := code.width
		if op.code == 'f' {
			width = int(op.digits)
		}
		if width == 0 || op.short {
			fixed = false
		}
		p.width += width
	}
	if !fixed {
		p.width = 0
	}
	if err := p.check(); err != nil {
		return Layout{}, fmt.Errorf("%q %w", format, err)
	}
	switch expanded {
	case "%Y-%m-%d":
		p.form = formDate
	case "%Y-%m-%d %H:%M:%S":
		p.form = formDateTime
	}
	return Layout{p}, nil
}

func (p *layoutPlan) literal(text string) {
	p.width += len(text)
	if n := len(p.ops); n > 0 && p.ops[n-1].code == 0 {
		p.ops[n-1].literal += text
		return
	}
	p.ops = append(p.ops, layoutOp{literal: text})
}

// parseCode reads the code that text, which starts with %, starts with.
func parseCode(text string) (op layoutOp, length int, err error) {
	rest := text[1:]
	if rest != "" && rest[0] == '-' {
		op.short = true
		rest = rest[1:]
	}
	if len(rest) > 1 && (rest[0] == '3' || rest[0] == '6') && rest[1] == 'f' {
		op.digits = int8(rest[0] - '0')
		rest = rest[1:]
	}
	if rest == "" {
		return op, 0, fmt.Errorf("the format ends with %q: write %%%% for a percent sign", text)
	}
	op.code = rest[0]
	length = len(text) - len(rest) + 1
	_, known := layoutCodes[op.code]
	switch {
	case !known && op.code != '%', op.code == '%' && length != 2:
		return op, 0, fmt.Errorf("unknown code %q", text[:length])
	case op.short && !strings.ContainsRune("mdHIMSe", rune(op.code)):
		return op, 0, fmt.Errorf("unknown code %q: a minus goes with %%m, %%d, %%H, %%I, %%M and %%S", text[:length])
	}
	if op.code == 'e' {
		op.short = true
	}
	return op, length, nil
}

func (p *layoutPlan) check() error {
	has := func(part layoutParts) bool { return p.parts&part != 0 }
	switch {
	case has(partHour12) != has(partHalf):
		return errors.New("needs %I and %p together, or %H")
	case has(partHour12) && has(partHour):
		return errors.New("tells the hour twice: %H and %I")
	case has(partYearDay) && has(partMonth|partDay):
		return errors.New("tells the day twice: %j beside a month or a day")
	case has(partUnix) && has(partsDate|partYearDay|partWeekday|partsClock&^partFraction|partHalf|partZone):
		return errors.New("tells the time twice: %s or %Q beside other codes")
	case has(partMinute) && !has(partHour|partHour12), has(partSecond) && !has(partMinute),
		has(partFraction) && !has(partSecond) && !p.hasCode('s'):
		return errors.New("leaves a part of the time out: hours, minutes, seconds in this order")
	}
	return nil
}

// LayoutFor reads the format of a column of kind, a Date, Time, Timestamp or
// Datetime, and checks that it tells what the kind holds. The empty format is
// the kind's ISO 8601 form.
func LayoutFor(kind Kind, format string) (Layout, error) {
	if format == "" {
		switch kind {
		case Date:
			return Layout{&layoutPlan{format: "YYYY-MM-DD", form: formDate, parts: partsDate, width: 10}}, nil
		case Time:
			return Layout{&layoutPlan{format: "hh:mm:ss", form: formISOTime, parts: partsClock}}, nil
		}
		return Layout{}, nil
	}
	l, err := ParseLayout(format)
	if err != nil {
		return Layout{}, err
	}
	has := func(part layoutParts) bool { return l.plan.parts&part != 0 }
	date := l.plan.parts.fullDate()
	switch {
	case kind == Time && !has(partHour|partHour12):
		return Layout{}, fmt.Errorf("%q tells no time of day: write %%H", format)
	case kind == Time && has(partsDate|partYearDay|partUnix|partZone):
		return Layout{}, fmt.Errorf("%q tells more than a time of day", format)
	case kind != Time && !date && !has(partUnix):
		return Layout{}, fmt.Errorf("%q tells no full date: write %%Y, %%m and %%d", format)
	case kind == Datetime && has(partZone):
		return Layout{}, fmt.Errorf("%q tells a zone, which a datetime has not: make it a timestamp", format)
	}
	return l, nil
}

// Unit is the number of µs in a unit of the number that the layout is: 1,000,000
// for %s, 1,000 for %Q; 0 for other layouts.
func (l Layout) Unit() int64 {
	if l.plan == nil || len(l.plan.ops) != 1 {
		return 0
	}
	return unixUnit(l.plan.ops[0].code)
}

func unixUnit(code byte) int64 {
	switch code {
	case 's':
		return secondMicros
	case 'Q':
		return 1000
	}
	return 0
}

// Width is the length in bytes of every text of the layout; 0 where they differ.
func (l Layout) Width() int {
	if l.plan == nil {
		return 0
	}
	return l.plan.width
}

// String is the layout's format.
func (l Layout) String() string {
	if l.plan == nil {
		return ""
	}
	return l.plan.format
}
