package parquet

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lake/schemas"
)

// generator makes random schemas and arrays, the arrays straight from buffers so
// that they have what builders never make: values under a null.
type generator struct {
	*rand.Rand
	lastID int
	common bool // only what every engine keeps: one NaN, and dates and times near ours
}

func (g *generator) field(name string, depth int) schemas.Field {
	g.lastID++
	f := schemas.Field{Name: name, Required: g.IntN(4) == 0, ID: g.lastID}
	f.Type.Kind = schemas.Kind(1 + g.IntN(int(schemas.JSON)))
	if depth > 0 && g.IntN(3) == 0 {
		f.Type.Kind = schemas.List + schemas.Kind(g.IntN(3))
	}
	switch f.Type.Kind {
	case schemas.Decimal:
		f.Type.Precision = []int{1, 9, 10, 18, 19, 38}[g.IntN(6)]
		f.Type.Scale = g.IntN(f.Type.Precision + 1)
	case schemas.List:
		e := g.field("element", depth-1)
		f.Type.Elem = &e
	case schemas.Struct:
		for i := range 1 + g.IntN(3) {
			f.Type.Fields = append(f.Type.Fields, g.field(fmt.Sprintf("m%d", i), depth-1))
		}
	case schemas.Map:
		k, e := g.field("key", 0), g.field("value", depth-1)
		k.Required = true
		f.Type.Key, f.Type.Elem = &k, &e
	}
	return f
}

// validity is a bitmap over n values; nil where none is null.
func (g *generator) validity(n int, required bool) (*memory.Buffer, int) {
	odds := []int{0, 0, 2, 10, 1, 50}[g.IntN(6)]
	if required || odds == 0 {
		return nil, 0
	}
	bits := make([]byte, (n+7)/8)
	nulls := 0
	for i := range n {
		if odds > 1 && g.IntN(odds) != 0 {
			bits[i/8] |= 1 << (i % 8)
		} else {
			nulls++
		}
	}
	return memory.NewBufferBytes(bits), nulls
}

func (g *generator) array(f schemas.Field, n int) arrow.Array {
	dt := f.Type.Arrow()
	valid, nulls := g.validity(n, f.Required)
	var buffers []*memory.Buffer
	var children []arrow.ArrayData
	wrap := func() arrow.Array {
		d := array.NewData(dt, n, append([]*memory.Buffer{valid}, buffers...), children, nulls, 0)
		defer d.Release()
		for _, c := range children {
			c.Release()
		}
		return array.MakeFromData(d)
	}
	spread := []int{1, 3, 100, 1 << 20}[g.IntN(4)]
	lengths := func(top int) []int32 {
		offsets := make([]int32, n+1)
		for i := range n {
			offsets[i+1] = offsets[i]
			if top > 0 {
				offsets[i+1] += int32(g.IntN(top + 1))
			}
		}
		return offsets
	}
	switch f.Type.Kind {
	case schemas.Struct:
		for _, m := range f.Type.Fields {
			c := g.array(m, n)
			c.Data().Retain()
			children = append(children, c.Data())
			c.Release()
		}
	case schemas.List, schemas.Map:
		offsets := lengths(g.IntN(5))
		buffers = []*memory.Buffer{memory.NewBufferBytes(arrow.GetBytes(offsets))}
		elem := *f.Type.Elem
		if f.Type.Kind == schemas.Map {
			elem = schemas.Field{Name: "entries", Required: true, Type: schemas.Type{Kind: schemas.Struct, Fields: []schemas.Field{*f.Type.Key, *f.Type.Elem}}}
		}
		c := g.array(elem, int(offsets[n]))
		c.Data().Retain()
		children = append(children, c.Data())
		c.Release()
	case schemas.String, schemas.JSON, schemas.Bytes:
		offsets := lengths(0)
		var data []byte
		long := g.IntN(3) == 0
		for i := range n {
			switch x := g.IntN(spread); {
			case x%17 == 16:
			case long && x%5 == 4:
				data = append(data, strings.Repeat("日本é", 1+x%40)...)
			case f.Type.Kind == schemas.Bytes && x%7 == 3:
				data = append(data, bytes.Repeat([]byte{0xff}, x%90)...)
			default:
				data = fmt.Appendf(data, "v%d", x)
			}
			offsets[i+1] = int32(len(data))
		}
		buffers = []*memory.Buffer{memory.NewBufferBytes(arrow.GetBytes(offsets)), memory.NewBufferBytes(data)}
	case schemas.Bool:
		bits := make([]byte, (n+7)/8)
		for i := range bits {
			bits[i] = byte(g.IntN(256))
		}
		buffers = []*memory.Buffer{memory.NewBufferBytes(bits)}
	case schemas.Int32, schemas.Date:
		x := make([]int32, n)
		for i := range x {
			x[i] = int32(g.number(spread, i))
			if g.common && f.Type.Kind == schemas.Date {
				x[i] %= 40_000
			}
		}
		buffers = []*memory.Buffer{memory.NewBufferBytes(arrow.GetBytes(x))}
	case schemas.Int64, schemas.Time, schemas.Timestamp, schemas.Datetime:
		x := make([]int64, n)
		for i := range x {
			x[i] = g.number(spread, i)
			if f.Type.Kind == schemas.Time {
				x[i] = int64(uint64(x[i]) % 86_400_000_000)
			}
			if g.common && (f.Type.Kind == schemas.Timestamp || f.Type.Kind == schemas.Datetime) {
				x[i] %= 4_000_000_000_000_000
			}
		}
		buffers = []*memory.Buffer{memory.NewBufferBytes(arrow.GetBytes(x))}
	case schemas.Float32:
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(g.float(spread))
		}
		buffers = []*memory.Buffer{memory.NewBufferBytes(arrow.GetBytes(x))}
	case schemas.Float64:
		x := make([]float64, n)
		for i := range x {
			x[i] = g.float(spread)
		}
		buffers = []*memory.Buffer{memory.NewBufferBytes(arrow.GetBytes(x))}
	case schemas.Decimal:
		top := decimal128.GetMaxValue(int32(f.Type.Precision))
		x := make([]decimal128.Num, n)
		for i := range x {
			switch g.IntN(5) {
			case 0:
				x[i] = top
			case 1:
				x[i] = top.Negate()
			case 2:
				x[i] = decimal128.FromI64(int64(g.IntN(10)))
			default:
				_, x[i] = decimal128.New(g.Int64()>>g.IntN(63), g.Uint64()).Div(top)
			}
		}
		buffers = []*memory.Buffer{memory.NewBufferBytes(arrow.GetBytes(x))}
	case schemas.UUID:
		x := make([]byte, 16*n)
		for i := range x {
			x[i] = byte(g.IntN(256))
		}
		buffers = []*memory.Buffer{memory.NewBufferBytes(x)}
	}
	return wrap()
}

