package tally

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
)

// groupsAtOnce bounds the group batches that are made of existing groups.
const groupsAtOnce = 1 << 16

// Answers takes the answers since the last call. With on_change they are made
// now. In order: on_cross by record, on_change by when the group was first
// touched since the last call, on_close by window and then by when the group
// was first seen.
func (t *Tally) Answers() (Answers, error) {
	if t.rule.Emit == OnChange {
		if err := t.answerChanged(); err != nil {
			return Answers{}, fmt.Errorf("answer rule %s: %w", t.rule.Name, err)
		}
	}
	t.seq = 0
	for _, tb := range t.retired {
		t.recycle(tb, t.bytes/2)
	}
	clear(t.retired)
	t.retired = t.retired[:0]
	a, err := t.outbox.take()
	if err != nil {
		return Answers{}, fmt.Errorf("answer rule %s: %w", t.rule.Name, err)
	}
	return a, nil
}

// answerChanged answers the groups touched that satisfy HAVING and whose answer
// differs from the last one, and buries those that satisfied it and do no longer.
func (t *Tally) answerChanged() error {
	refs, tables := t.takeTouched()
	if tables > 1 { // in the order of windows: find those that answer, and sort these
		var err error
		if refs, err = t.speaking(refs); err != nil {
			return err
		}
		slices.SortFunc(refs, func(a, b ref) int { return cmp.Compare(a.seq, b.seq) })
	}
	for chunk := range slices.Chunk(refs, groupsAtOnce) {
		if err := t.answerChunk(chunk); err != nil {
			return err
		}
	}
	return nil
}

// takeTouched lists the groups touched since the last call, table by table, but for
// those that are mute.
func (t *Tally) takeTouched() (refs []ref, tables int) {
	n := 0
	for _, list := range [][]*table{t.retired, t.order} {
		for _, tb := range list {
			for _, touched := range tb.touched {
				if !t.mute(tb, touched.group) {
					n++
				}
			}
		}
	}
	refs = make([]ref, 0, n)
	for _, list := range [][]*table{t.retired, t.order} {
		for _, tb := range list {
			if len(tb.touched) == 0 {
				continue
			}
			tables++
			for _, touched := range tb.touched {
				*tb.flags.at(touched.group) &^= flagTouched
				if !t.mute(tb, touched.group) {
					refs = append(refs, ref{table: tb, group: touched.group, seq: touched.seq})
				}
			}
			if tb.touched = tb.touched[:0]; cap(tb.touched) > reserved {
				tb.touched = nil
			}
			t.measure(tb)
		}
	}
	return refs, tables
}

// speaking keeps the groups that may have to answer.
func (t *Tally) speaking(refs []ref) ([]ref, error) {
	kept := refs[:0]
	for chunk := range slices.Chunk(refs, groupsAtOnce) {
		j, err := t.judgeGroups(chunk)
		if err != nil {
			return nil, err
		}
		for i, r := range chunk {
			if !j.silent(i, r) {
				kept = append(kept, r)
			}
		}
		j.release()
	}
	return kept, nil
}

// silent reports whether on_change has nothing to say of a group, and never had.
func (j *judged) silent(i int, r ref) bool {
	if j.holds[i] || *r.table.flags.at(r.group)&(flagLive|flagFailed) != 0 {
		return false
	}
	_, failed := j.failed[i]
	return !failed
}

