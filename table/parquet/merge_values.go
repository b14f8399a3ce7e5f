package parquet

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/parquet-go/parquet-go/format"
)

// merged are a leaf's values that come from other files. A dictionary of a
// source is valid until dropDictionary; until then all have the same scratch.
type merged interface {
	values
	takeDictionary(s *scratch, d *Values)
	dropDictionary()
	takeCodes(s *scratch, codes []int32) // indices into the dictionary, which were checked
	takePlain(v *Values) error
}

func (v *ints[T]) merged() merged   { return &mergedInts[T]{ints: v} }
func (v *texts) merged() merged     { return &mergedTexts{texts: v} }
func (v *floats[T]) merged() merged { return &mergedFloats[T]{floats: v} }
func (v *fixed) merged() merged     { return &mergedFixed{fixed: v} }
func (v *bools) merged() merged     { return &mergedBools{bools: v} }

// size is the values' bytes, about.
func (v *Values) size() int64 {
	if len(v.Offsets) > 0 {
		return int64(v.Offsets[v.N]-v.Offsets[0]) + 4*int64(v.N)
	}
	return int64(len(v.Data))
}

// widen makes v of 4-byte values the same in 8 bytes.
func (v *Values) widen(from *Values, k kind) {
	v.N, v.Offsets = from.N, nil
	v.own = grow(v.own[:0], 8*from.N)
	v.Data = v.own
	for i := range from.N {
		x := binary.LittleEndian.Uint32(from.Data[4*i:])
		wide := uint64(int64(int32(x)))
		if k == floatKind {
			wide = math.Float64bits(float64(math.Float32frombits(x)))
		}
		binary.LittleEndian.PutUint64(v.Data[8*i:], wide)
	}
}

// mapping has the number of each entry of a source's dictionary in the leaf's
// own, -1 where no value was it yet: so that only what is used gets in.
func (s *scratch) mapping(n int) []int32 {
	s.mapped = grow(s.mapped[:0], n)
	for i := range s.mapped {
		s.mapped[i] = -1
	}
	return s.mapped
}

// mergedInts keep the page's values by their numbers in the dictionary while
// there is one, and as they are once it has stopped.
type mergedInts[T integer] struct {
	*ints[T]
	codes   []int32
	before  int // entries of the dictionary when the page began
	source  []T
	numbers []int32 // by the source's; the scratch's
}

func (v *mergedInts[T]) takeDictionary(s *scratch, d *Values) {
	v.source = grow(v.source[:0], d.N)
	copy(asBytes(v.source), d.Data)
	v.numbers = s.mapping(d.N)
}

func (v *mergedInts[T]) dropDictionary() {
	if v.source, v.numbers = v.source[:0], nil; cap(v.source)*v.width() > maxKept/4 {
		v.source = nil
	}
}

func (v *mergedInts[T]) takeCodes(s *scratch, codes []int32) {
	if v.stopped {
		n := len(v.page)
		v.page = grow(v.page, len(codes))
		out := v.page[n:]
		for i, c := range codes {
			out[i] = v.source[c]
		}
		return
	}
	v.numberFresh(s, codes)
	n := len(v.codes)
	v.codes = grow(v.codes, len(codes))
	out, numbers := v.codes[n:], v.numbers
	for i, c := range codes {
		out[i] = numbers[c]
	}
}

// numberFresh numbers the entries that codes use for the first time, in their order:
// together, so that none waits until another was looked for.
func (v *mergedInts[T]) numberFresh(s *scratch, codes []int32) {
	// Without a branch, which would be guessed wrong often: an entry is as likely new as not.
	numbers, n := v.numbers, 0
	s.fresh = grow(s.fresh[:0], len(codes))
	for _, c := range codes {
		k, first := numbers[c], int32(0)
		if k == -1 {
			first = 1
		}
		numbers[c] = k - first
		s.fresh[n] = c
		n += int(first)
	}
	if n == 0 {
		return
	}
	fresh := s.fresh[:n]
	v.page = grow(v.page[:0], n) // which is empty while there is a dictionary
	for i, c := range fresh {
		v.page[i] = v.source[c]
	}
	s.found = v.look(s.found[:0], v.page)
	v.page = v.page[:0]
	for i, c := range fresh {
		numbers[c] = s.found[i]
	}
}

