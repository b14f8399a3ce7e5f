package manifest

import (
	"bytes"
	"maps"

	"github.com/apache/iceberg-go"
)

// DataFile is a file as its manifest has it. It does not change. What is asked for
// seldom is decoded when it is.
type DataFile struct {
	plan         *plan
	content      iceberg.ManifestEntryContent
	path, format string
	partition    map[int]any
	records      int64
	size         int64
	maps         [lists][]byte
	key          []byte
	splits       []byte
	equality     []byte
	sortOrder    *int
	firstRow     *int64
	referenced   *string
	offset       *int64
	length       *int64
	spec         int32
}

var _ iceberg.DataFile = (*DataFile)(nil)

// file reads a record of a data file.
func (p *plan) file(in *cursor, d *DataFile) {
	for i, role := range p.fileFields {
		n := p.fileNode.fields[i].node
		switch role {
		case contentField:
			x, _ := in.whole(n)
			if d.content = iceberg.ManifestEntryContent(x); int64(d.content) != x {
				in.fail()
			}
		case pathField:
			d.path = in.required(n)
		case formatField:
			d.format = in.required(n)
		case partitionField:
			d.partition = p.partitionOf(in)
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
			if x, there := in.whole(n); there {
				id := int(x)
				d.sortOrder = &id
			}
		case firstRowField:
			d.firstRow = in.pointer(n)
		case referencedField:
			if text, there := in.text(n); there {
				name := string(text)
				d.referenced = &name
			}
		case contentOffsetField:
			d.offset = in.pointer(n)
		case contentSizeField:
			d.length = in.pointer(n)
		default:
			in.skip(n)
		}
	}
}

// required is a text that may not be null.
func (c *cursor) required(n *node) string {
	text, there := c.text(n)
	if !there {
		c.fail()
	}
	return string(text)
}

func (c *cursor) number(n *node) int64 {
	x, there := c.whole(n)
	if !there {
		c.fail()
	}
	return x
}

func (c *cursor) pointer(n *node) *int64 {
	if x, there := c.whole(n); there {
		return &x
	}
	return nil
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
func (d *DataFile) FileFormat() iceberg.FileFormat { return iceberg.FileFormat(d.format) }

// Partition implements iceberg.DataFile.
func (d *DataFile) Partition() map[int]any {
	out := maps.Clone(d.partition)
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
func (d *DataFile) ColumnSizes() map[int]int64 { return d.counts(columnSizesField) }

// ValueCounts implements iceberg.DataFile.
func (d *DataFile) ValueCounts() map[int]int64 { return d.counts(valueCountsField) }

// NullValueCounts implements iceberg.DataFile.
func (d *DataFile) NullValueCounts() map[int]int64 { return d.counts(nullCountsField) }

// NaNValueCounts implements iceberg.DataFile.
func (d *DataFile) NaNValueCounts() map[int]int64 { return d.counts(nanCountsField) }

// DistinctValueCounts implements iceberg.DataFile.
func (d *DataFile) DistinctValueCounts() map[int]int64 { return d.counts(distinctField) }

// LowerBoundValues implements iceberg.DataFile.
func (d *DataFile) LowerBoundValues() map[int][]byte { return d.bounds(lowerField) }

// UpperBoundValues implements iceberg.DataFile.
func (d *DataFile) UpperBoundValues() map[int][]byte { return d.bounds(upperField) }

// KeyMetadata implements iceberg.DataFile.
func (d *DataFile) KeyMetadata() []byte { return bytes.Clone(d.key) }

// SplitOffsets implements iceberg.DataFile.
func (d *DataFile) SplitOffsets() []int64 { return ints[int64](d.splits) }

// EqualityFieldIDs implements iceberg.DataFile.
func (d *DataFile) EqualityFieldIDs() []int { return ints[int](d.equality) }

// SortOrderID implements iceberg.DataFile.
func (d *DataFile) SortOrderID() *int { return copied(d.sortOrder) }

// SpecID implements iceberg.DataFile.
func (d *DataFile) SpecID() int32 { return d.spec }

// FirstRowID implements iceberg.DataFile.
func (d *DataFile) FirstRowID() *int64 { return copied(d.firstRow) }

// ReferencedDataFile implements iceberg.DataFile.
func (d *DataFile) ReferencedDataFile() *string { return copied(d.referenced) }

// ContentOffset implements iceberg.DataFile.
func (d *DataFile) ContentOffset() *int64 { return copied(d.offset) }

// ContentSizeInBytes implements iceberg.DataFile.
func (d *DataFile) ContentSizeInBytes() *int64 { return copied(d.length) }

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	x := *p
	return &x
}

// items visits a list's items. The bytes were read through once, so that they are whole.
func items(list []byte, visit func(in *cursor)) {
	in := &cursor{data: list}
	for n := in.block(); n > 0; n = in.block() {
		for ; n > 0; n-- {
			visit(in)
		}
	}
}

func (d *DataFile) counts(which role) map[int]int64 {
	list := d.maps[which-columnSizesField]
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

func (d *DataFile) bounds(which role) map[int][]byte {
	list := d.maps[which-columnSizesField]
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
	b, err := iceberg.NewDataFileBuilder(spec, d.content, d.path, d.FileFormat(), d.partition, nil, nil, d.records, d.size)
	if err != nil {
		return nil, err
	}
	set(d.ColumnSizes(), b.ColumnSizes)
	set(d.ValueCounts(), b.ValueCounts)
	set(d.NullValueCounts(), b.NullValueCounts)
	set(d.NaNValueCounts(), b.NaNValueCounts)
	set(d.LowerBoundValues(), b.LowerBoundValues)
	set(d.UpperBoundValues(), b.UpperBoundValues)
	if d.key != nil {
		b.KeyMetadata(d.KeyMetadata())
	}
	if d.splits != nil {
		b.SplitOffsets(d.SplitOffsets())
	}
	if d.equality != nil {
		b.EqualityFieldIDs(d.EqualityFieldIDs())
	}
	if d.sortOrder != nil {
		b.SortOrderID(*d.sortOrder)
	}
	if d.firstRow != nil {
		b.FirstRowID(*d.firstRow)
	}
	if d.referenced != nil {
		b.ReferencedDataFile(*d.referenced)
	}
	if d.offset != nil {
		b.ContentOffset(*d.offset)
	}
	if d.length != nil {
		b.ContentSizeInBytes(*d.length)
	}
	return b.Build(), nil
}

// set gives a builder what is there.
func set[T any](m map[int]T, to func(map[int]T) *iceberg.DataFileBuilder) {
	if m != nil {
		to(m)
	}
}

// PartitionValue is the value of one partition field, nil where it is null. It does not
// change.
func (d *DataFile) PartitionValue(field int) any { return d.partition[field] }
