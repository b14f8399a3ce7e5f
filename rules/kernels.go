package rules

import (
	"cmp"

	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

// fault is why a row has no value: missing makes it NULL, any other fails it.
type fault string

const (
	fine    fault = ""
	missing fault = "NULL"
)

// Kernels of strict functions: NULL where an argument is. Those made by map
// have a value for whatever they are given, those made by try may not.

func map1[A, R value](f func(A) R) kernel {
	return func(n int, args []vector) vector {
		a, am := values[A](&args[0]), args[0].mask()
		out := make([]R, n)
		for i := range out {
			out[i] = f(a[i&am])
		}
		return vectorOf(out, nullsOf(n, args))
	}
}

func map2[A, B, R value](f func(A, B) R) kernel {
	return func(n int, args []vector) vector {
		a, am := values[A](&args[0]), args[0].mask()
		b, bm := values[B](&args[1]), args[1].mask()
		out := make([]R, n)
		for i := range out {
			out[i] = f(a[i&am], b[i&bm])
		}
		return vectorOf(out, nullsOf(n, args))
	}
}

// rows calls f for each row where no argument is NULL; it sets out's row or
// says why not.
func rows[R value](n int, args []vector, f func(i int, out *R) fault) vector {
	out := make([]R, n)
	v := vectorOf(out, nullsOf(n, args))
	for i := range out {
		if v.null != nil && v.null[i] {
			continue
		}
		switch why := f(i, &out[i]); why {
		case fine:
		case missing:
			v.setNull(n, i)
		default:
			v.fail(n, i, string(why))
		}
	}
	return v
}

func try1[A, R value](f func(A) (R, fault)) kernel {
	return func(n int, args []vector) vector {
		a, am := values[A](&args[0]), args[0].mask()
		return rows(n, args, func(i int, out *R) (why fault) {
			*out, why = f(a[i&am])
			return why
		})
	}
}

func try2[A, B, R value](f func(A, B) (R, fault)) kernel {
	return func(n int, args []vector) vector {
		a, am := values[A](&args[0]), args[0].mask()
		b, bm := values[B](&args[1]), args[1].mask()
		return rows(n, args, func(i int, out *R) (why fault) {
			*out, why = f(a[i&am], b[i&bm])
			return why
		})
	}
}

func try3[A, B, C, R value](f func(A, B, C) (R, fault)) kernel {
	return func(n int, args []vector) vector {
		a, am := values[A](&args[0]), args[0].mask()
		b, bm := values[B](&args[1]), args[1].mask()
		c, cm := values[C](&args[2]), args[2].mask()
		return rows(n, args, func(i int, out *R) (why fault) {
			*out, why = f(a[i&am], b[i&bm], c[i&cm])
			return why
		})
	}
}

// fold is a strict function of any number of arguments of one type.
func fold[T value](f func(T, T) (T, fault)) kernel {
	return func(n int, args []vector) vector {
		return rows(n, args, func(i int, out *T) (why fault) {
			*out = values[T](&args[0])[i&args[0].mask()]
			for k := 1; k < len(args) && why == fine; k++ {
				*out, why = f(*out, values[T](&args[k])[i&args[k].mask()])
			}
			return why
		})
	}
}

// compareKernels are =, !=, <, <=, > and >= of a type; NaN is equal to nothing.
func compareOrdered[T interface {
	value
	cmp.Ordered
}](op *operation) kernel {
	return func(n int, args []vector) vector {
		a, am := values[T](&args[0]), args[0].mask()
		b, bm := values[T](&args[1]), args[1].mask()
		out := make([]bool, n)
		switch op {
		case opEqual:
			for i := range out {
				out[i] = a[i&am] == b[i&bm]
			}
		case opNotEqual:
			for i := range out {
				out[i] = a[i&am] != b[i&bm]
			}
		case opLess:
			for i := range out {
				out[i] = a[i&am] < b[i&bm]
			}
		case opLessEqual:
			for i := range out {
				out[i] = a[i&am] <= b[i&bm]
			}
		case opGreater:
			for i := range out {
				out[i] = a[i&am] > b[i&bm]
			}
		default:
			for i := range out {
				out[i] = a[i&am] >= b[i&bm]
			}
		}
		return vectorOf(out, nullsOf(n, args))
	}
}

func compareBy[T value](op *operation, order func(a, b T) int) kernel {
	return map2(func(a, b T) bool {
		d := order(a, b)
		switch op {
		case opEqual:
			return d == 0
		case opNotEqual:
			return d != 0
		case opLess:
			return d < 0
		case opLessEqual:
			return d <= 0
		case opGreater:
			return d > 0
		default:
			return d >= 0
		}
	})
}

func orderBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

func orderNums(a, b decimal128.Num) int { return a.Cmp(b) }

func runNot(n int, args []vector) vector {
	out := make([]bool, n)
	for i := range out {
		out[i] = !args[0].bools[i&args[0].mask()]
	}
	return vectorOf(out, nullsOf(n, args))
}

// runAnd and runOr are three-valued. They read from left to right: a row that
// the left side decides does not fail for the right one.
func runAnd(n int, args []vector) vector { return connect(n, args, false) }
func runOr(n int, args []vector) vector  { return connect(n, args, true) }

func connect(n int, args []vector, decides bool) vector {
	a, b := &args[0], &args[1]
	am, bm := a.mask(), b.mask()
	out := make([]bool, n)
	v := vectorOf(out, nil)
	if a.null == nil && b.null == nil {
		if decides {
			for i := range out {
				out[i] = a.bools[i&am] || b.bools[i&bm]
			}
		} else {
			for i := range out {
				out[i] = a.bools[i&am] && b.bools[i&bm]
			}
		}
		return v // what failed is null
	}
	afail, bfail := a.failed(n), b.failed(n)
	for i := range out {
		x, y := a.bools[i&am], b.bools[i&bm]
		xnull, ynull := a.isNull(i), b.isNull(i)
		switch {
		case xnull && afail[i] != "":
			v.fail(n, i, afail[i])
		case !xnull && x == decides:
			out[i] = decides
		case ynull && bfail[i] != "":
			v.fail(n, i, bfail[i])
		case !ynull && y == decides:
			out[i] = decides
		case xnull || ynull:
			v.setNull(n, i)
		default:
			out[i] = !decides
		}
	}
	return v
}

// runIsNull is never NULL.
func runIsNull(n int, args []vector) vector {
	out := make([]bool, n)
	for i := range out {
		out[i] = args[0].isNull(i)
	}
	return vectorOf(out, nil)
}

func isBool(want bool) kernel {
	return func(n int, args []vector) vector {
		out := make([]bool, n)
		for i := range out {
			out[i] = !args[0].isNull(i) && args[0].bools[i&args[0].mask()] == want
		}
		return vectorOf(out, nil)
	}
}

// runCase takes conditions and results in turn, then the result of ELSE. A row
// sees only the conditions up to the first that holds, and that one's result.
func runCase[T value](n int, args []vector) vector {
	pick := make([]int32, n) // of args
	for i := range pick {
		pick[i] = int32(len(args) - 1)
	}
	decided := make([]bool, n)
	v := vectorOf(make([]T, n), nil)
	for k := 0; k+1 < len(args); k += 2 {
		when := &args[k]
		m, failed := when.mask(), when.failed(n)
		for i := range pick {
			switch {
			case decided[i]:
			case failed[i] != "":
				decided[i], pick[i] = true, -1
				v.fail(n, i, failed[i])
			case !when.isNull(i) && when.bools[i&m]:
				decided[i], pick[i] = true, int32(k+1)
			}
		}
	}
	return picked[T](n, args, pick, v)
}

// runCoalesce is the first value that is not NULL.
func runCoalesce[T value](n int, args []vector) vector {
	pick := make([]int32, n)
	decided := make([]bool, n)
	for k := range args {
		failed := args[k].failed(n)
		for i := range pick {
			if !decided[i] {
				pick[i] = int32(k)
				decided[i] = !args[k].isNull(i) || failed[i] != ""
			}
		}
	}
	return picked[T](n, args, pick, vectorOf(make([]T, n), nil))
}

func picked[T value](n int, args []vector, pick []int32, v vector) vector {
	slices, failed := make([][]T, len(args)), make([]map[int]string, len(args))
	for k := range args {
		slices[k], failed[k] = values[T](&args[k]), args[k].failed(n)
	}
	out := values[T](&v)
	for i, k := range pick {
		switch {
		case k < 0:
		case failed[k][i] != "":
			v.fail(n, i, failed[k][i])
		case args[k].isNull(i):
			v.setNull(n, i)
		default:
			out[i] = slices[k][i&args[k].mask()]
		}
	}
	return v
}

// among is IN over a list of literals, of which one may be NULL.
func among[T interface {
	value
	comparable
}](list []vector) kernel {
	set, null := map[T]bool{}, false
	for i := range list {
		if list[i].isNull(0) {
			null = true
		} else {
			set[values[T](&list[i])[0]] = true
		}
	}
	return func(n int, args []vector) vector {
		a, am := values[T](&args[0]), args[0].mask()
		out := make([]bool, n)
		v := vectorOf(out, nullsOf(n, args[:1]))
		for i := range out {
			out[i] = set[a[i&am]]
			if null && !out[i] {
				v.setNull(n, i)
			}
		}
		return v
	}
}
