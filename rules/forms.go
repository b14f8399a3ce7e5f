package rules

// forms are what engines other than BigQuery write each in their own way: a text
// with verbs for the operands, "" where the engine has none.
type forms struct {
	engine string // in messages
	isNaN  string // BOOL of a DOUBLE
	raise  string // fails the query with a text; the second operand is a value of the row, so that it is not computed beforehand, the third the type that it would have
	bigint string // an INT64 literal
	double string // a FLOAT64 literal, which has an exponent or a point
	exact  string // a NUMERIC literal
	nan    string // the texts that are read as NaN and infinity
	inf    string
	blob   string // a BYTES literal of hexadecimal digits

	// What the engine does without being asked.
	checks      bool // + - * and casts fail where the result does not fit, division where it is by zero
	filters     bool // an aggregate takes FILTER (WHERE …)
	ordersNaN   bool // NaN is equal to itself and above all others; else comparisons are as IEEE 754 has them
	skipsNull   bool // GREATEST and LEAST leave NULL out
	roundsFloor bool // FLOOR and CEIL of a DOUBLE give a BIGINT
	minNaN      bool // MIN and MAX have to be guarded from NaN, both

	guard  string   // a condition that fails where the session's settings would make an answer wrong
	always bool     // it is needed in each query, not only where a number may not fit
	set    []string // what makes the guard hold

	// Times, by way of integers: µs since 1970 in UTC, or as a zone's wall clock
	// reads, and days since 1970.
	micros      string            // of a TIMESTAMP
	localMicros string            // of a TIMESTAMP and a zone
	ofMicros    string            // a TIMESTAMP
	ofLocal     string            // a TIMESTAMP of the wall clock's µs and a zone
	days        string            // of a DATE
	ofDays      string            // a DATE
	ofDatetime  string            // µs of a DATETIME
	datetime    string            // a DATETIME of µs
	modulo      string            // never negative
	quotient    string            // of integers, exact ones
	unit        int64             // µs that the engine's timestamps can be made of
	timestamp   string            // a TIMESTAMP literal
	wall        string            // a DATETIME literal
	parts       map[string]string // of a DATE
	starts      map[string]string // the DATE at which a DATE's part begins, in days

	functions map[string]string // by GoogleSQL's name
	refuses   map[string]string // functions that the engine has, and answers wrongly: why
}

// sparkForms are Spark SQL's with spark.sql.ansi.enabled, which Print makes sure of.
func sparkForms() *forms {
	return &forms{
		engine: "Spark", isNaN: "isnan(%s)", raise: "raise_error(%[1]s)", bigint: "%dL", double: "%sD", exact: "%sBD", nan: "NaN", inf: "Infinity", blob: "X'%s'",
		guard:  "CASE WHEN typeof(1 + '1') = 'bigint' THEN TRUE ELSE raise_error('this query needs SET spark.sql.ansi.enabled = true') END",
		set:    []string{"SET spark.sql.ansi.enabled = true"},
		checks: true, filters: true, ordersNaN: true, skipsNull: true, roundsFloor: true,
		micros: "unix_micros(%s)", localMicros: "unix_micros(from_utc_timestamp(%s, %s))",
		ofMicros: "timestamp_micros(%s)", ofLocal: "to_utc_timestamp(timestamp_micros(%s), %s)",
		days: "CAST(unix_date(%s) AS BIGINT)", ofDays: "date_from_unix_date(CAST(%s AS INT))",
		ofDatetime: "(CAST(unix_date(CAST(%[1]s AS DATE)) AS BIGINT) * 86400000000L + hour(%[1]s) * 3600000000L + minute(%[1]s) * 60000000L + CAST(extract(SECOND FROM %[1]s) * 1000000 AS BIGINT))",
		datetime:   "(TIMESTAMP_NTZ '1970-01-01 00:00:00' + make_dt_interval(0, 0, 0, CAST(CAST(%s AS DECIMAL(18, 0)) * 0.000001BD AS DECIMAL(18, 6))))",
		modulo:     "pmod(%s, %s)", quotient: "(%s div %s)", unit: 1,
		timestamp: "TIMESTAMP_LTZ '%s+00:00'", wall: "TIMESTAMP_NTZ '%s'",
		parts: map[string]string{
			"YEAR": "year(%s)", "QUARTER": "quarter(%s)", "MONTH": "month(%s)", "DAY": "day(%s)", "DAYOFWEEK": "dayofweek(%s)", "DAYOFYEAR": "dayofyear(%s)",
			"ISOWEEK": "weekofyear(%s)", "ISOYEAR": "extract(YEAROFWEEK FROM %s)", "WEEK": "((dayofyear(%[1]s) + 7 - dayofweek(%[1]s)) div 7)",
		},
		starts: map[string]string{
			"DAY": "unix_date(%s)", "WEEK": "(unix_date(%[1]s) - dayofweek(%[1]s) + 1)", "ISOWEEK": "(unix_date(%[1]s) - weekday(%[1]s))",
			"MONTH": "unix_date(trunc(%s, 'MONTH'))", "QUARTER": "unix_date(trunc(%s, 'QUARTER'))", "YEAR": "unix_date(trunc(%s, 'YEAR'))",
		},
		functions: map[string]string{
			"UPPER": "upper(%s)", "LOWER": "lower(%s)", "STARTS_WITH": "startswith(%s, %s)", "ENDS_WITH": "endswith(%s, %s)",
			"STRPOS": "CAST(instr(%s, %s) AS BIGINT)", "REPLACE": "replace(%s, %s, %s)", "LENGTH": "CAST(length(%s) AS BIGINT)", "BYTE_LENGTH": "CAST(octet_length(%s) AS BIGINT)",
			"SUBSTR": "substring(%s, CAST(%s AS INT))", "SUBSTR3": "substring(%s, CAST(%s AS INT), CAST(%s AS INT))", "CONCAT": "concat(%s)",
			"ABS": "abs(%s)", "ROUND": "round(%s)", "FLOOR": "floor(%s)", "CEIL": "ceil(%s)", "SIGN": "sign(%s)", "DIV": "(%s div %s)", "MOD": "(%s %% %s)",
			"ROUND2": "round(%s, %d)", "REPLACE_PATTERN": "regexp_replace(%s, %s, '')", "MATCHES": "(%s RLIKE %s)",
			"ARRAY_LENGTH": "CAST(array_size(%s) AS BIGINT)", "ELEMENT": "get(%s, %d)", "ENTRY": "try_element_at(%s, %s)",
			"PAD": "lpad(%s, %d, '0')", "MAKE_DATE": "make_date(CAST(%s AS INT), CAST(%s AS INT), CAST(%s AS INT))",
			"BOOL_OR": "bool_or(%s)", "TRY_CAST": "try_cast(%s AS %s)", "HEX": "CAST(conv(substring(%s, 3), 16, 10) AS BIGINT)",
			"NUMERIC_TEXT": "format_number(%s, '0.#########')",
		},
	}
}

// duckForms are what duckCall and the forms of all engines share.
func duckForms() *forms {
	return &forms{
		engine: "DuckDB", isNaN: "isnan(%s)", raise: "error(%[1]s)", filters: true, ordersNaN: true, skipsNull: true,
		functions: map[string]string{"BOOL_OR": "BOOL_OR(%s)", "MATCHES": "regexp_matches(%s, %s)", "REPLACE_PATTERN": "regexp_replace(%s, %s, '', 'g')", "TRY_CAST": "TRY_CAST(%s AS %s)", "HEX": "TRY_CAST(%s AS BIGINT)"},
	}
}
