package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// leafReader makes a leaf's Arrow arrays, batch by batch.
type leafReader struct {
	col   *Column
	conv  conversion
	mem   memory.Allocator
	floor uint8 // from this definition level on, a slot is an element of the leaf's array
	keep  bool  // its levels tell about the groups that it is in

	pages Pages
	fixed []byte // the chunk's dictionary as Arrow has it, of fixed width
	texts []byte // its texts, with slackBytes behind them

	// the batch
	def, rep []uint8 // levels, where keep
	n, nulls int
	valid    *memory.Buffer // nil: no nulls so far
	data     *memory.Buffer // values; bits; texts
	used     int            // bytes of texts in data
	hint     int            // what data may need, by the batch before
	offsets  *memory.Buffer
}

// slackBytes behind a text let short ones be copied in one move.
const slackBytes = 16

// open begins a row group, of which these rows are wanted.
func (l *leafReader) open(f *File, group int, rows []stretch) error {
	if err := l.pages.openRows(f, group, l.col, rows); err != nil {
		return fmt.Errorf("column %s of row group %d: %w", dotted(l.col.Path), group, err)
	}
	return l.takeDictionary()
}

func (l *leafReader) takeDictionary() error {
	d := l.pages.Dictionary()
	if d == nil {
		return nil
	}
	switch {
	case l.conv.layout == textLayout:
		l.texts = append(l.texts[:0], d.Data...)
		l.texts = append(l.texts, make([]byte, slackBytes)...)
	case l.conv.layout == fixedLayout && l.conv.convert != nil:
		l.fixed = room(l.fixed, d.N*l.conv.width)
		return l.failed(l.conv.convert(l.fixed, d.Data))
	case l.conv.layout == fixedLayout:
		l.fixed = append(l.fixed[:0], d.Data...)
	}
	return nil
}

func (l *leafReader) failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("column %s: %w", dotted(l.col.Path), err)
}

// release drops what was not taken.
func (l *leafReader) release() {
	for _, b := range []**memory.Buffer{&l.valid, &l.data, &l.offsets} {
		if *b != nil {
			(*b).Release()
			*b = nil
		}
	}
}

// read reads so many rows, which the row group has.
func (l *leafReader) read(rows int) error {
	l.n, l.nulls, l.used = 0, 0, 0
	l.def, l.rep = l.def[:0], l.rep[:0]
	l.data = memory.NewResizableBuffer(l.mem)
	if l.conv.layout == textLayout {
		l.data.Reserve(l.hint)
		l.offsets = memory.NewResizableBuffer(l.mem)
		l.offsets.Resize(4 * (rows + 1))
		binary.LittleEndian.PutUint32(l.offsets.Bytes(), 0)
	} else {
		l.reserve(rows)
	}
	for begun := 0; begun < rows; {
		r, err := l.pages.Next(rows - begun)
		if err != nil {
			return err
		}
		if r.Slots == 0 || begun == 0 && r.Rep != nil && r.Rep[0] != 0 {
			return l.failed(errShort)
		}
		begun += r.Rows
		if err := l.add(r); err != nil {
			return l.failed(err)
		}
	}
	for l.col.MaxRep > 0 { // the end of the last row
		r, err := l.pages.Next(0)
		if err != nil {
			return err
		}
		if r.Slots == 0 {
			break
		}
		if err := l.add(r); err != nil {
			return l.failed(err)
		}
	}
	return nil
}

// reserve makes room for n more elements.
func (l *leafReader) reserve(n int) {
	total := l.n + n
	switch l.conv.layout {
	case fixedLayout:
		growTo(l.data, total*l.conv.width)
	case bitLayout:
		growTo(l.data, (total+7)/8)
	case textLayout:
		growTo(l.offsets, 4*(total+1))
	}
}

// growTo makes a buffer n bytes long at least.
func growTo(b *memory.Buffer, n int) {
	if n <= b.Len() {
		return
	}
	if n > b.Cap() && b.Cap() > 0 {
		b.Reserve(max(n, 2*b.Cap()))
	}
	b.Resize(n)
}

// add appends a run.
func (l *leafReader) add(r *Run) error {
	if l.keep {
		if r.Rep != nil {
			l.rep = append(l.rep, r.Rep...)
		}
		if r.Def != nil {
			l.def = append(l.def, r.Def...)
		} else {
			n := len(l.def)
			l.def = grow(l.def, r.Slots)
			fill(l.def[n:], l.col.MaxDef)
		}
	}
	l.reserve(r.Slots)
	if r.Def == nil {
		return l.values(r, 0, r.Slots)
	}
	top := l.col.MaxDef
	taken := 0
	for i := 0; i < len(r.Def); {
		from := i
		if r.Def[i] == top {
			for i < len(r.Def) && r.Def[i] == top {
				i++
			}
			if err := l.values(r, taken, i-from); err != nil {
				return err
			}
			taken += i - from
			continue
		}
		nulls := 0
		for i < len(r.Def) && r.Def[i] != top {
			if r.Def[i] >= l.floor {
				nulls++
			}
			i++
		}
		l.addNulls(nulls)
	}
	return nil
}

