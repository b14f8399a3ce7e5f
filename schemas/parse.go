package schemas

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxTypeDepth bounds how deep types nest; readers of Parquet recurse by it.
const maxTypeDepth = 32

// maxTypeBytes bounds a type's text.
const maxTypeBytes = 64 << 10

// TypeError says what is wrong with a type's text.
type TypeError struct {
	Offset int // byte in the text
	Msg    string
	Hint   string // what to write instead; "" where nothing better is known than Msg
}

func (e *TypeError) Error() string {
	s := fmt.Sprintf("type: at byte %d: %s", e.Offset, e.Msg)
	if e.Hint != "" {
		s += "; hint: " + e.Hint
	}
	return s
}

// otherNames maps what other systems call a type to lake's name.
var otherNames = map[string]string{
	"int": "int64", "integer": "int64", "long": "int64", "bigint": "int64", "int8": "int32", "int16": "int32",
	"smallint": "int32", "tinyint": "int32", "short": "int32", "uint64": "int64", "uint32": "int64",
	"float": "float64", "double": "float64", "real": "float32", "number": "float64", "float16": "float32",
	"numeric": "decimal(38,9)", "bignumeric": "decimal(38,9)", "boolean": "bool", "text": "string", "varchar": "string",
	"char": "string", "str": "string", "binary": "bytes", "blob": "bytes", "timestamptz": "timestamp",
	"timestamp_ntz": "datetime", "array": "list", "record": "struct", "row": "struct", "object": "struct",
	"dict": "map", "variant": "json", "jsonb": "json",
}

// ParseType reads a type as a job file writes it: int64, decimal(10,2),
// list<struct<a: int64!, b: string>>, map<string, int64>. "!" after a member, an
// element or a map's value makes it required. An error is a *TypeError.
func ParseType(text string) (Type, error) {
	if len(text) > maxTypeBytes {
		return Type{}, &TypeError{Msg: fmt.Sprintf("longer than %d bytes", maxTypeBytes)}
	}
	p := typeParser{text: text}
	t, err := p.parse(0)
	if err != nil {
		return Type{}, err
	}
	p.space()
	switch {
	case p.pos == len(text):
		return t, nil
	case p.at('!'):
		return Type{}, p.fail(p.pos, "\"!\" belongs to a column or a member, not to a type", "")
	default:
		return Type{}, p.fail(p.pos, fmt.Sprintf("unexpected %q behind the type", p.text[p.pos:]), "")
	}
}

type typeParser struct {
	text string
	pos  int
}

func (p *typeParser) fail(offset int, msg, hint string) error {
	return &TypeError{Offset: offset, Msg: msg, Hint: hint}
}

func (p *typeParser) space() {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
}

func (p *typeParser) at(c byte) bool { return p.pos < len(p.text) && p.text[p.pos] == c }

// take skips white space and c, where c is next.
func (p *typeParser) take(c byte) bool {
	p.space()
	if !p.at(c) {
		return false
	}
	p.pos++
	return true
}

// expect is take for what has to be there; where names what it belongs to.
func (p *typeParser) expect(c byte, where, hint string) error {
	if p.take(c) {
		return nil
	}
	if p.pos == len(p.text) {
		return p.fail(p.pos, fmt.Sprintf("%s ends without %q", where, c), hint)
	}
	return p.fail(p.pos, fmt.Sprintf("%s: %q expected, not %q", where, c, p.text[p.pos]), hint)
}

// word skips white space and reads a run of letters, digits and underscores.
func (p *typeParser) word() (string, int) {
	p.space()
	start := p.pos
	for p.pos < len(p.text) && wordByte(p.text[p.pos]) {
		p.pos++
	}
	return p.text[start:p.pos], start
}

func wordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// ValidName reports whether name can be a column in every warehouse:
// [A-Za-z_][A-Za-z0-9_]*, at most 300 bytes.
func ValidName(name string) bool {
	if name == "" || len(name) > 300 || name[0] >= '0' && name[0] <= '9' {
		return false
	}
	for i := range len(name) {
		if !wordByte(name[i]) {
			return false
		}
	}
	return true
}

