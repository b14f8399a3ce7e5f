package jobs

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

const frame = "version: 1\nname: a\nsource: {files: {}}\nschema: {a: int64}\ntable: {name: a.b}\nrules:\n"

// ruleSQL is the sql of a rule written as body.
func ruleSQL(t *testing.T, body string) (Text, []string) {
	t.Helper()
	file := frame + body
	job, err := Parse("a.yaml", []byte(file), lookup)
	require.NoError(t, err, file)
	require.Len(t, job.Rules, 1)
	return job.Rules[0].SQL, strings.Split(strings.ReplaceAll(file, "\r\n", "\n"), "\n")
}

// charAt is what the file holds at a place.
func charAt(t *testing.T, lines []string, at Pos) rune {
	t.Helper()
	require.LessOrEqual(t, at.Line, len(lines))
	line := []rune(lines[at.Line-1])
	if at.Col > len(line) {
		return '\n'
	}
	return line[at.Col-1]
}

// In every style each character of a value stands where At says.
func TestPlacesInEveryStyle(t *testing.T) {
	for name, body := range map[string]string{
		"literal":             "  r:\n    sql: |\n      SELECT ä,\n        b\n\n      FROM x\n    to: []\n",
		"literal strip":       "  r:\n    sql: |-\n     SELECT a\n     FROM x\n",
		"literal keep":        "  r:\n    sql: |+\n     SELECT a\n     FROM x\n\n\n    to: []\n",
		"literal indicator":   "  r:\n    sql: |2\n        SELECT a\n      FROM x\n",
		"literal both":        "  r:\n    sql: |2-\n        SELECT a\n      FROM x\n",
		"literal comment":     "  r:\n    sql: | # what counts\n      SELECT a -- no comment of YAML\n      FROM x # neither\n",
		"literal blank first": "  r:\n    sql: |\n\n\n      SELECT a\n      FROM x\n",
		"literal windows":     "  r:\r\n    sql: |\r\n      SELECT a\r\n      FROM x\r\n",
		"literal at end":      "  r:\n    sql: |\n      SELECT a\n      FROM x",
		"folded":              "  r:\n    sql: >\n      SELECT a\n      FROM x\n",
		"folded strip":        "  r:\n    sql: >-\n      SELECT ü  ,  b\n      FROM x\n",
		"plain":               "  r: {sql: SELECT a FROM x}\n",
		"plain unicode":       "  r: {sql: SELECT 'ß' FROM x}\n",
		"plain lines":         "  r:\n    sql: SELECT a\n      FROM x\n      WHERE c\n",
		"single":              "  r: {sql: 'SELECT ''it'' FROM \"x\"'}\n",
		"double":              "  r: {sql: \"SELECT \\\"ä\\\" \\u00e4 FROM x\"}\n",
		"double lines":        "  r:\n    sql: \"SELECT a\n      FROM x\"\n",
		"double after key":    "  r: {emit: on_cross, sql: \"SELECT 'é' FROM x\"}\n",
	} {
		t.Run(name, func(t *testing.T) {
			sql, lines := ruleSQL(t, body)
			require.Contains(t, sql.Value, "FROM")
			for i, r := range sql.Value {
				want := charAt(t, lines, sql.At(i))
				switch {
				case r == ' ' || r == '\n': // folding turns one into the other
					require.Contains(t, " \n", string(want), "byte %d of %q at %v", i, sql.Value, sql.At(i))
				case want == '\\': // an escape stands where its backslash is
				default:
					require.Equal(t, string(want), string(r), "byte %d of %q at %v", i, sql.Value, sql.At(i))
				}
			}
			require.NotZero(t, sql.At(len(sql.Value)).Line)
		})
	}
}

func TestPlaceOfExactBytes(t *testing.T) {
	sql, _ := ruleSQL(t, "  r:\n    sql: |\n      SELECT 'ä', b\n      FROM x\n")
	require.Equal(t, Pos{9, 7}, sql.At(0))
	require.Equal(t, Pos{9, 19}, sql.At(strings.Index(sql.Value, "b\n")), "columns count characters")
	require.Equal(t, Pos{10, 12}, sql.At(strings.Index(sql.Value, "x")))
	require.Equal(t, Pos{8, 10}, sql.Pos)

	sql, _ = ruleSQL(t, "  r: {sql: \"SELECT '\\u00e4\\n', b\"}\n")
	require.Equal(t, "SELECT 'ä\n', b", sql.Value)
	require.Equal(t, Pos{7, 29}, sql.At(strings.Index(sql.Value, "', b")), "behind two escapes")
	require.Equal(t, Pos{7, 32}, sql.At(strings.Index(sql.Value, "b")))
}

