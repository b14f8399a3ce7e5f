package rules

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sort"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Selector is a condition that may list by itself the rows of a batch of which it is
// true, which saves the column of its values. None of the rows fails.
type Selector interface {
	// Select appends the rows, ascending; ok is false where the condition has to be
	// evaluated after all, and nothing is appended then.
	Select(batch arrow.RecordBatch, dst []int32) (rows []int32, ok bool, err error)
}

// Select is there for text comparisons, which rules filter by the most.
func (c *call) Select(batch arrow.RecordBatch, dst []int32) (rows []int32, ok bool, err error) {
	if c.texts == nil {
		return dst, false, nil
	}
	return c.texts.rows(batch, dst)
}

// textEquals is the form column = 'text' or column != 'text', the hot one.
type textEquals struct {
	col     *column
	want    []byte
	negated bool
}

// find is the column; ok is false where the batch has it in another form than
// Arrow's string.
func (t *textEquals) find(batch arrow.RecordBatch) (texts *array.String, all []byte, ok bool, err error) {
	a, err := t.col.find(batch)
	if err != nil {
		return nil, nil, false, err
	}
	if texts, ok = a.(*array.String); !ok || a.Len() == 0 {
		return nil, nil, false, nil
	}
	if data := texts.Data().Buffers()[2]; data != nil {
		all = data.Bytes()
	}
	return texts, all, true, nil
}

func (t *textEquals) eval(e *evaluation) (vector, bool, error) {
	texts, all, ok, err := t.find(e.batch)
	if !ok {
		return vector{}, false, err
	}
	out := make([]bool, texts.Len())
	offsets := texts.ValueOffsets()
	edges, safe := t.edges(offsets, all)
	from := offsets[0]
	for k, to := range offsets[1 : safe+1] {
		out[k] = (edges.differ(all[from:], to-from) == 0) != t.negated
		from = to
	}
	for i := safe; i < len(out); i++ {
		out[i] = t.holds(all[offsets[i]:offsets[i+1]])
	}
	return vectorOf(out, nullsIn(texts)), true, nil
}

func (t *textEquals) rows(batch arrow.RecordBatch, dst []int32) ([]int32, bool, error) {
	texts, all, ok, err := t.find(batch)
	if !ok || texts.NullN() > 0 {
		return dst, false, err
	}
	offsets, at := texts.ValueOffsets(), len(dst)
	dst = slices.Grow(dst, texts.Len())[:at+texts.Len()]
	edges, safe := t.edges(offsets, all)
	from, negated := offsets[0], uint64(0)
	if t.negated {
		negated = 1
	}
	for k, to := range offsets[1 : safe+1] {
		x := edges.differ(all[from:], to-from)
		dst[at] = int32(k) // stays where the condition holds: no branch to guess
		at += int((x|-x)>>63 ^ 1 ^ negated)
		from = to
	}
	for i := safe; i < texts.Len(); i++ {
		if t.holds(all[offsets[i]:offsets[i+1]]) {
			dst[at] = int32(i)
			at++
		}
	}
	return dst[:at], true, nil
}

func (t *textEquals) holds(text []byte) bool { return bytes.Equal(text, t.want) != t.negated }

// edges compare texts with one of at most sixteen bytes by the length and the first
// and last eight bytes, without a branch that has to be guessed. Of one shorter than
// eight both are the text, and mask covers it.
type edges struct {
	first, last, mask uint64
	n, behind         int
}

// edges of the text that is looked for; safe is how many of the texts may be
// compared by them: none where it is longer, and not those at the end, behind which
// the buffer has no eight bytes.
func (t *textEquals) edges(offsets []int32, all []byte) (e edges, safe int) {
	n := len(t.want)
	if n > 16 {
		return edges{}, 0
	}
	e = edges{mask: ^uint64(0), n: n, behind: max(0, n-8)}
	if n >= 8 {
		e.first, e.last = binary.LittleEndian.Uint64(t.want), binary.LittleEndian.Uint64(t.want[e.behind:])
	} else {
		var eight [8]byte
		copy(eight[:], t.want)
		e.first = binary.LittleEndian.Uint64(eight[:])
		e.last, e.mask = e.first, 1<<(8*n)-1
	}
	room := int32(len(all) - max(n, 8))
	return e, sort.Search(len(offsets)-1, func(i int) bool { return offsets[i] > room })
}

// differ is 0 where a text of so many bytes, which text begins with, is the one.
func (e *edges) differ(text []byte, n int32) uint64 {
	differ := (binary.LittleEndian.Uint64(text) ^ e.first) | (binary.LittleEndian.Uint64(text[e.behind:]) ^ e.last)
	return differ&e.mask | uint64(int(n)^e.n)
}
