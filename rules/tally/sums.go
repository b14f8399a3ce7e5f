package tally

import (
	"math/big"
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"lake/schemas"
)

// intSums is SUM and AVG of INT64. The sum is kept in 128 bits, so that only an
// answer can overflow and not what happens to come first.
type intSums struct {
	state chunked[intSum]
	avg   bool
}

type intSum struct {
	hi int64
	lo uint64
	n  int64 // values that are not NULL
}

func (s *intSums) grow(groups int) { s.state.grow(groups) }

func (s *intSums) add(arg *column, rows, groups []int32, out *vector) {
	for i, row := range rows {
		sum := s.state.at(groups[i])
		if !arg.null(row) {
			x := arg.ints[row]
			lo, carry := bits.Add64(sum.lo, uint64(x), 0)
			sum.lo, sum.hi, sum.n = lo, sum.hi+x>>63+int64(carry), sum.n+1
		}
		if out != nil {
			s.value(sum, out)
		}
	}
}

func (s *intSums) value(sum *intSum, out *vector) {
	fits := sum.hi == int64(sum.lo)>>63
	switch {
	case sum.n == 0:
		out.null()
	case s.avg && fits:
		out.float(float64(int64(sum.lo)) / float64(sum.n))
	case s.avg:
		x, _ := new(big.Float).SetInt(decimal128.New(sum.hi, sum.lo).BigInt()).Float64()
		out.float(x / float64(sum.n))
	case fits:
		out.int(int64(sum.lo))
	default:
		out.fail("SUM overflows INT64")
	}
}

func (s *intSums) values(groups []int32, out *vector) {
	for _, g := range groups {
		s.value(s.state.at(g), out)
	}
}

func (s *intSums) encode(dst []byte, groups []int32) []byte {
	for _, g := range groups {
		sum := s.state.at(g)
		dst = appendInt(appendFixed(appendInt(dst, sum.hi), sum.lo), sum.n)
	}
	return dst
}

func (s *intSums) decode(r *reader, groups []int32) {
	for _, g := range groups {
		hi, lo := r.int(), r.fixed()
		*s.state.at(g) = intSum{hi: hi, lo: lo, n: r.int()}
	}
}

func (s *intSums) bytes() int64 { return s.state.bytes() }
func (s *intSums) reset()       { s.state.reset() }

// floatSums is SUM and AVG of FLOAT64, added in the order of the rows.
type floatSums struct {
	state chunked[floatSum]
	avg   bool
}

type floatSum struct {
	sum float64
	n   int64
}

func (s *floatSums) grow(groups int) { s.state.grow(groups) }

func (s *floatSums) add(arg *column, rows, groups []int32, out *vector) {
	for i, row := range rows {
		sum := s.state.at(groups[i])
		if !arg.null(row) {
			sum.sum += arg.floats[row]
			sum.n++
		}
		if out != nil {
			s.value(sum, out)
		}
	}
}

func (s *floatSums) value(sum *floatSum, out *vector) {
	switch {
	case sum.n == 0:
		out.null()
	case s.avg:
		out.float(sum.sum / float64(sum.n))
	default:
		out.float(sum.sum)
	}
}

func (s *floatSums) values(groups []int32, out *vector) {
	for _, g := range groups {
		s.value(s.state.at(g), out)
	}
}

func (s *floatSums) encode(dst []byte, groups []int32) []byte {
	for _, g := range groups {
		sum := s.state.at(g)
		dst = appendInt(appendFloat(dst, sum.sum), sum.n)
	}
	return dst
}

func (s *floatSums) decode(r *reader, groups []int32) {
	for _, g := range groups {
		sum := r.float()
		*s.state.at(g) = floatSum{sum: sum, n: r.int()}
	}
}

func (s *floatSums) bytes() int64 { return s.state.bytes() }
func (s *floatSums) reset()       { s.state.reset() }

// decimalSums is SUM and AVG of NUMERIC. The sum is kept in 192 bits, at the
// argument's scale.
type decimalSums struct {
	state    chunked[decimalSum]
	avg      bool
	from, to schemas.Type
}

type decimalSum struct {
	lo, mid uint64
	hi      int64
	n       int64
}

func (s *decimalSums) grow(groups int) { s.state.grow(groups) }

func (s *decimalSums) add(arg *column, rows, groups []int32, out *vector) {
	for i, row := range rows {
		sum := s.state.at(groups[i])
		if !arg.null(row) {
			x := arg.decimals[row]
			var carry uint64
			sum.lo, carry = bits.Add64(sum.lo, x.LowBits(), 0)
			sum.mid, carry = bits.Add64(sum.mid, uint64(x.HighBits()), carry)
			sum.hi += x.HighBits()>>63 + int64(carry)
			sum.n++
		}
		if out != nil {
			s.value(sum, out)
		}
	}
}

func (s *decimalSums) value(sum *decimalSum, out *vector) {
	if sum.n == 0 {
		out.null()
		return
	}
	precision := int32(s.to.Precision)
	if !s.avg && s.from.Scale == s.to.Scale && sum.hi == int64(sum.mid)>>63 {
		if x := decimal128.New(int64(sum.mid), sum.lo); x.FitsInPrecision(precision) {
			out.decimal(x)
			return
		}
	}
	n := int64(1)
	if s.avg {
		n = sum.n
	}
	x := rescaled(sum.big(), s.to.Scale-s.from.Scale, n)
	if x.CmpAbs(tenTo(s.to.Precision)) >= 0 {
		if s.avg {
			out.fail("AVG overflows NUMERIC")
		} else {
			out.fail("SUM overflows NUMERIC")
		}
		return
	}
	out.decimal(decimal128.FromBigInt(x))
}

func (s *decimalSum) big() *big.Int {
	x := big.NewInt(s.hi)
	x.Lsh(x, 64).Add(x, new(big.Int).SetUint64(s.mid))
	return x.Lsh(x, 64).Add(x, new(big.Int).SetUint64(s.lo))
}

// rescaled is x·10^by / n, rounded half away from zero.
func rescaled(x *big.Int, by int, n int64) *big.Int {
	divisor := big.NewInt(n)
	if by >= 0 {
		x.Mul(x, tenTo(by))
	} else {
		divisor.Mul(divisor, tenTo(-by))
	}
	negative := x.Sign() < 0
	x.Abs(x)
	x.Lsh(x, 1).Add(x, divisor)
	x.Quo(x, divisor.Lsh(divisor, 1))
	if negative {
		x.Neg(x)
	}
	return x
}

func tenTo(n int) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
}

func (s *decimalSums) values(groups []int32, out *vector) {
	for _, g := range groups {
		s.value(s.state.at(g), out)
	}
}

func (s *decimalSums) encode(dst []byte, groups []int32) []byte {
	for _, g := range groups {
		sum := s.state.at(g)
		dst = appendFixed(appendFixed(dst, sum.lo), sum.mid)
		dst = appendInt(appendInt(dst, sum.hi), sum.n)
	}
	return dst
}

func (s *decimalSums) decode(r *reader, groups []int32) {
	for _, g := range groups {
		lo, mid := r.fixed(), r.fixed()
		hi := r.int()
		*s.state.at(g) = decimalSum{lo: lo, mid: mid, hi: hi, n: r.int()}
	}
}

func (s *decimalSums) bytes() int64 { return s.state.bytes() }
func (s *decimalSums) reset()       { s.state.reset() }
