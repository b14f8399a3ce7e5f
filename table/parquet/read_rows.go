package parquet

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lake/schemas"
)

// RowsOptions choose what Rows reads.
type RowsOptions struct {
	Mem   memory.Allocator
	Batch int // rows of a batch at most

	// Where wants the rows that are in all ranges of one of the lists: parts of the file
	// that have none of them are passed over. None: all rows.
	Where [][]Range
}

// Rows reads a file as Arrow batches, in the file's order. It belongs to one
// goroutine, and holds a row group's bytes of the columns that it reads.
type Rows struct {
	file   *File
	schema *arrow.Schema
	opts   RowsOptions
	parts  []*part
	leaves []*leafReader

	group int // the one that is read; -1: none yet
	at    int64
	todo  []stretch // of the group
	batch int       // rows, as the group's size lets
}

// stretch is some rows of a row group.
type stretch struct{ from, to int64 }

// part is a column of the batches, or a part of one.
type part struct {
	dtype arrow.DataType
	col   *Column // nil: the file has none, all is null
	kids  []*part
	leaf  *leafReader // of a group one whose levels tell about it; nil: there are no nulls
	floor uint8       // from this definition level on, a slot may begin an element
}

// batchBytes bounds what the values of a batch take in the file, not encoded.
const batchBytes = 64 << 20

// Rows reads the columns of schema: the types that schemas.Type.Arrow makes, each
// found by the field id in its metadata. A column that the file lacks is null.
// ErrForm: a column cannot be read as what schema says.
func (f *File) Rows(schema *arrow.Schema, o RowsOptions) (*Rows, error) {
	r := &Rows{file: f, schema: schema, opts: o, group: -1}
	for _, field := range schema.Fields() {
		p, err := r.plan(field, f.root.Children, 0)
		if err != nil {
			return nil, err
		}
		r.parts = append(r.parts, p)
	}
	return r, r.checkForms()
}

// checkForms looks for what cannot be read before anything is.
func (r *Rows) checkForms() error {
	for group := range r.file.RowGroups() {
		for _, l := range r.leaves {
			c := r.file.chunk(group, l.col.Leaf)
			if codec := c.MetaData.Codec; !canUnpack(codec) || c.FilePath != "" {
				return fmt.Errorf("%w: column %s is compressed with %s, or lies in another file", ErrForm, dotted(l.col.Path), codec)
			}
		}
	}
	return nil
}

// plan finds field among columns.
func (r *Rows) plan(field arrow.Field, among []*Column, floor uint8) (*part, error) {
	text, _ := field.Metadata.GetValue(schemas.FieldIDKey)
	id, err := strconv.Atoi(text)
	if err != nil || id == 0 {
		return nil, fmt.Errorf("column %s has no field id", field.Name)
	}
	for _, c := range among {
		if c.ID == id {
			return r.planColumn(c, field.Type, floor)
		}
	}
	if !field.Nullable {
		return nil, fmt.Errorf("%w: column %s is not in the file, and required", ErrForm, field.Name)
	}
	return &part{dtype: field.Type}, nil
}

func (r *Rows) planColumn(c *Column, t arrow.DataType, floor uint8) (*part, error) {
	p := &part{dtype: t, col: c, floor: floor}
	add := func(kid *part, err error) error {
		p.kids = append(p.kids, kid)
		return err
	}
	shape := LeafShape
	switch t := t.(type) {
	case *arrow.StructType:
		shape = StructShape
		if c.Shape == shape {
			for _, f := range t.Fields() {
				if err := add(r.plan(f, c.Children, floor)); err != nil {
					return nil, err
				}
			}
		}
	case *arrow.MapType:
		shape = MapShape
		if c.Shape == shape {
			for i, f := range []arrow.Field{t.KeyField(), t.ItemField()} {
				if err := add(r.planColumn(c.Children[i], f.Type, c.def+1)); err != nil {
					return nil, err
				}
			}
		}
	case *arrow.ListType:
		shape = ListShape
		if c.Shape == shape {
			if err := add(r.planColumn(c.Children[0], t.Elem(), c.def+1)); err != nil {
				return nil, err
			}
		}
	}
	if c.Shape != shape {
		return nil, fmt.Errorf("%w: column %s as %s", ErrForm, dotted(c.Path), t)
	}
	if shape == LeafShape {
		conv, err := c.conversionTo(t)
		if err != nil {
			return nil, err
		}
		p.leaf = r.read(c, conv, floor)
		return p, nil
	}
	if shape != StructShape || c.optional {
		if p.leaf = p.anyLeaf(); p.leaf == nil { // none of its members is asked for
			first := c
			for first.Shape != LeafShape {
				first = first.Children[0]
			}
			p.leaf = r.read(first, conversion{layout: fixedLayout, convert: func(_, _ []byte) error { return nil }}, 0)
		}
		p.leaf.keep = true
	}
	return p, nil
}

