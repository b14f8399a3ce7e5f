package parquet

import (
	"fmt"

	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"
)

// Column is a column of a file that is read, or a part of a nested one.
type Column struct {
	Path []string // as lake's schemas have it: an element of a list is "element", of a map "key" and "value"
	ID   int      // field id; 0: none

	// A group's parts: a struct's members, a list's element, or a map's key and
	// value. A leaf has none.
	Children []*Column
	Shape    Shape

	// Of a leaf:
	Leaf           int         // its place among the file's leaves; -1: a group
	Physical       format.Type // how its values are stored
	Width          int         // bytes of a value of fixed length (INT96: 12); 0: ByteArray, Boolean
	MaxDef, MaxRep uint8       // levels of a value that is there

	optional bool
	def, rep uint8 // levels of the column where it is not null
	logical  format.LogicalType
}

// Shape is what kind of group a Column is.
type Shape uint8

const (
	LeafShape Shape = iota
	StructShape
	ListShape
	MapShape
)

// maxColumns bounds what a footer makes a reader build.
const maxColumns = 1 << 20

// schemaReader takes the flat list of a footer apart.
type schemaReader struct {
	file *File
	left []format.SchemaElement
}

func (f *File) readSchema() error {
	if len(f.meta.Schema) == 0 || len(f.meta.Schema) > maxColumns {
		return fmt.Errorf("a schema of %d elements", len(f.meta.Schema))
	}
	r := schemaReader{file: f, left: f.meta.Schema[1:]}
	f.root = &Column{Shape: StructShape, Leaf: -1}
	if err := r.children(f.root, f.meta.Schema[0].NumChildren.V, nil); err != nil {
		return err
	}
	if len(r.left) > 0 {
		return fmt.Errorf("the schema has %d elements that belong to no column", len(r.left))
	}
	return nil
}

// children reads n columns below c.
func (r *schemaReader) children(c *Column, n int32, path []string) error {
	if n <= 0 || int(n) > len(r.left) {
		return fmt.Errorf("column %s: a group of %d columns", dotted(path), n)
	}
	for range n {
		child, err := r.column(path, "", c.def, c.rep)
		if err != nil {
			return err
		}
		c.Children = append(c.Children, child)
	}
	return nil
}

func (r *schemaReader) next() (format.SchemaElement, error) {
	if len(r.left) == 0 {
		return format.SchemaElement{}, fmt.Errorf("the schema ends in the middle of a column")
	}
	e := r.left[0]
	r.left = r.left[1:]
	return e, nil
}

// column reads a column below path, which is called name, as the file says
// where that is "". def and rep are the levels of what it is in.
func (r *schemaReader) column(path []string, name string, def, rep uint8) (*Column, error) {
	e, err := r.next()
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = e.Name
	}
	c := &Column{Path: append(path[:len(path):len(path)], name), ID: int(e.FieldID), Leaf: -1, def: def, rep: rep, logical: e.LogicalType}
	if len(c.Path) > 80 || def > 200 {
		return nil, fmt.Errorf("%w: column %s is nested too deep", ErrForm, path[0])
	}
	switch e.RepetitionType.V {
	case format.Optional:
		c.optional = true
		c.def++
	case format.Repeated: // a list without a group around it
		return nil, fmt.Errorf("%w: column %s is repeated without being a list", ErrForm, dotted(c.Path))
	}
	if !e.NumChildren.Valid || e.NumChildren.V == 0 && e.Type.Valid {
		return c, r.leaf(c, e)
	}
	isMap, isList := isMapOrList(e)
	if !isMap && !isList {
		c.Shape = StructShape
		return c, r.children(c, e.NumChildren.V, c.Path)
	}
	inner, err := r.next()
	if err != nil {
		return nil, err
	}
	parts := int32(1)
	if isMap {
		parts = 2
	}
	// Lists of two levels, and maps without values, nobody wrote for years.
	if e.NumChildren.V != 1 || inner.RepetitionType.V != format.Repeated || inner.NumChildren.V != parts || !isMap && oldList(inner.Name, e.Name) {
		return nil, fmt.Errorf("%w: column %s is a list or map of an old form", ErrForm, dotted(c.Path))
	}
	names := []string{"element"}
	c.Shape = ListShape
	if isMap {
		names = []string{"key", "value"}
		c.Shape = MapShape
	}
	for _, n := range names {
		child, err := r.column(c.Path, n, c.def+1, c.rep+1)
		if err != nil {
			return nil, err
		}
		c.Children = append(c.Children, child)
	}
	return c, nil
}

