package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/parquet-go/parquet-go/encoding/rle"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// values holds a leaf's values of the page that is being filled.
type values interface {
	add(arr arrow.Array, at span) // copies
	pageBytes() int               // of the page, not encoded
	heldBytes() int               // memory, dictionary included
	// encode appends the page's values to dst, and empties the page.
	encode(s *scratch, dst []byte, at position) ([]byte, format.Encoding, bounds, error)
	dictionary(dst []byte) ([]byte, int) // the dictionary, in plain form, and its length
	release()                            // gives the memory of an empty page back
	endChunk()                           // forgets the dictionary
	merged() merged                      // the same, taking other files' pages, too; while there are no values yet
}

// position is a page's place in its chunk. The first with values decides whether there is a
// dictionary; it may be the last as well.
type position struct{ first, last bool }

func newValues(n *node) values {
	switch n.physical {
	case format.Boolean:
		return &bools{}
	case format.Int32:
		return &ints[int32]{decimal: n.kind == decimalKind}
	case format.Int64:
		return &ints[int64]{decimal: n.kind == decimalKind}
	case format.Float:
		return &floats[float32]{}
	case format.Double:
		return &floats[float64]{}
	case format.ByteArray:
		return &texts{text: n.kind == textKind}
	default:
		return &fixed{width: n.width, decimal: n.kind == decimalKind}
	}
}

// leaf is a Parquet column of the file being written.
type leaf struct {
	*node
	values values

	// the page being filled
	rows    int
	slots   int // values, nulls and empty lists
	nulls   int // slots without a value
	def     []uint8
	someDef bool // def is kept, since not all slots have a value
	rep     []uint8

	// the chunk being filled
	pages     []page
	encodings []format.Encoding
	held      int64 // bytes of the pages

	// what the chunk begins with, once it is complete
	entries      []byte // the dictionary page; nil: none
	entriesPlain int    // its bytes, not compressed

	took    time.Duration // to encode a page, when it was last looked at
	choices choices
	metrics ColumnMetrics
	bounds  bounds // of the file
}

// page is an encoded page, complete with its header.
type page struct {
	data   []byte
	plain  int // bytes, header and what was compressed
	rows   int
	slots  int
	nulls  int
	coding format.Encoding
	bounds bounds
}

func newLeaf(n *node) *leaf {
	return &leaf{node: n, values: newValues(n), choices: choices{entries: choice{distinct: true}}}
}

// add appends the slots of rows rows.
func (l *leaf) add(arr arrow.Array, lv levels, rows int) {
	l.rows += rows
	if l.maxRep > 0 {
		n := len(l.rep)
		l.rep = grow(l.rep, lv.slots)
		if lv.rep == nil {
			clear(l.rep[n:])
		} else {
			copy(l.rep[n:], lv.rep)
		}
	}
	if lv.def != nil && !l.someDef {
		l.someDef = true
		l.def = grow(l.def[:0], l.slots)
		fill(l.def, l.maxDef)
	}
	if l.someDef {
		n := len(l.def)
		l.def = grow(l.def, lv.slots)
		out := l.def[n:]
		if lv.def == nil {
			fill(out, l.maxDef)
		} else {
			for i, d := range lv.def {
				if d == present {
					d = l.maxDef
				}
				out[i] = d
			}
		}
	}
	l.slots += lv.slots
	l.nulls += lv.slots - lv.at.n
	if lv.at.n > 0 {
		l.values.add(arr, lv.at)
	}
}

// release gives the memory of an empty page back.
func (l *leaf) release() {
	l.def, l.rep = nil, nil
	l.values.release()
}

func fill(s []uint8, x uint8) {
	for i := range s {
		s[i] = x
	}
}

func (l *leaf) pageBytes() int { return l.values.pageBytes() + len(l.def) + len(l.rep) }

func (l *leaf) heldBytes() int64 {
	return leafOverhead + l.held + int64(l.values.heldBytes()+cap(l.def)+cap(l.rep)+cap(l.pages)*pageOverhead)
}

// What the structs take, about.
const (
	leafOverhead = 512
	pageOverhead = 160
)

