package rules

import (
	"cmp"
	"fmt"
	"math"
	"math/big"
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

// NUMERIC has 38 digits, 9 of them behind the point.
const (
	numericPrecision = 38
	numericScale     = 9
)

var (
	zeroNum = decimal128.FromI64(0)
	oneNum  = decimal128.FromI64(1_000_000_000)
	billion = big.NewInt(1_000_000_000)
	bigTwo  = big.NewInt(2)
)

const divisionByZero = fault("division by zero")

func overflow(op string, a, b any) fault {
	return fault(fmt.Sprintf("%v %s %v: the result overflows", a, op, b))
}

func addInts(a, b int64) (int64, fault) {
	c := a + b
	if (c > a) != (b > 0) && b != 0 {
		return 0, overflow("+", a, b)
	}
	return c, fine
}

func subInts(a, b int64) (int64, fault) {
	c := a - b
	if (c < a) != (b > 0) && b != 0 {
		return 0, overflow("-", a, b)
	}
	return c, fine
}

func mulInts(a, b int64) (int64, fault) {
	hi, lo := bits.Mul64(uint64(abs64(a)), uint64(abs64(b)))
	negative := (a < 0) != (b < 0)
	limit := uint64(math.MaxInt64)
	if negative {
		limit++
	}
	if hi != 0 || lo > limit {
		return 0, overflow("*", a, b)
	}
	return a * b, fine
}

// abs64 is right as an unsigned number for the smallest one too.
func abs64(a int64) int64 {
	if a < 0 {
		return -a
	}
	return a
}

func divInts(a, b int64) (int64, fault) {
	switch {
	case b == 0:
		return 0, divisionByZero
	case a == math.MinInt64 && b == -1:
		return 0, overflow("DIV", a, b)
	default:
		return a / b, fine
	}
}

func modInts(a, b int64) (int64, fault) {
	if b == 0 {
		return 0, divisionByZero
	}
	if b == -1 {
		return 0, fine
	}
	return a % b, fine
}

func negInt(a int64) (int64, fault) {
	if a == math.MinInt64 {
		return 0, overflow("-", "", a)
	}
	return -a, fine
}

func negNum(a decimal128.Num) decimal128.Num { return a.Negate() }
func negFloat(a float64) float64             { return -a }

func absInt(a int64) (int64, fault) {
	if a == math.MinInt64 {
		return 0, overflow("ABS", "", a)
	}
	return abs64(a), fine
}

func signInt(a int64) int64 { return int64(cmp.Compare(a, 0)) }

func signFloat(a float64) float64 {
	switch {
	case a > 0:
		return 1
	case a < 0:
		return -1
	default:
		return a // NaN, 0
	}
}

// finite fails where finite operands give an infinite result, as GoogleSQL does.
func finite(op string, c, a, b float64) (float64, fault) {
	if math.IsInf(c, 0) && !math.IsInf(a, 0) && !math.IsInf(b, 0) {
		return 0, overflow(op, a, b)
	}
	return c, fine
}

func addFloats(a, b float64) (float64, fault) { return finite("+", a+b, a, b) }
func subFloats(a, b float64) (float64, fault) { return finite("-", a-b, a, b) }
func mulFloats(a, b float64) (float64, fault) { return finite("*", a*b, a, b) }

func divFloats(a, b float64) (float64, fault) {
	if b == 0 {
		return 0, divisionByZero
	}
	return finite("/", a/b, a, b)
}

// safely turns what would fail into NULL.
func safely[A, B, R any](f func(A, B) (R, fault)) func(A, B) (R, fault) {
	return func(a A, b B) (R, fault) {
		r, why := f(a, b)
		if why != fine {
			why = missing
		}
		return r, why
	}
}

// roundFloat rounds half away from zero at a number of digits behind the point.
func roundFloat(a float64, digits int64) (float64, fault) {
	if math.IsNaN(a) || math.IsInf(a, 0) || digits > 400 {
		return a, fine
	}
	switch {
	case digits == 0:
		return math.Round(a), fine
	case digits < -308:
		return 0, fine
	case digits < 0:
		p := math.Pow(10, float64(-digits))
		return finite("ROUND", math.Round(a/p)*p, a, 0)
	case digits > 300:
		return a, fine
	default:
		p := math.Pow(10, float64(digits))
		if scaled := a * p; math.Abs(scaled) < 1<<52 {
			return math.Round(scaled) / p, fine
		}
		return a, fine // no digits are left to round
	}
}

// Go's max and min give NaN where there is one, as GoogleSQL does.
func greatestOf[T cmp.Ordered](a, b T) (T, fault) { return max(a, b), fine }
func leastOf[T cmp.Ordered](a, b T) (T, fault)    { return min(a, b), fine }

// NUMERIC.

func numText(a decimal128.Num) string { return trimNumeric(a.ToString(numericScale)) }

func inRange(op string, c decimal128.Num, a, b decimal128.Num) (decimal128.Num, fault) {
	if !c.FitsInPrecision(numericPrecision) {
		return c, overflow(op, numText(a), numText(b))
	}
	return c, fine
}

func addNums(a, b decimal128.Num) (decimal128.Num, fault) { return inRange("+", a.Add(b), a, b) }
func subNums(a, b decimal128.Num) (decimal128.Num, fault) { return inRange("-", a.Sub(b), a, b) }

// fromBig rounds x/by half away from zero.
func fromBig(x, by *big.Int) (decimal128.Num, bool) {
	q, r := new(big.Int).QuoRem(x, by, new(big.Int))
	if r.Abs(r).Mul(r, bigTwo).CmpAbs(by) >= 0 {
		if (x.Sign() < 0) != (by.Sign() < 0) {
			q.Sub(q, big.NewInt(1))
		} else {
			q.Add(q, big.NewInt(1))
		}
	}
	if q.BitLen() > 127 {
		return zeroNum, false
	}
	n := decimal128.FromBigInt(q)
	return n, n.FitsInPrecision(numericPrecision)
}

func mulNums(a, b decimal128.Num) (decimal128.Num, fault) {
	c, ok := fromBig(new(big.Int).Mul(a.BigInt(), b.BigInt()), billion)
	if !ok {
		return zeroNum, overflow("*", numText(a), numText(b))
	}
	return c, fine
}

func divNums(a, b decimal128.Num) (decimal128.Num, fault) {
	if b.Sign() == 0 {
		return zeroNum, divisionByZero
	}
	c, ok := fromBig(new(big.Int).Mul(a.BigInt(), billion), b.BigInt())
	if !ok {
		return zeroNum, overflow("/", numText(a), numText(b))
	}
	return c, fine
}

// wholeDivNums is DIV: the quotient without its fraction.
func wholeDivNums(a, b decimal128.Num) (decimal128.Num, fault) {
	if b.Sign() == 0 {
		return zeroNum, divisionByZero
	}
	q := new(big.Int).Quo(a.BigInt(), b.BigInt())
	c, ok := fromBig(q.Mul(q, billion), big.NewInt(1))
	if !ok {
		return zeroNum, overflow("DIV", numText(a), numText(b))
	}
	return c, fine
}

func modNums(a, b decimal128.Num) (decimal128.Num, fault) {
	if b.Sign() == 0 {
		return zeroNum, divisionByZero
	}
	return decimal128.FromBigInt(new(big.Int).Rem(a.BigInt(), b.BigInt())), fine
}

func signNum(a decimal128.Num) decimal128.Num {
	switch a.Cmp(zeroNum) {
	case 1:
		return oneNum
	case -1:
		return oneNum.Negate()
	default:
		return zeroNum
	}
}

// roundNum rounds half away from zero.
func roundNum(a decimal128.Num, digits int64) (decimal128.Num, fault) {
	switch {
	case digits >= numericScale:
		return a, fine
	case digits < numericScale-numericPrecision:
		return zeroNum, fine
	}
	unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(numericScale-digits), nil)
	c, ok := fromBig(a.BigInt(), unit)
	if ok {
		c, ok = fromBig(new(big.Int).Mul(c.BigInt(), unit), big.NewInt(1))
	}
	if !ok {
		return zeroNum, overflow("ROUND", numText(a), digits)
	}
	return c, fine
}

func floorNum(a decimal128.Num) (decimal128.Num, fault) {
	q := new(big.Int).Div(a.BigInt(), billion) // Euclid's, which rounds down here
	c, ok := fromBig(q.Mul(q, billion), big.NewInt(1))
	if !ok {
		return zeroNum, overflow("FLOOR", "", numText(a))
	}
	return c, fine
}

func ceilNum(a decimal128.Num) (decimal128.Num, fault) {
	c, why := floorNum(a.Negate())
	return c.Negate(), why
}

func greatestNum(a, b decimal128.Num) (decimal128.Num, fault) { return decimal128.Max(a, b), fine }
func leastNum(a, b decimal128.Num) (decimal128.Num, fault)    { return decimal128.Min(a, b), fine }
