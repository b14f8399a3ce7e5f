package jobs

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// shape is what a node is.
type shape uint8

const (
	isNull shape = iota
	isText
	isNumber
	isBool
	isList
	isMapping
	isOther
)

func (s shape) String() string {
	return [...]string{"nothing", "a text", "a number", "true or false", "a list", "a mapping", "something else"}[s]
}

func shapeOf(n ast.Node) shape {
	switch n.(type) {
	case nil, *ast.NullNode:
		return isNull
	case *ast.StringNode, *ast.LiteralNode:
		return isText
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return isNumber
	case *ast.BoolNode:
		return isBool
	case *ast.SequenceNode:
		return isList
	case *ast.MappingNode, *ast.MappingValueNode:
		return isMapping
	default:
		return isOther
	}
}

// text is a scalar as it is written, with variables filled in.
func (d *document) text(n ast.Node) Text {
	if t, ok := d.texts[n]; ok {
		return t
	}
	written := strings.TrimSpace(n.GetToken().Value)
	at := position(n)
	return Text{Value: written, Written: written, Pos: at, anchors: []anchor{{pos: at}}}
}

// entry is a key of a mapping with its value.
type entry struct {
	key   string
	at    Pos // of the key
	value ast.Node
}

// entries lists a mapping's keys in the file's order. A second key of a name is
// an error and is left out.
func (d *document) entries(n ast.Node, what string) []entry {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	}
	first := map[string]Pos{}
	list := make([]entry, 0, len(values))
	for _, v := range values {
		key, ok := v.Key.(ast.ScalarNode)
		if !ok || v.Key.GetToken() == nil {
			d.add(position(v.Key), "", "%sa key is a plain text", prefix(what))
			continue
		}
		e := entry{key: strings.TrimSpace(key.GetToken().Value), at: position(v.Key), value: v.Value}
		if at, twice := first[e.key]; twice {
			d.add(e.at, fmt.Sprintf("the first one is in line %d", at.Line), "%sa second %q", prefix(what), clip(e.key))
			continue
		}
		first[e.key] = e.at
		list = append(list, e)
	}
	return list
}

func prefix(what string) string {
	if what == "" {
		return ""
	}
	return what + ": "
}

func join(what, key string) string {
	if what == "" {
		return key
	}
	return what + "." + key
}

// wrong says that a node is not of the shape that is wanted.
func (d *document) wrong(n ast.Node, what, wanted, hint string) {
	d.faulty[what] = true
	d.add(position(n), hint, "%s%s expected, not %s", prefix(what), wanted, shapeOf(n))
}

// decode sets v from a node; what names it in messages. Null leaves v as it is.
func (d *document) decode(n ast.Node, v reflect.Value, what string) {
	if shapeOf(n) == isNull {
		return
	}
	if shapeOf(n) == isOther {
		d.add(position(n), "", "%sthis kind of YAML is not taken", prefix(what))
		return
	}
	d.places[what] = position(n)
	if d.broken[n] {
		d.faulty[what] = true
		return
	}
	if d.special(n, v.Addr().Interface(), what) {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		d.decode(n, v.Elem(), what)
	case reflect.Struct:
		d.decodeStruct(n, v, what)
	case reflect.Map:
		d.decodeMap(n, v, what)
	case reflect.Slice:
		list, ok := n.(*ast.SequenceNode)
		if !ok {
			d.wrong(n, what, "a list", "write ["+d.hintOf(n)+"]")
			return
		}
		out := reflect.MakeSlice(v.Type(), len(list.Values), len(list.Values))
		for i, item := range list.Values {
			if shapeOf(item) == isNull {
				d.add(position(item), "", "%san empty entry", prefix(what))
			}
			d.decode(item, out.Index(i), fmt.Sprintf("%s[%d]", what, i))
		}
		v.Set(out)
	default:
		d.decodeScalar(n, v, what)
	}
}

