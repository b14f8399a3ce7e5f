package tally

import (
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lake/rules"
)

// Add takes the rows of a batch in order. After an error the Tally is not used
// again; ErrStateTooLarge is one.
func (t *Tally) Add(rows Rows) error {
	if err := t.add(rows); err != nil {
		return fmt.Errorf("add rows to rule %s: %w", t.rule.Name, err)
	}
	return t.checkSize()
}

func (t *Tally) add(rows Rows) error {
	if err := t.check(rows); err != nil {
		return err
	}
	t.failures = t.failures[:0]
	selected, err := t.where(rows)
	if err != nil {
		return err
	}
	return t.addSelected(rows, selected)
}

func (t *Tally) check(rows Rows) error {
	n := int(rows.Batch.NumRows())
	if rows.Date != nil && len(rows.Date) != n || rows.Watermark != nil && len(rows.Watermark) != n {
		return fmt.Errorf("%d rows come with %d dates and %d watermarks", n, len(rows.Date), len(rows.Watermark))
	}
	if t.plan.Grouped && t.rule.Scope == Partition && rows.Date == nil && n > 0 {
		return fmt.Errorf("scope partition needs the rows' dates")
	}
	return nil
}

// addSelected adds the rows that satisfy WHERE, of a batch that was checked.
func (t *Tally) addSelected(rows Rows, selected []int32) error {
	if !t.plan.Grouped {
		return t.addRows(rows, selected)
	}
	in, err := t.evaluate(rows.Batch)
	if err != nil {
		return err
	}
	defer in.release()
	selected = t.leaveOut(selected, in.failures)
	t.keys.columns = in.keys
	if t.part.of > 1 && t.part.by == byKey {
		selected = t.owned(selected)
	}

	t.split(selected, in.time, rows)
	err = t.fold(in.args)
	for _, tb := range t.active {
		t.measure(tb)
		tb.rows, tb.groups = nil, nil
	}
	t.active = t.active[:0]
	t.seq += rows.Batch.NumRows()
	slices.SortStableFunc(t.failures, func(a, b rules.Failure) int { return a.Row - b.Row })
	return err
}

// where is the rows that satisfy WHERE, which are not to be changed: another rule
// may have found them.
func (t *Tally) where(rows Rows) ([]int32, error) {
	if rows.Where == nil || t.plan.Filter == nil {
		var err error
		t.selected, err = t.filter(rows.Batch, t.selected[:0])
		return t.selected, err
	}
	found, fresh := rows.Where.of(t.condition)
	if !fresh {
		t.failures = append(t.failures, found.failures...)
		return found.rows, nil
	}
	var err error
	found.rows, err = t.filter(rows.Batch, found.rows)
	found.failures = append(found.failures, t.failures...)
	return found.rows, err
}

// filter appends to dst the rows that satisfy WHERE.
func (t *Tally) filter(batch arrow.RecordBatch, dst []int32) ([]int32, error) {
	n := int(batch.NumRows())
	dst = slices.Grow(dst, n)
	if t.plan.Filter == nil {
		for i := range int32(n) {
			dst = append(dst, i)
		}
		return dst, nil
	}
	if by, ok := t.plan.Filter.(rules.Selector); ok {
		if rows, ok, err := by.Select(batch, dst); ok || err != nil {
			return rows, err
		}
	}
	eval := rules.Eval{Mem: t.opts.Mem}
	result, err := t.plan.Filter.Eval(&eval, batch)
	if err != nil {
		return dst, fmt.Errorf("evaluate WHERE: %w", err)
	}
	defer result.Release()
	t.failures = append(t.failures, eval.Failures()...)
	return appendTrue(dst, result)
}

// appendTrue appends the positions of a BOOL array's true values.
func appendTrue(dst []int32, a arrow.Array) ([]int32, error) {
	if _, ok := a.(*array.Null); ok {
		return dst, nil
	}
	b, ok := a.(*array.Boolean)
	if !ok {
		return dst, fmt.Errorf("a condition gave %s and not BOOL", a.DataType())
	}
	n, offset := b.Len(), b.Data().Offset()
	var values, valid []byte
	if buffers := b.Data().Buffers(); n > 0 {
		values = buffers[1].Bytes()
		if b.NullN() > 0 {
			valid = buffers[0].Bytes()
		}
	}
	from := len(dst)
	dst = slices.Grow(dst, n+8)
	free, at := dst[from:from+n+8], 0
	for i := 0; i < n; {
		bit := offset + i
		word := values[bit/8]
		if valid != nil {
			word &= valid[bit/8]
		}
		word >>= bit % 8
		end := min(n, i+8-bit%8)
		if i+8 <= end { // each place is written, and kept where the bit is set: no branch to guess
			eight := free[at : at+8 : at+8]
			kept := 0
			for k := range int32(8) {
				eight[kept] = int32(i) + k
				kept += int(word>>k) & 1
			}
			at, i = at+kept, end
			continue
		}
		for ; i < end; i++ {
			if word&1 != 0 {
				free[at] = int32(i)
				at++
			}
			word >>= 1
		}
	}
	return dst[:from+at], nil
}

