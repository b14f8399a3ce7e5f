package generate

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"
	"time"

	googleuuid "github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func specOf(t *testing.T, fields string) *Spec {
	t.Helper()
	s, err := ParseSpec("test.yaml", []byte("version: 1\nfields:\n"+fields))
	require.NoError(t, err)
	return s
}

func generator(t *testing.T, s *Spec, seed int64) *Generator {
	t.Helper()
	g, err := NewGenerator(s, seed, "")
	require.NoError(t, err)
	return g
}

// rowsOf decodes rows with encoding/json.
func rowsOf[T any](t *testing.T, fields string, n int64) []T {
	t.Helper()
	g := generator(t, specOf(t, fields), 7)
	out := make([]T, n)
	for i := range n {
		row := g.AppendRow(nil, i)
		decoder := json.NewDecoder(bytes.NewReader(row))
		decoder.DisallowUnknownFields()
		require.NoError(t, decoder.Decode(&out[i]), string(row))
	}
	return out
}

// The bytes of the shipped specs are part of what lake promises for a seed.
func TestShippedBytes(t *testing.T) {
	require.Equal(t, []string{"clicks", "nobroker"}, Shipped())
	want := map[string]string{
		"nobroker": "75edcb87bb485265c06424f5a617afef3e48e9644913e31cae4f6ac8cafbde05",
		"clicks":   "f5e25bae9bf7c3a5daa6c3e4623bb693308a663ce9d111e479172c50554798d4",
	}
	for name, sum := range want {
		s, err := Load(name)
		require.NoError(t, err)
		require.Equal(t, name, s.Name)
		g := generator(t, s, 1)
		h := sha256.New()
		size := 0
		for i := range int64(10_000) {
			row := g.AppendRow(nil, i)
			require.True(t, json.Valid(row), string(row))
			h.Write(row)
			size += len(row)
		}
		require.Equal(t, sum, hex.EncodeToString(h.Sum(nil)), "%s: %s", name, g.AppendRow(nil, 0))
		if name == "clicks" {
			require.Greater(t, size/10_000, 600)
			require.Less(t, size/10_000, 900)
		}
	}
}

func TestNobrokerRows(t *testing.T) {
	s, err := Load("nobroker")
	require.NoError(t, err)
	g := generator(t, s, 1)
	type row struct {
		UserID     int64  `json:"user_id"`
		PropertyID int64  `json:"property_id"`
		Date       string `json:"date"`
		Event      string `json:"event"`
	}
	zone, err := time.LoadLocation("Asia/Kolkata")
	require.NoError(t, err)
	events := map[string]int{}
	for i := range int64(20_000) {
		text := g.AppendRow(nil, i)
		var r row
		require.NoError(t, json.Unmarshal(text, &r))
		want := time.Date(2021, 11, 30, 0, 0, 0, 0, zone).Add(time.Duration(i) * 600 * time.Microsecond)
		require.Equal(t, want.Format(time.DateTime), r.Date)
		require.True(t, r.UserID >= 1 && r.UserID <= 20000 && r.PropertyID >= 1 && r.PropertyID <= 5000)
		again := fmt.Sprintf(`{"user_id":%d,"property_id":%d,"date":%q,"event":%q}`, r.UserID, r.PropertyID, r.Date, r.Event)
		require.Equal(t, again, string(text), "no spaces, in the spec's order")
		events[r.Event]++
	}
	require.InDelta(t, 16_000, events["Interaction"], 300)
	require.InDelta(t, 600, events["Login"], 120)
	require.Len(t, events, 4)
}

