// Package warehousetest is what every load.Warehouse has to pass.
package warehousetest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"lake/load"
	"lake/schemas"
	"lake/table/parquet"
)

// Harness is one target table, which is not there yet, and ways to get at it.
type Harness struct {
	// Open opens the target as a process of its own would; the suite closes it.
	Open func(t *testing.T) load.Warehouse
	// Put keeps a Parquet file of this name where a loader finds it, and returns its URI.
	Put func(t *testing.T, name string, data []byte) string
	// Drop drops the target past lake.
	Drop func(t *testing.T)
	// Remove removes, past lake, the row n of the partition.
	Remove func(t *testing.T, partition string, n int64)
	// Patience bounds a call; 0 is a minute.
	Patience time.Duration
	// Cannot says, by a case's name, why the target cannot pass it: a stand-in that
	// lacks something. The case is then left out with that line.
	Cannot map[string]string
	// Types leaves kinds of columns out, with the reason, as Cannot does.
	Types map[schemas.Kind]string
}

// Run runs the suite. Each case asks for a harness of its own, with its own target.
func Run(t *testing.T, harness func(t *testing.T) Harness) {
	for _, c := range []struct {
		name string
		run  func(s *suite)
	}{
		{"made once", (*suite).madeOnce},
		{"replaces one date", (*suite).replacesOneDate},
		{"a load is done once", (*suite).doneOnce},
		{"a wrong number of rows changes nothing", (*suite).wrongNumber},
		{"a missing file changes nothing", (*suite).missingFile},
		{"a partition without rows", (*suite).emptied},
		{"a table without dates", (*suite).undated},
		{"a column is added", (*suite).columnAdded},
		{"a column of another type", (*suite).otherType},
		{"dropped and made anew", (*suite).droppedAndMade},
		{"changed past lake", (*suite).changedPastLake},
		{"a call that is over", (*suite).callOver},
		{"many dates", (*suite).manyDates},
		{"each type", (*suite).eachType},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := harness(t)
			if why, ok := h.Cannot[c.name]; ok {
				t.Skip("the target cannot: " + why) // named by its harness, one case at a time
			}
			if h.Patience == 0 {
				h.Patience = time.Minute
			}
			c.run(&suite{T: t, Harness: h})
		})
	}
}

type suite struct {
	*testing.T
	Harness
	files int
}

// The columns of the suite's tables.
var events = load.Table{DateColumn: "dt", Schema: schemas.Schema{Fields: []schemas.Field{
	{Name: "n", Type: schemas.Type{Kind: schemas.Int64}, Required: true, Doc: "a number"},
	{Name: "name", Type: schemas.Type{Kind: schemas.String}},
	{Name: "score", Type: schemas.Type{Kind: schemas.Float64}},
	{Name: "at", Type: schemas.Type{Kind: schemas.Timestamp}},
	{Name: "dt", Type: schemas.Type{Kind: schemas.Date}, Required: true},
}}}

// rows are some of a date as JSON: numbers from first on.
func rows(date string, first, n int) string {
	out := make([]string, n)
	for i := range out {
		score := fmt.Sprint(float64(first+i) / 3)
		if i%3 == 2 {
			score = "null"
		}
		out[i] = fmt.Sprintf(`{"n": %d, "name": "name %d, 'ä", "score": %s, "at": "%sT23:59:59.%06dZ", "dt": "%s"}`, first+i, first+i, score, date, first+i, date)
	}
	return "[" + strings.Join(out, ",") + "]"
}

// batch is rows in a schema's columns; the caller need not release it.
func (s *suite) batch(schema schemas.Schema, rows string) arrow.RecordBatch {
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema.Arrow(), strings.NewReader(rows))
	require.NoError(s, err)
	s.Cleanup(batch.Release)
	return batch
}

// load writes rows into a file each and makes a load of them; digest is theirs.
func (s *suite) load(id, partition string, schema schemas.Schema, rows ...string) (load.Load, load.Digest) {
	l := load.Load{ID: fmt.Sprintf("%024s", id), Partition: load.Partition{Name: partition, Fingerprint: id}}
	if partition != load.All {
		day, err := time.Parse(time.DateOnly, partition)
		require.NoError(s, err)
		l.Date = int32(day.Unix() / 86400)
	}
	d := load.NewDigester(schema)
	for _, each := range rows {
		batch := s.batch(schema, each)
		require.NoError(s, d.Add(batch))
		var data bytes.Buffer
		w, err := parquet.NewWriter(&data, batch.Schema(), parquet.Options{})
		require.NoError(s, err)
		require.NoError(s, w.Append(batch, nil))
		_, err = w.Close()
		require.NoError(s, err)
		s.files++
		f := load.File{URI: s.Put(s.T, fmt.Sprintf("%s-%d.parquet", partition, s.files), data.Bytes()), Rows: batch.NumRows(), Bytes: int64(data.Len())}
		l.Files = append(l.Files, f)
		l.Rows += f.Rows
		l.Bytes += f.Bytes
	}
	return l, d.Sum()
}

