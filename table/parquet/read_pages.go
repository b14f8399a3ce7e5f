package parquet

import (
	"errors"
	"fmt"
	"slices"

	"github.com/parquet-go/parquet-go/format"
)

// Values are values of one leaf, without nulls, as the file stores them.
type Values struct {
	N int

	// Data has the values one behind the other: of a fixed width in little-endian
	// form (a decimal or uuid of fixed length as its bytes are), of a boolean a byte
	// each, 0 or 1, of ByteArray as Offsets say. It need not be aligned.
	Data []byte

	// Offsets of a ByteArray's values in Data, N+1 of them; the first need not be
	// 0. Else nil.
	Offsets []int32

	own []byte // that Data may lie in
}

// Text is a value of a ByteArray column.
func (v *Values) Text(i int) []byte { return v.Data[v.Offsets[i]:v.Offsets[i+1]] }

func (v *Values) reset(n int) { v.N, v.Data, v.Offsets = n, nil, v.Offsets[:0] }

// Run is a part of a column: slots that follow each other.
type Run struct {
	Slots int // values, nulls and empty lists
	Rows  int // that begin in it: as many as slots, but for a column in a list

	Def []uint8 // definition levels, one a slot; nil: each slot has a value
	Rep []uint8 // repetition levels, one a slot; nil: the column is in no list

	// The values that are there, in one of two forms: Indices into the chunk's
	// Dictionary, or, where Indices is nil, Plain.
	Indices []int32
	Plain   Values
}

// Values is the number of the run's values.
func (r *Run) Values() int {
	if r.Indices != nil {
		return len(r.Indices)
	}
	return r.Plain.N
}

// Pages reads a column of one row group. The zero value is ready for Open, and
// its memory is used again by the next Open. It belongs to one goroutine.
//
// What Next returns is valid until the next call of Next, the Dictionary until
// the next Open.
type Pages struct {
	file  *File
	col   *Column
	codec format.CompressionCodec

	chunk  []byte  // what is left of the chunk, as it lies in the file
	held   []byte  // all of it, or of one before; not of a file in memory
	slots  int64   // that are left, by the footer
	row    int64   // of the group, that begins next
	some   bool    // not all pages are in chunk
	firsts []int64 // rows of the pages in chunk, where some

	dict   Values
	isDict bool // there is one

	// the page that is being read
	left    int // slots
	def     hybrid
	rep     hybrid
	ahead   []uint8 // repetition levels that were decoded to find the end of rows
	indexed bool
	indices hybrid
	plain   Values
	at      int    // values of plain that were given
	texts   []byte // plain texts that were not decoded yet
	lazy    bool   // the page's values are these

	page   []byte // decompressed
	packed []byte // of the dictionary's page
	run    Run
	defs   []uint8
	reps   []uint8
	ints   []int32
}

// maxRun is the number of slots that a run has at most: a page may have
// millions in a few bytes.
const maxRun = 64 << 10

// Open reads the bytes of a leaf's part of a row group, all of them, and the
// dictionary if there is one.
func (p *Pages) Open(f *File, group int, leaf *Column) error {
	if err := p.open(f, group, leaf); err != nil {
		return fmt.Errorf("column %s of row group %d: %w", dotted(leaf.Path), group, err)
	}
	return nil
}

func (p *Pages) open(f *File, group int, leaf *Column) error {
	m := &f.chunk(group, leaf.Leaf).MetaData
	if err := p.begin(f, group, leaf); err != nil {
		return err
	}
	from := chunkStart(m)
	if from < 0 || m.TotalCompressedSize < 0 || m.TotalCompressedSize > f.size-from {
		return fmt.Errorf("its %d bytes at %d are not in a file of %d", m.TotalCompressedSize, from, f.size)
	}
	data, err := f.read(p.held, int(m.TotalCompressedSize), from)
	if err != nil {
		return err
	}
	if p.chunk = data; !f.inMemory() {
		p.held = data
	}
	return p.firstPage()
}

// chunkStart is where a chunk begins, its dictionary included.
func chunkStart(m *format.ColumnMetaData) int64 {
	if m.DictionaryPageOffset > 0 && m.DictionaryPageOffset < m.DataPageOffset {
		return m.DictionaryPageOffset
	}
	return m.DataPageOffset
}

// begin forgets the chunk before.
func (p *Pages) begin(f *File, group int, leaf *Column) error {
	c := f.chunk(group, leaf.Leaf)
	m := &c.MetaData
	if c.FilePath != "" {
		return fmt.Errorf("%w: it lies in another file", ErrForm)
	}
	if m.Type != leaf.Physical {
		return fmt.Errorf("it is of type %s and the schema says %s", m.Type, leaf.Physical)
	}
	if m.NumValues < 0 || leaf.MaxRep == 0 && m.NumValues != f.GroupRows(group) {
		return fmt.Errorf("it has %d values and the row group %d rows", m.NumValues, f.GroupRows(group))
	}
	p.file, p.col, p.codec, p.slots = f, leaf, m.Codec, m.NumValues
	p.chunk, p.left, p.isDict, p.ahead = nil, 0, false, nil
	p.row, p.some, p.firsts = 0, false, p.firsts[:0]
	p.dict.reset(0)
	return nil
}

// firstPage reads the dictionary, which comes first if there is one.
func (p *Pages) firstPage() error {
	if p.slots == 0 || len(p.chunk) == 0 {
		return nil
	}
	h, _, err := readPageHead(p.chunk)
	if err != nil || h.kind != format.DictionaryPage {
		return err
	}
	return p.nextPage()
}