// The order in which rows are made, and by whom, does not matter.
func TestRowsAreMadeDirectly(t *testing.T) {
	s, err := Load("clicks")
	require.NoError(t, err)
	one, other := generator(t, s, 5), generator(t, s, 5)
	forth := map[int64]string{}
	for i := range int64(300) {
		forth[i] = string(one.AppendRow(nil, i))
	}
	for i := int64(299); i >= 0; i-- {
		require.Equal(t, forth[i], string(other.AppendRow(nil, i)))
	}
	require.NotEqual(t, forth[3], string(generator(t, s, 6).AppendRow(nil, 3)), "another seed")
	require.NotEqual(t, forth[3], forth[4])
	// Far rows cost what near ones do, and time does not overflow.
	require.Contains(t, string(generator(t, s, 5).AppendRow(nil, 86_400_000*365)), `"ts":"2025-03-01T`)
}

func TestFieldsDoNotDependOnEachOther(t *testing.T) {
	a := `  x: {uniform: {max: 1000000}}` + "\n"
	b := `  y: {uniform: {max: 1000000}}` + "\n"
	alone := rowsOf[map[string]int64](t, a, 50)
	both := rowsOf[map[string]int64](t, b+a, 50)
	same := 0
	for i := range alone {
		require.Equal(t, alone[i]["x"], both[i]["x"])
		if both[i]["x"] == both[i]["y"] {
			same++
		}
	}
	require.Zero(t, same, "each field draws for itself")
}

func TestUniform(t *testing.T) {
	counts := map[int64]int{}
	for _, r := range rowsOf[map[string]int64](t, "  a: {uniform: {min: -2, max: 3}}\n", 12_000) {
		counts[r["a"]]++
	}
	require.Len(t, counts, 6)
	for v := int64(-2); v <= 3; v++ {
		require.InDelta(t, 2_000, counts[v], 200, "value %d", v)
	}
	low, high := int64(math.MaxInt64), int64(math.MinInt64)
	for _, r := range rowsOf[map[string]int64](t, "  a: {uniform: {min: -9223372036854775808, max: 9223372036854775807}}\n", 1000) {
		low, high = min(low, r["a"]), max(high, r["a"])
	}
	require.Less(t, low, int64(math.MinInt64/2))
	require.Greater(t, high, int64(math.MaxInt64/2))
}

func TestZipf(t *testing.T) {
	const n, s, rows = 1000, 1.2, 100_000
	counts := make([]int, n+1)
	for _, r := range rowsOf[map[string]int64](t, "  a: {zipf: {n: 1000, s: 1.2}}\n", rows) {
		counts[r["a"]]++
	}
	total := 0.0
	for k := 1; k <= n; k++ {
		total += math.Pow(float64(k), -s)
	}
	for _, k := range []int{1, 2, 3, 10, 50} {
		want := rows * math.Pow(float64(k), -s) / total
		require.InDelta(t, want, counts[k], 5*math.Sqrt(want), "rank %d", k)
	}
	tail, want := 0, 0.0
	for k := 501; k <= n; k++ {
		tail += counts[k]
		want += rows * math.Pow(float64(k), -s) / total
	}
	require.InDelta(t, want, tail, 5*math.Sqrt(want))
}

func TestSamplerBounds(t *testing.T) {
	s := newSampler(5, func(i int) float64 { return []float64{0, 1, 0, 1, 0}[i] })
	require.Equal(t, 1, s.pick(0))
	require.Equal(t, 1, s.pick(1<<63-1))
	require.Equal(t, 3, s.pick(1<<63))
	require.Equal(t, 3, s.pick(math.MaxUint64))
	one := newSampler(1, func(int) float64 { return 3 })
	require.Zero(t, one.pick(math.MaxUint64))
}

func TestDeterministicFloats(t *testing.T) {
	for x := 1e-300; x < 1e300; x *= 1.7 {
		require.InEpsilon(t, 1, 1+math.Abs(ln(x)-math.Log(x))/max(1, math.Abs(math.Log(x))), 2e-15, "ln %g", x)
	}
	for x := -690.0; x < 690; x += 0.37 {
		require.InEpsilon(t, math.Exp(x), exp(x), 1e-12, "exp %g", x)
	}
	// The inverse of the normal distribution, against erfc.
	for _, x := range []float64{-5, -3, -1.5, -0.1, 0, 0.4, 2, 4} {
		p := math.Erfc(-x/math.Sqrt2) / 2
		require.InDelta(t, x, normal(uint64(p*(1<<53))<<11), 1e-6, "quantile %g", x)
	}
}

