package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
)

type kind uint8

const (
	nullKind kind = iota
	boolKind
	intKind
	longKind
	floatKind
	doubleKind
	bytesKind
	stringKind
	fixedKind
	unionKind
	recordKind
	arrayKind
	mapKind
)

var kinds = map[string]kind{"null": nullKind, "boolean": boolKind, "int": intKind, "long": longKind, "float": floatKind,
	"double": doubleKind, "bytes": bytesKind, "string": stringKind}

// node is a type of an Avro schema.
type node struct {
	kind        kind
	logical     string
	scale, size int
	fields      []field // of a record
	item        *node   // of an array or map
	branches    []*node // of a union: null, or not, and one other
	least       int     // bytes that a value takes
	weight      int     // of it and all that is in it
}

type field struct {
	name string
	id   int // of Iceberg; 0: none
	node *node
}

const (
	// maxDepth bounds a schema: those of Iceberg are four levels deep.
	maxDepth = 16
	// maxWeight bounds what one value may make the reader do without a byte of its own.
	maxWeight = 1 << 13
)

type schemaParser struct{ named map[string]*node }

func parseSchema(text []byte) (*node, error) {
	p := schemaParser{map[string]*node{}}
	return p.parse(text, 0)
}

type schemaText struct {
	Type        json.RawMessage `json:"type"`
	Name        string          `json:"name"`
	Fields      []fieldText     `json:"fields"`
	Items       json.RawMessage `json:"items"`
	Values      json.RawMessage `json:"values"`
	Size        int             `json:"size"`
	LogicalType string          `json:"logicalType"`
	Scale       int             `json:"scale"`
}

type fieldText struct {
	Name string          `json:"name"`
	Type json.RawMessage `json:"type"`
	ID   int             `json:"field-id"`
}

func (p schemaParser) parse(text []byte, depth int) (*node, error) {
	n, err := p.parseAny(text, depth)
	if err != nil {
		return nil, err
	}
	n.weight = 1
	for _, f := range n.fields {
		n.weight += f.node.weight
	}
	for _, b := range n.branches {
		n.weight += b.weight
	}
	if n.item != nil {
		n.weight += n.item.weight
	}
	if n.weight > maxWeight {
		return nil, errors.New("the schema is too large")
	}
	return n, nil
}

func (p schemaParser) parseAny(text []byte, depth int) (*node, error) {
	if depth > maxDepth {
		return nil, errors.New("the schema is too deep")
	}
	if len(text) == 0 {
		return nil, errors.New("the schema lacks a type")
	}
	switch text[0] {
	case '"':
		var name string
		if err := json.Unmarshal(text, &name); err != nil {
			return nil, err
		}
		if k, ok := kinds[name]; ok {
			return primitive(k), nil
		}
		if n, ok := p.named[name]; ok {
			return n, nil
		}
		return nil, fmt.Errorf("type %q of the schema is not known", name)
	case '[':
		return p.union(text, depth)
	}
	var s schemaText
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, err
	}
	var name string
	if len(s.Type) == 0 || s.Type[0] != '"' {
		return p.parse(s.Type, depth+1)
	}
	if err := json.Unmarshal(s.Type, &name); err != nil {
		return nil, err
	}
	n := &node{}
	switch name {
	case "record":
		n.kind = recordKind
		for _, f := range s.Fields {
			child, err := p.parse(f.Type, depth+1)
			if err != nil {
				return nil, err
			}
			n.fields = append(n.fields, field{f.Name, f.ID, child})
			n.least = min(n.least+child.least, maxBlock)
		}
		p.named[s.Name] = n // after its fields: none of Iceberg's is in itself
	case "array", "map":
		text := s.Items
		if n.kind, n.least = arrayKind, 1; name == "map" {
			n.kind, text = mapKind, s.Values
		}
		var err error
		if n.item, err = p.parse(text, depth+1); err != nil {
			return nil, err
		}
		if n.kind == arrayKind && n.item.least == 0 {
			return nil, errors.New("an array of the schema has items without bytes")
		}
	case "fixed":
		if n.kind, n.size, n.least = fixedKind, s.Size, s.Size; s.Size < 0 || s.Size > maxBlock {
			return nil, fmt.Errorf("a fixed of the schema has %d bytes", s.Size)
		}
		p.named[s.Name] = n
	default:
		k, ok := kinds[name]
		if !ok {
			return p.parse(s.Type, depth+1)
		}
		n = primitive(k)
	}
	n.logical, n.scale = s.LogicalType, s.Scale
	return n, nil
}

func primitive(k kind) *node {
	least := map[kind]int{nullKind: 0, floatKind: 4, doubleKind: 8}
	n := &node{kind: k, least: 1}
	if bytes, ok := least[k]; ok {
		n.least = bytes
	}
	return n
}

// union is one of null and another type, or of one type: manifests have no others.
func (p schemaParser) union(text []byte, depth int) (*node, error) {
	var all []json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	n := &node{kind: unionKind, least: 1}
	others := 0
	for _, each := range all {
		b, err := p.parse(each, depth+1)
		if err != nil {
			return nil, err
		}
		if b.kind == unionKind {
			return nil, errors.New("a union of the schema is in another")
		}
		if b.kind != nullKind {
			others++
		}
		n.branches = append(n.branches, b)
	}
	if others > 1 {
		return nil, errors.New("a union of the schema has several types")
	}
	return n, nil
}

// inner is the type without null.
func (n *node) inner() *node {
	if n.kind != unionKind {
		return n
	}
	for _, b := range n.branches {
		if b.kind != nullKind {
			return b
		}
	}
	return n
}
