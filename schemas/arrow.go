package schemas

import (
	"fmt"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
)

// FieldIDKey is the Arrow metadata key under which Parquet readers and writers keep a field's id.
const FieldIDKey = "PARQUET:field_id"

// kindKey marks Arrow columns whose kind the Arrow type alone does not tell: json and uuid.
const kindKey = "lake:kind"

var uuidArrow = &arrow.FixedSizeBinaryType{ByteWidth: 16}

// Arrow is the Arrow type of t:
//
//	bool Bool · int32 Int32 · int64 Int64 · float32 Float32 · float64 Float64
//	decimal Decimal128 · string, json String · bytes Binary · date Date32
//	time Time64(µs) · timestamp Timestamp(µs, "UTC") · datetime Timestamp(µs)
//	uuid FixedSizeBinary(16) · list List("element") · struct Struct · map Map
func (t Type) Arrow() arrow.DataType {
	switch t.Kind {
	case Bool:
		return arrow.FixedWidthTypes.Boolean
	case Int32:
		return arrow.PrimitiveTypes.Int32
	case Int64:
		return arrow.PrimitiveTypes.Int64
	case Float32:
		return arrow.PrimitiveTypes.Float32
	case Float64:
		return arrow.PrimitiveTypes.Float64
	case Decimal:
		return &arrow.Decimal128Type{Precision: int32(t.Precision), Scale: int32(t.Scale)}
	case String, JSON:
		return arrow.BinaryTypes.String
	case Bytes:
		return arrow.BinaryTypes.Binary
	case Date:
		return arrow.FixedWidthTypes.Date32
	case Time:
		return arrow.FixedWidthTypes.Time64us
	case Timestamp:
		return arrow.FixedWidthTypes.Timestamp_us
	case Datetime:
		return &arrow.TimestampType{Unit: arrow.Microsecond}
	case UUID:
		return uuidArrow
	case List:
		return arrow.ListOfField(t.Elem.Arrow())
	case Struct:
		fields := make([]arrow.Field, len(t.Fields))
		for i, f := range t.Fields {
			fields[i] = f.Arrow()
		}
		return arrow.StructOf(fields...)
	case Map:
		return arrow.MapOfFields(t.Key.Arrow(), t.Elem.Arrow())
	default:
		return arrow.Null
	}
}

// Arrow is the field's Arrow form. An id and a kind that the Arrow type does
// not tell are kept in its metadata.
func (f Field) Arrow() arrow.Field {
	meta := map[string]string{}
	if f.ID != 0 {
		meta[FieldIDKey] = strconv.Itoa(f.ID)
	}
	if f.Type.Kind == JSON || f.Type.Kind == UUID {
		meta[kindKey] = f.Type.Kind.String()
	}
	return arrow.Field{Name: f.Name, Type: f.Type.Arrow(), Nullable: !f.Required, Metadata: arrow.MetadataFrom(meta)}
}

// Arrow is the schema's Arrow form.
func (s Schema) Arrow() *arrow.Schema {
	fields := make([]arrow.Field, len(s.Fields))
	for i, f := range s.Fields {
		fields[i] = f.Arrow()
	}
	return arrow.NewSchema(fields, nil)
}

// FromArrow reads an Arrow schema, as Arrow writes it or another tool: large
// strings and lists, other time units and unsigned integers that fit are taken.
func FromArrow(s *arrow.Schema) (Schema, error) {
	out := Schema{Fields: make([]Field, s.NumFields())}
	for i, f := range s.Fields() {
		field, err := fieldFromArrow(f)
		if err != nil {
			return Schema{}, err
		}
		out.Fields[i] = field
	}
	return out, nil
}

func fieldFromArrow(f arrow.Field) (Field, error) {
	out := Field{Name: f.Name, Required: !f.Nullable}
	if id, ok := f.Metadata.GetValue(FieldIDKey); ok {
		n, err := strconv.Atoi(id)
		if err != nil {
			return Field{}, fmt.Errorf("column %q: field id %q is not a number", f.Name, id)
		}
		out.ID = n
	}
	t, err := typeFromArrow(f.Type)
	if err != nil {
		return Field{}, fmt.Errorf("column %q: %w", f.Name, err)
	}
	if kind, ok := f.Metadata.GetValue(kindKey); ok && kind == JSON.String() && t.Kind == String {
		t.Kind = JSON
	}
	out.Type = t
	return out, nil
}

func typeFromArrow(dt arrow.DataType) (Type, error) {
	switch dt := dt.(type) {
	case *arrow.BooleanType:
		return Type{Kind: Bool}, nil
	case *arrow.Int8Type, *arrow.Int16Type, *arrow.Int32Type, *arrow.Uint8Type, *arrow.Uint16Type:
		return Type{Kind: Int32}, nil
	case *arrow.Int64Type, *arrow.Uint32Type:
		return Type{Kind: Int64}, nil
	case *arrow.Float32Type:
		return Type{Kind: Float32}, nil
	case *arrow.Float64Type:
		return Type{Kind: Float64}, nil
	case arrow.DecimalType:
		return Type{Kind: Decimal, Precision: int(dt.GetPrecision()), Scale: int(dt.GetScale())}, nil
	case *arrow.StringType, *arrow.LargeStringType, *arrow.StringViewType:
		return Type{Kind: String}, nil
	case *arrow.BinaryType, *arrow.LargeBinaryType, *arrow.BinaryViewType:
		return Type{Kind: Bytes}, nil
	case *arrow.Date32Type, *arrow.Date64Type:
		return Type{Kind: Date}, nil
	case *arrow.Time32Type, *arrow.Time64Type:
		return Type{Kind: Time}, nil
	case *arrow.TimestampType:
		if dt.TimeZone == "" {
			return Type{Kind: Datetime}, nil
		}
		return Type{Kind: Timestamp}, nil
	case *arrow.FixedSizeBinaryType:
		if dt.ByteWidth == 16 {
			return Type{Kind: UUID}, nil
		}
		return Type{Kind: Bytes}, nil
	case arrow.ExtensionType:
		if dt.ExtensionName() == "arrow.uuid" {
			return Type{Kind: UUID}, nil
		}
		return typeFromArrow(dt.StorageType())
	case *arrow.DictionaryType:
		return typeFromArrow(dt.ValueType)
	case *arrow.MapType:
		key, err := fieldFromArrow(dt.KeyField())
		if err != nil {
			return Type{}, err
		}
		key.Name, key.Required = "key", true
		elem, err := fieldFromArrow(dt.ItemField())
		if err != nil {
			return Type{}, err
		}
		elem.Name = "value"
		return Type{Kind: Map, Key: &key, Elem: &elem}, nil
	case arrow.ListLikeType:
		elem, err := fieldFromArrow(dt.ElemField())
		if err != nil {
			return Type{}, err
		}
		elem.Name = "element"
		return Type{Kind: List, Elem: &elem}, nil
	case *arrow.StructType:
		t := Type{Kind: Struct}
		for _, f := range dt.Fields() {
			member, err := fieldFromArrow(f)
			if err != nil {
				return Type{}, err
			}
			t.Fields = append(t.Fields, member)
		}
		return t, nil
	default:
		return Type{}, fmt.Errorf("the type %s has no counterpart here", dt)
	}
}
