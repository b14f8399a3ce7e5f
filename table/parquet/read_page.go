package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"
	"slices"

	"github.com/parquet-go/parquet-go/format"
)

// plainDictionary is what old files call plain, of a dictionary, and RLE, of indices.
const plainDictionary format.Encoding = 2

// nextPage begins the next page that has values, or reads the dictionary.
func (p *Pages) nextPage() error {
	for {
		h, n, err := readPageHead(p.chunk)
		if err != nil {
			return err
		}
		if h.packed > int64(len(p.chunk)-n) {
			return fmt.Errorf("a page of %d bytes where %d are left", h.packed, len(p.chunk)-n)
		}
		body := p.chunk[n : n+int(h.packed)]
		p.chunk = p.chunk[n+int(h.packed):]
		if h.hasCRC && crc32.ChecksumIEEE(body) != h.crc {
			return errors.New("a page is damaged: its checksum is another one")
		}
		switch h.kind {
		case format.DictionaryPage:
			return p.readDictionary(h, body)
		case format.DataPage:
			return p.readPage(h, body)
		case format.DataPageV2:
			return p.readPageV2(h, body)
		}
	}
}

func (p *Pages) readDictionary(h pageHead, body []byte) (err error) {
	if p.isDict {
		return errors.New("it has two dictionaries")
	}
	data, err := p.file.unpacks.unpack(p.codec, &p.packed, body, h.plain)
	if err != nil {
		return err
	}
	if h.coding != format.Plain && h.coding != plainDictionary {
		return fmt.Errorf("%w: a dictionary in %s", ErrForm, h.coding)
	}
	if err := p.decodePlain(&p.dict, data, int(h.slots)); err != nil {
		return err
	}
	if int64(p.dict.N) < h.slots {
		return errShort
	}
	p.isDict = true
	return nil
}

// decodePlain decodes n plain values.
func (p *Pages) decodePlain(v *Values, data []byte, n int) error {
	switch p.col.Physical {
	case format.Boolean:
		return v.decodeBits(data, n)
	case format.ByteArray:
		_, err := v.decodeTexts(data, n)
		return err
	default:
		if n > len(data)/p.col.Width {
			return errShort
		}
		return v.decodeFixed(data[:n*p.col.Width], p.col.Width)
	}
}

// slotsOf checks how many slots a page says that it has.
func (p *Pages) slotsOf(h pageHead) error {
	if h.slots > p.slots {
		return errors.New("its pages have more values than the footer says")
	}
	p.left, p.ahead = int(h.slots), p.reps[:0]
	if p.some {
		if len(p.firsts) == 0 {
			return errIndex
		}
		p.row, p.firsts = p.firsts[0], p.firsts[1:]
	}
	return nil
}

func (p *Pages) readPage(h pageHead, body []byte) (err error) {
	if err := p.slotsOf(h); err != nil {
		return err
	}
	data, err := p.file.unpacks.unpack(p.codec, &p.page, body, h.plain)
	if err != nil {
		return err
	}
	level := func(top uint8, coding format.Encoding) (hybrid, error) {
		if top == 0 {
			return hybrid{}, nil
		}
		if coding != format.RLE {
			return hybrid{}, fmt.Errorf("%w: levels in %s", ErrForm, coding)
		}
		if len(data) < 4 || uint64(binary.LittleEndian.Uint32(data)) > uint64(len(data)-4) {
			return hybrid{}, errShort
		}
		n := 4 + int(binary.LittleEndian.Uint32(data))
		out := newHybrid(data[4:n], uint(bits.Len8(top)))
		data = data[n:]
		return out, nil
	}
	if p.rep, err = level(p.col.MaxRep, h.reps); err != nil {
		return err
	}
	if p.def, err = level(p.col.MaxDef, h.defForm); err != nil {
		return err
	}
	return p.readValues(h, data)
}

