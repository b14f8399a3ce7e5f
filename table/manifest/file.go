package manifest

import (
	"bytes"

	"github.com/apache/iceberg-go"
)

// DataFile is a file as its manifest has it. It does not change. Tables have many: what is
// asked for seldom stays in the bytes that it was read from.
type DataFile struct {
	plan    *plan
	raw     []byte // its record
	path    string
	records int64
	size    int64
	content iceberg.ManifestEntryContent
	spec    int32
}

var _ iceberg.DataFile = (*DataFile)(nil)

// details are all fields of a record, which what has bytes points into; nil: null.
type details struct {
	content               int64
	path, format          []byte
	partition             []byte
	records, size         int64
	maps                  [lists][]byte
	key, splits, equality []byte
	sortOrder, firstRow   optional
	referenced            []byte
	offset, length        optional
}

// optional is a number that may be null.
type optional struct {
	x     int64
	there bool
}

func (o optional) pointer() *int64 {
	if !o.there {
		return nil
	}
	return &o.x
}

// file reads a record of a data file, all of it: so that later readings do not fail.
func (p *plan) file(in *cursor, d *DataFile) {
	before := in.data
	var all details
	p.details(in, &all)
	if d.content = iceberg.ManifestEntryContent(all.content); int64(d.content) != all.content {
		in.fail()
	}
	if in.bad {
		return
	}
	n := len(before) - len(in.data)
	d.raw, d.path, d.records, d.size = before[:n:n], string(all.path), all.records, all.size
}

func (p *plan) details(in *cursor, d *details) {
	for i, role := range p.fileFields {
		n := p.fileNode.fields[i].node
		switch role {
		case contentField:
			d.content, _ = in.whole(n)
		case pathField:
			d.path = in.required(n)
		case formatField:
			d.format = in.required(n)
		case partitionField:
			d.partition = in.raw(n)
		case recordsField:
			d.records = in.number(n)
		case sizeField:
			d.size = in.number(n)
		case columnSizesField, valueCountsField, nullCountsField, nanCountsField, distinctField, lowerField, upperField:
			d.maps[role-columnSizesField] = in.optional(n)
		case keyField:
			d.key, _ = in.text(n)
		case splitsField:
			d.splits = in.optional(n)
		case equalityField:
			d.equality = in.optional(n)
		case sortOrderField:
			d.sortOrder.x, d.sortOrder.there = in.whole(n)
		case firstRowField:
			d.firstRow.x, d.firstRow.there = in.whole(n)
		case referencedField:
			d.referenced, _ = in.text(n)
		case contentOffsetField:
			d.offset.x, d.offset.there = in.whole(n)
		case contentSizeField:
			d.length.x, d.length.there = in.whole(n)
		default:
			in.skip(n)
		}
	}
}

// details are read anew: they take five times what a DataFile does.
func (d *DataFile) details() (all details) {
	d.plan.details(&cursor{data: d.raw}, &all)
	return all
}

// required is a text that may not be null.
func (c *cursor) required(n *node) []byte {
	text, there := c.text(n)
	if !there {
		c.fail()
	}
	return text
}

func (c *cursor) number(n *node) int64 {
	x, there := c.whole(n)
	if !there {
		c.fail()
	}
	return x
}

// optional is a value's bytes, nil where it is null.
func (c *cursor) optional(n *node) []byte {
	if b := c.branch(n); b != nil {
		return c.raw(b)
	}
	return nil
}

// ContentType implements iceberg.DataFile.
func (d *DataFile) ContentType() iceberg.ManifestEntryContent { return d.content }

// FilePath implements iceberg.DataFile.
func (d *DataFile) FilePath() string { return d.path }

// FileFormat implements iceberg.DataFile.
func (d *DataFile) FileFormat() iceberg.FileFormat { return iceberg.FileFormat(d.details().format) }

// Partition implements iceberg.DataFile.
func (d *DataFile) Partition() map[int]any {
	out := d.partition()
	for id, v := range out {
		if b, ok := v.([]byte); ok {
			out[id] = bytes.Clone(b)
		}
	}
	return out
}

// Count implements iceberg.DataFile.
func (d *DataFile) Count() int64 { return d.records }

// FileSizeBytes implements iceberg.DataFile.
func (d *DataFile) FileSizeBytes() int64 { return d.size }

// ColumnSizes implements iceberg.DataFile.
func (d *DataFile) ColumnSizes() map[int]int64 { return counts(d.details().list(columnSizesField)) }

// ValueCounts implements iceberg.DataFile.
func (d *DataFile) ValueCounts() map[int]int64 { return counts(d.details().list(valueCountsField)) }

// NullValueCounts implements iceberg.DataFile.
func (d *DataFile) NullValueCounts() map[int]int64 { return counts(d.details().list(nullCountsField)) }

// NaNValueCounts implements iceberg.DataFile.
func (d *DataFile) NaNValueCounts() map[int]int64 { return counts(d.details().list(nanCountsField)) }

