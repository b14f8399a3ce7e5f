package ingest_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"lake/ingest"
	"lake/rules/tally"
)

// TestRestartFromWhatIsLeft: a state that is larger than what a commit writes is
// spread over several checkpoint files. Whenever the run ends, the next one finds
// what it needs in them, and there are no others.
func TestRestartFromWhatIsLeft(t *testing.T) {
	const users = 60_000
	r := newRig(t)
	rule := ruleText{"counted", "SELECT user, COUNT(*) AS n FROM events GROUP BY user HAVING n >= 1", tally.OnChange}
	small := ruleText{"small", "SELECT COUNT(*) AS n FROM events HAVING n >= 1", tally.OnChange}
	random := rand.New(rand.NewPCG(5, 6))
	want := map[int]int{}
	var all strings.Builder
	for user := range users {
		all.WriteString(record(user, "00:00:00"))
		want[user]++
	}
	batches := []string{all.String()}
	longest := 0
	for commits := 1; commits < 40; {
		run := random.IntN(4) + 1 // commits of this run
		for range run {
			var few strings.Builder
			for range 1500 {
				user := random.IntN(users + 500)
				few.WriteString(record(user, "00:00:01"))
				want[user]++
			}
			batches = append(batches, few.String())
		}
		cfg := r.config(&lines{batches: batches}, &recorder{}, rule)
		if commits > 20 { // a rule that is new does not make the other one write more
			cfg = r.config(&lines{batches: batches}, &recorder{}, rule, small)
		}
		cfg.MaxRecords = 1
		result, err := ingest.Run(t.Context(), cfg, nil)
		require.NoError(t, err)
		commits += run
		require.EqualValues(t, len(batches), result.Seq)

		names, needed := r.checkpoints()
		require.Equal(t, needed, names)
		longest = max(longest, len(names))
	}
	require.Greater(t, longest, 3, "the state has to be larger than a slice for the test to mean something")
	require.Less(t, longest, 66)

	// The oldest is needed, too.
	names, _ := r.checkpoints()
	gone := filepath.Join(r.folder, "checkpoints", "x", "all", names[0])
	require.NoError(t, os.Rename(gone, gone+".away"))
	_, err := ingest.Run(t.Context(), r.config(&lines{batches: batches}, &recorder{}, rule, small), nil)
	require.ErrorContains(t, err, names[0])
	require.NoError(t, os.Rename(gone+".away", gone))

	var last strings.Builder
	var expected []string
	for user := range users + 500 {
		last.WriteString(record(user, "00:00:02"))
		expected = append(expected, fmt.Sprintf(`%d counted {"user":%d,"n":%d}`, len(batches)+1, user, want[user]+1))
	}
	sink := &recorder{}
	_, err = ingest.Run(t.Context(), r.config(&lines{batches: append(batches, last.String())}, sink, rule), nil)
	require.NoError(t, err)
	sink.got = slices.DeleteFunc(sink.got, func(line string) bool { return !strings.HasPrefix(line, fmt.Sprint(len(batches)+1)) })
	require.Equal(t, expected, sink.got)
}

// checkpoints are the files in the folder, and those that the newest one names
// with itself, read without the help of the code under test.
func (r *rig) checkpoints() (names, needed []string) {
	folder := filepath.Join(r.folder, "checkpoints", "x", "all")
	entries, err := os.ReadDir(folder)
	require.NoError(r.t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	data, err := os.ReadFile(filepath.Join(folder, names[len(names)-1]))
	require.NoError(r.t, err)
	var header struct {
		Chain []struct{ Name string }
	}
	require.NoError(r.t, json.Unmarshal(data[16:][:binary.LittleEndian.Uint64(data[8:])], &header))
	for _, l := range header.Chain {
		needed = append(needed, l.Name)
	}
	return names, append(needed, names[len(names)-1])
}
