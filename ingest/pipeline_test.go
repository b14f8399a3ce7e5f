package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"lake/ingest"
	"lake/ingest/decode"
	"lake/ingest/decode/json"
	"lake/load"
	"lake/rules"
	"lake/rules/tally"
	"lake/schemas"
	"lake/storage"
	"lake/table"
)

// lines is a source of one partition: each element is a batch; after the last
// it ends, or waits where hold is set.
type lines struct {
	batches []string
	hold    chan struct{}
	polled  chan struct{} // receives at each Poll, where set
	acked   chan ingest.Offsets
	next    int
	offset  int64
}

func (l *lines) ID(context.Context) (string, error) { return "lines", nil }

func (l *lines) Seek(_ context.Context, offsets ingest.Offsets) error {
	for l.offset < offsets["p"].Next && l.next < len(l.batches) {
		l.offset += int64(strings.Count(l.batches[l.next], "\n"))
		l.next++
	}
	if l.offset != offsets["p"].Next {
		return fmt.Errorf("offset %d is not between two batches", offsets["p"].Next)
	}
	return nil
}

func (l *lines) Poll(ctx context.Context) (ingest.Batch, error) {
	if l.polled != nil {
		select {
		case l.polled <- struct{}{}:
		case <-ctx.Done():
			return ingest.Batch{}, ctx.Err()
		}
	}
	if l.next == len(l.batches) {
		if l.hold == nil {
			return ingest.Batch{}, io.EOF
		}
		select {
		case <-l.hold:
			return ingest.Batch{}, io.EOF
		case <-ctx.Done():
			return ingest.Batch{}, ctx.Err()
		}
	}
	b := ingest.Batch{Partition: "p"}
	for line := range strings.Lines(l.batches[l.next]) {
		b.Records = append(b.Records, []byte(strings.TrimSuffix(line, "\n")))
		b.Offsets = append(b.Offsets, l.offset)
		l.offset++
	}
	l.next++
	b.Position = ingest.Position{Next: l.offset, Records: l.offset}
	return b, nil
}

func (l *lines) Ack(_ context.Context, offsets ingest.Offsets) error {
	if l.acked != nil {
		l.acked <- offsets
	}
	return nil
}

func (l *lines) Close() error { return nil }

// recorder is a sink that remembers; it fails where failing says so.
type recorder struct {
	mu      sync.Mutex // shards deliver at the same time
	got     []string   // "seq rule column=value …"
	failing bool
	closed  bool // Open fails
}

func (r *recorder) Open(context.Context, string, string, int64) (int64, error) {
	if r.closed {
		return -1, errors.New("the sink is closed")
	}
	return -1, nil
}

func (r *recorder) Deliver(_ context.Context, d load.Delivery) error {
	if r.failing {
		return errors.New("the sink is away")
	}
	for _, a := range d.Answers {
		w, err := schemas.NewJSONWriter(a.Rows.Schema(), time.UTC, nil)
		if err != nil {
			return err
		}
		for row := range int(a.Rows.NumRows()) {
			line := fmt.Sprintf("%d %s %s", d.Seq, a.Rule, w.AppendRow(nil, a.Rows, row))
			r.mu.Lock()
			r.got = append(r.got, line)
			r.mu.Unlock()
		}
	}
	return nil
}

func (r *recorder) Close() error { return nil }

// rig is a pipeline over a catalog in a temporary folder.
type rig struct {
	t       *testing.T
	catalog *table.Catalog
	mem     *memory.CheckedAllocator
	columns schemas.Schema
	made    []schemas.Field
	folder  string
}

func newRig(t *testing.T) *rig { return newRigOf(t, true) }