// addNulls appends n nulls.
func (l *leafReader) addNulls(n int) {
	if n == 0 {
		return
	}
	if l.valid == nil {
		l.valid = memory.NewResizableBuffer(l.mem)
		growTo(l.valid, (l.n+n+7)/8)
		bitutil.SetBitsTo(l.valid.Bytes(), 0, int64(l.n), true)
	}
	growTo(l.valid, (l.n+n+7)/8)
	bitutil.SetBitsTo(l.valid.Bytes(), int64(l.n), int64(n), false)
	switch l.conv.layout {
	case fixedLayout:
		clear(l.data.Bytes()[l.n*l.conv.width : (l.n+n)*l.conv.width])
	case bitLayout:
		bitutil.SetBitsTo(l.data.Bytes(), int64(l.n), int64(n), false)
	case textLayout:
		o := l.offsets.Bytes()
		for i := range n {
			binary.LittleEndian.PutUint32(o[4*(l.n+i+1):], uint32(l.used))
		}
	}
	l.n += n
	l.nulls += n
}

// values appends n values of a run, from its from-th on.
func (l *leafReader) values(r *Run, from, n int) (err error) {
	if n == 0 {
		return nil
	}
	if l.valid != nil {
		growTo(l.valid, (l.n+n+7)/8)
		bitutil.SetBitsTo(l.valid.Bytes(), int64(l.n), int64(n), true)
	}
	switch l.conv.layout {
	case fixedLayout:
		w := l.conv.width
		dst := l.data.Bytes()[l.n*w : (l.n+n)*w]
		switch {
		case r.Indices != nil:
			gather(dst, l.fixed, r.Indices[from:from+n], w)
		case l.conv.convert != nil:
			in := l.col.Width
			err = l.conv.convert(dst, r.Plain.Data[from*in:(from+n)*in])
		default:
			copy(dst, r.Plain.Data[from*w:])
		}
	case bitLayout:
		bits := l.data.Bytes()
		for i := range n {
			x := r.Plain.N > 0 && r.Plain.Data[from+i] != 0
			if r.Indices != nil {
				x = l.pages.dict.Data[r.Indices[from+i]] != 0
			}
			bitutil.SetBitTo(bits, l.n+i, x)
		}
	case textLayout:
		if r.Indices != nil {
			err = l.gatherTexts(r.Indices[from : from+n])
		} else {
			err = l.copyTexts(&r.Plain, from, n)
		}
	}
	l.n += n
	return err
}

// gather puts the values of width w that indices say into dst.
func gather(dst, from []byte, indices []int32, w int) {
	switch w {
	case 4:
		out, in := arrow.Uint32Traits.CastFromBytes(dst), arrow.Uint32Traits.CastFromBytes(from)
		for i, x := range indices {
			out[i] = in[x]
		}
	case 8:
		out, in := arrow.Uint64Traits.CastFromBytes(dst), arrow.Uint64Traits.CastFromBytes(from)
		for i, x := range indices {
			out[i] = in[x]
		}
	default:
		for i, x := range indices {
			copy(dst[i*w:(i+1)*w], from[int(x)*w:])
		}
	}
}

// moreTexts makes room for size bytes of texts.
func (l *leafReader) moreTexts(size int) error {
	if size > math.MaxInt32-l.used-slackBytes {
		return errors.New("a batch has more than 2 GiB of texts; hint: read fewer rows at a time")
	}
	growTo(l.data, l.used+size+slackBytes)
	return nil
}

func (l *leafReader) gatherTexts(indices []int32) error {
	offsets := l.pages.dict.Offsets
	size := 0
	for _, x := range indices {
		size += int(offsets[x+1] - offsets[x])
	}
	if err := l.moreTexts(size); err != nil {
		return err
	}
	out, at := l.data.Bytes(), l.used
	o := arrow.Int32Traits.CastFromBytes(l.offsets.Bytes())[l.n+1:]
	for i, x := range indices {
		from, to := int(offsets[x]), int(offsets[x+1])
		if n := to - from; n <= slackBytes {
			copy(out[at:at+slackBytes], l.texts[from:from+slackBytes])
		} else {
			copy(out[at:], l.texts[from:to])
		}
		at += to - from
		o[i] = int32(at)
	}
	l.used = at
	return nil
}

func (l *leafReader) copyTexts(v *Values, from, n int) error {
	ends := v.Offsets[from : from+n+1]
	texts := v.Data[ends[0]:ends[n]]
	if err := l.moreTexts(len(texts)); err != nil {
		return err
	}
	copy(l.data.Bytes()[l.used:], texts)
	shift := int32(l.used) - ends[0]
	o := arrow.Int32Traits.CastFromBytes(l.offsets.Bytes())[l.n+1:]
	for i, end := range ends[1:] {
		o[i] = end + shift
	}
	l.used += len(texts)
	return nil
}

// take is the batch's array; it has to have length elements.
func (l *leafReader) take(t arrow.DataType, length int) (arrow.ArrayData, error) {
	if l.n != length {
		return nil, l.failed(errLevel)
	}
	l.data.ResizeNoShrink(l.dataBytes())
	buffers := []*memory.Buffer{l.valid, l.data}
	if l.conv.layout == textLayout {
		l.hint = l.used + l.used/16 + slackBytes
		l.offsets.ResizeNoShrink(4 * (l.n + 1))
		buffers = []*memory.Buffer{l.valid, l.offsets, l.data}
	}
	out := array.NewData(t, l.n, buffers, nil, l.nulls, 0)
	l.release()
	return out, nil
}

func (l *leafReader) dataBytes() int {
	switch l.conv.layout {
	case fixedLayout:
		return l.n * l.conv.width
	case bitLayout:
		return (l.n + 7) / 8
	default:
		return l.used
	}
}