func TestNormal(t *testing.T) {
	sum, squares := 0.0, 0.0
	const n = 30_000
	for _, r := range rowsOf[map[string]float64](t, "  a: {normal: {mean: 10, sd: 2, scale: 6}}\n", n) {
		sum += r["a"]
		squares += r["a"] * r["a"]
	}
	require.InDelta(t, 10, sum/n, 0.06)
	require.InDelta(t, 2, math.Sqrt(squares/n-sum/n*sum/n), 0.05)
	for _, r := range rowsOf[map[string]json.Number](t, "  a: {normal: {mean: 10, sd: 20, min: 5, max: 12, scale: 0}}\n", 1000) {
		v, err := r["a"].Int64()
		require.NoError(t, err)
		require.True(t, v >= 5 && v <= 12, v)
	}
}

func TestDecimal(t *testing.T) {
	require.Equal(t, "-0.05", string(appendDecimal(nil, -5, 2)))
	require.Equal(t, "12.50", string(appendDecimal(nil, 1250, 2)))
	require.Equal(t, "-9223372036854775.808", string(appendDecimal(nil, math.MinInt64, 3)))
	require.Equal(t, "7", string(appendDecimal(nil, 7, 0)))
	form := regexp.MustCompile(`^-?\d{1,2}\.\d{3}$`)
	for _, r := range rowsOf[map[string]json.Number](t, "  a: {decimal: {min: -10, max: 10.5, scale: 3}}\n", 1000) {
		require.Regexp(t, form, string(r["a"]))
		v, err := r["a"].Float64()
		require.NoError(t, err)
		require.True(t, v >= -10 && v <= 10.5, v)
	}
	for _, r := range rowsOf[map[string]string](t, "  a: {decimal: {max: 1, scale: 1, text: true}}\n", 20) {
		require.Regexp(t, `^[01]\.\d$`, r["a"])
	}
}

func TestTexts(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rowsOf[map[string]string](t, `  id: uuid
  id2: {uuid: {}}
  s: {string: {pattern: 'A-##-??-^^-**-\#\\é'}}
  c: {choice: {values: ["a\"b", "ü"]}}
  k: {const: x}
`, 500) {
		id, err := googleuuid.Parse(r["id"])
		require.NoError(t, err)
		require.EqualValues(t, 4, id.Version())
		require.Equal(t, googleuuid.RFC4122, id.Variant())
		require.NotEqual(t, r["id"], r["id2"])
		require.Regexp(t, `^A-\d\d-[a-z]{2}-[A-Z]{2}-[0-9a-f]{2}-#\\é$`, r["s"])
		require.Contains(t, []string{`a"b`, "ü"}, r["c"])
		require.Equal(t, "x", r["k"])
		seen[r["id"]] = true
	}
	require.Len(t, seen, 500)
}

func TestFakes(t *testing.T) {
	for name := range fakes {
		distinct := map[string]bool{}
		for _, r := range rowsOf[map[string]string](t, "  a: {fake: "+name+"}\n", 60) {
			require.NotEmpty(t, r["a"], name)
			distinct[r["a"]] = true
		}
		require.Greater(t, len(distinct), 3, name)
	}
}

func TestNullsAndMissing(t *testing.T) {
	nulls, missing := 0, 0
	rows := rowsOf[map[string]any](t, "  a: {bool: {p: 25%}, nulls: 10%, missing: 0.2}\n  b: {const: 1}\n", 10_000)
	truths := 0
	for _, r := range rows {
		switch v, ok := r["a"]; {
		case !ok:
			missing++
		case v == nil:
			nulls++
		case v == true:
			truths++
		}
	}
	require.InDelta(t, 2_000, missing, 200)
	require.InDelta(t, 800, nulls, 140, "10% of the rest")
	require.InDelta(t, 1_800, truths, 200, "25% of what is left")
}

