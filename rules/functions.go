package rules

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/cloudspannerecosystem/memefish/ast"

	"lake/schemas"
)

// function is what a name in a call means.
type function struct {
	min, max int // arguments; max < 0: any number
	raw      int // the argument that is no expression: an interval, a part of a date; 0: none
	build    func(c *checker, f *ast.CallExpr, args []node) node
}

// texts is a function whose arguments and result have fixed types.
func fixed(op *operation, params []schemas.Kind, least int, result schemas.Kind, runs ...kernel) function {
	return function{min: least, max: len(params), build: func(c *checker, f *ast.CallExpr, args []node) node {
		for i, a := range args {
			if args[i] = c.wanted(a, params[i], op.name); args[i] == nil {
				return nil
			}
		}
		return c.call(op, simple(result), int(f.Pos()), runs[len(args)-least], args...)
	}}
}

func numbers(op *operation, arguments int, k numericKernels) function {
	return function{min: arguments, max: arguments, build: func(c *checker, f *ast.CallExpr, args []node) node {
		return c.numeric(op, int(f.Pos()), k, args...)
	}}
}

func extreme(op *operation, bools, ints, floats, nums, texts kernel) function {
	return function{min: 1, max: -1, build: func(c *checker, f *ast.CallExpr, args []node) node {
		t, args := c.unify(op.name, int(f.Pos()), args)
		if args == nil || !c.comparable(op.name, int(f.Pos()), t) {
			return nil
		}
		return c.call(op, t, int(f.Pos()), byStorage(t, bools, ints, floats, nums, texts), args...)
	}}
}

func aggregateOf(fn AggFunc) function {
	return function{min: 1, max: 1, build: func(c *checker, f *ast.CallExpr, args []node) node { return c.aggregateCall(fn, f, args[0]) }}
}

func rounding(op *operation, ints kernel, nums func(num) (num, fault), floats func(float64) float64) function {
	return numbers(op, 1, numericKernels{ints, try1(nums), map1(floats)})
}

var (
	str  = schemas.String
	i64  = schemas.Int64
	date = schemas.Date
	ts   = schemas.Timestamp
)

// functions by name; none of them calls back into what looks them up.
var functions = map[string]function{
	"UPPER":       fixed(fn("UPPER"), []schemas.Kind{str}, 1, str, map1(strings.ToUpper)),
	"LOWER":       fixed(fn("LOWER"), []schemas.Kind{str}, 1, str, map1(strings.ToLower)),
	"TRIM":        fixed(opTrim, []schemas.Kind{str, str}, 1, str, map1(trimSpace), map2(strings.Trim)),
	"LTRIM":       fixed(opLTrim, []schemas.Kind{str, str}, 1, str, map1(ltrimSpace), map2(strings.TrimLeft)),
	"RTRIM":       fixed(opRTrim, []schemas.Kind{str, str}, 1, str, map1(rtrimSpace), map2(strings.TrimRight)),
	"SUBSTR":      fixed(opSubstr, []schemas.Kind{str, i64, i64}, 2, str, try2(substrFrom), try3(substr)),
	"SUBSTRING":   fixed(opSubstr, []schemas.Kind{str, i64, i64}, 2, str, try2(substrFrom), try3(substr)),
	"STARTS_WITH": fixed(fn("STARTS_WITH"), []schemas.Kind{str, str}, 2, schemas.Bool, map2(strings.HasPrefix)),
	"ENDS_WITH":   fixed(fn("ENDS_WITH"), []schemas.Kind{str, str}, 2, schemas.Bool, map2(strings.HasSuffix)),
	"STRPOS":      fixed(fn("STRPOS"), []schemas.Kind{str, str}, 2, i64, map2(position)),
	"REPLACE":     fixed(fn("REPLACE"), []schemas.Kind{str, str, str}, 3, str, try3(replaceAll)),

	"ABS":         numbers(fn("ABS"), 1, numericKernels{try1(absInt), map1(num.Abs), map1(math.Abs)}),
	"SIGN":        numbers(opSign, 1, numericKernels{map1(signInt), map1(signNum), map1(signFloat)}),
	"MOD":         numbers(opMod, 2, numericKernels{try2(modInts), try2(modNums), nil}),
	"DIV":         numbers(opWholeDiv, 2, numericKernels{try2(divInts), try2(wholeDivNums), nil}),
	"FLOOR":       rounding(opFloor, nil, floorNum, math.Floor),
	"CEIL":        rounding(opCeil, nil, ceilNum, math.Ceil),
	"CEILING":     rounding(opCeil, nil, ceilNum, math.Ceil),
	"SAFE_DIVIDE": numbers(opSafeDivide, 2, numericKernels{nil, try2(safely(divNums)), try2(safely(divFloats))}),
	"GREATEST":    extreme(opGreatest, fold(orBools), fold(greatestOf[int64]), fold(greatestOf[float64]), fold(greatestNum), fold(greatestOf[string])),
	"LEAST":       extreme(opLeast, fold(andBools), fold(leastOf[int64]), fold(leastOf[float64]), fold(leastNum), fold(leastOf[string])),

	"UNIX_SECONDS": fixed(opUnixSeconds, []schemas.Kind{ts}, 1, i64, map1(func(at int64) int64 { return floorDiv(at, second) })),
	"UNIX_MILLIS":  fixed(opUnixMillis, []schemas.Kind{ts}, 1, i64, map1(func(at int64) int64 { return floorDiv(at, 1000) })),
	"UNIX_MICROS":  fixed(opUnixMicros, []schemas.Kind{ts}, 1, i64, map1(func(at int64) int64 { return at })),

	"IFNULL":           {min: 2, max: 2, build: func(c *checker, f *ast.CallExpr, args []node) node { return c.coalesce(int(f.Pos()), args) }},
	"COALESCE":         {min: 1, max: -1, build: func(c *checker, f *ast.CallExpr, args []node) node { return c.coalesce(int(f.Pos()), args) }},
	"NULLIF":           {min: 2, max: 2, build: nullIf},
	"CONCAT":           {min: 1, max: -1, build: func(c *checker, f *ast.CallExpr, args []node) node { return c.concat(int(f.Pos()), args) }},
	"LENGTH":           {min: 1, max: 1, build: lengthCall},
	"CHAR_LENGTH":      {min: 1, max: 1, build: lengthCall},
	"CHARACTER_LENGTH": {min: 1, max: 1, build: lengthCall},
	"ROUND":            {min: 1, max: 2, build: round},
	"REGEXP_CONTAINS":  {min: 2, max: 2, build: regexpCall},
	"DATE":             {min: 1, max: 3, build: dateCall},
	"TIMESTAMP_TRUNC":  {min: 2, max: 3, raw: 1, build: truncCall},
	"TIMESTAMP_BUCKET": {min: 2, max: 3, raw: 1, build: bucketCall},
	"ARRAY_LENGTH":     {min: 1, max: 1, build: arrayLength},

	"COUNT":   aggregateOf(Count),
	"COUNTIF": aggregateOf(CountIf),
	"SUM":     aggregateOf(Sum),
	"MIN":     aggregateOf(Min),
	"MAX":     aggregateOf(Max),
	"AVG":     aggregateOf(Avg),
}

