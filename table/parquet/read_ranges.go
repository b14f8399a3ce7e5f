package parquet

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/parquet-go/parquet-go/format"
)

// Range is what a column's value has to lie in for a row to be wanted: between
// Low and High, both included; null and NaN never.
type Range struct {
	ID        int            // of a column that is in no list
	Type      arrow.DataType // that it has in the table
	Low, High Limit
}

// Limit is an end of a Range, or of what is known of some values. Which field has it
// follows from the type.
type Limit struct {
	Set     bool           // false: there is no end
	Int     int64          // of an integer, a date (days since 1970), a timestamp (microseconds)
	Float   float64        // of a float
	Decimal decimal128.Num // of a decimal, in units of its last digit
	Text    []byte         // of a text or bytes
}

// Outside tells whether values between low and high all lie outside of r. false,
// too, where it is not known.
func (r Range) Outside(low, high Limit) bool {
	return high.Set && r.Low.Set && r.compare(high, r.Low) < 0 || low.Set && r.High.Set && r.compare(low, r.High) > 0
}

// compare orders values of the range's type. Zeros are equal whatever their sign, so that it
// does not matter which of them a writer has in its statistics.
func (r Range) compare(a, b Limit) int {
	switch r.Type.ID() {
	case arrow.FLOAT32, arrow.FLOAT64:
		return cmp.Compare(a.Float, b.Float)
	case arrow.DECIMAL128:
		return a.Decimal.Cmp(b.Decimal)
	case arrow.STRING, arrow.BINARY:
		return bytes.Compare(a.Text, b.Text)
	default:
		return cmp.Compare(a.Int, b.Int)
	}
}

// ranked finds the leaf of a range. none: the file has no such column, so that
// it is null in all rows. known: its statistics can be compared.
func (f *File) ranked(r Range) (c *Column, none, known bool) {
	for _, l := range f.leaves {
		if l.ID != r.ID {
			continue
		}
		conv, ok := l.findConversion(r.Type)
		if !ok || !conv.ordered || l.MaxRep > 0 {
			return l, false, false
		}
		if l.Physical == format.ByteArray || l.Physical == format.FixedLenByteArray {
			ok = len(f.meta.ColumnOrders) == len(f.leaves) // else nobody says how they compare
		}
		return l, false, ok
	}
	return nil, !hasColumn(f.root, r.ID), false
}

func hasColumn(c *Column, id int) bool {
	return c.ID == id || slices.ContainsFunc(c.Children, func(child *Column) bool { return hasColumn(child, id) })
}

// limit is a bound as Parquet's statistics have it. A NaN is none: it says nothing of
// the values beside it.
func (c *Column) limit(b []byte) Limit {
	if c.Physical == format.ByteArray {
		return Limit{Set: len(b) > 0, Text: b}
	}
	if len(b) != c.Width {
		return Limit{}
	}
	if _, is := c.logical.Value.(*format.DecimalType); is {
		var wide [16]byte
		if decimals(wide[:], b, c.Width, c.Physical == format.FixedLenByteArray) != nil {
			return Limit{}
		}
		low, high := binary.LittleEndian.Uint64(wide[:]), binary.LittleEndian.Uint64(wide[8:])
		return Limit{Set: true, Decimal: decimal128.New(int64(high), low)}
	}
	float := func(x float64) Limit { return Limit{Set: !math.IsNaN(x), Float: x} }
	switch c.Physical {
	case format.Int32:
		return Limit{Set: true, Int: int64(int32(binary.LittleEndian.Uint32(b)))}
	case format.Int64:
		return Limit{Set: true, Int: int64(binary.LittleEndian.Uint64(b))}
	case format.Float:
		return float(float64(math.Float32frombits(binary.LittleEndian.Uint32(b))))
	case format.Double:
		return float(math.Float64frombits(binary.LittleEndian.Uint64(b)))
	}
	return Limit{}
}
