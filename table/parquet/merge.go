package parquet

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/parquet-go/parquet-go/format"
)

// Rows move from file to file without Arrow: a column's dictionary entries are
// hashed once a row group, indices are translated by a table, levels are copied,
// and large plain pages of our own files stay as they lie there, compressed.

// Source is a file whose row groups writers of a Format take. It belongs to one
// AppendGroup at a time.
type Source struct {
	file   *File
	leaves []sourceLeaf // by the format's leaf
	own    bool         // lake wrote it: what its page headers say is meant as we mean it
	lacks  bool
}

// sourceLeaf is where a leaf's values come from.
type sourceLeaf struct {
	column *Column // nil: the file has none, each row is null
	levels []uint8 // the format's definition level by the file's; nil: they are the same
	widen  bool    // int32 to int64, or float32 to float64
}

// NewSource matches a file's columns with the format's, by field id. A top-level
// column that the file lacks is null, columns that the format lacks are left out,
// int32 and float32 become int64 and float64, and what was required may be
// nullable. Of anything else it fails with ErrForm: such a file's rows have to
// be read as Arrow.
func (f *Format) NewSource(file *File) (*Source, error) {
	s := &Source{file: file, leaves: make([]sourceLeaf, len(f.leaves)), own: file.CreatedBy() == CreatedBy}
	if !file.HasIDs() {
		return nil, fmt.Errorf("%w: the file has no field ids", ErrForm)
	}
	for _, n := range f.root {
		if n.id == 0 {
			return nil, fmt.Errorf("%w: column %s has no field id", ErrForm, n.path[0])
		}
		var found *Column
		for _, c := range file.Columns() {
			if c.ID == n.id {
				if found != nil {
					return nil, fmt.Errorf("%w: two columns have the field id %d", ErrForm, n.id)
				}
				found = c
			}
		}
		switch {
		case found != nil:
			if err := s.match(n, found, levelMap{}); err != nil {
				return nil, err
			}
		case !n.nullable:
			return nil, fmt.Errorf("%w: the file lacks the required column %s", ErrForm, n.path[0])
		default:
			s.lacks = true
		}
	}
	return s, nil
}

// Lacks tells whether the file has not all of the format's columns.
func (s *Source) Lacks() bool { return s.lacks }

// GroupRows is the number of rows of a row group.
func (s *Source) GroupRows(group int) int64 { return s.file.GroupRows(group) }

// Groups is the number of row groups.
func (s *Source) Groups() int { return s.file.RowGroups() }

// levelMap is the format's definition level of each of the file's, on the way
// down to a leaf; the last is what is present so far.
type levelMap []uint8

func (m levelMap) top() uint8 {
	if len(m) == 0 {
		return 0
	}
	return m[len(m)-1]
}

// below is the map with one more level of the file.
func (m levelMap) below(level uint8) levelMap {
	if len(m) == 0 {
		m = levelMap{0}
	}
	return append(m[:len(m):len(m)], level)
}

// match finds a node's leaves in a column's.
func (s *Source) match(n *node, c *Column, levels levelMap) error {
	if c.ID != n.id || shapes[c.Shape] != n.shape {
		return fmt.Errorf("%w: column %s has another shape", ErrForm, dotted(n.path))
	}
	top := levels.top()
	switch {
	case c.optional && !n.nullable:
		return fmt.Errorf("%w: column %s may be null in the file and not in the table", ErrForm, dotted(n.path))
	case c.optional:
		levels = levels.below(top + 1)
	case n.nullable:
		// What the file always has lies a level deeper now, and all that was as deep before.
		if len(levels) == 0 {
			levels = levelMap{0}
		}
		levels = append(levelMap{}, levels...)
		levels[len(levels)-1]++
	}
	if n.shape == leafShape {
		return s.matchLeaf(n, c, levels)
	}
	if len(c.Children) != len(n.children) {
		return fmt.Errorf("%w: column %s has other members", ErrForm, dotted(n.path))
	}
	if n.shape != structShape {
		levels = levels.below(levels.top() + 1)
	}
	for _, child := range n.children {
		var found *Column
		for _, each := range c.Children {
			if each.ID == child.id {
				found = each
			}
		}
		if found == nil || child.id == 0 {
			return fmt.Errorf("%w: column %s has other members", ErrForm, dotted(n.path))
		}
		if err := s.match(child, found, levels); err != nil {
			return err
		}
	}
	return nil
}

var shapes = map[Shape]shape{LeafShape: leafShape, StructShape: structShape, ListShape: listShape, MapShape: mapShape}