// FunctionNames are the functions that a rule may call, in alphabetical order.
func FunctionNames() []string {
	return slices.Sorted(maps.Keys(functions))
}

func orBools(a, b bool) (bool, fault)  { return a || b, fine }
func andBools(a, b bool) (bool, fault) { return a && b, fine }

func (c *checker) callExpr(f *ast.CallExpr) node {
	at := int(f.Pos())
	var parts []string
	for _, id := range f.Func.Idents {
		parts = append(parts, strings.ToUpper(id.Name))
	}
	name := strings.Join(parts, ".")
	known, ok := functions[name]
	if !ok {
		return c.fail(at, functionHint(name), "the function %s is not supported", name)
	}
	for _, n := range []struct {
		there bool
		what  string
	}{{len(f.NamedArgs) > 0, "named arguments are"}, {f.NullHandling != nil, "IGNORE NULLS and RESPECT NULLS are"}, {f.Having != nil, "HAVING MAX and HAVING MIN are"},
		{f.OrderBy != nil, "ORDER BY in a call is"}, {f.Limit != nil, "LIMIT in a call is"}, {f.Hint != nil, "hints are"}} {
		if n.there {
			return c.fail(at, "leave it out", "%s not supported", n.what)
		}
	}
	if f.Distinct && name != "COUNT" {
		return c.fail(at, "COUNT(DISTINCT x) is", "%s(DISTINCT …) is not supported", name)
	}
	if n := len(f.Args); n < known.min || known.max >= 0 && n > known.max {
		return c.fail(at, "", "%s takes %s, not %d", name, arity(known.min, known.max), n)
	}
	aggregates := slices.Contains([]string{"COUNT", "COUNTIF", "SUM", "MIN", "MAX", "AVG"}, name)
	if aggregates && c.inAgg {
		return c.fail(at, "", "%s stands inside another aggregate", name)
	}
	if aggregates {
		c.inAgg = true
		defer func() { c.inAgg = false }()
	}
	args, fine := make([]node, len(f.Args)), true
	for i, arg := range f.Args {
		if known.raw > 0 && i == known.raw {
			continue
		}
		x, ok := arg.(*ast.ExprArg)
		if !ok {
			return c.fail(int(arg.Pos()), "", "%s is not supported", short(arg.SQL()))
		}
		if args[i] = c.expr(x.Expr); args[i] == nil {
			fine = false
		}
	}
	if !fine {
		return nil
	}
	return known.build(c, f, args)
}