// hintOf shows what stands in place of a list or a mapping in a hint, shortly.
func (d *document) hintOf(n ast.Node) string {
	if entries := d.sub().entries(n, ""); len(entries) > 0 {
		return "{" + clip(entries[0].key) + ": …}"
	}
	if s, ok := n.(*ast.StringNode); ok && len(s.Value) < 30 && !strings.Contains(s.Token.Value, "$") {
		return s.Value
	}
	return "…"
}

// special decodes the types that read themselves.
func (d *document) special(n ast.Node, into any, what string) bool {
	switch into := into.(type) {
	case *Text:
		if shapeOf(n) != isText && shapeOf(n) != isNumber {
			d.wrong(n, what, "a text", quoteHint(n))
			return true
		}
		*into = d.text(n)
	case *Duration:
		into.Pos = position(n)
		d.duration(n, &into.Duration, what)
	case *time.Duration:
		d.duration(n, into, what)
	case *Adapter:
		d.adapter(n, into, what)
	case *Adapters:
		d.adapters(n, into, what)
	case *[]Field:
		d.schema(n, into, what)
	case *[]Rule:
		d.rules(n, into, what)
	case interface{ UnmarshalYAML(ast.Node) error }:
		d.refused(n, what, into.UnmarshalYAML(n))
	case interface{ UnmarshalYAML(func(any) error) error }:
		d.refused(n, what, into.UnmarshalYAML(func(target any) error {
			inner := d.sub()
			inner.decode(n, reflect.ValueOf(target).Elem(), what)
			return inner.err()
		}))
	case encoding.TextUnmarshaler:
		if shapeOf(n) != isText && shapeOf(n) != isNumber && shapeOf(n) != isBool {
			d.wrong(n, what, "a text", "")
			return true
		}
		d.refused(n, what, into.UnmarshalText([]byte(d.text(n).Value)))
	default:
		return false
	}
	return true
}

// sub is d with findings of its own.
func (d *document) sub() *document {
	inner := *d
	inner.findings = findings{file: d.file}
	inner.places, inner.faulty = map[string]Pos{}, map[string]bool{}
	return &inner
}

// refused takes the error of a type that reads itself. A value from the
// environment is not shown.
func (d *document) refused(n ast.Node, what string, err error) {
	var (
		list Errors
		bad  yaml.Error
	)
	if err == nil {
		return
	}
	if errors.As(err, &list) {
		d.list = append(d.list, list...)
		return
	}
	at, msg := position(n), err.Error()
	if errors.As(err, &bad) {
		msg = bad.GetMessage()
		if t := bad.GetToken(); t != nil && t.Position != nil {
			at = Pos{t.Position.Line, t.Position.Column}
		}
	}
	if t, ok := d.texts[n]; ok && t.Written != t.Value {
		msg = strings.ReplaceAll(msg, t.Value, t.Written)
	}
	msg, hint, _ := strings.Cut(msg, "; hint: ")
	if name := what[strings.LastIndexByte(what, '.')+1:]; !strings.HasPrefix(msg, name+":") {
		msg = prefix(what) + msg
	}
	d.add(at, hint, "%s", msg)
}

func quoteHint(n ast.Node) string {
	if shapeOf(n) == isBool {
		return fmt.Sprintf("quote it: %q", strings.TrimSpace(n.GetToken().Value))
	}
	return ""
}

func (d *document) duration(n ast.Node, into *time.Duration, what string) {
	if shapeOf(n) != isText && shapeOf(n) != isNumber {
		d.wrong(n, what, "a duration", durationHint)
		return
	}
	t := d.text(n)
	length, err := parseDuration(t.Value)
	if err != nil {
		d.faulty[what] = true
		d.add(t.Pos, durationHint, "%s%v: %q", prefix(what), err, clip(t.Written))
		return
	}
	*into = length
}

