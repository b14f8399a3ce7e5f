package ingest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	icebergsql "github.com/apache/iceberg-go/catalog/sql"
	"github.com/stretchr/testify/require"

	"lake/ingest"
	"lake/table"
)

// played is a shared source that plays a script: each step is a batch, or an
// error. It remembers what it was told.
type played struct {
	t      *testing.T
	steps  []any // ingest.Batch, error or func()
	begun  map[string]int64
	left   []string
	count  int
	closed bool
	ready  chan struct{} // a func waits for a Begin, where set

	beginning chan struct{} // holds a Poll behind an assignment until Begin, as a source does
}

func (p *played) ID(context.Context) (string, error) { return "played", nil }
func (p *played) Seek(context.Context, ingest.Offsets) error {
	return errors.New("Seek of a shared source")
}
func (p *played) Ack(context.Context, ingest.Offsets) error { return nil }
func (p *played) Partitions(context.Context) (int, error)   { return p.count, nil }
func (p *played) Leave(partitions []string)                 { p.left = append(p.left, partitions...) }
func (p *played) Close() error                              { p.closed = true; return nil }

func (p *played) Begin(_ context.Context, partitions []string, positions ingest.Offsets, _ map[string]bool) error {
	if p.begun == nil {
		p.begun = map[string]int64{}
	}
	for _, name := range partitions {
		p.begun[name] = positions[name].Next
	}
	if p.ready != nil {
		p.ready <- struct{}{}
	}
	close(p.beginning)
	return nil
}

func (p *played) Poll(ctx context.Context) (ingest.Batch, error) {
	if p.beginning != nil {
		select {
		case <-p.beginning:
			p.beginning = nil
		case <-ctx.Done():
			return ingest.Batch{}, ctx.Err()
		}
	}
	for len(p.steps) > 0 {
		step := p.steps[0]
		p.steps = p.steps[1:]
		switch s := step.(type) {
		case func():
			<-p.ready
			s()
		case error:
			return ingest.Batch{}, s
		case ingest.Batch:
			if len(s.Assigned) > 0 {
				p.beginning = make(chan struct{})
			}
			return s, nil
		}
	}
	return ingest.Batch{}, io.EOF
}

// some is a batch of records of users, whose keys are their names.
func some(partition string, offset int64, users ...int) ingest.Batch {
	b := ingest.Batch{Partition: partition, Position: ingest.Position{Next: offset + int64(len(users))}}
	for i, user := range users {
		b.Records = append(b.Records, []byte(record(user, fmt.Sprintf("00:00:%02d", i))))
		b.Offsets = append(b.Offsets, offset+int64(i))
		b.Keys = append(b.Keys, strconv.AppendInt(nil, int64(user), 10))
	}
	return b
}

func assign(partitions ...string) ingest.Batch { return ingest.Batch{Assigned: partitions} }
func revoke(partitions ...string) ingest.Batch { return ingest.Batch{Revoked: partitions} }

// sharing is a pipeline over scripts: the n-th session plays the n-th.
func (r *rig) sharing(sink *recorder, scripts ...*played) ingest.Config {
	cfg := r.config(nil, sink, counted)
	cfg.Keys = &ingest.Keys{Columns: []int{0}, Names: []string{"user"}}
	cfg.NewSource = func() (ingest.Source, error) {
		next := scripts[0]
		scripts = scripts[1:]
		return next, nil
	}
	return cfg
}