func (r *Rows) read(c *Column, conv conversion, floor uint8) *leafReader {
	l := &leafReader{col: c, conv: conv, mem: r.opts.Mem, floor: floor}
	r.leaves = append(r.leaves, l)
	return l
}

// anyLeaf is a leaf of the file below p.
func (p *part) anyLeaf() *leafReader {
	if p.col != nil && p.col.Shape == LeafShape {
		return p.leaf
	}
	for _, kid := range p.kids {
		if l := kid.anyLeaf(); l != nil {
			return l
		}
	}
	return nil
}

// Next is the next batch, the caller's to release; io.EOF: there is none.
func (r *Rows) Next() (arrow.RecordBatch, error) {
	for len(r.todo) == 0 {
		if r.group++; r.group >= r.file.RowGroups() {
			return nil, io.EOF
		}
		if err := r.openGroup(); err != nil {
			return nil, err
		}
	}
	s := &r.todo[0]
	if s.from > r.at {
		for _, l := range r.leaves {
			if err := l.failed(l.pages.seek(s.from)); err != nil {
				return nil, err
			}
		}
		r.at = s.from
	}
	n := int(min(s.to-s.from, int64(r.batch)))
	for _, l := range r.leaves {
		if err := l.read(n); err != nil {
			return nil, errors.Join(err, r.Close())
		}
	}
	r.at += int64(n)
	if s.from += int64(n); s.from == s.to {
		r.todo = r.todo[1:]
	}
	return r.assemble(n)
}

// All are the batches that are left, each the consumer's to release, and an error,
// which ends them. The reader is closed then.
func (r *Rows) All() iter.Seq2[arrow.RecordBatch, error] {
	return func(yield func(arrow.RecordBatch, error) bool) {
		defer func() { _ = r.Close() }() // it only lets go of memory
		for {
			batch, err := r.Next()
			if err == io.EOF || !yield(batch, err) || err != nil {
				return
			}
		}
	}
}

// openGroup begins the row group, where any of it is wanted.
func (r *Rows) openGroup() (err error) {
	r.at = 0
	if r.todo, err = r.file.wanted(r.group, r.opts.Where); err != nil || len(r.todo) == 0 {
		return err
	}
	rows := r.file.GroupRows(r.group)
	size := int64(0)
	for _, l := range r.leaves {
		if err := l.open(r.file, r.group, r.todo); err != nil {
			return err
		}
		size += r.file.chunk(r.group, l.col.Leaf).MetaData.TotalUncompressedSize
	}
	r.batch = max(1, r.opts.Batch)
	if size > 0 && rows > 0 {
		r.batch = int(min(int64(r.batch), max(1, batchBytes/max(1, size/rows))))
	}
	return nil
}

// Close drops a batch that was not finished. After an error Next is not called.
func (r *Rows) Close() error {
	for _, l := range r.leaves {
		l.release()
	}
	return nil
}

func (r *Rows) assemble(n int) (arrow.RecordBatch, error) {
	arrays := make([]arrow.Array, len(r.parts))
	defer func() {
		for _, a := range arrays {
			if a != nil {
				a.Release()
			}
		}
	}()
	for i, p := range r.parts {
		data, err := p.build(r.opts.Mem, n)
		if err != nil {
			return nil, errors.Join(err, r.Close())
		}
		arrays[i] = array.MakeFromData(data)
		data.Release()
	}
	for _, l := range r.leaves {
		l.release() // those of which only the levels were wanted
	}
	return array.NewRecordBatch(r.schema, arrays, int64(n)), nil
}

