package table

import (
	"context"
	"errors"
	"sync"
	"testing"

	icebergtable "github.com/apache/iceberg-go/table"
	"github.com/stretchr/testify/require"
)

const day = int32(18961) // 2021-11-30

// The protocol of the commits, on each catalog.
func TestCommits(t *testing.T) {
	onEachCatalog(t, map[string]func(*testing.T, warehouse){
		"commit and reload":                  testCommitAndReload,
		"zombie is fenced":                   testZombieIsFenced,
		"retries of the library":             testRetriesOfTheLibrary,
		"takeovers race":                     testTakeoversRace,
		"owners of different pipelines race": testOwnersOfDifferentPipelinesRace,
		"ambiguous commits":                  testAmbiguousCommits,
		"lost reply then takeover":           testLostReplyThenTakeover,
		"commit without an end":              testCommitWithoutAnEnd,
		"append once per seq":                testAppendOncePerSeq,
		"lineage":                            testLineage,
		"lineage without summaries":          testLineageWithoutSummaries,
		"newer record is refused":            testNewerRecordIsRefused,
		"commit checks its record":           testCommitChecksItsRecord,
	})
}

func testCommitAndReload(t *testing.T, w warehouse) {
	c, tbl := w.events(t)
	_, found, err := tbl.Record("p", "all")
	require.NoError(t, err)
	require.False(t, found)

	o := takeOver(t, c, "shop.events")
	require.Equal(t, int64(1), o.record.Epoch)
	require.Equal(t, int64(0), o.record.Seq)
	o.mustCommit(writeEvents(t, o.table, day, 1, 2), writeEvents(t, o.table, day+1, 3))
	o.mustCommit() // an empty batch
	o.mustCommit(writeEvents(t, o.table, day, 4))

	again := load(t, c, "shop.events")
	r, found, err := again.Record("p", "all")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, o.record, r)
	require.Equal(t, int64(3), r.Seq)
	require.Equal(t, int64(4), r.Ordinal)
	require.Equal(t, int64(4), r.Sequence)
	require.Len(t, again.Snapshots(), 4, "each commit makes a snapshot, takeover and empty batch included")
	require.Equal(t, []int64{1, 2, 3, 4}, sorted(ids(t, again, ScanOptions{})))
	require.NoError(t, again.CheckLineage("p", "all"))
	current, ok := again.Current()
	require.True(t, ok)
	require.Equal(t, "append", current.Operation)
	require.Contains(t, current.Summary[recordKey("p", "all")], `"seq":3`)
}

// Case 10 and 5: an owner that is suspended wakes up after another took over.
func testZombieIsFenced(t *testing.T, w warehouse) {
	c, _ := w.events(t)
	first := takeOver(t, c, "shop.events")
	first.mustCommit(writeEvents(t, first.table, day, 1))
	late := first.next(writeEvents(t, first.table, day, 2))

	second := takeOver(t, c, "shop.events")
	_, err := first.table.Commit(t.Context(), late)
	require.ErrorIs(t, err, ErrFenced)
	require.ErrorContains(t, err, "epoch 2")
	second.mustCommit(writeEvents(t, second.table, day, 3))
	_, err = first.table.Commit(t.Context(), late)
	require.ErrorIs(t, err, ErrFenced)
	require.Equal(t, []int64{1, 3}, ids(t, load(t, c, "shop.events"), ScanOptions{}))
}

// Another engine raised commit.retry.num-retries: iceberg-go would put a stale
// record over the new owner's.
func testRetriesOfTheLibrary(t *testing.T, w warehouse) {
	c, tbl := w.events(t)
	tx := tbl.now.Load().ice.NewTransaction()
	require.NoError(t, tx.SetProperties(map[string]string{icebergtable.CommitNumRetriesKey: "5", icebergtable.CommitMinRetryWaitMsKey: "1"}))
	_, err := tx.Commit(t.Context())
	require.NoError(t, err)
	first := takeOver(t, c, "shop.events")
	var second *owner
	unreliable := &ambiguous{icebergCatalog: c.ice, mode: []string{"raced"}, race: func() { second = takeOver(t, c, "shop.events") }}
	first.table = load(t, &Catalog{ice: unreliable, fs: c.fs, root: c.root, turn: NewTurn()}, "shop.events")
	require.ErrorIs(t, first.commit(t.Context(), writeEvents(t, first.table, day, 1)), ErrFenced)
	r, _, err := load(t, c, "shop.events").Record("p", "all")
	require.NoError(t, err)
	require.Equal(t, second.record, r)
	require.Empty(t, ids(t, load(t, c, "shop.events"), ScanOptions{}))
}