// TestPartitionsMove: what was read of a partition is committed before it goes,
// and the next owner has its offsets and its groups.
func TestPartitionsMove(t *testing.T) {
	r := newRig(t)
	sink := &recorder{}
	first := &played{t: t, count: 2, steps: []any{assign("e/0", "e/1"), some("e/0", 0, 1, 2), some("e/1", 0, 3), revoke("e/0"), some("e/1", 1, 3)}}
	result, err := ingest.Run(t.Context(), r.sharing(sink, first), nil)
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"e/0": 0, "e/1": 0}, first.begun)
	require.Equal(t, []string{"e/0"}, first.left)
	require.Equal(t, ingest.Totals{Records: 4, Rows: 4, Commits: 2}, result.Run)

	second := &played{t: t, count: 2, steps: []any{assign("e/0"), some("e/0", 2, 1)}}
	_, err = ingest.Run(t.Context(), r.sharing(sink, second), nil)
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"e/0": 2}, second.begun)
	require.Equal(t, map[int64]int{1: 2, 2: 1, 3: 2}, r.users())
	require.ElementsMatch(t, []string{`2 counted {"user":3,"n":2}`, `2 counted {"user":1,"n":2}`}, sink.got, "a seq is a shard's own")
}

// TestLostPartitionsAreReadAgain: a session that lost its partitions, or was
// fenced, drops what it has not committed and begins anew from the table.
func TestLostPartitionsAreReadAgain(t *testing.T) {
	r := newRig(t)
	sink := &recorder{}
	other := func() {
		_, err := ingest.Run(t.Context(), r.sharing(sink, &played{t: t, count: 1, steps: []any{assign("e/0"), some("e/0", 1, 1)}}), nil)
		require.NoError(t, err)
	}
	scripts := []*played{
		{t: t, count: 1, steps: []any{assign("e/0"), some("e/0", 0, 1), revoke("e/0"), assign("e/0"), some("e/0", 1, 1, 2), ingest.ErrLost}},
		{t: t, count: 1, ready: make(chan struct{}, 1), steps: []any{assign("e/0"), other, some("e/0", 1, 1)}},
		{t: t, count: 1, steps: []any{assign("e/0"), some("e/0", 2, 2)}},
	}
	cfg := r.sharing(sink, scripts...)
	cfg.Patience = time.Minute
	cfg.Retry = func(err error) bool { return errors.Is(err, ingest.ErrLost) || errors.Is(err, table.ErrFenced) }
	result, err := ingest.Run(t.Context(), cfg, nil)
	require.NoError(t, err)
	require.Equal(t, 2, result.Sessions)
	require.Equal(t, ingest.Totals{Records: 2, Rows: 2, Commits: 2}, result.Run, "what it committed itself")
	require.Equal(t, map[string]int64{"e/0": 1}, scripts[0].begun)
	require.Equal(t, map[string]int64{"e/0": 2}, scripts[2].begun)
	require.True(t, scripts[0].closed && scripts[1].closed && scripts[2].closed)
	require.Equal(t, map[int64]int{1: 2, 2: 1}, r.users())
	require.Equal(t, []string{`2 counted {"user":1,"n":2}`}, slices.Compact(sink.got), "this sink cannot tell what it has")
}

// meddled is a source whose number of partitions is asked for while another process commits.
type meddled struct {
	*played
	meanwhile []func()
}

func (m *meddled) Partitions(ctx context.Context) (int, error) {
	if len(m.meanwhile) > 0 {
		next := m.meanwhile[0]
		m.meanwhile = m.meanwhile[1:]
		next()
	}
	return m.played.Partitions(ctx)
}

// TestTakenBesideAnOwner: the owner of before commits, and sweeps the checkpoint that the
// table named when its partition's next owner read it. That one reads the table again.
func TestTakenBesideAnOwner(t *testing.T) {
	r := newRig(t)
	sink := &recorder{}
	play := func(steps ...any) func() {
		return func() {
			_, err := ingest.Run(t.Context(), r.sharing(sink, &played{t: t, count: 1, steps: append([]any{assign("e/0")}, steps...)}), nil)
			require.NoError(t, err)
		}
	}
	play(some("e/0", 0, 1))()
	next := &played{t: t, count: 1, steps: []any{assign("e/0"), some("e/0", 3, 1)}}
	cfg := r.sharing(sink)
	cfg.NewSource = func() (ingest.Source, error) {
		return &meddled{next, []func(){play(some("e/0", 1, 2)), play(some("e/0", 2, 2))}}, nil
	}
	result, err := ingest.Run(t.Context(), cfg, nil)
	require.NoError(t, err)
	require.Zero(t, result.Sessions)
	require.Equal(t, map[string]int64{"e/0": 3}, next.begun)
	require.Equal(t, map[int64]int{1: 2, 2: 2}, r.users())
}

