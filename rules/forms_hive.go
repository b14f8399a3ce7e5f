package rules

// hiveForms are Hive 4's. Its functions give NULL, or another number, where
// GoogleSQL fails, so that each is looked at; its TIMESTAMP has no zone and is in UTC.
func hiveForms() *forms {
	const micros = "CAST(CAST(%[1]s AS DECIMAL(20, 6)) * 1000000BD AS BIGINT)"
	const ofMicros = "CAST(CAST(%s AS DECIMAL(20, 0)) * 0.000001BD AS TIMESTAMP)"
	return &forms{
		engine: "Hive", isNaN: "(CAST(%s AS STRING) = 'NaN')", raise: "assert_true(concat(%[1]s, %[2]s) IS NULL AND concat(%[1]s, %[2]s) IS NOT NULL)",
		bigint: "%dL", double: "%sD", exact: "%sBD", nan: "NaN", inf: "Infinity", blob: "unhex('%s')",
		set:       []string{"SET hive.strict.timestamp.conversion = false"}, // without it, Hive refuses the queries that need it
		skipsNull: false, roundsFloor: true, minNaN: true,
		micros: micros, localMicros: "CAST(CAST(from_utc_timestamp(%s, %s) AS DECIMAL(20, 6)) * 1000000BD AS BIGINT)",
		ofMicros: ofMicros, ofLocal: "to_utc_timestamp(" + ofMicros + ", %s)",
		days: "CAST(datediff(%s, DATE '1970-01-01') AS BIGINT)", ofDays: "date_add(DATE '1970-01-01', CAST(%s AS INT))",
		ofDatetime: micros, datetime: ofMicros,
		modulo: "pmod(%s, %s)", quotient: "(%s DIV %s)", unit: 1,
		timestamp: "CAST('%s' AS TIMESTAMP)", wall: "CAST('%s' AS TIMESTAMP)",
		parts: map[string]string{
			"YEAR": "year(%s)", "QUARTER": "quarter(%s)", "MONTH": "month(%s)", "DAY": "day(%s)", "DAYOFWEEK": "dayofweek(%s)",
			"DAYOFYEAR": "(datediff(%[1]s, trunc(%[1]s, 'YEAR')) + 1)", "ISOWEEK": "weekofyear(%s)",
			"ISOYEAR": "year(date_add(%[1]s, 3 - pmod(datediff(%[1]s, DATE '1970-01-05'), 7)))",
			"WEEK":    "((datediff(%[1]s, trunc(%[1]s, 'YEAR')) + 8 - dayofweek(%[1]s)) DIV 7)",
		},
		starts: map[string]string{
			"DAY": "datediff(%s, DATE '1970-01-01')", "WEEK": "(datediff(%[1]s, DATE '1970-01-01') - dayofweek(%[1]s) + 1)",
			"ISOWEEK": "(datediff(%[1]s, DATE '1970-01-01') - pmod(datediff(%[1]s, DATE '1970-01-05'), 7))",
			"MONTH":   "datediff(trunc(%s, 'MONTH'), DATE '1970-01-01')", "QUARTER": "datediff(trunc(%s, 'Q'), DATE '1970-01-01')", "YEAR": "datediff(trunc(%s, 'YEAR'), DATE '1970-01-01')",
		},
		refuses: map[string]string{"ARRAY_LENGTH": "counts an element in an empty array of a Parquet file"},
		functions: map[string]string{
			"UPPER": "upper(%s)", "LOWER": "lower(%s)",
			"STARTS_WITH": "(%[1]s LIKE '%%' AND substr(%[1]s, 1, length(%[2]s)) = %[2]s)", "ENDS_WITH": "(substr(reverse(%[1]s), 1, length(%[2]s)) = reverse(%[2]s))",
			"STRPOS": "CAST(CASE WHEN %[2]s = '' AND %[1]s IS NOT NULL THEN 1 ELSE instr(%[1]s, %[2]s) END AS BIGINT)", "REPLACE": "CASE WHEN %[2]s = '' AND %[3]s IS NOT NULL THEN %[1]s ELSE replace(%[1]s, %[2]s, %[3]s) END",
			"LENGTH": "CAST(length(%s) AS BIGINT)", "BYTE_LENGTH": "CAST(length(%s) AS BIGINT)",
			"SUBSTR": "substr(%s, CAST(%s AS INT))", "SUBSTR3": "substr(%s, CAST(%s AS INT), CAST(%s AS INT))", "CONCAT": "concat(%s)",
			"ABS": "abs(%s)", "ROUND": "round(%s)", "FLOOR": "floor(%s)", "CEIL": "ceil(%s)", "SIGN": "sign(%s)", "DIV": "(%s DIV %s)", "MOD": "(%s %% %s)",
			"ROUND2": "round(%s, %d)", "REPLACE_PATTERN": "regexp_replace(%s, %s, '')", "MATCHES": "(%s RLIKE %s)",
			"ELEMENT": "%s[%d]", "ENTRY": "%s[%s]",
			"PAD": "lpad(%s, %d, '0')", "MAKE_DATE": "CAST(concat(lpad(CAST(%s AS STRING), 4, '0'), '-', lpad(CAST(%s AS STRING), 2, '0'), '-', lpad(CAST(%s AS STRING), 2, '0')) AS DATE)",
			"BOOL_OR": "(MAX(CASE WHEN %s THEN 1 ELSE 0 END) = 1)", "TRY_CAST": "CAST(%s AS %s)", "HEX": "CAST(conv(substr(%s, 3), 16, 10) AS BIGINT)",
			"NUMERIC_TEXT": "regexp_replace(CAST(%s AS STRING), '(?<=[.][0-9]{0,8})0+$|[.]0*$', '')",
		},
	}
}