// oldList tells names of the repeated group that, by the format's rules for
// old files, is the element itself.
func oldList(inner, outer string) bool { return inner == "array" || inner == outer+"_tuple" }

func isMapOrList(e format.SchemaElement) (isMap, isList bool) {
	switch e.LogicalType.Value.(type) {
	case *format.MapType:
		return true, false
	case *format.ListType:
		return false, true
	}
	if e.ConvertedType.Valid {
		switch e.ConvertedType.V {
		case deprecated.Map, deprecated.MapKeyValue:
			return true, false
		case deprecated.List:
			return false, true
		}
	}
	return false, false
}

func (r *schemaReader) leaf(c *Column, e format.SchemaElement) error {
	if !e.Type.Valid {
		return fmt.Errorf("column %s has no type", dotted(c.Path))
	}
	c.Physical, c.MaxDef, c.MaxRep = e.Type.V, c.def, c.rep
	switch c.Physical {
	case format.Boolean, format.ByteArray:
	case format.Int32, format.Float:
		c.Width = 4
	case format.Int64, format.Double:
		c.Width = 8
	case format.Int96:
		c.Width = 12
	case format.FixedLenByteArray:
		if c.Width = int(e.TypeLength.V); c.Width <= 0 || c.Width > 1<<20 {
			return fmt.Errorf("column %s: values of %d bytes", dotted(c.Path), c.Width)
		}
	default:
		return fmt.Errorf("%w: column %s has type %d", ErrForm, dotted(c.Path), c.Physical)
	}
	if c.logical.Value == nil && e.ConvertedType.Valid {
		c.logical.Value = convertedType(e)
	}
	c.Leaf = len(r.file.leaves)
	r.file.leaves = append(r.file.leaves, c)
	return nil
}

// convertedType is the logical type of a file from before there were such.
func convertedType(e format.SchemaElement) format.LogicalTypeValue {
	unit := func(micros bool) format.TimeUnit {
		if micros {
			return format.TimeUnit{Value: &format.MicroSeconds{}}
		}
		return format.TimeUnit{Value: &format.MilliSeconds{}}
	}
	integer := func(bits int8, signed bool) format.LogicalTypeValue {
		return &format.IntType{BitWidth: bits, IsSigned: signed}
	}
	switch e.ConvertedType.V {
	case deprecated.UTF8, deprecated.Enum:
		return &format.StringType{}
	case deprecated.Json:
		return &format.JsonType{}
	case deprecated.Decimal:
		return &format.DecimalType{Scale: e.Scale.V, Precision: e.Precision.V}
	case deprecated.Date:
		return &format.DateType{}
	case deprecated.TimeMillis:
		return &format.TimeType{IsAdjustedToUTC: true, Unit: unit(false)}
	case deprecated.TimeMicros:
		return &format.TimeType{IsAdjustedToUTC: true, Unit: unit(true)}
	case deprecated.TimestampMillis:
		return &format.TimestampType{IsAdjustedToUTC: true, Unit: unit(false)}
	case deprecated.TimestampMicros:
		return &format.TimestampType{IsAdjustedToUTC: true, Unit: unit(true)}
	case deprecated.Int8:
		return integer(8, true)
	case deprecated.Int16:
		return integer(16, true)
	case deprecated.Int32:
		return integer(32, true)
	case deprecated.Int64:
		return integer(64, true)
	case deprecated.Uint8:
		return integer(8, false)
	case deprecated.Uint16:
		return integer(16, false)
	case deprecated.Uint32:
		return integer(32, false)
	case deprecated.Uint64:
		return integer(64, false)
	}
	return nil
}

// HasIDs tells whether each column has a field id.
func (f *File) HasIDs() bool { return haveIDs(f.root) }

func haveIDs(c *Column) bool {
	for _, child := range c.Children {
		if child.ID == 0 || !haveIDs(child) {
			return false
		}
	}
	return true
}