func arity(least, most int) string {
	switch {
	case most < 0:
		return fmt.Sprintf("%d or more arguments", least)
	case least == most && least == 1:
		return "1 argument"
	case least == most:
		return fmt.Sprintf("%d arguments", least)
	default:
		return fmt.Sprintf("%d to %d arguments", least, most)
	}
}

func functionHint(name string) string {
	switch {
	case strings.HasPrefix(name, "SAFE."):
		return "use SAFE_CAST and SAFE_DIVIDE, or CASE"
	case strings.HasPrefix(name, "CURRENT_"):
		return "an answer may not depend on when it is computed: use the event's time"
	case name == "APPROX_COUNT_DISTINCT":
		return "write COUNT(DISTINCT x), which is exact"
	case name == "DATE_TRUNC" || name == "DATETIME_TRUNC":
		return "use TIMESTAMP_TRUNC(ts, part, zone)"
	case name == "TUMBLE" || name == "HOP" || name == "SESSION":
		return "write GROUP BY TIMESTAMP_BUCKET(ts, INTERVAL 1 MINUTE)"
	case slices.Contains([]string{"ANY_VALUE", "ARRAY_AGG", "STRING_AGG", "LOGICAL_AND", "LOGICAL_OR", "STDDEV", "VARIANCE", "VAR_POP", "STDDEV_POP", "CORR", "APPROX_QUANTILES", "APPROX_TOP_COUNT"}, name):
		return "the aggregates are COUNT, COUNTIF, SUM, MIN, MAX, AVG and COUNT(DISTINCT x)"
	case slices.Contains([]string{"ROW_NUMBER", "RANK", "DENSE_RANK", "LAG", "LEAD", "NTILE", "FIRST_VALUE", "LAST_VALUE"}, name):
		return "window functions are not supported; GROUP BY TIMESTAMP_BUCKET(ts, INTERVAL 1 MINUTE) cuts time into windows"
	default:
		if near := nearest(name, FunctionNames()); strings.HasPrefix(near, "did") {
			return near
		}
		return "the functions are " + strings.Join(FunctionNames(), ", ")
	}
}

func (c *checker) aggregateCall(fn AggFunc, f *ast.CallExpr, arg node) node {
	at, name := int(f.Pos()), strings.ToUpper(f.Func.Idents[0].Name)
	c.inAgg = false
	switch fn {
	case Count:
		if f.Distinct {
			if !c.comparable("COUNT(DISTINCT)", at, arg.Type()) {
				return nil
			}
			fn = CountDistinct
		}
	case CountIf:
		arg = c.wanted(arg, schemas.Bool, name)
	case Sum, Avg:
		if !numbersOf([]node{arg}) {
			return c.fail(at, "", "%s takes numbers, not %s", name, sqlName(arg.Type()))
		}
		if t := arg.Type(); t.Kind == schemas.Decimal {
			arg = c.wanted(arg, schemas.Decimal, name)
		}
	default:
		if !c.comparable(name, at, arg.Type()) {
			return nil
		}
		if arg.Type().Kind == schemas.UUID {
			arg = c.wanted(arg, schemas.String, name)
		}
	}
	if arg == nil {
		return nil
	}
	return c.aggregate(fn, at, name, arg)
}

func nullIf(c *checker, f *ast.CallExpr, args []node) node {
	at := int(f.Pos())
	_, args = c.unify("NULLIF", at, args)
	if args == nil {
		return nil
	}
	same := c.compare(opEqual, at, args[0], args[1])
	if same == nil {
		return nil
	}
	return c.caseOf(at, []node{same, nullOf(args[0].Type(), at), args[0]})
}

// concat is CONCAT and ||.
func (c *checker) concat(at int, args []node) node {
	var parts []node
	for _, a := range args {
		n := c.wanted(a, schemas.String, "CONCAT")
		if n == nil {
			return nil
		}
		if inner, ok := n.(*call); ok && inner.op == opConcat {
			parts = append(parts, inner.args...)
			continue
		}
		parts = append(parts, n)
	}
	return c.call(opConcat, simple(schemas.String), at, fold(concat), parts...)
}

func lengthCall(c *checker, f *ast.CallExpr, args []node) node {
	at := int(f.Pos())
	if args[0].Type().Kind == schemas.Bytes {
		return c.call(opLength, simple(i64), at, map1(sizeOf), args...)
	}
	if args[0] = c.wanted(args[0], str, "LENGTH"); args[0] == nil {
		return nil
	}
	return c.call(opLength, simple(i64), at, map1(lengthOf), args...)
}