// build is the part's array of n elements.
func (p *part) build(mem memory.Allocator, n int) (arrow.ArrayData, error) {
	if p.col == nil {
		a := array.MakeArrayOfNull(mem, p.dtype, n)
		defer a.Release()
		a.Data().Retain()
		return a.Data(), nil
	}
	switch p.col.Shape {
	case LeafShape:
		return p.leaf.take(p.dtype, n)
	case StructShape:
		return p.buildStruct(mem, n)
	default:
		return p.buildList(mem, n)
	}
}

func (p *part) buildStruct(mem memory.Allocator, n int) (arrow.ArrayData, error) {
	var valid *memory.Buffer
	nulls := 0
	if p.leaf != nil {
		valid = memory.NewResizableBuffer(mem)
		defer valid.Release()
		valid.Resize((n + 7) / 8)
		bits := valid.Bytes()
		clear(bits)
		i := 0
		for s, def := range p.leaf.def {
			if def < p.floor || p.leaf.rep != nil && p.leaf.rep[s] > p.col.rep {
				continue
			}
			if i == n {
				return nil, errLevel
			}
			if def >= p.col.def {
				bitutil.SetBit(bits, i)
			} else {
				nulls++
			}
			i++
		}
		if i != n {
			return nil, errLevel
		}
	}
	return newNested(p.dtype, n, []*memory.Buffer{orNil(valid, nulls)}, nulls, p.kids, func(kid *part) (arrow.ArrayData, error) { return kid.build(mem, n) })
}

// orNil is a validity bitmap where there are nulls.
func orNil(valid *memory.Buffer, nulls int) *memory.Buffer {
	if nulls == 0 {
		return nil
	}
	return valid
}

func newNested(t arrow.DataType, n int, buffers []*memory.Buffer, nulls int, parts []*part, build func(*part) (arrow.ArrayData, error)) (arrow.ArrayData, error) {
	kids := make([]arrow.ArrayData, 0, len(parts))
	defer func() {
		for _, k := range kids {
			k.Release()
		}
	}()
	for _, p := range parts {
		kid, err := build(p)
		if err != nil {
			return nil, err
		}
		kids = append(kids, kid)
	}
	return array.NewData(t, n, buffers, kids, nulls, 0), nil
}

// buildList makes a list or a map, of which the entries are a struct.
func (p *part) buildList(mem memory.Allocator, n int) (arrow.ArrayData, error) {
	valid, offsets := memory.NewResizableBuffer(mem), memory.NewResizableBuffer(mem)
	defer valid.Release()
	defer offsets.Release()
	valid.Resize((n + 7) / 8)
	clear(valid.Bytes())
	offsets.Resize(4 * (n + 1))
	bits, o := valid.Bytes(), arrow.Int32Traits.CastFromBytes(offsets.Bytes())
	lists, elements, nulls := 0, int32(0), 0
	for s, def := range p.leaf.def {
		rep := p.leaf.rep[s]
		if rep <= p.col.rep && def >= p.floor {
			if lists == n {
				return nil, errLevel
			}
			o[lists] = elements
			if def >= p.col.def {
				bitutil.SetBit(bits, lists)
			} else {
				nulls++
			}
			lists++
		}
		if rep <= p.col.rep+1 && def > p.col.def {
			if lists == 0 {
				return nil, errLevel
			}
			elements++
		}
	}
	if lists != n {
		return nil, errLevel
	}
	o[n] = elements
	buffers := []*memory.Buffer{orNil(valid, nulls), offsets}
	kid := func(k *part) (arrow.ArrayData, error) { return k.build(mem, int(elements)) }
	if m, ok := p.dtype.(*arrow.MapType); ok {
		entries, err := newNested(m.Elem(), int(elements), []*memory.Buffer{nil}, 0, p.kids, kid)
		if err != nil {
			return nil, err
		}
		defer entries.Release()
		return array.NewData(p.dtype, n, buffers, []arrow.ArrayData{entries}, nulls, 0), nil
	}
	return newNested(p.dtype, n, buffers, nulls, p.kids, kid)
}