// TestKeysAreChecked: a record whose key is not what partitioned_by says is a
// dead letter, or its group would be in two partitions.
func TestKeysAreChecked(t *testing.T) {
	r := newRig(t)
	sink := &recorder{}
	wrong := some("e/0", 0, 1, 2, 1)
	wrong.Keys[1] = []byte("1")
	result, err := ingest.Run(t.Context(), r.sharing(sink, &played{t: t, count: 1, steps: []any{assign("e/0"), wrong}}), nil)
	require.NoError(t, err)
	require.Equal(t, ingest.Totals{Records: 3, Rows: 2, DeadLetters: 1, Commits: 1}, result.Run)
	require.Equal(t, `the record's key is "1", and partitioned_by user says "2"`, result.Samples[0].Reason)
	require.Equal(t, int64(1), result.Samples[0].Offset)
	require.Equal(t, map[int64]int{1: 2}, r.users())
	require.Equal(t, []string{`1 counted {"user":1,"n":2}`}, sink.got)
}

// TestSharingMayNotChange: shards divide offsets and groups; neither their kind nor
// the number of partitions may change under groups.
func TestSharingMayNotChange(t *testing.T) {
	r := newRig(t)
	run := func(cfg ingest.Config) error {
		_, err := ingest.Run(t.Context(), cfg, nil)
		return err
	}
	require.NoError(t, run(r.sharing(&recorder{}, &played{t: t, count: 2, steps: []any{assign("e/0"), some("e/0", 0, 1)}})))
	var changed *ingest.Changed
	require.ErrorAs(t, run(r.config(&lines{}, nil)), &changed)
	require.Equal(t, "one process at a time", changed.Is)
	require.ErrorAs(t, run(r.sharing(&recorder{}, &played{t: t, count: 3, steps: []any{assign("e/0")}})), &changed)
	require.Equal(t, [2]string{"2", "3"}, [2]string{changed.Was, changed.Is})
}

func TestOneOwnerMayNotBecomeSeveral(t *testing.T) {
	run := func(cfg ingest.Config) error {
		_, err := ingest.Run(t.Context(), cfg, nil)
		return err
	}
	var changed *ingest.Changed
	other := newRig(t)
	require.NoError(t, run(other.config(&lines{batches: []string{record(1, "00:00:00")}}, nil)))
	require.ErrorAs(t, run(other.sharing(&recorder{}, &played{t: t, count: 2, steps: []any{assign("e/0")}})), &changed)
	require.Equal(t, "shared by source partition", changed.Is)
}

// TestFarFuture: one event with a wrong clock does not close every window; its
// row lands, or is refused where the job says so.
func TestFarFuture(t *testing.T) {
	closing := ruleText{"closing", "SELECT TIMESTAMP_BUCKET(ts, INTERVAL 1 MINUTE) AS w, user, COUNT(*) AS n FROM events GROUP BY 1, user", 2}
	ahead := time.Now().Add(72 * time.Hour).UTC().Format(time.RFC3339)
	batches := []string{record(1, "00:00:00") + fmt.Sprintf(`{"user":2,"ts":%q}`+"\n", ahead) + record(1, "00:00:01") + record(3, "00:01:00")}
	for name, c := range map[string]struct {
		future  time.Duration
		refuse  bool
		users   map[int64]int
		answers []string
		ahead   int64
	}{
		"kept":    {24 * time.Hour, false, map[int64]int{1: 2, 2: 1, 3: 1}, []string{`1 closing {"w":"2021-11-30T00:00:00.000Z","user":1,"n":2}`}, 1},
		"refused": {24 * time.Hour, true, map[int64]int{1: 2, 3: 1}, []string{`1 closing {"w":"2021-11-30T00:00:00.000Z","user":1,"n":2}`}, 0},
		"any":     {0, false, map[int64]int{1: 2, 2: 1, 3: 1}, []string{`1 closing {"w":"2021-11-30T00:00:00.000Z","user":1,"n":1}`}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			sink := &recorder{}
			cfg := r.config(&lines{batches: batches}, sink, closing)
			cfg.Time.MaxFuture, cfg.Time.RefuseFuture = c.future, c.refuse
			result, err := ingest.Run(t.Context(), cfg, nil)
			require.NoError(t, err)
			require.Equal(t, c.users, r.users())
			require.Equal(t, c.answers, sink.got)
			require.Equal(t, c.ahead, result.Ahead)
			require.Equal(t, int64(4-sum(c.users)), result.Run.DeadLetters)
		})
	}
}

