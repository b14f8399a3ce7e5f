package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloudspannerecosystem/memefish/ast"

	"lake/schemas"
)

// zone is a time zone's name, which has to be a literal.
func (c *checker) zone(n node) *time.Location {
	lit, ok := n.(*literal)
	if !ok || lit.typ.Kind != str || lit.isNull() {
		c.fail(n.at(), "write its name: 'Asia/Kolkata'", "the time zone has to be a string literal")
		return nil
	}
	zone, err := loadZone(lit.v.texts[0])
	if err != nil {
		c.fail(lit.at(), "names are those of the IANA database, 'Asia/Kolkata', or offsets, '+05:30'", "%v", err)
		return nil
	}
	return zone
}

// dateCall is DATE(ts[, zone]), DATE(datetime) and DATE(year, month, day).
func dateCall(c *checker, f *ast.CallExpr, args []node) node {
	at := int(f.Pos())
	if len(args) == 3 {
		for i := range args {
			if args[i] = c.wanted(args[i], i64, "DATE"); args[i] == nil {
				return nil
			}
		}
		return c.call(opMakeDate, simple(date), at, try3(madeDate), args...)
	}
	switch kind := args[0].Type().Kind; {
	case kind == date && len(args) == 1:
		return args[0]
	case kind == schemas.Datetime && len(args) == 1:
		return c.call(opCast, simple(date), at, castKernel(args[0].Type(), simple(date)), args[0])
	}
	n := c.wanted(args[0], ts, "DATE")
	if n == nil {
		return nil
	}
	if len(args) == 1 {
		return c.dateOf(at, n, constant(simple(str), at, "UTC"))
	}
	return c.dateOf(at, n, args[1])
}

func (c *checker) dateOf(at int, n, zoneName node) node {
	zone := c.zone(zoneName)
	if zone == nil {
		return nil
	}
	return c.call(opDate, simple(date), at, onClock(zone, dateOfLocal), n, zoneName)
}

// partOf is a part of a date or time, written as a bare word.
func (c *checker) partOf(what string, arg ast.Node, word string, parts []string) string {
	if part := strings.ToUpper(word); slices.Contains(parts, part) {
		return part
	}
	hint := "the parts are " + strings.Join(parts, ", ")
	if near := nearest(word, parts); strings.HasPrefix(near, "did") {
		hint = near
	}
	c.fail(int(arg.Pos()), hint, "%s does not know the part %s", what, short(word))
	return ""
}

func truncCall(c *checker, f *ast.CallExpr, args []node) node {
	n := c.wanted(args[0], ts, "TIMESTAMP_TRUNC")
	part := c.partOf("TIMESTAMP_TRUNC", f.Args[1], f.Args[1].SQL(), truncParts)
	var zoneName node = constant(simple(str), int(f.Pos()), "UTC")
	if len(args) == 3 {
		zoneName = args[2]
	}
	zone := c.zone(zoneName)
	if n == nil || part == "" || zone == nil {
		return nil
	}
	out := c.call(opTrunc, simple(ts), int(f.Pos()), truncateTimestamp(part, zone), n, zoneName)
	if made, ok := out.(*call); ok {
		made.part = part
	}
	return out
}

// bucketCall is TIMESTAMP_BUCKET(ts, INTERVAL n part[, origin]).
func bucketCall(c *checker, f *ast.CallExpr, args []node) node {
	const name = "TIMESTAMP_BUCKET"
	n := c.wanted(args[0], ts, name)
	width, text := c.width(f.Args[1])
	var origin node = constant(simple(ts), int(f.Pos()), bucketOrigin)
	if len(args) == 3 {
		origin = c.wanted(args[2], ts, name)
	}
	if n == nil || width == 0 || origin == nil {
		return nil
	}
	lit, ok := origin.(*literal)
	if !ok || lit.isNull() {
		return c.fail(origin.at(), "write TIMESTAMP '2021-11-30 00:00:00+05:30'", "the origin has to be a timestamp literal")
	}
	made := &call{op: opBucket, args: []node{n, lit}, typ: simple(ts), place: int(f.Pos()), run: bucketStart(width, lit.v.ints[0]), part: text, width: width}
	if _, ok := n.(*literal); ok {
		return folded(made)
	}
	return made
}

