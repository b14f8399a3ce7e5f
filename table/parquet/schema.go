package parquet

import (
	"fmt"
	"math"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"lake/schemas"
)

type schemaElement = format.SchemaElement

// shape is how a node's Arrow array is taken apart.
type shape uint8

const (
	leafShape shape = iota
	structShape
	listShape
	mapShape
)

// node is a column or a part of one.
type node struct {
	path     []string // as the file has it: a list adds "list", a map "key_value"
	dtype    arrow.DataType
	shape    shape
	nullable bool
	children []*node // a struct's members; a list's element; a map's key and value
	leaf     int     // a leaf's place among the leaves

	// of a leaf
	id             int // field id, 0: none
	physical       format.Type
	width          int // bytes of a value of fixed length
	kind           kind
	maxDef, maxRep uint8
}

// kind decides how values compare and what Iceberg's form of a bound is.
type kind uint8

const (
	boolKind    kind = iota
	intKind          // 4 or 8 bytes, signed
	floatKind        // 4 or 8 bytes
	decimalKind      // 4 or 8 bytes little-endian or a fixed number of them big-endian
	textKind         // UTF-8
	bytesKind        // variable
	uuidKind         // 16 bytes
)

func (f *Format) plan() error {
	if f.schema.NumFields() == 0 {
		return fmt.Errorf("the schema has no columns")
	}
	f.elements = []schemaElement{{Name: "schema", NumChildren: thrift.New(int32(f.schema.NumFields()))}}
	for _, field := range f.schema.Fields() {
		n, err := f.planField(field, field.Name, nil, 0, 0)
		if err != nil {
			return err
		}
		f.root = append(f.root, n)
	}
	return nil
}

// planField plans a field that is called name in the file, below path.
func (f *Format) planField(field arrow.Field, name string, path []string, def, rep uint8) (*node, error) {
	n := &node{path: append(path[:len(path):len(path)], name), dtype: field.Type, nullable: field.Nullable, leaf: -1}
	repetition := format.Required
	if field.Nullable {
		repetition = format.Optional
		def++
	}
	if id, ok := field.Metadata.GetValue(schemas.FieldIDKey); ok {
		v, err := strconv.ParseInt(id, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("column %s: field id %q is not a number", dotted(n.path), id)
		}
		n.id = int(v)
	}
	if len(n.path) > 200 {
		return nil, fmt.Errorf("column %s: nested deeper than Parquet's levels reach", n.path[0])
	}
	at := len(f.elements)
	f.elements = append(f.elements, schemaElement{Name: name, FieldID: int32(n.id), RepetitionType: thrift.New(repetition)})

	var err error
	switch t := field.Type.(type) {
	case *arrow.StructType:
		n.shape = structShape
		if t.NumFields() == 0 {
			return nil, fmt.Errorf("column %s: a struct without fields cannot be kept in Parquet; hint: give it one, or make it json", dotted(n.path))
		}
		f.elements[at].NumChildren = thrift.New(int32(t.NumFields()))
		for _, member := range t.Fields() {
			if err = f.child(n, member, member.Name, n.path, def, rep); err != nil {
				return nil, err
			}
		}
	case *arrow.MapType: // before the list, which it embeds
		n.shape = mapShape
		f.elements[at].NumChildren = thrift.New(int32(1))
		f.elements[at].ConvertedType = thrift.New(deprecated.Map)
		f.elements[at].LogicalType = format.LogicalType{Value: &format.MapType{}}
		f.repeated("key_value", 2)
		inner := append(n.path[:len(n.path):len(n.path)], "key_value")
		key := t.KeyField()
		key.Nullable = false
		if err = f.child(n, key, "key", inner, def+1, rep+1); err != nil {
			return nil, err
		}
		if err = f.child(n, t.ItemField(), "value", inner, def+1, rep+1); err != nil {
			return nil, err
		}
	case *arrow.ListType:
		n.shape = listShape
		f.elements[at].NumChildren = thrift.New(int32(1))
		f.elements[at].ConvertedType = thrift.New(deprecated.List)
		f.elements[at].LogicalType = format.LogicalType{Value: &format.ListType{}}
		f.repeated("list", 1)
		inner := append(n.path[:len(n.path):len(n.path)], "list")
		if err = f.child(n, t.ElemField(), "element", inner, def+1, rep+1); err != nil {
			return nil, err
		}
	default:
		n.maxDef, n.maxRep = def, rep
		if err := n.planLeaf(&f.elements[at]); err != nil {
			return nil, fmt.Errorf("column %s: %w", dotted(n.path), err)
		}
		n.leaf = len(f.leaves)
		f.leaves = append(f.leaves, n)
	}
	return n, nil
}

