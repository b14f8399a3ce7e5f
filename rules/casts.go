package rules

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"lake/schemas"
)

func simple(kind schemas.Kind) schemas.Type { return schemas.Type{Kind: kind} }

var numericType = schemas.Type{Kind: schemas.Decimal, Precision: numericPrecision, Scale: numericScale}

// fitsNumeric says whether NUMERIC holds each value of a decimal type.
func fitsNumeric(t schemas.Type) bool {
	return t.Scale <= numericScale && t.Precision-t.Scale <= numericPrecision-numericScale
}

// castKernel is CAST of one type as another; nil where GoogleSQL has none (or
// lake does not). Casts among equal types are the caller's.
func castKernel(from, to schemas.Type) kernel {
	switch to.Kind {
	case schemas.Bool:
		switch from.Kind {
		case schemas.Int64:
			return map1(func(a int64) bool { return a != 0 })
		case schemas.String:
			return try1(boolOfText)
		}
	case schemas.Int64:
		switch from.Kind {
		case schemas.Bool:
			return map1(func(a bool) int64 {
				if a {
					return 1
				}
				return 0
			})
		case schemas.Float64:
			return try1(intOfFloat)
		case schemas.Decimal:
			return try1(intOfNum(from.Scale))
		case schemas.String:
			return try1(intOfText)
		}
	case schemas.Float64:
		switch from.Kind {
		case schemas.Int64:
			return map1(func(a int64) float64 { return float64(a) })
		case schemas.Decimal:
			return map1(floatOfNum(from.Scale))
		case schemas.String:
			return try1(floatOfText)
		}
	case schemas.Decimal:
		switch from.Kind {
		case schemas.Int64:
			return map1(numOfInt)
		case schemas.Float64:
			return try1(numOfFloat)
		case schemas.Decimal:
			return map1(func(a decimal128.Num) decimal128.Num { return a.IncreaseScaleBy(int32(to.Scale - from.Scale)) })
		case schemas.String:
			return try1(numOfText)
		}
	case schemas.String:
		switch from.Kind {
		case schemas.Bool:
			return map1(strconv.FormatBool)
		case schemas.Int64:
			return map1(func(a int64) string { return strconv.FormatInt(a, 10) })
		case schemas.Float64:
			return map1(floatText)
		case schemas.Decimal:
			return map1(func(a decimal128.Num) string { return trimNumeric(a.ToString(int32(from.Scale))) })
		case schemas.Date:
			return map1(dateText)
		case schemas.Time:
			return map1(timeText)
		case schemas.Timestamp:
			return map1(timestampText)
		case schemas.Datetime:
			return map1(datetimeText)
		case schemas.UUID:
			return map1(uuidText)
		}
	case schemas.Date:
		switch from.Kind {
		case schemas.String:
			return try1(timeOfText("DATE", parseDate))
		case schemas.Datetime:
			return map1(dateOfLocal)
		}
	case schemas.Time:
		switch from.Kind {
		case schemas.String:
			return try1(timeOfText("TIME", parseTime))
		case schemas.Datetime:
			return map1(func(a int64) int64 { return a - floorDiv(a, day)*day })
		}
	case schemas.Timestamp, schemas.Datetime:
		switch from.Kind {
		case schemas.String:
			if to.Kind == schemas.Timestamp {
				return try1(timeOfText("TIMESTAMP", parseTimestamp))
			}
			return try1(timeOfText("DATETIME", parseDatetime))
		case schemas.Date:
			return map1(func(a int64) int64 { return a * day })
		case schemas.Timestamp, schemas.Datetime: // in UTC
			return map1(func(a int64) int64 { return a })
		}
	}
	return nil
}

func bad(kind, text string) fault {
	if len(text) > 100 {
		text = strings.ToValidUTF8(text[:100], "") + "…"
	}
	return fault(fmt.Sprintf("%q is no %s", text, kind))
}

func boolOfText(s string) (bool, fault) {
	switch strings.ToLower(s) {
	case "true":
		return true, fine
	case "false":
		return false, fine
	default:
		return false, bad("BOOL", s)
	}
}

func intOfFloat(a float64) (int64, fault) {
	r := math.Round(a)
	if !(r >= -(1<<63) && r < 1<<63) {
		return 0, bad("INT64", floatText(a))
	}
	return int64(r), fine
}

func intOfNum(scale int) func(decimal128.Num) (int64, fault) {
	unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)
	return func(a decimal128.Num) (int64, fault) {
		n, _ := fromBig(a.BigInt(), unit)
		if b := n.BigInt(); b.IsInt64() {
			return b.Int64(), fine
		}
		return 0, bad("INT64", a.ToString(int32(scale)))
	}
}