// inputs are a batch's keys, window time and arguments, evaluated.
type inputs struct {
	keys     []column
	time     *column   // nil: no window
	args     []*column // nil: COUNT(*)
	failures []rules.Failure
	arrays   []arrow.Array
}

func (in *inputs) release() {
	for _, a := range in.arrays {
		a.Release()
	}
}

func (t *Tally) evaluate(batch arrow.RecordBatch) (*inputs, error) {
	eval := rules.Eval{Mem: t.opts.Mem}
	in := &inputs{}
	one := func(what string, e rules.Expr) (column, error) {
		a, err := e.Eval(&eval, batch)
		if err != nil {
			return column{}, fmt.Errorf("evaluate %s %s: %w", what, e, err)
		}
		in.arrays = append(in.arrays, a)
		c, err := read(e.Type(), a)
		if err != nil {
			return column{}, fmt.Errorf("evaluate %s %s: %w", what, e, err)
		}
		return c, nil
	}
	if err := func() error {
		for _, key := range t.plan.Keys {
			c, err := one("key", key.Expr)
			if err != nil {
				return err
			}
			in.keys = append(in.keys, c)
		}
		if t.plan.Window != nil {
			c, err := one("window", t.plan.Window.Time)
			if err != nil {
				return err
			}
			in.time = &c
		}
		for _, agg := range t.plan.Aggs {
			if agg.Arg == nil {
				in.args = append(in.args, nil)
				continue
			}
			c, err := one("argument", agg.Arg)
			if err != nil {
				return err
			}
			in.args = append(in.args, &c)
		}
		return nil
	}(); err != nil {
		in.release()
		return nil, err
	}
	in.failures = eval.Failures()
	return in, nil
}

// leaveOut removes failed rows from the selection and reports them. A failure
// of a row that is not selected is none: WHERE comes first.
func (t *Tally) leaveOut(selected []int32, failures []rules.Failure) []int32 {
	if len(failures) == 0 {
		return selected
	}
	reasons := firstReasons(failures)
	t.left = t.left[:0]
	for _, row := range selected {
		if reason, failed := reasons[int(row)]; failed {
			t.failures = append(t.failures, rules.Failure{Row: int(row), Reason: reason})
		} else {
			t.left = append(t.left, row)
		}
	}
	return t.left
}

// firstReasons are the failures by row.
func firstReasons(failures []rules.Failure) map[int]string {
	reasons := make(map[int]string, len(failures))
	for _, f := range failures {
		if _, known := reasons[f.Row]; !known {
			reasons[f.Row] = f.Reason
		}
	}
	return reasons
}

// reserved bounds the groups for which a new table makes room at once.
const reserved = 256

// fold resolves the groups of the rows that the tables were given and folds the
// arguments into them.
func (t *Tally) fold(args []*column) error {
	total := 0
	for _, tb := range t.active {
		total += len(tb.rows)
	}
	t.groups = grown(t.groups[:0], total)
	free := t.groups
	for _, tb := range t.active {
		tb.groups, free = free[:len(tb.rows):len(tb.rows)], free[len(tb.rows):]
		if tb.index.len() == 0 {
			tb.index.reserve(min(len(tb.rows), reserved))
		}
		tb.index.resolve(&t.keys, tb.rows, tb.groups)
		tb.grow()
		t.touch(tb)
	}
	if t.rule.Emit == OnCross {
		return t.cross(args)
	}
	for _, tb := range t.active {
		for i, a := range tb.aggs {
			a.add(args[i], tb.rows, tb.groups, nil)
		}
	}
	return nil
}

// addRows answers each row that passed the filter, of a rule that does not group.
func (t *Tally) addRows(rows Rows, selected []int32) error {
	t.matched += int64(len(selected))
	if rows.Date != nil {
		t.stats.countMatched(rows.Date, selected)
	}
	if len(selected) == 0 {
		return nil
	}
	narrow := t.projected(rows.Batch)
	defer narrow.Release()
	picked, err := t.pick(narrow, selected)
	if err != nil {
		return err
	}
	defer picked.Release()
	out, failures, err := t.project(picked)
	if err != nil {
		return err
	}
	defer out.Release()
	for i := range failures {
		failures[i].Row = int(selected[failures[i].Row])
	}
	reasons := firstReasons(failures)
	if len(reasons) == 0 {
		return t.outbox.add(out, nil, nil)
	}
	var fine []int32
	for i, row := range selected {
		if reason, failed := reasons[int(row)]; failed {
			t.failures = append(t.failures, rules.Failure{Row: int(row), Reason: reason})
		} else {
			fine = append(fine, int32(i))
		}
	}
	whole, err := t.pick(out, fine)
	if err != nil {
		return err
	}
	defer whole.Release()
	return t.outbox.add(whole, nil, nil)
}

// projected is the batch with the columns that the plan reads.
func (t *Tally) projected(batch arrow.RecordBatch) arrow.RecordBatch {
	var fields []arrow.Field
	var columns []arrow.Array
	names := t.plan.Columns()
	for i, f := range batch.Schema().Fields() {
		if slices.Contains(names, f.Name) {
			fields, columns = append(fields, f), append(columns, batch.Column(i))
		}
	}
	return array.NewRecordBatch(arrow.NewSchema(fields, nil), columns, batch.NumRows())
}