// width is a bucket's, in µs, and the interval in one form for all ways to write it.
func (c *checker) width(arg ast.Arg) (micros int64, text string) {
	at := int(arg.Pos())
	const hint = "write INTERVAL 1 MINUTE; the units are MICROSECOND, MILLISECOND, SECOND, MINUTE, HOUR and DAY"
	x, ok := arg.(*ast.ExprArg)
	if !ok {
		c.fail(at, hint, "the width of a bucket has to be an interval")
		return 0, ""
	}
	interval, ok := x.Expr.(*ast.IntervalLiteralSingle)
	if !ok {
		c.fail(at, hint, "the width of a bucket has to be an interval of one unit")
		return 0, ""
	}
	lit, ok := interval.Value.(*ast.IntLiteral)
	unit := partMicros[string(interval.DateTimePart)]
	if !ok || unit == 0 {
		c.fail(at, hint, "the width of a bucket may not be %s", short(interval.SQL()))
		return 0, ""
	}
	count, err := strconv.ParseInt(lit.Value, 0, 64)
	if err != nil || count <= 0 || count > 3_652_059*day/unit { // 9999 years
		c.fail(at, "", "the width of a bucket has to be above 0 and below 10000 years, not %s", short(interval.SQL()))
		return 0, ""
	}
	micros = count * unit
	for _, part := range []string{"DAY", "HOUR", "MINUTE", "SECOND", "MILLISECOND", "MICROSECOND"} {
		if micros%partMicros[part] == 0 {
			return micros, fmt.Sprintf("INTERVAL %d %s", micros/partMicros[part], part)
		}
	}
	return micros, ""
}

func (c *checker) extract(e *ast.ExtractExpr) node {
	at := int(e.Pos())
	n := c.expr(e.Expr)
	if n == nil {
		return nil
	}
	kind := n.Type().Kind
	parts := append(append([]string{}, dateParts...), clockParts...)
	switch kind {
	case date:
		parts = dateParts
	case schemas.Time:
		parts = clockParts
	case schemas.Datetime:
		parts = append(parts, "DATE")
	default:
		if n = c.wanted(n, ts, "EXTRACT"); n == nil {
			return nil
		}
		kind, parts = ts, append(parts, "DATE")
	}
	part := c.partOf("EXTRACT from "+sqlName(n.Type()), e.Part, e.Part.Name, parts)
	if part == "" {
		return nil
	}
	var zoneName node = constant(simple(str), at, "UTC")
	if e.AtTimeZone != nil {
		if kind != ts {
			return c.fail(int(e.AtTimeZone.Pos()), "leave AT TIME ZONE out", "%s has no time zone", sqlName(n.Type()))
		}
		if zoneName = c.expr(e.AtTimeZone.Expr); zoneName == nil {
			return nil
		}
	}
	if part == "DATE" {
		if kind == schemas.Datetime {
			return c.call(opCast, simple(date), at, castKernel(n.Type(), simple(date)), n)
		}
		return c.dateOf(at, n, zoneName)
	}
	get := func(local int64) int64 { return extractLocal(part, local) }
	run, args := map1(get), []node{n}
	switch kind {
	case date:
		run = map1(func(days int64) int64 { return get(days * day) })
	case ts:
		zone := c.zone(zoneName)
		if zone == nil {
			return nil
		}
		run, args = onClock(zone, get), []node{n, zoneName}
	}
	out := c.call(opExtract, simple(i64), at, run, args...)
	if made, ok := out.(*call); ok {
		made.part = part
	}
	return out
}
