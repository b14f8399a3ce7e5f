package load_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lake/load"
	"lake/table"
)

// lakeOf is a catalog with room for a ledger.
type lakeOf struct {
	*testing.T
	catalog *table.Catalog
}

func newLake(t *testing.T) lakeOf {
	c, err := table.OpenCatalog(t.Context(), table.CatalogConfig{Warehouse: filepath.Join(t.TempDir(), "warehouse")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return lakeOf{t, c}
}

// ledger is opened as a process of its own would.
func (l lakeOf) ledger(target string) *load.Ledger {
	t, err := l.catalog.Load(l.Context(), "events_loads")
	if !errors.Is(err, table.ErrNoTable) {
		require.NoError(l, err)
	}
	out, err := load.OpenLedger(l.Context(), target, t, func(ctx context.Context) (*table.Table, error) {
		if t, err := l.catalog.Load(ctx, "events_loads"); err == nil {
			return t, nil
		}
		return l.catalog.Create(ctx, "events_loads", table.Definition{Schema: load.LedgerSchema()})
	})
	require.NoError(l, err)
	return out
}

func lineOf(target, partition, id string) load.Line {
	at := time.Date(2021, 11, 30, 1, 2, 3, 4000, time.UTC)
	return load.Line{Target: target, Incarnation: "i", Partition: partition, ID: id, Fingerprint: "f", Snapshot: 7, Rows: 10, Bytes: 100, Held: "v", Started: at, Finished: at.Add(time.Second)}
}

func TestLedgerKeepsTheNewestLines(t *testing.T) {
	lake := newLake(t)
	one := lake.ledger("a")
	require.Empty(t, one.Lines("i"))
	require.Error(t, one.Mine(t.Context()), "not claimed")
	require.NoError(t, one.Claim(t.Context()))
	require.NoError(t, one.Mine(t.Context()))
	first, second := lineOf("a", "2021-11-29", "1"), lineOf("a", "2021-11-30", "2")
	require.NoError(t, one.Append(t.Context(), []load.Line{first, second}))
	newer := lineOf("a", "2021-11-30", "3")
	require.NoError(t, one.Append(t.Context(), []load.Line{newer}))
	other := lake.ledger("b")
	require.Empty(t, other.Lines("i"), "another target's lines")
	require.NoError(t, other.Claim(t.Context()))
	require.NoError(t, other.Append(t.Context(), []load.Line{lineOf("b", "2021-11-30", "9")}))
	require.NoError(t, one.Mine(t.Context()), "a claim is one target's")
	want := map[string]load.Line{"2021-11-29": first, "2021-11-30": newer}
	require.Equal(t, want, one.Lines("i"))
	require.Equal(t, want, lake.ledger("a").Lines("i"))
	require.Empty(t, lake.ledger("a").Lines("j"), "of another incarnation")
}

// A stale loader ends: it can neither note nor go on.
func TestLedgerFencesStaleLoaders(t *testing.T) {
	lake := newLake(t)
	stale := lake.ledger("a")
	require.NoError(t, stale.Claim(t.Context()))
	reader := lake.ledger("a")
	newer := lake.ledger("a")
	require.NoError(t, newer.Claim(t.Context()))
	require.ErrorIs(t, stale.Mine(t.Context()), load.ErrBusy)
	require.ErrorIs(t, stale.Append(t.Context(), []load.Line{lineOf("a", "all", "1")}), load.ErrBusy)
	require.ErrorIs(t, reader.Claim(t.Context()), load.ErrBusy, "what it has read is not so any more")
	require.NoError(t, newer.Append(t.Context(), []load.Line{lineOf("a", "all", "2")}))
	require.Equal(t, "2", lake.ledger("a").Lines("i")["all"].ID)
}

// recorder is a warehouse that counts.
type recorder struct {
	held     map[string]load.Held
	replaced map[string]int // by partition: times that rows were really replaced
	before   func(l load.Load) error
}

func newRecorder() *recorder {
	return &recorder{held: map[string]load.Held{}, replaced: map[string]int{}, before: func(load.Load) error { return nil }}
}

func (r *recorder) Inspect(context.Context) (string, error)             { return "i", nil }
func (r *recorder) Prepare(context.Context, load.Table) (string, error) { return "i", nil }
func (r *recorder) Close() error                                        { return nil }
func (r *recorder) Digest(context.Context, load.Table, []string) (map[string]load.Digest, error) {
	return nil, errors.New("not asked for here")
}

func (r *recorder) Held(_ context.Context, _ load.Table, partitions []string) (map[string]load.Held, error) {
	out := map[string]load.Held{}
	for _, p := range partitions {
		if h, ok := r.held[p]; ok {
			out[p] = h
		}
	}
	return out, nil
}

func (r *recorder) Replace(_ context.Context, l load.Load) (load.Held, error) {
	if err := r.before(l); err != nil {
		return load.Held{}, err
	}
	if r.held[l.Name].ID != l.ID {
		r.replaced[l.Name]++
		r.held[l.Name] = load.Held{ID: l.ID, Rows: l.Rows, Version: fmt.Sprint(l.Name, r.replaced[l.Name])}
	}
	return r.held[l.Name], nil
}

// run is a load as a process of its own does it.
func (l lakeOf) run(ctx context.Context, w *recorder, in load.Inputs) (load.Result, error) {
	ledger := l.ledger("a")
	in.Target, in.Incarnation, in.Dated, in.From, in.To, in.Ledger = "a", "i", true, 0, 1<<20, ledger.Lines("i")
	var err error
	in.Held, err = w.Held(ctx, load.Table{}, in.Wanted())
	require.NoError(l, err)
	steps := load.Plan(in)
	if load.Idle(steps) {
		return load.Count("a", steps), nil
	}
	require.NoError(l, ledger.Claim(context.WithoutCancel(ctx)))
	return load.Run(ctx, load.Work{Target: "a", Incarnation: "i", Snapshot: 7, Steps: steps, Warehouse: w, Ledger: ledger})
}

func datesFrom(n int) (out []load.Partition) {
	for i := range n {
		name := load.DateName(int32(18000 + i))
		out = append(out, load.Partition{Name: name, Date: int32(18000 + i), Rows: int64(i), Bytes: 10, Fingerprint: "f" + name})
	}
	return out
}

// A backfill is cut, goes on, and does no date twice.
func TestBackfillIsResumed(t *testing.T) {
	lake, w := newLake(t), newRecorder()
	in := load.Inputs{Partitions: datesFrom(400)}
	n := 0
	w.before = func(load.Load) error {
		if n++; n == 250 {
			return fmt.Errorf("quota: %w", load.ErrAway)
		}
		return nil
	}
	r, err := lake.run(t.Context(), w, in)
	require.ErrorIs(t, err, load.ErrAway)
	require.ErrorContains(t, err, load.DateName(18249))
	require.Equal(t, 249, r.Loaded)
	require.Equal(t, 151, r.Left)
	require.Len(t, lake.ledger("a").Lines("i"), 249, "what was done is noted")
	r, err = lake.run(t.Context(), w, in)
	require.NoError(t, err)
	require.Equal(t, [2]int{151, 249}, [2]int{r.Loaded, r.Current})
	r, err = lake.run(t.Context(), w, in)
	require.NoError(t, err)
	require.Equal(t, [2]int{0, 400}, [2]int{r.Loaded, r.Current})
	// A late row reloads its own date.
	in.Partitions[17].Fingerprint, in.Partitions[17].Rows = "late", 18
	r, err = lake.run(t.Context(), w, in)
	require.NoError(t, err)
	require.Equal(t, [2]int{1, 399}, [2]int{r.Loaded, r.Current})
	for i, p := range in.Partitions {
		want := 1
		if i == 17 {
			want = 2
		}
		require.Equal(t, want, w.replaced[p.Name], p.Name)
	}
}

// SIGTERM in a load: the target may or may not have it.
func TestStoppedLoad(t *testing.T) {
	lake, w := newLake(t), newRecorder()
	in := load.Inputs{Partitions: datesFrom(30)}
	ctx, stop := context.WithCancel(t.Context())
	w.before = func(l load.Load) error {
		if l.Name == in.Partitions[22].Name {
			stop()
		}
		if l.Name == in.Partitions[22].Name && len(w.replaced) == 22 {
			w.replaced[l.Name]++ // it goes on in the warehouse, nobody hears of it
			w.held[l.Name] = load.Held{ID: l.ID, Rows: l.Rows, Version: "late"}
			return errors.New("interrupted")
		}
		return nil
	}
	r, err := lake.run(ctx, w, in)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, [2]int{22, 8}, [2]int{r.Loaded, r.Left})
	require.Len(t, lake.ledger("a").Lines("i"), 22)
	r, err = lake.run(t.Context(), w, in)
	require.NoError(t, err)
	require.Equal(t, [3]int{7, 22, 1}, [3]int{r.Loaded, r.Current, r.Found})
	require.Equal(t, "late", lake.ledger("a").Lines("i")[in.Partitions[22].Name].Held)
	for _, p := range in.Partitions {
		require.Equal(t, 1, w.replaced[p.Name], p.Name)
	}
}

func TestChangedPastLakeIsLeftAlone(t *testing.T) {
	lake, w := newLake(t), newRecorder()
	in := load.Inputs{Partitions: datesFrom(3)}
	_, err := lake.run(t.Context(), w, in)
	require.NoError(t, err)
	name := in.Partitions[1].Name
	h := w.held[name]
	h.Version, h.ID = "somebody's", ""
	w.held[name] = h
	in.Partitions[1].Fingerprint, in.Partitions[2].Fingerprint = "x", "y"
	in.Partitions[2].Rows++
	r, err := lake.run(t.Context(), w, in)
	require.ErrorIs(t, err, load.ErrChanged)
	require.ErrorContains(t, err, name)
	require.NotContains(t, err.Error(), in.Partitions[2].Name)
	require.Equal(t, [3]int{1, 1, 1}, [3]int{r.Loaded, r.Current, r.Changed}, "the others are loaded")
	require.Equal(t, 1, w.replaced[name])
	in.Force = "f"
	r, err = lake.run(t.Context(), w, in)
	require.NoError(t, err)
	require.Equal(t, 3, r.Loaded)
	require.Equal(t, 2, w.replaced[name])
	in.Force = ""
	r, err = lake.run(t.Context(), w, in)
	require.NoError(t, err)
	require.Equal(t, 3, r.Current)
}

// Another loader claims the target while a partition is loaded: this one ends with the
// next, and does not note what it did.
func TestStaleLoaderStops(t *testing.T) {
	lake, w := newLake(t), newRecorder()
	in := load.Inputs{Partitions: datesFrom(3)}
	w.before = func(l load.Load) error {
		if l.Name == in.Partitions[1].Name {
			return lake.ledger("a").Claim(t.Context())
		}
		return nil
	}
	_, err := lake.run(t.Context(), w, in)
	require.ErrorIs(t, err, load.ErrBusy)
	require.Zero(t, w.replaced[in.Partitions[2].Name])
	require.Empty(t, lake.ledger("a").Lines("i"))
}
