package json

import (
	"encoding/binary"
	"math"
	"strings"

	"lake/ingest/decode"
)

// object knows the keys of the objects at one place of a record: those of
// fields, and others once they have been seen.
type object struct {
	keys  map[string]*key
	order []*key
	first key // stands before the first key
	other key // stands for a key that is not kept
}

// key is where the value behind a key goes: into a column, into the object
// below it that a path leads through, or nowhere.
type key struct {
	name   string
	quoted quoted
	begun  uint64 // the object that has it, by the decoder's count: finds a second one
	next   *key   // which came behind it last time
	column *column
	inner  *object
	also   *key // the same key's value again, for another field
	path   bool // the column has two keys: its path, and its path as one key
}

const (
	keptKeys     = 1000 // keys that are no field's, kept an object
	keptKeyBytes = 200
)

// quoted is a key as most writers write it: with its quotes and a colon. The empty
// one is no text.
type quoted struct {
	text       string
	head, mask uint64 // the first eight bytes, and which of them are the key's
	tail       uint64 // the last eight, where there are more
}

func newQuoted(text string) quoted {
	q := quoted{text: text, head: 1} // which no byte under an empty mask is
	if len(text) == 0 {
		return q
	}
	var first [8]byte
	copy(first[:], text)
	q.head, q.mask = binary.LittleEndian.Uint64(first[:]), math.MaxUint64>>(64-8*min(len(text), 8))
	if len(text) > 8 {
		q.tail = binary.LittleEndian.Uint64([]byte(text[len(text)-8:]))
	}
	return q
}

// at reports whether q stands at i of s, whose end may be near.
func (q *quoted) at(s []byte, i int) bool {
	n := len(q.text)
	return n > 0 && i+n <= len(s) && string(s[i:i+n]) == q.text
}

func newObject() *object {
	o := &object{keys: map[string]*key{}}
	o.first.quoted, o.other.quoted = newQuoted(""), newQuoted("")
	o.first.next, o.other.next = &o.other, &o.other
	return o
}

// addField makes c the column of a key, or of a path with dots.
func (o *object) addField(source string, c *column) {
	if !strings.Contains(source, ".") {
		o.find(source).take(c, nil)
		return
	}
	whole := o.find(source).take(c, nil)
	whole.path = true
	at := o
	for {
		name, rest, more := strings.Cut(source, ".")
		k := at.find(name)
		if !more {
			k.take(c, nil).path = true
			return
		}
		at, source = k.below(), rest
	}
}

// find returns a key, made where it is not there yet.
func (o *object) find(name string) *key {
	k := o.keys[name]
	if k == nil {
		k = &key{name: name, quoted: quote(name), next: &o.other}
		o.keys[name] = k
		o.order = append(o.order, k)
	}
	return k
}

// take adds a place to which the key's value goes and returns it.
func (k *key) take(c *column, inner *object) *key {
	if k.column != nil || k.inner != nil {
		k.also = &key{column: c, inner: inner, also: k.also}
		return k.also
	}
	k.column, k.inner = c, inner
	return k
}

// below is the object that paths lead through at k.
func (k *key) below() *object {
	for at := k; at != nil; at = at.also {
		if at.inner != nil {
			return at.inner
		}
	}
	return k.take(nil, newObject()).inner
}

// chain expects the keys of fields in the schema's order, until records tell
// another one.
func (o *object) chain() {
	at := &o.first
	for _, k := range o.order {
		at.next = k
		at = k
		for place := k; place != nil; place = place.also {
			if place.inner != nil {
				place.inner.chain()
			}
		}
	}
	if len(o.order) > 0 {
		at.next, o.other.next = o.order[0], o.order[0]
	}
}

func quote(name string) quoted {
	if !plainText(name) {
		return newQuoted("")
	}
	return newQuoted(`"` + name + `":`)
}