func (s *Source) matchLeaf(n *node, c *Column, levels levelMap) error {
	fits, widen := n.holds(c)
	if !fits {
		return fmt.Errorf("%w: column %s is kept in another type", ErrForm, dotted(n.path))
	}
	if len(levels) == 0 {
		levels = levelMap{0}
	}
	if len(levels) != int(c.MaxDef)+1 || levels.top() != n.maxDef || c.MaxRep != n.maxRep {
		return fmt.Errorf("%w: column %s has other levels", ErrForm, dotted(n.path))
	}
	leaf := sourceLeaf{column: c, widen: widen}
	for i, level := range levels {
		if int(level) != i {
			leaf.levels = levels
		}
	}
	s.leaves[n.leaf] = leaf
	return nil
}

// holds tells whether values of a file's leaf are the node's, as they are or widened.
func (n *node) holds(c *Column) (fits, widen bool) {
	logical := c.logical.Value
	if t, ok := logical.(*format.IntType); ok && t.IsSigned && (c.Physical == format.Int32 && t.BitWidth == 32 || c.Physical == format.Int64 && t.BitWidth == 64) {
		logical = nil
	}
	same := c.Physical == n.physical && (n.physical != format.FixedLenByteArray || c.Width == n.width)
	switch t := n.dtype.(type) {
	case *arrow.BooleanType, *arrow.Int32Type, *arrow.Float32Type, *arrow.BinaryType:
		return same && logical == nil, false
	case *arrow.Int64Type:
		widen = c.Physical == format.Int32
		return (same || widen) && logical == nil, widen
	case *arrow.Float64Type:
		widen = c.Physical == format.Float
		return (same || widen) && logical == nil, widen
	case *arrow.Date32Type:
		_, ok := logical.(*format.DateType)
		return same && ok, false
	case *arrow.Time64Type:
		l, ok := logical.(*format.TimeType)
		return same && ok && isMicros(l.Unit), false
	case *arrow.TimestampType:
		l, ok := logical.(*format.TimestampType)
		return same && ok && isMicros(l.Unit) && l.IsAdjustedToUTC == (t.TimeZone != ""), false
	case *arrow.Decimal128Type:
		l, ok := logical.(*format.DecimalType)
		return same && ok && l.Scale == t.Scale && l.Precision <= t.Precision, false
	case *arrow.StringType:
		_, ok := logical.(*format.StringType)
		return same && ok, false
	case *arrow.FixedSizeBinaryType:
		_, ok := logical.(*format.UUIDType)
		return same && ok, false
	}
	return false, false
}

// NewMerger begins a file on w that takes row groups of other files, and batches.
func (f *Format) NewMerger(w io.Writer) *Writer {
	out := f.NewWriter(w)
	for _, l := range out.leaves {
		l.values = l.values.merged()
	}
	return out
}

// AppendGroup copies the rows of a row group. The writer is one of NewMerger.
func (w *Writer) AppendGroup(src *Source, group int) error {
	if w.err != nil {
		return w.err
	}
	if err := w.appendGroup(src, group); err != nil {
		w.err = fmt.Errorf("append to Parquet: %w", err)
		return w.err
	}
	return nil
}

func (w *Writer) appendGroup(src *Source, group int) error {
	s := w.format.borrow()
	defer w.format.giveBack(s)
	rows, size := src.file.GroupRows(group), src.file.meta.RowGroups[group].TotalByteSize
	if w.raw >= w.format.rowGroup/2 && w.raw+size > w.format.rowGroup*5/4 {
		if err := w.flush(s); err != nil {
			return err
		}
	}
	var raw atomic.Int64
	copyLeaf := func(l *leaf, s *scratch) error {
		n, err := w.copyChunk(l, s, src, group)
		raw.Add(n)
		return err
	}
	if err := w.spread(s, append([]*leaf{}, w.leaves...), size, copyLeaf); err != nil {
		return err
	}
	w.open += rows
	if w.raw += raw.Load(); w.raw >= w.format.rowGroup {
		if err := w.flush(s); err != nil {
			return err
		}
	}
	w.count()
	return nil
}

// copyChunk appends a leaf's values of a row group; raw is about their size, not encoded.
func (w *Writer) copyChunk(l *leaf, s *scratch, src *Source, group int) (raw int64, err error) {
	from, rows := src.leaves[l.leaf], src.file.GroupRows(group)
	if from.column == nil {
		return 0, w.copyNulls(l, s, rows)
	}
	p := &s.pages
	if err := p.Open(src.file, group, from.column); err != nil {
		return 0, err
	}
	c := copier{w: w, leaf: l, from: from, pages: p, values: l.values.(merged),
		chunk: &src.file.chunk(group, from.column.Leaf).MetaData}
	c.whole = c.mayTake(src.own)
	err = c.copy(s)
	if cap(p.held)+cap(p.page)+cap(p.packed) > maxKept {
		s.pages = Pages{}
	}
	if cap(s.wide.own)+cap(s.wideDictionary.own) > maxKept {
		s.wide, s.wideDictionary = Values{}, Values{}
	}
	if cap(s.mapped) > maxKept/4 {
		s.mapped = nil
	}
	if err == nil && c.rows != rows {
		err = fmt.Errorf("column %s has %d rows and the row group %d", dotted(l.path), c.rows, rows)
	}
	return c.raw, err
}