func TestNested(t *testing.T) {
	type row struct {
		O struct {
			L []struct {
				N int64   `json:"n"`
				X []int64 `json:"x"`
			} `json:"l"`
		} `json:"o"`
		M map[string]int64 `json:"m"`
	}
	lengths, sizes, sets := map[int]int{}, map[int]int{}, map[string]int{}
	different := 0
	for _, r := range rowsOf[row](t, `  o:
    object:
      l:
        list:
          of: {object: {n: {uniform: {max: 1000000}}, x: {list: {of: {uniform: {min: 1, max: 9}}, min: 2, max: 2}}}}
          min: 0
          max: 3
  m: {map: {keys: [p, q, r, s], value: {uniform: {max: 99}}, min: 1, max: 2}}
`, 12_000) {
		lengths[len(r.O.L)]++
		for _, e := range r.O.L {
			require.Len(t, e.X, 2)
		}
		if len(r.O.L) == 3 && r.O.L[0].N != r.O.L[1].N && r.O.L[1].N != r.O.L[2].N {
			different++
		}
		sizes[len(r.M)]++
		if len(r.M) == 2 {
			var keys []string
			for k := range r.M {
				keys = append(keys, k)
			}
			sort.Strings(keys)
			sets[strings.Join(keys, "")]++
		}
	}
	for n := range 4 {
		require.InDelta(t, 3000, lengths[n], 250, "lists of %d", n)
	}
	require.Greater(t, different, 2900, "elements draw for themselves")
	require.InDelta(t, 6000, sizes[1], 350)
	require.Len(t, sets, 6)
	for set, n := range sets {
		require.InDelta(t, 1000, n, 160, "keys %s", set)
	}
}

func TestCounts(t *testing.T) {
	for params, want := range map[string][2]int{"": {3, 3}, ", max: 2": {2, 2}, ", min: 5": {5, 5}, ", min: 1": {1, 3}, ", max: 9": {3, 9}, ", min: 0, max: 0": {0, 0}} {
		low, high := 99, 0
		for _, r := range rowsOf[map[string][]int](t, "  a: {list: {of: {const: 1}"+params+"}}\n", 300) {
			low, high = min(low, len(r["a"])), max(high, len(r["a"]))
		}
		require.Equal(t, want, [2]int{low, high}, params)
	}
}

func TestConstants(t *testing.T) {
	g := generator(t, specOf(t, `  a: {const: {x: [1, 2.50, null, true, "a\nb"], y: -3}}
  b: {choice: {values: [[1, 2]]}}
  s: {sequence: {start: 5, step: -2}}
  n: {const: null}
`), 1)
	require.Equal(t, `{"a":{"x":[1,2.50,null,true,"a\nb"],"y":-3},"b":[1,2],"s":-1,"n":null}`, string(g.AppendRow(nil, 3)))
}

func TestEventTime(t *testing.T) {
	type row struct {
		A string `json:"a"`
		B int64  `json:"b"`
		C int64  `json:"c"`
	}
	zone, err := time.LoadLocation("America/New_York")
	require.NoError(t, err)
	start := time.Date(2024, 3, 10, 1, 59, 0, 0, zone) // a minute before the clocks go forward
	late := 0
	var last int64
	for i, r := range rowsOf[row](t, `  a: {time: {start: "2024-03-10 01:59:00", zone: America/New_York, format: "%Y-%m-%d %H:%M:%S", rate: 7/m}}
  b: {time: {start: "2024-03-10T06:59:00Z", epoch: ms, rate: 1000, disorder: 250ms}}
  c: {time: {start: "1969-12-31T23:59:59.5Z", epoch: s, rate: 0.5}}
`, 3000) {
		want := start.Add(time.Duration(i) * time.Minute / 7).Truncate(time.Microsecond)
		require.Equal(t, want.Format(time.DateTime), r.A, "row %d", i)
		base := start.UnixMilli() + int64(i)
		require.True(t, r.B >= base && r.B < base+250, "row %d: %d", i, r.B-base)
		if r.B < last {
			late++
		}
		last = r.B
		require.EqualValues(t, math.Floor(-0.5+float64(i)*2), r.C)
	}
	require.Greater(t, late, 1000, "out of order")
}

