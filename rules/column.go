package rules

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lake/schemas"
)

// column reads a column of a batch, or what a path leads to in it.
type column struct {
	name   string
	steps  []step
	typ    schemas.Type // as expressions see it: INT32 is INT64, FLOAT32 is FLOAT64
	stored schemas.Type
	place  int
}

// step goes on from a value into it.
type step struct {
	field string // of a struct, "" for an element
	key   string // of a map
	isMap bool
	index int64 // of a list, from 0
	safe  bool  // NULL beyond the end, not a failure
	word  string
}

func (c *column) Type() schemas.Type { return c.typ }
func (c *column) at() int            { return c.place }
func (c *column) String() string     { return googleSQL(c) }

// Eval hands the batch's own array on where it can.
func (c *column) Eval(ctx *Eval, batch arrow.RecordBatch) (arrow.Array, error) {
	if len(c.steps) == 0 && c.typ.Kind == c.stored.Kind {
		a, err := c.find(batch)
		if err != nil {
			return nil, err
		}
		if arrow.TypeEqual(a.DataType(), c.typ.Arrow()) {
			a.Retain()
			return a, nil
		}
	}
	return finish(c, ctx, batch)
}

func (c *column) find(batch arrow.RecordBatch) (arrow.Array, error) {
	at := batch.Schema().FieldIndices(c.name)
	if len(at) == 0 {
		return nil, fmt.Errorf("evaluate %s: the batch has no column %q", c, c.name)
	}
	return batch.Column(at[0]), nil
}

func (c *column) eval(e *evaluation) (vector, error) {
	a, index, fails, err := c.reach(e)
	if err != nil {
		return vector{}, err
	}
	if !fits(a.DataType(), c.stored) {
		return vector{}, fmt.Errorf("evaluate %s: the batch has %s where the plan has %s", c, a.DataType(), c.stored)
	}
	v, err := read(a, index)
	if err != nil {
		return vector{}, fmt.Errorf("evaluate %s: %w", c, err)
	}
	v.fails = fails
	return v, nil
}

// fits takes the Arrow types of a column that read turns into the same values.
func fits(dt arrow.DataType, t schemas.Type) bool {
	switch t.Kind {
	case schemas.String, schemas.JSON:
		return dt.ID() == arrow.STRING || dt.ID() == arrow.LARGE_STRING || dt.ID() == arrow.STRING_VIEW
	case schemas.Bytes:
		return dt.ID() == arrow.BINARY || dt.ID() == arrow.LARGE_BINARY || dt.ID() == arrow.BINARY_VIEW
	case schemas.Timestamp:
		at, ok := dt.(*arrow.TimestampType)
		return ok && at.Unit == arrow.Microsecond && at.TimeZone != ""
	default:
		return arrow.TypeEqual(dt, t.Arrow())
	}
}

// reach follows the steps: the array that holds the values, and for each row
// the position of its value there (-1: null); nil is all in order.
func (c *column) reach(e *evaluation) (a arrow.Array, index []int32, fails []Failure, err error) {
	if a, err = c.find(e.batch); err != nil {
		return nil, nil, nil, err
	}
	for _, s := range c.steps {
		if index == nil {
			index = make([]int32, e.rows)
			for i := range index {
				index[i] = int32(i)
			}
		}
		for i, at := range index {
			if at >= 0 && a.IsNull(int(at)) {
				index[i] = -1
			}
		}
		switch in := a.(type) {
		case *array.Struct:
			// By name: a table keeps the order of its own schema, in which members
			// that came later are the last, whatever the job's schema has.
			at, ok := in.DataType().(*arrow.StructType).FieldIdx(s.field)
			if s.field == "" || !ok {
				return nil, nil, nil, fmt.Errorf("evaluate %s: the batch's %s has no field %q", c, in.DataType(), s.field)
			}
			a = in.Field(at)
		case *array.Map:
			keys, ok := in.Keys().(*array.String)
			if !ok || !s.isMap {
				return nil, nil, nil, fmt.Errorf("evaluate %s: the keys of the batch's map are %s", c, in.Keys().DataType())
			}
			for i, at := range index {
				if at >= 0 {
					from, to := in.ValueOffsets(int(at))
					index[i] = findKey(keys, from, to, s.key)
				}
			}
			a = in.Items()
		case *array.List:
			for i, at := range index {
				if at < 0 {
					continue
				}
				from, to := in.ValueOffsets(int(at))
				switch {
				case s.index >= 0 && s.index < to-from:
					index[i] = int32(from + s.index)
				case s.safe:
					index[i] = -1
				default:
					index[i] = -1
					fails = append(fails, Failure{Row: i, Reason: fmt.Sprintf("%s: the array has %d elements", c, to-from)})
				}
			}
			a = in.ListValues()
		default:
			return nil, nil, nil, fmt.Errorf("evaluate %s: the batch has %s there", c, a.DataType())
		}
	}
	return a, index, fails, nil
}

func findKey(keys *array.String, from, to int64, key string) int32 {
	for i := from; i < to; i++ {
		if keys.Value(int(i)) == key {
			return int32(i)
		}
	}
	return -1
}

// presence reads only whether a column is null: of any type.
func (c *column) presence(e *evaluation) ([]bool, []Failure, error) {
	a, index, fails, err := c.reach(e)
	if err != nil {
		return nil, nil, err
	}
	null := make([]bool, e.rows)
	for i := range null {
		at := int32(i)
		if index != nil {
			at = index[i]
		}
		null[i] = at < 0 || a.IsNull(int(at))
	}
	return null, fails, nil
}

// elements counts the elements of a list: ARRAY_LENGTH.
func (c *column) elements(e *evaluation) (vector, error) {
	a, index, fails, err := c.reach(e)
	if err != nil {
		return vector{}, err
	}
	list, ok := a.(array.ListLike)
	if !ok {
		return vector{}, fmt.Errorf("evaluate %s: the batch has %s there", c, a.DataType())
	}
	v := vector{ints: make([]int64, e.rows), fails: fails}
	for i := range v.ints {
		at := int32(i)
		if index != nil {
			at = index[i]
		}
		if at < 0 || list.IsNull(int(at)) {
			v.setNull(e.rows, i)
			continue
		}
		from, to := list.ValueOffsets(int(at))
		v.ints[i] = to - from
	}
	return v, nil
}
