package table

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/iceberg-go"

	"lake/schemas"
	"lake/table/parquet"
)

// Range is what a column's value has to lie in: between Low and High, both
// included, NULL and NaN never.
type Range struct {
	Path      []string // a column, or the path from it to a struct's member
	Low, High Limit
}

// Limit is an end of a Range, as the column's type has it. Decimals are in units of the
// column's last digit.
type Limit = parquet.Limit

// rangesOf finds the columns of ranges. Those that are not there, or of which no
// statistics tell, are left out; nil: all rows are wanted.
func rangesOf(schema schemas.Schema, where [][]Range) (out [][]parquet.Range) {
	for _, all := range where {
		var known []parquet.Range
		for _, r := range all {
			f, ok := fieldAt(schema, r.Path)
			if !ok {
				continue
			}
			switch f.Type.Kind {
			case schemas.Int32, schemas.Int64, schemas.Float32, schemas.Float64, schemas.Decimal, schemas.Date, schemas.Timestamp, schemas.Datetime, schemas.String, schemas.Bytes:
				known = append(known, parquet.Range{ID: f.ID, Type: f.Type.Arrow(), Low: r.Low, High: r.High})
			}
		}
		if known == nil {
			return nil
		}
		out = append(out, known)
	}
	return out
}

// fieldAt is the column, or member of structs, that a path leads to.
func fieldAt(schema schemas.Schema, path []string) (f schemas.Field, ok bool) {
	for _, name := range path {
		i := schema.Index(name)
		if i < 0 {
			return f, false
		}
		f = schema.Fields[i]
		schema = schemas.Schema{Fields: f.Type.Fields}
	}
	return f, len(path) > 0
}

// wanted are the files that may have rows that are wanted, by the bounds in their manifests:
// the others are not opened.
func (p *projection) wanted(files []File) []File {
	if p.where == nil {
		return files
	}
	out := make([]File, 0, len(files))
	for _, f := range files {
		if b := newFileBounds(f.DataFile()); slices.ContainsFunc(p.where, b.someIn) {
			out = append(out, f)
		}
	}
	return out
}

// fileBounds is what a manifest says of a file's columns, by field id.
type fileBounds struct {
	rows      int64
	nulls     map[int]int64
	low, high map[int][]byte
}

func newFileBounds(f iceberg.DataFile) fileBounds {
	return fileBounds{rows: f.Count(), nulls: f.NullValueCounts(), low: f.LowerBoundValues(), high: f.UpperBoundValues()}
}

// someIn tells whether the file may have rows that are in all ranges.
func (b fileBounds) someIn(where []parquet.Range) bool {
	for _, r := range where {
		if nulls, known := b.nulls[r.ID]; known && nulls == b.rows || r.Outside(limitOf(r, b.low[r.ID]), limitOf(r, b.high[r.ID])) {
			return false
		}
	}
	return true
}

// limitOf reads a bound in Iceberg's binary form of a single value. A file that is older than
// a column's promotion to more bits has it in fewer. NaN is no bound.
func limitOf(r parquet.Range, b []byte) Limit {
	none := Limit{}
	switch r.Type.ID() {
	case arrow.STRING, arrow.BINARY:
		return Limit{Set: len(b) > 0, Text: b}
	case arrow.DECIMAL128:
		if len(b) == 0 || len(b) > 16 {
			return none
		}
		wide := [16]byte{}
		if b[0] >= 0x80 {
			for i := range wide {
				wide[i] = 0xff
			}
		}
		copy(wide[16-len(b):], b)
		return Limit{Set: true, Decimal: decimal128.New(int64(binary.BigEndian.Uint64(wide[:])), binary.BigEndian.Uint64(wide[8:]))}
	case arrow.FLOAT32, arrow.FLOAT64:
		x := math.NaN()
		switch len(b) {
		case 4:
			x = float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
		case 8:
			x = math.Float64frombits(binary.LittleEndian.Uint64(b))
		}
		return Limit{Set: !math.IsNaN(x), Float: x}
	case arrow.INT32, arrow.INT64, arrow.DATE32, arrow.TIMESTAMP:
		switch {
		case len(b) == 4 && r.Type.ID() != arrow.TIMESTAMP:
			return Limit{Set: true, Int: int64(int32(binary.LittleEndian.Uint32(b)))}
		case len(b) == 8:
			return Limit{Set: true, Int: int64(binary.LittleEndian.Uint64(b))}
		}
	}
	return none
}