// intOfText reads decimal and hexadecimal digits, blanks around them.
func intOfText(s string) (int64, fault) {
	digits, base := strings.Trim(s, " \t\n\v\f\r"), 10
	sign := ""
	if digits != "" && (digits[0] == '+' || digits[0] == '-') {
		sign, digits = digits[:1], digits[1:]
	}
	if len(digits) > 2 && digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X') {
		digits, base = digits[2:], 16
	}
	if digits == "" || digits[0] == '+' || digits[0] == '-' {
		return 0, bad("INT64", s)
	}
	n, err := strconv.ParseInt(sign+digits, base, 64)
	if err != nil {
		return 0, bad("INT64", s)
	}
	return n, fine
}

var decimalNumber = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?$`)

func floatOfText(s string) (float64, fault) {
	text := strings.Trim(s, " \t\n\v\f\r")
	switch strings.TrimLeft(strings.ToLower(text), "+-") {
	case "inf", "infinity", "nan":
	default:
		if !decimalNumber.MatchString(text) {
			return 0, bad("FLOAT64", s)
		}
	}
	f, err := strconv.ParseFloat(strings.TrimPrefix(text, "+"), 64)
	if err != nil {
		if strings.EqualFold(strings.TrimLeft(text, "+-"), "nan") {
			return math.NaN(), fine
		}
		return 0, bad("FLOAT64", s)
	}
	return f, fine
}

// floatText has 15 digits, or 17 where these do not give the number back.
func floatText(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	text := strconv.FormatFloat(f, 'g', 15, 64)
	if back, err := strconv.ParseFloat(text, 64); err != nil || back != f {
		text = strconv.FormatFloat(f, 'g', 17, 64)
	}
	return text
}

var powersOfTen = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// floatOfNum is the nearest float.
func floatOfNum(scale int) func(decimal128.Num) float64 {
	return func(a decimal128.Num) float64 {
		if lo := int64(a.LowBits()); scale < len(powersOfTen) && a.HighBits() == lo>>63 && lo > -1<<53 && lo < 1<<53 {
			return float64(lo) / powersOfTen[scale] // both are exact, so that the quotient is rounded once
		}
		f, err := strconv.ParseFloat(a.ToString(int32(scale)), 64)
		if err != nil {
			return math.NaN() // cannot be: the text is a number of at most 38 digits
		}
		return f
	}
}

func numOfInt(a int64) decimal128.Num { return decimal128.FromI64(a).Mul(oneNum) }

func numOfFloat(a float64) (decimal128.Num, fault) {
	if math.IsNaN(a) || math.IsInf(a, 0) || math.Abs(a) >= 1e29 {
		return zeroNum, bad("NUMERIC", floatText(a))
	}
	n, ok := numOfRat(new(big.Rat).SetFloat64(a))
	if !ok {
		return zeroNum, bad("NUMERIC", floatText(a))
	}
	return n, fine
}

func numOfRat(r *big.Rat) (decimal128.Num, bool) {
	return fromBig(new(big.Int).Mul(r.Num(), billion), r.Denom())
}

// ratOfText reads a decimal number of any size that is plausible for a NUMERIC.
func ratOfText(s string) (*big.Rat, bool) {
	text := strings.Trim(s, " \t\n\v\f\r")
	if len(text) > 200 || !decimalNumber.MatchString(text) {
		return nil, false
	}
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		if e, err := strconv.Atoi(text[i+1:]); err != nil || e < -300 || e > 300 {
			return nil, false
		}
	}
	return new(big.Rat).SetString(text)
}

func numOfText(s string) (decimal128.Num, fault) {
	r, ok := ratOfText(s)
	if !ok {
		return zeroNum, bad("NUMERIC", s)
	}
	n, ok := numOfRat(r)
	if !ok {
		return zeroNum, bad("NUMERIC", s)
	}
	return n, fine
}

// exactNumeric reads a literal's text, which has to have at most 9 digits
// behind the point and 29 before it.
func exactNumeric(s string) (decimal128.Num, bool) {
	r, ok := ratOfText(s)
	if !ok || !new(big.Rat).Mul(r, new(big.Rat).SetInt(billion)).IsInt() {
		return zeroNum, false
	}
	return numOfRat(r)
}

// trimNumeric takes zeros off the end of a fraction.
func trimNumeric(text string) string {
	if !strings.Contains(text, ".") {
		return text
	}
	text = strings.TrimRight(text, "0")
	return strings.TrimSuffix(text, ".")
}

func timeOfText(kind string, parse func(string) (int64, bool)) func(string) (int64, fault) {
	return func(s string) (int64, fault) {
		at, ok := parse(strings.Trim(s, " \t\n\v\f\r"))
		if !ok {
			return 0, bad(kind, s)
		}
		return at, fine
	}
}

func uuidText(id string) string {
	if len(id) != 16 {
		return ""
	}
	const digits = "0123456789abcdef"
	out := make([]byte, 0, 36)
	for i := range 16 {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			out = append(out, '-')
		}
		out = append(out, digits[id[i]>>4], digits[id[i]&15])
	}
	return string(out)
}