// newRigOf is a rig whose users may be NULL where they are not required.
func newRigOf(t *testing.T, required bool) *rig {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	folder := t.TempDir()
	catalog, err := table.OpenCatalog(t.Context(), table.CatalogConfig{Warehouse: folder})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, catalog.Close()) })
	kind := func(name string, k schemas.Kind) schemas.Field {
		return schemas.Field{Name: name, Type: schemas.Type{Kind: k}, Required: true}
	}
	r := &rig{t: t, catalog: catalog, mem: memory.NewCheckedAllocator(memory.DefaultAllocator), folder: folder}
	t.Cleanup(func() { r.mem.AssertSize(t, 0) })
	r.columns = schemas.Schema{Fields: []schemas.Field{kind("user", schemas.Int64), kind("ts", schemas.Timestamp)}}
	r.columns.Fields[0].Required = required
	r.made = []schemas.Field{kind("dt", schemas.Date)}
	_, err = catalog.Create(t.Context(), "x.events", table.Definition{
		Schema:      schemas.Schema{Fields: slices.Concat(r.columns.Fields, r.made)},
		PartitionBy: []table.Partition{{Source: "dt", Transform: "identity", Name: "dt"}},
	})
	require.NoError(t, err)
	return r
}

// table is a handle of its own on the rig's table.
func (r *rig) table() *table.Table {
	t, err := r.catalog.Load(r.t.Context(), "x.events")
	require.NoError(r.t, err)
	return t
}

// config is a pipeline over source with rules given as name, query, emit.
func (r *rig) config(source ingest.Source, sink load.Sink, queries ...ruleText) ingest.Config {
	t := r.table()
	cfg := ingest.Config{
		Pipeline: "x", SourceKind: "lines", NewSource: func() (ingest.Source, error) { return source, nil }, Table: t, Mem: r.mem, Log: slog.New(slog.DiscardHandler), MaxBadRatio: 1, Memory: 256 << 20,
		NewDecoder: func() (decode.Decoder, error) {
			return json.NewDecoder(r.columns, json.Options{Mem: r.mem})
		},
		Time:  &ingest.EventTime{Name: "ts", Column: 1, Zone: time.UTC, Made: r.made, Idle: time.Hour},
		Job:   ingest.Identity{Zone: "UTC"},
		Blobs: ingest.Blobs{FS: t.FS(), Folder: storage.LocalURI(filepath.Join(r.folder, "checkpoints", "x"))},
		Letters: func(ctx context.Context) (*table.Table, error) {
			t, err := r.catalog.Load(ctx, "x.events_dead_letter")
			if errors.Is(err, table.ErrNoTable) {
				return r.catalog.Create(ctx, "x.events_dead_letter", table.Definition{Schema: ingest.LetterSchema()})
			}
			return t, err
		},
	}
	if sink != nil {
		cfg.Sinks = []ingest.Sink{{Name: "recorder", New: func() (load.Sink, error) { return sink, nil }}}
	}
	for _, q := range queries {
		plan, errs := rules.Compile(q.sql, rules.Source{Schema: schemas.Schema{Fields: slices.Concat(r.columns.Fields, r.made)}, Names: []string{"events"}, TimeField: "ts", Zone: time.UTC})
		require.Empty(r.t, errs)
		cfg.Rules = append(cfg.Rules, ingest.Rule{Rule: tally.Rule{Name: q.name, Plan: plan, Emit: q.emit}, Sinks: []int{0}})
	}
	return cfg
}

type ruleText struct {
	name, sql string
	emit      tally.Emit
}

func record(user int, clock string) string {
	return fmt.Sprintf(`{"user":%d,"ts":"2021-11-30T%sZ"}`+"\n", user, clock)
}

// users counts the table's rows by user.
func (r *rig) users() map[int64]int {
	out := map[int64]int{}
	for batch, err := range r.table().Scan(r.t.Context(), table.ScanOptions{Columns: []string{"user"}}) {
		require.NoError(r.t, err)
		for _, user := range batch.Column(0).(*array.Int64).Int64Values() {
			out[user]++
		}
		batch.Release()
	}
	return out
}

var counted = ruleText{"counted", "SELECT user, COUNT(*) AS n FROM events GROUP BY user HAVING n >= 2", tally.OnChange}