func (f *Format) child(n *node, field arrow.Field, name string, path []string, def, rep uint8) error {
	c, err := f.planField(field, name, path, def, rep)
	if err != nil {
		return err
	}
	n.children = append(n.children, c)
	return nil
}

func (f *Format) repeated(name string, children int32) {
	f.elements = append(f.elements, schemaElement{Name: name, RepetitionType: thrift.New(format.Repeated), NumChildren: thrift.New(children)})
}

func (n *node) planLeaf(e *schemaElement) error {
	physical := func(k kind, t format.Type, width int) {
		n.kind, n.physical, n.width = k, t, width
		e.Type = thrift.New(t)
	}
	micros := format.TimeUnit{Value: &format.MicroSeconds{}}
	switch t := n.dtype.(type) {
	case *arrow.BooleanType:
		physical(boolKind, format.Boolean, 0)
	case *arrow.Int32Type:
		physical(intKind, format.Int32, 4)
	case *arrow.Int64Type:
		physical(intKind, format.Int64, 8)
	case *arrow.Float32Type:
		physical(floatKind, format.Float, 4)
	case *arrow.Float64Type:
		physical(floatKind, format.Double, 8)
	case *arrow.Date32Type:
		physical(intKind, format.Int32, 4)
		e.ConvertedType = thrift.New(deprecated.Date)
		e.LogicalType = format.LogicalType{Value: &format.DateType{}}
	case *arrow.Time64Type:
		if t.Unit != arrow.Microsecond {
			return fmt.Errorf("a time is kept in microseconds, not in %s", t.Unit)
		}
		physical(intKind, format.Int64, 8)
		e.LogicalType = format.LogicalType{Value: &format.TimeType{Unit: micros}}
	case *arrow.TimestampType:
		if t.Unit != arrow.Microsecond {
			return fmt.Errorf("a timestamp is kept in microseconds, not in %s", t.Unit)
		}
		physical(intKind, format.Int64, 8)
		// The converted type says "adjusted to UTC", so a wall clock's reading has none.
		if t.TimeZone != "" {
			e.ConvertedType = thrift.New(deprecated.TimestampMicros)
		}
		e.LogicalType = format.LogicalType{Value: &format.TimestampType{IsAdjustedToUTC: t.TimeZone != "", Unit: micros}}
	case *arrow.Decimal128Type:
		switch {
		case t.Precision <= 9:
			physical(decimalKind, format.Int32, 4)
		case t.Precision <= 18:
			physical(decimalKind, format.Int64, 8)
		default:
			physical(decimalKind, format.FixedLenByteArray, decimalWidth(int(t.Precision)))
			e.TypeLength = thrift.New(int32(n.width))
		}
		e.Precision, e.Scale = thrift.New(t.Precision), thrift.New(t.Scale)
		e.ConvertedType = thrift.New(deprecated.Decimal)
		e.LogicalType = format.LogicalType{Value: &format.DecimalType{Precision: t.Precision, Scale: t.Scale}}
	case *arrow.StringType:
		physical(textKind, format.ByteArray, 0)
		e.ConvertedType = thrift.New(deprecated.UTF8)
		e.LogicalType = format.LogicalType{Value: &format.StringType{}}
	case *arrow.BinaryType:
		physical(bytesKind, format.ByteArray, 0)
	case *arrow.FixedSizeBinaryType:
		if t.ByteWidth != 16 {
			return fmt.Errorf("fixed-length bytes are kept as uuid, 16 bytes, not %d", t.ByteWidth)
		}
		physical(uuidKind, format.FixedLenByteArray, 16)
		e.TypeLength = thrift.New(int32(16))
		e.LogicalType = format.LogicalType{Value: &format.UUIDType{}}
	default:
		return fmt.Errorf("the Arrow type %s has no column type in lake", n.dtype)
	}
	return nil
}

// decimalWidth is the least number of bytes that holds precision digits and a sign.
func decimalWidth(precision int) int {
	return int(math.Ceil((float64(precision)*math.Log2(10) + 1) / 8))
}

func dotted(path []string) string {
	out := ""
	for i, p := range path {
		if i > 0 {
			out += "."
		}
		out += p
	}
	return out
}
