package reliability

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// outcome is what the independent readers saw.
type outcome struct {
	table, letters           tableRead
	crossed, changed, closed []delivered
	topic                    string // of the events
}

func (w *world) read(ctx context.Context) (o outcome, err error) {
	o.topic = w.topic("events")
	if o.table, err = w.readTable(ctx, "r.events", rowColumns); err != nil {
		return o, err
	}
	o.letters, err = w.readTable(ctx, "r.events_dead_letter", "partition,offset,stage")
	if err != nil && !errors.Is(err, errNoTable) {
		return o, err
	}
	for of, into := range map[string]*[]delivered{"crossed": &o.crossed, "changed": &o.changed, "closed": &o.closed} {
		if *into, err = readTopic(ctx, w.brokers, w.topic(of)); err != nil {
			return o, err
		}
	}
	return o, nil
}

// check reads everything and returns what is wrong, a line each.
func (w *world) check(ctx context.Context) findings {
	w.t.Helper()
	o, err := w.read(ctx)
	require.NoError(w.t, err)
	m := newModel(w.stream, w.sealed)
	var f findings
	f.table(m, o.table)
	f.letters(m, o)
	f.history(w.stream, o.table)
	f.ownership(o.table)
	f.answers("crossed", m.crossed, o.crossed)
	f.answers("closed", m.closed, o.closed)
	f.changes(m, o, w.expired)
	for rule, list := range map[string][]delivered{"crossed": o.crossed, "changed": o.changed, "closed": o.closed} {
		f.order(rule, list)
	}
	return f
}

// clean wants that nothing is wrong.
func (w *world) clean(ctx context.Context) {
	w.t.Helper()
	found := w.check(ctx)
	require.Empty(w.t, found, "%s", found)
}

// findings are what is wrong. They begin with the same words for the same kind.
type findings []string

// ofAKind bounds the findings that begin with the same words.
const ofAKind = 8

func (f *findings) add(format string, args ...any) {
	kind, _, _ := strings.Cut(format, ":")
	n := 0
	for _, each := range *f {
		if strings.HasPrefix(each, kind) {
			n++
		}
	}
	if n < ofAKind {
		*f = append(*f, fmt.Sprintf(format, args...))
	}
}

func (f findings) String() string { return strings.Join(f, "\n") }

// has reports whether one of the findings begins so.
func (f findings) has(prefix string) bool {
	return slices.ContainsFunc(f, func(s string) bool { return strings.HasPrefix(s, prefix) })
}

// table: every good record is a row, once, with its values and in its date.
func (f *findings) table(m model, r tableRead) {
	for _, path := range r.Missing {
		f.add("missing file: a snapshot refers to %s", path)
	}
	if len(r.Missing) > 0 {
		return
	}
	zone := mustZone()
	count := func(reader string, rows []row) {
		seen := map[place]int{}
		for _, is := range rows {
			want, ok := m.rows[is.place()]
			switch seen[is.place()]++; {
			case seen[is.place()] > 1:
				f.add("doubled row: %s has %v %d times", reader, is.place(), seen[is.place()])
			case !ok:
				f.add("strange row: %s has %v, which is no good record", reader, is.place())
			case is.User != want.User || is.TS != want.TS || is.Kind != want.Kind:
				f.add("wrong row: %s has %+v, and %+v was written", reader, is, want)
			case is.dt != want.at.In(zone).Format("2006-01-02"):
				f.add("wrong date: %s has %v of %s under %s", reader, is.place(), want.TS, is.dt)
			}
		}
		for at := range m.rows {
			if seen[at] == 0 {
				f.add("lost row: %s does not have %v", reader, at)
			}
		}
	}
	count("pyiceberg", f.rows(r.Rows))
	var parquet []row
	for _, s := range r.Snapshots {
		if s.ID != r.Current {
			continue
		}
		for _, number := range s.Files {
			file := r.Files[number]
			rows := f.rows(file.Rows)
			parquet = append(parquet, rows...)
			for _, is := range rows {
				if !strings.Contains(file.Path, "/dt="+is.dt+"/") {
					f.add("wrong folder: %s has a row of %s", file.Path, is.dt)
				}
			}
		}
	}
	count("DuckDB", parquet)
}