// TestDeliveredAfterACrash: a commit whose delivery fails is delivered by the
// next run, once, and its rows are there once.
func TestDeliveredAfterACrash(t *testing.T) {
	r := newRig(t)
	batches := []string{record(1, "00:00:00") + record(1, "00:00:01"), record(2, "00:00:02") + record(1, "00:00:03")}
	sink := &recorder{failing: true}
	cfg := r.config(&lines{batches: batches}, sink, counted)
	cfg.MaxRecords = 2
	_, err := ingest.Run(t.Context(), cfg, nil)
	require.ErrorContains(t, err, "the sink is away")
	require.Equal(t, map[int64]int{1: 2}, r.users(), "the commit took place")

	sink.failing = false
	cfg = r.config(&lines{batches: batches}, sink, counted)
	cfg.MaxRecords = 2
	result, err := ingest.Run(t.Context(), cfg, nil)
	require.NoError(t, err)
	require.Equal(t, map[int64]int{1: 3, 2: 1}, r.users())
	require.Equal(t, []string{`1 counted {"user":1,"n":2}`, `2 counted {"user":1,"n":3}`}, sink.got)
	require.Equal(t, ingest.Totals{Records: 2, Rows: 2, Commits: 1}, result.Run)
	require.Equal(t, ingest.Totals{Records: 4, Rows: 4, Commits: 2}, result.Total)
}

// TestZombie: an owner that another one took over commits nothing more.
func TestZombie(t *testing.T) {
	r := newRig(t)
	batches := []string{record(1, "00:00:00")}
	slow := &lines{batches: batches, hold: make(chan struct{}), polled: make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		_, err := ingest.Run(context.Background(), r.config(slow, nil), nil)
		done <- err
	}()
	<-slow.polled // it has taken over
	<-slow.polled // and read its batch

	_, err := ingest.Run(t.Context(), r.config(&lines{batches: batches}, nil), nil)
	require.NoError(t, err)
	close(slow.hold)
	require.ErrorIs(t, <-done, table.ErrFenced)
	require.Equal(t, map[int64]int{1: 1}, r.users())
}

// TestNewRule: a rule that is new to a filled table knows the past and does not
// answer for it, but where it is asked to.
func TestNewRule(t *testing.T) {
	r := newRig(t)
	past := []string{record(1, "00:00:00") + record(1, "00:00:01") + record(2, "00:00:02")}
	_, err := ingest.Run(t.Context(), r.config(&lines{batches: past}, &recorder{}), nil)
	require.NoError(t, err)

	sink := &recorder{}
	more := append(slices.Clone(past), record(2, "00:00:03")+record(3, "00:00:04"))
	_, err = ingest.Run(t.Context(), r.config(&lines{batches: more}, sink, counted), nil)
	require.NoError(t, err)
	require.Equal(t, []string{`2 counted {"user":2,"n":2}`}, sink.got)

	other := counted
	other.name = "other"
	sink = &recorder{}
	cfg := r.config(&lines{batches: append(more, record(3, "00:00:05"))}, sink, counted, other)
	cfg.Backfill = true
	_, err = ingest.Run(t.Context(), cfg, nil)
	require.NoError(t, err)
	sink.got = slices.DeleteFunc(sink.got, func(line string) bool { return strings.HasPrefix(line, "2 ") }) // delivered again: this sink cannot tell
	require.ElementsMatch(t, []string{`3 counted {"user":3,"n":2}`, `3 other {"user":1,"n":2}`, `3 other {"user":2,"n":2}`, `3 other {"user":3,"n":2}`}, sink.got)
}

// TestChangedJob: what the rows were made with may not change.
func TestChangedJob(t *testing.T) {
	r := newRig(t)
	_, err := ingest.Run(t.Context(), r.config(&lines{batches: []string{record(1, "00:00:00")}}, nil), nil)
	require.NoError(t, err)
	cfg := r.config(&lines{}, nil)
	cfg.Job.Zone = "Asia/Kolkata"
	_, err = ingest.Run(t.Context(), cfg, nil)
	var changed *ingest.Changed
	require.ErrorAs(t, err, &changed)
	require.Equal(t, ingest.Changed{What: "time.zone", Was: "UTC", Is: "Asia/Kolkata"}, *changed)
}