// look appends the numbers of values to dst. What lies close together is not hashed:
// a table of its span is no larger than one of hashes.
func (v *mergedInts[T]) look(dst []int32, values []T) []int32 {
	low, high := values[0], values[0]
	for _, x := range values {
		low, high = min(low, x), max(high, x)
	}
	// Append makes a long dictionary longer by a quarter at a time, again and again.
	if d := &v.dict; cap(d.values)-len(d.values) <= len(d.values)/8 {
		d.values = slices.Grow(d.values, max(len(d.values), len(values)))
	}
	dst = grow(dst, len(values))
	out := dst[len(dst)-len(values):]
	if v.dict.reach(low, high, max(len(values), leastSpan/2)) {
		v.dict.lookDirect(out, values)
	} else {
		v.dict.lookHashed(out, values, low == high)
	}
	return dst
}

// leastSpan is what the values of a dictionary may span whatever their number.
const leastSpan = 1 << 16

func (v *mergedInts[T]) add(arr arrow.Array, at span) {
	v.ints.add(arr, at)
	v.settle()
}

func (v *mergedInts[T]) takePlain(p *Values) error {
	n := len(v.page)
	v.page = grow(v.page, p.N)
	copy(asBytes(v.page[n:]), p.Data)
	v.settle()
	return nil
}

// settle numbers what came as it is, while there is a dictionary.
func (v *mergedInts[T]) settle() {
	if v.stopped || v.tooWide != nil || len(v.page) == 0 {
		return
	}
	v.codes = v.look(v.codes, v.page)
	v.page = v.page[:0]
}

func (v *mergedInts[T]) pageBytes() int { return v.ints.pageBytes() + len(v.codes)*v.width() }

func (v *mergedInts[T]) heldBytes() int {
	return v.ints.heldBytes() + cap(v.source)*v.width() + 4*cap(v.codes)
}

func (v *mergedInts[T]) encode(s *scratch, dst []byte, at position) ([]byte, format.Encoding, bounds, error) {
	codes := v.codes
	if len(codes) == 0 || v.tooWide != nil {
		return v.ints.encode(s, dst, at)
	}
	before, entries := v.before, v.dict.values
	low, high := entries[codes[0]], entries[codes[0]]
	for _, c := range codes {
		x := entries[c]
		low, high = min(low, x), max(high, x)
	}
	b := bounds{set: true, min: appendInt(nil, low), max: appendInt(nil, high), minExact: true, maxExact: true}
	added := len(entries) - before
	v.codes, v.before = codes[:0], len(entries)
	var err error
	if s.other, err = encodeIndices(s.other, codes); err != nil {
		return dst, format.Plain, bounds{}, err
	}
	plain := func() []T {
		v.page = grow(v.page[:0], len(codes))
		for i, c := range codes {
			v.page[i] = entries[c]
		}
		page := v.page
		v.page = v.page[:0]
		return page
	}
	if dictionaryLoses(at, added, len(codes), v.dict.bytes()+len(s.other), len(codes)*v.width()) {
		dst = append(dst, asBytes(plain())...)
		v.dict, v.stopped = intDictionary[T]{}, true
		return dst, format.Plain, b, nil
	}
	if v.stopped = stops(at, added, len(codes), v.dict.bytes()); !v.stopped && grows(at, added, len(codes)) {
		page := plain()
		s.indices = append(s.indices[:0], codes...)
		if v.stopped, err = v.plainIsSmaller(s, page, before); err != nil {
			return dst, format.Plain, bounds{}, err
		}
		if v.stopped {
			dst = append(dst, asBytes(page)...)
			v.dict.takeBack(before)
			return dst, format.Plain, b, nil
		}
	}
	if v.stopped {
		v.dict.table, v.dict.direct = nil, nil
	}
	return append(dst, s.other...), format.RLEDictionary, b, nil
}

