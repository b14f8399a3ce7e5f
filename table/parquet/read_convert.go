package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/parquet-go/parquet-go/format"
)

// layout is how an Arrow array has its values.
type layout uint8

const (
	fixedLayout layout = iota
	bitLayout
	textLayout
)

// conversion makes Arrow values of a file's: those of fixed width one by one.
type conversion struct {
	layout layout
	width  int // of Arrow's, fixed
	// convert writes the values of src to dst, which has room for them; nil: they
	// are the same.
	convert func(dst, src []byte) error
	ordered bool // values are in the order that Parquet's statistics have: they tell about them
}

var errRange = errors.New("a value is beyond what its type in the table holds")

// conversionTo finds how a leaf becomes an Arrow type; ErrForm: not here.
func (c *Column) conversionTo(t arrow.DataType) (conversion, error) {
	v, ok := c.findConversion(t)
	if !ok {
		kind := c.Physical.String()
		if c.logical.Value != nil {
			kind = c.logical.Value.String()
		}
		return v, fmt.Errorf("%w: column %s, %s as %s", ErrForm, dotted(c.Path), kind, t)
	}
	return v, nil
}

func (c *Column) findConversion(t arrow.DataType) (conversion, bool) {
	fixed := func(width int) conversion { return conversion{layout: fixedLayout, width: width, ordered: true} }
	made := func(width int, convert func(dst, src []byte) error) conversion {
		return conversion{layout: fixedLayout, width: width, convert: convert, ordered: true}
	}
	none := conversion{}
	number, small := c.integer()
	integer := func(v conversion) conversion { v.ordered = c.signed(); return v }
	switch t := t.(type) {
	case *arrow.BooleanType:
		return conversion{layout: bitLayout}, c.Physical == format.Boolean
	case *arrow.Int32Type:
		return integer(fixed(4)), number && small && c.Physical == format.Int32
	case *arrow.Int64Type:
		if number && small && c.Physical == format.Int32 {
			return integer(made(8, widenInts)), true
		}
		return integer(fixed(8)), number && c.Physical == format.Int64
	case *arrow.Float32Type:
		return fixed(4), c.Physical == format.Float
	case *arrow.Float64Type:
		if c.Physical == format.Float {
			return made(8, widenFloats), true
		}
		return fixed(8), c.Physical == format.Double
	case *arrow.Date32Type:
		_, is := c.logical.Value.(*format.DateType)
		return fixed(4), is && c.Physical == format.Int32
	case *arrow.Time64Type:
		is, _ := c.logical.Value.(*format.TimeType)
		return fixed(8), is != nil && c.Physical == format.Int64 && isMicros(is.Unit) && t.Unit == arrow.Microsecond
	case *arrow.TimestampType:
		return c.timestampTo(t)
	case *arrow.Decimal128Type:
		is, _ := c.logical.Value.(*format.DecimalType)
		if is == nil || is.Scale != t.Scale || is.Precision > t.Precision {
			return none, false
		}
		switch c.Physical {
		case format.Int32:
			return made(16, func(dst, src []byte) error { return decimals(dst, src, 4, littleEndian) }), true
		case format.Int64:
			return made(16, func(dst, src []byte) error { return decimals(dst, src, 8, littleEndian) }), true
		case format.FixedLenByteArray:
			w := c.Width
			return made(16, func(dst, src []byte) error { return decimals(dst, src, w, bigEndian) }), w <= 16
		}
		return none, false
	case *arrow.StringType, *arrow.BinaryType:
		switch c.logical.Value.(type) {
		case nil, *format.StringType, *format.JsonType, *format.EnumType:
			return conversion{layout: textLayout, ordered: true}, c.Physical == format.ByteArray
		}
		return none, false
	case *arrow.FixedSizeBinaryType:
		switch c.logical.Value.(type) {
		case nil, *format.UUIDType:
			return conversion{layout: fixedLayout, width: t.ByteWidth}, c.Physical == format.FixedLenByteArray && c.Width == t.ByteWidth
		}
		return none, false
	}
	return none, false
}

