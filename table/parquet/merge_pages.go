package parquet

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"

	"github.com/parquet-go/parquet-go/format"
)

const (
	// A page of this many values, or bytes, is worth to be a page of its own.
	wholeRows  = pageRows / 4
	wholeBytes = pageBytes / 4

	// settledRows is what a chunk has at least when its writer's choice of plain
	// pages is taken for the right one: fewer values repeat less than many do.
	settledRows = 4 * pageRows
)

// mayTake tells whether pages of the chunk can be pages here.
func (c *copier) mayTake(own bool) bool {
	l := c.leaf
	if !own || l.maxRep > 0 || c.from.levels != nil || c.from.widen || c.chunk.Codec != c.w.format.codec.id {
		return false
	}
	if l.physical == format.Boolean || l.physical == format.FixedLenByteArray || l.kind == floatKind {
		return true // plain ever
	}
	return c.chunk.NumValues >= settledRows
}

// takePage takes the source's next page as it lies there, if it is one of ours
// that is good enough for that. It needs no decoder: what the statistics and
// metrics need is in its header, but for NaNs.
func (c *copier) takePage(s *scratch) (done bool, err error) {
	p, l := c.pages, c.leaf
	if !c.whole || p.left > 0 || p.slots == 0 || l.slots > 0 && l.slots < wholeRows && l.pageBytes() < wholeBytes {
		return false, nil
	}
	h, n, err := readPageHead(p.chunk)
	if err != nil || h.kind != format.DataPage || h.coding != format.Plain || !h.hasCRC || h.packed > int64(len(p.chunk)-n) ||
		h.slots <= 0 || h.slots > p.slots || h.slots < wholeRows && h.plain < wholeBytes {
		return false, nil //nolint:nilerr // who reads the page says what is wrong with it
	}
	whole := p.chunk[:n+int(h.packed)]
	body := whole[n:]
	if crc32.ChecksumIEEE(body) != h.crc {
		return false, nil
	}
	var header pageHeader
	if err := decodeThrift(whole[:n], &header); err != nil {
		return false, err
	}
	st := header.DataPageHeader.V.Statistics
	one := page{plain: n + int(h.plain), rows: int(h.slots), slots: int(h.slots), nulls: int(st.NullCount), coding: format.Plain}
	if one.bounds = boundsOf(st); l.kind == floatKind {
		if one.bounds.nans, err = c.countNaNs(body, h.plain); err != nil {
			return false, err
		}
	}
	if one.nulls < 0 || one.nulls > one.slots || !one.bounds.set && one.slots > one.nulls+one.bounds.nans {
		return false, nil
	}
	if err := c.w.endPage(l, s); err != nil {
		return false, err
	}
	one.data = append(make([]byte, 0, len(whole)), whole...)
	l.takePage(one)
	p.chunk = p.chunk[len(whole):]
	p.slots -= h.slots
	c.rows += h.slots
	c.raw += h.plain
	return true, nil
}

// takePage appends a page that is complete.
func (l *leaf) takePage(p page) {
	l.pages = append(l.pages, p)
	l.held += int64(len(p.data))
	for _, e := range l.encodings {
		if e == p.coding {
			return
		}
	}
	l.encodings = append(l.encodings, p.coding)
}

// boundsOf are the bounds that makeStatistics wrote.
func boundsOf(s statistics) bounds {
	b := bounds{set: s.IsMinExact.Valid && s.IsMaxExact.Valid, minExact: s.IsMinExact.V, maxExact: s.IsMaxExact.V}
	if b.set { // an empty string is not written
		b.min, b.max = append([]byte{}, s.Min...), append([]byte{}, s.Max...)
	}
	return b
}

// countNaNs counts those of a plain page of version 1, of size bytes once unpacked.
func (c *copier) countNaNs(body []byte, size int64) (n int, err error) {
	p := c.pages
	data, err := p.file.unpacks.unpack(p.codec, &p.page, body, size)
	if err != nil {
		return 0, err
	}
	if c.leaf.maxDef > 0 {
		if len(data) < 4 || uint64(binary.LittleEndian.Uint32(data)) > uint64(len(data)-4) {
			return 0, errors.New("a page is shorter than its levels")
		}
		data = data[4+binary.LittleEndian.Uint32(data):]
	}
	if c.leaf.physical == format.Float {
		for ; len(data) >= 4; data = data[4:] {
			if x := math.Float32frombits(binary.LittleEndian.Uint32(data)); x != x {
				n++
			}
		}
		return n, nil
	}
	for ; len(data) >= 8; data = data[8:] {
		if x := math.Float64frombits(binary.LittleEndian.Uint64(data)); x != x {
			n++
		}
	}
	return n, nil
}