func (g *generator) number(spread, i int) int64 {
	switch x := g.IntN(spread); {
	case spread == 100 && x == 7:
		return math.MinInt64 + math.MaxInt32
	case spread == 100 && x == 8:
		return math.MaxInt64
	case spread > 100:
		return int64(i)*3 + int64(x%3) // sorted: delta's case
	default:
		return int64(x)
	}
}

func (g *generator) float(spread int) float64 {
	switch g.IntN(8) {
	case 0:
		if g.common {
			return math.Float64frombits(0x7ff8 << 48)
		}
		return math.NaN()
	case 1:
		return math.Copysign(0, -1)
	case 2:
		return 0
	case 3:
		return math.Inf(1 - 2*g.IntN(2))
	}
	return float64(float32(g.NormFloat64() * float64(spread)))
}

// differs compares two elements value by value, and says where they differ: the
// oracle of these tests.
func differs(a arrow.Array, i int, b arrow.Array, j int) string {
	if a.IsNull(i) || b.IsNull(j) {
		return unless(a.IsNull(i) == b.IsNull(j), "null", a, i, b, j)
	}
	switch a := a.(type) {
	case *array.Struct:
		for k := range a.NumField() {
			if d := differs(a.Field(k), i, b.(*array.Struct).Field(k), j); d != "" {
				return fmt.Sprintf(".%d%s", k, d)
			}
		}
		return ""
	case *array.Map:
		return differElements(a.List, i, b.(*array.Map).List, j)
	case *array.List:
		return differElements(a, i, b.(*array.List), j)
	case *array.Int32:
		return unless(a.Value(i) == b.(*array.Int32).Value(j), "value", a, i, b, j)
	case *array.Int64:
		return unless(a.Value(i) == b.(*array.Int64).Value(j), "value", a, i, b, j)
	case *array.Date32:
		return unless(a.Value(i) == b.(*array.Date32).Value(j), "value", a, i, b, j)
	case *array.Time64:
		return unless(a.Value(i) == b.(*array.Time64).Value(j), "value", a, i, b, j)
	case *array.Timestamp:
		return unless(a.Value(i) == b.(*array.Timestamp).Value(j) && arrow.TypeEqual(a.DataType(), b.DataType()), "value", a, i, b, j)
	case *array.Decimal128:
		return unless(a.Value(i) == b.(*array.Decimal128).Value(j) && arrow.TypeEqual(a.DataType(), b.DataType()), "value", a, i, b, j)
	case *array.Boolean:
		return unless(a.Value(i) == b.(*array.Boolean).Value(j), "value", a, i, b, j)
	case *array.Float32:
		return unless(math.Float32bits(a.Value(i)) == math.Float32bits(b.(*array.Float32).Value(j)), "bits", a, i, b, j)
	case *array.Float64:
		return unless(math.Float64bits(a.Value(i)) == math.Float64bits(b.(*array.Float64).Value(j)), "bits", a, i, b, j)
	case *array.String:
		return unless(a.Value(i) == b.(*array.String).Value(j), "text", a, i, b, j)
	case *array.Binary:
		return unless(bytes.Equal(a.Value(i), b.(*array.Binary).Value(j)), "bytes", a, i, b, j)
	case *array.FixedSizeBinary:
		if e, ok := b.(array.ExtensionArray); ok {
			b = e.Storage()
		}
		return unless(bytes.Equal(a.Value(i), b.(*array.FixedSizeBinary).Value(j)), "bytes", a, i, b, j)
	}
	return "a type that this test does not know: " + a.DataType().String()
}

func unless(same bool, what string, a arrow.Array, i int, b arrow.Array, j int) string {
	if same {
		return ""
	}
	return fmt.Sprintf(" %s: written %s, read %s", what, a.ValueStr(i), b.ValueStr(j))
}

func differElements(a *array.List, i int, b *array.List, j int) string {
	start, end := a.ValueOffsets(i)
	from, to := b.ValueOffsets(j)
	if end-start != to-from {
		return unless(false, "length", a, i, b, j)
	}
	for k := range end - start {
		if d := differs(a.ListValues(), int(start+k), b.ListValues(), int(from+k)); d != "" {
			return fmt.Sprintf("[%d]%s", k, d)
		}
	}
	return ""
}
