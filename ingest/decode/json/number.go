package json

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
	"unsafe"
)

// number is a JSON number: (-1)^negative × digits × 10^exponent.
type number struct {
	negative bool
	whole    bool   // written without fraction and exponent
	exact    bool   // digits are all there are; otherwise the first ones
	digits   uint64 // up to 19 significant ones
	exponent int
	end      int // place behind the number, or of what is wrong in it
}

// farExponent stands for any exponent beyond it.
const farExponent = 1 << 40

// scanNumber reads the number at i and returns the place behind it.
func scanNumber(s []byte, i int) (n number, end int) {
	n.exact, n.whole = true, true
	if i < len(s) && s[i] == '-' {
		n.negative = true
		i++
	}
	n.end = i
	if i >= len(s) || s[i]-'0' > 9 {
		return n, bad
	}
	if s[i] == '0' {
		i++
	} else {
		for i < len(s) && s[i]-'0' <= 9 {
			n.digit(s[i]-'0', 0)
			i++
		}
	}
	n.end = i
	if i < len(s) && s[i] == '.' {
		n.whole = false
		from := i + 1
		for i = from; i < len(s) && s[i]-'0' <= 9; i++ {
			n.digit(s[i]-'0', 1)
		}
		if n.end = i; i == from {
			return n, bad
		}
	}
	if i < len(s) && s[i]|0x20 == 'e' {
		n.whole = false
		i++
		negative := false
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			negative = s[i] == '-'
			i++
		}
		from, e := i, 0
		for ; i < len(s) && s[i]-'0' <= 9; i++ {
			e = min(e*10+int(s[i]-'0'), farExponent)
		}
		if n.end = i; i == from {
			return n, bad
		}
		if negative {
			e = -e
		}
		n.exponent += e
	}
	n.end = i
	return n, i
}

// digit takes the next digit; places is 1 behind the point.
func (n *number) digit(c byte, places int) {
	if n.digits < 1e18 {
		n.digits = n.digits*10 + uint64(c)
		n.exponent -= places
		return
	}
	// a digit behind the 19th: zeros count for their place only
	if c != 0 {
		n.exact = false
	}
	n.exponent += 1 - places
}

// int64 is the number where it is one; reason says why it is not.
func (n *number) int64() (v int64, reason string) {
	if n.digits == 0 {
		return 0, ""
	}
	u, e := n.digits, n.exponent
	if !n.exact {
		if e < 0 {
			return 0, "has a fraction"
		}
		return 0, "is out of range"
	}
	for e < 0 {
		if u%10 != 0 {
			return 0, "has a fraction"
		}
		u /= 10
		e++
	}
	for ; e > 0; e-- {
		if u > math.MaxUint64/10 {
			return 0, "is out of range"
		}
		u *= 10
	}
	switch {
	case !n.negative && u <= math.MaxInt64:
		return int64(u), ""
	case n.negative && u <= -math.MinInt64:
		return -int64(u), ""
	}
	return 0, "is out of range"
}

// micros is the number of units, µs each, cut to µs; ok is false where it is out of range.
func (n *number) micros(unit int64) (v int64, ok bool) {
	u, e := n.digits, n.exponent
	if u == 0 {
		return 0, true
	}
	for ; unit > 1; unit /= 10 {
		e++
	}
	for ; e < 0 && u > 0; e++ {
		u /= 10
	}
	for ; e > 0; e-- {
		if u > math.MaxInt64/10 {
			return 0, false
		}
		u *= 10
	}
	if u > math.MaxInt64 {
		return 0, false
	}
	if n.negative {
		return -int64(u), true
	}
	return int64(u), true
}

var powers = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
	1e19, 1e20, 1e21, 1e22}

// float64 is the nearest float64; ok is false where that is infinite. text is
// the number's.
func (n *number) float64(text []byte) (v float64, ok bool) {
	if n.exact && n.digits < 1<<53 && n.exponent >= -22 && n.exponent <= 22 {
		// Both factors are exact, so that the one operation rounds right.
		if v = float64(n.digits); n.exponent < 0 {
			v /= powers[-n.exponent]
		} else {
			v *= powers[n.exponent]
		}
		if n.negative {
			v = -v
		}
		return v, true
	}
	v, err := strconv.ParseFloat(asString(text), 64)
	return v, err == nil
}

func (n *number) float32(text []byte) (v float32, ok bool) {
	if n.exact && n.digits < 1<<24 && n.exponent >= -10 && n.exponent <= 10 {
		if v = float32(n.digits); n.exponent < 0 {
			v /= float32(powers[-n.exponent])
		} else {
			v *= float32(powers[n.exponent])
		}
		if n.negative {
			v = -v
		}
		return v, true
	}
	wide, err := strconv.ParseFloat(asString(text), 32)
	return float32(wide), err == nil
}

// asString is text without a copy, for calls that do not keep it.
func asString(text []byte) string { return unsafe.String(unsafe.SliceData(text), len(text)) }

