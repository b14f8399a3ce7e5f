package rules

// How tightly operators bind: a part that binds less tightly stands in brackets.
const (
	levelOr = iota + 1
	levelAnd
	levelNot
	levelCompare
	levelArithmetic
	levelPrimary
)

// fn is a function that is written the same everywhere: NAME(a, b).
func fn(name string) *operation { return &operation{name: name} }

// The operations that are told apart: operators, and functions that other
// dialects write differently.
var (
	opOr           = &operation{name: "OR", level: levelOr, lazy: true}
	opAnd          = &operation{name: "AND", level: levelAnd, lazy: true}
	opNot          = &operation{name: "NOT", level: levelNot}
	opEqual        = &operation{name: "=", level: levelCompare}
	opNotEqual     = &operation{name: "!=", level: levelCompare}
	opLess         = &operation{name: "<", level: levelCompare}
	opLessEqual    = &operation{name: "<=", level: levelCompare}
	opGreater      = &operation{name: ">", level: levelCompare}
	opGreaterEqual = &operation{name: ">=", level: levelCompare}
	opLike         = &operation{name: "LIKE", level: levelCompare}
	opIn           = &operation{name: "IN", level: levelCompare}
	opIsNull       = &operation{name: "IS NULL", level: levelCompare}
	opIsTrue       = &operation{name: "IS TRUE", level: levelCompare}
	opIsFalse      = &operation{name: "IS FALSE", level: levelCompare}
	opAdd          = &operation{name: "+", level: levelArithmetic}
	opSub          = &operation{name: "-", level: levelArithmetic}
	opMul          = &operation{name: "*", level: levelArithmetic}
	opDiv          = &operation{name: "/", level: levelArithmetic}
	opNegative     = &operation{name: "-", level: levelArithmetic}
	opConcat       = &operation{name: "CONCAT"}
	opCase         = &operation{name: "CASE", lazy: true}
	opCoalesce     = &operation{name: "COALESCE", lazy: true}
	opCast         = &operation{name: "CAST"}
	opSafeCast     = &operation{name: "SAFE_CAST"}
	opCoerce       = &operation{name: ""} // done by itself, not written
	opSign         = &operation{name: "SIGN"}
	opMod          = &operation{name: "MOD"}
	opWholeDiv     = &operation{name: "DIV"}
	opSafeDivide   = &operation{name: "SAFE_DIVIDE"}
	opRound        = &operation{name: "ROUND"}
	opFloor        = &operation{name: "FLOOR"}
	opCeil         = &operation{name: "CEIL"}
	opGreatest     = &operation{name: "GREATEST"}
	opLeast        = &operation{name: "LEAST"}
	opLength       = &operation{name: "LENGTH"}
	opSubstr       = &operation{name: "SUBSTR"}
	opTrim         = &operation{name: "TRIM"}
	opLTrim        = &operation{name: "LTRIM"}
	opRTrim        = &operation{name: "RTRIM"}
	opRegexp       = &operation{name: "REGEXP_CONTAINS"}
	opDate         = &operation{name: "DATE"} // of a timestamp, in a zone
	opMakeDate     = &operation{name: "DATE"} // of a year, month and day
	opExtract      = &operation{name: "EXTRACT"}
	opTrunc        = &operation{name: "TIMESTAMP_TRUNC"}
	opBucket       = &operation{name: "TIMESTAMP_BUCKET"}
	opUnixSeconds  = &operation{name: "UNIX_SECONDS"}
	opUnixMillis   = &operation{name: "UNIX_MILLIS"}
	opUnixMicros   = &operation{name: "UNIX_MICROS"}
)
