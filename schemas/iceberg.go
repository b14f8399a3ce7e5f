package schemas

import (
	"fmt"

	"github.com/apache/iceberg-go"
)

// Iceberg is the schema's Iceberg form. Fields keep their ids; those without
// one get fresh ids above the largest, in iceberg-go's own order (a field, what
// is within it, the next field), so that a schema without ids gets the very ids
// that a new table assigns. Iceberg has no json: it becomes string.
func (s Schema) Iceberg() *iceberg.Schema {
	last := 0
	eachField(s.Fields, func(f *Field) { last = max(last, f.ID) })
	return iceberg.NewSchema(0, icebergFields(s.Fields, func() int { last++; return last })...)
}

func icebergFields(fields []Field, next func() int) []iceberg.NestedField {
	out := make([]iceberg.NestedField, len(fields))
	for i, f := range fields {
		out[i] = iceberg.NestedField{ID: idOr(f.ID, next), Name: f.Name, Required: f.Required, Doc: f.Doc}
		out[i].Type = icebergType(f.Type, next)
	}
	return out
}

func idOr(id int, next func() int) int {
	if id != 0 {
		return id
	}
	return next()
}

func icebergType(t Type, next func() int) iceberg.Type {
	switch t.Kind {
	case Bool:
		return iceberg.PrimitiveTypes.Bool
	case Int32:
		return iceberg.PrimitiveTypes.Int32
	case Int64:
		return iceberg.PrimitiveTypes.Int64
	case Float32:
		return iceberg.PrimitiveTypes.Float32
	case Float64:
		return iceberg.PrimitiveTypes.Float64
	case Decimal:
		return iceberg.DecimalTypeOf(t.Precision, t.Scale)
	case String, JSON:
		return iceberg.PrimitiveTypes.String
	case Bytes:
		return iceberg.PrimitiveTypes.Binary
	case Date:
		return iceberg.PrimitiveTypes.Date
	case Time:
		return iceberg.PrimitiveTypes.Time
	case Timestamp:
		return iceberg.PrimitiveTypes.TimestampTz
	case Datetime:
		return iceberg.PrimitiveTypes.Timestamp
	case UUID:
		return iceberg.PrimitiveTypes.UUID
	case List:
		l := &iceberg.ListType{ElementID: idOr(t.Elem.ID, next), ElementRequired: t.Elem.Required}
		l.Element = icebergType(t.Elem.Type, next)
		return l
	case Map:
		m := &iceberg.MapType{KeyID: idOr(t.Key.ID, next), ValueID: idOr(t.Elem.ID, next), ValueRequired: t.Elem.Required}
		m.KeyType = icebergType(t.Key.Type, next)
		m.ValueType = icebergType(t.Elem.Type, next)
		return m
	case Struct:
		return &iceberg.StructType{FieldList: icebergFields(t.Fields, next)}
	default:
		return iceberg.PrimitiveTypes.Unknown
	}
}

// FromIceberg reads an Iceberg schema with its ids. It fails on a type that has
// no counterpart here (fixed, nanoseconds, variant, geometry).
func FromIceberg(s *iceberg.Schema) (Schema, error) {
	fields, err := fromIcebergFields(s.Fields())
	return Schema{Fields: fields}, err
}

func fromIcebergFields(fields []iceberg.NestedField) ([]Field, error) {
	out := make([]Field, len(fields))
	for i, f := range fields {
		t, err := fromIcebergType(f.Type)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", f.Name, err)
		}
		out[i] = Field{ID: f.ID, Name: f.Name, Type: t, Required: f.Required, Doc: f.Doc}
	}
	return out, nil
}

func fromIcebergType(t iceberg.Type) (Type, error) {
	switch t := t.(type) {
	case iceberg.BooleanType:
		return Type{Kind: Bool}, nil
	case iceberg.Int32Type:
		return Type{Kind: Int32}, nil
	case iceberg.Int64Type:
		return Type{Kind: Int64}, nil
	case iceberg.Float32Type:
		return Type{Kind: Float32}, nil
	case iceberg.Float64Type:
		return Type{Kind: Float64}, nil
	case iceberg.DecimalType:
		return Type{Kind: Decimal, Precision: t.Precision(), Scale: t.Scale()}, nil
	case iceberg.StringType:
		return Type{Kind: String}, nil
	case iceberg.BinaryType:
		return Type{Kind: Bytes}, nil
	case iceberg.DateType:
		return Type{Kind: Date}, nil
	case iceberg.TimeType:
		return Type{Kind: Time}, nil
	case iceberg.TimestampTzType:
		return Type{Kind: Timestamp}, nil
	case iceberg.TimestampType:
		return Type{Kind: Datetime}, nil
	case iceberg.UUIDType:
		return Type{Kind: UUID}, nil
	case *iceberg.ListType:
		elem, err := fromIcebergType(t.Element)
		if err != nil {
			return Type{}, err
		}
		return Type{Kind: List, Elem: &Field{ID: t.ElementID, Name: "element", Type: elem, Required: t.ElementRequired}}, nil
	case *iceberg.MapType:
		key, err := fromIcebergType(t.KeyType)
		if err != nil {
			return Type{}, err
		}
		value, err := fromIcebergType(t.ValueType)
		if err != nil {
			return Type{}, err
		}
		return Type{Kind: Map,
			Key:  &Field{ID: t.KeyID, Name: "key", Type: key, Required: true},
			Elem: &Field{ID: t.ValueID, Name: "value", Type: value, Required: t.ValueRequired}}, nil
	case *iceberg.StructType:
		fields, err := fromIcebergFields(t.FieldList)
		return Type{Kind: Struct, Fields: fields}, err
	default:
		return Type{}, fmt.Errorf("the Iceberg type %s has no counterpart here", t)
	}
}

// JSONFields lists the ids of the json fields, which an Iceberg schema does not tell from string.
func (s Schema) JSONFields() []int {
	var ids []int
	eachField(s.Fields, func(f *Field) {
		if f.Type.Kind == JSON {
			ids = append(ids, f.ID)
		}
	})
	return ids
}

// WithJSON is the schema with the string fields of these ids being json.
func (s Schema) WithJSON(ids []int) Schema {
	if len(ids) == 0 {
		return s
	}
	is := make(map[int]bool, len(ids))
	for _, id := range ids {
		is[id] = true
	}
	out := Schema{Fields: cloneFields(s.Fields)}
	eachField(out.Fields, func(f *Field) {
		if is[f.ID] && f.Type.Kind == String {
			f.Type.Kind = JSON
		}
	})
	return out
}

// eachField visits the fields and all that is within them.
func eachField(fields []Field, visit func(*Field)) {
	for i := range fields {
		visit(&fields[i])
		eachMember(fields[i].Type, visit)
	}
}

func eachMember(t Type, visit func(*Field)) {
	for _, f := range []*Field{t.Key, t.Elem} {
		if f != nil {
			visit(f)
			eachMember(f.Type, visit)
		}
	}
	eachField(t.Fields, visit)
}

func cloneFields(fields []Field) []Field {
	if fields == nil {
		return nil
	}
	out := make([]Field, len(fields))
	for i, f := range fields {
		f.Type = f.Type.clone()
		out[i] = f
	}
	return out
}

func (t Type) clone() Type {
	if t.Key != nil {
		key := *t.Key
		key.Type = key.Type.clone()
		t.Key = &key
	}
	if t.Elem != nil {
		elem := *t.Elem
		elem.Type = elem.Type.clone()
		t.Elem = &elem
	}
	t.Fields = cloneFields(t.Fields)
	return t
}