// target is the target opened anew, as another process would.
func (s *suite) target() load.Warehouse {
	w := &closed{Warehouse: s.Open(s.T)}
	s.Cleanup(func() { require.NoError(s, w.Close()) })
	return w
}

// closed is closed once.
type closed struct {
	load.Warehouse
	done bool
}

// Close implements load.Warehouse.
func (c *closed) Close() error {
	if c.done {
		return nil
	}
	c.done = true
	return c.Warehouse.Close()
}

func (s *suite) ctx() context.Context {
	ctx, cancel := context.WithTimeout(s.Context(), s.Patience)
	s.Cleanup(cancel)
	return ctx
}

func (s *suite) prepare(w load.Warehouse, t load.Table) string {
	incarnation, err := w.Prepare(s.ctx(), t)
	require.NoError(s, err)
	require.NotEmpty(s, incarnation)
	return incarnation
}

// replace loads, and checks what the target then says that it has.
func (s *suite) replace(w load.Warehouse, t load.Table, l load.Load) load.Held {
	held, err := w.Replace(s.ctx(), l)
	require.NoError(s, err)
	require.Equal(s, l.Rows, held.Rows)
	now := s.held(w, t, l.Name)
	require.True(s, now.ID == "" || now.ID == l.ID, "%q", now.ID)
	require.Equal(s, held.Version, now.Version)
	require.True(s, now.Rows == -1 || now.Rows == l.Rows, "%d", now.Rows)
	return held
}

func (s *suite) held(w load.Warehouse, t load.Table, partition string) load.Held {
	held, err := w.Held(s.ctx(), t, []string{partition})
	require.NoError(s, err)
	return held[partition]
}

// has checks that the target has exactly these rows of the partitions.
func (s *suite) has(w load.Warehouse, t load.Table, want map[string]load.Digest) {
	s.Helper()
	var names []string
	for name := range want {
		names = append(names, name)
	}
	slices.Sort(names)
	got, err := w.Digest(s.ctx(), t, names)
	require.NoError(s, err)
	for _, name := range names {
		require.Empty(s, want[name].Differs(got[name]), "partition %s: %+v and %+v", name, want[name], got[name])
	}
	for name, d := range got {
		require.Contains(s, want, name)
		require.Equal(s, want[name].Rows, d.Rows)
	}
}

const (
	first  = "2021-11-29"
	second = "2021-11-30"
)

func (s *suite) madeOnce() {
	w := s.target()
	incarnation, err := w.Inspect(s.ctx())
	require.NoError(s, err)
	require.Empty(s, incarnation, "there is no target yet")
	held, err := w.Held(s.ctx(), events, []string{first})
	require.NoError(s, err)
	require.Zero(s, held[first], "Held of a target that is not there")
	made := s.prepare(w, events)
	require.Equal(s, made, s.prepare(w, events), "prepared twice")
	require.NoError(s, w.Close())
	w = s.target()
	incarnation, err = w.Inspect(s.ctx())
	require.NoError(s, err)
	require.Equal(s, made, incarnation, "opened anew")
	require.Equal(s, made, s.prepare(w, events))
}

func (s *suite) replacesOneDate() {
	w := s.target()
	s.prepare(w, events)
	a, one := s.load("a", first, events.Schema, rows(first, 0, 10))
	b, two := s.load("b", second, events.Schema, rows(second, 10, 5), rows(second, 15, 6))
	s.replace(w, events, a)
	before := s.replace(w, events, b)
	s.has(w, events, map[string]load.Digest{first: one, second: two})
	c, three := s.load("c", second, events.Schema, rows(second, 10, 12))
	after := s.replace(w, events, c)
	s.has(w, events, map[string]load.Digest{first: one, second: three})
	if before.Version != "" {
		require.NotEqual(s, before.Version, after.Version)
	}
	require.NotEmpty(s, three.Differs(two), "the suite's own rows differ")
}