// Case 11: of two processes that take over at once exactly one owns the shard.
func testTakeoversRace(t *testing.T, w warehouse) {
	c, _ := w.events(t)
	takeOver(t, c, "shop.events")
	other := w.open(t)
	for range 5 {
		handles := []*Table{load(t, c, "shop.events"), load(t, other, "shop.events"), load(t, c, "shop.events")}
		errs := make([]error, len(handles))
		var wg sync.WaitGroup
		for i, h := range handles {
			base, _, err := h.Record("p", "all")
			require.NoError(t, err)
			next := base
			next.Epoch, next.CommitID = base.Epoch+1, base.CommitID+string(rune('a'+i))
			wg.Go(func() { _, errs[i] = h.Commit(t.Context(), oneStep(next, base)) })
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else {
				require.ErrorIs(t, err, ErrFenced)
			}
		}
		require.Equal(t, 1, won)
	}
}

// Owners of different pipelines race on the head: all commits land, once.
func testOwnersOfDifferentPipelinesRace(t *testing.T, w warehouse) {
	c, _ := w.events(t)
	const owners, commits = 3, 6
	var wg sync.WaitGroup
	errs := make([]error, owners)
	for i := range owners {
		tbl := load(t, w.open(t), "shop.events") // as a process of its own
		var batches []Commit
		base := Record{}
		for n := range commits {
			next := base
			next.Pipeline, next.Shard, next.Epoch = string(rune('a'+i)), "all", 1
			next.Seq, next.CommitID = int64(n+1), string(rune('a'+i))+string(rune('0'+n))
			batches = append(batches, oneStep(next, base, writeEvents(t, tbl, day, int64(100*i+n))))
			base = next
		}
		wg.Go(func() {
			for _, b := range batches {
				if _, err := tbl.Commit(t.Context(), b); err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	tbl := load(t, c, "shop.events")
	require.Len(t, ids(t, tbl, ScanOptions{}), owners*commits)
	records, err := tbl.Records()
	require.NoError(t, err)
	require.Len(t, records, owners)
	seen := map[int64]bool{}
	for _, r := range records {
		require.Equal(t, int64(commits), r.Seq)
		require.False(t, seen[r.Ordinal])
		seen[r.Ordinal] = true
		require.NoError(t, tbl.CheckLineage(r.Pipeline, "all"))
	}
	require.True(t, seen[owners*commits], "the last ordinal counts all commits")
}

// ambiguous is a catalog whose replies get lost.
type ambiguous struct {
	icebergCatalog
	mode []string // of the next commits: "lost" applied and an error; "refused" an error; "late": applied when the next one is over
	late func()
	race func() // what another process does in "raced", which then loses
}

var errLost = errors.New("connection reset by peer")

func (a *ambiguous) LoadTable(ctx context.Context, ident icebergtable.Identifier) (*icebergtable.Table, error) {
	tbl, err := a.icebergCatalog.LoadTable(ctx, ident)
	if err != nil {
		return nil, err
	}
	fs, err := tbl.FS(ctx)
	if err != nil {
		return nil, err
	}
	return icebergtable.New(ident, tbl.Metadata(), tbl.MetadataLocation(), func(context.Context) (icebergIO, error) { return fs, nil }, a), nil
}

func (a *ambiguous) CommitTable(ctx context.Context, ident icebergtable.Identifier, reqs []icebergtable.Requirement, updates []icebergtable.Update) (icebergtable.Metadata, string, error) {
	mode := ""
	if len(a.mode) > 0 {
		mode, a.mode = a.mode[0], a.mode[1:]
	}
	if late := a.late; late != nil && mode != "late" {
		a.late = nil
		late()
	}
	switch mode {
	case "lost":
		if _, _, err := a.icebergCatalog.CommitTable(ctx, ident, reqs, updates); err != nil {
			return nil, "", err
		}
		return nil, "", errLost
	case "refused":
		return nil, "", errLost
	case "raced":
		a.race()
		return nil, "", icebergtable.ErrCommitFailed
	case "late":
		a.late = func() { _, _, _ = a.icebergCatalog.CommitTable(context.WithoutCancel(ctx), ident, reqs, updates) }
		return nil, "", errLost
	default:
		return a.icebergCatalog.CommitTable(ctx, ident, reqs, updates)
	}
}

// Case 16: applied and an error, not applied and an error, applied late.
func testAmbiguousCommits(t *testing.T, w warehouse) {
	for _, modes := range [][]string{{"lost"}, {"refused"}, {"late"}, {"refused", "lost"}, {"late", "refused", "lost"}, {"refused", "refused", "late"}} {
		t.Run(join(modes), func(t *testing.T) {
			c, _ := w.another(t).events(t)
			unreliable := &ambiguous{icebergCatalog: c.ice}
			c.ice = unreliable
			o := takeOver(t, c, "shop.events")
			unreliable.mode = modes
			o.mustCommit(writeEvents(t, o.table, day, 1))
			o.mustCommit(writeEvents(t, o.table, day, 2))
			require.Empty(t, unreliable.mode, "every mode was met")
			tbl := load(t, c, "shop.events")
			require.Equal(t, []int64{1, 2}, ids(t, tbl, ScanOptions{}))
			r, _, err := tbl.Record("p", "all")
			require.NoError(t, err)
			require.Equal(t, o.record, r)
			require.NoError(t, tbl.CheckLineage("p", "all"))
		})
	}
}

// A commit that was applied and whose reply got lost, and a takeover before the
// owner looks: the owner stops, and its rows are there once.
func testLostReplyThenTakeover(t *testing.T, w warehouse) {
	c, _ := w.events(t)
	unreliable := &ambiguous{icebergCatalog: c.ice}
	o := takeOver(t, c, "shop.events")
	slow := &Catalog{ice: unreliable, fs: c.fs, root: c.root, turn: NewTurn()}
	o.table = load(t, slow, "shop.events")
	unreliable.mode = []string{"late"}
	taken := false
	slow.ice = &hooked{icebergCatalog: unreliable, before: func() {
		if unreliable.late != nil && !taken { // the owner's look at the table, after the error
			taken = true
			unreliable.late()
			takeOver(t, c, "shop.events")
		}
	}}
	err := o.commit(t.Context(), writeEvents(t, o.table, day, 1))
	require.ErrorIs(t, err, ErrFenced)
	require.True(t, taken)
	tbl := load(t, c, "shop.events")
	require.Equal(t, []int64{1}, ids(t, tbl, ScanOptions{}))
	r, _, err := tbl.Record("p", "all")
	require.NoError(t, err)
	require.Equal(t, int64(1), r.Seq)
	require.Equal(t, int64(2), r.Epoch)
}

type hooked struct {
	icebergCatalog
	before func()
}

// LoadTable is how an owner looks at the table.
func (h *hooked) LoadTable(ctx context.Context, ident icebergtable.Identifier) (*icebergtable.Table, error) {
	h.before()
	return h.icebergCatalog.LoadTable(ctx, ident)
}

// A catalog that never takes a commit: the owner goes on until its time is
// over, and then says what it knows.
func testCommitWithoutAnEnd(t *testing.T, w warehouse) {
	c, _ := w.events(t)
	o := takeOver(t, c, "shop.events")
	ctx, cancel := context.WithCancel(t.Context())
	unreliable := &ambiguous{icebergCatalog: c.ice, mode: []string{"refused", "refused", "refused", "refused"}}
	o.table = load(t, &Catalog{ice: &hooked{icebergCatalog: unreliable, before: func() {
		if len(unreliable.mode) == 1 {
			cancel()
		}
	}}, fs: c.fs, root: c.root, turn: NewTurn()}, "shop.events")
	err := o.commit(ctx, writeEvents(t, o.table, day, 1))
	require.ErrorIs(t, err, errLost)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "known after a restart")
	require.NotErrorIs(t, err, ErrFenced)
	require.Empty(t, ids(t, load(t, c, "shop.events"), ScanOptions{}))
}

func testAppendOncePerSeq(t *testing.T, w warehouse) {
	c, _ := w.events(t)
	unreliable := &ambiguous{icebergCatalog: c.ice, mode: []string{"lost", "", "late"}}
	c.ice = unreliable
	tbl := load(t, c, "shop.events")
	has, err := tbl.Delivered("p.all")
	require.NoError(t, err)
	require.Equal(t, int64(-1), has)
	require.NoError(t, tbl.Append(t.Context(), "p.all", 1, []dataFile{writeEvents(t, tbl, day, 1)}))
	require.NoError(t, tbl.Append(t.Context(), "p.all", 1, []dataFile{writeEvents(t, tbl, day, 1)}), "a repetition")
	require.NoError(t, tbl.Append(t.Context(), "p.all", 2, []dataFile{writeEvents(t, tbl, day, 2)}))
	require.NoError(t, tbl.Append(t.Context(), "q.all", 1, []dataFile{writeEvents(t, tbl, day, 3)}))
	again := load(t, c, "shop.events")
	require.Equal(t, []int64{1, 2, 3}, ids(t, again, ScanOptions{}))
	has, err = again.Delivered("p.all")
	require.NoError(t, err)
	require.Equal(t, int64(2), has)
	// Another handle, older: the repetition of a delivery that it has not seen.
	require.NoError(t, tbl.Append(t.Context(), "q.all", 1, []dataFile{writeEvents(t, tbl, day, 3)}))
	require.Len(t, ids(t, load(t, c, "shop.events"), ScanOptions{}), 3)
}

// Case 32: every snapshot expired, then a restart; a rollback, then a restart.
func testLineage(t *testing.T, w warehouse) {
	c, _ := w.events(t)
	o := takeOver(t, c, "shop.events")
	o.mustCommit(writeEvents(t, o.table, day, 1))
	good, _ := o.table.Current()
	o.mustCommit(writeEvents(t, o.table, day, 2))

	// Another writer's snapshots hide the record's one, which then expires.
	tbl := load(t, c, "shop.events")
	require.NoError(t, tbl.Append(t.Context(), "x", 1, []dataFile{writeEvents(t, tbl, day, 3)}))
	n, err := tbl.Expire(t.Context(), Keep{})
	require.NoError(t, err)
	require.Equal(t, 3, n)
	tbl = load(t, c, "shop.events")
	require.Len(t, tbl.Snapshots(), 1)
	require.NoError(t, tbl.CheckLineage("p", "all"))
	again := takeOver(t, c, "shop.events")
	require.Equal(t, int64(2), again.record.Seq)
	_ = good

	// Rolled back behind the record.
	again.mustCommit(writeEvents(t, again.table, day, 4))
	target, _ := again.table.Current()
	again.mustCommit(writeEvents(t, again.table, day, 5))
	rollBack(t, c, target.ID)
	tbl = load(t, c, "shop.events")
	require.ErrorIs(t, tbl.CheckLineage("p", "all"), ErrRolledBack)

	// Another pipeline's commit over the rollback does not heal it.
	base := Record{}
	_, err = tbl.Commit(t.Context(), oneStep(Record{Pipeline: "q", Shard: "all", Epoch: 1, CommitID: "q1"}, base))
	require.NoError(t, err)
	tbl = load(t, c, "shop.events")
	require.NoError(t, tbl.CheckLineage("q", "all"))
	require.ErrorIs(t, tbl.CheckLineage("p", "all"), ErrRolledBack)

	// The record is gone though snapshots have its rows.
	ice := tbl.now.Load().ice
	tx := ice.NewTransaction()
	require.NoError(t, tx.RemoveProperties([]string{recordKey("p", "all")}))
	_, err = tx.Commit(t.Context())
	require.NoError(t, err)
	require.ErrorIs(t, load(t, c, "shop.events").CheckLineage("p", "all"), ErrRecordMissing)
	require.NoError(t, load(t, c, "shop.events").CheckLineage("new", "all"))
}

// All of lake's summaries are gone: the snapshots' numbers tell.
func testLineageWithoutSummaries(t *testing.T, w warehouse) {
	c, _ := w.events(t)
	tbl := load(t, c, "shop.events")
	require.NoError(t, tbl.Append(t.Context(), "x", 1, nil))
	foreign, _ := tbl.Current()
	o := takeOver(t, c, "shop.events")
	o.mustCommit(writeEvents(t, o.table, day, 1))
	rollBack(t, c, foreign.ID)
	err := load(t, c, "shop.events").CheckLineage("p", "all")
	require.ErrorIs(t, err, ErrRolledBack)
	require.ErrorContains(t, err, "the newest is number 1")
}

func rollBack(t *testing.T, c *Catalog, snapshot int64) {
	t.Helper()
	tx := load(t, c, "shop.events").now.Load().ice.NewTransaction()
	require.NoError(t, tx.RollbackToSnapshot(snapshot))
	_, err := tx.Commit(t.Context())
	require.NoError(t, err)
}

func testNewerRecordIsRefused(t *testing.T, w warehouse) {
	c, tbl := w.events(t)
	tx := tbl.now.Load().ice.NewTransaction()
	require.NoError(t, tx.SetProperties(map[string]string{recordKey("p", "all"): `{"version":99,"pipeline":"p","shard":"all"}`}))
	_, err := tx.Commit(t.Context())
	require.NoError(t, err)
	_, _, err = load(t, c, "shop.events").Record("p", "all")
	require.ErrorContains(t, err, "version 99")
}

func testCommitChecksItsRecord(t *testing.T, w warehouse) {
	_, tbl := w.events(t)
	base := Record{Pipeline: "p", Shard: "all", Epoch: 2, Seq: 5, CommitID: "c"}
	for name, r := range map[string]Record{
		"no id":       {Pipeline: "p", Shard: "all", Epoch: 2, Seq: 6},
		"same id":     {Pipeline: "p", Shard: "all", Epoch: 2, Seq: 6, CommitID: "c"},
		"lower epoch": {Pipeline: "p", Shard: "all", Epoch: 1, Seq: 6, CommitID: "d"},
		"seq jumps":   {Pipeline: "p", Shard: "all", Epoch: 2, Seq: 7, CommitID: "d"},
	} {
		_, err := tbl.Commit(t.Context(), oneStep(r, base))
		require.Error(t, err, name)
	}
	_, err := tbl.Commit(t.Context(), oneStep(Record{Pipeline: "p", Shard: "all", Epoch: 2, Seq: 6, CommitID: "d"}, base))
	require.ErrorIs(t, err, ErrRecordMissing)
}

// One owner of two shards moves both in one snapshot; a takeover of one of them
// fences the whole late commit.
func TestCommitOfSeveralShards(t *testing.T) {
	c, _ := newEvents(t)
	tbl := load(t, c, "shop.events")
	step := func(shard string, epoch, seq int64, id string, base Record) Step {
		r := base
		r.Pipeline, r.Shard, r.Epoch, r.Seq, r.CommitID = "p", shard, epoch, seq, id
		return Step{Record: r, Base: base}
	}
	taken, err := tbl.Commit(t.Context(), Commit{Steps: []Step{step("Events/0", 1, 0, "take", Record{}), step("Events/1", 1, 0, "take", Record{})}})
	require.NoError(t, err)
	require.Len(t, taken, 2)
	both, err := tbl.Commit(t.Context(), Commit{
		Steps: []Step{step("Events/0", 1, 1, "both", taken[0]), step("Events/1", 1, 1, "both", taken[1])},
		Files: []dataFile{writeEvents(t, tbl, day, 1, 2)},
	})
	require.NoError(t, err)
	require.Len(t, tbl.Snapshots(), 2)
	require.Equal(t, []int64{1, 1, 2, 2}, []int64{both[0].Seq, both[1].Seq, both[0].Ordinal, both[1].Ordinal})

	other := load(t, c, "shop.events")
	_, err = other.Commit(t.Context(), Commit{Steps: []Step{step("Events/1", 2, 1, "theirs", both[1])}})
	require.NoError(t, err)
	late := Commit{
		Steps: []Step{step("Events/0", 1, 2, "late", both[0]), step("Events/1", 1, 2, "late", both[1])},
		Files: []dataFile{writeEvents(t, tbl, day, 3)},
	}
	_, err = tbl.Commit(t.Context(), late)
	require.ErrorIs(t, err, ErrFenced)
	require.ErrorContains(t, err, "shard Events/1")
	require.NotContains(t, err.Error(), "shard Events/0")
	now := load(t, c, "shop.events")
	first, _, err := now.Record("p", "Events/0")
	require.NoError(t, err)
	require.Equal(t, int64(1), first.Seq, "neither shard moved")
	require.Equal(t, []int64{1, 2}, ids(t, now, ScanOptions{}))
	for _, shard := range []string{"Events/0", "Events/1"} {
		require.NoError(t, now.CheckLineage("p", shard))
	}
	for _, wrong := range []Commit{
		{},
		{Steps: []Step{step("a", 1, 1, "x", Record{}), step("a", 1, 1, "x", Record{})}},
		{Steps: []Step{step("a", 1, 1, "x", Record{}), step("b", 1, 1, "y", Record{})}},
	} {
		_, err := tbl.Commit(t.Context(), wrong)
		require.Error(t, err)
		require.NotErrorIs(t, err, ErrFenced)
	}
}
