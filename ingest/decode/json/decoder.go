// Package json decodes JSON objects into Arrow batches. The schema directs it:
// values go from the record's text straight into the columns' buffers, which
// the batch then takes over.
package json

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lake/ingest/decode"
	"lake/schemas"
)

// Options bound what a record may be.
type Options struct {
	Mem            memory.Allocator // of the columns; nil is memory.DefaultAllocator
	MaxRecordBytes int              // default 16 MiB, at most 1 GiB
	MaxDepth       int              // of objects and arrays, the record's own counted; default 512, at most 10,000
}

const (
	defaultRecordBytes = 16 << 20
	maxRecordBytes     = 1 << 30
	defaultDepth       = 512
	maxDepth           = 10_000 // what recursion takes without a large stack
)

// Decoder is a decode.Decoder of JSON objects, one a record.
//
// A field that is missing is null. Keys that are no field's are read, so that
// the record is known to be JSON, and left out. Numbers are taken where the
// field holds them exactly (a float64 or float32: nearest), text where it is of
// the field's format. Nothing else is converted.
type Decoder struct {
	schema *arrow.Schema
	fields []*column
	root   *object
	mem    *decode.Recycler

	maxBytes, maxDepth int

	rows    int
	depth   int
	objects uint64 // objects begun, ever: what tells one from another
	names   names  // of the objects whose keys are not fields
	scratch []byte // text without its escapes
	failure decode.Error
	fatal   error
}

// bad is the place after a value that was refused; the decoder's failure says why.
const bad = -1

var _ decode.Decoder = (*Decoder)(nil)

// NewDecoder makes a decoder of records of schema. It fails where a column's
// type, format or zone cannot be read from JSON.
func NewDecoder(schema schemas.Schema, opts Options) (*Decoder, error) {
	d := &Decoder{schema: schema.Arrow(), maxBytes: opts.MaxRecordBytes, maxDepth: opts.MaxDepth}
	if opts.Mem == nil {
		opts.Mem = memory.DefaultAllocator
	}
	d.mem = decode.NewRecycler(opts.Mem)
	if d.maxBytes == 0 {
		d.maxBytes = defaultRecordBytes
	}
	if d.maxDepth == 0 {
		d.maxDepth = defaultDepth
	}
	switch {
	case d.maxBytes < 0 || d.maxBytes > maxRecordBytes:
		return nil, fmt.Errorf("decode json: a record's bound of %d bytes is not between 1 and %d", d.maxBytes, maxRecordBytes)
	case d.maxDepth < 0 || d.maxDepth > maxDepth:
		return nil, fmt.Errorf("decode json: a depth of %d is not between 1 and %d", d.maxDepth, maxDepth)
	}
	b := builder{mem: d.mem, clocks: map[string]*schemas.ZoneClock{}}
	for _, f := range schema.Fields {
		c, err := b.column(f, f.Name, f.Format, f.Zone, nil)
		if err != nil {
			return nil, fmt.Errorf("decode json: column %s: %w", f.Name, err)
		}
		d.fields = append(d.fields, c)
	}
	d.root = newObject()
	for i, f := range schema.Fields {
		d.root.addField(f.Source(), d.fields[i])
	}
	d.root.chain()
	d.names.init()
	return d, nil
}

// Append decodes one record: an object, with white space around it at most. On
// an *decode.Error, the columns are as before. Other errors mean that the batch
// is full beyond what Arrow can address.
func (d *Decoder) Append(record []byte) error {
	if len(record) > d.maxBytes {
		return &decode.Error{Stage: decode.StageDecode, Reason: fmt.Sprintf("a record of %d bytes, more than %d", len(record), d.maxBytes)}
	}
	d.begin()
	i := d.object(d.root, record, skipSpace(record, 0))
	if i >= 0 && i < len(record) {
		i = d.end(record, i)
	}
	if i < 0 {
		return d.refuse(record)
	}
	for _, c := range d.fields {
		if c.rows == d.rows && !d.absent(c) {
			return d.refuse(record)
		}
	}
	d.rows++
	return nil
}

func (d *Decoder) begin() {
	d.depth = 0
	d.names.reset(d.objects + 1)
}

// end is for what follows the object: white space.
func (d *Decoder) end(record []byte, i int) int {
	if i = skipSpace(record, i); i < len(record) {
		return d.syntax(record, i, "the record's end")
	}
	return i
}

// refuse takes a row back and returns why. A value that does not fit is the
// reason only where the whole record is JSON.
func (d *Decoder) refuse(record []byte) error {
	for _, c := range d.fields {
		c.truncate(d.rows)
	}
	if d.fatal != nil {
		err := d.fatal
		d.fatal = nil
		return err
	}
	failure := d.failure
	if failure.Stage == decode.StageConvert {
		d.begin()
		i := d.skip(record, skipSpace(record, 0))
		if i >= 0 {
			i = d.end(record, i)
		}
		if i < 0 {
			failure = d.failure
		}
	}
	d.failure = decode.Error{}
	if cap(d.scratch) > keepScratch {
		d.scratch = nil
	}
	return &failure
}

