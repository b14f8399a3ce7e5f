package jobs

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/stretchr/testify/require"
)

// sourceOf is the source of a job with these options.
func sourceOf(t *testing.T, options string) Adapter {
	t.Helper()
	job, err := Parse("a.yaml", []byte("version: 1\nname: a\nschema: {a: int64}\ntable: {name: a.b}\nsource:\n  kind:\n"+options), lookup)
	require.NoError(t, err)
	return job.Source
}

// mechanism reads itself from a text, start from a node, either from a function.
type mechanism struct{ name string }

func (m *mechanism) UnmarshalText(text []byte) error {
	if string(text) != "plain" {
		return fmt.Errorf("unknown mechanism %q; hint: plain", text)
	}
	m.name = string(text)
	return nil
}

type start struct{ at string }

func (s *start) UnmarshalYAML(n ast.Node) error {
	if err := yaml.NodeToValue(n, &s.at); err != nil || s.at == "never" {
		return &yaml.SyntaxError{Message: fmt.Sprintf("start: %q; hint: earliest", s.at), Token: n.GetToken()}
	}
	return nil
}

type either []string

func (e *either) UnmarshalYAML(decode func(any) error) error {
	var one string
	if decode(&one) == nil {
		*e = either{one}
		return nil
	}
	return decode((*[]string)(e))
}

type connection struct {
	Hosts []string `yaml:"hosts"`
	TLS   *struct {
		CA     string `yaml:"ca"`
		Verify bool   `yaml:"verify"`
	} `yaml:"tls"`
}

type options struct {
	connection `yaml:",inline"`
	Connection connection        `yaml:",inline"`
	Topic      string            `yaml:"topic"`
	Rename     map[string]string `yaml:"rename"`
	Offsets    map[int32]int64   `yaml:"offsets"`
	Wait       time.Duration     `yaml:"wait"`
	MaxBytes   int32             `yaml:"max_bytes"`
	Count      uint8             `yaml:"count"`
	Rate       float64           `yaml:"rate"`
	Mechanism  mechanism         `yaml:"mechanism"`
	Start      start             `yaml:"start"`
	Columns    either            `yaml:"columns"`
	Ignored    string            `yaml:"-"`
	Untagged   string
}

func TestAdapterDecode(t *testing.T) {
	a := sourceOf(t, `
    hosts: [a, "${NUMBER}"]
    tls: {ca: x, verify: "${FLAG}"}
    topic: 007
    rename: {a: a.b, on: "off"}
    offsets: {0: 9223372036854775807, 1: 2}
    wait: 1m30s
    max_bytes: 32MiB
    count: 255
    rate: 1e3
    mechanism: plain
    start: ${NOPE:-earliest}
    columns: a
    untagged: u
`)
	require.Equal(t, "kind", a.Kind)
	require.Equal(t, Pos{6, 3}, a.Pos)
	got := options{Ignored: "kept"}
	require.NoError(t, a.Decode(&got))
	require.Equal(t, []string{"a", "42"}, got.Connection.Hosts)
	require.Equal(t, "x", got.Connection.TLS.CA)
	require.False(t, got.Connection.TLS.Verify)
	require.Equal(t, "007", got.Topic, "as it is written")
	require.Equal(t, map[string]string{"a": "a.b", "on": "off"}, got.Rename)
	require.Equal(t, map[int32]int64{0: 9223372036854775807, 1: 2}, got.Offsets)
	require.Equal(t, 90*time.Second, got.Wait)
	require.Equal(t, int32(32<<20), got.MaxBytes)
	require.Equal(t, uint8(255), got.Count)
	require.Equal(t, 1000.0, got.Rate)
	require.Equal(t, "plain", got.Mechanism.name)
	require.Equal(t, "earliest", got.Start.at)
	require.Equal(t, either{"a"}, got.Columns)
	require.Equal(t, "kept", got.Ignored)
	require.Equal(t, "u", got.Untagged)

	require.Equal(t, Pos{10, 12}, a.At("topic"))
	require.Equal(t, Pos{9, 15}, a.At("tls.ca"))
	require.Equal(t, a.Pos, a.At("tls.nothing"))
	require.Equal(t, a.Pos, a.At("topic.inner"))
}

func TestAdapterDecodeErrors(t *testing.T) {
	a := sourceOf(t, `
    hosts: a
    tls: {ca: true, verfy: true}
    topik: x
    rename: {a: [b], a: c}
    offsets: {zero: 1, 3000000000: 1, 1: x}
    wait: 90
    max_bytes: 4GiB
    count: 256
    rate: fast
    mechanism: "${SECRET}"
    start: never
    columns: {a: b}
    Ignored: x
`)
	err := a.Decode(&options{})
	var list Errors
	require.True(t, errors.As(err, &list))
	require.Equal(t, strings.TrimSpace(`
a.yaml:8:12: kind.hosts: a list expected, not a text; hint: write [a]
a.yaml:9:15: kind.tls.ca: a text expected, not true or false; hint: quote it: "true"
a.yaml:9:21: kind.tls: unknown key "verfy"; hint: did you mean "verify"?
a.yaml:10:5: kind: unknown key "topik"; hint: did you mean "topic"?
a.yaml:11:17: kind.rename.a: a text expected, not a list
a.yaml:11:22: kind.rename: a second "a"; hint: the first one is in line 11
a.yaml:12:15: kind.offsets: not a whole number: "zero"
a.yaml:12:24: kind.offsets: out of range: "3000000000"
a.yaml:12:42: kind.offsets.1: not a whole number: "x"
a.yaml:13:11: kind.wait: not a duration: "90"; hint: write a number and a unit: 500ms, 10s, 5m, 24h, 7d
a.yaml:14:16: kind.max_bytes: out of range: "4GiB"; hint: write bytes, or a number and a unit: 512KiB, 64MiB, 2GiB, 10GB
a.yaml:15:12: kind.count: out of range: "256"
a.yaml:16:11: kind.rate: not a number: "fast"
a.yaml:17:16: kind.mechanism: unknown mechanism "${SECRET}"; hint: plain
a.yaml:18:12: start: "never"; hint: earliest
a.yaml:19:14: kind.columns: a list expected, not a mapping; hint: write [{a: …}]
a.yaml:20:5: kind: unknown key "Ignored"; hint: there are: columns, count, hosts, max_bytes, mechanism, offsets, rate, rename, start, tls, topic, untagged, wait
`), err.Error())
	require.ErrorContains(t, a.Decode(options{}), "is not a pointer")
}