// TestIdleSourceCommits: the clock on the wall commits what an idle source has
// given, and a stop commits the rest.
func TestIdleSourceCommits(t *testing.T) {
	r := newRig(t)
	source := &lines{batches: []string{record(1, "00:00:00")}, hold: make(chan struct{}), acked: make(chan ingest.Offsets, 1)}
	cfg := r.config(source, nil)
	cfg.Interval = 20 * time.Millisecond
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := ingest.Run(context.Background(), cfg, stop)
		done <- err
	}()
	require.Equal(t, int64(1), (<-source.acked)["p"].Next)
	require.Equal(t, map[int64]int{1: 1}, r.users())
	close(stop)
	require.NoError(t, <-done)
}

// TestStopCommits: what was taken before a stop is committed, nothing is lost.
func TestStopCommits(t *testing.T) {
	r := newRig(t)
	source := &lines{batches: []string{record(1, "00:00:00")}, hold: make(chan struct{}), polled: make(chan struct{})}
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := ingest.Run(context.Background(), r.config(source, nil), stop)
		done <- err
	}()
	<-source.polled
	<-source.polled
	close(stop)
	require.NoError(t, <-done)
	_, err := ingest.Run(t.Context(), r.config(&lines{batches: source.batches}, nil), nil)
	require.NoError(t, err)
	require.Equal(t, map[int64]int{1: 1}, r.users())
}

// TestTooManyBad: above the ratio nothing is committed, at the end of a short
// run and, in a long one, once it has read a thousand.
func TestTooManyBad(t *testing.T) {
	r := newRig(t)
	cfg := r.config(&lines{batches: []string{record(1, "00:00:00") + "{}\n"}}, nil)
	cfg.MaxBadRatio = 0.4
	_, err := ingest.Run(t.Context(), cfg, nil)
	var bad *ingest.TooManyBad
	require.ErrorAs(t, err, &bad)
	require.Equal(t, int64(1), bad.Letters)
	require.Equal(t, int64(2), bad.Records)
	require.Len(t, bad.Samples, 1)
	require.Equal(t, int64(1), bad.Samples[0].Offset)
	require.Empty(t, r.users())

	source := &lines{batches: []string{strings.Repeat("{}\n", 999), "{}\n", record(1, "00:00:00")}, hold: make(chan struct{})}
	cfg = r.config(source, nil)
	cfg.MaxBadRatio = 0.4
	_, err = ingest.Run(t.Context(), cfg, nil)
	require.ErrorAs(t, err, &bad)
	require.Equal(t, int64(1000), bad.Records)
	require.Empty(t, r.users())
}

// TestDeadLetters: they are delivered with their commit, once.
func TestDeadLetters(t *testing.T) {
	r := newRig(t)
	batches := []string{record(1, "00:00:00") + `{"user":2,"ts":"1969-12-31T00:00:00Z"}` + "\n", "nonsense\n"}
	for range 2 {
		cfg := r.config(&lines{batches: batches}, nil)
		cfg.MaxRecords = 1
		_, err := ingest.Run(t.Context(), cfg, nil)
		require.NoError(t, err)
	}
	letters, err := r.catalog.Load(t.Context(), "x.events_dead_letter")
	require.NoError(t, err)
	var got []string
	for batch, err := range letters.Scan(t.Context(), table.ScanOptions{Columns: []string{"partition", "offset", "stage", "payload", "seq"}}) {
		require.NoError(t, err)
		w, err := schemas.NewJSONWriter(batch.Schema(), time.UTC, nil)
		require.NoError(t, err)
		for row := range int(batch.NumRows()) {
			got = append(got, string(w.AppendRow(nil, batch, row)))
		}
		batch.Release()
	}
	require.Equal(t, []string{
		`{"partition":"p","offset":1,"stage":"convert","payload":"eyJ1c2VyIjoyLCJ0cyI6IjE5NjktMTItMzFUMDA6MDA6MDBaIn0=","seq":1}`,
		`{"partition":"p","offset":2,"stage":"decode","payload":"bm9uc2Vuc2U=","seq":2}`,
	}, got)
}