func (p *typeParser) parse(depth int) (Type, error) {
	name, start := p.word()
	if depth > maxTypeDepth {
		return Type{}, p.fail(start, fmt.Sprintf("nested deeper than %d levels", maxTypeDepth), "")
	}
	if name == "" {
		if p.pos == len(p.text) {
			return Type{}, p.fail(start, "a type is missing", "types are "+kindList())
		}
		return Type{}, p.fail(start, fmt.Sprintf("a type expected, not %q", p.text[p.pos]), "types are "+kindList())
	}
	kind := Kind(slices.Index(kindNames[:], name))
	if i := slices.Index(kindNames[1:], name); i < 0 {
		return Type{}, p.fail(start, fmt.Sprintf("unknown type %q", name), typeHint(name))
	}
	switch kind {
	case Decimal:
		return p.decimal()
	case List:
		if err := p.expect('<', "list", "write list<string>"); err != nil {
			return Type{}, err
		}
		elem, err := p.member("element", depth)
		if err != nil {
			return Type{}, err
		}
		return Type{Kind: List, Elem: &elem}, p.expect('>', "list", "write list<string>")
	case Map:
		return p.mapping(depth)
	case Struct:
		return p.structure(depth)
	default:
		return Type{Kind: kind}, nil
	}
}

// member reads a type and its "!".
func (p *typeParser) member(name string, depth int) (Field, error) {
	t, err := p.parse(depth + 1)
	if err != nil {
		return Field{}, err
	}
	return Field{Name: name, Type: t, Required: p.take('!')}, nil
}

func (p *typeParser) mapping(depth int) (Type, error) {
	const hint = "write map<string, int64>"
	if err := p.expect('<', "map", hint); err != nil {
		return Type{}, err
	}
	p.space()
	start := p.pos
	key, err := p.parse(depth + 1)
	if err != nil {
		return Type{}, err
	}
	switch key.Kind {
	case Float32, Float64, JSON, List, Struct, Map:
		return Type{}, p.fail(start, fmt.Sprintf("a map's key cannot be a %s", key.Kind), "take string, or a list of structs")
	}
	p.take('!') // a key is required in any case
	if err := p.expect(',', "map", hint); err != nil {
		return Type{}, err
	}
	value, err := p.member("value", depth)
	if err != nil {
		return Type{}, err
	}
	return Type{Kind: Map, Key: &Field{Name: "key", Type: key, Required: true}, Elem: &value}, p.expect('>', "map", hint)
}

func (p *typeParser) structure(depth int) (Type, error) {
	const hint = "write struct<lat: float64, lon: float64>"
	if err := p.expect('<', "struct", hint); err != nil {
		return Type{}, err
	}
	t := Type{Kind: Struct}
	seen := map[string]bool{}
	for {
		name, start := p.word()
		if !ValidName(name) {
			msg := fmt.Sprintf("%q is not a member's name", name)
			if name == "" {
				msg = "a member's name expected"
			}
			return Type{}, p.fail(start, msg, "letters, digits and _, not a digit first; "+hint)
		}
		if seen[strings.ToLower(name)] {
			return Type{}, p.fail(start, fmt.Sprintf("a second member %q", name), "names differ in more than upper and lower case")
		}
		seen[strings.ToLower(name)] = true
		if err := p.expect(':', "member "+name, hint); err != nil {
			return Type{}, err
		}
		field, err := p.member(name, depth)
		if err != nil {
			return Type{}, err
		}
		t.Fields = append(t.Fields, field)
		if !p.take(',') {
			return t, p.expect('>', "struct", hint)
		}
	}
}

func (p *typeParser) decimal() (Type, error) {
	const hint = "write decimal(10,2): digits in all, digits behind the point"
	if err := p.expect('(', "decimal", hint); err != nil {
		return Type{}, err
	}
	precision, err := p.number(1, 38, "precision", hint)
	if err != nil {
		return Type{}, err
	}
	if err := p.expect(',', "decimal", hint); err != nil {
		return Type{}, err
	}
	scale, err := p.number(0, precision, "scale", hint)
	if err != nil {
		return Type{}, err
	}
	return Type{Kind: Decimal, Precision: precision, Scale: scale}, p.expect(')', "decimal", hint)
}

func (p *typeParser) number(low, high int, what, hint string) (int, error) {
	text, start := p.word()
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		return 0, p.fail(start, fmt.Sprintf("the %s is a number from %d to %d, not %q", what, low, high, text), hint)
	}
	return n, nil
}

func kindList() string { return strings.Join(kindNames[1:], ", ") }

func typeHint(name string) string {
	lower := strings.ToLower(name)
	if known := otherNames[lower]; known != "" {
		return fmt.Sprintf("lake calls it %s", known)
	}
	if slices.Contains(kindNames[1:], lower) {
		return fmt.Sprintf("did you mean %q? types are written in lower case", lower)
	}
	if near := Nearest(lower, kindNames[1:]); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "types are " + kindList()
}

// Nearest is the known word that a typing error may have turned into word; ""
// where none is near.
func Nearest(word string, known []string) string {
	best, least := "", len(word)/3+2
	for _, k := range known {
		if d := editDistance(word, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// editDistance counts the bytes to insert, delete, replace or swap with their
// neighbour to make b of a.
func editDistance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
