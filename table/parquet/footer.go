package parquet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// The structs of parquet-go's format package lack "is the bound exact", so
// those that hold statistics are here again.

type statistics struct {
	NullCount  int64             `thrift:"3,optional,writezero"`
	Max        []byte            `thrift:"5,optional"`
	Min        []byte            `thrift:"6,optional"`
	IsMaxExact thrift.Null[bool] `thrift:"7,optional"`
	IsMinExact thrift.Null[bool] `thrift:"8,optional"`
}

type dataPageHeader struct {
	NumValues               int32           `thrift:"1,required"`
	Encoding                format.Encoding `thrift:"2,required"`
	DefinitionLevelEncoding format.Encoding `thrift:"3,required"`
	RepetitionLevelEncoding format.Encoding `thrift:"4,required"`
	Statistics              statistics      `thrift:"5,optional,writezero"`
}

type pageHeader struct {
	Type                 format.PageType                          `thrift:"1,required"`
	UncompressedPageSize int32                                    `thrift:"2,required"`
	CompressedPageSize   int32                                    `thrift:"3,required"`
	CRC                  int32                                    `thrift:"4,optional,writezero"`
	DataPageHeader       thrift.Null[dataPageHeader]              `thrift:"5,optional"`
	DictionaryPageHeader thrift.Null[format.DictionaryPageHeader] `thrift:"7,optional"`
}

type columnMetaData struct {
	Type                  format.Type                            `thrift:"1,required"`
	Encodings             thrift.Slice[format.Encoding]          `thrift:"2,required"`
	PathInSchema          thrift.Slice[string]                   `thrift:"3,required"`
	Codec                 format.CompressionCodec                `thrift:"4,required"`
	NumValues             int64                                  `thrift:"5,required"`
	TotalUncompressedSize int64                                  `thrift:"6,required"`
	TotalCompressedSize   int64                                  `thrift:"7,required"`
	DataPageOffset        int64                                  `thrift:"9,required"`
	DictionaryPageOffset  int64                                  `thrift:"11,optional"`
	Statistics            statistics                             `thrift:"12,optional,writezero"`
	EncodingStats         thrift.Slice[format.PageEncodingStats] `thrift:"13,optional"`
}

type columnChunk struct {
	FileOffset        int64          `thrift:"2,required"`
	MetaData          columnMetaData `thrift:"3,optional"`
	OffsetIndexOffset int64          `thrift:"4,optional"`
	OffsetIndexLength int32          `thrift:"5,optional"`
	ColumnIndexOffset int64          `thrift:"6,optional"`
	ColumnIndexLength int32          `thrift:"7,optional"`

	index  *format.ColumnIndex // nil: a page of NaN only has no bounds to put there
	places format.OffsetIndex
}

type rowGroup struct {
	Columns             thrift.Slice[columnChunk] `thrift:"1,required"`
	TotalByteSize       int64                     `thrift:"2,required"`
	NumRows             int64                     `thrift:"3,required"`
	FileOffset          int64                     `thrift:"5,optional"`
	TotalCompressedSize int64                     `thrift:"6,optional"`
	Ordinal             int16                     `thrift:"7,optional,writezero"`
}

type fileMetaData struct {
	Version      int32                            `thrift:"1,required"`
	Schema       thrift.Slice[schemaElement]      `thrift:"2,required"`
	NumRows      int64                            `thrift:"3,required"`
	RowGroups    thrift.Slice[rowGroup]           `thrift:"4,required"`
	CreatedBy    string                           `thrift:"6,optional"`
	ColumnOrders thrift.Slice[format.ColumnOrder] `thrift:"7,optional"`
}

func encodeThrift[T any](dst *bytes.Buffer, v *T) error {
	var p thrift.CompactProtocol
	return thrift.NewEncoder(p.NewWriter(dst)).Encode(v)
}

func makeStatistics(nulls int64, b bounds) statistics {
	s := statistics{NullCount: nulls}
	if b.set {
		s.Min, s.Max = b.min, b.max
		s.IsMinExact, s.IsMaxExact = thrift.New(b.minExact), thrift.New(b.maxExact)
	}
	return s
}

// indexPages is the column index over a chunk's pages; nil where a page has
// values and no bounds.
func (n *node) indexPages(pages []page) *format.ColumnIndex {
	out := &format.ColumnIndex{}
	var low, high [][]byte
	for _, p := range pages {
		empty := p.nulls == p.slots
		if !empty && !p.bounds.set {
			return nil
		}
		out.NullPages = append(out.NullPages, empty)
		out.NullCounts = append(out.NullCounts, int64(p.nulls))
		if empty {
			out.MinValues, out.MaxValues = append(out.MinValues, []byte{}), append(out.MaxValues, []byte{})
			continue
		}
		out.MinValues, out.MaxValues = append(out.MinValues, p.bounds.min), append(out.MaxValues, p.bounds.max)
		low, high = append(low, p.bounds.min), append(high, p.bounds.max)
	}
	falling := func(a, b []byte) int { return n.compare(b, a) }
	switch {
	case slices.IsSortedFunc(low, n.compare) && slices.IsSortedFunc(high, n.compare):
		out.BoundaryOrder = format.Ascending
	case slices.IsSortedFunc(low, falling) && slices.IsSortedFunc(high, falling):
		out.BoundaryOrder = format.Descending
	default:
		out.BoundaryOrder = format.Unordered
	}
	return out
}

// footer writes the page indexes and the footer, for a file that is offset bytes
// long so far, to dst.
func (f *Format) footer(dst *bytes.Buffer, offset int64, rows int64, groups []rowGroup) error {
	at := func() int64 { return offset + int64(dst.Len()) }
	for g := range groups {
		for c := range groups[g].Columns {
			chunk := &groups[g].Columns[c]
			if chunk.index == nil {
				continue
			}
			chunk.ColumnIndexOffset = at()
			if err := encodeThrift(dst, chunk.index); err != nil {
				return fmt.Errorf("encode a column index: %w", err)
			}
			chunk.ColumnIndexLength = int32(at() - chunk.ColumnIndexOffset)
		}
	}
	for g := range groups {
		for c := range groups[g].Columns {
			chunk := &groups[g].Columns[c]
			chunk.OffsetIndexOffset = at()
			if err := encodeThrift(dst, &chunk.places); err != nil {
				return fmt.Errorf("encode an offset index: %w", err)
			}
			chunk.OffsetIndexLength = int32(at() - chunk.OffsetIndexOffset)
		}
	}
	meta := fileMetaData{Version: 2, Schema: f.elements, NumRows: rows, RowGroups: groups, CreatedBy: CreatedBy}
	if meta.RowGroups == nil {
		meta.RowGroups = []rowGroup{}
	}
	for range f.leaves {
		meta.ColumnOrders = append(meta.ColumnOrders, format.ColumnOrder{Value: &format.TypeDefinedOrder{}})
	}
	start := dst.Len()
	if err := encodeThrift(dst, &meta); err != nil {
		return fmt.Errorf("encode the footer: %w", err)
	}
	length := binary.LittleEndian.AppendUint32(nil, uint32(dst.Len()-start))
	dst.Write(length)
	dst.WriteString(magic)
	return nil
}

const magic = "PAR1"