// keepScratch bounds the memory that a large record leaves behind.
const keepScratch = 1 << 20

// Len is the number of rows since the last Flush.
func (d *Decoder) Len() int { return d.rows }

// Bytes is what the rows since the last Flush take, spare room not counted.
func (d *Decoder) Bytes() int64 {
	var n int64
	for _, c := range d.fields {
		n += c.bytes()
	}
	return n
}

// Flush returns the rows since the last Flush. The batch owns its buffers; the
// decoder goes on with new ones of about that size.
func (d *Decoder) Flush() (arrow.RecordBatch, error) {
	arrays := make([]arrow.Array, len(d.fields))
	for i, c := range d.fields {
		data := c.flush()
		arrays[i] = array.MakeFromData(data)
		data.Release()
	}
	batch := array.NewRecordBatch(d.schema, arrays, int64(d.rows))
	for _, a := range arrays {
		a.Release()
	}
	d.rows = 0
	if cap(d.scratch) > keepScratch {
		d.scratch = nil
	}
	return batch, nil
}

// Release drops the rows that Flush has not returned.
func (d *Decoder) Release() {
	for _, c := range d.fields {
		c.release()
	}
	d.rows = 0
	d.mem.Close()
}

// builder makes columns from fields.
type builder struct {
	mem    *decode.Recycler
	clocks map[string]*schemas.ZoneClock // by zone: what one column learns, the others know
}

// column makes the column of a field and those below it. Format and zone are
// those of the field around it, which hold where the field has none.
func (b builder) column(f schemas.Field, path, format, zone string, parent *column) (*column, error) {
	c := &column{kind: f.Type.Kind, dtype: f.Type.Arrow(), path: path, required: f.Required, parent: parent, mem: b.mem}
	if f.Format != "" {
		format = f.Format
	}
	if f.Zone != "" {
		zone = f.Zone
	}
	below := func(f schemas.Field) (*column, error) { return b.column(f, path+"."+f.Name, format, zone, c) }
	var err error
	switch c.kind {
	case schemas.Bool:
		c.store = storeBits
	case schemas.Int32, schemas.Float32:
		c.store = store32
	case schemas.Int64, schemas.Float64:
		c.store = store64
	case schemas.Decimal:
		c.store = store128
		c.precision, c.scale = f.Type.Precision, f.Type.Scale
		if c.precision < 1 || c.precision > 38 || c.scale < 0 || c.scale > c.precision {
			return nil, fmt.Errorf("%s: %s is not a decimal that can be", path, f.Type)
		}
	case schemas.UUID:
		c.store = store128
	case schemas.String, schemas.Bytes, schemas.JSON:
		c.store = storeText
	case schemas.Date:
		c.store = store32
		err = b.layout(c, format, zone)
	case schemas.Time, schemas.Timestamp, schemas.Datetime:
		c.store = store64
		err = b.layout(c, format, zone)
	case schemas.List:
		c.store = storeList
		c.elem, err = below(*f.Type.Elem)
	case schemas.Map:
		c.store = storeList
		err = b.mapping(c, f, below)
	case schemas.Struct:
		c.store = storeNone
		c.object = newObject()
		for _, member := range f.Type.Fields {
			field, err := below(member)
			if err != nil {
				return nil, err
			}
			c.fields = append(c.fields, field)
			c.object.addField(member.Source(), field)
		}
		c.object.chain()
	default:
		err = fmt.Errorf("%s: the type %s is not one", path, f.Type)
	}
	return c, err
}

func (b builder) mapping(c *column, f schemas.Field, below func(schemas.Field) (*column, error)) (err error) {
	switch key := f.Type.Key.Type.Kind; key {
	case schemas.JSON, schemas.List, schemas.Map, schemas.Struct:
		return fmt.Errorf("%s: a %s cannot be the key of a map", c.path, key)
	}
	if c.key, err = below(*f.Type.Key); err != nil {
		return err
	}
	c.elem, err = below(*f.Type.Elem)
	return err
}

func (b builder) layout(c *column, format, zone string) (err error) {
	if c.layout, err = schemas.LayoutFor(c.kind, format); err != nil {
		return fmt.Errorf("%s: format %w", c.path, err)
	}
	c.unit = c.layout.Unit()
	if plainText(format) {
		c.width, c.dateTimes = c.layout.Width(), c.layout.DateTimes()
	}
	if c.kind != schemas.Timestamp {
		return nil
	}
	if c.clock = b.clocks[zone]; c.clock == nil {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			return fmt.Errorf("%s: zone %q: %w", c.path, zone, err)
		}
		c.clock = schemas.NewZoneClock(loc)
		b.clocks[zone] = c.clock
	}
	return nil
}

var errFull = errors.New("more text or elements than a batch can hold: flush more often")

// full reports that a column cannot address n more bytes or elements.
func (d *Decoder) full(c *column, have, n int) bool {
	if n <= math.MaxInt32-have {
		return false
	}
	d.fatal = fmt.Errorf("decode json: column %s: %w", c.path, errFull)
	return true
}