// DistinctValueCounts implements iceberg.DataFile.
func (d *DataFile) DistinctValueCounts() map[int]int64 {
	return counts(d.details().list(distinctField))
}

// LowerBoundValues implements iceberg.DataFile.
func (d *DataFile) LowerBoundValues() map[int][]byte { return bounds(d.details().list(lowerField)) }

// UpperBoundValues implements iceberg.DataFile.
func (d *DataFile) UpperBoundValues() map[int][]byte { return bounds(d.details().list(upperField)) }

// KeyMetadata implements iceberg.DataFile.
func (d *DataFile) KeyMetadata() []byte { return bytes.Clone(d.details().key) }

// SplitOffsets implements iceberg.DataFile.
func (d *DataFile) SplitOffsets() []int64 { return ints[int64](d.details().splits) }

// EqualityFieldIDs implements iceberg.DataFile.
func (d *DataFile) EqualityFieldIDs() []int { return ints[int](d.details().equality) }

// SortOrderID implements iceberg.DataFile.
func (d *DataFile) SortOrderID() *int {
	if order := d.details().sortOrder; order.there {
		id := int(order.x)
		return &id
	}
	return nil
}

// SpecID implements iceberg.DataFile.
func (d *DataFile) SpecID() int32 { return d.spec }

// FirstRowID implements iceberg.DataFile.
func (d *DataFile) FirstRowID() *int64 { return d.details().firstRow.pointer() }

// ReferencedDataFile implements iceberg.DataFile.
func (d *DataFile) ReferencedDataFile() *string {
	text := d.details().referenced
	if text == nil {
		return nil
	}
	name := string(text)
	return &name
}

// ContentOffset implements iceberg.DataFile.
func (d *DataFile) ContentOffset() *int64 { return d.details().offset.pointer() }

// ContentSizeInBytes implements iceberg.DataFile.
func (d *DataFile) ContentSizeInBytes() *int64 { return d.details().length.pointer() }

// items visits a list's items. The bytes were read through once, so that they are whole.
func items(list []byte, visit func(in *cursor)) {
	in := &cursor{data: list}
	for n := in.block(); n > 0; n = in.block() {
		for ; n > 0; n-- {
			visit(in)
		}
	}
}

func (d details) list(which role) []byte { return d.maps[which-columnSizesField] }

func counts(list []byte) map[int]int64 {
	if list == nil {
		return nil
	}
	out := map[int]int64{}
	items(list, func(in *cursor) {
		key := in.long()
		out[int(key)] = in.long()
	})
	return out
}

func bounds(list []byte) map[int][]byte {
	if list == nil {
		return nil
	}
	out := map[int][]byte{}
	items(list, func(in *cursor) {
		key := in.long()
		out[int(key)] = bytes.Clone(in.bytes())
	})
	return out
}

func ints[T int | int64](list []byte) []T {
	if list == nil {
		return nil
	}
	out := []T{}
	items(list, func(in *cursor) { out = append(out, T(in.long())) })
	return out
}

// Writable is the file as iceberg-go's writers of manifests want it.
func (d *DataFile) Writable(spec iceberg.PartitionSpec) (iceberg.DataFile, error) {
	all := d.details()
	b, err := iceberg.NewDataFileBuilder(spec, d.content, d.path, iceberg.FileFormat(all.format), d.plan.partitionOf(all.partition), nil, nil, d.records, d.size)
	if err != nil {
		return nil, err
	}
	set(counts(all.list(columnSizesField)), b.ColumnSizes)
	set(counts(all.list(valueCountsField)), b.ValueCounts)
	set(counts(all.list(nullCountsField)), b.NullValueCounts)
	set(counts(all.list(nanCountsField)), b.NaNValueCounts)
	set(bounds(all.list(lowerField)), b.LowerBoundValues)
	set(bounds(all.list(upperField)), b.UpperBoundValues)
	if all.key != nil {
		b.KeyMetadata(bytes.Clone(all.key))
	}
	if all.splits != nil {
		b.SplitOffsets(ints[int64](all.splits))
	}
	if all.equality != nil {
		b.EqualityFieldIDs(ints[int](all.equality))
	}
	if all.sortOrder.there {
		b.SortOrderID(int(all.sortOrder.x))
	}
	if all.firstRow.there {
		b.FirstRowID(all.firstRow.x)
	}
	if all.referenced != nil {
		b.ReferencedDataFile(string(all.referenced))
	}
	if all.offset.there {
		b.ContentOffset(all.offset.x)
	}
	if all.length.there {
		b.ContentSizeInBytes(all.length.x)
	}
	return b.Build(), nil
}

// set gives a builder what is there.
func set[T any](m map[int]T, to func(map[int]T) *iceberg.DataFileBuilder) {
	if m != nil {
		to(m)
	}
}

func (d *DataFile) partition() map[int]any { return d.plan.partitionOf(d.details().partition) }

// PartitionValue is the value of one partition field, nil where it is null. It does not
// change.
func (d *DataFile) PartitionValue(field int) any { return d.partition()[field] }