func (f *findings) rows(cells [][]rawCell) []row {
	rows := make([]row, 0, len(cells))
	for _, c := range cells {
		r, err := parseRow(c)
		if err != nil {
			f.add("unreadable row: %s: %v", c, err)
		}
		rows = append(rows, r)
	}
	return rows
}

// letters: every broken record is a dead letter, once.
func (f *findings) letters(m model, o outcome) {
	seen := map[place]int{}
	for _, cells := range o.letters.Rows {
		at, err := letterPlace(cells, o.topic)
		if err != nil {
			f.add("strange dead letter: %v", err)
			continue
		}
		if seen[at]++; seen[at] > 1 {
			f.add("doubled dead letter: %v", at)
		}
		if !m.letters[at] {
			f.add("strange dead letter: %v is a good record", at)
		}
	}
	for at := range m.letters {
		if seen[at] == 0 {
			f.add("lost dead letter: %v", at)
		}
	}
}

// history: each snapshot has of each partition all good records up to some
// offset, and no later snapshot has fewer.
func (f *findings) history(s *stream, r tableRead) {
	good := make([][]int64, len(s.parts)) // number of good records up to an offset
	for p, part := range s.parts {
		n := int64(0)
		for _, e := range part {
			if !e.broken {
				n++
			}
			good[p] = append(good[p], n)
		}
	}
	type extent struct{ rows, last int64 }
	files := make([]map[int32]extent, len(r.Files))
	for i, file := range r.Files {
		files[i] = map[int32]extent{}
		for _, is := range f.rows(file.Rows) {
			e := files[i][is.Part]
			files[i][is.Part] = extent{e.rows + 1, max(e.last, is.Off)}
		}
	}
	before := map[int32]int64{}
	for _, snapshot := range r.Snapshots {
		all := map[int32]extent{}
		for _, number := range snapshot.Files {
			for p, e := range files[number] {
				all[p] = extent{all[p].rows + e.rows, max(all[p].last, e.last)}
			}
		}
		for p, e := range all {
			if int(p) >= len(good) || e.last >= int64(len(good[p])) {
				f.add("strange row: snapshot %d has %d/%d", snapshot.Sequence, p, e.last)
			} else if want := good[p][e.last]; e.rows != want {
				f.add("torn snapshot: number %d has %d rows of partition %d up to offset %d, and %d were written", snapshot.Sequence, e.rows, p, e.last, want)
			}
		}
		for p, last := range before {
			if all[p].last < last {
				f.add("offsets went back: snapshot %d has partition %d up to %d, and the one before up to %d", snapshot.Sequence, p, all[p].last, last)
			}
		}
		for p, e := range all {
			before[p] = e.last
		}
	}
}

// ownership: over the versions of the metadata no shard's record goes back. An
// epoch that does shows that a former owner wrote after the takeover.
func (f *findings) ownership(r tableRead) {
	last := map[string]record{}
	for i, version := range r.Records {
		for name, is := range version {
			was, ok := last[name]
			last[name] = is
			switch {
			case !ok:
			case is.Epoch < was.Epoch:
				f.add("epoch went back: %s from %d to %d in version %d", name, was.Epoch, is.Epoch, i)
			case is.Seq < was.Seq:
				f.add("seq went back: %s from %d to %d in version %d", name, was.Seq, is.Seq, i)
			case is.Ordinal < was.Ordinal:
				f.add("ordinal went back: %s from %d to %d in version %d", name, was.Ordinal, is.Ordinal, i)
			}
		}
		for name := range last {
			if _, ok := version[name]; !ok {
				f.add("record lost: %s in version %d", name, i)
			}
		}
	}
}