// Dictionary has the values that indices of runs point to; nil: the chunk has none.
func (p *Pages) Dictionary() *Values {
	if !p.isDict {
		return nil
	}
	return &p.dict
}

// Left is the number of slots that were not given yet.
func (p *Pages) Left() int64 { return p.slots }

// Next is the next run, of at most so many rows. It has none of the slots of the
// row after these, so that a row that goes on is read by Next(0) until that
// gives no slots. The end is a run without slots where rows is positive. The
// run is the reader's.
func (p *Pages) Next(rows int) (*Run, error) {
	r, err := p.next(rows)
	if err != nil {
		return nil, fmt.Errorf("column %s: %w", dotted(p.col.Path), err)
	}
	return r, nil
}

func (p *Pages) next(rows int) (*Run, error) {
	r := &p.run
	r.Slots, r.Rows, r.Def, r.Rep, r.Indices = 0, 0, nil, nil, nil
	r.Plain.N, r.Plain.Data, r.Plain.Offsets = 0, nil, nil
	for p.left == 0 {
		if p.ended() {
			return r, nil
		}
		if err := p.nextPage(); err != nil {
			return nil, err
		}
	}
	slots := min(rows, p.left, maxRun)
	if p.col.MaxRep > 0 {
		var err error
		if slots, err = p.rowsAhead(rows); err != nil {
			return nil, err
		}
		r.Rep, p.ahead = p.ahead[:slots:slots], p.ahead[slots:]
		for _, level := range r.Rep {
			if level == 0 {
				r.Rows++
			}
		}
	} else {
		r.Rows = slots
	}
	r.Slots = slots
	if slots == 0 {
		return r, nil
	}
	p.left -= slots
	p.slots -= int64(slots)
	p.row += int64(r.Rows)
	n, err := p.levels(r)
	if err != nil {
		return nil, err
	}
	return r, p.values(r, n)
}

// ended tells whether there is no page any more.
func (p *Pages) ended() bool { return p.slots == 0 || p.some && len(p.chunk) == 0 }

// rowsAhead is how many slots rows rows have in this page, maxRun at most;
// their levels are then in ahead. Slots that go on with a row are in the count.
func (p *Pages) rowsAhead(rows int) (slots int, err error) {
	for begun := 0; ; {
		for slots < len(p.ahead) {
			if p.ahead[slots] == 0 {
				if begun == rows {
					return slots, nil
				}
				begun++
			}
			if slots++; slots == maxRun {
				return slots, nil
			}
		}
		more := min(p.left-len(p.ahead), maxRun/4)
		if more == 0 {
			return slots, nil
		}
		if cap(p.ahead)-len(p.ahead) < more { // the levels of the run before are not needed any more
			p.reps = append(p.reps[:0], p.ahead...)
			p.reps = slices.Grow(p.reps, maxRun+maxRun/4)
			p.ahead = p.reps
		}
		n := len(p.ahead)
		p.ahead = p.ahead[:n+more]
		if err := decodeHybrid(&p.rep, p.ahead[n:]); err != nil {
			return 0, err
		}
		for _, level := range p.ahead[n:] {
			if level > p.col.MaxRep {
				return 0, errLevel
			}
		}
	}
}

var errLevel = errors.New("a level is higher than the schema has")

// levels decodes a run's definition levels and counts its values.
func (p *Pages) levels(r *Run) (n int, err error) {
	top := p.col.MaxDef
	if top == 0 {
		return r.Slots, nil
	}
	same, level, err := p.def.same(r.Slots)
	if err != nil {
		return 0, err
	}
	if same == r.Slots && level == uint32(top) {
		p.def.drop(same)
		return r.Slots, nil
	}
	p.defs = room(p.defs, r.Slots)
	if err := decodeHybrid(&p.def, p.defs); err != nil {
		return 0, err
	}
	r.Def = p.defs
	for _, d := range r.Def {
		if d == top {
			n++
		} else if d > top {
			return 0, errLevel
		}
	}
	if n == r.Slots {
		r.Def = nil
	}
	return n, nil
}

// values takes the next n values of the page.
func (p *Pages) values(r *Run, n int) error {
	if p.indexed {
		if cap(p.ints) < n || p.ints == nil {
			p.ints = make([]int32, max(n, 1))
		}
		r.Indices = p.ints[:n]
		if n == 0 {
			return nil
		}
		if err := decodeHybrid(&p.indices, r.Indices); err != nil {
			return err
		}
		top := uint32(p.dict.N)
		for _, i := range r.Indices {
			if uint32(i) >= top {
				return fmt.Errorf("an index of %d in a dictionary of %d", uint32(i), top)
			}
		}
		return nil
	}
	if p.lazy {
		rest, err := p.plain.decodeTexts(p.texts, n)
		if err != nil {
			return err
		}
		p.texts, p.at = rest, 0
	}
	if n > p.plain.N-p.at {
		return errShort
	}
	r.Plain.N = n
	if p.col.Physical == format.ByteArray {
		r.Plain.Data, r.Plain.Offsets = p.plain.Data, p.plain.Offsets[p.at:p.at+n+1]
	} else {
		w := max(p.col.Width, 1)
		r.Plain.Data = p.plain.Data[p.at*w : (p.at+n)*w]
	}
	p.at += n
	return nil
}