// doneOnce is a loader that ended between the target's success and its note of it.
func (s *suite) doneOnce() {
	w := s.target()
	s.prepare(w, events)
	a, one := s.load("a", first, events.Schema, rows(first, 0, 10))
	held := s.replace(w, events, a)
	require.NoError(s, w.Close())
	w = s.target()
	s.prepare(w, events)
	again, err := w.Replace(s.ctx(), a)
	require.NoError(s, err)
	require.Equal(s, held, again)
	s.has(w, events, map[string]load.Digest{first: one})
	// Another ID with the same files is another load.
	a.ID = fmt.Sprintf("%024s", "b")
	s.replace(w, events, a)
	s.has(w, events, map[string]load.Digest{first: one})
}

func (s *suite) wrongNumber() {
	w := s.target()
	s.prepare(w, events)
	a, one := s.load("a", first, events.Schema, rows(first, 0, 10))
	s.replace(w, events, a)
	before := s.held(w, events, first)
	b, _ := s.load("b", first, events.Schema, rows(first, 0, 3))
	b.Rows++
	b.Files[0].Rows++
	_, err := w.Replace(s.ctx(), b)
	require.Error(s, err)
	s.has(w, events, map[string]load.Digest{first: one})
	require.Equal(s, before, s.held(w, events, first))
}

func (s *suite) missingFile() {
	w := s.target()
	s.prepare(w, events)
	a, one := s.load("a", first, events.Schema, rows(first, 0, 10))
	s.replace(w, events, a)
	before := s.held(w, events, first)
	b, _ := s.load("b", first, events.Schema, rows(first, 0, 3))
	b.Files = append(b.Files, load.File{URI: strings.Replace(b.Files[0].URI, ".parquet", "-gone.parquet", 1), Rows: 4, Bytes: 1000})
	b.Rows += 4
	_, err := w.Replace(s.ctx(), b)
	require.Error(s, err)
	s.has(w, events, map[string]load.Digest{first: one})
	require.Equal(s, before, s.held(w, events, first))
}

func (s *suite) emptied() {
	w := s.target()
	s.prepare(w, events)
	a, _ := s.load("a", first, events.Schema, rows(first, 0, 10))
	b, two := s.load("b", second, events.Schema, rows(second, 0, 10))
	s.replace(w, events, a)
	s.replace(w, events, b)
	none, _ := s.load("c", first, events.Schema)
	_, err := w.Replace(s.ctx(), none)
	require.NoError(s, err)
	s.has(w, events, map[string]load.Digest{first: {}, second: two})
	s.replace(w, events, func() load.Load { l, _ := s.load("d", first, events.Schema, rows(first, 3, 1)); return l }())
}

func (s *suite) undated() {
	w := s.target()
	undated := load.Table{Schema: events.Schema}
	s.prepare(w, undated)
	a, one := s.load("a", load.All, events.Schema, rows(first, 0, 10), rows(second, 10, 2))
	s.replace(w, undated, a)
	s.has(w, undated, map[string]load.Digest{load.All: one})
	b, two := s.load("b", load.All, events.Schema, rows(first, 3, 1))
	s.replace(w, undated, b)
	s.has(w, undated, map[string]load.Digest{load.All: two})
	c, none := s.load("c", load.All, events.Schema)
	_, err := w.Replace(s.ctx(), c)
	require.NoError(s, err)
	s.has(w, undated, map[string]load.Digest{load.All: none})
}

func (s *suite) columnAdded() {
	w := s.target()
	made := s.prepare(w, events)
	a, _ := s.load("a", first, events.Schema, rows(first, 0, 4))
	s.replace(w, events, a)
	wider := load.Table{DateColumn: "dt", Schema: schemas.Schema{Fields: append(slices.Clone(events.Schema.Fields),
		schemas.Field{Name: "city", Type: schemas.Type{Kind: schemas.String}, Doc: "a new one"})}}
	// What was loaded before is compared as it is: an audit may come before the next load.
	widest := load.Table{DateColumn: "dt", Schema: schemas.Schema{Fields: append(slices.Clone(wider.Schema.Fields),
		schemas.Field{Name: "price", Type: schemas.Type{Kind: schemas.Float64}},
		schemas.Field{Name: "tags", Type: schemas.Type{Kind: schemas.List, Elem: &schemas.Field{Name: "element", Type: schemas.Type{Kind: schemas.String}}}})}}
	old := load.NewDigester(widest.Schema)
	require.NoError(s, old.Add(s.batch(widest.Schema, rows(first, 0, 4))))
	s.has(w, widest, map[string]load.Digest{first: old.Sum()})
	require.Equal(s, made, s.prepare(w, wider), "the same target")
	require.Equal(s, made, s.prepare(w, wider), "added once")
	// The rows that are there have none; of the new ones a file has the column and one lacks it.
	d := load.NewDigester(wider.Schema)
	require.NoError(s, d.Add(s.batch(wider.Schema, rows(first, 0, 4))))
	with, _ := s.load("b", second, wider.Schema, `[{"n": 1, "name": "a", "dt": "`+second+`", "city": "Pune"}]`)
	without, _ := s.load("c", second, events.Schema, rows(second, 2, 3))
	with.Files, with.Rows, with.Bytes = append(with.Files, without.Files...), with.Rows+without.Rows, with.Bytes+without.Bytes
	both := load.NewDigester(wider.Schema)
	require.NoError(s, both.Add(s.batch(wider.Schema, `[{"n": 1, "name": "a", "dt": "`+second+`", "city": "Pune"}]`)))
	require.NoError(s, both.Add(s.batch(wider.Schema, rows(second, 2, 3))))
	s.replace(w, wider, with)
	s.has(w, wider, map[string]load.Digest{first: d.Sum(), second: both.Sum()})
}