// object decodes an object at i whose keys o knows and returns the place
// behind it. Fields that are missing are left to the caller.
func (d *Decoder) object(o *object, s []byte, i int) int {
	if i >= len(s) || s[i] != '{' {
		return d.noObject(s, i)
	}
	if d.depth++; d.depth > d.maxDepth {
		return d.tooDeep(i)
	}
	d.objects++
	begun := d.objects
	if i = skipSpace(s, i+1); i < len(s) && s[i] == '}' {
		d.depth--
		return i + 1
	}
	last := &o.first
	for {
		k := last.next
		n := len(k.quoted.text)
		if behind := i + n; n <= 16 && behind+8 <= len(s) && binary.LittleEndian.Uint64(s[i:])&k.quoted.mask == k.quoted.head &&
			(n <= 8 || binary.LittleEndian.Uint64(s[behind-8:]) == k.quoted.tail) {
			i = behind
		} else if k.quoted.at(s, i) {
			i = behind
		} else if k, i = d.key(o, last, s, i, begun); i < 0 {
			return bad
		}
		if k.begun == begun {
			return d.duplicate([]byte(k.name))
		}
		k.begun = begun
		if i < len(s) && s[i] <= ' ' {
			i = skipSpace(s, i)
		}
		start := i
		switch {
		case k.path:
			i = d.pathValue(k, s, i)
		case k.column != nil:
			i = d.value(k.column, s, i)
		case k.inner != nil:
			i = d.innerObject(k.inner, s, i)
		default:
			i = d.skip(s, i)
		}
		for at := k.also; at != nil && i >= 0; at = at.also {
			i = d.pathValue(at, s, start)
		}
		if i < 0 {
			return bad
		}
		last = k
		if i < len(s) && s[i] <= ' ' {
			i = skipSpace(s, i)
		}
		if i >= len(s) {
			return d.syntax(s, i, "a comma or }")
		}
		if s[i] == '}' {
			d.depth--
			return i + 1
		}
		if s[i] != ',' {
			return d.syntax(s, i, "a comma or }")
		}
		i++
		if i < len(s) && s[i] <= ' ' {
			i = skipSpace(s, i)
		}
	}
}

// pathValue is for a place that shares its key or its column with another.
func (d *Decoder) pathValue(k *key, s []byte, i int) int {
	switch {
	case k.column == nil:
		return d.innerObject(k.inner, s, i)
	case k.path && k.column.rows != d.rowsAround(k.column):
		return d.unfit(k.column, "is there twice, as a path and as one key")
	}
	return d.value(k.column, s, i)
}

// rowsAround is the number of finished rows of what c is a field of.
func (d *Decoder) rowsAround(c *column) int {
	if c.parent == nil {
		return d.rows
	}
	return c.parent.rows
}

// innerObject decodes an object that only paths lead through; null is one
// without keys.
func (d *Decoder) innerObject(o *object, s []byte, i int) int {
	if i < len(s) && s[i] == 'n' {
		return d.literal(s, i, "null")
	}
	if i < len(s) && s[i] != '{' {
		d.failure = decode.Error{Stage: decode.StageConvert, Column: o.anyColumn(), Reason: "expected an object on the way, found " + found(s, i)}
		return bad
	}
	return d.object(o, s, i)
}

func (o *object) anyColumn() string {
	for _, k := range o.order {
		for at := k; at != nil; at = at.also {
			if at.column != nil {
				return at.column.path
			}
			if at.inner != nil {
				return at.inner.anyColumn()
			}
		}
	}
	return ""
}

// key reads a key that was not expected, and its colon.
func (d *Decoder) key(o *object, last *key, s []byte, i int, begun uint64) (*key, int) {
	text, i := d.keyText(s, i)
	if i < 0 {
		return nil, bad
	}
	k := o.keys[string(text)]
	if k == nil {
		k = d.newKey(o, text, begun)
		if k == nil {
			return nil, bad
		}
	}
	last.next = k
	return k, i
}

// newKey is a key that no field has. It is kept, for its place in the order
// and to find a second one, as long as there is room.
func (d *Decoder) newKey(o *object, text []byte, begun uint64) *key {
	if len(o.keys) < len(o.order)+keptKeys && len(text) <= keptKeyBytes {
		k := &key{name: string(text), quoted: quote(string(text)), next: &o.other}
		o.keys[k.name] = k
		return k
	}
	if !d.names.add(begun, text) {
		d.duplicate(text)
		return nil
	}
	o.other.begun = 0
	return &o.other
}

// keyText reads a key and its colon. The text is valid until the next one.
func (d *Decoder) keyText(s []byte, i int) ([]byte, int) {
	if i >= len(s) || s[i] != '"' {
		return nil, d.syntax(s, i, "a key in quotes")
	}
	text, i := d.text(s, i)
	if i < 0 {
		return nil, bad
	}
	if i = skipSpace(s, i); i >= len(s) || s[i] != ':' {
		return nil, d.syntax(s, i, "a colon")
	}
	return text, i + 1
}

// absent appends what a field without a value gets.
func (d *Decoder) absent(c *column) bool {
	if c.required {
		d.unfit(c, "is missing")
		return false
	}
	c.appendNull()
	return true
}