func TestAdapterWithoutOptions(t *testing.T) {
	got := options{Topic: "as before"}
	require.NoError(t, sourceOf(t, "").Decode(&got))
	require.Equal(t, options{Topic: "as before"}, got)
	require.NoError(t, Adapter{}.Decode(&got))
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{"10s": 10 * time.Second, "24h": 24 * time.Hour, "7d": 168 * time.Hour, "2w": 336 * time.Hour,
		"1h30m": 90 * time.Minute, "1.5s": 1500 * time.Millisecond, "500ms": 500 * time.Millisecond, "0": 0, "0s": 0} {
		got, err := parseDuration(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "10", "s", "10 s", "-5s", "10S", "1.2.3s", "10y", "10s5", "5m ", "300000000h", "+5s", "1e3s"} {
		_, err := parseDuration(text)
		require.Error(t, err, text)
	}
}

func TestSizesAndNumbers(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "67108864": 64 << 20, "1_000": 1000, "64MiB": 64 << 20, "1.5GiB": 3 << 29, "10GB": 1e10, "512 KiB": 512 << 10, "7B": 7, "2tib": 2 << 40} {
		got, err := parseSize(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "MiB", "64M", "64MiBs", "-1", "1..5GiB", "1.5", "9999999TiB", "0x10"} {
		_, err := parseSize(text)
		require.Error(t, err, text)
	}
	for _, text := range []string{"", "_1", "1_", "1__0", "0x1f", "+1", "1.0", "1e3", "9223372036854775808"} {
		_, err := parseInteger(text)
		require.Error(t, err, text)
	}
	for text, want := range map[string]float64{"1%": 0.01, "0.01": 0.01, "100%": 1, "0": 0, "12.5 %": 0.125} {
		got, err := parseRatio(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "%", "101%", "-1%", "2", "NaN", "x"} {
		_, err := parseRatio(text)
		require.Error(t, err, text)
	}
}

// Hostile files end at once, in a bounded space.
func TestHostileFiles(t *testing.T) {
	const size = maxFileBytes / 4
	for name, text := range map[string]string{
		"brackets":        strings.Repeat("[", size),
		"braces":          strings.Repeat("{a: ", size/4),
		"entries":         strings.Repeat("- ", size/2),
		"questions":       strings.Repeat("? ", size/2),
		"quotes":          strings.Repeat("\"\\", size/2),
		"dollars":         "version: 1\nname: \"" + strings.Repeat("$$", maxFileBytes/2-20) + "\"\n",
		"growth":          "version: 1\nname: [" + strings.Repeat("\"${BIG}\",", 1000) + "]\n",
		"wide":            "version: 1\nname: [" + strings.Repeat("é,", size/3-20) + "]\n",
		"many errors":     "version: 1\n" + strings.Repeat("k: 1\n", size/5-20),
		"as many keys":    "version: 1\n" + strings.Repeat("k: 1\n", maxKeys-1),
		"list":            "version: 1\nname:\n" + strings.Repeat("- a\n", maxTokens/2-10),
		"comments":        strings.Repeat("#\n", size/2),
		"comments behind": strings.Repeat("a: 1 #\n", maxKeys-1),
		"nested":          nestedBlocks(1400),
		"long line":       "version: 1\nname: " + strings.Repeat("a", maxFileBytes-20) + "\n",
		"colons":          strings.Repeat("a:\n", size/3),
		"block":           "version: 1\nname: |\n" + strings.Repeat(" a\n", maxFileBytes/3-20),
		"lines in quotes": "version: 1\nname: \"" + strings.Repeat("a\n ", maxFileBytes/3-20) + "\"\n",
	} {
		t.Run(name, func(t *testing.T) {
			require.LessOrEqual(t, len(text), maxFileBytes)
			_, err := Parse("a.yaml", []byte(text), func(string) (string, bool) { return strings.Repeat("x", maxValue), true })
			var list Errors
			require.True(t, errors.As(err, &list))
			require.LessOrEqual(t, len(list), maxErrors+1)
			require.Less(t, len(err.Error()), 64<<10)
		})
	}
}

func nestedBlocks(depth int) string {
	var b strings.Builder
	for i := 0; b.Len() < maxFileBytes-2*depth && i < depth; i++ {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}
