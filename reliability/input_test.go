package reliability

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Case 22: records out of order by up to three minutes, where ten seconds are
// allowed, over midnight and the end of summer time, with kills in between. All
// land, under their own date; a window that is closed takes no more.
func TestLateRecords(t *testing.T) {
	t.Parallel()
	ctx := limited(t, 2*time.Minute)
	w := newWorld(t, servers.Kafka(t), lake(t), seed(t), 1) // one partition: what is late is a matter of offsets
	w.stream.spread = 3 * time.Minute
	for range 3 {
		w.feed(ctx, 1500)
		n := w.follow()
		w.untilRows(ctx, int64(w.good()-1200))
		n.kill()
	}
	w.stream.add(0, w.stream.next[0].Truncate(time.Minute))                    // on a boundary
	w.stream.add(0, w.stream.next[0].Truncate(time.Minute).Add(-time.Hour))    // far behind
	w.stream.add(0, w.stream.next[0].Truncate(24*time.Hour).Add(-2*time.Hour)) // Berlin's midnight
	w.seal(ctx)
	w.finish(ctx)
	w.clean(ctx)
	m := newModel(w.stream, w.sealed)
	require.Greater(t, m.late, 500, "there were late records")
	require.True(t, w.stream.next[0].After(time.Date(2021, 10, 31, 2, 0, 0, 0, time.UTC)), "summer time ended")
}

// poisons are records that no schema takes, each for a reason of its own.
func poisons() []string {
	return []string{
		"", "null", "[]", "{", "\xff\xfe{}", "not json", "\x00",
		`{"part":0,"off":1,"user":2,"ts":"2021-10-31T00:00:00Z"`,
		`{"part":0,"off":1,"user":null,"ts":"2021-10-31T00:00:00Z"}`,
		`{"part":0,"off":1,"ts":"2021-10-31T00:00:00Z"}`,
		`{"part":0,"off":1,"user":9223372036854775808,"ts":"2021-10-31T00:00:00Z"}`,
		`{"part":2147483648,"off":1,"user":2,"ts":"2021-10-31T00:00:00Z"}`,
		`{"part":0,"off":1,"user":NaN,"ts":"2021-10-31T00:00:00Z"}`,
		`{"part":0,"off":1,"user":Infinity,"ts":"2021-10-31T00:00:00Z"}`,
		`{"part":0,"off":1,"user":1.5,"ts":"2021-10-31T00:00:00Z"}`,
		`{"part":0,"off":1,"user":2,"ts":"2021-13-31T00:00:00Z"}`,
		`{"part":0,"off":1,"user":2,"user":3,"ts":"2021-10-31T00:00:00Z"}`,
		`{"part":0,"off":1,"user":2,"ts":"2021-10-31T00:00:00Z","kind":"` + "\xc3\x28" + `"}`,
		`{"part":0,"off":1,"user":2,"ts":"2021-10-31T00:00:00Z","deep":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`,
		`{"part":0,"off":1,"user":2,"ts":"2021-10-31T00:00:00Z","kind":"` + strings.Repeat("x", 900_000),
	}
}

// Case 24: poison in between. Each is a dead letter with its offset, and a kill
// does not double or lose one.
func TestPoison(t *testing.T) {
	t.Parallel()
	ctx := limited(t, 2*time.Minute)
	w := newWorld(t, servers.Kafka(t), lake(t), seed(t), partitions)
	// A record of 900 kB is larger than the batches that this world makes.
	w.largeBatches()
	for i, raw := range poisons() {
		w.stream.grow(40)
		w.stream.poison(i%partitions, raw)
		w.stream.poison(i%partitions, raw)
	}
	w.feed(ctx, 100)
	n := w.follow()
	w.untilRows(ctx, 300)
	n.kill()
	w.seal(ctx)
	w.finish(ctx)
	w.clean(ctx)
}

// Case 23: in midstream a column is added and one widened, with a kill at the
// change. Old rows read null; a narrower column is refused.
func TestSchemaChange(t *testing.T) {
	t.Parallel()
	ctx := limited(t, 2*time.Minute)
	w := begun(ctx, t, servers.Kafka(t))
	first := w.schema
	w.stream.extra = "new"
	w.schema = "part: int64!, off: int64!, user: int64!, ts: timestamp!, kind: string, extra: string"
	w.writeJob("", "")
	split := make([]int, partitions)
	copy(split, w.stream.sent)
	w.feed(ctx, 1500)
	n := w.follow()
	w.untilRows(ctx, int64(w.good()-1200))
	n.kill()
	w.schema = strings.Replace(first, "user: int64!", "user: int32!", 1)
	w.writeJob("", "")
	w.refuses(ctx, "user", config)
	w.schema = "part: int64!, off: int64!, user: int64!, ts: timestamp!, kind: string, extra: string"
	w.writeJob("", "")
	n = w.follow()
	w.feed(ctx, 500)
	w.untilRows(ctx, int64(w.good()))
	n.signal(syscall.SIGTERM)
	w.ends(ctx, n, exit0)
	w.seal(ctx)
	w.finish(ctx)
	w.clean(ctx)

	r, err := w.readTable(ctx, "r.events", "part,off,extra")
	require.NoError(t, err)
	for _, cells := range r.Rows {
		var part, off int
		var extra *string
		for i, into := range []any{&part, &off, &extra} {
			require.NoError(t, json.Unmarshal(cells[i], into))
		}
		if off < split[part] {
			require.Nil(t, extra, "%d/%d was written before the column", part, off)
		} else {
			require.Equal(t, "new", *extra, "%d/%d", part, off)
		}
	}
}

// Case 23: columns that go. The job file may not drop or rename a column: the rows
// that are there have it. Another engine may, in the table: once the job says the
// same, it goes on, and what was written before reads as the table says now.
func TestColumnsGo(t *testing.T) {
	t.Parallel()
	ctx := limited(t, 3*time.Minute)
	w := newWorld(t, servers.Kafka(t), lake(t), seed(t), partitions)
	w.stream.extra = "old"
	base := w.schema
	w.schema = base + ", extra: string, more: int64"
	w.writeJob("", "")
	w.feed(ctx, 1000)
	w.pass(ctx, int64(w.good()))

	job := func(columns, why string) {
		w.schema = base + columns
		w.writeJob("", "")
		if why != "" {
			w.refuses(ctx, why, config)
		}
	}
	job(", extra: string", "more (int64) is in the table and not in the schema")
	job(", extra2: string, more: int64", "extra (string) is in the table and not in the schema")
	w.change(ctx, "drop-column", "more")
	job(", extra: string", "")
	w.feed(ctx, 500)
	w.pass(ctx, int64(w.good()))
	w.change(ctx, "rename-column", "extra", "note")
	job(", note: {type: string, from: extra}", "")
	w.stream.extra = "new"
	before := append([]int(nil), w.stream.sent...)
	w.feed(ctx, 500)
	n := w.follow()
	w.untilRows(ctx, int64(w.good()-250))
	n.kill()
	w.seal(ctx)
	w.finish(ctx)
	w.ends(ctx, w.start(nil, "compact"), exit0) // old files and new ones become one
	w.clean(ctx)

	r, err := w.readTable(ctx, "r.events", "part,off,note")
	require.NoError(t, err)
	require.Len(t, r.Rows, w.good())
	for _, cells := range r.Rows {
		var part, off int
		var note string
		for i, into := range []any{&part, &off, &note} {
			require.NoError(t, json.Unmarshal(cells[i], into))
		}
		want := "old"
		if off >= before[part] {
			want = "new"
		}
		require.Equal(t, want, note, "%d/%d", part, off)
	}
}
