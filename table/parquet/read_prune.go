package parquet

import (
	"errors"
	"fmt"

	"github.com/parquet-go/parquet-go/format"
)

// wanted are the rows of a row group that may be in all ranges of one of the lists, by
// the group's statistics and by the page index.
func (f *File) wanted(group int, where [][]Range) ([]stretch, error) {
	n := f.GroupRows(group)
	if n == 0 {
		return nil, nil
	}
	if len(where) == 0 {
		return []stretch{{0, n}}, nil
	}
	p := pruner{file: f, group: group, indexes: map[int]*pageIndex{}}
	var out []stretch
	for _, all := range where {
		rows, err := p.inAll(all)
		if err != nil {
			return nil, err
		}
		out = unite(out, rows)
	}
	return out, nil
}

// pruner finds the rows of a row group. It reads a page index once.
type pruner struct {
	file    *File
	group   int
	indexes map[int]*pageIndex // by leaf; nil: it has none
}

// inAll are the rows that may be in all ranges.
func (p *pruner) inAll(where []Range) ([]stretch, error) {
	out := []stretch{{0, p.file.GroupRows(p.group)}}
	for _, r := range where {
		c, none, known := p.file.ranked(r)
		if none {
			return nil, nil
		}
		if !known {
			continue
		}
		m := &p.file.chunk(p.group, c.Leaf).MetaData
		s := &m.Statistics
		if s.NullCount > 0 && s.NullCount == m.NumValues || r.Outside(c.limit(s.MinValue), c.limit(s.MaxValue)) {
			return nil, nil
		}
		index, err := p.index(c)
		if err != nil {
			return nil, fmt.Errorf("the page index of column %s: %w", dotted(c.Path), err)
		}
		if index != nil {
			out = intersect(out, index.wanted(c, r))
		}
	}
	return out, nil
}

// maxIndex bounds a page index: pages have some thousand rows.
const maxIndex = 64 << 20

// pageIndex is what a chunk's pages have, and their rows.
type pageIndex struct {
	rows []stretch
	format.ColumnIndex
}

// index reads the index of a leaf's chunk; nil: it has none, or a single page.
func (p *pruner) index(c *Column) (*pageIndex, error) {
	if index, read := p.indexes[c.Leaf]; read {
		return index, nil
	}
	index, err := p.file.pageIndex(p.group, c.Leaf)
	p.indexes[c.Leaf] = index
	return index, err
}

func (f *File) pageIndex(group, leaf int) (*pageIndex, error) {
	chunk := f.chunk(group, leaf)
	if chunk.ColumnIndexOffset == 0 || chunk.ColumnIndexLength <= 0 || chunk.ColumnIndexLength > maxIndex {
		return nil, nil
	}
	places, err := f.places(group, leaf)
	if err != nil || len(places) < 2 {
		return nil, err
	}
	data := make([]byte, chunk.ColumnIndexLength)
	if err := f.readAt(data, chunk.ColumnIndexOffset); err != nil {
		return nil, err
	}
	index := &pageIndex{}
	if err := decodeThrift(data, &index.ColumnIndex); err != nil {
		return nil, err
	}
	if k := len(places); len(index.NullPages) != k || len(index.MinValues) != k || len(index.MaxValues) != k {
		return nil, errIndex
	}
	for i, at := range places {
		s := stretch{at.FirstRowIndex, f.GroupRows(group)}
		if i+1 < len(places) {
			s.to = places[i+1].FirstRowIndex
		}
		index.rows = append(index.rows, s)
	}
	return index, nil
}

// wanted are the rows of the pages that may have values in r.
func (x *pageIndex) wanted(c *Column, r Range) []stretch {
	out := []stretch{}
	for i, s := range x.rows {
		if x.NullPages[i] || r.Outside(c.limit(x.MinValues[i]), c.limit(x.MaxValues[i])) {
			continue
		}
		if last := len(out) - 1; last >= 0 && out[last].to == s.from {
			out[last].to = s.to
		} else {
			out = append(out, s)
		}
	}
	return out
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

// unite are the rows that are in one of the lists, which are in order.
func unite(a, b []stretch) []stretch {
	var out []stretch
	for len(a) > 0 || len(b) > 0 {
		if len(a) == 0 || len(b) > 0 && b[0].from < a[0].from {
			a, b = b, a
		}
		if last := len(out) - 1; last >= 0 && a[0].from <= out[last].to {
			out[last].to = max(out[last].to, a[0].to)
		} else {
			out = append(out, a[0])
		}
		a = a[1:]
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
