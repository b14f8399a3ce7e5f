package kafka

import (
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"lake/brokers"
)

func TestConfigFromYAML(t *testing.T) {
	base := "brokers: [a:1, b:2]\ntopics: [Events]\n"
	for text, want := range map[string]Start{
		"":                                 {},
		"start: earliest":                  {},
		"start: latest":                    {Latest: true},
		"start: 2021-11-30T00:00:00+05:30": {At: time.Date(2021, 11, 29, 18, 30, 0, 0, time.UTC)},
		`start: "2021-11-30T00:00:00Z"`:    {At: time.Date(2021, 11, 30, 0, 0, 0, 0, time.UTC)},
		"start: {Events: {0: 2, 7: 15}}":   {Offsets: map[string]map[int32]int64{"Events": {0: 2, 7: 15}}},
		"start:\n  Events:\n    0: 2\n":    {Offsets: map[string]map[int32]int64{"Events": {0: 2}}},
	} {
		var c Config
		require.NoError(t, yaml.UnmarshalWithOptions([]byte(base+text), &c, yaml.Strict()), text)
		require.True(t, want.At.Equal(c.Start.At), text)
		c.Start.At = want.At
		require.Equal(t, Config{Config: brokers.Config{Brokers: []string{"a:1", "b:2"}}, Topics: []string{"Events"}, Start: want}, c, text)
		require.NoError(t, c.Check())
	}
	var c Config
	require.NoError(t, yaml.UnmarshalWithOptions([]byte(base+"group: g\nfetch: {max_wait: 250ms, max_bytes: 1000}\nsasl: {mechanism: plain, user: u, password: p}"), &c, yaml.Strict()))
	require.Equal(t, Fetch{MaxWait: 250 * time.Millisecond, MaxBytes: 1000}, c.Fetch)
	require.Equal(t, "g", c.Group)
	for text, want := range map[string]string{
		"start: yesterday":        "[3:8] start: \"yesterday\"; hint: earliest, latest, a time",
		"start: {Events: {x: 1}}": "[3:18]",
		"start: [1]":              "[3:",
		"topic: Events":           "unknown field \"topic\"",
	} {
		err := yaml.UnmarshalWithOptions([]byte(base+text), &Config{}, yaml.Strict())
		require.ErrorContains(t, err, want, text)
	}
}

func TestCheckFindsAll(t *testing.T) {
	err := Config{Topics: []string{"a b", "x", "x"}, Start: Start{Offsets: map[string]map[int32]int64{"y": {0: -1}}}}.Check()
	for _, want := range []string{"brokers is empty", `"a b" is not a topic's name`, `"x" is there twice`, `start: topic "y" is not in topics`, "start: y/0 at -1"} {
		require.ErrorContains(t, err, want)
	}
	require.ErrorContains(t, Config{}.Check(), "topics is empty")
	_, err = New(Config{}, Options{})
	require.ErrorContains(t, err, "source kafka: ")
}