func (s *suite) otherType() {
	w := s.target()
	s.prepare(w, events)
	a, one := s.load("a", first, events.Schema, rows(first, 0, 4))
	s.replace(w, events, a)
	other := load.Table{DateColumn: "dt", Schema: schemas.Schema{Fields: slices.Clone(events.Schema.Fields)}}
	other.Schema.Fields[1].Type.Kind = schemas.Bool
	_, err := w.Prepare(s.ctx(), other)
	require.ErrorIs(s, err, load.ErrTargetSchema)
	require.ErrorContains(s, err, "name")
	s.has(w, events, map[string]load.Digest{first: one})
}

func (s *suite) droppedAndMade() {
	w := s.target()
	was := s.prepare(w, events)
	a, one := s.load("a", first, events.Schema, rows(first, 0, 4))
	s.replace(w, events, a)
	require.NoError(s, w.Close())
	s.Drop(s.T)
	w = s.target()
	incarnation, err := w.Inspect(s.ctx())
	require.NoError(s, err)
	require.Empty(s, incarnation)
	require.NotEqual(s, was, s.prepare(w, events))
	require.Empty(s, s.held(w, events, first).ID, "the load went with the table")
	a.ID = fmt.Sprintf("%024s", "b") // the incarnation is part of it
	s.replace(w, events, a)
	s.has(w, events, map[string]load.Digest{first: one})
}

func (s *suite) changedPastLake() {
	w := s.target()
	s.prepare(w, events)
	a, one := s.load("a", first, events.Schema, rows(first, 0, 4))
	b, two := s.load("b", second, events.Schema, rows(second, 0, 4))
	s.replace(w, events, a)
	s.replace(w, events, b)
	was, other := s.held(w, events, first), s.held(w, events, second)
	require.NoError(s, w.Close())
	s.Remove(s.T, first, 2)
	w = s.target()
	now := s.held(w, events, first)
	require.True(s, now.Version != was.Version || now.Rows != was.Rows, "nobody could tell: %+v", now)
	require.Equal(s, other, s.held(w, events, second))
	got, err := w.Digest(s.ctx(), events, []string{first, second})
	require.NoError(s, err)
	require.NotEmpty(s, one.Differs(got[first]))
	require.Empty(s, two.Differs(got[second]))
}

func (s *suite) callOver() {
	w := s.target()
	s.prepare(w, events)
	a, one := s.load("a", first, events.Schema, rows(first, 0, 4))
	s.replace(w, events, a)
	over, cancel := context.WithCancel(s.ctx())
	cancel()
	b, _ := s.load("b", first, events.Schema, rows(first, 0, 9))
	_, err := w.Replace(over, b)
	require.Error(s, err)
	s.has(w, events, map[string]load.Digest{first: one})
}

func (s *suite) manyDates() {
	w := s.target()
	s.prepare(w, events)
	want := map[string]load.Digest{}
	var names []string
	for i := range 12 {
		date := time.Date(2024, 2, 24+i, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
		l, d := s.load(fmt.Sprint(i+10), date, events.Schema, rows(date, i*10, i+1))
		_, err := w.Replace(s.ctx(), l)
		require.NoError(s, err)
		want[date] = d
		names = append(names, date)
	}
	s.has(w, events, want)
	held, err := w.Held(s.ctx(), events, append(names, "2030-01-01"))
	require.NoError(s, err)
	for i, name := range names {
		require.True(s, held[name].Rows == -1 || held[name].Rows == int64(i+1), "%s: %+v", name, held[name])
	}
	require.Empty(s, held["2030-01-01"].ID)
}