func TestStartOverride(t *testing.T) {
	s, err := Load("nobroker")
	require.NoError(t, err)
	for start, want := range map[string]string{
		"2022-01-01":           "2022-01-01 00:00:00",
		"2022-01-01 10:30:00":  "2022-01-01 10:30:00",
		"2022-01-01T00:00:00Z": "2022-01-01 05:30:00",
	} {
		g, err := NewGenerator(s, 1, start)
		require.NoError(t, err)
		require.Contains(t, string(g.AppendRow(nil, 0)), `"date":"`+want+`"`)
	}
	_, err = NewGenerator(s, 1, "yesterday")
	require.ErrorContains(t, err, `generate nobroker: start: "yesterday" is no time`)
	_, err = NewGenerator(specOf(t, "  a: uuid\n"), 1, "2022-01-01")
	require.ErrorContains(t, err, "the spec has no time")
}

func TestLoad(t *testing.T) {
	_, err := Load("nobrokr")
	require.ErrorContains(t, err, "there is none of this name; hint: clicks, nobroker, or the path of a file such as ./nobrokr.yaml")
	_, err = Load("./nothing.yaml")
	require.ErrorIs(t, err, os.ErrNotExist)
	path := filepath.Join(t.TempDir(), "own.yaml")
	require.NoError(t, os.WriteFile(path, []byte("version: 1\ndoc: mine\nfields: {a: uuid}\n"), 0o644))
	s, err := Load(path)
	require.NoError(t, err)
	require.Equal(t, "own", s.Name)
	require.Equal(t, "mine", s.Doc)
	require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte("# long\n"), 100_000), 0o644))
	_, err = Load(path)
	require.ErrorContains(t, err, "at most 256 KiB")
}

// Each file in testdata has the errors that it must give in its comments: "# want: …".
func TestBadSpecs(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		var want []string
		for line := range strings.SplitSeq(string(data), "\n") {
			if w, ok := strings.CutPrefix(line, "# want: "); ok {
				want = append(want, w)
			}
		}
		_, err = ParseSpec(filepath.Base(file), data)
		var specErrors SpecErrors
		require.True(t, errors.As(err, &specErrors), "%s: %v", file, err)
		require.Equal(t, want, strings.Split(err.Error(), "\n"), file)
	}
}

func FuzzParseSpec(f *testing.F) {
	for _, name := range Shipped() {
		data, err := shipped.ReadFile("specs/" + name + ".yaml")
		require.NoError(f, err)
		f.Add(data)
	}
	f.Add([]byte("version: 1\nfields: {a: {list: {of: {list: {of: uuid}}}}, b: &x 1, c: *x}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.Contains(data, []byte("zipf")) && len(regexp.MustCompile(`\d{6}`).Find(data)) > 0 {
			return // tables of millions are slow to make, and no fault
		}
		s, err := ParseSpec("fuzz.yaml", data)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		g, err := NewGenerator(s, 1, "")
		require.NoError(t, err)
		var before []byte
		for _, row := range []int64{0, 1, 1 << 40} {
			before = g.AppendRow(before[:0], row)
			if len(before) > 1<<16 {
				return
			}
			require.True(t, json.Valid(before), "%s", before)
		}
	})
}

func BenchmarkAppendRow(b *testing.B) {
	for _, name := range Shipped() {
		b.Run(name, func(b *testing.B) {
			s, err := Load(name)
			require.NoError(b, err)
			g, err := NewGenerator(s, 1, "")
			require.NoError(b, err)
			row, size := int64(0), 0
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				dst = g.AppendRow(dst[:0], row)
				size += len(dst)
				row++
			}
			b.SetBytes(int64(size) / row)
			b.ReportMetric(float64(row)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
