package jobs

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Adapter is a kind with its options, which whoever knows the kind decodes. The
// zero Adapter is one that the file does not have.
type Adapter struct {
	Kind    string
	Pos     Pos // of the kind
	options ast.Node
	doc     *document
}

// Decode sets into, a pointer to a struct with yaml tags, from the options. It is
// as strict as the job file: unknown and duplicate keys and wrong types are
// Errors. Integers whose key ends in bytes or _size take sizes (64MiB), durations units
// (10s); keys that the file does not have leave into as it was.
func (a Adapter) Decode(into any) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("decode %s: %T is not a pointer", a.Kind, into)
	}
	if a.doc == nil {
		return nil
	}
	d := a.doc.sub()
	d.decode(a.options, v.Elem(), a.Kind)
	return d.err()
}

// At is where an option stands, "topic" or "tls.cert"; the kind's place where the
// file does not have it.
func (a Adapter) At(option string) Pos {
	n := a.options
	for _, name := range strings.Split(option, ".") {
		if shapeOf(n) != isMapping {
			return a.Pos
		}
		entries := a.doc.sub().entries(n, "")
		i := slices.IndexFunc(entries, func(e entry) bool { return e.key == name })
		if i < 0 {
			return a.Pos
		}
		n = entries[i].value
	}
	if shapeOf(n) == isNull {
		return a.Pos
	}
	return position(n)
}

// adapter reads {kind: options}.
func (d *document) adapter(n ast.Node, into *Adapter, what string) {
	if shapeOf(n) != isMapping {
		d.wrong(n, what, "a mapping", "write {"+d.hintOf(n)+": {…}}")
		return
	}
	entries := d.entries(n, what)
	if len(entries) == 0 {
		d.add(position(n), "write {kind: {…}}", "%sthe kind is missing", prefix(what))
		return
	}
	for _, e := range entries[1:] {
		d.add(e.at, "options stand inside the kind: "+entries[0].key+": {…}", "%sone kind expected, and here is %q beside %q", prefix(what), clip(e.key), clip(entries[0].key))
	}
	*into = Adapter{Kind: entries[0].key, Pos: entries[0].at, options: entries[0].value, doc: d}
}

// Adapters are several kinds with their options, each kind once.
type Adapters []Adapter

// adapters reads {kind: options, kind: options}, in the file's order.
func (d *document) adapters(n ast.Node, into *Adapters, what string) {
	if shapeOf(n) != isMapping {
		d.wrong(n, what, "a mapping", "write {"+d.hintOf(n)+": {…}}")
		return
	}
	for _, e := range d.entries(n, what) {
		*into = append(*into, Adapter{Kind: e.key, Pos: e.at, options: e.value, doc: d})
	}
}