func TestPlacesAroundVariables(t *testing.T) {
	sql, _ := ruleSQL(t, "  r:\n    sql: |\n      SELECT ${NUMBER}, $$b, '^a$'\n      FROM ${NOPE:-x} y\n")
	require.Equal(t, "SELECT 42, $b, '^a$'\nFROM x y\n", sql.Value)
	require.Equal(t, "SELECT ${NUMBER}, $$b, '^a$'\nFROM ${NOPE:-x} y\n", sql.Written)
	for at, want := range map[string]Pos{"42": {9, 14}, "2,": {9, 14}, ",": {9, 23}, "$b": {9, 25}, "b,": {9, 27}, "'^a": {9, 30}, "FROM": {10, 7}, "x": {10, 12}, "y": {10, 23}} {
		require.Equal(t, want, sql.At(strings.Index(sql.Value, at)), at)
	}
}

func TestPlacesBehindVariableAtLineEnd(t *testing.T) {
	sql, _ := ruleSQL(t, "  r:\n    sql: |\n      SELECT ${NUMBER}\n      FROM x\n")
	require.Equal(t, "SELECT 42\nFROM x\n", sql.Value)
	require.Equal(t, Pos{9, 23}, sql.At(strings.Index(sql.Value, "\n")))
	require.Equal(t, Pos{10, 7}, sql.At(strings.Index(sql.Value, "FROM")))
}

func TestPlacesInTypes(t *testing.T) {
	file := strings.Replace(frame, "{a: int64}", `
  a: " decimal( 10,2 ) ! "
  g:
    struct:
      lat: float65!
      ids: {list: "map<string, intt>"}
`, 1)
	job, err := Parse("a.yaml", []byte(strings.TrimSuffix(file, "rules:\n")), lookup)
	require.NoError(t, err)
	a, g := job.Schema[0], job.Schema[1]
	require.Equal(t, "decimal( 10,2 )", a.Type.Value)
	require.True(t, a.Required)
	require.Equal(t, Pos{5, 8}, a.Type.At(0))
	require.Equal(t, Pos{5, 20}, a.Type.At(strings.Index(a.Type.Value, "2")))
	require.Equal(t, "struct<lat: float65!, ids: list<map<string, intt>>>", g.Type.Value)
	require.Equal(t, Pos{7, 5}, g.Type.At(0))
	require.Equal(t, Pos{8, 7}, g.Type.At(strings.Index(g.Type.Value, "lat")))
	require.Equal(t, Pos{8, 12}, g.Type.At(strings.Index(g.Type.Value, "float65")))
	require.Equal(t, Pos{8, 17}, g.Type.At(strings.Index(g.Type.Value, "65")))
	require.Equal(t, Pos{9, 13}, g.Type.At(strings.Index(g.Type.Value, "list<")))
	require.Equal(t, Pos{9, 32}, g.Type.At(strings.Index(g.Type.Value, "intt")))
}

func TestAtStaysInBounds(t *testing.T) {
	require.Equal(t, Pos{}, Text{}.At(5))
	sql, _ := ruleSQL(t, "  r: {sql: SELECT 1}\n")
	require.Equal(t, sql.At(0), sql.At(-3))
	require.Equal(t, sql.At(len(sql.Value)), sql.At(1000))
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{frame + "  r: {sql: SELECT 1}\n", "a: |\n b", "a: 'x\n\n y'\nb: >+\n z\n\n", "{}", "? a\n: b", "- - - a", "\ufeffversion: 1",
		"version: 1\nschema: {a: {struct: {b: {map: [string, {list!: x!}]}}}}\n", "a: ${X:-$$}\nb: $${X}", "a: \"\\x41\\u00e9\\U0001F600\\\n  b\"",
		"rules:\n  r:\n    sql: |2-\n       x\n", "a: &a [*a]", "\"\\", "a: !!str", "%YAML 1.2\n---\na: b\n...\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		job, err := Parse("fuzz.yaml", []byte(text), lookup)
		if err != nil {
			list := err.(Errors)
			require.NotEmpty(t, list)
			for i, e := range list {
				require.GreaterOrEqual(t, e.Line, 1)
				require.GreaterOrEqual(t, e.Col, 1)
				require.True(t, utf8.ValidString(e.Msg))
				require.NotContains(t, e.Error(), "s3cr3t")
				if i > 0 {
					require.LessOrEqual(t, list[i-1].Line, e.Line)
				}
			}
		}
		if job == nil {
			require.Error(t, err)
			return
		}
		for _, r := range job.Rules {
			for i := 0; i <= len(r.SQL.Value); i += 7 {
				require.NotZero(t, r.SQL.At(i).Line)
			}
		}
		for _, l := range job.Load {
			var into struct {
				Table string
				N     map[string]int
				L     []Duration
			}
			_ = l.Decode(&into)
		}
	})
}
