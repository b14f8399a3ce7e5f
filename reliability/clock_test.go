package reliability

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
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
