package generate

import (
	"math"
	"math/bits"
)

// Every value is a function of (seed, row, place in the spec), so that any row
// can be made directly and several workers make the same bytes as one. The same
// bytes on every machine: floats go through ln and exp below, and each product
// that is added to something is rounded first, which keeps the compiler from fusing the two.

const golden = 0x9e3779b97f4a7c15

// mix is splitmix64's finalizer.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// draw is the nth number of a key.
func draw(key, n uint64) uint64 { return mix(key + (n+1)*golden) }

// below maps a draw to [0, n); n 0 stands for 2^64.
func below(u, n uint64) uint64 {
	if n == 0 {
		return u
	}
	high, _ := bits.Mul64(u, n)
	return high
}

// between maps a draw to [low, high].
func between(u uint64, low, high int64) int64 {
	return int64(uint64(low) + below(u, uint64(high)-uint64(low)+1))
}

// share is the bound below which a draw falls with probability p.
func share(p float64) uint64 {
	if p >= 1 {
		return math.MaxUint64
	}
	return uint64(math.Ldexp(p, 64))
}

// sampler picks an index by weight.
type sampler struct {
	bounds []uint64 // draws below bounds[i] and not below bounds[i-1] pick i
	guide  []uint32 // where to look, by a draw's first bits
	shift  uint
}

// newSampler takes weights that are not negative and of which one is positive.
func newSampler(n int, weight func(i int) float64) *sampler {
	total := 0.0
	for i := range n {
		total += weight(i)
	}
	s := &sampler{bounds: make([]uint64, n), shift: 63}
	sum := 0.0
	for i := range n {
		sum += weight(i)
		s.bounds[i] = share(sum / total)
	}
	for i := n - 1; ; i-- { // the last that can be picked takes what rounding left
		s.bounds[i] = math.MaxUint64
		if weight(i) > 0 {
			break
		}
	}
	for 1<<(64-s.shift) < n {
		s.shift--
	}
	s.guide = make([]uint32, 1<<(64-s.shift))
	at := 0
	for slot := range s.guide {
		for s.bounds[at] <= uint64(slot)<<s.shift && s.bounds[at] < math.MaxUint64 {
			at++
		}
		s.guide[slot] = uint32(at)
	}
	return s
}

func (s *sampler) pick(u uint64) int {
	i := int(s.guide[u>>s.shift])
	for u >= s.bounds[i] && s.bounds[i] < math.MaxUint64 {
		i++
	}
	return i
}

// zipfWeight is k^-s.
func zipfWeight(k int64, s float64) float64 { return exp(float64(-s * ln(float64(k)))) }

// ln is the natural logarithm of a positive, finite x.
func ln(x float64) float64 {
	m, e := math.Frexp(x)
	if m < math.Sqrt2/2 {
		m, e = m*2, e-1
	}
	f := (m - 1) / (m + 1) // at most 0.172
	square := f * f
	sum := 0.0
	for k := 25; k >= 1; k -= 2 {
		sum = 1/float64(k) + float64(sum*square)
	}
	return float64(float64(e)*math.Ln2) + float64(2*float64(f*sum))
}

// exp is e^x for |x| below 700.
func exp(x float64) float64 {
	k := math.Floor(x/math.Ln2 + 0.5)
	r := x - float64(k*math.Ln2)
	sum := 1.0
	for i := 18; i >= 1; i-- {
		sum = 1 + float64(float64(sum*r)/float64(i))
	}
	return math.Ldexp(sum, int(k))
}

// normal maps a draw to the standard normal distribution: Acklam's approximation
// of its inverse, whose relative error is below 1.2e-9.
func normal(u uint64) float64 {
	p := (float64(u>>11) + 0.5) / (1 << 53)
	tail := func(p float64) float64 {
		q := math.Sqrt(-2 * ln(p))
		return horner(q, -7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00,
			-2.549732539343734e+00, 4.374664141464968e+00, 2.938163982698783e+00) /
			horner(q, 7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00, 3.754408661907416e+00, 1)
	}
	const low = 0.02425
	switch {
	case p < low:
		return tail(p)
	case p > 1-low:
		return -tail(1 - p)
	}
	q := p - 0.5
	r := q * q
	return q * horner(r, -3.969683028665376e+01, 2.209460984245205e+02, -2.759285104469687e+02,
		1.383577518672690e+02, -3.066479806614716e+01, 2.506628277459239e+00) /
		horner(r, -5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02, 6.680131188771972e+01, -1.328068155288572e+01, 1)
}

func horner(x float64, coefficients ...float64) float64 {
	sum := 0.0
	for _, c := range coefficients {
		sum = float64(sum*x) + c
	}
	return sum
}