func (t *Tally) answerChunk(refs []ref) error {
	j, err := t.judgeGroups(refs)
	if err != nil {
		return err
	}
	defer j.release()
	var picks []int32
	for i, r := range refs {
		if reason, failed := j.failed[i]; failed {
			t.reportFailing(r.table, r.group, &j.keys, int32(i), reason)
		} else if j.holds[i] || *r.table.flags.at(r.group)&flagLive != 0 {
			picks = append(picks, int32(i))
		} else {
			t.succeed(r.table, r.group)
		}
	}
	if len(picks) == 0 {
		return nil
	}
	out, failures, err := t.projectPicks(j.rows, picks)
	if err != nil {
		return err
	}
	defer out.Release()
	hasher, err := newRowHasher(t.outputTypes, out, true)
	if err != nil {
		return err
	}
	reasons := firstReasons(failures)
	var emit, at []int32
	var deleted []bool
	for i, p := range picks {
		r := refs[p]
		if reason, failed := reasons[i]; failed && j.holds[p] {
			t.reportFailing(r.table, r.group, &j.keys, p, reason)
			continue
		}
		t.succeed(r.table, r.group)
		if j.holds[p] {
			hash := hasher.sum128(int32(i))
			if *r.table.flags.at(r.group)&flagLive != 0 && *r.table.emitted.at(r.group) == hash {
				continue
			}
			t.mark(r.table, r.group, flagLive, 0)
			r.table.remember(r.group, hash)
		} else {
			t.mark(r.table, r.group, 0, flagLive)
		}
		emit, at, deleted = append(emit, int32(i)), append(at, p), append(deleted, !j.holds[p])
	}
	chosen, err := t.pick(out, emit)
	if err != nil {
		return err
	}
	defer chosen.Release()
	return t.outbox.add(chosen, j.keys.at(at), deleted)
}

// reportFailing reports a group that has no answer, once until it has one again.
func (t *Tally) reportFailing(tb *table, g int32, keys *keyText, row int32, reason string) {
	if *tb.flags.at(g)&flagFailed == 0 {
		t.mark(tb, g, flagFailed, 0)
		t.outbox.fail(keys.text(row), reason)
	}
}

func (t *Tally) succeed(tb *table, g int32) {
	if *tb.flags.at(g)&flagFailed != 0 {
		t.mark(tb, g, 0, flagFailed)
	}
}

// Advance tells the watermark, µs since 1970; it never goes back. Windows that
// end at or before it are closed: with on_close their groups answer, and their
// state leaves.
func (t *Tally) Advance(watermark int64) error {
	if watermark <= t.clock {
		return nil
	}
	t.clock = watermark
	if watermark < t.nextEnd {
		return nil
	}
	return t.closeTables(func(tb *table) bool { return tb.end <= watermark })
}

// CloseAll closes every window that has rows, as a watermark at the end of the
// last one would. The window of NULL times stays.
func (t *Tally) CloseAll() error {
	for _, tb := range t.order {
		if tb.end != never {
			t.clock = max(t.clock, tb.end)
		}
	}
	return t.closeTables(func(tb *table) bool { return tb.end != never })
}

func (t *Tally) closeTables(due func(*table) bool) error {
	var closing []*table
	t.nextEnd = never
	for _, tb := range t.order {
		if due(tb) {
			closing = append(closing, tb)
		} else {
			t.nextEnd = min(t.nextEnd, tb.end)
		}
	}
	if len(closing) == 0 {
		return nil
	}
	slices.SortFunc(closing, func(a, b *table) int { return cmp.Or(cmp.Compare(a.end, b.end), a.span.compare(b.span)) })
	refs := t.refs[:0]
	flush := func() error {
		err := t.answerClosed(refs)
		clear(refs) // lets go of tables
		t.refs, refs = refs[:0], refs[:0]
		return err
	}
	for _, tb := range closing {
		if tb.date, tb.dated = t.spanDate(tb.span); tb.dated {
			t.stats.of(tb.date).Closed++
		} else if t.rule.Emit != OnClose {
			continue
		}
		for g := range int32(tb.index.len()) {
			if t.mute(tb, g) {
				*tb.flags.at(g) &^= flagTouched // it has nothing to say any more
				continue
			}
			refs = append(refs, ref{table: tb, group: g})
			if len(refs) == groupsAtOnce {
				if err := flush(); err != nil {
					return fmt.Errorf("close windows of rule %s: %w", t.rule.Name, err)
				}
			}
		}
	}
	if err := flush(); err != nil {
		return fmt.Errorf("close windows of rule %s: %w", t.rule.Name, err)
	}
	for _, tb := range closing {
		tb.closed = true
	}
	closed := func(tb *table) bool { return tb.closed }
	t.order, t.changed = slices.DeleteFunc(t.order, closed), slices.DeleteFunc(t.changed, closed)
	most := (t.bytes - t.spared) / 4 * 3
	for _, tb := range closing {
		t.drop(tb, most)
	}
	clear(t.splitter.spots) // which would hold on to the tables
	return nil
}

