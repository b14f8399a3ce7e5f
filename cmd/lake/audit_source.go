package main

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"lake/ingest"
	"lake/load"
	"lake/table"
)

// auditSource compares what the checkpoints say of the source with the rows that
// the table and the dead-letter table have.
func (a *app) auditSource(ctx context.Context, r *resolved, t *opened, state ingest.State) (s auditSource, err error) {
	s = auditSource{Partitions: []auditPartition{}, Dates: []auditDate{}, Records: state.Totals.Records, Rows: state.Totals.Rows, DeadLetters: state.Totals.DeadLetters}
	letters := map[string]int64{}
	if err := a.letters(ctx, r, func(l letter) bool {
		if l.Stage != string(ingest.StageRule) { // of those the row has landed
			letters[l.Partition]++
			s.TableLetters++
		}
		return true
	}); err != nil {
		return s, err
	}
	counted := state.Counts.Total()
	byDate := counted == s.Rows
	if !byDate {
		s.Unchecked = append(s.Unchecked, fmt.Sprintf("rows by date and by partition: of %d rows %d were counted by them, the others landed with an older lake", s.Rows, counted))
	}
	s.partitions(state, letters, byDate)
	live, err := liveRows(ctx, t)
	if err != nil {
		return s, err
	}
	s.TableRows = live.rows
	alone, err := r.alone(t.Table)
	if err != nil {
		return s, err
	}
	s.differs("records, and rows with dead letters", s.Records, s.Rows+s.DeadLetters)
	s.differs("dead letters that were made, and in their table", s.DeadLetters, s.TableLetters)
	if !alone {
		s.Unchecked = append(s.Unchecked, "the table's rows, and the rules' answers over them: other jobs fill it, too")
		return s, nil
	}
	if byDate && r.dateColumn() != "" {
		s.dates(state.Counts.Days(), live)
		return s, nil
	}
	switch {
	case live.dropped != math.MinInt32:
		s.Unchecked = append(s.Unchecked, "the table's rows: dates before "+dateText(live.dropped)+" were dropped")
	case live.deletes:
		s.Unchecked = append(s.Unchecked, "the table's rows: another engine has deleted some")
	default:
		s.differs("rows that were made, and in the table", s.Rows, s.TableRows)
	}
	return s, nil
}

func (s *auditSource) differs(what string, is, of int64) {
	if is != of {
		s.Differs = append(s.Differs, fmt.Sprintf("%s: %d and %d", what, is, of))
	}
}

// partitions compares the records of each source partition with what became of them.
func (s *auditSource) partitions(state ingest.State, letters map[string]int64, byDate bool) {
	var read int64
	for _, name := range slices.Sorted(maps.Keys(state.Offsets)) {
		p := state.Offsets[name]
		one := auditPartition{Partition: name, Next: p.Next, Records: p.Records, DeadLetters: letters[name], Rows: p.Records - letters[name]}
		if byDate {
			one.Rows = state.Counts.Of(name)
			s.differs(name+": records, and rows with dead letters", p.Records, one.Rows+one.DeadLetters)
			for date, n := range state.Counts.Both[name] {
				if date == math.MinInt32 {
					continue // the job has no event time
				}
				if one.Dates == nil {
					one.Dates = map[string]int64{}
				}
				one.Dates[load.DateName(date)] = n
			}
		} else if letters[name] > p.Records {
			s.Differs = append(s.Differs, fmt.Sprintf("%s: %d records were read and there are %d dead letters", name, p.Records, letters[name]))
		}
		s.Partitions = append(s.Partitions, one)
		read += p.Records
	}
	s.differs("records of the source's partitions, and in all", read, s.Records)
}

// live are the rows that a table's snapshot has.
type live struct {
	rows    int64
	dates   map[int32]int64
	deleted map[int32]bool // dates to which delete files apply: their rows are fewer than the files'
	deletes bool
	dropped int32 // dates before it were dropped
}

func liveRows(ctx context.Context, t *opened) (l live, err error) {
	l = live{dates: map[int32]int64{}, deleted: map[int32]bool{}}
	files, err := t.Files(ctx, table.FileFilter{From: firstDate, To: lastDate})
	if err != nil {
		return l, err
	}
	for _, f := range files {
		l.rows += f.Rows
		date, _ := f.Date()
		l.dates[date] += f.Rows
		l.deleted[date] = l.deleted[date] || f.Deletes > 0
		l.deletes = l.deletes || f.Deletes > 0
	}
	l.dropped, err = t.DroppedBefore()
	return l, err
}

// dates compares the rows of each date.
func (s *auditSource) dates(made map[int32]int64, l live) {
	all := maps.Clone(made)
	maps.Copy(all, l.dates)
	deleted := 0
	for _, date := range slices.Sorted(maps.Keys(all)) {
		d := auditDate{Date: load.DateName(date), Rows: made[date], TableRows: l.dates[date]}
		switch {
		case date < l.dropped:
			continue
		case l.deleted[date]:
			deleted++
		default:
			d.Differs = d.Rows != d.TableRows
		}
		s.Dates = append(s.Dates, d)
	}
	if l.dropped != math.MinInt32 {
		s.Unchecked = append(s.Unchecked, "the table's rows: dates before "+dateText(l.dropped)+" were dropped")
	}
	if deleted > 0 {
		s.Unchecked = append(s.Unchecked, fmt.Sprintf("the table's rows of %s: another engine has deleted some", formatCounted(int64(deleted), "date")))
	}
}
