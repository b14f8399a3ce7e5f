package schemas

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func infer(t *testing.T, text string) Inferred {
	t.Helper()
	got, err := Infer(slices.Values(splitLines(text)))
	require.NoError(t, err)
	return got
}

func splitLines(text string) [][]byte {
	var out [][]byte
	for line := range strings.Lines(text) {
		out = append(out, []byte(line))
	}
	return out
}

// columns is an inferred schema in short: "a: int64!, b: timestamp %s".
func columns(i Inferred) string {
	var parts []string
	for _, c := range i.Columns {
		part := c.Field.Name + ": " + c.Field.member()
		if c.Field.Format != "" {
			part += " " + c.Field.Format
		}
		if c.Field.From != "" {
			part += " from " + c.Field.From
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; ")
}

func TestInferTypes(t *testing.T) {
	for name, c := range map[string]struct {
		lines   string
		columns string
		remarks []string // parts of the first column's remarks, in order
	}{
		"ints":               {`{"a":1}` + "\n" + `{"a":-5}`, "a: int64", nil},
		"int and fraction":   {`{"a":1}` + "\n" + `{"a":1.25}`, "a: float64", []string{"whole numbers (1) and fractions (1)", "decimal(12,2)"}},
		"exponent":           {`{"a":1e300}`, "a: float64", nil},
		"beyond 64 bits":     {`{"a":9223372036854775808}` + "\n" + `{"a":1}`, "a: decimal(38,0)", []string{"1 numbers are beyond 64 bits"}},
		"beyond 38 digits":   {`{"a":` + strings.Repeat("9", 39) + `}`, "a: float64", []string{"39 digits"}},
		"bool":               {`{"a":true}` + "\n" + `{"a":null}`, "a: bool", nil},
		"null only":          {`{"a":null}`, "a: string", []string{"only null was seen"}},
		"text":               {`{"a":"x"}`, "a: string", nil},
		"empty text":         {`{"a":""}`, "a: string", []string{"only empty texts"}},
		"numbers in texts":   {`{"a":"12"}` + "\n" + `{"a":"13.5"}`, "a: string", []string{`texts that hold numbers, such as "12"`}},
		"bools in texts":     {`{"a":"true"}`, "a: string", []string{"true or false"}},
		"text and number":    {`{"a":"x"}` + "\n" + `{"a":1}` + "\n" + `{"a":2}`, "a: json", []string{"numbers 2 times, texts 1 times"}},
		"object and text":    {`{"a":"x"}` + "\n" + `{"a":{"b":1}}`, "a: json", []string{"different kinds"}},
		"uuid":               {`{"a":"123e4567-e89b-12d3-a456-426614174000"}`, "a: uuid", nil},
		"uuid or empty":      {`{"a":"123E4567-e89b-12d3-a456-426614174000"}` + "\n" + `{"a":""}`, "a: string", []string{"1 empty texts"}},
		"not quite uuid":     {`{"a":"123g4567-e89b-12d3-a456-426614174000"}`, "a: string", nil},
		"zoned":              {`{"a":"2021-11-30T10:00:00Z"}` + "\n" + `{"a":"2021-11-30T10:00:00.5+05:30"}`, "a: timestamp", nil},
		"mixed zones":        {`{"a":"2021-11-30T10:00:00Z"}` + "\n" + `{"a":"2021-11-30T10:00:00"}`, "a: timestamp", []string{"1 texts tell their offset and 1 do not"}},
		"local":              {`{"a":"2021-11-30 10:00:00"}`, "a: timestamp %Y-%m-%d %H:%M:%S", []string{`such as "2021-11-30 10:00:00"`, "no zone in the text"}},
		"date":               {`{"a":"2021-11-30"}` + "\n{\"b\":1}", "a: date; b: int64", nil},
		"impossible date":    {`{"a":"2021-11-31"}`, "a: string", nil},
		"date, day first":    {`{"a":"30/11/2021"}` + "\n" + `{"a":"01/02/2021"}` + "\n{}", "a: date %d/%m/%Y", []string{"%d/%m/%Y"}},
		"date, month first":  {`{"a":"11/30/2021"}` + "\n" + `{"a":"01/02/2021"}` + "\n{}", "a: date %m/%d/%Y", []string{"%m/%d/%Y"}},
		"date, which first":  {`{"a":"11/10/2021"}` + "\n" + `{"a":"01/02/2021"}` + "\n{}", "a: date %d/%m/%Y", []string{"%d/%m/%Y", "ambiguous: no day beyond the 12th was seen, so that %m/%d/%Y fits"}},
		"date or empty":      {`{"a":"2021-11-30"}` + "\n" + `{"a":""}`, "a: string", []string{"looks like a date, but 1 texts are empty"}},
		"mail":               {`{"a":"Tue, 30 Nov 2021 10:00:00 +0530"}`, "a: timestamp %a, %d %b %Y %H:%M:%S %z", []string{"such as"}},
		"access log":         {`{"a":"30/Nov/2021:10:00:00 +0530"}`, "a: timestamp %d/%b/%Y:%H:%M:%S %z", []string{"such as"}},
		"time of day":        {`{"a":"10:30:00"}`, "a: time", nil},
		"digits, no date":    {`{"a":"20211130"}`, "a: string", []string{"texts that hold numbers"}},
		"digits, a date":     {`{"day":"20211130"}` + "\n{}", "day: date %Y%m%d", []string{"such as", "a date by its name"}},
		"seconds":            {`{"ts":1638210600}`, "ts: timestamp %s", []string{"seconds since 1970"}},
		"milliseconds":       {`{"createdAt":1638210600123}`, "createdAt: timestamp %Q", []string{"milliseconds since 1970"}},
		"milliseconds?":      {`{"a":1638210600123}`, "a: int64", []string{`{type: timestamp, format: "%Q"}`}},
		"microseconds":       {`{"ts":1638210600123456}`, "ts: int64", []string{"micro- or nanoseconds"}},
		"an id":              {`{"id":1638210600}`, "id: int64", nil},
		"list":               {`{"a":[1,2.5]}` + "\n" + `{"a":[]}`, "a: list<float64>", []string{"its elements: whole numbers", "its elements: at most 1 digits"}},
		"empty list":         {`{"a":[]}`, "a: list<string>", []string{"only empty lists"}},
		"lists in lists":     {`{"a":[[1],[2]]}`, "a: list<list<int64>>", nil},
		"struct":             {`{"a":{"x":1,"y":null}}` + "\n" + `{"a":{"y":"t","z":[{"q":true}]}}`, "a: struct<x: int64, y: string, z: list<struct<q: bool>>>", nil},
		"member with format": {`{"a":{"x":"30/11/2021"}}`, "a: struct<x: string>", []string{"x: looks like a date (%d/%m/%Y); a member has no format"}},
		"odd member":         {`{"a":{"x":1,"b-c":"t"}}`, "a: json", []string{`"b-c" cannot be a member's name`}},
		"twin members":       {`{"a":{"x":1,"X":"t"}}`, "a: json", []string{`"X" cannot be`}},
		"empty object":       {`{"a":{}}`, "a: json", []string{"only empty objects"}},
		"map":                {`{"a":{"p":1}}` + "\n" + `{"a":{"q":2}}` + "\n" + `{"a":{"r":3,"p":1}}`, "a: map<string, int64>", []string{"3 different keys, of which an object has 1.3 on average"}},
		"struct by one key":  {strings.Join([]string{`{"a":{"id":1,"p":1}}`, `{"a":{"id":1,"q":1}}`, `{"a":{"id":1,"r":1}}`, `{"a":{"id":1,"s":1}}`, `{"a":{"id":1,"t":1}}`}, "\n"), "a: struct<id: int64, p: int64, q: int64, r: int64, s: int64, t: int64>", nil},
		"values differ":      {strings.Join([]string{`{"a":{"p":1}}`, `{"a":{"q":"x"}}`, `{"a":{"r":1}}`}, "\n"), "a: struct<p: int64, q: string, r: int64>", nil},
		"map by its keys":    {`{"a":{"user-1":1,"user-2":2.5}}`, "a: map<string, float64>", []string{"a map", "its values: whole numbers", "its values: at most 1 digits"}},
		"deep":               {`{"a":` + strings.Repeat("[", 30) + strings.Repeat("]", 30) + `}`, "a: " + strings.Repeat("list<", 16) + "json" + strings.Repeat(">", 16), []string{"nested deeper"}},
		"names": {`{"user-id":1,"user_id":2,"1st":3,"dt":"x","ID":1,"id":2,"ä":1,"a.b":1}`,
			"user_id: int64 from user-id; user_id_2: int64 from user_id; _1st: int64 from 1st; event_dt: string from dt; ID: int64; id_2: int64 from id; __: int64 from ä", []string{`"user-id" cannot be a column's name`}},
	} {
		t.Run(name, func(t *testing.T) {
			got := infer(t, c.lines)
			require.Equal(t, c.columns, columns(got))
			first := got.Columns[0].Remarks
			require.Len(t, first, len(c.remarks), "%q", first)
			for i, want := range c.remarks {
				require.Contains(t, first[i], want)
			}
			// what is proposed is a type of the job file
			for _, col := range got.Columns {
				parsed, err := ParseType(col.Field.Type.String())
				require.NoError(t, err)
				require.Equal(t, col.Field.Type.String(), parsed.String())
				if col.Field.Type.Kind.Temporal() {
					_, err := LayoutFor(col.Field.Type.Kind, col.Field.Format)
					require.NoError(t, err)
				}
			}
		})
	}
}

func TestInferRequired(t *testing.T) {
	var b strings.Builder
	for i := range 100 {
		null := "1"
		if i == 50 {
			null = "null"
		}
		fmt.Fprintf(&b, `{"always":%d,"null":%s`, i, null)
		if i != 99 {
			b.WriteString(`,"missing":1`)
		}
		b.WriteString("}\n")
	}
	got := infer(t, b.String())
	require.Equal(t, "always: int64!; null: int64; missing: int64", columns(got))
	require.Equal(t, []string{"never missing and never null in 100 records: required"}, got.Columns[0].Remarks)
	require.Equal(t, [2]int{100, 1}, [2]int{got.Columns[1].Seen, got.Columns[1].Null})
	require.Equal(t, [2]int{99, 0}, [2]int{got.Columns[2].Seen, got.Columns[2].Null})
	require.Empty(t, got.Remarks)
}

func TestInferBadLines(t *testing.T) {
	got := infer(t, "{\"a\":1}\n\n{\"a\":\n[1]\n{\"a\":1} x\n{\"a\":1,\"a\":2}\n{\"a\":\"\xff\"}\n  {\"b\":2}\n")
	require.Equal(t, 2, got.Records)
	require.Equal(t, 5, got.Bad)
	require.Equal(t, "a: int64; b: int64", columns(got))
	require.Contains(t, got.Remarks[0], "5 of 7 lines are no JSON objects")
	_, err := Infer(slices.Values(splitLines("a,b\n1,2\n")))
	require.ErrorContains(t, err, "none of 2 lines is a JSON object: ")
	_, err = Infer(slices.Values(splitLines("\n")))
	require.EqualError(t, err, "there is no record in the sample")
	var b strings.Builder
	for i := range 2001 {
		fmt.Fprintf(&b, "{\"user%d\":1}\n", i)
	}
	_, err = Infer(slices.Values(splitLines(b.String())))
	require.ErrorContains(t, err, "more than 2000 different keys")
	deep := infer(t, `{"a":1}`+"\n"+`{"a":`+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)+"}\n")
	require.Equal(t, [2]int{1, 1}, [2]int{deep.Records, deep.Bad})
}

func TestInferTimes(t *testing.T) {
	got := infer(t, `{"updated":"2021-11-30T10:00:00Z","ts":1638210600,"created_at":"2021-11-30 10:00:00","seen":"2021-11-30T10:00:00Z"}`+"\n"+
		`{"updated":"2021-11-30T10:00:00Z","ts":1638210600,"created_at":"2021-11-30 10:00:00"}`)
	var times []string
	for _, c := range got.Times {
		times = append(times, fmt.Sprintf("%s %q %v", c.Column, c.Format, c.Zoned))
	}
	require.Equal(t, []string{`ts "%s" true`, `created_at "%Y-%m-%d %H:%M:%S" false`, `updated "" true`, `seen "" true`}, times)
	require.Contains(t, got.Times[3].Why, "not in every record")

	got = infer(t, `{"a":1,"day":"30.11.2021"}`)
	require.Equal(t, "a: int64; day: timestamp %d.%m.%Y", columns(got))
	require.Equal(t, "day", got.Times[0].Column)
	require.Empty(t, infer(t, `{"a":1}`).Times)
}

// Each form reads what it writes, and is the one that is taken.
func TestInferKnowsItsForms(t *testing.T) {
	at := time.Date(2021, 11, 30, 22, 58, 59, 0, time.UTC)
	require.Less(t, len(timeForms), 64, "one bit a form")
	for _, f := range timeForms {
		layout, err := LayoutFor(f.kind, f.format)
		require.NoError(t, err, f.format)
		micros := at.UnixMicro()
		if f.kind == Time {
			micros %= dayMicros
		}
		text := string(layout.Append(nil, micros, time.UTC))
		if f.format == "" && f.kind == Time {
			text = "22:58:59"
		}
		var shapes textShapes
		shapes.look(text)
		got, ok := shapes.form()
		require.True(t, ok, "%s: %s", f.format, text)
		require.Equal(t, [2]string{f.kind.String(), f.format}, [2]string{got.kind.String(), got.format}, text)
	}
}

func TestInferSample(t *testing.T) {
	data, err := os.ReadFile("../jobs/data/nobroker/batch-1.jsonl")
	require.NoError(t, err)
	got := infer(t, string(data))
	require.Equal(t, "user_id: int64; property_id: int64; date: timestamp %Y-%m-%d %H:%M:%S; event: string", columns(got))
	require.Equal(t, TimeCandidate{Column: "date", Format: "%Y-%m-%d %H:%M:%S", Why: "in every record, and called what event times are called"}, got.Times[0])
}

func FuzzInfer(f *testing.F) {
	f.Add([]byte("{\"a\":1}\n{\"a\":[{\"b\":\"2021-11-30\"}]}"))
	f.Add([]byte("{\"a\":{\"x y\":1e5}}\n{\"a\":{\"\":null}}"))
	f.Add([]byte("{\"a\":{\"b\":[]}}\n[]\n{"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := Infer(slices.Values(splitLines(string(data))))
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, c := range got.Columns {
			require.True(t, ValidName(c.Field.Name))
			require.False(t, seen[strings.ToLower(c.Field.Name)])
			seen[strings.ToLower(c.Field.Name)] = true
			_, err := ParseType(c.Field.Type.String())
			require.NoError(t, err, c.Field.Type.String())
		}
	})
}