// copyNulls appends rows of a column that the file lacks.
func (w *Writer) copyNulls(l *leaf, s *scratch, rows int64) error {
	for rows > 0 {
		n := int(min(rows, int64(pageRows-l.rows)))
		s.levels = grow(s.levels[:0], n)
		clear(s.levels)
		l.addSlots(s.levels, nil, n, n, 0)
		if rows -= int64(n); l.rows >= pageRows {
			if err := w.endPage(l, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// copier copies one leaf's values of one row group.
type copier struct {
	w      *Writer
	leaf   *leaf
	values merged
	from   sourceLeaf
	pages  *Pages
	whole  bool // pages may be taken as they are
	chunk  *format.ColumnMetaData

	entry     int64 // bytes of a dictionary's entry, on average
	rows, raw int64
}

func (c *copier) copy(s *scratch) error {
	l, p := c.leaf, c.pages
	if d := p.Dictionary(); d != nil {
		if c.from.widen {
			s.wideDictionary.widen(d, l.kind)
			d = &s.wideDictionary
		}
		c.values.takeDictionary(s, d)
		c.entry = d.size() / int64(max(d.N, 1))
	}
	defer c.values.dropDictionary()
	for {
		if done, err := c.takePage(s); err != nil || done {
			if err != nil {
				return err
			}
			continue
		}
		run, err := p.Next(c.step())
		if err != nil {
			return err
		}
		if run.Slots == 0 {
			return nil
		}
		if err := c.add(run, s); err != nil {
			return err
		}
		for l.maxRep > 0 && run.Slots > 0 { // a page begins with a row
			if run, err = p.Next(0); err != nil {
				return err
			}
			if err := c.add(run, s); err != nil {
				return err
			}
		}
		if l.rows >= pageRows || l.pageBytes() >= pageBytes {
			if err := c.w.endPage(l, s); err != nil {
				return err
			}
		}
	}
}

// step is how many rows the page may take.
func (c *copier) step() int {
	n := pageRows - c.leaf.rows
	if c.whole { // the rest of the source's page, so that the next is a page here
		n = 2 * pageRows
	}
	if c.leaf.physical != format.ByteArray {
		return n
	}
	each := max(c.entry, c.chunk.TotalUncompressedSize/max(c.chunk.NumValues, 1), 1)
	return max(1, min(n, int(pageBytes/each)))
}

func (c *copier) add(r *Run, s *scratch) error {
	if r.Slots == 0 {
		return nil
	}
	def := r.Def
	switch {
	case def != nil && c.from.levels != nil:
		s.levels = grow(s.levels[:0], len(def))
		for i, d := range def {
			s.levels[i] = c.from.levels[d]
		}
		def = s.levels
	}
	n := r.Values()
	c.leaf.addSlots(def, r.Rep, r.Slots, r.Rows, n)
	c.rows += int64(r.Rows)
	if r.Indices != nil {
		c.raw += c.entry * int64(n)
		c.values.takeCodes(s, r.Indices)
		return nil
	}
	plain := &r.Plain
	if c.from.widen {
		s.wide.widen(plain, c.leaf.kind)
		plain = &s.wide
	}
	c.raw += plain.size()
	return c.values.takePlain(plain)
}

// addSlots appends slots, of which n have a value, with levels of the format's.
func (l *leaf) addSlots(def, rep []uint8, slots, rows, n int) {
	l.rows += rows
	if l.maxRep > 0 {
		at := len(l.rep)
		l.rep = grow(l.rep, slots)
		if rep == nil {
			clear(l.rep[at:])
		} else {
			copy(l.rep[at:], rep)
		}
	}
	if def != nil && !l.someDef {
		l.someDef = true
		l.def = grow(l.def[:0], l.slots)
		fill(l.def, l.maxDef)
	}
	if l.someDef {
		at := len(l.def)
		if l.def = grow(l.def, slots); def == nil {
			fill(l.def[at:], l.maxDef)
		} else {
			copy(l.def[at:], def)
		}
	}
	l.slots += slots
	l.nulls += slots - n
}

var errEntry = errors.New("a value is longer than a page holds")
