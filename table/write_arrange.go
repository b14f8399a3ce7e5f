package table

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// A struct's members are matched by name, as columns are: a member that a job's
// schema gets between two others is the table's last.

// sameMembers reports whether two types differ in the order of members at most.
func sameMembers(a, b arrow.DataType) bool {
	if a.ID() != b.ID() {
		return false
	}
	switch a := a.(type) {
	case *arrow.StructType:
		b := b.(*arrow.StructType)
		if a.NumFields() != b.NumFields() {
			return false
		}
		for _, want := range b.Fields() {
			at, ok := a.FieldIdx(want.Name)
			if !ok || a.Field(at).Nullable != want.Nullable || !sameMembers(a.Field(at).Type, want.Type) {
				return false
			}
		}
		return true
	case *arrow.ListType:
		x, y := a.ElemField(), b.(*arrow.ListType).ElemField()
		return x.Nullable == y.Nullable && sameMembers(x.Type, y.Type)
	case *arrow.MapType:
		x, y := a.ItemField(), b.(*arrow.MapType).ItemField()
		return arrow.TypeEqual(a.KeyType(), b.(*arrow.MapType).KeyType()) && x.Nullable == y.Nullable && sameMembers(x.Type, y.Type)
	default:
		return arrow.TypeEqual(a, b)
	}
}

// arranged is arr with the members of its structs in the order of to, whose
// members it has; the caller releases it. No value is copied.
func arranged(arr arrow.Array, to arrow.DataType) arrow.Array {
	if arrow.TypeEqual(arr.DataType(), to) {
		arr.Retain()
		return arr
	}
	data := arrangedData(arr.Data(), to)
	defer data.Release()
	return array.MakeFromData(data)
}

func arrangedData(data arrow.ArrayData, to arrow.DataType) arrow.ArrayData {
	if arrow.TypeEqual(data.DataType(), to) {
		data.Retain()
		return data
	}
	wanted := to.(arrow.NestedType).Fields()
	children := make([]arrow.ArrayData, len(wanted))
	for i, want := range wanted {
		at := i // of a list or a map, whose child may have any name
		if from, ok := data.DataType().(*arrow.StructType); ok {
			if found, ok := from.FieldIdx(want.Name); ok {
				at = found
			}
		}
		children[i] = arrangedData(data.Children()[at], want.Type)
		defer children[i].Release()
	}
	return array.NewData(to, data.Len(), data.Buffers(), children, data.NullN(), data.Offset())
}
