package jobs

import (
	"reflect"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Field is a column of the schema.
type Field struct {
	Name Text
	// Type is the type's text without its "!"; a type in YAML form ({list: string})
	// is in the text form here (list<string>), its bytes still know their places.
	Type     Text
	Required bool
	Format   Text // strftime codes; "" is ISO 8601
	Zone     Text // IANA zone of texts without one
	From     Text // key or path in the input; "" is Name
	Doc      Text
}

const typeHint = `write a type: int64, "list<string>", {list: string}, {struct: {a: int64}}, or {type: …, format: …}`

const quoteType = `quote a type that has a comma: "decimal(10,2)"`

// schema reads schema: columns in the file's order. A column whose type cannot
// be read is left out; its error is kept.
func (d *document) schema(n ast.Node, into *[]Field, what string) {
	if shapeOf(n) != isMapping {
		d.wrong(n, what, "a mapping of columns", "write {user_id: int64!, event: string}")
		return
	}
	lower := map[string]string{}
	for _, e := range d.entries(n, what) {
		f := Field{Name: Text{Value: e.key, Written: e.key, Pos: e.at, anchors: []anchor{{pos: e.at}}}}
		if !columnName(e.key) {
			hint := "letters, digits and _, not a digit first; from: takes any key of the input"
			if strings.ContainsAny(e.key, ")>") {
				hint = quoteType
			}
			d.add(e.at, hint, "schema: %q is not a column's name", clip(e.key))
			continue
		}
		if other, twice := lower[strings.ToLower(e.key)]; twice {
			d.add(e.at, "names differ in more than upper and lower case", "schema: a second column %q beside %q", clip(e.key), clip(other))
			continue
		}
		lower[strings.ToLower(e.key)] = e.key
		if d.field(e.value, &f, join(what, e.key)) {
			*into = append(*into, f)
		}
	}
	if len(*into) == 0 && len(lower) == 0 {
		d.add(position(n), "lake init writes one from a sample of your data", "schema: it has no columns")
	}
}

// field reads a column: a type, or {type: …, format: …}.
func (d *document) field(n ast.Node, f *Field, what string) bool {
	if shapeOf(n) == isMapping {
		for _, e := range d.entries(n, what) {
			if _, ok := typeForm(e.key); !ok {
				return d.options(n, f, what)
			}
		}
	}
	var ok bool
	f.Type, f.Required, ok = d.typeOf(n, what)
	return ok
}

// options reads {type: …, format: …}.
func (d *document) options(n ast.Node, f *Field, what string) bool {
	var opts struct {
		Type                    ast.Node `yaml:"type"`
		Format, Zone, From, Doc Text
	}
	targets := map[string]reflect.Value{}
	v := reflect.ValueOf(&opts).Elem()
	collect(v, targets)
	unknown := false
	for _, e := range d.entries(n, what) {
		target, known := targets[e.key]
		switch {
		case !known:
			unknown = true
			hint := suggest(e.key, append(keysOf(v), "list", "struct", "map"))
			if strings.ContainsAny(e.key, ")>") {
				hint = quoteType
			}
			d.add(e.at, hint, "%sunknown key %q", prefix(what), clip(e.key))
		case e.key == "type":
			opts.Type = e.value
		default:
			d.decode(e.value, target, join(what, e.key))
		}
	}
	f.Format, f.Zone, f.From, f.Doc = opts.Format, opts.Zone, opts.From, opts.Doc
	if shapeOf(opts.Type) == isNull {
		if unknown {
			return false // it is what the key was meant to be
		}
		d.add(position(n), typeHint, "%stype: is missing", prefix(what))
		return false
	}
	var ok bool
	f.Type, f.Required, ok = d.typeOf(opts.Type, what)
	return ok
}

// typeForm is the type that a key of YAML form names: list, struct! …
func typeForm(key string) (kind string, ok bool) {
	kind = strings.TrimSuffix(key, "!")
	return kind, kind == "list" || kind == "struct" || kind == "map"
}

// typeOf reads a type, in a text or in YAML form, as a text without its "!".
func (d *document) typeOf(n ast.Node, what string) (t Text, required, ok bool) {
	switch shapeOf(n) {
	case isText:
		if d.broken[n] {
			return t, false, false
		}
		t = d.text(n).trim()
		bare, required := strings.CutSuffix(t.Value, "!")
		switch {
		case t.Value != t.Written && strings.Contains(t.Written, "$"):
			d.add(position(n), "a schema is the same in every environment", "%sa type takes no variables", prefix(what))
			return t, false, false
		case strings.TrimSpace(bare) == "":
			d.add(position(n), typeHint, "%sa type expected", prefix(what))
			return t, false, false
		case required:
			return t.slice(0, len(bare)).trim(), true, true
		}
		return t, false, true
	case isMapping:
		entries := d.entries(n, what)
		if len(entries) != 1 {
			d.add(position(n), typeHint, "%sone of list, struct and map expected", prefix(what))
			return t, false, false
		}
		return d.nested(entries[0], what)
	default:
		d.wrong(n, what, "a type", typeHint)
		return t, false, false
	}
}

// nested reads {list: T}, {struct: {name: T}}, {map: [K, V]}.
func (d *document) nested(e entry, what string) (t Text, required, ok bool) {
	kind, known := typeForm(e.key)
	c := composed{pos: e.at}
	c.word(kind + "<")
	ok = true
	member := func(n ast.Node, what string) {
		inner, required, good := d.typeOf(n, what)
		ok = ok && good
		c.text(inner)
		if required {
			c.word("!")
		}
	}
	switch {
	case !known:
		d.add(e.at, suggest(kind, []string{"list", "struct", "map"}), "%sunknown type %q", prefix(what), clip(kind))
		return t, false, false
	case kind == "list":
		member(e.value, what+".list")
	case kind == "map":
		pair, isPair := e.value.(*ast.SequenceNode)
		if !isPair || len(pair.Values) != 2 {
			d.add(position(e.value), "write {map: [string, int64]}", "%sa map has a key's and a value's type", prefix(what))
			return t, false, false
		}
		member(pair.Values[0], what+".map[0]")
		c.word(", ")
		member(pair.Values[1], what+".map[1]")
	default:
		if shapeOf(e.value) != isMapping {
			d.wrong(e.value, what+".struct", "a mapping of members", "write {struct: {lat: float64, lon: float64}}")
			return t, false, false
		}
		for i, m := range d.entries(e.value, what+".struct") {
			if i > 0 {
				c.word(", ")
			}
			if !columnName(m.key) {
				d.add(m.at, "letters, digits and _, not a digit first", "%s%q is not a member's name", prefix(what), clip(m.key))
				ok = false
				continue
			}
			c.text(Text{Value: m.key, Written: m.key, Pos: m.at, anchors: []anchor{{pos: m.at}}})
			c.word(": ")
			member(m.value, join(what, m.key))
		}
	}
	c.word(">")
	return c.done(), strings.HasSuffix(e.key, "!"), ok
}

// columnName is what BigQuery takes: [A-Za-z_][A-Za-z0-9_]*, at most 300 bytes.
func columnName(name string) bool { return len(name) <= 300 && variableName(name) }