func sum(counts map[int64]int) (n int) {
	for v := range maps.Values(counts) {
		n += v
	}
	return n
}

// TestResetOffsets: the one way on where the table was rolled back or its record
// is gone. Rows are read again, groups are counted from the table, seqs go on.
func TestResetOffsets(t *testing.T) {
	r := newRig(t)
	sink := &recorder{}
	batches := []string{record(1, "00:00:00"), record(1, "00:00:01")}
	cfg := r.config(&lines{batches: batches}, sink, counted)
	cfg.MaxRecords = 1
	_, err := ingest.Run(t.Context(), cfg, nil)
	require.NoError(t, err)
	require.Equal(t, map[int64]int{1: 2}, r.users())

	r.forget("x", ingest.Whole)
	_, err = ingest.Run(t.Context(), r.config(&lines{batches: batches}, sink, counted), nil)
	require.ErrorIs(t, err, table.ErrRecordMissing)
	cfg = r.config(&lines{batches: batches}, sink, counted)
	cfg.Reset = "latest"
	_, err = ingest.Run(t.Context(), cfg, nil)
	require.ErrorContains(t, err, "earliest")
	sink.closed = true // the reset fails behind its takeover
	cfg = r.config(&lines{batches: batches}, sink, counted)
	cfg.Reset = "earliest"
	_, err = ingest.Run(t.Context(), cfg, nil)
	require.ErrorContains(t, err, "the sink is closed")
	sink.closed = false
	_, err = ingest.Run(t.Context(), r.config(&lines{batches: batches}, sink, counted), nil)
	require.ErrorContains(t, err, "a reset of its offsets was begun and not finished")
	cfg = r.config(&lines{batches: batches}, sink, counted)
	cfg.Reset = "earliest"
	result, err := ingest.Run(t.Context(), cfg, nil)
	require.NoError(t, err)
	require.Equal(t, map[int64]int{1: 4}, r.users(), "they are read again")
	require.Equal(t, int64(4), result.Seq, "2 before, one for the reset, one for the rows")
	require.Equal(t, []string{`2 counted {"user":1,"n":2}`, `4 counted {"user":1,"n":4}`}, sink.got)
	_, err = ingest.Run(t.Context(), r.config(&lines{batches: batches}, sink, counted), nil)
	require.NoError(t, err)
	require.Equal(t, map[int64]int{1: 4}, r.users())
}

// forget removes a shard's record, as another tool might.
func (r *rig) forget(pipeline, shard string) {
	db, err := sql.Open("sqlite", filepath.Join(r.folder, "catalog.db"))
	require.NoError(r.t, err)
	defer db.Close()
	catalog, err := icebergsql.NewCatalog("lake", db, icebergsql.SQLite, nil)
	require.NoError(r.t, err)
	t, err := catalog.LoadTable(r.t.Context(), []string{"x", "events"})
	require.NoError(r.t, err)
	tx := t.NewTransaction()
	require.NoError(r.t, tx.RemoveProperties([]string{"lake.shard." + pipeline + "." + shard}))
	_, err = tx.Commit(r.t.Context())
	require.NoError(r.t, err)
}
