package schemas

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTypeSQL(t *testing.T) {
	for text, want := range map[string][2]string{
		"bool":                              {"BOOL", "BOOLEAN"},
		"int32":                             {"INT64", "INTEGER"},
		"int64":                             {"INT64", "BIGINT"},
		"float32":                           {"FLOAT64", "FLOAT"},
		"float64":                           {"FLOAT64", "DOUBLE"},
		"decimal(10,2)":                     {"NUMERIC(10, 2)", "DECIMAL(10, 2)"},
		"decimal(38,9)":                     {"NUMERIC(38, 9)", "DECIMAL(38, 9)"},
		"decimal(38,8)":                     {"BIGNUMERIC(38, 8)", "DECIMAL(38, 8)"},
		"decimal(20,10)":                    {"BIGNUMERIC(20, 10)", "DECIMAL(20, 10)"},
		"string":                            {"STRING", "VARCHAR"},
		"bytes":                             {"BYTES", "BLOB"},
		"date":                              {"DATE", "DATE"},
		"time":                              {"TIME", "TIME"},
		"timestamp":                         {"TIMESTAMP", "TIMESTAMPTZ"},
		"datetime":                          {"DATETIME", "TIMESTAMP"},
		"uuid":                              {"STRING", "UUID"},
		"json":                              {"JSON", "JSON"},
		"list<int64!>":                      {"ARRAY<INT64>", "BIGINT[]"},
		"list<struct<a: int64, b: string>>": {"ARRAY<STRUCT<`a` INT64, `b` STRING>>", `STRUCT("a" BIGINT, "b" VARCHAR)[]`},
		"map<string, list<date>>":           {"ARRAY<STRUCT<`key` STRING, `value` ARRAY<DATE>>>", "MAP(VARCHAR, DATE[])"},
	} {
		typ, err := ParseType(text)
		require.NoError(t, err)
		require.Equal(t, want, [2]string{typ.SQL(BigQuery), typ.SQL(DuckDB)}, text)
	}
}

func TestTypeSQLOfEngines(t *testing.T) {
	for text, want := range map[string][3]string{
		"int32":                           {"INT", "INT", "INT"},
		"timestamp":                       {"TIMESTAMP", "TIMESTAMP", "TIMESTAMP_LTZ(6)"},
		"datetime":                        {"TIMESTAMP", "TIMESTAMP_NTZ", "TIMESTAMP(6)"},
		"bytes":                           {"BINARY", "BINARY", "BYTES"},
		"decimal(10,2)":                   {"DECIMAL(10, 2)", "DECIMAL(10, 2)", "DECIMAL(10, 2)"},
		"list<struct<a: int64, b: date>>": {"ARRAY<STRUCT<`a`: BIGINT, `b`: DATE>>", "ARRAY<STRUCT<`a`: BIGINT, `b`: DATE>>", "ARRAY<ROW<`a` BIGINT, `b` DATE>>"},
		"map<string, float64>":            {"MAP<STRING, DOUBLE>", "MAP<STRING, DOUBLE>", "MAP<STRING, DOUBLE>"},
	} {
		typ, err := ParseType(text)
		require.NoError(t, err)
		require.Equal(t, want, [3]string{typ.SQL(Hive), typ.SQL(Spark), typ.SQL(Flink)}, text)
	}
}

func TestQuoting(t *testing.T) {
	require.Equal(t, `"a ""b"" \"`, DuckDB.Quote(`a "b" \`))
	require.Equal(t, "`a \\`b\\` \\\\`", BigQuery.Quote("a `b` \\"))
	require.Equal(t, `'it''s \n'`, DuckDB.Literal(`it's \n`))
	require.Equal(t, `'it\'s \\ \x0a ä'`, BigQuery.Literal("it's \\ \n ä"))
	require.Equal(t, "`a ``b`` \\`", Spark.Quote("a `b` \\"))
	require.Equal(t, `'it\'s \\ \u000a \u0024{x} ä'`, Hive.Literal("it's \\ \n ${x} ä"))
	require.Equal(t, `'it''s \n'`, Flink.Literal(`it's \n`))
}