func (v *mergedInts[T]) release() {
	v.codes = nil
	v.ints.release()
}

func (v *mergedInts[T]) endChunk() {
	v.before = 0
	v.ints.endChunk()
}

// mergedTexts are the same for strings and bytes.
type mergedTexts struct {
	*texts
	codes   []int32
	before  int
	source  *Values
	numbers []int32 // by the source's; the scratch's
}

func (v *mergedTexts) takeDictionary(s *scratch, d *Values) {
	v.source, v.numbers = d, s.mapping(d.N)
}

func (v *mergedTexts) dropDictionary() { v.source, v.numbers = nil, nil }

func (v *mergedTexts) takeCodes(_ *scratch, codes []int32) {
	if v.stopped {
		size := 0
		for _, c := range codes {
			size += len(v.source.Text(int(c)))
		}
		if !v.fits(size) {
			return
		}
		for _, c := range codes {
			v.data = append(v.data, v.source.Text(int(c))...)
			v.ends = append(v.ends, uint32(v.earlier.n+len(v.data)))
		}
		return
	}
	if v.dict.table == nil {
		v.dict.table = make([]textEntry, 32)
	}
	n := len(v.codes)
	v.codes = grow(v.codes, len(codes))
	out, numbers := v.codes[n:], v.numbers
	for i, c := range codes {
		k := numbers[c]
		if k < 0 {
			k = v.dict.number(v.source.Text(int(c)))
			numbers[c] = k
		}
		out[i] = k
	}
}

func (v *mergedTexts) add(arr arrow.Array, at span) {
	v.texts.add(arr, at)
	v.settle()
}

// fits tells whether size more bytes go into the page; else the page has failed.
func (v *mergedTexts) fits(size int) bool {
	if v.earlier.n+len(v.data)+size > math.MaxInt32/2 {
		v.tooLong = errEntry
	}
	return v.tooLong == nil
}

func (v *mergedTexts) takePlain(p *Values) error {
	if p.N == 0 {
		return nil
	}
	first := p.Offsets[0]
	data := p.Data[first:p.Offsets[p.N]]
	if !v.fits(len(data)) {
		return v.tooLong
	}
	n, m := len(v.ends), v.earlier.n+len(v.data)
	v.data = append(v.data, data...)
	v.ends = grow(v.ends, p.N)
	for i, end := range p.Offsets[1 : p.N+1] {
		v.ends[n+i] = uint32(m) + uint32(end-first)
	}
	v.settle()
	return nil
}

func (v *mergedTexts) settle() {
	if v.stopped || v.tooLong != nil || len(v.ends) == 0 {
		return
	}
	if v.dict.table == nil {
		v.dict.table = make([]textEntry, 32)
	}
	n := len(v.codes)
	v.codes = grow(v.codes, len(v.ends))
	start, number, last := uint32(0), int32(-1), []byte(nil)
	for i, end := range v.ends {
		x := v.data[start:end]
		start = end
		if number < 0 || !bytes.Equal(x, last) {
			number, last = v.dict.number(x), x
		}
		v.codes[n+i] = number
	}
	v.data, v.ends = v.data[:0], v.ends[:0]
}

func (v *mergedTexts) pageBytes() int { return v.texts.pageBytes() + 4*len(v.codes) }

func (v *mergedTexts) heldBytes() int {
	return v.texts.heldBytes() + 4*cap(v.codes)
}