// answerClosed answers groups of closed windows where the rule says so, and
// counts their answers in any case.
func (t *Tally) answerClosed(refs []ref) error {
	if len(refs) == 0 {
		return nil
	}
	j, err := t.judgeGroups(refs)
	if err != nil {
		return err
	}
	defer j.release()
	answers := t.outbox
	if t.rule.Emit != OnClose {
		answers = nil
	}
	if t.rule.Emit == OnChange {
		for i, r := range refs {
			if j.silent(i, r) {
				*r.table.flags.at(r.group) &^= flagTouched
			}
		}
	}
	return t.answerHolding(j, answers, func(out arrow.RecordBatch, at []int32) error {
		hasher, err := newRowHasher(t.outputTypes, out, false)
		if err != nil {
			return err
		}
		var s *DateStats
		var of int32
		for i, p := range at {
			if tb := refs[p].table; tb.dated {
				if s == nil || tb.date != of {
					s, of = t.stats.of(tb.date), tb.date
				}
				s.Answers++
				s.Sum += hasher.sum64(int32(i))
			}
		}
		return nil
	})
}

// answerHolding puts the answers of groups that satisfy HAVING into box, and
// reports those that fail; box may be nil. see is shown the answers, too, and
// which groups of the batch they are of.
func (t *Tally) answerHolding(j *judged, box *outbox, see func(out arrow.RecordBatch, at []int32) error) error {
	reasons := j.failed
	picks := make([]int32, len(j.holds))
	kept := 0
	for i, holds := range j.holds {
		if holds && len(reasons) > 0 {
			_, failed := reasons[i]
			holds = !failed
		}
		picks[kept] = int32(i)
		if holds {
			kept++
		}
	}
	picks = picks[:kept]
	out, failures, err := t.projectPicks(j.rows, picks)
	if err != nil {
		return err
	}
	defer out.Release()
	if len(failures) > 0 {
		var fine, at []int32
		lost := firstReasons(failures)
		for i, p := range picks {
			if reason, failed := lost[i]; failed {
				reasons[int(p)] = reason
			} else {
				fine, at = append(fine, int32(i)), append(at, p)
			}
		}
		whole, err := t.pick(out, fine)
		if err != nil {
			return err
		}
		defer whole.Release()
		out, picks = whole, at
	}
	if box != nil {
		for i := 0; i < len(j.holds) && len(reasons) > 0; i++ {
			if reason, failed := reasons[i]; failed {
				box.fail(j.keys.text(int32(i)), reason)
			}
		}
		if err := box.add(out, j.keys.at(picks), nil); err != nil {
			return err
		}
	}
	return see(out, picks)
}

// settle makes the flags of all groups what they are for the rule's HAVING and
// SELECT as of now, and answers nothing.
func (t *Tally) settle() error {
	for _, tb := range t.ordered() {
		for refs := range slices.Chunk(tb.refs(), groupsAtOnce) {
			if err := t.settleChunk(refs); err != nil {
				return err
			}
		}
		t.measure(tb)
	}
	return nil
}

func (t *Tally) settleChunk(refs []ref) error {
	j, err := t.judgeGroups(refs)
	if err != nil {
		return err
	}
	defer j.release()
	out, failures, err := t.project(j.rows)
	if err != nil {
		return err
	}
	defer out.Release()
	hasher, err := newRowHasher(t.outputTypes, out, true)
	if err != nil {
		return err
	}
	lost := firstReasons(failures)
	for i, r := range refs {
		set, unset := flag(0), flagsKept
		_, failed := j.failed[i]
		if _, noAnswer := lost[i]; failed || noAnswer && j.holds[i] {
			set = flagFailed
		}
		if j.holds[i] && !failed && t.rule.Emit == OnCross {
			set |= flagCrossed
		}
		if j.holds[i] && set == 0 && t.rule.Emit == OnChange {
			set |= flagLive
			r.table.remember(r.group, hasher.sum128(int32(i)))
		}
		t.mark(r.table, r.group, set, unset&^set)
	}
	return nil
}