// answers: exactly those that the model says, each once.
func (f *findings) answers(rule string, want []answer, got []delivered) {
	left := map[answer]int{}
	for _, a := range want {
		left[a]++
	}
	for _, d := range got {
		n, ok := left[d.answer]
		switch {
		case !ok:
			f.add("strange answer: %s has %s %s", rule, d.key, d.value)
		case n == 0:
			f.add("doubled answer: %s has %s %s (seq %d) again", rule, d.key, d.value, d.seq)
		default:
			left[d.answer] = n - 1
		}
	}
	for _, a := range want {
		if left[a] > 0 {
			f.add("lost answer: %s does not have %s %s", rule, a.key, a.value)
			left[a]--
		}
	}
}

// changes: the answers of on_change are the model's for the commits that the
// snapshots record, no commit answers twice. Where snapshots were expired the
// commits are not all known: then the newest answer of each user must be the model's.
func (f *findings) changes(m model, o outcome, expired bool) {
	known, shards := commitsOf(o)
	if !known && !expired {
		f.add("lost snapshot: nobody expired any, and their numbers have gaps")
	}
	if !known {
		f.answers("changed, last of each user", last(m), lastOf(o.changed))
		return
	}
	bySeq := map[string]map[int64][]answer{}
	for _, d := range o.changed {
		var user int64
		if _, err := fmt.Sscan(d.key, &user); err != nil {
			f.add("strange answer: changed has the key %q", d.key)
			continue
		}
		shard := shardOf(shards, o.topic, m, user)
		if bySeq[shard] == nil {
			bySeq[shard] = map[int64][]answer{}
		}
		bySeq[shard][d.seq] = append(bySeq[shard][d.seq], d.answer)
	}
	for _, shard := range slices.Sorted(maps.Keys(shards)) {
		commits := shards[shard]
		for i, want := range m.changed(commits) {
			seq := int64(i + 1)
			var got []delivered
			for _, a := range bySeq[shard][seq] {
				got = append(got, delivered{answer: a, seq: seq})
			}
			f.answers(fmt.Sprintf("changed, commit %d of %s,", seq, shard), want, got)
			delete(bySeq[shard], seq)
		}
		for seq := range bySeq[shard] {
			f.add("strange answer: changed has answers of commit %d of %s, which the table does not have", seq, shard)
		}
	}
}

// commitsOf are the places that each commit of each shard added, by seq − 1;
// known is false where snapshots are gone.
func commitsOf(o outcome) (known bool, shards map[string][][]place) {
	shards = map[string][][]place{}
	var before []int
	for i, s := range o.table.Snapshots {
		if s.Sequence != int64(i+1) {
			return false, nil
		}
		added := map[int32][]place{}
		for _, number := range s.Files {
			if slices.Contains(before, number) || s.Operation != "append" {
				continue
			}
			for _, cells := range o.table.Files[number].Rows {
				if is, err := parseRow(cells); err == nil {
					added[is.Part] = append(added[is.Part], is.place())
				}
			}
		}
		before = s.Files
		for name, brief := range s.Summary {
			shard, seq, ok := parseBrief(name, brief)
			if !ok {
				continue
			}
			for int64(len(shards[shard])) < seq {
				shards[shard] = append(shards[shard], nil)
			}
			for p, places := range added {
				if seq > 0 && (shard == "all" || shard == fmt.Sprintf("%s/%d", o.topic, p)) {
					shards[shard][seq-1] = append(shards[shard][seq-1], places...)
				}
			}
		}
	}
	return true, shards
}

// order: a key is always in the partition that Java's clients choose, and its
// answers come in the order of the commits.
func (f *findings) order(rule string, list []delivered) {
	by := kgo.StickyKeyPartitioner(nil).ForTopic(rule)
	seq := map[string]int64{}
	for _, d := range list {
		if want := by.Partition(&kgo.Record{Key: []byte(d.key)}, outputPartitions); int32(want) != d.partition {
			f.add("strange partition: %s has key %s in %d, not in %d", rule, d.key, d.partition, want)
		}
		if d.seq < seq[d.key] {
			f.add("disorder: %s has key %s of commit %d behind that of %d", rule, d.key, d.seq, seq[d.key])
		}
		seq[d.key] = d.seq
	}
}
