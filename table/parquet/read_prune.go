package parquet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/parquet-go/parquet-go/format"
)

// Range is what a column's value has to lie in for a row to be wanted: between
// Low and High, both included, null never.
type Range struct {
	ID        int // of a column that is in no list
	Low, High Limit
}

// Limit is an end of a Range.
type Limit struct {
	Set  bool   // false: there is no end
	Int  int64  // of an integer, a date (days since 1970), a timestamp (microseconds)
	Text []byte // of a text
}

// rankedColumn is a leaf whose statistics tell whether values lie in a range.
type rankedColumn struct {
	*Column
	text bool
}

// ranked finds the leaf of a range. none: the file has no such column, so that
// it is null in all rows. known: its statistics can be compared.
func (f *File) ranked(id int) (c rankedColumn, none, known bool) {
	for _, l := range f.leaves {
		if l.ID != id {
			continue
		}
		if l.MaxRep > 0 {
			return c, false, false
		}
		c.Column = l
		switch v := l.logical.Value.(type) {
		case nil:
			c.text = l.Physical == format.ByteArray
		case *format.StringType:
			c.text = true
		case *format.IntType:
			known = v.IsSigned
		case *format.DateType:
			known = true
		case *format.TimestampType:
			known = isMicros(v.Unit)
		}
		number := l.Physical == format.Int32 || l.Physical == format.Int64
		if l.logical.Value == nil {
			known = number
		}
		ordered := len(f.meta.ColumnOrders) == len(f.leaves) // else nobody says how texts compare
		return c, false, known && number || c.text && ordered && l.Physical == format.ByteArray
	}
	return c, true, false
}

// outside tells whether values between low and high, as Parquet's statistics
// have them, all lie outside r. false, too, where it is not known.
func (c rankedColumn) outside(r Range, low, high []byte) bool {
	if c.text {
		return r.Low.Set && len(high) > 0 && bytes.Compare(high, r.Low.Text) < 0 || r.High.Set && len(low) > 0 && bytes.Compare(low, r.High.Text) > 0
	}
	number := func(b []byte) (int64, bool) {
		switch {
		case len(b) != c.Width:
			return 0, false
		case c.Width == 4:
			return int64(int32(binary.LittleEndian.Uint32(b))), true
		default:
			return int64(binary.LittleEndian.Uint64(b)), true
		}
	}
	if top, ok := number(high); ok && r.Low.Set && top < r.Low.Int {
		return true
	}
	bottom, ok := number(low)
	return ok && r.High.Set && bottom > r.High.Int
}

// wanted are the rows of a row group that may be in all ranges, by the group's
// statistics and by the page index.
func (f *File) wanted(group int, where []Range) ([]stretch, error) {
	n := f.GroupRows(group)
	if n == 0 {
		return nil, nil
	}
	out := []stretch{{0, n}}
	for _, r := range where {
		c, none, known := f.ranked(r.ID)
		if none {
			return nil, nil
		}
		if !known {
			continue
		}
		m := &f.chunk(group, c.Leaf).MetaData
		s := &m.Statistics
		if s.NullCount > 0 && s.NullCount == m.NumValues || c.outside(r, s.MinValue, s.MaxValue) {
			return nil, nil
		}
		pages, err := f.wantedPages(group, c, r)
		if err != nil {
			return nil, fmt.Errorf("the page index of column %s: %w", dotted(c.Path), err)
		}
		if pages != nil {
			out = intersect(out, pages)
		}
	}
	return out, nil
}

// maxIndex bounds a page index: pages have some thousand rows.
const maxIndex = 64 << 20

// wantedPages are the rows of the pages that may have values in r; nil: the
// chunk has no index.
func (f *File) wantedPages(group int, c rankedColumn, r Range) ([]stretch, error) {
	chunk := f.chunk(group, c.Leaf)
	if chunk.ColumnIndexOffset == 0 || chunk.ColumnIndexLength <= 0 || chunk.ColumnIndexLength > maxIndex {
		return nil, nil
	}
	places, err := f.places(group, c.Leaf)
	if err != nil || len(places) < 2 {
		return nil, err
	}
	data := make([]byte, chunk.ColumnIndexLength)
	if err := f.readAt(data, chunk.ColumnIndexOffset); err != nil {
		return nil, err
	}
	var index format.ColumnIndex
	if err := decodeThrift(data, &index); err != nil {
		return nil, err
	}
	if k := len(places); len(index.NullPages) != k || len(index.MinValues) != k || len(index.MaxValues) != k {
		return nil, errIndex
	}
	out := []stretch{}
	for i := range places {
		if index.NullPages[i] || c.outside(r, index.MinValues[i], index.MaxValues[i]) {
			continue
		}
		s := stretch{places[i].FirstRowIndex, f.GroupRows(group)}
		if i+1 < len(places) {
			s.to = places[i+1].FirstRowIndex
		}
		if last := len(out) - 1; last >= 0 && out[last].to == s.from {
			out[last].to = s.to
		} else {
			out = append(out, s)
		}
	}
	return out, nil
}

