package tally

import (
	"cmp"
	"slices"
)

// traced is the part of a batch that belongs to one table's groups that have
// not answered yet; at is the place of its first row in the group batch.
type traced struct {
	table        *table
	rows, groups []int32
	at           int
}

// crossing is a group that answers at a record, or fails to.
type crossing struct {
	row    int32 // of the batch
	at     int32 // in the group batch
	table  *table
	group  int32
	reason string // not "": HAVING could not be decided
}

// cross folds the batch into its groups and answers those with which HAVING
// holds for the first time. HAVING is evaluated over a group batch that has,
// for each row of an undecided group, the group as it was after that row; where
// HAVING bounds a count, only for those rows that have reached the bound.
func (t *Tally) cross(args []*column) error {
	parts := t.parts[:0]
	t.parted = slices.Grow(t.parted[:0], 4*len(t.groups))[:4*len(t.groups)]
	free := t.parted
	n := 0
	for _, tb := range t.active {
		part := traced{table: tb, rows: tb.rows, groups: tb.groups, at: n}
		var rows, groups []int32 // the others
		switch {
		case tb.counted != nil:
			part.rows, part.groups, rows, groups = tb.reach(args[t.plan.Bound.Agg], t.plan.Bound.Least, free)
		case tb.decided > 0:
			part.rows, part.groups, rows, groups = tb.partition(free)
		}
		free = free[4*len(tb.rows):]
		for i, a := range tb.aggs {
			if len(rows) > 0 && (tb.counted == nil || i != t.plan.Bound.Agg) {
				a.add(args[i], rows, groups, nil)
			}
		}
		if len(part.rows) > 0 {
			n += len(part.rows)
			parts = append(parts, part)
		}
	}
	t.parts = parts
	defer clear(parts)
	if n == 0 {
		return nil
	}
	vectors := t.newVectors(n)
	for _, part := range parts {
		rest := t.emitKeys(part.table, part.groups, vectors)
		for i, a := range part.table.aggs {
			a.add(args[i], part.rows, part.groups, &rest[i])
		}
	}
	j, err := t.judge(vectors, n)
	if err != nil {
		return err
	}
	defer j.release()
	return t.answerCrossings(j, t.crossings(j, parts))
}

// partition parts the batch's rows into those of undecided groups and the rest,
// in order, in the first 4*len(tb.rows) places of room.
func (tb *table) partition(room []int32) (rows, groups, otherRows, otherGroups []int32) {
	n := len(tb.rows)
	rows, groups, otherRows, otherGroups = room[:n], room[n:2*n], room[2*n:3*n], room[3*n:4*n]
	open, other := 0, 0
	for i, g := range tb.groups {
		if *tb.flags.at(g)&flagCrossed == 0 {
			rows[open], groups[open] = tb.rows[i], g
			open++
		} else {
			otherRows[other], otherGroups[other] = tb.rows[i], g
			other++
		}
	}
	return rows[:open], groups[:open], otherRows[:other], otherGroups[:other]
}

// reach folds the batch into the count that HAVING bounds, and parts its rows as
// partition does: into those at which an undecided group has reached the bound,
// which the count does not have yet, and the rest, which comes before them in each
// group.
func (tb *table) reach(arg *column, least int64, room []int32) (rows, groups, otherRows, otherGroups []int32) {
	n, c := len(tb.rows), tb.counted
	rows, groups = room[:n], room[n:2*n]
	open := 0
	held, flags := c.n.single(), tb.flags.single()
	if arg == nil && held != nil && flags != nil {
		for i, g := range tb.groups {
			count := held[g] + 1
			held[g] = count
			rows[open], groups[open] = tb.rows[i], g // stays where the bound is reached: no branch to guess
			open += int(uint64(least-1-count)>>63) &^ int(flags[g]/flagCrossed)
		}
	} else {
		for i, g := range tb.groups {
			at := c.n.at(g)
			if c.counts(arg, tb.rows[i]) {
				*at++
			}
			if *at >= least && *tb.flags.at(g)&flagCrossed == 0 {
				rows[open], groups[open] = tb.rows[i], g
				open++
			}
		}
	}
	rows, groups = rows[:open], groups[:open]
	if open == 0 {
		return rows, groups, tb.rows, tb.groups
	}
	c.takeBack(arg, rows, groups)
	if len(tb.aggs) == 1 {
		return rows, groups, nil, nil
	}
	otherRows, otherGroups = room[2*n:2*n:3*n], room[3*n:3*n:4*n]
	next := 0
	for i, row := range tb.rows {
		if next < open && rows[next] == row {
			next++
			continue
		}
		otherRows, otherGroups = append(otherRows, row), append(otherGroups, tb.groups[i])
	}
	return rows, groups, otherRows, otherGroups
}

// crossings lists, in the order of records, the groups that cross, and those
// that begin to fail before they do.
func (t *Tally) crossings(j *judged, parts []traced) []crossing {
	var out []crossing
	for _, p := range parts {
		holds := j.holds[p.at:][:len(p.rows)]
		careful := len(j.failed) > 0 || p.table.failing > 0
		for i, yes := range holds {
			if !yes && !careful {
				continue
			}
			g := p.groups[i]
			if *p.table.flags.at(g)&flagCrossed != 0 {
				continue
			}
			c := crossing{row: p.rows[i], at: int32(p.at + i), table: p.table, group: g}
			reason, failed := j.failed[p.at+i]
			switch {
			case failed && *p.table.flags.at(g)&flagFailed != 0:
				continue
			case failed:
				c.reason = reason
				t.mark(p.table, g, flagFailed, 0)
			default:
				t.succeed(p.table, g)
				if !yes {
					continue
				}
				t.mark(p.table, g, flagCrossed, 0)
			}
			out = append(out, c)
		}
	}
	if len(parts) > 1 {
		slices.SortFunc(out, func(a, b crossing) int { return cmp.Compare(a.row, b.row) })
	}
	return out
}

func (t *Tally) answerCrossings(j *judged, crossings []crossing) error {
	if len(crossings) == 0 {
		return nil
	}
	var picks []int32
	for _, c := range crossings {
		if c.reason == "" {
			picks = append(picks, c.at)
		}
	}
	out, failures, err := t.projectPicks(j.rows, picks)
	if err != nil {
		return err
	}
	defer out.Release()
	lost := firstReasons(failures)
	var fine, at []int32
	next := int32(0)
	for _, c := range crossings {
		if c.reason != "" {
			t.outbox.fail(j.keys.text(c.at), c.reason)
			continue
		}
		if reason, failed := lost[int(next)]; failed {
			t.outbox.fail(j.keys.text(c.at), reason)
		} else {
			fine, at = append(fine, next), append(at, c.at)
		}
		next++
	}
	whole, err := t.pick(out, fine)
	if err != nil {
		return err
	}
	defer whole.Release()
	return t.outbox.add(whole, j.keys.at(at), nil)
}
