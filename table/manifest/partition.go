package manifest

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/big"

	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/iceberg-go"
	"github.com/google/uuid"
)

// value reads a partition value that is not null, as iceberg-go would give it.
type value func(in *cursor, n *node) any

// partitionValues says how each field of a partition is read; spec is the manifest's
// own text of its partition spec, which may be missing.
func partitionValues(n *node, spec []byte) ([]value, error) {
	days := map[int]bool{}
	var fields []iceberg.PartitionField
	if json.Unmarshal(spec, &fields) == nil {
		for _, f := range fields {
			if _, ok := f.Transform.(iceberg.DayTransform); ok {
				days[f.FieldID] = true
			}
		}
	}
	out := make([]value, len(n.fields))
	for i, f := range n.fields {
		if f.id == 0 {
			return nil, fmt.Errorf("partition field %s has no id", f.name)
		}
		in := f.node.inner()
		if days[f.id] && in.kind == intKind {
			out[i] = dateValue
			continue
		}
		if out[i] = valueOf(in); out[i] == nil {
			return nil, fmt.Errorf("partition field %s is kept in another form", f.name)
		}
	}
	return out, nil
}

// partitionOf is a partition's values by field id, those that are null as nil.
func (p *plan) partitionOf(raw []byte) map[int]any {
	in := &cursor{data: raw}
	if len(p.values) == 0 {
		return nil
	}
	out := make(map[int]any, len(p.values))
	for i, f := range p.partition.fields {
		if n := in.branch(f.node); n != nil && n.kind != nullKind {
			out[f.id] = p.values[i](in, n)
		} else {
			out[f.id] = nil
		}
	}
	return out
}

func dateValue(in *cursor, _ *node) any { return iceberg.Date(in.long()) }

func valueOf(n *node) value {
	long := func(make func(int64) any) value {
		return func(in *cursor, _ *node) any { return make(in.long()) }
	}
	switch {
	case n.kind == intKind && n.logical == "date":
		return dateValue
	case n.kind == intKind && n.logical == "time-millis":
		return long(func(x int64) any { return iceberg.Time(x * 1000) })
	case n.kind == longKind && n.logical == "time-micros":
		return long(func(x int64) any { return iceberg.Time(x) })
	case n.kind == longKind && n.logical == "timestamp-millis":
		return long(func(x int64) any { return iceberg.Timestamp(x * 1000) })
	case n.kind == longKind && n.logical == "timestamp-micros":
		return long(func(x int64) any { return iceberg.Timestamp(x) })
	case n.kind == longKind && n.logical == "timestamp-nanos":
		return long(func(x int64) any { return iceberg.TimestampNano(x) })
	case n.kind == fixedKind && n.logical == "decimal":
		return func(in *cursor, n *node) any { return decimalOf(in.take(int64(n.size)), n.scale) }
	case n.kind == fixedKind && n.logical == "uuid" && n.size == 16:
		return func(in *cursor, _ *node) any {
			var id uuid.UUID
			copy(id[:], in.take(16))
			return id
		}
	case n.logical != "":
		return nil
	}
	switch n.kind {
	case nullKind:
		return func(*cursor, *node) any { return nil }
	case boolKind:
		return func(in *cursor, _ *node) any {
			b := in.take(1)
			return len(b) == 1 && b[0] != 0
		}
	case intKind:
		return long(func(x int64) any { return int32(x) })
	case longKind:
		return long(func(x int64) any { return x })
	case floatKind:
		return func(in *cursor, _ *node) any {
			if b := in.take(4); b != nil {
				return math.Float32frombits(binary.LittleEndian.Uint32(b))
			}
			return float32(0)
		}
	case doubleKind:
		return func(in *cursor, _ *node) any {
			if b := in.take(8); b != nil {
				return math.Float64frombits(binary.LittleEndian.Uint64(b))
			}
			return float64(0)
		}
	case stringKind:
		return func(in *cursor, _ *node) any { return string(in.bytes()) }
	case bytesKind:
		return func(in *cursor, _ *node) any { return in.bytes() }
	case fixedKind:
		return func(in *cursor, n *node) any { return in.take(int64(n.size)) }
	}
	return nil
}

// decimalOf is a number in two's complement, the highest byte first.
func decimalOf(b []byte, scale int) any {
	x := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0]&0x80 != 0 {
		x.Sub(x, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	if x.BitLen() > 127 {
		return nil
	}
	return iceberg.DecimalLiteral{Scale: scale, Val: decimal128.FromBigInt(x)}
}