var errIndex = errors.New("the page index does not fit the pages")

// places is where a chunk's pages lie; nil: the file does not say.
func (f *File) places(group, leaf int) ([]format.PageLocation, error) {
	chunk := f.chunk(group, leaf)
	if chunk.OffsetIndexOffset == 0 || chunk.OffsetIndexLength <= 0 || chunk.OffsetIndexLength > maxIndex {
		return nil, nil
	}
	data := make([]byte, chunk.OffsetIndexLength)
	if err := f.readAt(data, chunk.OffsetIndexOffset); err != nil {
		return nil, err
	}
	var index format.OffsetIndex
	if err := decodeThrift(data, &index); err != nil {
		return nil, err
	}
	m := &chunk.MetaData
	row, at := int64(0), chunkStart(m)
	end := at + m.TotalCompressedSize
	for i, p := range index.PageLocations {
		if i == 0 && p.FirstRowIndex != 0 || i > 0 && p.FirstRowIndex <= row || p.FirstRowIndex >= f.GroupRows(group) ||
			p.Offset < at || p.CompressedPageSize <= 0 || p.Offset > end-int64(p.CompressedPageSize) {
			return nil, errIndex
		}
		row, at = p.FirstRowIndex, p.Offset+int64(p.CompressedPageSize)
	}
	return index.PageLocations, nil
}

// intersect are the rows that are in both lists, which are in order.
func intersect(a, b []stretch) []stretch {
	out := []stretch{}
	for len(a) > 0 && len(b) > 0 {
		if s := (stretch{max(a[0].from, b[0].from), min(a[0].to, b[0].to)}); s.from < s.to {
			out = append(out, s)
		}
		if a[0].to < b[0].to {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return out
}

// overlaps tells whether a page's rows are among those that are wanted.
func overlaps(rows []stretch, from, to int64) bool {
	for _, s := range rows {
		if s.from < to && from < s.to {
			return true
		}
	}
	return false
}

// openRows is Open for some of the rows: of a chunk whose pages the file tells
// the places of, only the pages that have some are read.
func (p *Pages) openRows(f *File, group int, leaf *Column, rows []stretch) error {
	whole := len(rows) == 1 && rows[0].from == 0 && rows[0].to == f.GroupRows(group)
	if whole {
		return p.open(f, group, leaf)
	}
	places, err := f.places(group, leaf.Leaf)
	if err != nil {
		return err
	}
	if len(places) < 2 {
		return p.open(f, group, leaf)
	}
	if err := p.begin(f, group, leaf); err != nil {
		return err
	}
	begin := chunkStart(&f.chunk(group, leaf.Leaf).MetaData)
	parts := []stretch{{begin, places[0].Offset}} // bytes, the dictionary first
	size := places[0].Offset - begin
	for i, at := range places {
		next := f.GroupRows(group)
		if i+1 < len(places) {
			next = places[i+1].FirstRowIndex
		}
		if !overlaps(rows, at.FirstRowIndex, next) {
			continue
		}
		p.firsts = append(p.firsts, at.FirstRowIndex)
		end := at.Offset + int64(at.CompressedPageSize)
		size += int64(at.CompressedPageSize)
		if last := &parts[len(parts)-1]; last.to == at.Offset {
			last.to = end
		} else {
			parts = append(parts, stretch{at.Offset, end})
		}
	}
	p.some = true
	p.held = room(p.held, int(size))
	at := int64(0)
	for _, s := range parts {
		n := s.to - s.from
		if err := f.readAt(p.held[at:at+n], s.from); err != nil {
			return err
		}
		at += n
	}
	p.chunk = p.held[:at]
	return p.firstPage()
}

// seek goes on to a row that was asked for at the opening, or any later one
// where all were.
func (p *Pages) seek(row int64) error {
	for {
		for p.left == 0 {
			if p.ended() {
				return errShort
			}
			if err := p.nextPage(); err != nil {
				return err
			}
		}
		for more := p.col.MaxRep > 0; more && p.left > 0; { // of the row before
			r, err := p.next(0)
			if err != nil {
				return err
			}
			more = r.Slots > 0
		}
		if p.left == 0 {
			continue
		}
		if p.row >= row {
			break
		}
		if _, err := p.next(int(min(row-p.row, maxRun))); err != nil {
			return err
		}
	}
	if p.row != row {
		return errIndex
	}
	return nil
}
