package parquet

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
)

// span is a choice of an array's elements, in order.
type span struct {
	index []int32 // nil: the n elements from start
	start int
	n     int
}

func (s span) at(i int) int {
	if s.index != nil {
		return int(s.index[i])
	}
	return s.start + i
}

// present marks a slot that has a value as deep as the walk has come.
const present = 0xff

// levels is the state of the walk from a top-level column down to its leaves,
// held column-wise: a slot for each value, null or empty list so far. This is
// Dremel's record shredding over whole arrays rather than records.
type levels struct {
	slots int
	def   []uint8 // the definition level of a slot that ended higher up, or present; nil: all are present
	rep   []uint8 // repetition levels; nil: all 0
	depth uint8   // definition level of what is present here
	at    span    // where the present slots' values are in the node's array
}

// arena hands out slices that live until its reset.
type arena[T any] struct {
	block []T
	used  int
}

func (a *arena[T]) take(n int) []T {
	if a.used+n > len(a.block) {
		a.block = make([]T, max(n, 2*len(a.block), chunkRows)) // slices of the old block stay valid
		a.used = 0
	}
	out := a.block[a.used : a.used+n : a.used+n]
	a.used += n
	return out
}

func (a *arena[T]) reset() {
	if a.used = 0; len(a.block) > maxKept {
		a.block = nil
	}
}

// walker carries the slots of one chunk of rows through a column's tree.
type walker struct {
	bytes arena[uint8]
	ints  arena[int32]
	put   func(n *node, arr arrow.Array, lv levels) error // takes a leaf's slots
}

func (w *walker) walk(n *node, arr arrow.Array, rep uint8, lv levels) error {
	lv, err := w.nulls(n, arr, lv)
	if err != nil {
		return err
	}
	switch n.shape {
	case leafShape:
		return w.put(n, arr, lv)
	case structShape:
		members := arr.(*array.Struct)
		for i, c := range n.children {
			// Field is cut to the struct's own slice.
			if err := w.walk(c, members.Field(i), rep, lv); err != nil {
				return err
			}
		}
		return nil
	case listShape:
		list := arr.(*array.List)
		return w.walk(n.children[0], list.ListValues(), rep+1, w.elements(list.Offsets(), arr.Data().Offset(), rep+1, lv))
	default:
		m := arr.(*array.Map)
		entries := m.ListValues().(*array.Struct)
		lv = w.elements(m.Offsets(), arr.Data().Offset(), rep+1, lv)
		for i, c := range n.children {
			if err := w.walk(c, entries.Field(i), rep+1, lv); err != nil {
				return err
			}
		}
		return nil
	}
}

// nulls ends the slots whose value is null in arr.
func (w *walker) nulls(n *node, arr arrow.Array, lv levels) (levels, error) {
	if arr.NullN() == 0 {
		if n.nullable {
			lv.depth++
		}
		return lv, nil
	}
	bits, offset := arr.NullBitmapBytes(), arr.Data().Offset()
	if !n.nullable {
		for i := range lv.at.n {
			if !bitutil.BitIsSet(bits, offset+lv.at.at(i)) {
				return lv, fmt.Errorf("column %s is required and has a null", dotted(n.path))
			}
		}
		return lv, nil
	}
	index := w.ints.take(lv.at.n)[:0]
	def := w.bytes.take(lv.slots)
	if lv.def == nil {
		for k := range def {
			i := lv.at.at(k)
			if bitutil.BitIsSet(bits, offset+i) {
				def[k] = present
				index = append(index, int32(i))
			} else {
				def[k] = lv.depth
			}
		}
	} else {
		p := 0
		for k, d := range lv.def {
			if d == present {
				i := lv.at.at(p)
				p++
				if bitutil.BitIsSet(bits, offset+i) {
					index = append(index, int32(i))
				} else {
					d = lv.depth
				}
			}
			def[k] = d
		}
	}
	lv.depth++
	if len(index) < lv.at.n { // else none of the nulls is among these rows
		lv.def, lv.at = def, span{index: index, n: len(index)}
	}
	return lv, nil
}

// elements opens the lists that are present: each becomes a slot an element, or
// stays one slot where it is empty.
func (w *walker) elements(offsets []int32, offset int, rep uint8, lv levels) levels {
	if lv.at.n > 0 {
		offsets = offsets[offset:]
	}
	total, empty, joined := 0, 0, true
	next := int32(0)
	for i := range lv.at.n {
		k := lv.at.at(i)
		start, end := offsets[k], offsets[k+1]
		if start == end {
			empty++
			continue
		}
		joined = joined && (total == 0 || start == next)
		total += int(end - start)
		next = end
	}
	slots := lv.slots - lv.at.n + empty + total
	out := levels{slots: slots, depth: lv.depth + 1, rep: w.bytes.take(slots), at: span{n: total, start: int(next) - total}}
	if slots > total {
		out.def = w.bytes.take(slots)
	}
	if !joined {
		out.at = span{index: w.ints.take(total), n: total}
	}
	k, p, e := 0, 0, 0 // slots out, present lists, elements
	for s := range lv.slots {
		first := uint8(0)
		if lv.rep != nil {
			first = lv.rep[s]
		}
		out.rep[k] = first
		if lv.def != nil && lv.def[s] != present {
			out.def[k] = lv.def[s]
			k++
			continue
		}
		i := lv.at.at(p)
		p++
		start, end := offsets[i], offsets[i+1]
		if start == end {
			out.def[k] = lv.depth
			k++
			continue
		}
		if out.def != nil {
			out.def[k] = present
		}
		k++
		for j := start + 1; j < end; j++ {
			out.rep[k] = rep
			if out.def != nil {
				out.def[k] = present
			}
			k++
		}
		if out.at.index != nil {
			for j := start; j < end; j++ {
				out.at.index[e] = j
				e++
			}
		}
	}
	return out
}