// integer tells whether the leaf has plain integers, and whether they fit into
// 32 bits with a sign.
func (c *Column) integer() (is, small bool) {
	switch l := c.logical.Value.(type) {
	case nil:
		return true, c.Physical == format.Int32
	case *format.IntType:
		return l.IsSigned || l.BitWidth < 32, c.Physical == format.Int32 && (l.IsSigned || l.BitWidth < 32)
	}
	return false, false
}

// signed tells whether statistics of the leaf's integers compare them as such with a sign.
func (c *Column) signed() bool {
	l, is := c.logical.Value.(*format.IntType)
	return !is || l.IsSigned
}

func isMicros(u format.TimeUnit) bool { _, is := u.Value.(*format.MicroSeconds); return is }

func (c *Column) timestampTo(t *arrow.TimestampType) (conversion, bool) {
	v := conversion{layout: fixedLayout, width: 8}
	if t.Unit != arrow.Microsecond {
		return v, false
	}
	if c.Physical == format.Int96 {
		v.convert = int96s
		return v, true
	}
	is, _ := c.logical.Value.(*format.TimestampType)
	if is == nil || c.Physical != format.Int64 || is.IsAdjustedToUTC != (t.TimeZone != "") {
		return v, false
	}
	switch is.Unit.Value.(type) {
	case *format.MicroSeconds:
		v.ordered = true
		return v, true
	case *format.MilliSeconds:
		v.convert = millis
		return v, true
	}
	return v, false // nanoseconds lose what is below a microsecond
}

func widenInts(dst, src []byte) error {
	for i := 0; i < len(src)/4; i++ {
		binary.LittleEndian.PutUint64(dst[8*i:], uint64(int32(binary.LittleEndian.Uint32(src[4*i:]))))
	}
	return nil
}

func widenFloats(dst, src []byte) error {
	for i := 0; i < len(src)/4; i++ {
		x := math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		binary.LittleEndian.PutUint64(dst[8*i:], math.Float64bits(float64(x)))
	}
	return nil
}

func millis(dst, src []byte) error {
	for i := 0; i < len(src)/8; i++ {
		x := int64(binary.LittleEndian.Uint64(src[8*i:]))
		if x > math.MaxInt64/1000 || x < math.MinInt64/1000 {
			return errRange
		}
		binary.LittleEndian.PutUint64(dst[8*i:], uint64(x*1000))
	}
	return nil
}

const (
	julian1970   = 2_440_588 // the day that INT96 calls 1970-01-01
	microsOfADay = 86_400_000_000
)

// int96s reads what Spark and Hive wrote for years: nanoseconds of the day, and
// the day since 4713 BC.
func int96s(dst, src []byte) error {
	for i := 0; i < len(src)/12; i++ {
		nanos := int64(binary.LittleEndian.Uint64(src[12*i:]))
		day := int64(int32(binary.LittleEndian.Uint32(src[12*i+8:]))) - julian1970
		if day > math.MaxInt64/microsOfADay-1 || day < math.MinInt64/microsOfADay+1 || nanos < 0 || nanos > 2*microsOfADay*1000 {
			return errRange
		}
		binary.LittleEndian.PutUint64(dst[8*i:], uint64(day*microsOfADay+nanos/1000))
	}
	return nil
}

const (
	littleEndian = false
	bigEndian    = true
)

// decimals makes numbers of 16 bytes of shorter ones with a sign.
func decimals(dst, src []byte, width int, big bool) error {
	for i := 0; i < len(src)/width; i++ {
		v := src[i*width : (i+1)*width]
		var high, low uint64
		if big {
			high = uint64(int64(int8(v[0])) >> 7)
			low = high
			for _, b := range v {
				high = high<<8 | low>>56
				low = low<<8 | uint64(b)
			}
		} else {
			if width == 4 {
				low = uint64(int32(binary.LittleEndian.Uint32(v)))
			} else {
				low = binary.LittleEndian.Uint64(v)
			}
			high = uint64(int64(low) >> 63)
		}
		binary.LittleEndian.PutUint64(dst[16*i:], low)
		binary.LittleEndian.PutUint64(dst[16*i+8:], high)
	}
	return nil
}