// endPage encodes the page being filled, the chunk's last one or not.
func (l *leaf) endPage(c codec, s *scratch, last bool) error {
	if l.slots == 0 {
		return nil
	}
	body, err := l.appendLevels(s.raw[:0])
	if err != nil {
		return fmt.Errorf("column %s: encode levels: %w", dotted(l.path), err)
	}
	p := page{rows: l.rows, slots: l.slots, nulls: l.nulls}
	start := len(body)
	body, p.coding, p.bounds, err = l.values.encode(s, body, position{first: !slices.Contains(l.encodings, format.RLEDictionary), last: last})
	if err != nil {
		return fmt.Errorf("column %s: encode a page: %w", dotted(l.path), err)
	}
	s.raw = body
	header := pageHeader{Type: format.DataPage, DataPageHeader: thrift.New(dataPageHeader{
		NumValues: int32(l.slots), Encoding: p.coding, DefinitionLevelEncoding: format.RLE, RepetitionLevelEncoding: format.RLE,
		Statistics: makeStatistics(int64(p.nulls), p.bounds),
	})}
	compress := c.compress
	switch {
	case p.coding == format.RLEDictionary:
		compress = func(s *scratch, body []byte) ([]byte, error) { return c.compressIndices(s, body, &l.choices.indices) }
	case l.physical == format.Int64:
		compress = func(s *scratch, body []byte) ([]byte, error) {
			return c.compressNumbers(s, body, start, &l.choices.numbers)
		}
	}
	if p.data, p.plain, err = seal(header, body, compress, s); err != nil {
		return fmt.Errorf("column %s: %w", dotted(l.path), err)
	}
	l.pages = append(l.pages, p)
	l.held += int64(len(p.data))
	if !slices.Contains(l.encodings, p.coding) {
		l.encodings = append(l.encodings, p.coding)
	}
	l.rows, l.slots, l.nulls, l.someDef = 0, 0, 0, false
	l.def, l.rep = l.def[:0], l.rep[:0]
	return nil
}

// appendLevels writes the levels as version 1 of the data page wants them: each
// run-length encoded behind its length.
func (l *leaf) appendLevels(dst []byte) ([]byte, error) {
	one := func(dst []byte, levels []uint8, top uint8) ([]byte, error) {
		width := bitWidth(top)
		at := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		if levels == nil { // all slots have a value: one run
			dst = binary.AppendUvarint(dst, uint64(l.slots)<<1)
			dst = append(dst, top)
		} else {
			coded, err := (&rle.Encoding{BitWidth: width}).EncodeLevels(nil, levels)
			if err != nil {
				return dst, err
			}
			dst = append(dst, coded...)
		}
		binary.LittleEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
		return dst, nil
	}
	var err error
	if l.maxRep > 0 {
		if dst, err = one(dst, l.rep, l.maxRep); err != nil {
			return dst, err
		}
	}
	if l.maxDef > 0 {
		var def []uint8
		if l.someDef {
			def = l.def
		}
		dst, err = one(dst, def, l.maxDef)
	}
	return dst, err
}

func bitWidth(top uint8) (n int) {
	for ; top > 0; top >>= 1 {
		n++
	}
	return n
}

// seal compresses a page's body and puts the header, completed, before it.
// It also returns the size of the page were it not compressed.
func seal(h pageHeader, body []byte, compress func(*scratch, []byte) ([]byte, error), s *scratch) (data []byte, plain int, err error) {
	packed, err := compress(s, body)
	if err != nil {
		return nil, 0, err
	}
	h.UncompressedPageSize, h.CompressedPageSize = int32(len(body)), int32(len(packed))
	h.CRC = int32(crc32.ChecksumIEEE(packed))
	s.header.Reset()
	if err := encodeThrift(&s.header, &h); err != nil {
		return nil, 0, fmt.Errorf("encode a page header: %w", err)
	}
	data = make([]byte, 0, s.header.Len()+len(packed))
	data = append(append(data, s.header.Bytes()...), packed...)
	return data, s.header.Len() + len(body), nil
}

// endChunk encodes the last page and the dictionary.
func (l *leaf) endChunk(c codec, s *scratch) (err error) {
	if err := l.endPage(c, s, true); err != nil {
		return err
	}
	l.entries, l.entriesPlain, err = l.dictionaryPage(c, s)
	return err
}

// dictionaryPage is the page that the chunk begins with, nil where none refers to it.
func (l *leaf) dictionaryPage(c codec, s *scratch) (data []byte, plain int, err error) {
	if !slices.Contains(l.encodings, format.RLEDictionary) {
		return nil, 0, nil
	}
	body, n := l.values.dictionary(s.raw[:0])
	s.raw = body
	h := pageHeader{Type: format.DictionaryPage, DictionaryPageHeader: thrift.New(format.DictionaryPageHeader{NumValues: int32(n), Encoding: format.Plain})}
	compress := c.compress
	if l.physical == format.Int64 {
		compress = func(s *scratch, body []byte) ([]byte, error) {
			return c.compressNumbers(s, body, 0, &l.choices.entries)
		}
	}
	data, plain, err = seal(h, body, compress, s)
	if err != nil {
		return nil, 0, fmt.Errorf("column %s: write its dictionary: %w", dotted(l.path), err)
	}
	return data, plain, nil
}

var errClosed = errors.New("the file is closed")