func (p *Pages) readPageV2(h pageHead, body []byte) (err error) {
	if err := p.slotsOf(h); err != nil {
		return err
	}
	size := int64(len(body))
	if h.repLen < 0 || h.defLen < 0 || h.repLen > size || h.defLen > size-h.repLen || h.plain < h.repLen+h.defLen {
		return errShort
	}
	p.rep = newHybrid(body[:h.repLen], uint(bits.Len8(p.col.MaxRep)))
	p.def = newHybrid(body[h.repLen:h.repLen+h.defLen], uint(bits.Len8(p.col.MaxDef)))
	data := body[h.repLen+h.defLen:]
	if !h.notCompressed {
		if data, err = p.file.unpacks.unpack(p.codec, &p.page, data, h.plain-h.repLen-h.defLen); err != nil {
			return err
		}
	}
	return p.readValues(h, data)
}

// readValues prepares the values of a page; data has nothing else.
func (p *Pages) readValues(h pageHead, data []byte) error {
	p.indexed, p.lazy, p.at = false, false, 0
	v, n, kind := &p.plain, int(h.slots), p.col.Physical
	text := kind == format.ByteArray
	switch h.coding {
	case format.RLEDictionary, plainDictionary:
		if !p.isDict {
			return errors.New("it has no dictionary, and a page that needs one")
		}
		p.indexed = true
		switch {
		case len(data) == 0: // a page of nulls
			p.indices = newHybrid(nil, 0)
		case data[0] == 0: // a dictionary of one, whatever follows
			p.indices = hybrid{bits: -1, left: n}
		case data[0] > 32:
			return errShort
		default:
			p.indices = newHybrid(data[1:], uint(data[0]))
		}
		return nil
	case format.Plain:
		switch {
		case kind == format.Boolean:
			return v.decodeBits(data, min(n, 8*len(data)))
		case text:
			p.texts, p.lazy = data, true
			return nil
		default:
			return v.decodeFixed(data, p.col.Width)
		}
	case format.RLE:
		if kind != format.Boolean {
			break
		}
		if len(data) < 4 {
			if len(data) > 0 {
				return errShort
			}
			v.reset(0)
			return nil
		}
		size := min(uint64(binary.LittleEndian.Uint32(data)), uint64(len(data)-4))
		return v.decodeRuns(data[4:4+size], n)
	case format.DeltaBinaryPacked:
		if kind != format.Int32 && kind != format.Int64 {
			break
		}
		if len(data) == 0 {
			v.reset(0)
			return nil
		}
		out, _, count, err := decodeDelta(v.own[:0], data, p.col.Width, n)
		v.reset(count)
		v.own, v.Data = out, out
		return err
	case format.DeltaLengthByteArray:
		if !text {
			break
		}
		if len(data) == 0 {
			v.reset(0)
			v.Offsets = append(v.Offsets, 0)
			return nil
		}
		return v.decodeDeltaLengths(data, n)
	case format.DeltaByteArray:
		if !text && kind != format.FixedLenByteArray {
			break
		}
		if len(data) == 0 {
			v.reset(0)
			v.Offsets = append(v.Offsets, 0)
			return nil
		}
		return v.decodeDeltaTexts(data, n, p.col.Width)
	case format.ByteStreamSplit:
		if text || p.col.Width == 0 || kind == format.Int96 {
			break
		}
		return v.decodeSplit(data, p.col.Width)
	}
	return fmt.Errorf("%w: %s in %s", ErrForm, kind, h.coding)
}

// decodeRuns decodes booleans in runs, most at most.
func (v *Values) decodeRuns(data []byte, most int) error {
	h := newHybrid(data, 1)
	out := v.own[:0]
	for len(out) < most && h.more() {
		n := min(h.left, most-len(out))
		at := len(out)
		out = slices.Grow(out, n)[:at+n]
		if err := decodeHybrid(&h, out[at:]); err != nil {
			return err
		}
	}
	v.reset(len(out))
	v.own, v.Data = out, out
	return nil
}