func round(c *checker, f *ast.CallExpr, args []node) node {
	at := int(f.Pos())
	if len(args) == 1 {
		return c.numeric(opRound, at, numericKernels{
			nums:   try1(func(a num) (num, fault) { return roundNum(a, 0) }),
			floats: try1(func(a float64) (float64, fault) { return roundFloat(a, 0) }),
		}, args...)
	}
	digits := c.wanted(args[1], i64, "ROUND")
	if digits == nil || !numbersOf(args[:1]) {
		if digits != nil {
			c.fail(at, "", "ROUND takes numbers, not %s", sqlName(args[0].Type()))
		}
		return nil
	}
	t := numericOf(args[:1])
	if t.Kind == schemas.Int64 {
		t = simple(schemas.Float64)
	}
	x := c.coerce(args[0], t)
	if x == nil {
		c.mismatch("ROUND", at, args[:1], args[0], t)
		return nil
	}
	return c.call(opRound, t, at, byStorage(t, nil, nil, try2(roundFloat), try2(roundNum), nil), x, digits)
}

func regexpCall(c *checker, f *ast.CallExpr, args []node) node {
	for i := range args {
		if args[i] = c.wanted(args[i], str, "REGEXP_CONTAINS"); args[i] == nil {
			return nil
		}
	}
	run := kernel(regexpContains)
	if lit, ok := args[1].(*literal); ok && !lit.isNull() {
		re, err := compileRegexp(lit.v.texts[0])
		if err != nil {
			return c.fail(lit.at(), "patterns are RE2's; in r'…' a backslash stands for itself", "%v", err)
		}
		run = func(n int, args []vector) vector { return map1(re.MatchString)(n, args[:1]) }
	}
	return c.call(opRegexp, simple(schemas.Bool), int(f.Pos()), run, args...)
}

func arrayLength(c *checker, f *ast.CallExpr, args []node) node {
	col, ok := args[0].(*column)
	if !ok || col.typ.Kind != schemas.List {
		return c.fail(int(f.Pos()), "", "ARRAY_LENGTH takes an array, and %s is %s", short(args[0].String()), sqlName(args[0].Type()))
	}
	return &call{op: fn("ARRAY_LENGTH"), args: args, typ: simple(i64), place: int(f.Pos()), direct: func(e *evaluation) (vector, bool, error) {
		v, err := col.elements(e)
		return v, true, err
	}}
}

var castTypes = map[string]schemas.Type{
	"BOOL": simple(schemas.Bool), "BOOLEAN": simple(schemas.Bool), "INT64": simple(i64), "INT": simple(i64), "INTEGER": simple(i64),
	"BIGINT": simple(i64), "SMALLINT": simple(i64), "TINYINT": simple(i64), "BYTEINT": simple(i64), "FLOAT64": simple(schemas.Float64),
	"NUMERIC": numericType, "DECIMAL": numericType, "STRING": simple(str), "DATE": simple(date), "TIMESTAMP": simple(ts),
	"DATETIME": simple(schemas.Datetime), "TIME": simple(schemas.Time),
}

func (c *checker) cast(e *ast.CastExpr) node {
	at := int(e.Pos())
	name := strings.ToUpper(e.Type.SQL())
	t, ok := castTypes[name]
	if !ok {
		return c.fail(int(e.Type.Pos()), "the types are BOOL, INT64, FLOAT64, NUMERIC, STRING, DATE, TIME, DATETIME and TIMESTAMP", "CAST does not know the type %s", short(name))
	}
	n := c.expr(e.Expr)
	if n == nil {
		return nil
	}
	from := n.Type()
	lit, isLiteral := n.(*literal)
	switch {
	case isLiteral && lit.untyped:
		return nullOf(t, at)
	case from.Equal(t):
		return n
	case from.Kind == ts && t.Kind == date:
		return c.dateOf(at, n, constant(simple(str), at, "UTC"))
	case from.Kind == schemas.Decimal && t.Kind == schemas.Decimal && !fitsNumeric(from):
		return c.fail(at, fmt.Sprintf("CAST(%s AS FLOAT64)", short(n.String())), "%s is %s, more than NUMERIC holds", short(n.String()), from)
	}
	run := castKernel(from, t)
	if run == nil {
		return c.fail(at, "", "CAST of %s as %s is not possible", sqlName(from), sqlName(t))
	}
	op := opCast
	if e.Safe {
		op = opSafeCast
		strict := run
		run = func(n int, args []vector) vector {
			v := strict(n, args)
			v.fails = nil // they are null
			return v
		}
	}
	return c.call(op, t, at, run, n)
}
