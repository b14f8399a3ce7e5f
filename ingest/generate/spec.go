// Package generate makes records from a spec: a YAML file in which each field has
// its type and distribution. It is a source, and what `lake generate` runs.
//
//	version: 1
//	fields:
//	  user_id: {zipf: {n: 20000, s: 1.1}}
//	  at: {time: {start: "2021-11-30 00:00:00", zone: Asia/Kolkata, format: "%Y-%m-%d %H:%M:%S", rate: 100000/m, disorder: 30s}}
//	  event: {choice: {values: [Interaction, View], weights: [0.8, 0.2]}}
//	  note: {fake: sentence, nulls: 5%}
//
// A field has one kind, and may have nulls (a share: 5% or 0.05), missing (the key
// is left out) and doc:
//
//	uniform: {min: 0, max}                 whole numbers
//	zipf: {n, s: 1, start: 1}              n numbers; start is the most frequent
//	sequence: {start: 0, step: 1}          by row
//	normal: {mean: 0, sd: 1, min, max, scale: 3}
//	decimal: {min: 0, max, scale: 2, text: false}
//	bool: {p: 50%}
//	choice: {values: [...], weights: [...]}
//	const: anything
//	string: {pattern}                      # digit, ? a-z, ^ A-Z, * hexadecimal, \ the character itself
//	uuid                                   version 4
//	fake: name, email, city, ...           gofakeit's
//	time: {start, rate: 1, disorder: 0s, zone: UTC, format or epoch: s|ms|us}
//	object: {name: field, ...}
//	list: {of: field, min: 3, max: 3}
//	map: {keys: [...], value: field, min, max}   all keys, where nothing else is said
//
// A row is a function of (spec, seed, row number): the same bytes on every
// machine, for one version of lake.
package generate

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

//go:embed specs/*.yaml
var shipped embed.FS

// Version is the version of specs that this binary reads.
const Version = 1

const (
	maxSpecBytes = 256 << 10
	maxDepth     = 32
)

// Spec is a parsed spec. It does not change; any number of Generators may use it.
type Spec struct {
	Name string // the shipped spec's, or the file's without its folder and ending
	Doc  string
	raw  []byte
	root object
	time []*eventTime // those in root
}

// Shipped lists the specs within the binary.
func Shipped() []string {
	entries, err := shipped.ReadDir("specs")
	if err != nil {
		return nil // the folder is part of the binary
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = strings.TrimSuffix(e.Name(), ".yaml")
	}
	return names
}

// Load reads a shipped spec by its name, or a file (its name has a dot or a
// slash). Faults of the spec are SpecErrors.
func Load(nameOrPath string) (*Spec, error) {
	if !strings.ContainsAny(nameOrPath, `./\`) {
		data, err := shipped.ReadFile("specs/" + nameOrPath + ".yaml")
		if err != nil {
			return nil, fmt.Errorf("load generator spec %q: there is none of this name; hint: %s, or the path of a file such as ./%s.yaml",
				nameOrPath, strings.Join(Shipped(), ", "), nameOrPath)
		}
		return ParseSpec(nameOrPath+".yaml", data)
	}
	f, err := os.Open(nameOrPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("load generator spec: %w; hint: shipped specs go by their name alone: %s", err, strings.Join(Shipped(), ", "))
	}
	if err != nil {
		return nil, fmt.Errorf("load generator spec: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSpecBytes+1))
	if err != nil {
		return nil, fmt.Errorf("load generator spec: %w", err)
	}
	return ParseSpec(nameOrPath, data)
}

// ParseSpec reads a spec. All its faults come at once, as SpecErrors.
func ParseSpec(file string, data []byte) (*Spec, error) {
	f := &faults{file: file}
	if len(data) > maxSpecBytes {
		f.add(nil, "", "a spec has at most %d KiB", maxSpecBytes>>10)
		return nil, f.list
	}
	if deep(data) {
		f.add(nil, "", "brackets are nested too deep")
		return nil, f.list
	}
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		if syntax := yaml.Error(nil); errors.As(err, &syntax) {
			f.add(syntax.GetToken(), "", "%s", syntax.GetMessage())
		} else {
			f.add(nil, "", "%s", err)
		}
		return nil, f.list
	}
	docs := slices.DeleteFunc(tree.Docs, func(d *ast.DocumentNode) bool { return d.Body == nil })
	if len(docs) != 1 {
		f.add(nil, "version: 1, then fields:", "a spec is one YAML document, and this has %d", len(docs))
		return nil, f.list
	}
	if aliases := ast.Filter(ast.AliasType, docs[0].Body); len(aliases) > 0 {
		f.add(aliases[0].GetToken(), "write the value out", "anchors and aliases are not taken")
		return nil, f.list
	}
	name := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
	s := &Spec{Name: name, raw: bytes.Clone(data)}
	s.read(f, docs[0].Body)
	if len(f.list) > 0 {
		slices.SortStableFunc(f.list, func(a, b *SpecError) int {
			if a.Line != b.Line {
				return a.Line - b.Line
			}
			return a.Col - b.Col
		})
		return nil, f.list
	}
	return s, nil
}

// deep says whether flow brackets nest deeper than any spec does; the parser
// recurses into them before anyone can look.
func deep(data []byte) bool {
	depth := 0
	for _, b := range data {
		switch b {
		case '[', '{':
			if depth++; depth > 500 {
				return true
			}
		case ']', '}':
			depth--
		}
	}
	return false
}

func (s *Spec) read(f *faults, body ast.Node) {
	at := body.GetToken()
	if mapping, ok := body.(*ast.MappingNode); ok && len(mapping.Values) > 0 {
		at = mapping.Values[0].Key.GetToken()
	}
	p := newParams(f, "spec", at, body)
	if p == nil {
		return
	}
	switch version := p.requireInt("version"); {
	case p.values["version"] == nil:
	case version > Version:
		p.fault("version", "a newer lake reads it", "is %d, and this lake reads %d", version, Version)
	case version != Version:
		p.fault("version", "version: 1", "must be %d", Version)
	}
	s.Doc = p.text("doc", "")
	b := builder{faults: f, spec: s}
	if fields := p.require("fields"); fields != nil {
		s.root = b.object("fields", fields, p.values["fields"].Key.GetToken(), 0)
	}
	p.done()
}