// scanInt reads an integer of up to 18 digits at i, without fraction or
// exponent, and returns the place behind it; bad is any other number or value.
func scanInt(s []byte, i int) (v int64, end int) {
	if i+8 <= len(s) { // for most: one to seven digits, then a comma or a brace
		x := binary.LittleEndian.Uint64(s[i:])
		y := x ^ '0'*eachByte
		n := bits.TrailingZeros64((y|(y+0x76*eachByte))&highBits) &^ 7 // bits that are digits, as in scanDigits; 64: all
		next := byte(x >> n)
		if (next == ',' || next == '}') && n > 0 && (n == 8 || byte(x) != '0') {
			return int64(eightDigits(y << (64 - n))), i + n>>3
		}
	}
	from := i
	if i < len(s) && s[i] == '-' {
		from++
	}
	u, end := scanDigits(s, from)
	n := end - from
	switch {
	case n == 0 || n > 18 || n > 1 && s[from] == '0':
		return 0, bad
	case end < len(s) && (s[end] == '.' || s[end]|0x20 == 'e'):
		return 0, bad
	case from > i:
		return -int64(u), end
	}
	return int64(u), end
}

// scanDigits reads up to 19 digits, eight at once while there are as many bytes.
func scanDigits(s []byte, i int) (u uint64, end int) {
	from := i
	for i+8 <= len(s) && i-from <= 8 {
		x := binary.LittleEndian.Uint64(s[i:]) ^ '0'*eachByte
		// A byte's high bit: it is no digit. Bytes above the first such one may be marked in error.
		if stop := (x | (x + 0x76*eachByte)) & highBits; stop != 0 {
			n := bits.TrailingZeros64(stop) & 0x38 // bits that are digits
			return u*pow10[n>>3] + eightDigits(x<<1<<(63-n)), i + n>>3
		}
		u = u*1e8 + eightDigits(x)
		i += 8
	}
	for i < len(s) && s[i]-'0' <= 9 && i-from <= 18 {
		u = u*10 + uint64(s[i]-'0')
		i++
	}
	return u, i
}

var pow10 = [...]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19}

// eightDigits is the number of eight digits, the first in the lowest byte.
func eightDigits(x uint64) uint64 {
	x = (x * 10) + (x >> 8)
	return ((x&0x000000ff000000ff)*0x000f424000000064 + (x>>16&0x000000ff000000ff)*0x0000271000000001) >> 32
}

// decimal is the number × 10^scale as two words, low first. text is the
// number's.
func (n *number) decimal(text []byte, precision, scale int) (low, high uint64, reason string) {
	shift := n.exponent + scale
	u := n.digits
	switch {
	case u == 0:
		return 0, 0, ""
	case !n.exact || shift < -19 || shift > 19:
		low, high, reason = longDecimal(text, precision, scale)
	case shift < 0:
		p := pow10[-shift]
		if u%p != 0 {
			return 0, 0, "has more digits behind the point than " + strconv.Itoa(scale)
		}
		low = u / p
	default:
		high, low = bits.Mul64(u, pow10[shift])
	}
	if reason == "" {
		if limit := decimalLimits[precision]; high > limit[1] || high == limit[1] && low >= limit[0] {
			reason = "has more than " + strconv.Itoa(precision-scale) + " digits before the point"
		}
	}
	if n.negative {
		var borrow uint64
		low, borrow = bits.Sub64(0, low, 0)
		high, _ = bits.Sub64(0, high, borrow)
	}
	return low, high, reason
}

// longDecimal is for a number, not 0, that 64 bits or a power of 64 bits do not hold.
func longDecimal(text []byte, precision, scale int) (low, high uint64, reason string) {
	var digits [38]byte // what is beyond is told by the count
	count, exponent, zeros := 0, 0, 0
	point := false
	i := 0
	for ; i < len(text) && text[i]|0x20 != 'e'; i++ {
		switch c := text[i]; {
		case c == '-':
			continue
		case c == '.':
			point = true
			continue
		case c == '0' && count == 0:
		case c == '0':
			zeros++ // counts only where another digit follows
		default:
			for ; zeros > 0; zeros-- {
				count++
			}
			if count < len(digits) {
				digits[count] = c - '0'
			}
			count++
		}
		if point {
			exponent--
		}
	}
	exponent += zeros
	if i < len(text) {
		e, err := strconv.Atoi(asString(text[i+1:]))
		if err != nil {
			e = farExponent
			if text[i+1] == '-' {
				e = -farExponent
			}
		}
		exponent += e
	}
	shift := exponent + scale
	switch {
	case shift < 0:
		return 0, 0, "has more digits behind the point than " + strconv.Itoa(scale)
	case count+shift > precision:
		return 0, 0, "has more than " + strconv.Itoa(precision-scale) + " digits before the point"
	}
	for i := range count + shift { // at most 38
		var digit byte
		if i < count {
			digit = digits[i]
		}
		low, high = timesTen(low, high, uint64(digit))
	}
	return low, high, ""
}

func timesTen(low, high, add uint64) (uint64, uint64) {
	carry, low := bits.Mul64(low, 10)
	low, c := bits.Add64(low, add, 0)
	return low, high*10 + carry + c
}

// decimalLimits are 10^precision, low word first.
var decimalLimits = func() (limits [39][2]uint64) {
	limits[0][0] = 1
	for p := 1; p < len(limits); p++ {
		limits[p][0], limits[p][1] = timesTen(limits[p-1][0], limits[p-1][1], 0)
	}
	return limits
}()