func (d *document) decodeScalar(n ast.Node, v reflect.Value, what string) {
	s := shapeOf(n)
	if s > isBool {
		d.wrong(n, what, wanted(v.Kind()), "")
		return
	}
	t := d.text(n)
	filled := s == isText && t.Written != t.Value // a variable may stand for any scalar
	var err error
	hint := ""
	switch {
	case v.Kind() == reflect.String:
		if s == isBool {
			d.wrong(n, what, "a text", quoteHint(n))
			return
		}
		v.SetString(t.Value)
	case v.Kind() == reflect.Bool && (s == isBool || filled):
		var b bool
		if b, err = strconv.ParseBool(t.Value); err == nil {
			v.SetBool(b)
		} else {
			err, hint = errors.New("not true or false"), "write true or false"
		}
	case v.CanInt() || v.CanUint():
		var i int64
		if strings.HasSuffix(what, "bytes") || strings.HasSuffix(what, "_size") { // a size by its name
			i, err = parseSize(t.Value)
			hint = sizeHint
		} else {
			i, err = parseInteger(t.Value)
		}
		err = setInteger(v, i, err)
	case v.CanFloat():
		var f float64
		if strings.HasSuffix(what, "ratio") {
			f, err = parseRatio(t.Value)
			hint = ratioHint
		} else if f, err = strconv.ParseFloat(t.Value, 64); err != nil {
			err = errors.New("not a number")
		}
		v.SetFloat(f)
	default:
		hint := ""
		if v.Kind() == reflect.Bool {
			hint = "write true or false, without quotes"
		}
		d.wrong(n, what, wanted(v.Kind()), hint)
		return
	}
	if err != nil {
		d.faulty[what] = true
		d.add(t.Pos, hint, "%s%v: %q", prefix(what), err, clip(t.Written))
	}
}

func setInteger(v reflect.Value, i int64, err error) error {
	switch {
	case err != nil:
		return err
	case v.CanInt() && !v.OverflowInt(i):
		v.SetInt(i)
	case v.CanUint() && i >= 0 && !v.OverflowUint(uint64(i)):
		v.SetUint(uint64(i))
	default:
		return errors.New("out of range")
	}
	return nil
}

func wanted(k reflect.Kind) string {
	switch k {
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	default:
		return "a number"
	}
}

func (d *document) decodeMap(n ast.Node, v reflect.Value, what string) {
	if shapeOf(n) != isMapping {
		d.wrong(n, what, "a mapping", "write {key: value}")
		return
	}
	out := reflect.MakeMap(v.Type())
	for _, e := range d.entries(n, what) {
		key := reflect.New(v.Type().Key()).Elem()
		if key.Kind() == reflect.String {
			key.SetString(e.key)
		} else {
			i, err := parseInteger(e.key)
			if err := setInteger(key, i, err); err != nil {
				d.add(e.at, "", "%s%v: %q", prefix(what), err, clip(e.key))
				continue
			}
		}
		value := reflect.New(v.Type().Elem()).Elem()
		d.decode(e.value, value, join(what, e.key))
		out.SetMapIndex(key, value)
	}
	v.Set(out)
}

func (d *document) decodeStruct(n ast.Node, v reflect.Value, what string) {
	if shapeOf(n) != isMapping {
		d.wrong(n, what, "a mapping", "write {"+strings.Join(keysOf(v), ": …, ")+": …}")
		return
	}
	targets := map[string]reflect.Value{}
	collect(v, targets)
	for _, e := range d.entries(n, what) {
		target, known := targets[e.key]
		if !known {
			d.add(e.at, suggest(e.key, keysOf(v)), "%sunknown key %q", prefix(what), clip(e.key))
			continue
		}
		d.decode(e.value, target, join(what, e.key))
	}
}

// collect finds a struct's fields by their keys, those of inlined structs too.
func collect(v reflect.Value, targets map[string]reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case !f.IsExported() || name == "-":
		case f.Type.Kind() == reflect.Struct && (f.Anonymous && name == "" || options == "inline"):
			collect(v.Field(i), targets)
		default:
			if name == "" {
				name = strings.ToLower(f.Name)
			}
			targets[name] = v.Field(i)
		}
	}
}

// keysOf lists a struct's keys.
func keysOf(v reflect.Value) []string {
	targets := map[string]reflect.Value{}
	collect(v, targets)
	keys := make([]string, 0, len(targets))
	for k := range targets {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
