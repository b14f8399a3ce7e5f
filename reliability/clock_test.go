package reliability

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// Case 21: a machine whose clock is ahead wrote to the table. Half a minute is
// borne; two minutes and a day stop the run, which says which clock to look at
// and loses nothing: it goes on once the clocks agree.
func TestClockOff(t *testing.T) {
	t.Parallel()
	ctx := limited(t, 2*time.Minute)
	w := begun(ctx, t, servers.Kafka(t))
	w.feed(ctx, 500)
	for _, ahead := range []time.Duration{2 * time.Minute, 24 * time.Hour} {
		back := w.writtenAhead(ctx, ahead)
		w.refuses(ctx, "this machine's clock is", person)
		back()
	}
	w.writtenAhead(ctx, 30*time.Second)
	w.pass(ctx, int64(w.good()))
	w.seal(ctx)
	w.finish(ctx)
	w.clean(ctx)
}

// writtenAhead gives the table a version that a clock ahead by so much dated.
// back makes the version before current again.
func (w *world) writtenAhead(ctx context.Context, ahead time.Duration) (back func()) {
	w.t.Helper()
	was, err := w.metadata(ctx, "r.events")
	require.NoError(w.t, err)
	data, err := os.ReadFile(strings.TrimPrefix(was, "file://"))
	require.NoError(w.t, err)
	var doc map[string]json.RawMessage
	require.NoError(w.t, json.Unmarshal(data, &doc))
	doc["last-updated-ms"] = fmt.Append(nil, time.Now().Add(ahead).UnixMilli())
	data, err = json.Marshal(doc)
	require.NoError(w.t, err)
	is := filepath.Join(filepath.Dir(was), "09000-"+uuid.NewString()+".metadata.json")
	is = "file:///" + strings.TrimLeft(strings.TrimPrefix(is, "file:"), "/")
	require.NoError(w.t, os.WriteFile(strings.TrimPrefix(is, "file://"), data, 0o644))
	w.point(ctx, was, is)
	return func() { w.point(ctx, is, was) }
}

// point swaps the catalog's metadata location, as a catalog does.
func (w *world) point(ctx context.Context, from, to string) {
	w.t.Helper()
	db, err := sql.Open("sqlite", "file:"+w.catalogFile()+"?_pragma=busy_timeout(10000)")
	require.NoError(w.t, err)
	defer db.Close()
	done, err := db.ExecContext(ctx, "UPDATE iceberg_tables SET metadata_location = ? WHERE metadata_location = ?", to, from)
	require.NoError(w.t, err)
	n, err := done.RowsAffected()
	require.NoError(w.t, err)
	require.Equal(w.t, int64(1), n)
}

// shifted makes a lake whose clock is off by LAKE_TEST_CLOCK seconds, in all of
// its libraries: time.Now itself is another one.
func shifted(t *testing.T) string {
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	require.NoError(t, err)
	folder := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	data, err := os.ReadFile(filepath.Join(folder, "time.go"))
	require.NoError(t, err)
	const old = "func Now() Time {\n	sec, nsec, mono := runtimeNow()\n"
	require.Equal(t, 1, strings.Count(string(data), old), "time.Now has changed; mend the edit")
	return build(t, "shifted", map[string]string{
		filepath.Join(folder, "time.go"):  strings.Replace(string(data), old, old+"	sec += shift\n", 1),
		filepath.Join(folder, "shift.go"): shiftSource,
	})
}

const shiftSource = `package time

import "syscall"

var shift = func() (seconds int64) {
	text, _ := syscall.Getenv("LAKE_TEST_CLOCK")
	for i := 0; i < len(text); i++ {
		if text[i] != '-' {
			seconds = seconds*10 + int64(text[i]-'0')
		}
	}
	if text != "" && text[0] == '-' {
		return -seconds
	}
	return seconds
}()
`

// Case 21: lake's own clock is off. Behind the table's by more than a minute it
// writes nothing; half a minute either way is borne; a process that is a day
// ahead stops the next one that is not, and nothing is lost by it.
func TestOwnClockOff(t *testing.T) {
	onlyLong(t)
	t.Parallel()
	binary := shifted(t) // all of the standard library is built anew
	ctx := limited(t, 4*time.Minute)
	w := newWorld(t, servers.Kafka(t), binary, seed(t), partitions)
	w.feed(ctx, 2000)
	w.pass(ctx, 1900)
	set := func(d time.Duration) {
		w.env = []string{fmt.Sprintf("LAKE_TEST_CLOCK=%d", int64(d/time.Second))}
	}
	w.feed(ctx, 500)
	for _, behind := range []time.Duration{2 * time.Minute, 24 * time.Hour} {
		set(-behind)
		w.refuses(ctx, "this machine's clock is", person)
	}
	for _, off := range []time.Duration{-30 * time.Second, 30 * time.Second, 0, 24 * time.Hour} {
		w.feed(ctx, 300)
		set(off)
		w.pass(ctx, int64(w.good()))
	}
	w.feed(ctx, 300)
	set(0)
	w.refuses(ctx, "this machine's clock is", person)
	set(24 * time.Hour)
	w.seal(ctx)
	w.finish(ctx)
	w.clean(ctx)
}