func (v *mergedTexts) encode(s *scratch, dst []byte, at position) ([]byte, format.Encoding, bounds, error) {
	codes := v.codes
	if len(codes) == 0 || v.tooLong != nil {
		return v.texts.encode(s, dst, at)
	}
	before := v.before
	added := v.dict.len() - before
	v.codes, v.before = codes[:0], v.dict.len()
	b := v.bounds(v.extremes(s, codes))
	var err error
	if s.other, err = encodeIndices(s.other, codes); err != nil {
		return dst, format.Plain, bounds{}, err
	}
	plain := 4 * len(codes)
	for _, c := range codes {
		plain += len(v.dict.value(int(c)))
	}
	if plain > math.MaxInt32/2 {
		plain = math.MaxInt32 // no page: by dictionary only
	}
	if plain < math.MaxInt32 && dictionaryLoses(at, added, len(codes), v.dict.bytes()+len(s.other), plain) {
		for _, c := range codes {
			x := v.dict.value(int(c))
			dst = append(binary.LittleEndian.AppendUint32(dst, uint32(len(x))), x...)
		}
		v.dict, v.stopped = textDictionary{}, true
		return dst, format.Plain, b, nil
	}
	v.stopped = stops(at, added, len(codes), v.dict.bytes())
	return append(dst, s.other...), format.RLEDictionary, b, nil
}

// extremes are the least and the greatest of the page's values.
func (v *mergedTexts) extremes(s *scratch, codes []int32) (low, high []byte) {
	clear(s.seen)
	for len(s.seen) <= v.dict.len()>>6 {
		s.seen = append(s.seen, 0)
	}
	low = v.dict.value(int(codes[0]))
	high = low
	for _, c := range codes {
		word, bit := int(c>>6), uint64(1)<<(c&63)
		if s.seen[word]&bit != 0 {
			continue
		}
		s.seen[word] |= bit
		x := v.dict.value(int(c))
		if bytes.Compare(x, low) < 0 {
			low = x
		} else if bytes.Compare(x, high) > 0 {
			high = x
		}
	}
	return low, high
}

func (v *mergedTexts) release() {
	v.codes = nil
	v.texts.release()
}

func (v *mergedTexts) endChunk() {
	v.before = 0
	v.texts.endChunk()
}

// mergedFloats have no dictionary of their own.
type mergedFloats[T float32 | float64] struct {
	*floats[T]
	source []T
}

func (v *mergedFloats[T]) takeDictionary(_ *scratch, d *Values) {
	v.source = grow(v.source[:0], d.N)
	copy(asBytes(v.source), d.Data)
}

func (v *mergedFloats[T]) dropDictionary() { v.source = nil }

func (v *mergedFloats[T]) takeCodes(_ *scratch, codes []int32) {
	for _, c := range codes {
		v.page = append(v.page, v.source[c])
	}
}

func (v *mergedFloats[T]) takePlain(p *Values) error {
	n := len(v.page)
	v.page = grow(v.page, p.N)
	copy(asBytes(v.page[n:]), p.Data)
	return nil
}

type mergedFixed struct {
	*fixed
	source *Values
}

func (v *mergedFixed) takeDictionary(_ *scratch, d *Values) { v.source = d }
func (v *mergedFixed) dropDictionary()                      { v.source = nil }

func (v *mergedFixed) takeCodes(_ *scratch, codes []int32) {
	for _, c := range codes {
		at := int(c) * v.width
		v.page = append(v.page, v.source.Data[at:at+v.width]...)
	}
}

func (v *mergedFixed) takePlain(p *Values) error {
	v.page = append(v.page, p.Data...)
	return nil
}

type mergedBools struct {
	*bools
	source *Values
}

func (v *mergedBools) takeDictionary(_ *scratch, d *Values) { v.source = d }
func (v *mergedBools) dropDictionary()                      { v.source = nil }

func (v *mergedBools) takeCodes(_ *scratch, codes []int32) {
	for _, c := range codes {
		v.put(v.source.Data[c])
	}
}

func (v *mergedBools) takePlain(p *Values) error {
	for _, x := range p.Data {
		v.put(x)
	}
	return nil
}

// put appends 0 or 1.
func (v *mergedBools) put(x byte) {
	if v.n&7 == 0 {
		v.bits = append(v.bits, 0)
	}
	v.bits[v.n>>3] |= x << (v.n & 7)
	v.ones += int(x)
	v.n++
}
