package tally

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"lake/rules"
)

// judged is a group batch with HAVING's verdicts.
type judged struct {
	rows   arrow.RecordBatch
	keys   keyText
	holds  []bool
	failed map[int]string // positions whose aggregates or HAVING have no value
}

func (j *judged) release() { j.rows.Release() }

// judgeGroups evaluates HAVING over groups as they are now.
func (t *Tally) judgeGroups(refs []ref) (*judged, error) { return t.judgeWith(refs, &t.groups) }

// judgeWith is judgeGroups with a scratch of the caller's; it leaves the Tally as it is.
func (t *Tally) judgeWith(refs []ref, scratch *[]int32) (*judged, error) {
	vectors := t.newVectors(len(refs))
	for from := 0; from < len(refs); {
		tb, to := refs[from].table, from
		groups := (*scratch)[:0]
		for ; to < len(refs) && refs[to].table == tb; to++ {
			groups = append(groups, refs[to].group)
		}
		*scratch = groups
		t.emitGroups(tb, groups, vectors)
		from = to
	}
	return t.judge(vectors, len(refs))
}

// emitGroups appends the groups' columns.
func (t *Tally) emitGroups(tb *table, groups []int32, vectors []vector) {
	rest := t.emitKeys(tb, groups, vectors)
	for i, a := range tb.aggs {
		a.values(groups, &rest[i])
	}
}

// newVectors has one for each column of a group batch of up to n rows.
func (t *Tally) newVectors(n int) []vector {
	vectors := make([]vector, len(t.groupTypes))
	for i, typ := range t.groupTypes {
		vectors[i].typ = typ
		vectors[i].reserve(n)
	}
	return vectors
}

// emitKeys appends the groups' keys and window, and returns the vectors of the aggregates.
func (t *Tally) emitKeys(tb *table, groups []int32, vectors []vector) []vector {
	keys := len(t.plan.Keys)
	tb.index.emit(groups, vectors[:keys])
	if t.plan.Window == nil {
		return vectors[keys:]
	}
	window := &vectors[keys]
	from := len(window.ints)
	window.ints = grown(window.ints, from+len(groups))
	for i := range window.ints[from:] {
		window.ints[from+i] = tb.span.start
	}
	if tb.span.null {
		for i := range groups {
			window.nulls = append(window.nulls, int32(from+i))
		}
	}
	return vectors[keys+1:]
}

// judge makes the group batch of vectors that have n values and evaluates HAVING over it.
func (t *Tally) judge(vectors []vector, n int) (*judged, error) {
	j := &judged{failed: map[int]string{}, holds: make([]bool, n)}
	columns := make([]arrow.Array, 0, len(vectors))
	defer func() {
		for _, c := range columns {
			c.Release()
		}
	}()
	for i := range vectors {
		for row, reason := range firstReasons(vectors[i].failures) {
			j.failed[row] = reason
		}
		c, err := vectors[i].finish()
		if err != nil {
			return nil, err
		}
		columns = append(columns, c)
	}
	rows, err := newBatch(t.groupSchema, columns, n)
	if err != nil {
		return nil, fmt.Errorf("make a batch of groups: %w", err)
	}
	j.rows = rows
	if err := t.evaluateHaving(j); err != nil {
		j.release()
		return nil, err
	}
	if j.keys, err = t.keysOf(rows); err != nil {
		j.release()
		return nil, err
	}
	return j, nil
}

func (t *Tally) evaluateHaving(j *judged) error {
	if t.plan.Having == nil {
		for i := range j.holds {
			j.holds[i] = true
		}
		return nil
	}
	eval := rules.Eval{Mem: t.opts.Mem}
	verdicts, err := t.plan.Having.Eval(&eval, j.rows)
	if err != nil {
		return fmt.Errorf("evaluate HAVING: %w", err)
	}
	defer verdicts.Release()
	for _, f := range eval.Failures() {
		if _, known := j.failed[f.Row]; !known {
			j.failed[f.Row] = f.Reason
		}
	}
	yes, err := appendTrue(nil, verdicts)
	for _, i := range yes {
		j.holds[i] = true
	}
	return err
}

// keysOf reads the columns of a group batch that make the key.
func (t *Tally) keysOf(rows arrow.RecordBatch) (keyText, error) {
	n := len(t.plan.Keys)
	if n == 0 && t.plan.Window != nil {
		n = 1
	}
	k := keyText{zone: t.zone, columns: make([]column, n)}
	for i := range k.columns {
		var err error
		if k.columns[i], err = read(t.groupTypes[i], rows.Column(i)); err != nil {
			return k, err
		}
	}
	return k, nil
}

// projectPicks evaluates SELECT over some rows of a group batch.
func (t *Tally) projectPicks(rows arrow.RecordBatch, picks []int32) (arrow.RecordBatch, []rules.Failure, error) {
	picked, err := t.pick(rows, picks)
	if err != nil {
		return nil, nil, err
	}
	defer picked.Release()
	return t.project(picked)
}

// project evaluates SELECT. The caller releases the batch.
func (t *Tally) project(rows arrow.RecordBatch) (arrow.RecordBatch, []rules.Failure, error) {
	eval := rules.Eval{Mem: t.opts.Mem}
	columns := make([]arrow.Array, 0, len(t.plan.Select))
	defer func() {
		for _, c := range columns {
			c.Release()
		}
	}()
	for _, s := range t.plan.Select {
		c, err := s.Expr.Eval(&eval, rows)
		if err != nil {
			return nil, nil, fmt.Errorf("evaluate %s: %w", s.Name, err)
		}
		columns = append(columns, c)
	}
	out, err := newBatch(t.output, columns, int(rows.NumRows()))
	if err != nil {
		return nil, nil, fmt.Errorf("evaluate SELECT: %w", err)
	}
	return out, eval.Failures(), nil
}
