package rules

// flinkForms are Flink SQL's, of tables whose instants are TIMESTAMP_LTZ. It has
// no way to µs but through texts, in the session's zone, which has to be UTC.
func flinkForms() *forms {
	const (
		days   = "CAST(TIMESTAMPDIFF(DAY, DATE '1970-01-01', %[1]s) AS BIGINT)"
		micros = "(CAST(TIMESTAMPDIFF(DAY, DATE '1970-01-01', CAST(DATE_FORMAT(%[1]s, 'yyyy-MM-dd') AS DATE)) AS BIGINT) * 86400000000 + CAST(DATE_FORMAT(%[1]s, 'HH') AS BIGINT) * 3600000000" +
			" + CAST(DATE_FORMAT(%[1]s, 'mm') AS BIGINT) * 60000000 + CAST(DATE_FORMAT(%[1]s, 'ss') AS BIGINT) * 1000000 + CAST(DATE_FORMAT(%[1]s, 'SSSSSS') AS BIGINT))"
		wall  = "CONVERT_TZ(DATE_FORMAT(%[1]s, 'yyyy-MM-dd HH:mm:ss'), 'UTC', %[2]s)"
		local = "(CAST(TIMESTAMPDIFF(DAY, DATE '1970-01-01', CAST(SUBSTRING(" + wall + ", 1, 10) AS DATE)) AS BIGINT) * 86400000000 + CAST(SUBSTRING(" + wall + ", 12, 2) AS BIGINT) * 3600000000" +
			" + CAST(SUBSTRING(" + wall + ", 15, 2) AS BIGINT) * 60000000 + CAST(SUBSTRING(" + wall + ", 18, 2) AS BIGINT) * 1000000 + CAST(DATE_FORMAT(%[1]s, 'SSSSSS') AS BIGINT))"
		millis = "TO_TIMESTAMP_LTZ(%s / 1000, 3)"
	)
	return &forms{
		engine: "Flink", isNaN: "(CAST(%s AS STRING) = 'NaN')", raise: "CAST(%[1]s || COALESCE(CAST(%[2]s AS STRING), '') AS %[3]s)",
		bigint: "CAST(%d AS BIGINT)", double: "%s", exact: "%s", nan: "NaN", inf: "Infinity", blob: "CAST(X'%s' AS BYTES)",
		guard:  "CASE WHEN CAST(TO_TIMESTAMP_LTZ(0, 3) AS STRING) = '1970-01-01 00:00:00.000' AND CAST(TO_TIMESTAMP_LTZ(962409600000, 3) AS STRING) = '2000-07-01 00:00:00.000' THEN TRUE ELSE CAST('this query needs SET ''table.local-time-zone'' = ''UTC''' AS BIGINT) > 0 END",
		always: true, set: []string{"SET 'table.local-time-zone' = 'UTC'"},
		filters: true, minNaN: true,
		micros: micros, localMicros: local, ofMicros: millis, ofLocal: "",
		days: days, ofDays: "CAST(TIMESTAMPADD(DAY, CAST(%s AS INT), DATE '1970-01-01') AS DATE)",
		ofDatetime: micros, datetime: "",
		modulo: "MOD(MOD(%[1]s, %[2]s) + %[2]s, %[2]s)", quotient: "(%s / %s)", unit: 1000,
		timestamp: "CAST(TIMESTAMP '%s' AS TIMESTAMP_LTZ(6))", wall: "TIMESTAMP '%s'",
		parts: map[string]string{
			"YEAR": "EXTRACT(YEAR FROM %s)", "QUARTER": "EXTRACT(QUARTER FROM %s)", "MONTH": "EXTRACT(MONTH FROM %s)", "DAY": "EXTRACT(DAY FROM %s)", "DAYOFWEEK": "EXTRACT(DOW FROM %s)",
			"DAYOFYEAR": "EXTRACT(DOY FROM %s)", "ISOWEEK": "EXTRACT(WEEK FROM %s)", "ISOYEAR": "EXTRACT(ISOYEAR FROM %s)", "WEEK": "((EXTRACT(DOY FROM %[1]s) + 7 - EXTRACT(DOW FROM %[1]s)) / 7)",
		},
		starts: map[string]string{
			"DAY": days, "WEEK": "(CAST(TIMESTAMPDIFF(DAY, DATE '1970-01-01', %[1]s) AS BIGINT) - EXTRACT(DOW FROM %[1]s) + 1)",
			"ISOWEEK": "(CAST(TIMESTAMPDIFF(DAY, DATE '1970-01-01', %[1]s) AS BIGINT) - MOD(EXTRACT(DOW FROM %[1]s) + 5, 7))",
			"MONTH":   "(CAST(TIMESTAMPDIFF(DAY, DATE '1970-01-01', %[1]s) AS BIGINT) - EXTRACT(DAY FROM %[1]s) + 1)",
			"YEAR":    "(CAST(TIMESTAMPDIFF(DAY, DATE '1970-01-01', %[1]s) AS BIGINT) - EXTRACT(DOY FROM %[1]s) + 1)",
		},
		refuses: map[string]string{"MAX of BYTES": "has no MIN and MAX of BYTES"},
		functions: map[string]string{
			"UPPER": "UPPER(%s)", "LOWER": "LOWER(%s)", "STARTS_WITH": "STARTSWITH(%s, %s)", "ENDS_WITH": "ENDSWITH(%s, %s)",
			"STRPOS": "CAST(CASE WHEN %[2]s = '' AND %[1]s IS NOT NULL THEN 1 ELSE POSITION(%[2]s IN %[1]s) END AS BIGINT)", "REPLACE": "CASE WHEN %[2]s = '' AND %[3]s IS NOT NULL THEN %[1]s ELSE REPLACE(%[1]s, %[2]s, %[3]s) END",
			"LENGTH": "CAST(CHAR_LENGTH(%s) AS BIGINT)", "SUBSTR": "SUBSTRING(%s, CAST(%s AS INT))", "SUBSTR3": "SUBSTRING(%s, CAST(%s AS INT), CAST(%s AS INT))", "CONCAT": "CONCAT(%s)",
			"ABS": "ABS(%s)", "ROUND": "ROUND(%s, 0)",
			"ROUND of FLOAT64": "(CASE WHEN ABS(%[1]s) < 4.503599627370496e15 THEN ROUND(%[1]s, 0) ELSE %[1]s END)", // it fails for infinity
			"FLOOR":            "FLOOR(%s)", "CEIL": "CEIL(%s)", "SIGN": "SIGN(%s)", "DIV": "(%s / %s)", "MOD": "MOD(%s, %s)",
			"ROUND2": "ROUND(%s, %d)", "REPLACE_PATTERN": "REGEXP_REPLACE(%s, %s, '')", "MATCHES": "REGEXP(%s, %s)",
			"ARRAY_LENGTH": "CAST(CARDINALITY(%s) AS BIGINT)", "ENTRY": "%s[%s]",
			"PAD": "LPAD(%s, %d, '0')", "MAKE_DATE": "CAST(LPAD(CAST(%s AS STRING), 4, '0') || '-' || LPAD(CAST(%s AS STRING), 2, '0') || '-' || LPAD(CAST(%s AS STRING), 2, '0') AS DATE)",
			"BOOL_OR": "(MAX(CASE WHEN %s THEN 1 ELSE 0 END) = 1)", "TRY_CAST": "TRY_CAST(%s AS %s)",
			"NUMERIC_TEXT": "REGEXP_REPLACE(CAST(%s AS STRING), '(?<=[.][0-9]{0,8})0+$|[.]0*$', '')",
		},
	}
}
